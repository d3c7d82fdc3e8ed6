"""Cross-entropy of a linear model, and the L-BFGS solver made for it.

Three facts make it quick. Logits are linear in the weights, so a line search needs no product with the features.
In the eigenbasis of the features' second moments the Hessian is nearly diagonal, so its diagonal is a good first
guess of the inverse Hessian. Solutions along a path of C lie nearly on a line in log C, so the last step of the path
is a good first direction.

Arrays are float32 or float64, as the features are; what is summed over samples is a float64. The class comes first:
weights are (R, P) and logits (R, N), where R is the number of classes, or 1 for two classes, and P is the number of
features with the intercept's constant last.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

HISTORY = 10  # pairs that L-BFGS remembers; 20 and 40 saved no iterations
CURVATURE = 0.5  # strong Wolfe: a step ends where the slope is at most this part of what it was
LINE_SEARCH_TRIALS = 50
LEAST_LOGIT = {torch.float32: -60.0, torch.float64: -700.0}  # below the largest: smaller exponentials are all alike
HIDDEN = {torch.float32: 1e-7, torch.float64: 1e-13}  # of the objective: a change that rounding may hide

Tick: TypeAlias = Callable[[float], None]
Memory: TypeAlias = deque[tuple[Tensor, Tensor, float]]  # steps, what the gradient changed by, and 1 / their product


class CrossEntropy:
    """Weighted, summed cross-entropy as a function of logits.

    Args:
        labels: (N,) integers, 0 ... n_classes - 1.
        n_classes: two classes have one logit per sample (that of class 1), K > 2 classes have K.
        sample_weights: (N,) float64, or None for ones; logits are float64 until `to` says otherwise.
    """

    def __init__(self, labels: NDArray[np.int64], n_classes: int, sample_weights: NDArray[np.float64] | None) -> None:
        self.rows = 1 if n_classes == 2 else n_classes
        self.samples = len(labels)
        self.weights = None if sample_weights is None else torch.from_numpy(sample_weights)
        self._labels = torch.from_numpy(labels)[None]  # (1, N)

    def to(self, dtype: torch.dtype) -> CrossEntropy:
        """The same loss of logits of another type."""
        other = copy(self)
        other.weights = None if self.weights is None else self.weights.to(dtype)
        return other

    def weigh(self, values: Tensor) -> Tensor:
        """Values (R, N) times the samples' weights."""
        return values if self.weights is None else values * self.weights

    def value(self, logits: Tensor) -> tuple[float, Tensor]:
        """The loss, and its samples' gradients with respect to the logits, not weighed, (R, N).

        Both keep their relative precision where a sample is all but certain: neither one less a probability near one
        nor a logarithm near zero is taken. So float32 is enough where classes are far apart. Finite for all finite
        logits.
        """
        least = LEAST_LOGIT[logits.dtype]  # denormal numbers in float32 made an iteration four times as long
        if self.rows == 1:
            signs = (1 - 2 * self._labels).to(logits.dtype)  # -1 for class 1
            against = (signs * logits).clamp_(min=least)
            losses = torch.nn.functional.logsigmoid(-against).neg_()  # (1, N)
            return self._sum(losses), torch.sigmoid(against).mul_(signs)
        top = logits.amax(0)
        gradients = torch.sub(logits, top).clamp_(min=least).exp_()
        own = gradients.gather(0, self._labels)  # (1, N)
        # In place, and no (K, N) of zeros and ones: with thousands of classes it would be as large as the logits.
        gradients.scatter_(0, self._labels, 0.0)
        others = gradients.sum(0, keepdim=True)
        sums = others + own
        behind = (top - logits.gather(0, self._labels)).add_(sums.log())  # (1, N)
        losses = torch.where(own == 1.0, others.log1p(), behind)
        gradients.scatter_(0, self._labels, others.neg_()).div_(sums)
        return self._sum(losses), gradients

    def _sum(self, losses: Tensor) -> float:
        return self.weigh(losses).sum(dtype=torch.float64).item()

    def curvature(self, gradients: Tensor) -> Tensor:
        """(R, 1): the diagonal of the loss's Hessian with respect to the logits, as a mean over samples.

        Half way, on a log scale, between each class's own mean and that of all: fewer iterations than with either.
        """
        sizes = gradients.abs()  # a class's probability, or that of all others
        spread = self.weigh(sizes.mul_(1.0 - sizes)).mean(1, keepdim=True).clamp_min_(1e-12)
        return (spread * spread.mean()).sqrt_()


@dataclass(frozen=True, slots=True)
class Point:
    """Weights (R, P), their logits (R, N), and at them the loss and its samples' gradients (R, N), not weighed."""

    weights: Tensor
    logits: Tensor
    loss: float
    gradients: Tensor


@dataclass(frozen=True, slots=True)
class Limits:
    """When a solve ends.

    Args:
        rtol: relative tolerance on the objective.
        most_iterations: more end it unconverged.
        least_iterations: as many are made though the first estimate says that there is nothing to gain.
    """

    rtol: float
    most_iterations: int = 1000
    least_iterations: int = 0


@dataclass(frozen=True, slots=True)
class Minimum:
    """Where a solve ended.

    Args:
        point: the weights and what follows from them.
        iterations: products with the features, forward and backward.
        converged: the estimated distance to the minimum is below the tolerance.
        grad_norm: Euclidean norm of the objective's gradient with respect to the weights in the solver's basis.
        memory: of the last steps.
    """

    point: Point
    iterations: int
    converged: bool
    grad_norm: float
    memory: Memory


