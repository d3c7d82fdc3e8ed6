"""How well one of two classes is found: by its probability, whatever the threshold, and at some thresholds."""

from __future__ import annotations

import math

import numpy as np

from featcli.evaluation.intervals import Booleans, Floats, Integers, Z, equal_groups, student_quantile, too_few

TARGETS = (0.8, 0.9, 0.95, 0.99)
DEFAULT_THRESHOLD = 0.5


def auroc(
    scores: Floats, positive: Booleans, groups: Integers | None = None
) -> tuple[float | None, list[float] | None]:
    """The area under the ROC curve, ties counted half, and its 95 % interval.

    The interval is that of DeLong's variance on the scale of the logit, which keeps it in 0..1; of images in groups, of
    Obuchowski's variance over groups, with Student's t. Where that variance is 0 (every positive above every
    negative, or all alike) it is Newcombe's, which asks for the number of images, or groups, alone.

    Source: DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988); Obuchowski, "Nonparametric Analysis of Clustered
    ROC Curve Data", Biometrics 53 (1997); Newcombe, Statistics in Medicine 25 (2006) 559, method 5.

    Args:
        scores: (N,) larger for the positive class.
        positive: (N,).
        groups: (N,) the group of each image; None where images are independent.

    Returns:
        None and None where one of the classes is absent; no interval for one image of a class, or where the groups with
        images of a class are `too_few`.
    """
    upper, lower = scores[positive], scores[~positive]
    if not len(upper) or not len(lower):
        return None, None
    below = _share_below(upper, lower)  # of the negatives, by positive
    above = 1 - _share_below(lower, upper)  # of the positives, by negative
    area = float(below.mean())
    clusters = np.arange(len(scores)) if groups is None else groups
    per_positive, n_positive = _sums(below - area, clusters[positive], clusters)
    per_negative, n_negative = _sums(above - area, clusters[~positive], clusters)
    fewest, quantile = min(n_positive, n_negative), Z
    if groups is not None:
        sizes = [np.unique(groups[chosen], return_counts=True)[1] for chosen in (positive, ~positive)]
        if any(map(too_few, sizes)):
            return area, None
        quantile = student_quantile(min(map(equal_groups, sizes)) - 1)
    elif fewest < 2:
        return area, None
    n_clusters = len(np.unique(clusters))
    variance = (
        _scatter(per_positive, per_positive, n_positive) / len(upper) ** 2
        + _scatter(per_negative, per_negative, n_negative) / len(lower) ** 2
        + 2 * _scatter(per_positive, per_negative, n_clusters) / (len(upper) * len(lower))
    )
    if not 0 < area < 1 or variance <= 0:
        return area, _newcombe(area, n_positive, n_negative, quantile)
    logit, width = math.log(area / (1 - area)), quantile * math.sqrt(variance) / (area * (1 - area))
    return area, [_logistic(logit - width), _logistic(logit + width)]


def average_precision(scores: Floats, positive: Booleans) -> float | None:
    """Mean of the precision at each threshold, weighted by the rise in recall; None without positives.

    As scikit-learn's `average_precision_score`: no interpolation.
    """
    n_positive = int(np.count_nonzero(positive))
    if n_positive == 0:
        return None
    hits, flagged, _ = _by_threshold(scores, positive)
    recall = hits / n_positive
    return float(np.sum(np.diff(recall, prepend=0.0) * hits / flagged))


def threshold_table(
    scores: Floats, positive: Booleans, lost_positives: int, lost_negatives: int
) -> list[dict[str, float | None]]:
    """What thresholds on the probability give: an image is flagged from the threshold on.

    For each target of the sensitivity the highest threshold that reaches it, then 0.5. An unreadable image is
    neither flagged nor cleared: it is wrong in `sensitivity` and `specificity`, and counts in `flagged_share`.

    Args:
        scores: (N,) probabilities of the positive class.
        positive: (N,).
        lost_positives: images of the positive class that could not be read.
        lost_negatives: the same of the other class.

    Returns:
        Rows of `target_sensitivity` (None for 0.5), `threshold`, `sensitivity`, `specificity`, `precision` and
        `flagged_share`; all of a target that no threshold reaches is None.
    """
    hits, _, values = _by_threshold(scores, positive)
    n_positive = int(np.count_nonzero(positive)) + lost_positives
    n_negative = len(scores) + lost_positives + lost_negatives - n_positive
    rows = []
    for target in TARGETS:
        reached = values[hits >= target * n_positive - 1e-9]  # falling
        rows.append((target, float(reached[0]) if n_positive and len(reached) else None))
    names = ("sensitivity", "specificity", "precision", "flagged_share")
    table: list[dict[str, float | None]] = []
    for aim, threshold in (*rows, (None, DEFAULT_THRESHOLD)):
        shares: tuple[float | None, ...] = (None,) * len(names)
        if threshold is not None:
            above = scores >= threshold
            n_flagged, n_hits = int(np.count_nonzero(above)), int(np.count_nonzero(above & positive))
            cleared = int(np.count_nonzero(~above & ~positive))
            shares = (
                _ratio(n_hits, n_positive),
                _ratio(cleared, n_negative),
                _ratio(n_hits, n_flagged),
                _ratio(n_flagged, n_positive + n_negative),
            )
        table.append({"target_sensitivity": aim, "threshold": threshold, **dict(zip(names, shares, strict=True))})
    return table


def _share_below(scores: Floats, others: Floats) -> Floats:
    """The share of the others that is below each score, equals counted half."""
    ordered = np.sort(others)
    ranks = np.searchsorted(ordered, scores, "left") + np.searchsorted(ordered, scores, "right")
    return np.asarray(ranks / (2 * len(others)), dtype=np.float64)


def _sums(values: Floats, members: Integers, clusters: Integers) -> tuple[Floats, int]:
    """The sum of the values of each cluster, 0 where it has none; and how many have some."""
    size = int(clusters.max()) + 1
    present = int(np.count_nonzero(np.bincount(members, minlength=size)))
    return np.asarray(np.bincount(members, weights=values, minlength=size), dtype=np.float64), present


def _scatter(one: Floats, other: Floats, count: int) -> float:
    return float(one @ other) * count / (count - 1)


def _newcombe(area: float, n_positive: int, n_negative: int, quantile: float) -> list[float]:
    """The areas that are `quantile` standard errors (Hanley and McNeil's, of that area) away from the one found."""

    def lower(found: float) -> float:
        low, high = 0.0, found
        for _ in range(60):
            middle = (low + high) / 2
            spread = (n_positive + n_negative) / 2 - 1
            variance = middle * (1 - middle) * (1 + spread * ((1 - middle) / (2 - middle) + middle / (1 + middle)))
            away = quantile * math.sqrt(variance / (n_positive * n_negative))
            low, high = (middle, high) if found - middle > away else (low, middle)
        return low

    return [lower(area), 1 - lower(1 - area)]


def _by_threshold(scores: Floats, positive: Booleans) -> tuple[Integers, Integers, Floats]:
    """For every distinct score, the highest first: positives at or above it, images at or above it, the score."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last = np.flatnonzero(np.append(np.diff(ordered) != 0, True)) if len(ordered) else np.empty(0, dtype=np.int64)
    hits = np.cumsum(positive[order].astype(np.int64))[last]
    return hits, last + 1, ordered[last]


def _logistic(value: float) -> float:
    return 1 / (1 + math.exp(-value)) if value >= 0 else math.exp(value) / (1 + math.exp(value))


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
