"""The logistic head: C chosen by cross-validation, then a fit on all rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from featcli.errors import DatasetError
from featcli.events import Emit, Note, Progress, Warn, ignore
from featcli.heads.kind import Choice, HeldOut, LabelledRows, Solved
from featcli.heads.leave_one_out import is_affordable, leave_one_out
from featcli.heads.linear import LinearHead
from featcli.heads.logistic_effort import MOST_CLASSES
from featcli.heads.logistic_folds import Fold, held_out_losses
from featcli.heads.logistic_path import Solution, checked_Cs, checked_labels, solve_path
from featcli.sampling import evenly

EVIDENCE = 1.0  # nats: what a larger C must win, over all held-out rows together
WIDER = 2  # values that are added beyond an end of the grid
MOST_HELD_OUT = 1 << 24  # logits of one fold: 128 MiB
FOLDS_AGAIN = 2e9  # multiplications in one product, beyond which one fold alone is solved anew for held-out logits


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
        held_out: what heads of the same C say of rows that they did not learn from, where that was asked for.
    """

    head: LinearHead
    C: float
    candidates: tuple[Candidate, ...]
    selection_classes: int
    iterations: int
    converged: bool
    held_out: HeldOut | None = None


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
        """Shares of the next solves are done, together as much as this."""
        # Never back, also where solves were added; the same number again shows that the work goes on.
        self._percent = max(self._percent, int(100 * (self._done + share) / self._total))
        self._emit(Progress("head", self._percent, 100, "%", finished=self._done == self._total))

    def warn(self, solution: Solution, where: str) -> None:
        """Says where a solve did not converge."""
        if not solution.converged:
            self._emit(Warn(f"head: C = {solution.C:g}, {where}: not converged after {solution.iterations} iterations"))


