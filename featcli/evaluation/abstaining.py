"""What a model is worth where it may keep silent: accuracy of its surest answers, and sets that hold the truth."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcli.evaluation.conformal import Scores

SHARES = (1.0, 0.95, 0.9, 0.8, 0.7, 0.5)
COVERAGES = (0.8, 0.9, 0.95)


def coverage_curve(confidence: NDArray[np.float64], hits: NDArray[np.bool_]) -> list[dict[str, float | int]]:
    """Accuracy on the surest images, of equals all or none.

    Args:
        confidence: (N,) of the predicted class; N at least 1.
        hits: (N,) whether the prediction is right.

    Returns:
        For each of `SHARES` the images that are at least as sure as so many: `coverage`, their share, `threshold`, the
        least confidence among them, `accuracy` and `n`; once where two shares are of the same images.
    """
    order = np.sort(confidence)[::-1]
    rows: list[dict[str, float | int]] = []
    for share in SHARES:
        threshold = float(order[max(1, math.ceil(share * len(order) - 1e-9)) - 1])
        answered = confidence >= threshold
        n = int(np.count_nonzero(answered))
        if rows and rows[-1]["n"] == n:
            continue
        rows.append(
            {
                "coverage": n / len(order),
                "threshold": threshold,
                "accuracy": float(hits[answered].mean()),
                "n": n,
            }
        )
    return rows


def set_metrics(scores: Scores, probabilities: NDArray[np.float64], labels: NDArray[np.int64]) -> list[dict[str, Any]]:
    """How often sets hold the true class, and how large they are, for each of `COVERAGES`.

    Args:
        scores: of held-out images.
        probabilities: (N, K) of other images; N at least 1.
        labels: (N,) of these.

    Returns:
        For each `asked`: `coverage`, the share of images whose set holds the true class, `size`, the mean number of
        classes, `empty`, the share of sets without one, and `by_class`, whether classes have thresholds of their own.
    """
    found = []
    for asked in COVERAGES:
        rule = scores.rule(asked)
        members = rule.members(probabilities)
        sizes = members.sum(axis=1)
        found.append(
            {
                "asked": asked,
                "coverage": float(members[np.arange(len(labels)), labels].mean()),
                "size": float(sizes.mean()),
                "empty": float((sizes == 0).mean()),
                "by_class": rule.by_class,
            }
        )
    return found
