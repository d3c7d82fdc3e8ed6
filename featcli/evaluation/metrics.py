"""The metrics of one split, from probabilities and true labels.

Undefined is None, never NaN: what `evaluate` returns is strict JSON.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer[Any]]

ECE_BINS = 15
TOP_K = 5
# Wide enough for probabilities in half precision; it is there to catch logits and NaN, not rounding.
_SUM_TOLERANCE = 1e-2


def evaluate(
    probabilities: Floats,
    labels: Integers,
    classes: Sequence[str],
    *,
    decide: Callable[[Floats], Integers],
    error_labels: Sequence[int] = (),
) -> dict[str, Any]:
    """Every metric of a split, in the order of `metrics.json`.

    An image that could not be read has a label and
    no probabilities. It counts in `n`, `n_errors`, `majority_accuracy` and `support`, and as wrong in `accuracy` (and
    its interval), `recall`, `balanced_accuracy`, `f1`, `macro_f1` and `top5_accuracy`: a broken file is a failure
    that users meet. It is not in `precision`, `confusion`, `log_loss` and `ece`, which need a prediction.

    Args:
        probabilities: (N, K) float64, rows that sum to 1, in the order of `labels`.
        labels: (N,) indices into `classes`.
        classes: K distinct names.
        decide: from probabilities (N, K) to the class that each row predicts, (N,).
        error_labels: the labels of the images that could not be read.

    Returns:
        Plain Python values, not rounded. None where undefined: everything of an empty split, `top5_accuracy` under
        6 classes, `precision` of a class that is never predicted, `recall` of a class without images, `f1` of a
        class that is neither, `log_loss` and `ece` where no image could be read.

    Raises:
        ValueError: shapes that disagree, a label that is not an integer in 0..K-1, rows that are not probabilities,
            a name twice.
    """
    errors = np.asarray(error_labels, dtype=np.int64)
    _check_arguments(probabilities, labels, errors, classes)
    predicted = decide(probabilities)
    n = len(labels) + len(errors)
    correct = int(np.count_nonzero(predicted == labels))
    counts = _ClassCounts.of(labels, predicted, errors, len(classes))
    per_class = {name: counts.scores(index) for index, name in enumerate(classes)}
    return {
        "accuracy": _ratio(correct, n),
        "accuracy_ci95": wilson_interval(correct, n),
        "majority_accuracy": _ratio(max(counts.support, default=0), n),
        "balanced_accuracy": _mean_defined([scores["recall"] for scores in per_class.values()]),
        "macro_f1": _mean_defined([scores["f1"] for scores in per_class.values()]),
        "top5_accuracy": _top_k_accuracy(probabilities, labels, n),
        "log_loss": _log_loss(probabilities, labels),
        "ece": _expected_calibration_error(probabilities, labels, predicted),
        "n": n,
        "n_errors": len(errors),
        "classes": list(classes),
        "per_class": per_class,
        "confusion": counts.confusion,
    }


def wilson_interval(correct: int, n: int) -> list[float] | None:
    """Bounds [low, high] of the 95 % score interval for a share of `correct` in `n`; None where n is 0.

    Unlike the textbook interval (share +- 1.96 standard errors) it stays within 0..1 and keeps a width at 0 and n.

    Source: Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 22 (1927).
    """
    if n == 0:
        return None
    z = NormalDist().inv_cdf(0.975)
    share = correct / n
    centre = share + z * z / (2 * n)
    half_width = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # The bounds at 0 and n are exactly 0 and 1; rounding must not push them out.
    low = 0.0 if correct == 0 else (centre - half_width) / scale
    high = 1.0 if correct == n else (centre + half_width) / scale
    return [low, high]


@dataclass(frozen=True, slots=True)
class _ClassCounts:
    """Counts of images by class: all that precision, recall and F1 need."""

    confusion: list[list[int]]  # rows true, columns predicted; only images that were read
    support: list[int]  # images of the class, read or not
    predictions: list[int]  # images predicted as the class

    @classmethod
    def of(cls, labels: Integers, predicted: Integers, errors: Integers, k: int) -> _ClassCounts:
        """Count N true and predicted labels, and the labels of unreadable images, over k classes."""
        cells = labels.astype(np.int64) * k + predicted
        confusion = np.bincount(cells, minlength=k * k).reshape(k, k)
        support = confusion.sum(axis=1) + np.bincount(errors, minlength=k)
        return cls(confusion.tolist(), support.tolist(), confusion.sum(axis=0).tolist())

    def scores(self, index: int) -> dict[str, float | int | None]:
        """`precision`, `recall`, `f1` and `support` of one class."""
        hits, support, predictions = self.confusion[index][index], self.support[index], self.predictions[index]
        return {
            "precision": _ratio(hits, predictions),
            "recall": _ratio(hits, support),
            # 2 hits / (support + predictions) is 2PR / (P + R) without its 0/0 where P or R is undefined.
            "f1": _ratio(2 * hits, support + predictions),
            "support": support,
        }


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _mean_defined(values: Sequence[float | int | None]) -> float | None:
    """Mean over what is not None; None where nothing is left."""
    defined = [value for value in values if value is not None]
    return math.fsum(defined) / len(defined) if defined else None


def _true_probabilities(probabilities: Floats, labels: Integers) -> Floats:
    """What each image's own class was given: (N, K), (N,) -> (N,)."""
    return np.take_along_axis(probabilities, labels[:, None], axis=1)[:, 0]


