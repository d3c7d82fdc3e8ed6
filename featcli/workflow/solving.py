"""The solved head: which rows it learns from, choosing C on folds of them, and the fit."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcli.data.dataset import Dataset
from featcli.data.splits import stratified_folds
from featcli.errors import UnreadableDataError
from featcli.events import Emit, Fact
from featcli.features.extraction import FeatureTable
from featcli.heads.logistic import Fitted, LabelledRows, fit_logistic
from featcli.tasks import task_of
from featcli.workflow.features import unreadable_of
from featcli.workflow.session import Call


def training_rows(data: Dataset, table: FeatureTable) -> tuple[list[int], NDArray[np.int64]]:
    """The readable images of train: their rows and labels.

    Raises:
        UnreadableDataError: a class has none.
    """
    usable = table.readable
    rows = [index for index, sample in enumerate(data.samples) if sample.split == "train" and usable[index]]
    labels = np.array([data.samples[index].label for index in rows], dtype=np.int64)
    lost = [name for label, name in enumerate(data.classes) if not (labels == label).any()]
    if lost:
        reasons = [f"{path}: {reason}" for path, reason in unreadable_of(data.samples, table).first[:3]]
        raise UnreadableDataError(
            f"no readable image to train on in class {', '.join(lost)}; for example {'; '.join(reasons)}"
        )
    return rows, labels


def solve_head(data: Dataset, table: FeatureTable, call: Call) -> Fitted:
    """Solves the logistic head on the readable images of train; C is chosen on folds of train alone.

    Raises:
        UnreadableDataError: a class has no readable image.
    """
    config, task = call.loaded.config, task_of(data.classes)
    rows, labels = training_rows(data, table)
    units = [data.samples[index].unit for index in rows]
    return fit_logistic(
        LabelledRows(table.features[rows], labels, len(task.names), config.head.class_weight),
        Cs=config.head.candidates(),
        folds=stratified_folds(units, task.strata(labels).tolist(), folds=config.head.folds, seed=config.seed),
        emit=call.emit,
    )


def solved_facts(fitted: Fitted, class_weight: str) -> dict[str, Any]:
    """What `metrics.json` says of a solved head."""
    return {
        "kind": "logistic",
        "C": fitted.C,
        "class_weight": class_weight,
        "candidates": [asdict(candidate) for candidate in fitted.candidates],
        "iterations": fitted.iterations,
        "converged": fitted.converged,
    }


def describe_solved(fitted: Fitted, emit: Emit) -> None:
    """Says which C a head was solved with."""
    chosen = f"C {fitted.C:g}"
    if fitted.candidates:
        losses = {candidate.C: candidate.log_loss for candidate in fitted.candidates}
        chosen += f", the best of {len(losses)} by cross-validation (log loss {losses[fitted.C]:.3f})"
    emit(Fact("head", f"logistic, {chosen}"))
