"""Held-out losses of a logistic head for each C, fold by fold; several folds at a time where there are cores for it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from threading import Event
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featcli.heads.basis import RowIndices, blocks, eigenbasis, rotate, row_space, standardisation
from featcli.heads.kind import FloatArray, LabelledRows
from featcli.heads.lbfgs import Limits
from featcli.heads.logistic_path import (
    Solution,
    cross_entropy,
    fitting_threads,
    in_float32,
    one_thread,
    sample_weights,
    solve_rotated,
)

SELECT = Limits(1e-5)  # moves a held-out log loss by far less than the next C does
LOGITS = 1 << 24  # of held-out rows that are in memory at any time
COPIED = 1 << 30  # bytes of features that folds that are solved at the same time may copy
KEPT = 1 << 23  # held-out logits, of all C together, that are kept until one is chosen: 64 MiB


class Fold(NamedTuple):
    """What was held out in one fold.

    Attributes:
        losses: the mean log loss for each C.
        weight: the sum of the rows' weights.
        rows: (M,) which rows were held out.
        logits: (M, K) of these for each C, minus infinity for a class that the fold did not know; nothing where all
            together would be too large.
    """

    losses: tuple[float, ...]
    weight: float
    rows: RowIndices
    logits: tuple[NDArray[np.float64], ...]


class Steps(Protocol):
    """Hears how far the solves are."""

    def tick(self, share: float) -> None:
        """Shares of the next solves are done, together as much as this."""

    def skip(self, solves: int) -> None:
        """So many are done."""

    def warn(self, solution: Solution, where: str) -> None:
        """Hears of every solution."""


def held_out_losses(rows: LabelledRows, Cs: Sequence[float], folds: NDArray[np.integer], steps: Steps) -> list[Fold]:
    """The held-out loss of each C, fold by fold; folds that say nothing are left out.

    Args:
        rows: N features with their classes.
        Cs: factors of the summed loss, ascending.
        folds: (N,) the fold in which a row is held out; -1 for a row that is always trained on.
        steps: hears how far it is, in this thread.
    """
    with fitting_threads(rows.features, rows.n_classes) as threads:
        cross_validation = _CrossValidation.of(rows, Cs, folds)
        parts = [part for part in map(cross_validation.part, np.unique(folds[folds >= 0])) if part is not None]
        steps.skip(len(Cs) * (len(np.unique(folds[folds >= 0])) - len(parts)))
        copied = rows.features.size * torch.finfo(cross_validation.dtype).bits // 8
        workers = min(threads, len(parts), max(1, COPIED // max(1, copied)))
        if workers > 1:
            with one_thread():
                solved = _solve_together(cross_validation, parts, steps, workers)
        else:
            solved = [_solve(cross_validation, part, steps) for part in parts]
    for part, solutions in zip(parts, solved, strict=True):
        for solution, *_ in solutions:
            steps.warn(solution, f"fold {part.fold}")
    return [
        Fold(
            tuple(loss for _, loss, _ in solutions),
            float(part.weights.sum()),
            part.held_out,
            tuple(logits for *_, logits in solutions if logits is not None),
        )
        for part, solutions in zip(parts, solved, strict=True)
    ]


_Solved = list[tuple[Solution, float, NDArray[np.float64] | None]]  # for each C, with its held-out loss and logits


@dataclass(frozen=True, slots=True)
class _Part:
    """One fold: the rows that are trained on, those that are held out, and the weight of each of these."""

    fold: int
    train: RowIndices
    held_out: RowIndices
    weights: NDArray[np.float64]
    present: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class _CrossValidation:
    """What all folds share.

    Any orthonormal basis gives the same minimum, so one of all rows can serve every fold and tells it nothing.
    """

    rows: LabelledRows
    labels: NDArray[np.int64]
    weights: NDArray[np.float64]
    folds: NDArray[np.integer]
    Cs: Sequence[float]
    basis: Tensor | None
    dtype: torch.dtype
    keep: bool

    @classmethod
    def of(cls, rows: LabelledRows, Cs: Sequence[float], folds: NDArray[np.integer]) -> _CrossValidation:
        features, labels = rows.features, rows.labels.astype(np.int64)
        weights = sample_weights(labels, rows.n_classes, rows.class_weight)
        weights = np.ones(len(labels)) if weights is None else weights
        everything, basis = np.arange(len(features)), None
        if len(features) >= features.shape[1]:
            basis = eigenbasis(features, everything, standardisation(features, everything))
        dtype = torch.float32 if in_float32(Cs) else torch.float64
        keep = len(labels) * rows.n_classes * len(Cs) <= KEPT or len(Cs) == 1
        return cls(rows, labels, weights, folds, Cs, basis, dtype, keep)

    def part(self, fold: int) -> _Part | None:
        """The fold of that number; None where it says nothing."""
        train, held_out = np.flatnonzero(self.folds != fold), np.flatnonzero(self.folds == fold)
        present = np.unique(self.labels[train])
        held_out = held_out[np.isin(self.labels[held_out], present)]
        if len(present) < 2 or len(held_out) == 0:
            return None
        return _Part(int(fold), train, held_out, self.weights[held_out], present)

    def solve(self, part: _Part, tick: Callable[[float], None], solved: Callable[[], None]) -> _Solved:
        """The solution for each C, from the fold's own training part alone, and its loss."""
        features = self.rows.features
        scaling = standardisation(features, part.train)
        if self.basis is None:
            rotated = row_space(features, part.train, scaling, self.dtype)
        else:
            rotated = rotate(features, part.train, scaling, self.basis, self.dtype)
        labels = np.searchsorted(part.present, self.labels)
        loss = cross_entropy(labels[part.train], len(part.present), self.rows.class_weight).to(self.dtype)
        found: _Solved = []
        for solution in solve_rotated(rotated, loss, self.Cs, SELECT, tick):
            logits = np.full((len(part.held_out), self.rows.n_classes), -np.inf) if self.keep else None
            found.append((solution, _held_out_loss(solution, features, labels, part, logits), logits))
            solved()
        return found


