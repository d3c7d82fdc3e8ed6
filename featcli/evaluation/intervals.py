"""95 % intervals of a share: over images, or over groups of images that are alike."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.integer[Any]]
Booleans = npt.NDArray[np.bool_]

FEWEST_GROUPS = 10
FEWEST_EQUAL_GROUPS = 5.0  # groups of one size that vary as much: 13 of which one has nearly all images are like one
Z = NormalDist().inv_cdf(0.975)
# How alike the images of a group are taken to be where there are no mistakes to learn it from, and how many mistakes
# weigh as much as that guess (docs/decisions.md has the trial).
_PRIOR_CORRELATION = 0.3
_PRIOR_MISTAKES = 5.0


def share_interval(hits: Booleans, groups: Integers | None = None) -> list[float] | None:
    """Bounds [low, high] of the 95 % interval for a share of hits.

    Args:
        hits: (N,) of each image.
        groups: (N,) the group of each image, any integers; None where images are independent.

    Returns:
        None where there are no images, or fewer than `FEWEST_GROUPS` groups.
    """
    count, n = int(np.count_nonzero(hits)), len(hits)
    return wilson_interval(count, n) if groups is None else group_interval(hits, groups)


def wilson_interval(correct: float, n: float, quantile: float = Z) -> list[float] | None:
    """Bounds [low, high] of the 95 % score interval for a share of `correct` in `n`; None where n is 0.

    Unlike the textbook interval (share +- 1.96 standard errors) it stays within 0..1 and keeps a width at 0 and n.

    Source: Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 22 (1927).
    """
    if n == 0:
        return None
    z = quantile
    share = correct / n
    centre = share + z * z / (2 * n)
    half_width = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    # The bounds at 0 and n are exactly 0 and 1; rounding must not push them out.
    low = 0.0 if correct == 0 else (centre - half_width) / scale
    high = 1.0 if correct == n else (centre + half_width) / scale
    return [low, high]


def group_interval(hits: Booleans, groups: Integers) -> list[float] | None:
    """The same where the images of a group are alike: a score interval with an effective number of images.

    The design effect, the variance of the share over groups relative to that over as many independent images, gives a
    correlation within groups; where mistakes (or hits) are few it is pulled to 0.3, since groups without a mistake
    do not say how alike they are. The effective number of images is n / design effect, at most n, and the quantile
    that of Student's t with a degree of freedom less than `equal_groups`.

    Source: Kish, "Survey Sampling" (1965), ch. 5; Korn and Graubard, "Confidence Intervals for Proportions with Small
    Expected Number of Positive Counts", Survey Methodology 24 (1998).

    Returns:
        None for fewer than `FEWEST_GROUPS` groups, or where a few of them have most of the images.
    """
    sizes, counts = group_counts(hits, groups)
    if too_few(sizes):
        return None
    n, count = int(sizes.sum()), int(counts.sum())
    n_effective = n / design_effect(sizes, counts)
    return wilson_interval(count / n * n_effective, n_effective, student_quantile(equal_groups(sizes) - 1))


def equal_groups(sizes: Integers) -> float:
    """How many groups of one size a mean over groups of these sizes is like: n^2 / sum of squares, (G,) images each.

    Source: Kish, "Survey Sampling" (1965), ch. 11.7, of weights.
    """
    return float(sizes.sum()) ** 2 / float((sizes.astype(np.float64) ** 2).sum())


def too_few(sizes: Integers) -> bool:
    """Whether groups of these sizes, (G,) images each, say too little of how groups differ."""
    return len(sizes) < FEWEST_GROUPS or equal_groups(sizes) < FEWEST_EQUAL_GROUPS


def group_counts(hits: Booleans, groups: Integers) -> tuple[Integers, Integers]:
    """Images and hits of each group: (G,), (G,)."""
    _, members = np.unique(groups, return_inverse=True)
    counts = np.bincount(members, weights=hits).astype(np.int64)
    return np.bincount(members), counts


def design_effect(sizes: Integers, counts: Integers) -> float:
    """How many times the variance of a share is that over independent images; at least 1.

    Args:
        sizes: (G,) images of each group.
        counts: (G,) hits among them.
    """
    n, n_groups = float(sizes.sum()), len(sizes)
    share = counts.sum() / n
    mean_size = float((sizes.astype(np.float64) ** 2).sum()) / n  # of the group of an image
    if mean_size <= 1:
        return 1.0
    correlation, mistakes = 0.0, float(min(counts.sum(), n - counts.sum()))
    if mistakes:
        residuals = counts - share * sizes
        variance = n_groups / (n_groups - 1) * float(residuals @ residuals) / n**2  # of a ratio of two sums
        correlation = (variance * n / (share * (1 - share)) - 1) / (mean_size - 1)
    weight = _PRIOR_MISTAKES / (_PRIOR_MISTAKES + mistakes)
    correlation = (1 - weight) * correlation + weight * _PRIOR_CORRELATION
    return max(1.0, 1 + (mean_size - 1) * correlation)


def student_quantile(freedom: float) -> float:
    """The 97.5 % quantile of Student's t, to 1e-3 from 4 degrees of freedom on and 2e-5 from 9 on.

    Source: Abramowitz and Stegun, "Handbook of Mathematical Functions", 26.7.5.
    """
    z, v = Z, freedom
    return (
        z
        + (z**3 + z) / (4 * v)
        + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * v**2)
        + (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / (384 * v**3)
        + (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / (92160 * v**4)
    )
