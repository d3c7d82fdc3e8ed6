"""A linear classifier on features: what every linear head is exported as."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from featcli.heads.blocks import AffineLayers, apply_in_blocks
from featcli.heads.head import Head
from featcli.heads.kind import Arrays, Gradient, HeadKind, NewHead

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True)
class LinearHead:
    """Logits `features @ weight.T + bias`; a row's bits depend on that row alone.

    Args:
        weight: (K, D) float32.
        bias: (K,) float32.

    Raises:
        ValueError: the two arrays are not of those shapes and types.
    """

    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

    def __post_init__(self) -> None:
        if self.weight.ndim != 2 or self.bias.shape != self.weight.shape[:1]:
            raise ValueError(f"weight {self.weight.shape} and bias {self.bias.shape} are not (K, D) and (K,)")
        if self.weight.dtype != np.float32 or self.bias.dtype != np.float32:
            raise ValueError(f"weight is {self.weight.dtype} and bias {self.bias.dtype}, not float32")

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, K) float32 from features (N, D) float32.

        Raises:
            ValueError: features of another width or type.
        """
        return apply_in_blocks(self.layers(), features)

    def layers(self) -> AffineLayers:
        """The affine maps that it is."""
        return AffineLayers([(self.weight, self.bias)])

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """The two arrays by name."""
        return {"weight": self.weight, "bias": self.bias}


def build(new: NewHead, n_features: int, n_classes: int) -> nn.Module:
    """A Linear with dropout before it."""
    from torch import nn

    return nn.Sequential(nn.Dropout(new.dropout), nn.Linear(n_features, n_classes))


def start(module: nn.Module, solved: Head) -> None:
    """Takes over the weights of a linear head."""
    import torch

    (last,) = (layer for layer in module.modules() if isinstance(layer, torch.nn.Linear))
    last.load_state_dict({name: torch.from_numpy(array) for name, array in solved.tensors().items()})


def export(module: nn.Module) -> LinearHead:
    """The trained Linear."""
    from featcli.heads.modules import linear_arrays

    return LinearHead(*linear_arrays(module))


def load(arrays: Arrays) -> LinearHead:
    """A linear head from its two arrays."""
    return LinearHead(arrays["weight"], arrays["bias"])


GRADIENT = Gradient("linear", build, export, "logistic", start)
KIND = HeadKind(("weight", "bias"), load, gradient=GRADIENT)
