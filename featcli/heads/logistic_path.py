"""Multinomial logistic regression on standardised features, solved along a path of C.

The objective is scikit-learn's: `C * sum_i s_i * cross_entropy_i + 0.5 * ||W||^2`, the intercept unpenalised, two
classes with one weight vector. Features are standardised by the rows that are fitted (`Standardisation` says how);
solutions are for raw features.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featcli.errors import DatasetError
from featcli.heads.basis import (
    RotatedFeatures,
    RowIndices,
    Standardisation,
    eigenbasis,
    rotate,
    row_space,
    standardisation,
)
from featcli.heads.kind import ClassWeight, FloatArray
from featcli.heads.lbfgs import (
    CrossEntropy,
    Limits,
    Memory,
    Minimum,
    PenalisedProblem,
    Point,
    Tick,
    along_the_path,
    minimise,
)

FIT = Limits(3e-8)  # estimated; the true gap was at most 1e-6 of the objective wherever it was measured
ROUGH = Limits(1e-3)
APPROACH = (
    1e-3,
    1e-2,
    1e-1,
)  # times the first C: solved roughly on the way there, which halves the iterations and more
LARGEST_SINGLE = 1e6  # the largest C of which float32 is used
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

    Most iterations are in float32. The last ones are in float64, from which convergence is told.

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
    Cs, tick = checked_Cs(Cs), tick or _unheard
    with fitting_threads(features, n_classes):
        rows = _Rows.of(features, np.arange(len(features)))
        loss = cross_entropy(labels, n_classes, class_weight)
        if not in_float32(Cs):
            return list(solve_rotated(rows.rotated(torch.float64), loss, Cs, FIT, tick))
        # What is kept of a solve is as large as the weights, not as the logits; the features are there in one type.
        problem = PenalisedProblem(rows.rotated(torch.float32).values, loss.to(torch.float32))
        rough = [_Start.of(found) for found in _path(problem, Cs, FIT, tick)]
        del problem
        rotated = rows.rotated(torch.float64)
        problem = PenalisedProblem(rotated.values, loss)
        return [
            _solution(C, start.finished(problem, C, FIT, tick), rotated, loss)
            for C, start in zip(Cs, rough, strict=True)
        ]


def solve_rotated(
    rotated: RotatedFeatures, loss: CrossEntropy, Cs: Sequence[float], limits: Limits, tick: Tick | None = None
) -> Iterator[Solution]:
    """The path where features are standardised and rotated already; one solution after the other.

    Args:
        rotated: the features; everything is computed in their type.
        loss: of their rows, of the same type.
        Cs: factors of the summed loss, ascending.
        limits: of each solve.
        tick: hears what share of a solve is done.
    """
    for C, found in zip(Cs, _path(PenalisedProblem(rotated.values, loss), Cs, limits, tick or _unheard), strict=True):
        yield _solution(C, found, rotated, loss)


def in_float32(Cs: Sequence[float]) -> bool:
    """Whether the path may be solved in float32: beyond 1e6, products of C and gradients come near its range."""
    return Cs[-1] <= LARGEST_SINGLE


def _path(problem: PenalisedProblem, Cs: Sequence[float], limits: Limits, tick: Tick) -> Iterator[Minimum]:
    """The minimum for each C; the first one's iterations are those on the way to it too."""
    before: Point | None = None
    last, on_the_way = problem.zero(), 0
    for factor in APPROACH:
        C = factor * Cs[0]
        start = last if before is None else along_the_path(problem, C, before, last)
        found = minimise(problem, C, start, limits=ROUGH, tick=lambda _: tick(0.0))
        before, last, on_the_way = last, found.point, on_the_way + found.iterations
    for C in Cs:
        start = last if before is None else along_the_path(problem, C, before, last)
        found = minimise(problem, C, start, limits=limits, tick=tick)
        before, last = last, found.point
        yield replace(found, iterations=found.iterations + on_the_way)
        on_the_way = 0


def _solution(C: float, minimum: Minimum, rotated: RotatedFeatures, loss: CrossEntropy) -> Solution:
    standardised, bias = rotated.unrotate(minimum.point.weights)
    objective = C * minimum.point.loss + 0.5 * standardised.square().sum().item()
    weight, bias = rotated.standardisation.to_raw(standardised, bias)
    if loss.rows == 1:
        weight, bias = torch.cat([-0.5 * weight, 0.5 * weight]), torch.cat([-0.5 * bias, 0.5 * bias])
    return Solution(
        C, weight.numpy(), bias.numpy(), objective, minimum.iterations, minimum.converged, minimum.grad_norm
    )


@dataclass(frozen=True, slots=True)
class _Start:
    """What float64 goes on from: weights (R, P), the memory of the last steps, and how many there were."""

    weights: Tensor
    memory: Memory
    iterations: int

    @classmethod
    def of(cls, found: Minimum) -> _Start:
        return cls(found.point.weights, found.memory, found.iterations)

    def finished(self, problem: PenalisedProblem, C: float, limits: Limits, tick: Tick) -> Minimum:
        """The minimum in float64; usually one further step shows that it is one."""
        most = max(0, limits.most_iterations - self.iterations)
        # At a single point the estimate, which rests on the memory, was seen to be 30 times too small.
        left = replace(limits, most_iterations=most, least_iterations=1)
        memory = deque((moved.double(), turned.double(), scale) for moved, turned, scale in self.memory)
        found = minimise(problem, C, problem.at(self.weights), limits=left, tick=tick, memory=memory)
        return replace(found, iterations=found.iterations + self.iterations)


@dataclass(frozen=True, slots=True)
class _Rows:
    """Rows of features (N, D), to be rotated in one type or another.

    Args:
        features: (N, D).
        rows: which of them.
        scaling: theirs.
        basis: (D, D), or None for as few rows as have their own space.
    """

    features: FloatArray
    rows: RowIndices
    scaling: Standardisation
    basis: Tensor | None

    @classmethod
    def of(cls, features: FloatArray, rows: RowIndices) -> _Rows:
        scaling = standardisation(features, rows)
        few = len(rows) < features.shape[1]
        return cls(features, rows, scaling, None if few else eigenbasis(features, rows, scaling))

    def rotated(self, dtype: torch.dtype) -> RotatedFeatures:
        if self.basis is None:
            return row_space(self.features, self.rows, self.scaling, dtype)
        return rotate(self.features, self.rows, self.scaling, self.basis, dtype)


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


def fitting_threads(features: FloatArray, n_classes: int) -> AbstractContextManager[int]:
    """One thread where the problem is small; the context is the number of threads."""
    rows, width = features.shape
    return one_thread_if_small(rows * min(rows, width) * n_classes)


@contextmanager
def one_thread_if_small(multiplications: int) -> Iterator[int]:
    """One thread for small problems: with two, every tiny product waits for both cores to be free.

    Args:
        multiplications: in one product of the features with all weights.
    """
    if multiplications >= SMALL:
        yield torch.get_num_threads()
        return
    with one_thread():
        yield 1


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for each operation, also of threads that are started here."""
    threads = torch.get_num_threads()
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
