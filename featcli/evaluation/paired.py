"""Two models on the same images: the difference of their accuracies."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcli.evaluation.intervals import Z


def paired_difference(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> dict[str, Any] | None:
    """How much more often the second model is right, on the images where the two differ.

    Sources: McNemar, "Note on the sampling error of the difference between correlated proportions or percentages",
    Psychometrika 1947, in its exact form; Agresti and Min, "Simple improved confidence intervals for comparing matched
    proportions", Statistics in Medicine 2005, for the interval.

    Args:
        first: (N,) whether the first model is right.
        second: (N,) whether the second one is, on the same images.

    Returns:
        `first` and `second`, the accuracies; `difference`, `ci95` [low, high] of it; `only_first` and `only_second`,
        images that only one is right on; `p`, of as uneven a division of these by chance. None without images.
    """
    n = len(first)
    if n == 0:
        return None
    lost, won = int(np.count_nonzero(first & ~second)), int(np.count_nonzero(second & ~first))
    difference = (won - lost) / n
    # Half an image more in each of the four cells.
    b, c, m = lost + 0.5, won + 0.5, n + 2.0
    centre = (c - b) / m
    half = Z * math.sqrt(max(b + c - (c - b) ** 2 / m, 0.0)) / m
    return {
        "first": float(first.mean()),
        "second": float(second.mean()),
        "difference": difference,
        "ci95": [max(-1.0, centre - half), min(1.0, centre + half)],
        "only_first": lost,
        "only_second": won,
        "p": _two_sided(min(lost, won), lost + won),
    }


def _two_sided(least: int, n: int) -> float:
    """The probability that a fair coin thrown n times divides at least as unevenly as `least` to the rest."""
    if n == 0:
        return 1.0
    logs = [math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in range(least + 1)]
    tail = math.fsum(math.exp(value - n * math.log(2)) for value in logs)
    return min(1.0, 2 * tail)
