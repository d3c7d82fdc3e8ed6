"""The logistic head: C chosen by cross-validation, then a fit on all rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from featcli.errors import DatasetError
from featcli.events import Emit, Progress, Warn, ignore
from featcli.heads import linear
from featcli.heads.basis import RowIndices, blocks, eigenbasis, rotate, row_space, standardisation
from featcli.heads.kind import Choice, ClassWeight, FloatArray, HeadKind, LabelledRows, Solved
from featcli.heads.linear import LinearHead
from featcli.heads.logistic_path import (
    Solution,
    checked_Cs,
    checked_labels,
    fitting_threads,
    solve_path,
    solve_rotated,
)

SELECT_RTOL = 1e-6  # moves a held-out log loss by far less than the next C does


@dataclass(frozen=True, slots=True)
class Candidate:
    """A C that was tried: its held-out mean log loss (nats) in each fold, and the mean of these."""

    C: float
    log_loss: float
    fold_log_losses: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Selection:
    """The C with the smallest held-out log loss, the smaller of two equals, and all that were tried, ascending."""

    C: float
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class Fitted:
    """A solved head.

    Args:
        head: for raw features.
        C: given, or chosen.
        candidates: what C was chosen from; empty where one C was given.
        iterations: of the fit on all rows.
        converged: the fit on all rows is within the solver's tolerance.
    """

    head: LinearHead
    C: float
    candidates: tuple[Candidate, ...]
    iterations: int
    converged: bool


class _Steps:
    """Counts solves, and warns about those that do not converge."""

    def __init__(self, total: int, emit: Emit) -> None:
        self.total, self.emit, self.done = total, emit, 0
        emit(Progress("head", 0, total, "solves"))

    def skip(self, solves: int) -> None:
        """Count solves without looking at them."""
        self.done += solves
        self.emit(Progress("head", self.done, self.total, "solves", finished=self.done == self.total))

    def advance(self, solution: Solution, where: str) -> None:
        """One more solve is done."""
        if not solution.converged:
            self.emit(Warn(f"head: C = {solution.C:g}, {where}: not converged after {solution.iterations} iterations"))
        self.skip(1)


def fit_logistic(rows: LabelledRows, *, Cs: Sequence[float], folds: NDArray[np.integer], emit: Emit = ignore) -> Fitted:
    """Choose C where there is more than one to choose from, then fit all rows.

    Each fold is standardised and fitted on its own training part alone. A held-out row of a class that the training
    part lacks is left out of the fold's mean: no C can predict it.

    Args:
        rows: N features with their classes.
        Cs: factors of the summed loss, in any order.
        folds: (N,) the fold in which a row is held out; -1 for a row that is always trained on.
        emit: receives `Progress` and, where a solve does not converge, `Warn`.

    Raises:
        DatasetError: a class without rows, a feature that is not finite, or no fold that can tell one C from another.
        ValueError: arguments that do not fit together.
    """
    ascending = sorted(set(Cs))
    fold_count = len(np.unique(folds[folds >= 0])) if len(ascending) > 1 else 0
    steps = _Steps(fold_count * len(ascending) + 1, emit)
    if len(ascending) > 1:
        selection = _choose_C(rows, ascending, folds, steps)
        chosen, candidates = selection.C, selection.candidates
    else:
        chosen, candidates = checked_Cs(ascending)[0], ()
    (solution,) = solve_path(rows.features, rows.labels, rows.n_classes, [chosen], class_weight=rows.class_weight)
    steps.advance(solution, "all rows")
    head = LinearHead(solution.weight.astype(np.float32), solution.bias.astype(np.float32))
    return Fitted(head, chosen, candidates, solution.iterations, solution.converged)


def _choose_C(rows: LabelledRows, Cs: Sequence[float], folds: NDArray[np.integer], steps: _Steps) -> Selection:
    features = rows.features
    Cs, labels = checked_Cs(Cs), checked_labels(features, rows.labels, rows.n_classes)
    if folds.shape != labels.shape:
        raise ValueError(f"folds {folds.shape} for labels {labels.shape}")
    with fitting_threads(features, rows.n_classes):
        by_fold = list(_fold_losses(features, labels, Cs, folds, rows.class_weight, steps))
    if not by_fold:
        raise DatasetError("no fold can tell one C from another: too few rows of each class", "Give a single C.")
    by_C = zip(*by_fold, strict=True)
    candidates = tuple(Candidate(C, float(np.mean(losses)), losses) for C, losses in zip(Cs, by_C, strict=True))
    return Selection(min(candidates, key=lambda candidate: candidate.log_loss).C, candidates)


def _fold_losses(
    features: FloatArray,
    labels: NDArray[np.int64],
    Cs: Sequence[float],
    folds: NDArray[np.integer],
    class_weight: ClassWeight,
    steps: _Steps,
) -> Iterator[list[float]]:
    """The held-out loss of each C, fold by fold; folds that say nothing are skipped."""
    everything = np.arange(len(features))
    # Any orthonormal basis gives the same minimum, so one of all rows can serve every fold and tells it nothing.
    shared = None
    if len(features) >= features.shape[1]:
        shared = eigenbasis(features, everything, standardisation(features, everything))
    for fold in np.unique(folds[folds >= 0]):
        train, held_out = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        present = np.unique(labels[train])
        held_out = held_out[np.isin(labels[held_out], present)]
        if len(present) < 2 or len(held_out) == 0:
            steps.skip(len(Cs))
            continue
        scaling = standardisation(features, train)
        if shared is None:
            rotated = row_space(features, train, scaling)
        else:
            rotated = rotate(features, train, scaling, shared)
        relabelled = np.searchsorted(present, labels)
        solutions = solve_rotated(rotated, relabelled[train], len(present), Cs, class_weight, SELECT_RTOL)
        for solution in solutions:
            steps.advance(solution, f"fold {fold}")
        yield _held_out_losses(features, relabelled, held_out, solutions)


def _held_out_losses(
    features: FloatArray, labels: NDArray[np.int64], held_out: RowIndices, solutions: Sequence[Solution]
) -> list[float]:
    """Mean log loss (nats) of each solution on the rows held out."""
    weights = torch.from_numpy(np.stack([solution.weight for solution in solutions]))  # (Cs, K, D)
    biases = torch.from_numpy(np.stack([solution.bias for solution in solutions]))
    totals = torch.zeros(len(solutions), dtype=torch.float64)
    start = 0
    for block in blocks(features, held_out):
        rows = torch.from_numpy(labels[held_out[start : start + len(block)]])
        logits = (block @ weights.flatten(0, 1).T).view(-1, *biases.shape) + biases  # (B, Cs, K)
        picked = logits.log_softmax(-1).gather(-1, rows[:, None, None].expand(-1, len(solutions), 1))
        totals -= picked.sum((0, 2))
        start += len(block)
    losses: list[float] = (totals / len(held_out)).tolist()
    return losses


def solve(rows: LabelledRows, choice: Choice, emit: Emit) -> Solved:
    """Fits the head and says how; arguments and errors are those of `fit_logistic`."""
    fitted = fit_logistic(rows, Cs=choice.Cs, folds=choice.folds, emit=emit)
    text = f"logistic, C {fitted.C:g}"
    if fitted.candidates:
        losses = {candidate.C: candidate.log_loss for candidate in fitted.candidates}
        text += f", the best of {len(losses)} by cross-validation (log loss {losses[fitted.C]:.3f})"
    candidates = [asdict(candidate) for candidate in fitted.candidates]
    facts = {"candidates": candidates, "iterations": fitted.iterations, "converged": fitted.converged}
    log = [{"event": "candidate", **candidate} for candidate in candidates]
    log.append({"event": "head", "C": fitted.C, "iterations": fitted.iterations, "converged": fitted.converged})
    return Solved(fitted.head, fitted.C, text, facts, log)


KIND = HeadKind(linear.KIND.tensors, linear.load, solve, linear.GRADIENT)
