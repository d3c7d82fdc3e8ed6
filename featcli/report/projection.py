"""From features to two dimensions: principal components, or UMAP where it is installed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featcli.events import Emit, Note, ignore
from featcli.extras import find_umap

_SPARE = 8  # directions more than are wanted, so that the wanted ones settle sooner
_STEPS = 12
_NEIGHBOURS = 15  # of UMAP; fewer images than twice as many are shown by their principal components


@dataclass(frozen=True, slots=True)
class Projection:
    """Where images lie on a map.

    Attributes:
        places: (N, 2), each coordinate from 0 to 1.
        how: in words.
    """

    places: NDArray[np.float64]
    how: str


def project(features: NDArray[np.float32], emit: Emit = ignore) -> Projection:
    """A map of features (N, D); N at least 1.

    Args:
        features: of the images.
        emit: hears that UMAP makes it, which compiles itself first: 40 s, where principal components take one.
    """
    umap = find_umap()
    if umap is not None and len(features) >= 2 * _NEIGHBOURS:
        emit(Note("umap is installed: it makes the map, which takes a minute"))
        reducer = umap.UMAP(n_components=2, n_neighbors=_NEIGHBOURS, random_state=0, n_jobs=1)
        found = np.asarray(reducer.fit_transform(features), dtype=np.float64)
        return Projection(_fitted(found), "UMAP: near images are alike; distances between groups say little")
    places, shares = principal_components(features.astype(np.float64))
    return Projection(
        _fitted(places), f"the two principal components of the features, {100 * shares.sum():.0f} % of their variance"
    )


def principal_components(features: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The first two principal components, by subspace iteration from a fixed start.

    Source: Halko, Martinsson and Tropp, "Finding Structure with Randomness", SIAM Review 53 (2011), algorithm 4.4.

    Args:
        features: (N, D).

    Returns:
        (N, 2) coordinates, whose signs make the largest of each positive; (2,) their shares of the variance.
    """
    centred = features - features.mean(axis=0)
    n, width = centred.shape
    wanted = min(2 + _SPARE, n, width)
    basis = np.random.default_rng(0).standard_normal((width, wanted))
    for _ in range(_STEPS):
        basis, _ = np.linalg.qr(centred.T @ (centred @ basis))
    small = centred @ basis  # (N, wanted)
    left, sizes, _ = np.linalg.svd(small, full_matrices=False)
    places = np.zeros((n, 2))
    shares = np.zeros(2)
    total = float((centred**2).sum())
    for column in range(min(2, len(sizes))):
        values = left[:, column] * sizes[column]
        places[:, column] = values * (1.0 if values.max() >= -values.min() else -1.0)
        shares[column] = sizes[column] ** 2 / total if total > 0 else 0.0
    return places, shares


def _fitted(places: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = places.min(axis=0), places.max(axis=0)
    span = np.where(high > low, high - low, 1.0)
    return np.where(high > low, (places - low) / span, 0.5)
