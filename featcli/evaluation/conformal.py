"""Sets of classes that hold the true one with a chosen probability, from images that no head learned from.

Of few classes a set holds those whose probability is not below a threshold (least ambiguous sets). Of many it is filled
from the most probable class downwards (adaptive sets), and what comes late is made costly (regularised). No images are
set aside: the scores are those of heads that did not learn from the image, as in cross-conformal prediction.

Sources: Sadinle, Lei and Wasserman, "Least Ambiguous Set-Valued Classifiers With Bounded Error Levels", JASA 2019
(https://arxiv.org/abs/1609.00451), also for thresholds by class; Angelopoulos et al., "Uncertainty Sets for Image
Classifiers using Conformal Prediction", ICLR 2021 (https://arxiv.org/abs/2009.14193), eq. 4 without its randomness;
Vovk, "Cross-conformal predictors", 2015 (https://arxiv.org/abs/1208.0806). Groups: Dunn, Wasserman and Ramdas,
"Distribution-Free Prediction Sets for Two-Layer Hierarchical Models", JASA 2023 (https://arxiv.org/abs/1809.07441).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcli.sampling import evenly

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

MANY_CLASSES = 20  # from here on sets are adaptive
PENALTY = 0.01  # of each rank beyond the one that holds the share asked for
PER_CLASS = 5  # images of a class outside its threshold, at least, for a threshold of its own
MOST_SCORES = 20_000  # rows that are kept, evenly spread
_TIE = 1e-9


@dataclass(frozen=True, slots=True)
class Scores:
    """What held-out images say of how sure is sure enough.

    Args:
        mass: (N,) of least ambiguous sets the probability of the image's own class; of adaptive ones the probability
            of all classes down to it, itself included.
        ranks: (N,) how many classes are at least as probable as the image's own, itself included.
        labels: (N,) its own class.
        weights: (N,) the part of its group that an image is; ones without groups.
        n_classes: K.
    """

    mass: Floats
    ranks: Integers
    labels: Integers
    weights: Floats
    n_classes: int

    @classmethod
    def of(cls, probabilities: Floats, labels: Integers, groups: Integers | None = None) -> Scores:
        """From probabilities (N, K), labels (N,) and, where images come in groups, the number of each one's, (N,)."""
        if len(labels) > MOST_SCORES:
            rows = np.array(evenly(len(labels), MOST_SCORES))
            probabilities, labels = probabilities[rows], labels[rows]
            groups = None if groups is None else groups[rows]
        weights = np.ones(len(labels))
        if groups is not None:
            _, place, counts = np.unique(groups, return_inverse=True, return_counts=True)
            weights = 1.0 / counts[place]
        n_classes = probabilities.shape[1]
        own = np.take_along_axis(probabilities, labels[:, None], axis=1)
        ahead = probabilities >= own
        mass = (probabilities * ahead).sum(axis=1) if n_classes >= MANY_CLASSES else own[:, 0]
        return cls(mass, ahead.sum(axis=1).astype(np.int64), labels, weights, n_classes)

    @property
    def adaptive(self) -> bool:
        """Whether sets are filled from the most probable class downwards."""
        return self.n_classes >= MANY_CLASSES

    def arrays(self) -> dict[str, NDArray[Any]]:
        """By name, as a checkpoint has them."""
        return {"mass": self.mass, "ranks": self.ranks, "labels": self.labels, "weights": self.weights}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]], n_classes: int) -> Scores:
        """From what `arrays` gave. Raises ValueError where they do not fit together."""
        mass, ranks, labels, weights = (arrays[name] for name in ("mass", "ranks", "labels", "weights"))
        if not (mass.shape == ranks.shape == labels.shape == weights.shape) or mass.ndim != 1:
            raise ValueError("scores of different lengths")
        if len(labels) and not (0 <= labels.min() and labels.max() < n_classes):
            raise ValueError("a label of no class")
        return cls(mass.astype(np.float64), ranks.astype(np.int64), labels.astype(np.int64), weights, n_classes)

    def rule(self, coverage: float) -> SetRule:
        """Which classes belong to the set of an image, such that sets hold the true class this often.

        Each class has a threshold of its own where it has images enough; else there is one for all.

        Args:
            coverage: above 0 and below 1.
        """
        k = self.n_classes
        if self.adaptive:
            usual = math.ceil(min(_quantile(self.ranks.astype(np.float64), self.weights, coverage), k))
            scores = self.mass + PENALTY * np.maximum(0, self.ranks - usual)
        else:
            usual, scores = k, 1.0 - self.mass
        counts = np.array([self.weights[self.labels == label].sum() for label in range(k)])
        by_class = not self.adaptive and bool((counts * (1.0 - coverage) >= PER_CLASS).all())
        if by_class:
            limits = [
                _quantile(scores[self.labels == label], self.weights[self.labels == label], coverage)
                for label in range(k)
            ]
        else:
            limits = [_quantile(scores, self.weights, coverage)] * k
        return SetRule(np.array(limits), by_class, usual, self.adaptive)


@dataclass(frozen=True, slots=True)
class SetRule:
    """Which classes belong to a set.

    Args:
        limits: (K,) the largest score with which a class belongs to it; infinite where images are too few to tell.
        by_class: whether each class has a limit of its own.
        usual: the rank beyond which a class of an adaptive set costs more.
        adaptive: whether sets are filled from the most probable class downwards.
    """

    limits: Floats
    by_class: bool
    usual: int
    adaptive: bool

    def members(self, probabilities: Floats) -> NDArray[np.bool_]:
        """(N, K) from probabilities (N, K). A row without members is unlike what any class looked like."""
        if not self.adaptive:
            return (1.0 - probabilities) <= self.limits + _TIE
        order = np.argsort(-probabilities, axis=1, kind="stable")
        mass = np.take_along_axis(probabilities, order, axis=1).cumsum(axis=1)
        ranks = np.arange(1, probabilities.shape[1] + 1)
        scores = np.empty_like(mass)
        np.put_along_axis(scores, order, mass + PENALTY * np.maximum(0, ranks - self.usual), axis=1)
        return scores <= self.limits + _TIE


def _quantile(values: Floats, weights: Floats, coverage: float) -> float:
    """The smallest value such that it and smaller ones weigh `coverage` of all and one more; infinite without one.

    With weights of one it is the smallest but ceil((N + 1) * coverage) - 1.
    """
    order = np.argsort(values, kind="stable")
    reached = weights[order].cumsum()
    needed = coverage * (reached[-1] + 1.0) if len(reached) else math.inf
    place = int(np.searchsorted(reached, needed - _TIE * max(1.0, needed), side="left"))
    return float(values[order[place]]) if place < len(values) else math.inf
