"""How far an image is from all that a model was trained on, by its feature: strangers are no class at all.

The squared Mahalanobis distance to the nearest class mean, of features that are scaled to length one, under one
covariance for all classes that is shrunk towards a sphere. It is given as a ratio: 1 is the distance within which a
stated share of the own images lie that the distance did not learn from.

Source: Mueller and Hein, "Mahalanobis++: Improving OOD Detection via Feature Normalization", ICML 2025
(https://arxiv.org/abs/2505.18032); the shrinkage is ours (docs/decisions.md, "Strangers").
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

SHARE = 0.95  # of the own images that lie nearer than a novelty of 1
FEWEST = 40  # training images, below which nothing can be told
FEWEST_OWN = 20  # other own images, below which they set no threshold
SHRINKAGE = 0.7  # the part of the covariance that is replaced by a sphere
MOST_DIRECTIONS = 256  # of the covariance that are kept: those of the largest variance
MOST_ROWS = 20_000  # as many training images are enough
_BLOCK = 1024


@dataclass(frozen=True, slots=True)
class Novelty:
    """Distances from what was trained on.

    Args:
        means: (K, D) float32 of the scaled features of each class; a row of nan for a class without images.
        directions: (P, D) float32, orthonormal: the largest axes of the covariance.
        precisions: (P + 1,) float32: of each axis one over its variance, and last that of all that is beside them.
        threshold: the squared distance within which `SHARE` of the own images lie; a novelty is a squared distance
            divided by this.
    """

    means: NDArray[np.float32]
    directions: NDArray[np.float32]
    precisions: NDArray[np.float32]
    threshold: float

    @classmethod
    def fit(
        cls, features: NDArray[np.float32], labels: Integers, n_classes: int, own: NDArray[np.float32] | None = None
    ) -> Novelty | None:
        """From features (N, D) and labels (N,); None where they are too few to tell.

        Args:
            features: of training images, of many `MOST_ROWS` are enough.
            labels: of these.
            n_classes: K.
            own: (M, D) features of other own images, which the threshold is taken from; None: each training image is
                left out in turn, exactly but for terms of 1 / N.
        """
        if len(labels) < FEWEST or (own is not None and len(own) < FEWEST_OWN):
            return None
        found, scaled = cls._of(features, labels, n_classes)
        if own is None:
            distances = found._left_out(scaled, labels, np.bincount(labels, minlength=n_classes))
            distances = distances[~np.isnan(distances)]
        else:
            distances = found.distances(own)
        threshold = _quantile(distances, SHARE)
        return None if not threshold > 0 else cls(found.means, found.directions, found.precisions, threshold)

    @classmethod
    def left_out(cls, features: NDArray[np.float32], labels: Integers, n_classes: int) -> Floats:
        """(N,) squared distance of each image from what the others are like; nan for a class's only image.

        Args:
            features: (N, D).
            labels: (N,).
            n_classes: K.
        """
        found, scaled = cls._of(features, labels, n_classes)
        return found._left_out(scaled, labels, np.bincount(labels, minlength=n_classes))

    @classmethod
    def _of(cls, features: NDArray[np.float32], labels: Integers, n_classes: int) -> tuple[Novelty, Floats]:
        """Without a threshold, and the scaled features."""
        scaled = _scaled(features)
        means = np.full((n_classes, scaled.shape[1]), np.nan)
        for label in np.unique(labels):
            means[label] = scaled[labels == label].mean(axis=0)
        covariance = _Covariance.of(scaled - means[labels])
        directions, precisions = (array.astype(np.float32) for array in (covariance.directions, covariance.precisions))
        return cls(means.astype(np.float32), directions, precisions, 1.0), scaled

    def distances(self, features: NDArray[np.float32]) -> Floats:
        """(N,) squared distances to the nearest class mean, of features (N, D); a row depends on that row alone."""
        parts = [
            self._pairs(_scaled(features[start : start + _BLOCK])).min(axis=1)
            for start in range(0, len(features), _BLOCK)
        ]
        return np.concatenate(parts) if parts else np.zeros(0)

    def of(self, features: NDArray[np.float32]) -> Floats:
        """(N,) novelties of features (N, D): above 1 for what is farther away than `SHARE` of the own images."""
        return self.distances(features) / self.threshold

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """By name, as a checkpoint has them."""
        return {"means": self.means, "directions": self.directions, "precisions": self.precisions}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], threshold: float) -> Novelty:
        """From what `arrays` gave. Raises ValueError where they do not fit together."""
        means, directions, precisions = (arrays[name] for name in ("means", "directions", "precisions"))
        if means.ndim != 2 or directions.shape[1:] != means.shape[1:] or len(precisions) != len(directions) + 1:
            raise ValueError("arrays of a novelty that do not fit together")
        if not 0.0 < threshold < math.inf:
            raise ValueError("no threshold")
        return cls(means, directions, precisions, threshold)

    def _pairs(self, scaled: Floats) -> Floats:
        """(N, K) squared distances from scaled features (N, D) to each class's mean; infinite where it has none."""
        known = np.flatnonzero(~np.isnan(self.means).any(axis=1))
        means = self.means[known].astype(np.float64)
        axes, precisions = self.directions.astype(np.float64), self.precisions.astype(np.float64)
        inside, centres = scaled @ axes.T, means @ axes.T
        extra = precisions[:-1] - precisions[-1]
        whole = _squared_distances(scaled, means, np.ones(1))
        found = np.full((len(scaled), len(self.means)), np.inf)
        found[:, known] = np.maximum(precisions[-1] * whole + _squared_distances(inside, centres, extra), 0.0)
        return found

    def _left_out(self, scaled: Floats, labels: Integers, counts: Integers) -> Floats:
        """(N,) the distance of each image by means and covariance without it; nan for a class's only image.

        Without image i its class's mean moves away from it, and the scatter loses one outer product: closed forms.
        """
        n = len(labels)
        between = self._products(scaled, labels)  # (N, K): of the offsets from each mean and from the own one
        pairs = self._pairs(scaled)
        own = np.take_along_axis(pairs, labels[:, None], axis=1)[:, 0]
        size = counts[labels].astype(np.float64)
        useful = size > 1
        size = np.where(useful, size, 2.0)
        loss = (1.0 - SHRINKAGE) * size / (size - 1.0) / n
        left = np.maximum(1.0 - loss * own, 1e-6)
        factor = (n - 1.0) / n
        changed = factor * (pairs + (loss / left)[:, None] * between**2)
        stretched = (size / (size - 1.0)) ** 2 * factor * (own + loss / left * own**2)
        np.put_along_axis(changed, labels[:, None], stretched[:, None], axis=1)
        found: Floats = np.where(useful, changed.min(axis=1), np.nan)
        return found

    def _products(self, scaled: Floats, labels: Integers) -> Floats:
        """(N, K) inner products, under the precision, of an image's offsets from each class's mean and from its own."""
        means = np.nan_to_num(self.means.astype(np.float64))
        axes, precisions = self.directions.astype(np.float64), self.precisions.astype(np.float64)
        offsets = scaled - means[labels]
        weighed = precisions[-1] * offsets + ((offsets @ axes.T) * (precisions[:-1] - precisions[-1])) @ axes
        found: Floats = (scaled * weighed).sum(axis=1)[:, None] - weighed @ means.T
        return found


