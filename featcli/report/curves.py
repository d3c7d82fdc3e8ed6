"""Curves of images with truth and prediction, as points: ROC, accuracy against the share answered, reliability."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featcli.report.material import Judged

Points = list[tuple[float, float]]
BINS = 10


@dataclass(frozen=True, slots=True)
class Bin:
    """Predictions of about one confidence: its mean, how often they are right, and how many they are."""

    confidence: float
    accuracy: float
    n: int


def positive_scores(images: Sequence[Judged], positive: str) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Of two classes, the probability of one for each image that could be read, (N,), and whether it is of it, (N,)."""
    read = [image for image in images if image.label]
    scores = [image.confidence if image.label == positive else 1 - image.confidence for image in read]
    return np.array(scores, dtype=np.float64), np.array([image.truth == positive for image in read], dtype=bool)


def roc(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> Points:
    """Share of the negatives and of the positives at or above each threshold, from (0, 0) to (1, 1).

    Args:
        scores: (N,) larger for the positive class.
        positive: (N,).

    Returns:
        Corners alone: points on a straight line between others are left out. Empty where one of the classes is absent.
    """
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if not n_positive or not n_negative:
        return []
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.diff(scores[order]) != 0, True)
    hits = np.concatenate([[0], np.cumsum(positive[order])[last]])
    alarms = np.concatenate([[0], np.cumsum(~positive[order])[last]])
    before, after = np.diff(hits)[:-1] * np.diff(alarms)[1:], np.diff(hits)[1:] * np.diff(alarms)[:-1]
    corner = np.concatenate([[True], before != after, [True]])
    rates = zip(alarms[corner] / n_negative, hits[corner] / n_positive, strict=True)
    return [(float(x), float(y)) for x, y in rates]


def coverage(images: Sequence[Judged], most: int = 200) -> Points:
    """Share of the images that is answered where only the surest are, and how many of these are right.

    Images of one confidence are answered together; an unreadable image is never answered.

    Returns:
        At most so many points, the share rising to that of all images that could be read.
    """
    read = sorted((image for image in images if image.label), key=lambda image: -image.confidence)
    if not read:
        return []
    confidence = np.array([image.confidence for image in read])
    hits = np.cumsum([image.is_right for image in read])
    last = np.flatnonzero(np.append(np.diff(confidence) != 0, True))
    if len(last) > most:
        last = last[np.linspace(0, len(last) - 1, most).round().astype(np.int64)]
    return [(float((row + 1) / len(images)), float(hits[row] / (row + 1))) for row in last]


def reliability(confidence: NDArray[np.float64], right: NDArray[np.bool_]) -> list[Bin]:
    """Bins of equal width that hold an image, in order; an edge belongs to the bin below it.

    Args:
        confidence: (N,).
        right: (N,).
    """
    bins = np.searchsorted(np.arange(1, BINS) / BINS, confidence, side="left")
    return [
        Bin(float(confidence[bins == index].mean()), float(right[bins == index].mean()), int((bins == index).sum()))
        for index in range(BINS)
        if (bins == index).any()
    ]


def uncalibrated(confidence: NDArray[np.float64], temperature: float) -> NDArray[np.float64]:
    """Of two classes, the confidence (N,) that a prediction had before its logits were divided by the temperature."""
    sure = np.clip(confidence, 1e-12, 1 - 1e-12)
    return np.asarray(1 / (1 + ((1 - sure) / sure) ** temperature), dtype=np.float64)
