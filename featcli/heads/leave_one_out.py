"""What a logistic head would say of each row had it not learned from it: re-solved by Newton steps from the optimum.

Without a row the minimum lies close by, and the Hessian there differs from the one at hand by a matrix of low rank. So
one factorisation serves all rows, and a few steps, each with the exact gradient of the smaller problem, reach its
minimum. The smaller problem is the whole of it: its own standardisation and its own class weights.

Source: Newton steps from the full fit as in Rad and Maleki, "A scalable estimate of the out-of-sample prediction error
via approximate leave-one-out cross-validation", JRSS B 2020 (https://arxiv.org/abs/1801.10243), eq. 9, repeated.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featcli.heads.basis import standardisation
from featcli.heads.kind import HeldOut, LabelledRows
from featcli.heads.logistic_path import fitting_threads, sample_weights, solve_path

MOST_UNKNOWNS = 2600  # weights and intercepts whose Hessian is factorised: 0.3 s
MOST_STEPS = 12
MOST_MULTIPLICATIONS = 1e9  # in one step of all rows together: a fraction of a second
LARGEST_C = 1e3
# Units that are solved anew, one by one, since steps overshoot: those without which the minimum is somewhere else.
# Where they would be more, or fewer where each takes long, all is left to folds.
MOST_ANEW, LEAST_ANEW, ANEW_MULTIPLICATIONS = 64, 16, 2e7
FLAT = 1e-6  # the largest half product of step and gradient, what is still to be gained: where all is sure, no
# probability moves while the weights still do
CLOSE = 1e-5  # the largest change of a probability in the last step
_AT_ONCE = 1 << 23  # numbers in one array of logits or gradients


def is_affordable(rows: LabelledRows, C: float) -> bool:
    """Whether this takes seconds at most, and C is no larger than the Hessian's factorisation bears."""
    n, width = rows.features.shape
    outputs = 1 if rows.n_classes == 2 else rows.n_classes
    unknowns = outputs * (min(n, width) + 1)
    return bool(C <= LARGEST_C and unknowns <= MOST_UNKNOWNS and outputs * n * n * width <= MOST_MULTIPLICATIONS)


def leave_one_out(
    rows: LabelledRows, C: float, weight: NDArray[np.float64], bias: NDArray[np.float64], units: NDArray[np.integer]
) -> HeldOut | None:
    """Logits of each row by the head that is solved without its unit; None where steps do not get there.

    Rows without which a class has none have no such head, and are left out.

    Args:
        rows: N rows that were fitted.
        C: factor of the summed loss.
        weight: (K, D), the solution for raw features.
        bias: (K,).
        units: (N,) numbers; rows of one unit are left out together.
    """
    with fitting_threads(rows.features, rows.n_classes):
        return _LeaveOut.of(rows, C, units).run(torch.from_numpy(weight).double(), torch.from_numpy(bias).double())


