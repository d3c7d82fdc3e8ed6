"""Labels, classes and images to doubt, by features: what heads say of images that they did not learn from.

A label is doubted twice. First by heads that learned from all other images, wrong labels included; then by heads that
learned from what was left once the most doubtful labels were taken out. By the geometric mean of both, how much more
probable the best other class is than the own one ranks wrong labels higher than the own probability of the first heads
alone, which is called self-confidence (Northcutt, Jiang and Chuang, "Confident Learning", JAIR 2021,
https://arxiv.org/abs/1911.00068); measured in docs/decisions.md, "Suspicious images".
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featcli.data.folds import stratified_folds
from featcli.evaluation.novelty import FEWEST, MOST_ROWS, Novelty
from featcli.events import ignore
from featcli.heads.kind import LabelledRows
from featcli.heads.logistic import Fitted, fit_logistic
from featcli.sampling import evenly
from featcli.tasks import Task, task_of

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

CS = (1e-3, 1e-2, 0.1, 1.0)  # of many images without the first
FACTORS = (1.0, 10.0, 100.0)  # of C, once the most doubtful labels are gone; of many images without the last
MANY = 3_000
FOLDS = 5
MOST_EXACT = 600  # images, above which their principal components stand for the features
COMPONENTS = 256
FAR = 3.5  # robust deviations of the log distance, beyond which an image is unlike all classes
FEWEST_OF_CLASS = 5
DOUBTFUL = 0.55  # score of a label
ALIKE = 0.75  # area under the curve between two classes, below which they cannot be told apart


@dataclass(frozen=True, slots=True)
class Doubts:
    """What N labelled images look like to heads that have not seen them.

    Attributes:
        own: (N,) probability of the own label; nan where no head could judge it.
        other: (N,) the most probable other class.
        other_probability: (N,) of that class.
        first: (N, K) probabilities by heads that learned from all other images; nan where there are none.
    """

    own: Floats
    other: Integers
    other_probability: Floats
    first: Floats

    @property
    def scores(self) -> Floats:
        """(N,) 0 to 1: the share of the best other class, of its probability and the own one's; nan as `own`."""
        scores: Floats = self.other_probability / np.maximum(self.own + self.other_probability, 1e-300)
        return np.where(np.isnan(self.own), np.nan, scores)

    @property
    def doubtful(self) -> Integers:
        """Rows whose label is clearly less probable than another class, the most doubtful first."""
        rows = np.flatnonzero(self.scores > DOUBTFUL)
        return rows[np.argsort(-self.scores[rows], kind="stable")]


def find_doubts(features: NDArray[np.float32], labels: Integers, n_classes: int, units: list[str]) -> Doubts | None:
    """Judges every label; None where classes have too few images for folds.

    Args:
        features: (N, D).
        labels: (N,), each of the K classes at least once.
        n_classes: K.
        units: N names; images of one unit (copies, a group) are held out together.
    """
    if n_classes < 2:
        return None
    features = _shortened(features)
    some_Cs, factors = (CS[1:], FACTORS[:-1]) if len(features) > MANY else (CS, FACTORS)
    first, fitted = _held_out(features, labels, n_classes, units, some_Cs)
    judged = np.asarray(~np.isnan(first).any(axis=1))
    if not judged.any():
        return None
    own = np.take_along_axis(first, labels[:, None], axis=1)[:, 0]
    clean = ~(judged & (own < 0.5 * np.where(judged[:, None], first, 0.0).max(axis=1)))
    for label in range(n_classes):  # a class of which nothing would be left stays whole
        if not (clean & (labels == label)).any():
            clean |= labels == label
    second, left = first.copy(), np.flatnonzero(clean)
    Cs = tuple(fitted.C * factor for factor in factors)
    second[left], fitted = _held_out(features[left], labels[left], n_classes, [units[row] for row in left], Cs)
    out = np.flatnonzero(~clean)
    second[out] = _task(n_classes).link(fitted.head.logits(features[out]).astype(np.float64))
    both = np.sqrt(first * np.where(np.isnan(second), first, second))
    others = both.copy()
    np.put_along_axis(others, labels[:, None], -1.0, axis=1)
    others[np.isnan(others)] = -1.0
    other = _most_probable(others)
    return Doubts(
        np.take_along_axis(both, labels[:, None], axis=1)[:, 0],
        other,
        np.take_along_axis(others, other[:, None], axis=1)[:, 0],
        first,
    )


