"""A classifier with one hidden layer on features."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from featcli.heads.blocks import AffineLayers, apply_in_blocks
from featcli.heads.kind import Arrays, Gradient, HeadKind, NewHead

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, slots=True)
class MlpHead:
    """Logits `relu(features @ hidden_weight.T + hidden_bias) @ weight.T + bias`; a row's bits depend on that row alone.

    Args:
        hidden_weight: (H, D) float32.
        hidden_bias: (H,) float32.
        weight: (K, H) float32.
        bias: (K,) float32.

    Raises:
        ValueError: the arrays are not of those shapes and types.
    """

    hidden_weight: NDArray[np.float32]
    hidden_bias: NDArray[np.float32]
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]

    def __post_init__(self) -> None:
        shapes = [array.shape for array in self.tensors().values()]
        hidden, classes = self.hidden_weight.shape[:1], self.weight.shape[:1]
        if self.hidden_weight.ndim != 2 or shapes[1:] != [hidden, classes + hidden, classes]:
            names = ", ".join(f"{name} {array.shape}" for name, array in self.tensors().items())
            raise ValueError(f"{names} are not (H, D), (H,), (K, H) and (K,)")
        if any(array.dtype != np.float32 for array in self.tensors().values()):
            names = ", ".join(f"{name} {array.dtype}" for name, array in self.tensors().items())
            raise ValueError(f"{names} are not all float32")

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, K) float32 from features (N, D) float32.

        Raises:
            ValueError: features of another width or type.
        """
        return apply_in_blocks(self.layers(), features)

    def layers(self) -> AffineLayers:
        """The affine maps that it is."""
        return AffineLayers([(self.hidden_weight, self.hidden_bias), (self.weight, self.bias)])

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """The four arrays by name."""
        return {
            "hidden.weight": self.hidden_weight,
            "hidden.bias": self.hidden_bias,
            "weight": self.weight,
            "bias": self.bias,
        }


def build(new: NewHead, n_features: int, n_classes: int) -> nn.Module:
    """Two Linears with a ReLU between them, and dropout before the last."""
    from torch import nn

    hidden = nn.Linear(n_features, new.hidden)
    return nn.Sequential(hidden, nn.ReLU(), nn.Dropout(new.dropout), nn.Linear(new.hidden, n_classes))


def export(module: nn.Module) -> MlpHead:
    """The two trained Linears."""
    from featcli.heads.modules import linear_arrays

    return MlpHead(*linear_arrays(module))


def load(arrays: Arrays) -> MlpHead:
    """An mlp from its four arrays."""
    return MlpHead(arrays["hidden.weight"], arrays["hidden.bias"], arrays["weight"], arrays["bias"])


KIND = HeadKind(("hidden.weight", "hidden.bias", "weight", "bias"), load, gradient=Gradient("mlp", build, export))
