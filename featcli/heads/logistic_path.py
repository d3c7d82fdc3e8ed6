"""Multinomial logistic regression on standardised features, solved along a path of C.

The objective is scikit-learn's: `C * sum_i s_i * cross_entropy_i + 0.5 * ||W||^2`, the intercept unpenalised, two
classes with one weight vector. Features are standardised by the rows that are fitted; solutions are for raw features.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from featcli.errors import DatasetError
from featcli.heads.basis import RotatedFeatures, eigenbasis, rotate, row_space, standardisation
from featcli.heads.kind import ClassWeight, FloatArray
from featcli.heads.lbfgs import CrossEntropy, PenalisedProblem, Point, minimise

FIT_RTOL = 1e-7  # estimated; the true gap was at most 1e-6 of the objective wherever it was measured
MOST_ITERATIONS = 1000
SMALL = 5_000_000  # multiplications in one product with the features, below which a second thread is no help


@dataclass(frozen=True, slots=True)
class Solution:
    """The minimum for one C.

    Args:
        C: factor of the summed loss.
        weight: (K, D) float64, for raw features. Two classes have the rows -w/2 and w/2.
        bias: (K,) float64.
        objective: the minimised value, of weights for standardised features.
        iterations: of L-BFGS; each reads the features twice.
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
) -> list[Solution]:
    """One solution for each C, ascending, each started from those before it.

    Args:
        features: (N, D) float32 or float64.
        labels: (N,) 0 ... n_classes - 1, each at least once.
        n_classes: K, at least 2.
        Cs: factors of the summed loss, ascending.
        class_weight: `balanced` weighs a sample by N / (K * its class's count).

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
        return solve_rotated(rotated, labels, n_classes, Cs, class_weight, FIT_RTOL)


def solve_rotated(
    rotated: RotatedFeatures,
    labels: NDArray[np.int64],
    n_classes: int,
    Cs: Sequence[float],
    class_weight: ClassWeight,
    rtol: float,
) -> list[Solution]:
    """`solve_path` where features are standardised and rotated already; `rtol` is the solver's tolerance."""
    sample_weights = _balanced(labels, n_classes) if class_weight == "balanced" else None
    problem = PenalisedProblem(rotated.values, CrossEntropy(labels, n_classes, sample_weights))
    before: Point | None = None
    last, solutions = problem.zero(), []
    for index, C in enumerate(Cs):
        minimum = minimise(problem, C, last, previous=before, rtol=rtol, most_iterations=MOST_ITERATIONS)
        before, last = last if index > 0 else None, minimum.point
        standardised, bias = rotated.unrotate(last.weights)
        objective = C * last.loss + 0.5 * standardised.square().sum().item()
        weight, bias = rotated.standardisation.to_raw(standardised, bias)
        if n_classes == 2:
            weight, bias = torch.cat([-0.5 * weight, 0.5 * weight]), torch.cat([-0.5 * bias, 0.5 * bias])
        solutions.append(
            Solution(
                C, weight.numpy(), bias.numpy(), objective, minimum.iterations, minimum.converged, minimum.grad_norm
            )
        )
    return solutions


@contextmanager
def fitting_threads(features: FloatArray, n_classes: int) -> Iterator[None]:
    """One thread for small problems: with two, every tiny product waits for both cores to be free."""
    threads = torch.get_num_threads()
    rows, width = features.shape
    if rows * min(rows, width) * n_classes < SMALL:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _balanced(labels: NDArray[np.int64], n_classes: int) -> NDArray[np.float64]:
    counts = np.bincount(labels, minlength=n_classes)
    weights: NDArray[np.float64] = (len(labels) / (n_classes * counts))[labels]
    return weights


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
