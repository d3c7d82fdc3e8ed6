"""The logistic head: C chosen by cross-validation, then a fit on all rows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from featcli.errors import DatasetError
from featcli.events import Emit, Note, Progress, Warn, ignore
from featcli.heads import linear
from featcli.heads.basis import RowIndices, blocks, eigenbasis, rotate, row_space, standardisation
from featcli.heads.kind import Choice, FloatArray, HeadKind, LabelledRows, Solved
from featcli.heads.lbfgs import Limits
from featcli.heads.linear import LinearHead
from featcli.heads.logistic_effort import MOST_CLASSES, estimate_seconds
from featcli.heads.logistic_path import (
    Solution,
    checked_Cs,
    checked_labels,
    cross_entropy,
    fitting_threads,
    in_float32,
    sample_weights,
    solve_path,
    solve_rotated,
)

SELECT = Limits(1e-5)  # moves a held-out log loss by far less than the next C does
EVIDENCE = 1.0  # nats: what a larger C must win, over all held-out rows together
WIDER = 2  # values that are added beyond an end of the grid
LOGITS = 1 << 24  # of held-out rows that are in memory at any time


@dataclass(frozen=True, slots=True)
class Candidate:
    """A C that was tried.

    Args:
        C: factor of the summed loss.
        log_loss: mean over the held-out rows (nats), weighed as the fit weighs them.
        fold_log_losses: the same in each fold.
    """

    C: float
    log_loss: float
    fold_log_losses: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Selection:
    """The C that is chosen, and all that were tried, ascending.

    It is the smallest whose held-out log likelihood, the sum over N rows, is within one nat of the best: what is less
    tells nothing apart, and the larger of two equals is surer of itself. Of 40 images without a mistake in the folds,
    the least mean alone takes the largest C there is.

    Args:
        C: the chosen one.
        candidates: what it was chosen from.
        rows: N.
    """

    C: float
    candidates: tuple[Candidate, ...]
    rows: int

    @classmethod
    def of(cls, candidates: Sequence[Candidate], rows: int) -> Selection:
        """Chooses from candidates."""
        ascending = tuple(sorted(candidates, key=lambda candidate: candidate.C))
        best = min(candidate.log_loss for candidate in ascending)
        C = next(candidate.C for candidate in ascending if candidate.log_loss <= best + EVIDENCE / rows)
        return cls(C, ascending, rows)

    @property
    def end(self) -> str | None:
        """`smallest` or `largest` where that is what was chosen, of several."""
        if len(self.candidates) == 1 or self.candidates[0].C < self.C < self.candidates[-1].C:
            return None
        return "smallest" if self.C == self.candidates[0].C else "largest"


@dataclass(frozen=True, slots=True)
class Fitted:
    """A solved head.

    Args:
        head: for raw features.
        C: given, or chosen.
        candidates: what C was chosen from; empty where one C was given.
        selection_classes: on how many of the classes.
        iterations: of the fit on all rows.
        converged: the fit on all rows is within the solver's tolerance.
    """

    head: LinearHead
    C: float
    candidates: tuple[Candidate, ...]
    selection_classes: int
    iterations: int
    converged: bool


class _Steps:
    """How far the work is, in percent, and a warning about each solve that does not converge.

    Args:
        total: solves.
        emit: hears of it.
    """

    def __init__(self, total: int, emit: Emit) -> None:
        self._total, self._emit, self._done, self._percent = total, emit, 0, 0
        emit(Progress("head", 0, 100, "%"))

    def add(self, solves: int) -> None:
        """So many more are to come."""
        self._total += solves

    def skip(self, solves: int) -> None:
        """Count solves without looking at them."""
        self._done += solves
        self.tick(0.0)

    def tick(self, share: float) -> None:
        """A share of the next solve is done."""
        # Never back, also where solves were added; the same number again shows that the work goes on.
        self._percent = max(self._percent, int(100 * (self._done + share) / self._total))
        self._emit(Progress("head", self._percent, 100, "%", finished=self._done == self._total))

    def advance(self, solution: Solution, where: str) -> None:
        """One more solve is done."""
        if not solution.converged:
            self._emit(Warn(f"head: C = {solution.C:g}, {where}: not converged after {solution.iterations} iterations"))
        self.skip(1)


def fit_logistic(
    rows: LabelledRows, *, Cs: Sequence[float], folds: NDArray[np.integer], widen: bool = False, emit: Emit = ignore
) -> Fitted:
    """Choose C where there is more than one to choose from, as `Selection` says, then fit all rows.

    Each fold is standardised and fitted on its own training part alone. A held-out row of a class that the training
    part lacks is left out of the mean: no C can predict it. Of more than `MOST_CLASSES`, C is chosen on that many,
    spread evenly, with all of their rows.

    Args:
        rows: N features with their classes.
        Cs: factors of the summed loss, in any order.
        folds: (N,) the fold in which a row is held out; -1 for a row that is always trained on.
        widen: where the smallest or largest C is chosen, try `WIDER` more beyond it, each ten times further.
        emit: receives `Progress`, a `Note` where the chosen C is still at an end, and `Warn` where a solve does not
            converge.

    Raises:
        DatasetError: a class without rows, a feature that is not finite, or no fold that can tell one C from another.
        ValueError: arguments that do not fit together.
    """
    ascending = checked_Cs(sorted(set(Cs)))
    steps = _Steps(1, emit)
    chosen: float = ascending[0]
    candidates: tuple[Candidate, ...] = ()
    if len(ascending) > 1:
        checked_labels(rows.features, rows.labels, rows.n_classes)
        if folds.shape != rows.labels.shape:
            raise ValueError(f"folds {folds.shape} for labels {rows.labels.shape}")
        some, some_folds = _some_classes(rows, folds)
        n_folds = len(np.unique(some_folds[some_folds >= 0]))
        steps.add(n_folds * len(ascending))
        selection = _try_all(some, ascending, some_folds, steps)
        if widen and selection.end is not None:
            factors = [10.0 ** (1 + step) for step in range(WIDER)]
            # Divided, since 1e-4 * 0.01 is not 1e-6.
            beyond = sorted(
                selection.C * factor if selection.end == "largest" else selection.C / factor for factor in factors
            )
            steps.add(n_folds * len(beyond))
            more = _try_all(some, beyond, some_folds, steps)
            selection = Selection.of(selection.candidates + more.candidates, selection.rows)
        if selection.end is not None:
            emit(Note(_end_text(selection)))
        chosen, candidates = selection.C, selection.candidates
    (solution,) = solve_path(
        rows.features, rows.labels, rows.n_classes, [chosen], class_weight=rows.class_weight, tick=steps.tick
    )
    steps.advance(solution, "all rows")
    head = LinearHead(solution.weight.astype(np.float32), solution.bias.astype(np.float32))
    n_tried = min(rows.n_classes, MOST_CLASSES)
    return Fitted(head, chosen, candidates, n_tried, solution.iterations, solution.converged)


def _some_classes(rows: LabelledRows, folds: NDArray[np.integer]) -> tuple[LabelledRows, NDArray[np.integer]]:
    """The rows of `MOST_CLASSES` of the classes, of those with held-out rows first, and their folds; else all."""
    if rows.n_classes <= MOST_CLASSES:
        return rows, folds
    able = np.unique(rows.labels[folds >= 0])
    rest = np.setdiff1d(np.arange(rows.n_classes), able)[: max(0, MOST_CLASSES - len(able))]
    spread = np.arange(min(len(able), MOST_CLASSES)) * len(able) // min(max(len(able), 1), MOST_CLASSES)
    classes = np.sort(np.concatenate([able[spread], rest]))
    taken = np.flatnonzero(np.isin(rows.labels, classes))
    labels = np.searchsorted(classes, rows.labels[taken])
    return LabelledRows(rows.features[taken], labels, MOST_CLASSES, rows.class_weight), folds[taken]


def _end_text(selection: Selection) -> str:
    tried = f"head: C {selection.C:g}, the {selection.end} of {len(selection.candidates)} that were tried, was chosen"
    if selection.end == "smallest":
        return f"{tried}: the features say little about the classes, or head.C begins too high"
    return f"{tried}: larger ones may be better, as in head.C: [{selection.C:g}, {10 * selection.C:g}]"


def _try_all(rows: LabelledRows, Cs: Sequence[float], folds: NDArray[np.integer], steps: _Steps) -> Selection:
    with fitting_threads(rows.features, rows.n_classes):
        by_fold = list(_fold_losses(rows, Cs, folds, steps))
    if not by_fold:
        raise DatasetError("no fold can tell one C from another: too few rows of each class", "Give a single C.")
    weights = [fold.weight for fold in by_fold]
    by_C = zip(*(fold.losses for fold in by_fold), strict=True)
    candidates = [
        Candidate(C, float(np.average(losses, weights=weights)), losses) for C, losses in zip(Cs, by_C, strict=True)
    ]
    return Selection.of(candidates, sum(fold.rows for fold in by_fold))


class _Fold(NamedTuple):
    """What was held out in one fold: its mean log loss for each C, the sum of the rows' weights, and their number."""

    losses: tuple[float, ...]
    weight: float
    rows: int


