"""Nearest neighbours by cosine, exactly, in memory that grows with the images and not with their square."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_MOST_EXACT = 20_000  # images, above which a random projection stands for the features
_PROJECTED = 256
_NUMBERS = 1 << 24  # in one block of similarities


def directions(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """Features (N, D) less their mean and scaled to length one, (N, D'); of many images D' is smaller.

    Less the mean, since features of rectified units point much the same way, whatever the image.
    """
    centred = features - features.mean(axis=0)
    if len(features) > _MOST_EXACT and features.shape[1] > _PROJECTED:
        rng = np.random.default_rng(0)
        centred = centred @ (rng.standard_normal((features.shape[1], _PROJECTED)) / 16.0).astype(np.float32)
    lengths = np.linalg.norm(centred, axis=1, keepdims=True)
    scaled: NDArray[np.float32] = centred / np.maximum(lengths, 1e-12).astype(np.float32)
    return scaled


def nearest(
    queries: NDArray[np.float32], among: NDArray[np.float32], k: int, own: NDArray[np.int64] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """The k nearest of `among` (N, D) for each of `queries` (Q, D), both of length one.

    Args:
        queries: Q directions.
        among: N directions.
        k: how many; of fewer, all.
        own: (Q,) the row of `among` that is the query itself, which is no neighbour; None where there is none.

    Returns:
        Rows (Q, k) and cosines (Q, k), nearest first.
    """
    k = max(0, min(k, len(among) - (0 if own is None else 1)))
    rows = np.zeros((len(queries), k), dtype=np.int64)
    cosines = np.zeros((len(queries), k), dtype=np.float32)
    size = max(1, _NUMBERS // max(1, len(among)))
    for start in range(0, len(queries) if k else 0, size):
        block = slice(start, start + size)
        similar = queries[block] @ among.T
        if own is not None:
            similar[np.arange(len(similar)), own[block]] = -np.inf
        some = np.argpartition(-similar, k - 1, axis=1)[:, :k]
        values = np.take_along_axis(similar, some, axis=1)
        order = np.argsort(-values, axis=1, kind="stable")
        rows[block] = np.take_along_axis(some, order, axis=1)
        cosines[block] = np.take_along_axis(values, order, axis=1)
    return rows, cosines
