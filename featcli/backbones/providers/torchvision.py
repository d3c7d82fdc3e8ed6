"""torchvision's classification models: all that is particular to them, but how their families divide (`families`).

Importing torchvision takes as long as importing torch. It is imported where one of its models is asked for.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from featcli.backbones import families
from featcli.backbones.architecture import Architecture, PretrainedEntry, State
from featcli.backbones.stages import Partition, Partitioner, chain, detach_linear
from featcli.data.pixels.preprocessing import Preprocessing
from featcli.errors import BackboneOptionError

if TYPE_CHECKING:
    from torchvision import models


def names() -> Collection[str]:
    """Of the models that classify images."""
    from torchvision import models

    found: list[str] = models.list_models(module=models)
    return found


@functools.cache
def find(name: str) -> Architecture:
    """The model of a name that is among `names`.

    Raises:
        BackboneOptionError: it is of a family that featcli does not know, and its children are not its stages.
    """
    from torchvision import models

    enum = models.get_model_weights(name)
    default = enum["DEFAULT"]
    ordered = [default, *(entry for entry in enum if entry is not default)]
    module = models.get_model_builder(name).__module__.rsplit(".", 1)[-1]
    fixed = {**_BUILDER_ARGUMENTS.get(module, {})}
    entries = {entry.name: _entry(entry, module) for entry in ordered}
    likely = _LIKELY_ENTRIES.get(module)
    return Architecture(
        name=name,
        build=lambda **arguments: models.get_model(name, weights=None, **fixed, **arguments),
        partition=_partitioner(name),
        entries=entries,
        convert=_CONVERTERS.get(module, dict),
        fixed_size=_FIXED_SIZES.get(module, lambda arguments: None),
        likely_entry=functools.partial(likely, entries) if likely else lambda state: None,
    )


def why_not(name: str, known: Sequence[str]) -> BackboneOptionError | None:
    """Why a model of torchvision cannot be a backbone, and what can."""
    from torchvision import models

    if name not in models.list_models():
        return None
    task = models.get_model_builder(name).__module__.split(".")[2]
    words = {"detection": "detects objects", "segmentation": "segments images", "video": "classifies videos"}
    words |= {"optical_flow": "estimates motion", "quantization": "is quantized, for inference alone"}
    inside = max((known_name for known_name in known if known_name in name), key=len, default=None)
    hint = f"Its backbone alone: {inside}." if inside else "`featcli models` lists what can be one."
    message = f"'{name}' {words.get(task, 'does not classify images')}; a backbone classifies images"
    return BackboneOptionError("name", message, hint)


def _entry(entry: models.WeightsEnum, module: str) -> PretrainedEntry:
    preset = entry.transforms()
    metrics = entry.meta["_metrics"]["ImageNet-1K"]
    side = max(entry.meta["min_size"])
    arguments = {name: side if value is _SIDE else value for name, value in _ENTRY_ARGUMENTS.get(module, {}).items()}
    return PretrainedEntry(
        name=entry.name,
        location=entry.url,
        hash_prefix=entry.url.rsplit("-", 1)[-1].removesuffix(".pth"),
        preprocessing=Preprocessing(
            resize=preset.resize_size[0],
            crop=preset.crop_size[0],
            interpolation=preset.interpolation.value,
            mean=tuple(preset.mean),
            std=tuple(preset.std),
        ),
        arguments=arguments,
        min_size=side,
        parameters=entry.meta["num_params"],
        top1=metrics["acc@1"],
        gflops=entry.meta["_ops"],
        megabytes=entry.meta["_file_size"],
    )


# How a model divides


def _partitioner(name: str) -> Partitioner:
    """The family's own, else a derived one if it proves right."""
    from torchvision import models

    return _FAMILIES.get(models.get_model_builder(name).__module__) or _proven_derivation(name)


def _proven_derivation(name: str) -> Partitioner:
    from torchvision import models

    network = models.get_model(name, weights=None).eval()
    side = max(models.get_model_weights(name)["DEFAULT"].meta["min_size"][0], 224)
    images = torch.rand(2, 3, side, side)
    try:
        partition = _derive(network)
        detach_linear(network, partition)
        owned = sorted(tensor for stage in partition.stages for tensor in stage.tensors)
        with torch.inference_mode():
            output = images
            for stage in partition.stages:
                output = stage.forward(output)
            proven = owned == sorted(network.state_dict()) and torch.equal(partition.pool(output), network(images))
    except (ValueError, RuntimeError, TypeError):
        proven = False
    if not proven:
        message = f"torchvision's {name} is of a family that featcli does not know, and its children are not its stages"
        raise BackboneOptionError("name", message, "Its stages have to be added to featcli/backbones/families.py.")
    return _derive