def _fold_losses(rows: LabelledRows, Cs: Sequence[float], folds: NDArray[np.integer], steps: _Steps) -> Iterator[_Fold]:
    """The held-out loss of each C, fold by fold; folds that say nothing are skipped."""
    features, labels = rows.features, rows.labels.astype(np.int64)
    weights = sample_weights(labels, rows.n_classes, rows.class_weight)
    weights = np.ones(len(labels)) if weights is None else weights
    everything = np.arange(len(features))
    # Any orthonormal basis gives the same minimum, so one of all rows can serve every fold and tells it nothing.
    shared, dtype = None, torch.float32 if in_float32(Cs) else torch.float64
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
            rotated = row_space(features, train, scaling, dtype)
        else:
            rotated = rotate(features, train, scaling, shared, dtype)
        relabelled = np.searchsorted(present, labels)
        loss = cross_entropy(relabelled[train], len(present), rows.class_weight).to(dtype)
        held = _HeldOut(features, relabelled, held_out, weights[held_out])
        losses = []
        for solution in solve_rotated(rotated, loss, Cs, SELECT, steps.tick):
            losses.append(held.log_loss(solution))
            steps.advance(solution, f"fold {fold}")
        yield _Fold(tuple(losses), float(held.weights.sum()), len(held_out))