def fit_logistic(
    rows: LabelledRows,
    *,
    Cs: Sequence[float],
    folds: NDArray[np.integer],
    widen: bool = False,
    units: NDArray[np.integer] | None = None,
    emit: Emit = ignore,
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
        units: (N,) rows of one unit are held out together; None where held-out logits are not asked for.
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
    kept: dict[float, HeldOut] = {}
    if len(ascending) > 1:
        checked_labels(rows.features, rows.labels, rows.n_classes)
        if folds.shape != rows.labels.shape:
            raise ValueError(f"folds {folds.shape} for labels {rows.labels.shape}")
        some, some_folds = _some_classes(rows, folds)
        n_folds = len(np.unique(some_folds[some_folds >= 0]))
        steps.add(n_folds * len(ascending))
        selection, logits = _try_all(some, ascending, some_folds, steps)
        if widen and selection.end is not None:
            factors = [10.0 ** (1 + step) for step in range(WIDER)]
            # Divided, since 1e-4 * 0.01 is not 1e-6.
            beyond = sorted(
                selection.C * factor if selection.end == "largest" else selection.C / factor for factor in factors
            )
            steps.add(n_folds * len(beyond))
            more, more_logits = _try_all(some, beyond, some_folds, steps)
            selection = Selection.of(selection.candidates + more.candidates, selection.rows)
            logits |= more_logits
        if selection.end is not None:
            emit(Note(_end_text(selection)))
        chosen, candidates = selection.C, selection.candidates
        kept = logits if some is rows else {}
    (solution,) = solve_path(
        rows.features, rows.labels, rows.n_classes, [chosen], class_weight=rows.class_weight, tick=steps.tick
    )
    steps.warn(solution, "all rows")
    held_out = None
    if units is not None:
        if is_affordable(rows, chosen):
            held_out = leave_one_out(rows, chosen, solution.weight, solution.bias, units)
        held_out = held_out or kept.get(chosen) or _folds_again(rows, chosen, folds, steps)
    steps.skip(1)
    head = LinearHead(solution.weight.astype(np.float32), solution.bias.astype(np.float32))
    n_tried = min(rows.n_classes, MOST_CLASSES)
    return Fitted(head, chosen, candidates, n_tried, solution.iterations, solution.converged, held_out)


def hold_out(rows: LabelledRows, C: float, folds: NDArray[np.integer], emit: Emit = ignore) -> HeldOut | None:
    """What heads of one C, each solved without a fold (N,), say of its rows; None where no fold says anything."""
    numbers = np.unique(folds[folds >= 0])
    steps = _Steps(max(1, len(numbers)), emit)
    found = held_out_losses(rows, [C], folds, steps)
    return _held_out(found, 0) if found else None


def _folds_again(rows: LabelledRows, C: float, folds: NDArray[np.integer], steps: _Steps) -> HeldOut | None:
    """Held-out logits of one C, where none were kept; of the first fold alone where each takes long."""
    numbers = np.unique(folds[folds >= 0])
    n, width = rows.features.shape
    if n * min(n, width) * rows.n_classes > FOLDS_AGAIN:
        numbers = numbers[:1]
    steps.add(len(numbers))
    held_out = np.flatnonzero(np.isin(folds, numbers))
    most = max(MOST_HELD_OUT // rows.n_classes, 1)
    some = np.full_like(folds, -1)
    kept = held_out[evenly(len(held_out), most)]
    some[kept] = folds[kept]
    found = held_out_losses(rows, [C], some, steps)
    return _held_out(found, 0) if found else None


def _held_out(by_fold: Sequence[Fold], index: int) -> HeldOut:
    """The held-out logits of all folds, of the C with this index."""
    rows = np.concatenate([fold.rows for fold in by_fold])
    order = np.argsort(rows)
    logits = np.concatenate([fold.logits[index] for fold in by_fold])
    how = f"{len(by_fold)} folds" if len(by_fold) > 1 else "one fold"
    return HeldOut(rows[order], logits[order], how)


def _some_classes(rows: LabelledRows, folds: NDArray[np.integer]) -> tuple[LabelledRows, NDArray[np.integer]]:
    """The rows of `MOST_CLASSES` of the classes, of those with held-out rows first, and their folds; else all."""
    if rows.n_classes <= MOST_CLASSES:
        return rows, folds
    able = np.unique(rows.labels[folds >= 0])
    rest = np.setdiff1d(np.arange(rows.n_classes), able)[: max(0, MOST_CLASSES - len(able))]
    classes = np.sort(np.concatenate([able[evenly(len(able), MOST_CLASSES)], rest]))
    taken = np.flatnonzero(np.isin(rows.labels, classes))
    labels = np.searchsorted(classes, rows.labels[taken])
    return LabelledRows(rows.features[taken], labels, MOST_CLASSES, rows.class_weight), folds[taken]


def _end_text(selection: Selection) -> str:
    tried = f"head: C {selection.C:g}, the {selection.end} of {len(selection.candidates)} that were tried, was chosen"
    if selection.end == "smallest":
        return f"{tried}: the features say little about the classes, or head.C begins too high"
    return f"{tried}: larger ones may be better, as in head.C: [{selection.C:g}, {10 * selection.C:g}]"


def _try_all(
    rows: LabelledRows, Cs: Sequence[float], folds: NDArray[np.integer], steps: _Steps
) -> tuple[Selection, dict[float, HeldOut]]:
    """The choice among these values of C, and the held-out logits of each where they were kept."""
    by_fold = held_out_losses(rows, Cs, folds, steps)
    if not by_fold:
        raise DatasetError("no fold can tell one C from another: too few rows of each class", "Give a single C.")
    weights = [fold.weight for fold in by_fold]
    by_C = zip(*(fold.losses for fold in by_fold), strict=True)
    candidates = [
        Candidate(C, float(np.average(losses, weights=weights)), losses) for C, losses in zip(Cs, by_C, strict=True)
    ]
    kept = all(fold.logits for fold in by_fold)
    logits = {C: _held_out(by_fold, index) for index, C in enumerate(Cs)} if kept else {}
    return Selection.of(candidates, sum(len(fold.rows) for fold in by_fold)), logits


def solve(rows: LabelledRows, choice: Choice, emit: Emit) -> Solved:
    """Fits the head and says how; arguments and errors are those of `fit_logistic`."""
    fitted = fit_logistic(rows, Cs=choice.Cs, folds=choice.folds, widen=choice.widen, units=choice.units, emit=emit)
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
    return Solved(fitted.head, fitted.C, text, facts, log, fitted.held_out)