def _derive(network: nn.Module) -> Partition:
    """A guess for a network of no known family: its children in their order, up to the last Linear.

    Raises:
        ValueError: there is no Linear, or nothing before it.
    """
    linears = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    if not linears:
        raise ValueError("no Linear")
    children = [name for name, _ in network.named_children()]
    before = children[: children.index(linears[-1].split(".")[0])]
    owning = [index for index, name in enumerate(before) if network.get_submodule(name).state_dict()]
    if not owning:
        raise ValueError("nothing before the Linear")
    # What owns no tensors goes with the child before it; after the last that does, it is pooling.
    starts, end = [0, *owning[1:]], owning[-1] + 1
    stages = [
        chain(network, before[index], before[start:stop])
        for index, (start, stop) in zip(owning, pairwise([*starts, end]), strict=True)
    ]
    pooling = [network.get_submodule(name) for name in before[end:]]

    def pool(maps: Tensor) -> Tensor:
        for module in pooling:
            maps = module(maps)
        return torch.flatten(maps, 1)

    return Partition(tuple(stages), pool, linears[-1])


# By the module that a builder is defined in.
_FAMILIES: Mapping[str, Partitioner] = {
    f"torchvision.models.{module}": partitioner
    for module, partitioner in {
        "alexnet": families.alexnet,
        "convnext": families.convnext,
        "densenet": families.densenet,
        "efficientnet": families.efficientnet,
        "googlenet": families.googlenet,
        "inception": families.inception,
        "maxvit": families.maxvit,
        "mnasnet": families.mnasnet,
        "mobilenetv2": families.mobilenet_v2,
        "mobilenetv3": families.mobilenet_v3,
        "regnet": families.regnet,
        "resnet": families.resnet,
        "shufflenetv2": families.shufflenet,
        "squeezenet": families.squeezenet,
        "swin_transformer": families.swin,
        "vgg": families.vgg,
        "vision_transformer": families.vit,
    }.items()
}

# What builders and files of a family need besides


def _densenet_names(state: State) -> State:
    """DenseNet's older files write `norm.1` for `norm1`, as torchvision's own loader knows."""
    return {_DENSENET_OLD.sub(r"\1\2", name): tensor for name, tensor in state.items()}


def _vit_entry(entries: Mapping[str, PretrainedEntry], state: State) -> PretrainedEntry | None:
    """Of a Vision Transformer, the position embedding tells the size of its images."""
    positions, patches = state.get("encoder.pos_embedding"), state.get("conv_proj.weight")
    if positions is None or patches is None or positions.ndim != 3 or patches.ndim != 4:
        return None
    side = math.isqrt(max(positions.shape[1] - 1, 0)) * patches.shape[-1]
    suiting = [entry for entry in entries.values() if entry.arguments.get("image_size") == side]
    if suiting:
        return suiting[0]
    default = next(iter(entries.values()))
    preprocessing = replace(default.preprocessing, resize=side, crop=side)
    return replace(default, preprocessing=preprocessing, arguments={"image_size": side})


_DENSENET_OLD = re.compile(r"^(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\.(?:weight|bias|running_mean|running_var))$")
_SIDE = object()  # stands for the side of the images that the weights want
# What torchvision's builders set when they are given weights, and the state dict does not tell.
_ENTRY_ARGUMENTS: Mapping[str, Mapping[str, Any]] = {
    "googlenet": {"transform_input": True},
    "inception": {"transform_input": True},
    "vision_transformer": {"image_size": _SIDE},
}
# Auxiliary heads are for training from scratch.
_BUILDER_ARGUMENTS: Mapping[str, Mapping[str, Any]] = {
    "googlenet": {"aux_logits": False, "init_weights": True},
    "inception": {"aux_logits": False, "init_weights": True},
}
_CONVERTERS: Mapping[str, Callable[[State], State]] = {"densenet": _densenet_names}
_FIXED_SIZES: Mapping[str, Callable[[Mapping[str, Any]], int | None]] = {
    "vision_transformer": lambda arguments: arguments.get("image_size", 224),
    "maxvit": lambda arguments: 224,
}
_LIKELY_ENTRIES: Mapping[str, Callable[[Mapping[str, PretrainedEntry], State], PretrainedEntry | None]] = {
    "vision_transformer": _vit_entry
}
