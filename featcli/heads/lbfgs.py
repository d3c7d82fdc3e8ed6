"""Cross-entropy of a linear model, and the L-BFGS solver made for it.

Three facts make it quick. Logits are linear in the weights, so a line search needs no product with the features.
In the eigenbasis of the features' second moments the Hessian is nearly diagonal, so its diagonal is a good first
guess of the inverse Hessian. Solutions along a path of C lie nearly on a line in log C, so the last step of the path
is a good first direction.

Everything is float64, with the class first: weights are (R, P) and logits (R, N), where R is the number of classes,
or 1 for two classes, and P is the number of features with the intercept's constant last.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

HISTORY = 10  # pairs that L-BFGS remembers; 20 and 40 saved no iterations
CURVATURE = 0.5  # strong Wolfe: a step ends where the slope is at most this part of what it was
LINE_SEARCH_TRIALS = 50

Tick: TypeAlias = Callable[[float], None]


class CrossEntropy:
    """Weighted, summed cross-entropy as a function of logits.

    Args:
        labels: (N,) integers, 0 ... n_classes - 1.
        n_classes: two classes have one logit per sample (that of class 1), K > 2 classes have K.
        sample_weights: (N,) float64, or None for ones.
    """

    def __init__(self, labels: NDArray[np.int64], n_classes: int, sample_weights: NDArray[np.float64] | None) -> None:
        self.rows = 1 if n_classes == 2 else n_classes
        self.samples = len(labels)
        self.weights = None if sample_weights is None else torch.from_numpy(sample_weights)
        self._labels = torch.from_numpy(labels)[None]  # (1, N)

    def weigh(self, values: Tensor) -> Tensor:
        """Values (R, N) times the samples' weights."""
        return values if self.weights is None else values * self.weights

    def at_labels(self, values: Tensor) -> Tensor:
        """The entry of each sample's own class in values (R, N), 0 for class 0 of two: (N,)."""
        return (values * self._labels if self.rows == 1 else values.gather(0, self._labels))[0]

    def value(self, logits: Tensor) -> tuple[float, Tensor]:
        """The loss, and the probabilities (R, N); finite for all finite logits."""
        if self.rows == 1:
            losses = torch.nn.functional.logsigmoid((2 * self._labels - 1) * logits).neg_()  # (1, N)
            return self.weigh(losses).sum().item(), torch.sigmoid(logits)
        top = logits.amax(0)
        exponentials = torch.sub(logits, top).exp_()
        sums = exponentials.sum(0)
        losses = sums.log().add_(top).sub_(self.at_labels(logits))
        loss = self.weigh(losses).sum().item()
        return loss, exponentials.div_(sums)

    def residual(self, probabilities: Tensor) -> Tensor:
        """The loss's gradient with respect to the logits, (R, N)."""
        # No (K, N) of zeros and ones: with thousands of classes it would be as large as the logits.
        residual = probabilities - self._labels if self.rows == 1 else probabilities.clone()
        if self.rows > 1:
            residual.scatter_add_(0, self._labels, residual.new_full(self._labels.shape, -1.0))
        return self.weigh(residual)

    def curvature(self, probabilities: Tensor) -> Tensor:
        """(R, 1): the diagonal of the loss's Hessian with respect to the logits, as a mean over samples.

        Half way, on a log scale, between each class's own mean and that of all: fewer iterations than with either.
        """
        spread = self.weigh(probabilities - probabilities.square()).mean(1, keepdim=True).clamp_min_(1e-12)
        return (spread * spread.mean()).sqrt_()


@dataclass(frozen=True, slots=True)
class Point:
    """Weights (R, P), their logits (R, N), and at them the loss and the probabilities (R, N)."""

    weights: Tensor
    logits: Tensor
    loss: float
    probabilities: Tensor


@dataclass(frozen=True, slots=True)
class Limits:
    """When a solve ends.

    Args:
        rtol: relative tolerance on the objective.
        most_iterations: more end it unconverged.
    """

    rtol: float
    most_iterations: int = 1000


@dataclass(frozen=True, slots=True)
class Minimum:
    """Where a solve ended.

    Args:
        point: the weights and what follows from them.
        iterations: products with the features, forward and backward.
        converged: the estimated distance to the minimum is below the tolerance.
        grad_norm: Euclidean norm of the objective's gradient with respect to the weights in the solver's basis.
    """

    point: Point
    iterations: int
    converged: bool
    grad_norm: float


