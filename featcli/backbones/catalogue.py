"""What to choose a backbone by: size, speed, published accuracy, whether its weights are here; and its stages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from featcli.backbones.architecture import Architecture, PretrainedEntry
from featcli.backbones.building import build_network
from featcli.backbones.registry import find_architecture, names
from featcli.backbones.sources import download_path, packaged_path

# Building all networks to read this takes 13 s. A backbone that is not listed is built.
_FEATURE_SIZES: Mapping[int, str] = {
    400: "regnet_x_400mf",
    440: "regnet_y_400mf",
    512: "maxvit_t resnet18 resnet34 squeezenet1_0 squeezenet1_1",
    672: "regnet_x_800mf",
    768: "convnext_small convnext_tiny swin_s swin_t swin_v2_s swin_v2_t vit_b_16 vit_b_32",
    784: "regnet_y_800mf",
    888: "regnet_y_1_6gf",
    912: "regnet_x_1_6gf",
    1008: "regnet_x_3_2gf",
    1024: (
        "convnext_base densenet121 googlenet mobilenet_v3_small shufflenet_v2_x0_5 shufflenet_v2_x1_0 "
        "shufflenet_v2_x1_5 swin_b swin_v2_b vit_l_16 vit_l_32"
    ),
    1280: (
        "efficientnet_b0 efficientnet_b1 efficientnet_lite0 efficientnet_v2_l efficientnet_v2_m "
        "efficientnet_v2_s mnasnet0_5 mnasnet0_75 mnasnet1_0 mnasnet1_3 mobilenet_v2 mobilenet_v3_large "
        "vit_h_14"
    ),
    1408: "efficientnet_b2",
    1512: "regnet_y_3_2gf",
    1536: "convnext_large efficientnet_b3",
    1664: "densenet169",
    1792: "efficientnet_b4",
    1920: "densenet201 regnet_x_8gf",
    2016: "regnet_y_8gf",
    2048: (
        "efficientnet_b5 inception_v3 regnet_x_16gf resnet101 resnet152 resnet50 resnext101_32x8d "
        "resnext101_64x4d resnext50_32x4d shufflenet_v2_x2_0 wide_resnet101_2 wide_resnet50_2"
    ),
    2208: "densenet161",
    2304: "efficientnet_b6",
    2520: "regnet_x_32gf",
    2560: "efficientnet_b7",
    3024: "regnet_y_16gf",
    3712: "regnet_y_32gf",
    4096: "alexnet vgg11 vgg11_bn vgg13 vgg13_bn vgg16 vgg16_bn vgg19 vgg19_bn",
    7392: "regnet_y_128gf",
}
_SIZE_OF = {name: size for size, listed in _FEATURE_SIZES.items() for name in listed.split()}


@dataclass(frozen=True, slots=True)
class BackboneCard:
    """A line of the table.

    Attributes:
        name: of the backbone.
        parameters: their number, the ImageNet head included.
        features: length of the feature vector.
        input_size: side of the images, in pixels, for the DEFAULT weights.
        top1: published ImageNet accuracy of the DEFAULT weights, in percent.
        gflops: billions of multiply-adds for one image.
        megabytes: of the DEFAULT weights' file.
        here: whether that file is on this machine.
    """

    name: str
    parameters: int
    features: int
    input_size: int
    top1: float | None
    gflops: float | None
    megabytes: float
    here: bool

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class StageCard:
    """A stage of a backbone.

    Attributes:
        depth: the freeze depth that ends with it.
        name: of the stage.
        parameters: their number.
        share: of the backbone's parameters, up to and including this stage.
        output: shape for one image, without the batch.
    """

    depth: int
    name: str
    parameters: int
    share: float
    output: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def cards() -> list[BackboneCard]:
    """Every backbone, sorted by name."""
    return [_card(name) for name in names()]


def describe_stages(architecture: Architecture) -> list[StageCard]:
    """The stages of an architecture, without its weights and without computing: shapes alone are worked out."""
    network, partition, _ = build_network(architecture, architecture.default.arguments, None)
    network = network.to("meta").eval()
    sizes = {name: parameter.numel() for name, parameter in network.named_parameters()}
    total = sum(sizes.values())
    crop = architecture.default.preprocessing.crop
    described, so_far = [], 0
    with torch.inference_mode():
        output = torch.empty(1, 3, crop, crop, device="meta")
        for depth, stage in enumerate(partition.stages, 1):
            output = stage.forward(output)
            own = sum(sizes.get(name, 0) for name in stage.tensors)
            so_far += own
            described.append(StageCard(depth, stage.name, own, so_far / total, tuple(output.shape[1:])))
    return described


def local_weights(entry: PretrainedEntry) -> Path | None:
    """Where an entry's file is on this machine, or None."""
    is_packaged = entry.location.startswith("package:")
    path = packaged_path(entry.location) if is_packaged else download_path(entry)
    return path if path is not None and path.is_file() else None


def _card(name: str) -> BackboneCard:
    architecture = find_architecture(name)
    entry = architecture.default
    size = _SIZE_OF.get(name) or build_network(architecture, entry.arguments, None).feature_size
    return BackboneCard(
        name=name,
        parameters=entry.parameters,
        features=size,
        input_size=entry.preprocessing.crop,
        top1=entry.top1,
        gflops=entry.gflops,
        megabytes=entry.megabytes or 0.0,
        here=local_weights(entry) is not None,
    )
