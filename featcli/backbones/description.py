"""What is known of a backbone without its network: enough to find its features, and to run a compiled model of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from featcli.data.pixels.preprocessing import Preprocessing


class Described(Protocol):
    """A backbone, or its description."""

    @property
    def name(self) -> str:
        """As its provider has it: `resnet18`."""

    @property
    def layer(self) -> object:
        """Where the features are taken; as text, in the words of the config."""

    @property
    def feature_size(self) -> int:
        """D."""

    @property
    def preprocessing(self) -> Preprocessing:
        """That belongs to the weights."""

    @property
    def weights(self) -> str:
        """In words, without a path."""

    @property
    def weights_sha256(self) -> str:
        """Of the network's tensors."""

    @property
    def arguments(self) -> Mapping[str, Any]:
        """Of the builder."""


@dataclass(frozen=True, slots=True)
class Description:
    """A backbone as a checkpoint's header describes it; the attributes are those of `Described`."""

    name: str
    layer: str
    feature_size: int
    preprocessing: Preprocessing
    weights: str
    weights_sha256: str
    arguments: Mapping[str, Any]