def _held_out_loss(
    solution: Solution,
    features: FloatArray,
    labels: NDArray[np.int64],
    part: _Part,
    kept: NDArray[np.float64] | None,
) -> float:
    """Weighted mean (nats); the logits go into `kept`, where that is there."""
    weight, bias = torch.from_numpy(solution.weight), torch.from_numpy(solution.bias)
    total, start = 0.0, 0
    for block in blocks(features, part.held_out, most=max(1, LOGITS // len(bias))):
        stop = start + len(block)
        targets = torch.from_numpy(labels[part.held_out[start:stop]])
        logits = block @ weight.T + bias
        if kept is not None:
            kept[start:stop, part.present] = logits.numpy()
        losses = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
        total += torch.dot(losses, torch.from_numpy(part.weights[start:stop])).item()
        start = stop
    return total / float(part.weights.sum())


def _solve(cross_validation: _CrossValidation, part: _Part, steps: Steps) -> _Solved:
    return cross_validation.solve(part, steps.tick, lambda: steps.skip(1))


class _Stopped(Exception):
    """Ends a fold that nobody waits for any more."""


def _solve_together(
    cross_validation: _CrossValidation, parts: Sequence[_Part], steps: Steps, workers: int
) -> list[_Solved]:
    """As `_solve` for each, in threads: folds need not wait for one another, as the threads of one product do."""
    messages: SimpleQueue[tuple[int, float | None] | None] = SimpleQueue()  # a share, None: solved; None: a fold ended
    stopped = Event()

    def solve(index: int) -> _Solved:
        def tick(share: float) -> None:
            if stopped.is_set():
                raise _Stopped
            messages.put((index, share))

        try:
            return cross_validation.solve(parts[index], tick, lambda: messages.put((index, None)))
        finally:
            messages.put(None)

    shares, left = [0.0] * len(parts), len(parts)
    with ThreadPoolExecutor(workers) as pool:
        try:
            futures = [pool.submit(solve, index) for index in range(len(parts))]
            while left > 0:
                message = messages.get()
                if message is None:
                    left -= 1
                    continue
                index, share = message
                shares[index] = share or 0.0
                if share is None:
                    steps.skip(1)
                else:
                    steps.tick(sum(shares))
        finally:
            stopped.set()  # an interrupt ends them at their next iteration
        return [future.result() for future in futures]