class PenalisedProblem:
    """`C * loss(weights @ features.T) + 0.5 * ||weights without intercept||^2`.

    Args:
        features: (N, P) float64; the last column is the intercept's ones.
        loss: the loss of the logits.
    """

    def __init__(self, features: Tensor, loss: CrossEntropy) -> None:
        self.features = features
        self.loss = loss
        self.penalty = torch.ones(features.shape[1], dtype=torch.float64)
        self.penalty[-1] = 0.0
        self.moments = torch.linalg.vector_norm(features, dim=0).square()  # (P,)

    def zero(self) -> Point:
        """All weights zero."""
        logits = torch.zeros(self.loss.rows, len(self.features), dtype=torch.float64)
        weights = torch.zeros(self.loss.rows, self.features.shape[1], dtype=torch.float64)
        return Point(weights, logits, *self.loss.value(logits))

    def objective(self, point: Point, C: float) -> float:
        """The value that is minimised."""
        return C * point.loss + 0.5 * _dot(point.weights * self.penalty, point.weights)

    def gradient(self, point: Point, C: float) -> Tensor:
        """(R, P)."""
        residual = self.loss.residual(point.probabilities)
        return torch.mm(residual, self.features).mul_(C).addcmul_(point.weights, self.penalty)

    def inverse_diagonal(self, point: Point, C: float) -> Tensor:
        """(R, P): the inverse of the Hessian's diagonal, all samples taken as equally uncertain."""
        diagonal: Tensor = C * self.loss.curvature(point.probabilities) * self.moments + self.penalty
        return diagonal.reciprocal_()

    def search(self, start: Point, direction: Tensor, along: Tensor, slope: float, C: float) -> Point | None:
        """A point on the ray that satisfies the strong Wolfe conditions, or None where none is found.

        The objective is convex along the ray, so its slope grows: a bracket of the slope's zero, narrowed by secants.

        Args:
            start: the ray's origin.
            direction: (R, P).
            along: (R, N), the direction's logits.
            slope: the objective's derivative at the origin, negative.
            C: the loss's factor.
        """
        weighted = self.loss.weigh(along)
        target_slope = self.loss.at_labels(weighted).sum().item()
        penalised = direction * self.penalty
        linear, quadratic = _dot(penalised, start.weights), _dot(penalised, direction)
        before = self.objective(start, C)
        low, low_slope, high, step = 0.0, slope, float("inf"), 1.0
        for _ in range(LINE_SEARCH_TRIALS):
            logits = torch.add(start.logits, along, alpha=step)
            loss, probabilities = self.loss.value(logits)
            new_slope = C * (_dot(probabilities, weighted) - target_slope) + linear + step * quadratic
            change = C * (loss - start.loss) + step * linear + 0.5 * step * step * quadratic
            # Where the slope is still negative, convexity promises a decrease; rounding may hide a last tiny one.
            lower = new_slope <= 0.0 or change <= 1e-4 * step * slope + 1e-13 * before
            if abs(new_slope) <= CURVATURE * abs(slope) and lower:
                return Point(torch.add(start.weights, direction, alpha=step), logits, loss, probabilities)
            secant = low + (step - low) * low_slope / (low_slope - new_slope) if new_slope > low_slope else float("inf")
            if new_slope < 0.0:
                # Beyond the new low end, but not so far that one flat stretch throws the search away.
                secant, low, low_slope = min(max(secant, 1.5 * step), 10.0 * step), step, new_slope
            else:
                high = step
            width = high - low
            inside = low + 0.05 * width < secant < high - 0.05 * width
            step = secant if inside or width == float("inf") else 0.5 * (low + high)
        return None


def minimise(
    problem: PenalisedProblem, C: float, start: Point, *, previous: Point | None, limits: Limits, tick: Tick
) -> Minimum:
    """Minimise the penalised loss by L-BFGS.

    It stops where half the product of gradient and step, the Newton estimate of what is still to be gained, is at most
    `limits.rtol` of the objective.

    Args:
        problem: features, labels and penalty.
        C: the loss's factor, positive.
        start: where to begin, the solution for the C before.
        previous: the solution for the C before that one; the line through both is searched first.
        limits: when to stop.
        tick: hears in every iteration what share of the solve is done.

    Source: Nocedal and Wright, Numerical Optimization, algorithms 7.4 and 3.5.
    """
    point = start if previous is None else _along_the_path(problem, C, previous, start)
    gradient = problem.gradient(point, C)
    pairs: deque[tuple[Tensor, Tensor, float]] = deque(maxlen=HISTORY)
    iterations, highest = 0, math.e
    while True:
        # The diagonal as seen from here: one kept from the start took 380 iterations where this takes 109, and
        # where classes separate it saw too much curvature, so too little left to gain, and stopped too early.
        direction = _two_loops(gradient, problem.inverse_diagonal(point, C), pairs).neg_()
        slope = _dot(gradient, direction)
        excess = -0.5 * slope / (limits.rtol * problem.objective(point, C))
        converged = excess <= 1.0
        if converged or iterations >= limits.most_iterations:
            break
        highest = max(highest, excess)
        tick(1.0 - math.log(excess) / math.log(highest))  # the excess falls by about the same factor in each iteration
        found = problem.search(point, direction, direction @ problem.features.T, slope, C) if slope < 0.0 else None
        if found is None:
            if not pairs:
                break
            pairs.clear()  # what was remembered misleads: go on from the diagonal alone
            continue
        iterations += 1
        new_gradient = problem.gradient(found, C)
        moved, turned = found.weights - point.weights, new_gradient - gradient
        product = _dot(moved, turned)
        if product > 0.0:
            pairs.append((moved, turned, 1.0 / product))
        point, gradient = found, new_gradient
    return Minimum(point, iterations, converged, torch.linalg.vector_norm(gradient).item())


def _along_the_path(problem: PenalisedProblem, C: float, previous: Point, last: Point) -> Point:
    """The best point on the line through two solutions of the path; costs no product with the features."""
    direction, along = last.weights - previous.weights, last.logits - previous.logits
    slope = C * _dot(problem.loss.residual(last.probabilities), along)
    slope += _dot(last.weights * problem.penalty, direction)
    found = problem.search(last, direction, along, slope, C) if slope < 0.0 else None
    return last if found is None else found


def _two_loops(gradient: Tensor, diagonal: Tensor, pairs: deque[tuple[Tensor, Tensor, float]]) -> Tensor:
    """The inverse Hessian's estimate times the gradient."""
    result, factors = gradient.clone(), []
    for moved, turned, scale in reversed(pairs):
        factors.append(scale * _dot(moved, result))
        result.sub_(turned, alpha=factors[-1])
    result.mul_(diagonal)
    for (moved, turned, scale), factor in zip(pairs, reversed(factors), strict=True):
        result.add_(moved, alpha=factor - scale * _dot(turned, result))
    return result


def _dot(a: Tensor, b: Tensor) -> float:
    return torch.dot(a.flatten(), b.flatten()).item()