@dataclass(frozen=True, slots=True)
class _HeldOut:
    """The rows that are held out in one fold, of features (N, D) and labels (N,), and the weight of each of them."""

    features: FloatArray
    labels: NDArray[np.int64]
    rows: RowIndices
    weights: NDArray[np.float64]

    def log_loss(self, solution: Solution) -> float:
        """Weighted mean (nats)."""
        weight, bias = torch.from_numpy(solution.weight), torch.from_numpy(solution.bias)
        total, start = 0.0, 0
        for block in blocks(self.features, self.rows, most=max(1, LOGITS // len(bias))):
            stop = start + len(block)
            labels = torch.from_numpy(self.labels[self.rows[start:stop]])
            losses = torch.nn.functional.cross_entropy(block @ weight.T + bias, labels, reduction="none")
            total += torch.dot(losses, torch.from_numpy(self.weights[start:stop])).item()
            start = stop
        return total / float(self.weights.sum())


def solve(rows: LabelledRows, choice: Choice, emit: Emit) -> Solved:
    """Fits the head and says how; arguments and errors are those of `fit_logistic`."""
    fitted = fit_logistic(rows, Cs=choice.Cs, folds=choice.folds, widen=choice.widen, emit=emit)
    text = f"logistic, C {fitted.C:g}"
    if fitted.candidates:
        losses = {candidate.C: candidate.log_loss for candidate in fitted.candidates}
        of = "" if fitted.selection_classes == rows.n_classes else f" on {fitted.selection_classes} of the classes"
        text += f", chosen from {len(losses)} by cross-validation{of} (log loss {losses[fitted.C]:.3f})"
    candidates = [asdict(candidate) for candidate in fitted.candidates]
    facts = {
        "candidates": candidates,
        "selection_classes": fitted.selection_classes,
        "iterations": fitted.iterations,
        "converged": fitted.converged,
    }
    log = [{"event": "candidate", **candidate} for candidate in candidates]
    log.append({"event": "head", "C": fitted.C, "iterations": fitted.iterations, "converged": fitted.converged})
    return Solved(fitted.head, fitted.C, text, facts, log)


KIND = HeadKind(linear.KIND.tensors, linear.load, solve, linear.GRADIENT, estimate_seconds)