def _top_k_accuracy(probabilities: Floats, labels: Integers, n: int) -> float | None:
    """Share of n images whose class is among the 5 most probable; None under 6 classes, where it says nothing.

    A class's rank is the number of classes ahead of it: the more probable, and the equal with a smaller index.
    So the first of equals counts as the most probable, and nothing is sorted.
    """
    k = probabilities.shape[1]
    if k <= TOP_K:
        return None
    own = _true_probabilities(probabilities, labels)[:, None]  # (N, 1)
    first_of_equals = np.arange(k) < labels[:, None]  # (N, K)
    ahead = (probabilities > own) | ((probabilities == own) & first_of_equals)
    return _ratio(int(np.count_nonzero(ahead.sum(axis=1) < TOP_K)), n)


def _log_loss(probabilities: Floats, labels: Integers) -> float | None:
    """Mean negative natural logarithm of the true class's probability, clipped as scikit-learn does."""
    if len(labels) == 0:
        return None
    smallest = float(np.finfo(np.float64).eps)
    own = np.clip(_true_probabilities(probabilities, labels), smallest, 1 - smallest)
    return float(-np.log(own).mean())


def _expected_calibration_error(probabilities: Floats, labels: Integers, predicted: Integers) -> float | None:
    """Mean over images of |accuracy - mean confidence| of their bin; 15 equal bins, each without its lower edge.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017 (https://arxiv.org/abs/1706.04599), eq. 3.
    """
    if len(labels) == 0:
        return None
    confidence = _true_probabilities(probabilities, predicted)
    inner_edges = np.arange(1, ECE_BINS) / ECE_BINS
    bins = np.searchsorted(inner_edges, confidence, side="left")  # an edge belongs to the bin below it
    surplus = np.bincount(bins, weights=(predicted == labels) - confidence, minlength=ECE_BINS)
    return float(np.abs(surplus).sum() / len(labels))


def _check_arguments(probabilities: Floats, labels: Integers, errors: Integers, classes: Sequence[str]) -> None:
    """A mistake of the caller must not become a number that looks like a result."""
    k = len(classes)
    if probabilities.shape != (len(labels), k) or labels.ndim != 1:
        raise ValueError(f"probabilities {probabilities.shape} do not fit {labels.shape} labels of {k} classes")
    if len(set(classes)) != k or k == 0:
        raise ValueError("classes must be one or more distinct names")
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels are integers, not {labels.dtype}")
    for indices in (labels, errors):
        if len(indices) and not (0 <= indices.min() and indices.max() < k):
            raise ValueError(f"a label lies outside 0..{k - 1}")
    # Written so that NaN fails: every comparison with it is false.
    sums_to_one = np.abs(probabilities.sum(axis=1) - 1) <= _SUM_TOLERANCE
    if len(labels) and not (probabilities.min() >= 0 and sums_to_one.all()):
        raise ValueError("each row of probabilities must be finite, not negative, and sum to 1")
