"""Probabilities that mean what they say: one temperature for all logits, chosen on images that no head learned from."""

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

# The standard deviation of log temperature before anything is seen. A solved head's C was chosen by the same log loss,
# so little is left to a temperature, and 0.5 made the log loss of new images worse after 60 images; training by
# gradient knows no such choice.
SOLVED_SPREAD, TRAINED_SPREAD = 0.1, 0.5
LARGEST = 20.0  # temperatures from 1/20 to 20
MOST_ROWS = 100_000  # evenly spread, that a temperature is fitted to
VALIDATION = "validation"  # how a temperature was chosen where it was on the images that chose the epoch
BINS = 10  # of the reliability table
_STEPS = 60


@dataclass(frozen=True, slots=True)
class Calibration:
    """The temperature that logits are divided by before they become probabilities.

    Args:
        temperature: above 1 makes a model less sure of itself, below 1 surer.
        n: on how many images it was chosen.
        how: which these are, in words: `5 folds`, `each left out in turn`, `validation`.
        before: `log_loss` of these images at temperature 1.
        after: the same at the temperature.
    """

    temperature: float
    n: int
    how: str
    before: float
    after: float

    @classmethod
    def fit(cls, logits: Floats, labels: Integers, how: str) -> Calibration:
        """From held-out logits (N, K), which may be minus infinity for a class, and labels (N,); N at least 1."""
        temperature = fit_temperature(logits, labels, TRAINED_SPREAD if how == VALIDATION else SOLVED_SPREAD)
        before, after = mean_log_loss(logits, labels), mean_log_loss(logits / temperature, labels)
        return cls(temperature, len(labels), how, before, after)

    @classmethod
    def from_json(cls, facts: Mapping[str, Any]) -> Calibration:
        """From what `to_json` gave. Raises KeyError, TypeError or ValueError for anything else."""
        temperature = float(facts["temperature"])
        if facts["method"] != "temperature" or not 0.0 < temperature < math.inf:
            raise ValueError("no temperature")
        return cls(temperature, int(facts["n"]), str(facts["how"]), facts["log_loss_before"], facts["log_loss_after"])

    def to_json(self) -> dict[str, Any]:
        """Plain values, as a checkpoint and `metrics.json` have them."""
        return {
            "method": "temperature",
            "temperature": self.temperature,
            "n": self.n,
            "how": self.how,
            "log_loss_before": self.before,
            "log_loss_after": self.after,
        }


def fit_temperature(logits: Floats, labels: Integers, spread: float | None) -> float:
    """The most probable temperature, its logarithm being normal around 0 before anything is seen.

    The prior matters where images are few, or none is predicted wrongly: the likelihood alone would then ask for ever
    more certainty.

    Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017 (https://arxiv.org/abs/1706.04599), 4.2;
    the prior is ours.

    Args:
        logits: (N, K).
        labels: (N,) 0 ... K - 1.
        spread: the prior's standard deviation; None for no prior.
    """
    if len(labels) > MOST_ROWS:
        rows = np.array(evenly(len(labels), MOST_ROWS))
        logits, labels = logits[rows], labels[rows]
    shifted = logits - logits[np.arange(len(labels)), labels][:, None]  # the label's logit is 0
    shifted = np.where(np.isnan(shifted), -np.inf, shifted)
    low, high = -math.log(LARGEST), math.log(LARGEST)

    def slope(log_beta: float) -> float:
        """Of the negative log posterior by the logarithm of beta = 1 / temperature; it rises through its zero."""
        beta = math.exp(log_beta)
        top = shifted.max(axis=1, keepdims=True)
        shares = np.exp(beta * (shifted - top))
        finite = np.where(np.isfinite(shifted), shifted, 0.0)
        mean = (shares * finite).sum(axis=1) / shares.sum(axis=1)
        found = beta * float(mean.sum())
        return found if spread is None else found + log_beta / spread**2

    if slope(low) >= 0:
        return LARGEST
    if slope(high) <= 0:
        return 1 / LARGEST
    for _ in range(_STEPS):
        middle = 0.5 * (low + high)
        if slope(middle) > 0:
            high = middle
        else:
            low = middle
        if high - low < 1e-6:
            break
    return math.exp(-0.5 * (low + high))


def cross_fitted_temperatures(logits: Floats, labels: Integers) -> Floats:
    """(N, 1) for each of N images the temperature that is chosen on the other four fifths of them."""
    fifths = np.arange(len(labels)) % 5
    found = np.ones((len(labels), 1))
    for fifth in range(5):
        rest = fifths != fifth
        if rest.any():
            found[~rest] = fit_temperature(logits[rest], labels[rest], TRAINED_SPREAD)
    return found


def mean_log_loss(logits: Floats, labels: Integers) -> float:
    """Mean negative log likelihood (nats) of labels (N,) under logits (N, K)."""
    top = logits.max(axis=1, keepdims=True)
    sums = np.log(np.exp(logits - top).sum(axis=1)) + top[:, 0]
    return float((sums - logits[np.arange(len(labels)), labels]).mean())


def refinement(logits: Floats, labels: Integers) -> float:
    """The log loss at these labels' own best temperature: what no recalibration by a temperature takes away.

    Source: Berta, Holzmüller, Jordan and Bach, "Rethinking Early Stopping: Refine, Then Calibrate", 2025
    (https://arxiv.org/abs/2501.19195), the estimator by temperature scaling.
    """
    return mean_log_loss(logits / fit_temperature(logits, labels, None), labels)


def reliability(probabilities: Floats, labels: Integers, predicted: Integers) -> list[dict[str, float | int]]:
    """How often predictions of a confidence are right: bins of equal width that hold an image, in order.

    Args:
        probabilities: (N, K).
        labels: (N,).
        predicted: (N,).

    Returns:
        For each bin `confidence`, the mean, `accuracy`, and `n`.
    """
    confidence = np.take_along_axis(probabilities, predicted[:, None], axis=1)[:, 0]
    bins = np.searchsorted(np.arange(1, BINS) / BINS, confidence, side="left")
    hits = predicted == labels
    return [
        {
            "confidence": float(confidence[bins == index].mean()),
            "accuracy": float(hits[bins == index].mean()),
            "n": int(np.count_nonzero(bins == index)),
        }
        for index in np.unique(bins)
    ]