def _shortened(features: NDArray[np.float32]) -> NDArray[np.float32]:
    """(N, D), or (N, D') by principal components: of many images these rank as well, in a tenth of the time."""
    if len(features) <= MOST_EXACT or features.shape[1] <= COMPONENTS:
        return features
    centred = features - features.mean(axis=0)
    some = centred[:: max(1, len(centred) // 20_000)]
    _, axes = np.linalg.eigh((some.T @ some).astype(np.float64))
    return np.ascontiguousarray(centred @ axes[:, ::-1][:, :COMPONENTS].astype(np.float32))


def _held_out(
    features: NDArray[np.float32], labels: Integers, n_classes: int, units: list[str], Cs: tuple[float, ...]
) -> tuple[Floats, Fitted]:
    """(N, K) probabilities of each row by a head that did not learn from its unit, and the head on all rows."""
    folds = stratified_folds(units, labels.tolist(), folds=FOLDS, seed=0)
    if not (folds >= 0).any() or any(
        len(np.unique(labels[folds != fold])) < 2 for fold in np.unique(folds[folds >= 0])
    ):
        Cs = Cs[len(Cs) // 2 :][:1]
    numbers = np.unique(units, return_inverse=True)[1]
    fitted = fit_logistic(LabelledRows(features, labels, n_classes), Cs=Cs, folds=folds, units=numbers, emit=ignore)
    found = np.full((len(labels), n_classes), np.nan)
    if fitted.held_out is not None:
        found[fitted.held_out.rows] = _task(n_classes).link(fitted.held_out.logits)
    return found, fitted


def _task(n_classes: int) -> Task:
    return task_of([str(label) for label in range(n_classes)])


def _most_probable(probabilities: Floats) -> Integers:
    """(N,) of (N, K); the first of equal ones."""
    return np.argsort(-probabilities, axis=1, kind="stable")[:, 0].astype(np.int64)


@dataclass(frozen=True, slots=True)
class AlikeClasses:
    """Two classes that heads cannot tell apart.

    Attributes:
        first: index of the one.
        second: index of the other.
        area: under the curve of the one against the other, 0.5 where nothing tells them apart.
        n: images of both.
    """

    first: int
    second: int
    area: float
    n: int


def find_alike_classes(doubts: Doubts, labels: Integers) -> list[AlikeClasses]:
    """Pairs of classes whose images are taken for each other nearly as often as not, the worst first."""
    judged = np.flatnonzero(~np.isnan(doubts.first).any(axis=1))
    named = _most_probable(doubts.first[judged])
    mixed = {
        tuple(sorted(pair)) for pair in zip(labels[judged].tolist(), named.tolist(), strict=True) if len(set(pair)) == 2
    }
    found = []
    for first, second in sorted(mixed):
        one, two = (judged[labels[judged] == label] for label in (first, second))
        if min(len(one), len(two)) < FEWEST_OF_CLASS:
            continue
        both = np.concatenate([one, two])
        scores = np.log(doubts.first[both, first] + 1e-12) - np.log(doubts.first[both, second] + 1e-12)
        area = _area(scores[: len(one)], scores[len(one) :])
        if area < ALIKE:
            found.append(AlikeClasses(first, second, area, len(both)))
    return sorted(found, key=lambda pair: pair.area)


def _area(high: Floats, low: Floats) -> float:
    """The share of pairs in which the first is higher; ties count half."""
    low = np.sort(low)
    below = np.searchsorted(low, high, side="left") + np.searchsorted(low, high, side="right")
    return float(below.mean() / (2 * len(low)))


def find_outliers(features: NDArray[np.float32], labels: Integers, n_classes: int) -> list[tuple[int, float]]:
    """Rows that are unlike every class, each left out of what it is compared with, and how far beyond the others.

    Returns:
        Rows with their robust deviations of the log distance, the farthest first; nothing below `FEWEST` images.
    """
    if len(labels) < FEWEST:
        return []
    if len(labels) > MOST_ROWS:
        some = list(evenly(len(labels), MOST_ROWS))
        novelty = Novelty.fit(features[some], labels[some], n_classes)
        if novelty is None:
            return []
        distances = novelty.distances(features)
    else:
        distances = Novelty.left_out(features, labels, n_classes)
    known = np.flatnonzero(distances > 0)
    logs = np.log(distances[known])
    middle = float(np.median(logs))
    spread = 1.4826 * float(np.median(np.abs(logs - middle)))
    if not spread > 0:
        return []
    deviations = (logs - middle) / spread
    order = np.argsort(-deviations, kind="stable")
    return [(int(known[place]), float(deviations[place])) for place in order if deviations[place] > FAR]
