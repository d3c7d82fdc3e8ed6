"""Multinomial logistic regression on standardised features, solved along a path of C.

The objective is scikit-learn's: `C * sum_i s_i * cross_entropy_i + 0.5 * ||W||^2`, the intercept unpenalised, two
classes with one weight vector. Features are standardised by the rows that are fitted (`Standardisation` says how);
solutions are for raw features.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from featcli.errors import DatasetError
from featcli.heads.basis import RotatedFeatures, eigenbasis, rotate, row_space, standardisation
from featcli.heads.kind import ClassWeight, FloatArray
from featcli.heads.lbfgs import CrossEntropy, Limits, PenalisedProblem, Point, Tick, minimise

FIT = Limits(1e-7)  # estimated; the true gap was at most 1e-6 of the objective wherever it was measured
ROUGH = Limits(1e-3)
APPROACH = (
    1e-3,
    1e-2,
    1e-1,
)  # times the first C: solved roughly on the way there, which halves the iterations and more
SMALL = 5_000_000  # multiplications in one product with the features, below which a second thread is no help


@dataclass(frozen=True, slots=True)
class Solution:
    """The minimum for one C.

    Args:
        C: factor of the summed loss.
        weight: (K, D) float64, for raw features. Two classes have the rows -w/2 and w/2.
        bias: (K,) float64.
        objective: the minimised value, of weights for standardised features.
        iterations: of L-BFGS, on the way from the C before too; each reads the features twice.
        converged: the objective is within the solver's tolerance.
        grad_norm: Euclidean norm of the objective's gradient.
    """

    C: float
    weight: NDArray[np.float64]
    bias: NDArray[np.float64]
    objective: float
    iterations: int
    converged: bool
    grad_norm: float


def solve_path(
    features: FloatArray,
    labels: NDArray[np.integer],
    n_classes: int,
    Cs: Sequence[float],
    *,
    class_weight: ClassWeight = "none",
    tick: Tick | None = None,
) -> list[Solution]:
    """One solution for each C, ascending, each started from those before it.

    Args:
        features: (N, D) float32 or float64.
        labels: (N,) 0 ... n_classes - 1, each at least once.
        n_classes: K, at least 2.
        Cs: factors of the summed loss, ascending.
        class_weight: `balanced` weighs a sample by N / (K * its class's count).
        tick: hears what share of a solve is done.

    Raises:
        DatasetError: a class without rows, a feature that is not finite.
        ValueError: arguments that do not fit together.
    """
    labels = checked_labels(features, labels, n_classes)
    missing = np.setdiff1d(np.arange(n_classes), labels)
    if len(missing) > 0:
        raise DatasetError(f"class {missing[0]} of {n_classes} has no rows to learn from")
    Cs, rows = checked_Cs(Cs), np.arange(len(features))
    with fitting_threads(features, n_classes):
        scaling = standardisation(features, rows)
        if len(rows) < features.shape[1]:
            rotated = row_space(features, rows, scaling)
        else:
            rotated = rotate(features, rows, scaling, eigenbasis(features, rows, scaling))
        return list(solve_rotated(rotated, cross_entropy(labels, n_classes, class_weight), Cs, FIT, tick))


def solve_rotated(
    rotated: RotatedFeatures, loss: CrossEntropy, Cs: Sequence[float], limits: Limits, tick: Tick | None = None
) -> Iterator[Solution]:
    """`solve_path` where features are standardised and rotated already; one solution after the other.

    Args:
        rotated: the features.
        loss: of their rows.
        Cs: factors of the summed loss, ascending.
        limits: of each solve.
        tick: hears what share of a solve is done.
    """
    problem = PenalisedProblem(rotated.values, loss)
    tick = tick or _unheard
    before: Point | None = None
    last, on_the_way = problem.zero(), 0
    for factor in APPROACH:
        rough = minimise(problem, factor * Cs[0], last, previous=before, limits=ROUGH, tick=lambda _: tick(0.0))
        before, last, on_the_way = last, rough.point, on_the_way + rough.iterations
    for C in Cs:
        minimum = minimise(problem, C, last, previous=before, limits=limits, tick=tick)
        before, last, iterations, on_the_way = last, minimum.point, on_the_way + minimum.iterations, 0
        standardised, bias = rotated.unrotate(last.weights)
        objective = C * last.loss + 0.5 * standardised.square().sum().item()
        weight, bias = rotated.standardisation.to_raw(standardised, bias)
        if loss.rows == 1:
            weight, bias = torch.cat([-0.5 * weight, 0.5 * weight]), torch.cat([-0.5 * bias, 0.5 * bias])
        yield Solution(C, weight.numpy(), bias.numpy(), objective, iterations, minimum.converged, minimum.grad_norm)


def _unheard(share: float) -> None:
    """For callers that do not listen."""


def cross_entropy(labels: NDArray[np.int64], n_classes: int, class_weight: ClassWeight) -> CrossEntropy:
    """The loss of rows with these labels, weighed as the head's class weight says."""
    return CrossEntropy(labels, n_classes, sample_weights(labels, n_classes, class_weight))


def sample_weights(labels: NDArray[np.int64], n_classes: int, class_weight: ClassWeight) -> NDArray[np.float64] | None:
    """The weight of each row, (N,) with a mean of one: N / (K * its class's count) if `balanced`; None for ones."""
    if class_weight == "none":
        return None
    counts = np.bincount(labels, minlength=n_classes)
    weights: NDArray[np.float64] = (len(labels) / (n_classes * np.maximum(counts, 1)))[labels]
    return weights


def fitting_threads(features: FloatArray, n_classes: int) -> AbstractContextManager[None]:
    """One thread where the problem is small."""
    rows, width = features.shape
    return one_thread_if_small(rows * min(rows, width) * n_classes)


@contextmanager
def one_thread_if_small(multiplications: int) -> Iterator[None]:
    """One thread for small problems: with two, every tiny product waits for both cores to be free.

    Args:
        multiplications: in one product of the features with all weights.
    """
    threads = torch.get_num_threads()
    if multiplications < SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def checked_labels(features: FloatArray, labels: NDArray[np.integer], n_classes: int) -> NDArray[np.int64]:
    """Labels as int64. Raises ValueError where they do not fit the features or the number of classes."""
    if features.ndim != 2 or labels.shape != features.shape[:1] or len(labels) == 0:
        raise ValueError(f"features {features.shape} and labels {labels.shape} are not (N, D) and (N,)")
    if n_classes < 2 or labels.min() < 0 or labels.max() >= n_classes:
        raise ValueError(f"labels are {labels.min()} ... {labels.max()} for {n_classes} classes")
    return labels.astype(np.int64)


def checked_Cs(Cs: Sequence[float]) -> list[float]:
    """The path as floats. Raises ValueError where it is not positive, finite and ascending."""
    values = [float(C) for C in Cs]
    if not values or not all(0.0 < C < float("inf") for C in values) or values != sorted(set(values)):
        raise ValueError(f"Cs must be positive, finite and ascending, not {list(Cs)}")
    return values
