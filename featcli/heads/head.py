"""What every head can do, whatever it was trained by, and how one is made of stored arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from featcli.heads.blocks import AffineLayers
from featcli.heads.linear import LinearHead
from featcli.heads.mlp import MlpHead


class Head(Protocol):
    """Features (N, D) float32 to K classes; a row's bits depend on that row alone."""

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, K) float32. Raises ValueError where features are of another width or type."""

    def columns(self) -> AffineLayers:
        """The same as a module on blocks of columns, (D, B) to (K, B)."""

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """All that the head is made of, by name: what `head_from_tensors` takes."""


def head_from_tensors(tensors: Mapping[str, NDArray[np.float32]], n_classes: int, n_features: int) -> Head:
    """The head whose `tensors()` these are; their names tell which.

    Raises:
        ValueError: they are no head of that many classes and features.
    """
    head: LinearHead | MlpHead
    if tensors.keys() == {"weight", "bias"}:
        head = LinearHead(tensors["weight"], tensors["bias"])
        width = head.weight.shape[1]
    elif tensors.keys() == {"hidden.weight", "hidden.bias", "weight", "bias"}:
        head = MlpHead(tensors["hidden.weight"], tensors["hidden.bias"], tensors["weight"], tensors["bias"])
        width = head.hidden_weight.shape[1]
    else:
        raise ValueError(f"no head is made of {', '.join(sorted(tensors)) or 'nothing'}")
    if (len(head.bias), width) != (n_classes, n_features):
        raise ValueError(
            f"a head of {len(head.bias)} classes and {width} features, not of {n_classes} and {n_features}"
        )
    return head
