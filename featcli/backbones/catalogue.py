"""What to choose a backbone by: size, speed, published accuracy, whether its weights are here; and its stages."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from featcli.backbones.architecture import Architecture, PretrainedEntry
from featcli.backbones.building import build_network
from featcli.backbones.registry import find_architecture, names
from featcli.backbones.weight_files import download_path, packaged_path
from featcli.config.known_backbones import FEATURE_SIZES


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
    # Building all networks to read this takes 13 s. A backbone that is not in the table is built.
    size = FEATURE_SIZES.get(name) or build_network(architecture, entry.arguments, None).feature_size
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