@dataclass(frozen=True, slots=True)
class _LeaveOut:
    """The full problem in float64, and what is the same for all units.

    Args:
        rows: as given.
        C: factor of the summed loss.
        features: (N, D), standardised over all rows.
        mean: (D,) of the standardisation.
        scale: (D,) of the standardisation.
        variance: (D,) of the raw features.
        units: the rows of each unit that can be left out.
    """

    rows: LabelledRows
    C: float
    features: Tensor
    mean: Tensor
    scale: Tensor
    variance: Tensor
    units: tuple[Tensor, ...]

    @classmethod
    def of(cls, rows: LabelledRows, C: float, units: NDArray[np.integer]) -> _LeaveOut:
        everything = np.arange(len(rows.labels))
        scaling = standardisation(rows.features, everything)
        raw = torch.from_numpy(rows.features.astype(np.float64))
        variance = raw.sub_(scaling.mean).square().mean(0)
        order = np.argsort(units, kind="stable")
        starts = np.flatnonzero(np.diff(units[order], prepend=units[order[0]] - 1))
        counts = np.bincount(rows.labels, minlength=rows.n_classes)
        members = [
            torch.from_numpy(part)
            for part in np.split(order, starts[1:])
            if (counts > np.bincount(rows.labels[part], minlength=rows.n_classes)).all()
        ]
        return cls(rows, C, raw.div_(scaling.scale), scaling.mean, scaling.scale, variance, tuple(members))

    @property
    def binary(self) -> bool:
        return self.rows.n_classes == 2

    def run(self, weight: Tensor, bias: Tensor) -> HeldOut | None:
        start, intercept = weight * self.scale, bias + weight @ self.mean
        if self.binary:
            start, intercept = (start[1] - start[0])[None], (intercept[1] - intercept[0])[None]
        hessian = _Hessian.of(self, start, intercept)
        n, outputs = len(self.features), len(start)
        found = torch.full((n, outputs), torch.nan, dtype=torch.float64)
        size = max(1, _AT_ONCE // (outputs * max(self.features.shape)))
        restless: list[Tensor] = []
        for first in range(0, len(self.units), size):
            part = self.units[first : first + size]
            for unit, logits in zip(part, self._solve(part, hessian, start, intercept), strict=True):
                if logits is None:
                    restless.append(unit)
                else:
                    found[unit] = logits
            if len(restless) > self._most_anew:
                return None
        for unit in restless:
            found[unit] = self._solved_anew(unit)
        if self.binary:
            found = torch.cat([-0.5 * found, 0.5 * found], 1)
        left_out = np.sort(torch.cat(self.units).numpy()) if self.units else np.zeros(0, dtype=np.int64)
        return HeldOut(left_out, found.numpy()[left_out], "each left out in turn")

    @property
    def _most_anew(self) -> int:
        n, width = self.features.shape
        each = n * min(n, width) * (1 if self.binary else self.rows.n_classes)
        return max(min(MOST_ANEW, int(ANEW_MULTIPLICATIONS / each)), LEAST_ANEW)

    def scale_without(self, unit: Tensor) -> Tensor:
        """(D,) what the features would be divided by, had they been standardised without the rows of a unit."""
        n, m = len(self.features), len(unit)
        moved = self.features[unit] * self.scale  # from the mean
        mean = moved.sum(0) / -(n - m)
        variance = (n * self.variance - moved.square().sum(0)) / (n - m) - mean.square()
        # What is left of a feature that varies in these rows alone is rounding.
        varies = variance > 1e-12 * self.variance
        typical = variance[varies].sqrt().sum() / varies.sum().clamp_min(1)
        return torch.where(varies, (variance.clamp_min(0.0) + typical.square()).sqrt(), 1.0)

    def _solve(
        self, units: tuple[Tensor, ...], hessian: _Hessian, start: Tensor, intercept: Tensor
    ) -> list[Tensor | None]:
        """Logits (m, R) of the rows of each of U units; None where the steps did not end."""
        smaller = _Smaller.of(self, units)
        weights = start.expand(len(units), *start.shape).clone()  # (U, R, D)
        biases = intercept.expand(len(units), len(intercept)).clone()  # (U, R)
        logits = [self.features[unit] @ start.T + intercept for unit in units]
        active = torch.arange(len(units))
        for _ in range(MOST_STEPS):
            gradients, slopes = smaller.gradients(weights[active], biases[active], active)
            moved, shifted = hessian.solve([units[index] for index in active.tolist()], gradients, slopes)
            weights[active] -= moved
            biases[active] -= shifted
            gained = 0.5 * ((moved * gradients).sum((1, 2)) + (shifted * slopes).sum(1)).abs()
            left = []
            for index, gain in zip(active.tolist(), gained.tolist(), strict=True):
                new = self.features[units[index]] @ weights[index].T + biases[index]
                change = (self._probabilities(new) - self._probabilities(logits[index])).abs().max().item()
                if not (change <= CLOSE and gain <= FLAT):
                    left.append(index)
                logits[index] = new
            active = torch.tensor(left, dtype=torch.int64)
            if not left:
                break
        restless = set(active.tolist())
        return [None if index in restless else found for index, found in enumerate(logits)]

    def _probabilities(self, logits: Tensor) -> Tensor:
        return torch.sigmoid(logits) if self.binary else logits.softmax(1)

    def _solved_anew(self, unit: Tensor) -> Tensor:
        """Logits of the rows of a unit without which the minimum is somewhere else."""
        keep = np.setdiff1d(np.arange(len(self.features)), unit.numpy())
        (solution,) = solve_path(
            self.rows.features[keep],
            self.rows.labels[keep],
            self.rows.n_classes,
            [self.C],
            class_weight=self.rows.class_weight,
        )
        logits = torch.from_numpy(
            self.rows.features[unit.numpy()].astype(np.float64) @ solution.weight.T + solution.bias
        )
        return logits[:, 1:] - logits[:, :1] if self.binary else logits


@dataclass(frozen=True, slots=True)
class _Smaller:
    """The problems of U units, each without its rows.

    Args:
        full: the problem of all rows.
        sample_weights: (U, N), 0 for the rows of the unit.
        penalty: (U, D) the squared ratio of the standardisation's scale to that of all rows.
    """

    full: _LeaveOut
    sample_weights: Tensor
    penalty: Tensor

    @classmethod
    def of(cls, full: _LeaveOut, units: tuple[Tensor, ...]) -> _Smaller:
        n, width = full.features.shape
        weights = torch.ones(len(units), n, dtype=torch.float64)
        penalty = torch.empty(len(units), width, dtype=torch.float64)
        for index, unit in enumerate(units):
            if full.rows.class_weight != "none":
                keep = np.setdiff1d(np.arange(n), unit.numpy())
                kept = sample_weights(full.rows.labels[keep].astype(np.int64), full.rows.n_classes, "balanced")
                weights[index, torch.from_numpy(keep)] = torch.from_numpy(np.asarray(kept))
            weights[index, unit] = 0.0
            penalty[index] = full.scale_without(unit).div_(full.scale).square_()
        return cls(full, weights, penalty)

    def gradients(self, weights: Tensor, biases: Tensor, active: Tensor) -> tuple[Tensor, Tensor]:
        """Of the objective, (U, R, D) and (U, R), at weights and intercepts of the same shapes."""
        full = self.full
        labels = torch.from_numpy(full.rows.labels.astype(np.int64))
        logits = weights @ full.features.T + biases[:, :, None]  # (U, R, N)
        if full.binary:
            residual = torch.sigmoid(logits) - labels.double()
        else:
            residual = logits.softmax(1)
            residual -= torch.nn.functional.one_hot(labels, full.rows.n_classes).T.double()
        residual *= full.C * self.sample_weights[active][:, None]
        return residual @ full.features + weights * self.penalty[active][:, None], residual.sum(2)


@dataclass(frozen=True, slots=True)
class _Hessian:
    """The inverse Hessian of the full problem in the space of the features; beside that space it is the identity.

    Args:
        basis: (P, D) orthonormal rows.
        inverse: (R (P + 1), R (P + 1)).
        coordinates: (N, P + 1) of the rows, the intercept's one last.
        curvature: (N, R, R) of each row's weighed loss with respect to its logits, times C.
        reach: (N, R (P + 1), R) how the weights answer to the gradients of each row's logits.
    """

    basis: Tensor
    inverse: Tensor
    coordinates: Tensor
    curvature: Tensor
    reach: Tensor

    @classmethod
    def of(cls, full: _LeaveOut, weights: Tensor, biases: Tensor) -> _Hessian:
        basis = _row_basis(full.features)
        coordinates = torch.cat([full.features @ basis.T, torch.ones(len(full.features), 1, dtype=torch.float64)], 1)
        logits = full.features @ weights.T + biases
        own = sample_weights(full.rows.labels.astype(np.int64), full.rows.n_classes, full.rows.class_weight)
        scale = full.C * (torch.ones(len(logits), dtype=torch.float64) if own is None else torch.from_numpy(own))
        if full.binary:
            p = torch.sigmoid(logits)
            curvature = (p * (1.0 - p))[:, :, None] * scale[:, None, None]
        else:
            p = logits.softmax(1)
            curvature = (torch.diag_embed(p) - p[:, :, None] * p[:, None, :]) * scale[:, None, None]
        outputs, width = len(weights), coordinates.shape[1]
        hessian = torch.zeros(outputs, width, outputs, width, dtype=torch.float64)
        for one in range(outputs):
            for other in range(one, outputs):
                block = coordinates.T @ (coordinates * curvature[:, one, other, None])
                hessian[one, :, other] = block
                hessian[other, :, one] = block
        penalty = torch.ones(width, dtype=torch.float64)
        # Keeps intercepts that may all be shifted alike in place, beside what rounding leaves of the sums over rows.
        penalty[-1] = 1e-9 + 1e-12 * hessian[:, -1, :, -1].diagonal().max()
        for one in range(outputs):
            hessian[one, :, one].diagonal().add_(penalty)
        size = outputs * width
        inverse = torch.cholesky_inverse(torch.linalg.cholesky(hessian.reshape(size, size)))
        reach = inverse.reshape(size, outputs, width) @ coordinates.T  # (R (P + 1), R, N)
        return cls(basis, inverse, coordinates, curvature, reach.permute(2, 0, 1).contiguous())

    def solve(self, units: list[Tensor], gradients: Tensor, slopes: Tensor) -> tuple[Tensor, Tensor]:
        """Newton steps, (U, R, D) and (U, R), for gradients of these shapes, each with the Hessian without its unit."""
        inside = gradients @ self.basis.T  # (U, R, P)
        beside = gradients - inside @ self.basis
        full = torch.cat([inside, slopes[:, :, None]], 2).flatten(1) @ self.inverse  # (U, R (P + 1))
        outputs, width = gradients.shape[1], self.coordinates.shape[1]
        for index, unit in enumerate(units):
            # Woodbury: the Hessian less what the rows of the unit add to it.
            rows, m = self.coordinates[unit], len(unit)
            spread = self.reach[unit].permute(1, 0, 2).reshape(outputs, width, m * outputs)
            gram = torch.einsum("mp,apx->max", rows, spread).reshape(m * outputs, m * outputs)
            added = _blocks(self.curvature[unit])
            seen = (rows @ full[index].reshape(outputs, width).T).reshape(-1)
            inner = torch.linalg.solve(torch.eye(m * outputs, dtype=torch.float64) - added @ gram, added @ seen)
            full[index] += spread.reshape(outputs * width, -1) @ inner
        step = full.reshape(len(units), outputs, width)
        return step[:, :, :-1] @ self.basis + beside, step[:, :, -1]


def _row_basis(features: Tensor) -> Tensor:
    """(P, D) orthonormal, of the space that standardised rows (N, D) span; the identity where that is all."""
    n, width = features.shape
    if n > width:
        return torch.eye(width, dtype=torch.float64)
    squares, left = torch.linalg.eigh(features @ features.T)
    keep = squares > n * 1e-13 * squares[-1].clamp_min(1e-300)
    basis: Tensor = (left[:, keep] / squares[keep].sqrt()).T @ features
    orthonormal: Tensor = torch.linalg.qr(basis.T)[0]
    return orthonormal.T


def _blocks(parts: Tensor) -> Tensor:
    """(M, R, R) as the diagonal blocks of one matrix (M R, M R)."""
    count, size = parts.shape[:2]
    whole = parts.new_zeros(count, size, count, size)
    places = torch.arange(count)
    whole[places, :, places] = parts
    return whole.reshape(count * size, count * size)