class PenalisedProblem:
    """`C * loss(weights @ features.T) + 0.5 * ||weights without intercept||^2`.

    Args:
        features: (N, P) float32 or float64; the last column is the intercept's ones.
        loss: the loss of the logits, of the same type.
    """

    def __init__(self, features: Tensor, loss: CrossEntropy) -> None:
        self.features = features
        self.loss = loss
        self._hidden = HIDDEN[features.dtype]
        self.penalty = features.new_ones(features.shape[1])
        self.penalty[-1] = 0.0
        self.moments = torch.linalg.vector_norm(features, dim=0).square()  # (P,)

    def zero(self) -> Point:
        """All weights zero."""
        logits = self.features.new_zeros(self.loss.rows, len(self.features))
        weights = self.features.new_zeros(self.loss.rows, self.features.shape[1])
        return Point(weights, logits, *self.loss.value(logits))

    def at(self, weights: Tensor) -> Point:
        """These weights (R, P), of any type."""
        weights = weights.to(self.features.dtype)
        logits = weights @ self.features.T
        return Point(weights, logits, *self.loss.value(logits))

    def objective(self, point: Point, C: float) -> float:
        """The value that is minimised."""
        return C * point.loss + 0.5 * _dot(point.weights * self.penalty, point.weights)

    def gradient(self, point: Point, C: float) -> Tensor:
        """(R, P)."""
        return torch.mm(self.loss.weigh(point.gradients), self.features).mul_(C).addcmul_(point.weights, self.penalty)

    def inverse_diagonal(self, point: Point, C: float) -> Tensor:
        """(R, P): the inverse of the Hessian's diagonal, all samples taken as equally uncertain."""
        diagonal: Tensor = C * self.loss.curvature(point.gradients) * self.moments + self.penalty
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
        penalised = direction * self.penalty
        linear, quadratic = _dot(penalised, start.weights), _dot(penalised, direction)
        before = self.objective(start, C)
        low, low_slope, high, step = 0.0, slope, float("inf"), 1.0
        for _ in range(LINE_SEARCH_TRIALS):
            logits = torch.add(start.logits, along, alpha=step)
            loss, gradients = self.loss.value(logits)
            new_slope = C * _dot(gradients, weighted) + linear + step * quadratic
            change = C * (loss - start.loss) + step * linear + 0.5 * step * step * quadratic
            # Where the slope is still negative, convexity promises a decrease; rounding may hide a last tiny one.
            lower = new_slope <= 0.0 or change <= 1e-4 * step * slope + self._hidden * before
            if abs(new_slope) <= CURVATURE * abs(slope) and lower:
                return Point(torch.add(start.weights, direction, alpha=step), logits, loss, gradients)
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
    problem: PenalisedProblem, C: float, start: Point, *, limits: Limits, tick: Tick, memory: Memory | None = None
) -> Minimum:
    """Minimise the penalised loss by L-BFGS.

    It stops where half the product of gradient and step, the Newton estimate of what is still to be gained, is at most
    `limits.rtol` of the objective.

    Args:
        problem: features, labels and penalty.
        C: the loss's factor, positive.
        start: where to begin.
        limits: when to stop.
        tick: hears in every iteration what share of the solve is done.
        memory: of a solve of the same problem that ended at `start`.

    Source: Nocedal and Wright, Numerical Optimization, algorithms 7.4 and 3.5.
    """
    point, gradient = start, problem.gradient(start, C)
    pairs: Memory = deque(memory or (), maxlen=HISTORY)
    iterations, highest = 0, math.e
    while True:
        # The diagonal as seen from here: one kept from the start took 380 iterations where this takes 109, and
        # where classes separate it saw too much curvature, so too little left to gain, and stopped too early.
        direction = _two_loops(gradient, problem.inverse_diagonal(point, C), pairs).neg_()
        slope = _dot(gradient, direction)
        excess = -0.5 * slope / (limits.rtol * problem.objective(point, C))
        converged = excess <= 1.0
        if (converged and iterations >= limits.least_iterations) or iterations >= limits.most_iterations:
            break
        highest = max(highest, excess)
        tick(
            1.0 - math.log(max(1.0, excess)) / math.log(highest)
        )  # the excess falls by about the same factor in each iteration
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
    return Minimum(point, iterations, converged, torch.linalg.vector_norm(gradient).item(), pairs)


def along_the_path(problem: PenalisedProblem, C: float, previous: Point, last: Point) -> Point:
    """The best point on the line through the two solutions before; costs no product with the features."""
    direction, along = last.weights - previous.weights, last.logits - previous.logits
    slope = C * _dot(problem.loss.weigh(last.gradients), along)
    slope += _dot(last.weights * problem.penalty, direction)
    found = problem.search(last, direction, along, slope, C) if slope < 0.0 else None
    return last if found is None else found


def _two_loops(gradient: Tensor, diagonal: Tensor, pairs: Memory) -> Tensor:
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
    """The sum of products, in float64 but for the sum over the first dimension, which is short."""
    if a.dtype == torch.float64:
        return torch.dot(a.flatten(), b.flatten()).item()
    # Near the minimum the penalty's slope all but cancels the loss's: float32 throughout would leave noise.
    return torch.mul(a, b).sum(0).sum(dtype=torch.float64).item()
