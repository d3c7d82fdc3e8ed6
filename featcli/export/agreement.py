"""Whether an exported file predicts what its checkpoint predicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcli.tasks.multiclass import decide

TOLERANCE = 1e-4  # of a probability; and of the two most probable, below which either may be the label
WHOLE_TOLERANCE = 2e-2  # where the file resizes itself, by arithmetic of its own


@dataclass(frozen=True, slots=True)
class Agreement:
    """What a file and its checkpoint say of N images.

    Attributes:
        images: N.
        labels: of how many the label is the same.
        ties: those of which it differs, where the two most probable are as good as equal.
        largest: the largest difference of a probability.
        differing: indices of images whose label differs beyond that, or a probability by more than the tolerance; the
            largest difference first.
    """

    images: int
    labels: int
    ties: Sequence[int]
    largest: float
    differing: Sequence[int]

    def to_json(self) -> dict[str, Any]:
        """As the file has it."""
        return {
            "images": self.images,
            "labels": self.labels,
            "near_ties": len(self.ties),
            "largest_difference": self.largest,
        }


def compare(expected: NDArray[np.float64], found: NDArray[np.float64], tolerance: float) -> Agreement:
    """Compares predictions of the same images.

    Args:
        expected: (N, K) of the checkpoint.
        found: (N, K) of the file; what is not finite differs from everything.
        tolerance: of a probability.
    """
    gaps = np.nan_to_num(np.abs(expected - found), nan=1.0, posinf=1.0).max(axis=1, initial=0.0)
    differ = decide(expected) != decide(found)
    differ |= ~np.isfinite(found).all(axis=1)
    best = np.sort(expected, axis=1)[:, ::-1]
    tied = differ & (best[:, 0] - best[:, min(1, best.shape[1] - 1)] < tolerance) & (gaps <= tolerance)
    wrong = np.flatnonzero((differ & ~tied) | (gaps > tolerance))
    return Agreement(
        images=len(expected),
        labels=int(np.count_nonzero(~differ)),
        ties=np.flatnonzero(tied).tolist(),
        largest=float(gaps.max(initial=0.0)),
        differing=wrong[np.argsort(-gaps[wrong], kind="stable")].tolist(),
    )
