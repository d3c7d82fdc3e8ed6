"""The metrics of one split, from probabilities and true labels.

Undefined is None, never NaN: what `evaluate` returns is strict JSON.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from featcli.evaluation.detection import auroc, average_precision, threshold_table
from featcli.evaluation.intervals import Booleans, Floats, Integers, share_interval
from featcli.evaluation.truth import Truth

ECE_BINS = 15
TOP_K = 5
MOST_SQUARE = 100  # classes, up to which the confusion matrix is among the metrics
_DETECTION = (
    "sensitivity",
    "sensitivity_ci95",
    "specificity",
    "specificity_ci95",
    "auroc",
    "auroc_ci95",
    "average_precision",
    "thresholds",
)
# Wide enough for probabilities in half precision; it is there to catch logits and NaN, not rounding.
_SUM_TOLERANCE = 1e-2


def evaluate(
    probabilities: Floats,
    truth: Truth,
    classes: Sequence[str],
    *,
    decide: Callable[[Floats], Integers],
    positive: str | None = None,
) -> dict[str, Any]:
    """Every metric of a split, in the order of `metrics.json`.

    An image that could not be read has a label and
    no probabilities. It counts in `n`, `n_errors`, `majority_accuracy` and `support`, and as wrong in `accuracy`,
    `recall`, `balanced_accuracy`, `f1`, `macro_f1`, `top5_accuracy`, `sensitivity` and `specificity` (and the
    intervals of these): a broken file is a failure that users meet. It is not in `precision`, `confusion`, `log_loss`,
    `brier`, `ece`, `auroc` and `average_precision`, which need a prediction.

    With groups every `_ci95` is an interval over groups, None where there are fewer than 10 (of the images that it is
    of), and `interval` is `groups`; else `images`.

    Of more than two classes `positive`, `sensitivity`, `specificity`, `auroc`, `average_precision` and `thresholds`
    are None. Of two classes `auroc` is the same whichever is positive, and the others are None where none is.

    Args:
        probabilities: (N, K) float64, rows that sum to 1, in the order of the targets.
        truth: indices into `classes` of the images that were read, and of those that could not be; groups.
        classes: K distinct names.
        decide: from probabilities (N, K) to the class that each row predicts, (N,).
        positive: the one of two classes that is to be found.

    Returns:
        Plain Python values, not rounded. None where undefined: everything of an empty split, `top5_accuracy` under
        6 classes, `precision` of a class that is never predicted, `recall` of a class without images, `f1` of a
        class that is neither, `log_loss`, `brier` and `ece` where no image could be read, `auroc` where a class is
        absent, `average_precision` without positives, `worst_class` where every class is always right,
        `most_confused` where nothing is, `confusion` above 100 classes.

    Raises:
        ValueError: shapes that disagree, a label that is not an integer in 0..K-1, rows that are not probabilities,
            a name twice, a positive class of other than two.
    """
    labels, errors = truth.targets, np.asarray(truth.lost, dtype=np.int64)
    _check_arguments(probabilities, truth, errors, classes)
    if positive is not None and (len(classes) != 2 or positive not in classes):
        raise ValueError(f"{positive!r} is not one of two classes")
    predicted = decide(probabilities)
    n = len(labels) + len(errors)
    hits = np.append(predicted == labels, np.zeros(len(errors), dtype=bool))  # (n,)
    groups = truth.group_numbers()
    counts = _ClassCounts.of(labels, predicted, errors, len(classes))
    per_class = {name: counts.scores(index) for index, name in enumerate(classes)}
    return {
        "accuracy": _ratio(int(np.count_nonzero(hits)), n),
        "accuracy_ci95": share_interval(hits, groups),
        "interval": "images" if groups is None else "groups",
        "majority_accuracy": _ratio(max(counts.support, default=0), n),
        "balanced_accuracy": _mean_defined([scores["recall"] for scores in per_class.values()]),
        "macro_f1": _mean_defined([scores["f1"] for scores in per_class.values()]),
        "top5_accuracy": _top_k_accuracy(probabilities, labels, n),
        "log_loss": _log_loss(probabilities, labels),
        "brier": _brier_score(probabilities, labels),
        "ece": expected_calibration_error(probabilities, labels, predicted),
        "positive": positive,
        **_detection(probabilities, truth, hits, groups, None if positive is None else list(classes).index(positive)),
        "n": n,
        "n_errors": len(errors),
        "n_groups": None if groups is None else len(np.unique(groups)),
        "classes": list(classes),
        "worst_class": counts.worst(classes),
        "most_confused": counts.most_confused(classes),
        "per_class": per_class,
        "confusion": counts.square() if len(classes) <= MOST_SQUARE else None,
    }


def _detection(
    probabilities: Floats, truth: Truth, hits: Booleans, groups: Integers | None, positive: int | None
) -> dict[str, Any]:
    """The metrics of finding one of two classes; all None for more classes.

    Args:
        probabilities: (N, K).
        truth: of N + M images.
        hits: (N + M,) of each image whether it was predicted right.
        groups: (N + M,) or None.
        positive: the index of the class that is to be found, or None.
    """
    found: dict[str, Any] = dict.fromkeys(_DETECTION)
    if probabilities.shape[1] != 2:
        return found
    labels, lost = truth.targets, np.asarray(truth.lost, dtype=np.int64)
    index = 1 if positive is None else positive
    scores, is_positive = probabilities[:, index], labels == index
    readable = None if groups is None else groups[: len(labels)]
    found["auroc"], found["auroc_ci95"] = auroc(scores, is_positive, readable)
    if positive is None:
        return found
    every = np.append(is_positive, lost == index)
    for name, chosen in (("sensitivity", every), ("specificity", ~every)):
        found[name] = _ratio(int(np.count_nonzero(hits[chosen])), int(np.count_nonzero(chosen)))
        found[f"{name}_ci95"] = share_interval(hits[chosen], None if groups is None else groups[chosen])
    found["average_precision"] = average_precision(scores, is_positive)
    n_lost = int(np.count_nonzero(lost == index))
    if len(labels):
        found["thresholds"] = threshold_table(scores, is_positive, n_lost, len(lost) - n_lost)
    return found


@dataclass(frozen=True, slots=True)
class _ClassCounts:
    """Counts of images by class, and of what was taken for what; nothing here is K x K."""

    cells: npt.NDArray[np.int64]  # (C, 3) true, predicted, images: where there are any, in order; only what was read
    hits: list[int]  # images of the class that were predicted as it
    support: list[int]  # images of the class, read or not
    predictions: list[int]  # images predicted as the class

    @classmethod
    def of(cls, labels: Integers, predicted: Integers, errors: Integers, k: int) -> _ClassCounts:
        """Count N true and predicted labels, and the labels of unreadable images, over k classes."""
        keys, images = np.unique(labels.astype(np.int64) * k + predicted, return_counts=True)
        cells = np.stack([keys // k, keys % k, images], axis=1).astype(np.int64)
        return cls(
            cells,
            np.bincount(labels[predicted == labels], minlength=k).tolist(),
            (np.bincount(labels, minlength=k) + np.bincount(errors, minlength=k)).tolist(),
            np.bincount(predicted, minlength=k).tolist(),
        )

    def scores(self, index: int) -> dict[str, float | int | None]:
        """`precision`, `recall`, `f1` and `support` of one class."""
        hits, support, predictions = self.hits[index], self.support[index], self.predictions[index]
        return {
            "precision": _ratio(hits, predictions),
            "recall": _ratio(hits, support),
            # 2 hits / (support + predictions) is 2PR / (P + R) without its 0/0 where P or R is undefined.
            "f1": _ratio(2 * hits, support + predictions),
            "support": support,
        }

    def worst(self, classes: Sequence[str]) -> dict[str, Any] | None:
        """The class of the lowest recall, of equals that with the most images; None where all is right."""
        shares = [
            (hits / n, -n, index) for index, (hits, n) in enumerate(zip(self.hits, self.support, strict=True)) if n
        ]
        if not shares or min(shares)[0] == 1:
            return None
        recall, _, index = min(shares)
        return {"class": classes[index], "recall": recall, "hits": self.hits[index], "support": self.support[index]}

    def most_confused(self, classes: Sequence[str]) -> dict[str, Any] | None:
        """The mistake that is made most often, of equals in the class with fewer images; None without mistakes."""
        wrong = self.cells[self.cells[:, 0] != self.cells[:, 1]]
        if not len(wrong):
            return None
        true, predicted, count = min(wrong.tolist(), key=lambda cell: (-cell[2], self.support[cell[0]]))
        return {"true": classes[true], "predicted": classes[predicted], "count": count, "support": self.support[true]}

    def square(self) -> list[list[int]]:
        """Rows true, columns predicted; for few classes."""
        k = len(self.support)
        confusion = np.zeros((k, k), dtype=np.int64)
        confusion[self.cells[:, 0], self.cells[:, 1]] = self.cells[:, 2]
        return [[int(cell) for cell in row] for row in confusion]


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


def _brier_score(probabilities: Floats, labels: Integers) -> float | None:
    """Mean squared distance of the probabilities from the truth: over all classes, of two over one of them.

    As scikit-learn's `brier_score_loss`: from 0 to 1 for two classes, to 2 for more.
    """
    if len(labels) == 0:
        return None
    own = _true_probabilities(probabilities, labels)
    # Without a second (N, K) array.
    squares = np.einsum("ij,ij->i", probabilities, probabilities) - own**2 + (1 - own) ** 2
    return float(squares.mean()) / (2 if probabilities.shape[1] == 2 else 1)


def expected_calibration_error(probabilities: Floats, labels: Integers, predicted: Integers) -> float | None:
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


def _check_arguments(probabilities: Floats, truth: Truth, errors: Integers, classes: Sequence[str]) -> None:
    """A mistake of the caller must not become a number that looks like a result."""
    k, labels = len(classes), truth.targets
    if probabilities.shape != (len(labels), k) or labels.ndim != 1:
        raise ValueError(f"probabilities {probabilities.shape} do not fit {labels.shape} labels of {k} classes")
    if len(set(classes)) != k or k == 0:
        raise ValueError("classes must be one or more distinct names")
    if not np.issubdtype(labels.dtype, np.integer):
        raise ValueError(f"labels are integers, not {labels.dtype}")
    if truth.groups is not None and len(truth.groups) != len(labels) + len(errors):
        raise ValueError(f"{len(truth.groups)} groups are not those of {len(labels)} + {len(errors)} images")
    for indices in (labels, errors):
        if len(indices) and not (0 <= indices.min() and indices.max() < k):
            raise ValueError(f"a label lies outside 0..{k - 1}")
    # Written so that NaN fails: every comparison with it is false.
    sums_to_one = np.abs(probabilities.sum(axis=1) - 1) <= _SUM_TOLERANCE
    if len(labels) and not (probabilities.min() >= 0 and sums_to_one.all()):
        raise ValueError("each row of probabilities must be finite, not negative, and sum to 1")