@dataclass(frozen=True, slots=True)
class _Covariance:
    """A shrunk covariance: its largest axes (P, D), and one over the variances along and beside them (P + 1,)."""

    directions: Floats
    precisions: Floats

    @classmethod
    def of(cls, centred: Floats) -> _Covariance:
        n, width = centred.shape
        mean = float((centred**2).sum() / (n * width))
        if n <= width:
            variances, left = np.linalg.eigh(centred @ centred.T / n)
            keep = _largest(variances)
            variances, directions = variances[keep], left[:, keep].T @ centred
            directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        else:
            variances, axes = np.linalg.eigh(centred.T @ centred / n)
            keep = _largest(variances)
            variances, directions = variances[keep], axes[:, keep].T
        total = mean * width
        beside = max(total - variances.sum(), 0.0) / max(width - len(variances), 1)
        shrunk = (1.0 - SHRINKAGE) * np.append(variances, beside) + SHRINKAGE * mean
        return cls(directions, 1.0 / np.maximum(shrunk, 1e-30))


def _largest(variances: Floats) -> NDArray[np.intp]:
    """The places of the variances that are kept, the largest first."""
    order = np.argsort(-variances)[:MOST_DIRECTIONS]
    kept: NDArray[np.intp] = order[variances[order] > 1e-10 * max(variances.max(), 1e-300)]
    return kept


def _squared_distances(points: Floats, centres: Floats, weights: Floats) -> Floats:
    """(N, K) weighed squared distances of points (N, D) from centres (K, D)."""
    weighed = centres * weights
    own, other = (points**2 * weights).sum(axis=1), (weighed * centres).sum(axis=1)
    found: Floats = own[:, None] - 2.0 * points @ weighed.T + other
    return found


def _scaled(features: NDArray[np.float32]) -> Floats:
    """(N, D) float64, each row of length one; a row of zeros stays."""
    wide = features.astype(np.float64)
    lengths = np.sqrt((wide**2).sum(axis=1, keepdims=True))
    scaled: Floats = wide / np.maximum(lengths, 1e-12)
    return scaled


def _quantile(values: Floats, share: float) -> float:
    """The smallest value that leaves at most the rest, of one more than there are, above itself."""
    ordered = np.sort(values)
    place = int(np.ceil(share * (len(ordered) + 1))) - 1
    return float(ordered[min(place, len(ordered) - 1)]) if len(ordered) else 0.0
