"""What a backbone is before it is built, and where such descriptions come from."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from torch import Tensor, nn

from featcli.backbones.stages import Partitioner
from featcli.data.pixels.preprocessing import Preprocessing
from featcli.errors import BackboneOptionError

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
        likely_entry: whose preprocessing and arguments suit tensors that are not a published file, where these tell;
            None for DEFAULT. Their names are as the file has them.
    """

    name: str
    build: Callable[..., nn.Module]
    partition: Partitioner
    entries: Mapping[str, PretrainedEntry]
    convert: Callable[[State], State] = dict
    fixed_size: Callable[[Mapping[str, Any]], int | None] = lambda arguments: None
    likely_entry: Callable[[State], PretrainedEntry | None] = lambda state: None

    @property
    def default(self) -> PretrainedEntry:
        """The entry that `DEFAULT` means."""
        return next(iter(self.entries.values()))


class Provider(Protocol):
    """Where backbones come from; a module will do."""

    def names(self) -> Collection[str]:
        """Of its backbones."""

    def find(self, name: str) -> Architecture:
        """The one of a name that is among `names`.

        Raises:
            BackboneOptionError: it cannot be divided into stages.
        """

    def why_not(self, name: str, known: Sequence[str]) -> BackboneOptionError | None:
        """What it knows of a name that is no backbone, of which `known` are all; None where that is nothing."""
