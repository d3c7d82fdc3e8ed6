"""Rows meet a head's weights in blocks of one fixed shape, so that a row's bits depend on that row alone.

Neither how many rows come with it nor its place matters: every product has one shape, operands at aligned addresses,
and rows as the product's columns. (With rows as rows, MKL's result was seen to depend on the place within the block.)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

BLOCK_ROWS = 256  # the one shape in which rows meet the weights

Affine: TypeAlias = tuple[NDArray[np.float32], NDArray[np.float32]]  # weight (M, D) and bias (M,)


def layered_logits(layers: Sequence[Affine], features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Logits of affine maps, one after the other, with a ReLU between two.

    Args:
        layers: from input to output; the first takes D numbers, the last gives K.
        features: (N, D) float32.

    Returns:
        (N, K) float32.

    Raises:
        ValueError: features of another width or type.
    """
    logits = np.empty((len(features), len(layers[-1][1])), dtype=np.float32)
    for rows, block in _blocks(layers, features):
        logits[rows] = block.T[: rows.stop - rows.start].numpy()
    return logits


def layered_probabilities(layers: Sequence[Affine], features: NDArray[np.float32]) -> NDArray[np.float64]:
    """(N, K) float64, each row summing to one: the softmax of `layered_logits`. Raises as that does."""
    probabilities = np.empty((len(features), len(layers[-1][1])), dtype=np.float64)
    for rows, block in _blocks(layers, features):
        # On the padded block as well: how numpy adds ten numbers was seen to depend on the shape they are in.
        probabilities[rows] = block.double().softmax(0).T[: rows.stop - rows.start].numpy()
    return probabilities


def _blocks(layers: Sequence[Affine], features: NDArray[np.float32]) -> Iterator[tuple[slice, Tensor]]:
    """Slices of at most `BLOCK_ROWS` rows, each with logits (K, BLOCK_ROWS), padding and all."""
    width = layers[0][0].shape[1]
    if features.ndim != 2 or features.shape[1] != width or features.dtype != np.float32:
        raise ValueError(f"features are {features.shape} {features.dtype}, not (N, {width}) float32")
    aligned = [(torch.tensor(weight), torch.tensor(bias)[:, None]) for weight, bias in layers]  # copies: torch aligns
    padded = torch.zeros(BLOCK_ROWS, width)
    for start in range(0, len(features), BLOCK_ROWS):
        rows = slice(start, min(start + BLOCK_ROWS, len(features)))
        padded.numpy()[: rows.stop - rows.start] = features[rows]
        block = padded.T  # (D, BLOCK_ROWS)
        for index, (weight, bias) in enumerate(aligned):
            block = torch.mm(weight, block.relu_() if index > 0 else block).add_(bias)
        yield rows, block
