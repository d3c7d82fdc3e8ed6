"""Heads on stored features, such that a row's bits depend on that row alone: not on how many come with it, or where."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from featcli.heads.products import Parts, product

BLOCK_ROWS = 256  # rows at a time; the one shape that a link sees

Affine: TypeAlias = tuple[NDArray[np.float32], NDArray[np.float32]]  # weight (M, D) and bias (M,)
Link: TypeAlias = Callable[[NDArray[np.float32], int], NDArray[np.float64]]  # from outputs, and their dimension


class AffineLayers:
    """Affine maps, one after the other, with a ReLU between two.

    Args:
        layers: from input to output; the first takes D numbers, the last gives K.
    """

    def __init__(self, layers: Sequence[Affine]) -> None:
        self.layers = tuple(layers)
        self.n_features = layers[0][0].shape[1]
        self.n_outputs = len(layers[-1][1])

    @functools.cached_property
    def _prepared(self) -> list[tuple[Parts, NDArray[np.float64]]]:
        return [(Parts.of(weight), bias[:, None].astype(np.float64)) for weight, bias in self.layers]

    def columns(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Features (N, D) to outputs (K, N), a column for each row."""
        outputs = rows.T
        for index, (weight, bias) in enumerate(self._prepared):
            given = np.maximum(outputs, np.float32(0)) if index > 0 else outputs
            with np.errstate(over="ignore", invalid="ignore"):
                sums = product(weight, Parts.of(given.T, swapped=True))
                sums += bias
                sums += 0.0  # the sign of a zero may be either before
                outputs = sums.astype(np.float32)
        return outputs


def apply_in_blocks(
    layers: AffineLayers, features: NDArray[np.float32], link: Link | None = None
) -> NDArray[np.floating]:
    """Applies a head to stored features, `BLOCK_ROWS` at a time.

    Args:
        layers: of the head.
        features: (N, D) float32.
        link: what follows, such as a task's, on (K, `BLOCK_ROWS`), the last block padded with zeros: how exponentials
            are computed may depend on the shape that they are in.

    Returns:
        (N, K), float32 without a link.

    Raises:
        ValueError: features of another width or type.
    """
    width, count = layers.n_features, len(features)
    if features.ndim != 2 or features.shape[1] != width or features.dtype != np.float32:
        raise ValueError(f"features are {features.shape} {features.dtype}, not (N, {width}) float32")
    outputs: NDArray[np.floating] | None = None
    for start in range(0, max(1, count), BLOCK_ROWS):
        columns = layers.columns(features[start : start + BLOCK_ROWS])
        stop = start + columns.shape[1]
        found = columns if link is None else link(_padded(columns), 0)[:, : stop - start]
        if outputs is None:
            outputs = np.empty((count, len(found)), dtype=found.dtype)
        outputs[start:stop] = found.T
    assert outputs is not None, "even no rows are one block"
    return outputs


def _padded(columns: NDArray[np.float32]) -> NDArray[np.float32]:
    padded = np.zeros((len(columns), BLOCK_ROWS), dtype=np.float32)
    padded[:, : columns.shape[1]] = columns
    return padded
