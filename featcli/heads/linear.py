"""A linear classifier on features: what every linear head is exported as."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

BLOCK_ROWS = 256  # the one shape in which rows meet the weights


@dataclass(frozen=True, slots=True)
class LinearHead:
    """Logits `features @ weight.T + bias`.

    A row's bits depend on that row alone, neither on how many rows come with it nor on its place: every product
    has one shape, operands at aligned addresses, and rows as the product's columns. (With rows as rows, MKL's
    result was seen to depend on the place within the block.)

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
        logits = np.empty((len(features), len(self.bias)), dtype=np.float32)
        for rows, block in self._blocks(features):
            logits[rows] = block.T[: rows.stop - rows.start].numpy()
        return logits

    def probabilities(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(N, K) float64, each row summing to one: the softmax of the float32 logits. Raises as `logits` does."""
        probabilities = np.empty((len(features), len(self.bias)), dtype=np.float64)
        for rows, block in self._blocks(features):
            # On the padded block as well: how numpy adds ten numbers was seen to depend on the shape they are in.
            probabilities[rows] = block.double().softmax(0).T[: rows.stop - rows.start].numpy()
        return probabilities

    def _blocks(self, features: NDArray[np.float32]) -> Iterator[tuple[slice, torch.Tensor]]:
        """Slices of at most `BLOCK_ROWS` rows, each with logits (K, BLOCK_ROWS), padding and all."""
        width = self.weight.shape[1]
        if features.ndim != 2 or features.shape[1] != width or features.dtype != np.float32:
            raise ValueError(f"features are {features.shape} {features.dtype}, not (N, {width}) float32")
        weight, bias = torch.tensor(self.weight), torch.tensor(self.bias)[:, None]  # copies: torch aligns its memory
        padded = torch.zeros(BLOCK_ROWS, width)
        for start in range(0, len(features), BLOCK_ROWS):
            rows = slice(start, min(start + BLOCK_ROWS, len(features)))
            count = rows.stop - rows.start
            padded.numpy()[:count] = features[rows]
            yield rows, torch.mm(weight, padded.T).add_(bias)
