"""The solved head: which rows it learns from, choosing C on folds of them, and the fit."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcli.data.dataset import Dataset
from featcli.data.folds import stratified_folds
from featcli.errors import UnreadableDataError
from featcli.events import Fact
from featcli.features.extraction import FeatureTable
from featcli.heads.kind import Choice, LabelledRows, Solved
from featcli.heads.registry import find_head
from featcli.tasks import task_of
from featcli.workflow.features import unreadable_of
from featcli.workflow.session import Session


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


def solve_head(kind: str, data: Dataset, table: FeatureTable, session: Session) -> Solved:
    """Fits a head of a kind that has a solver to the readable images of train, and says what was chosen.

    Whatever is chosen is chosen on folds of train alone.

    Raises:
        UnreadableDataError: a class has no readable image.
    """
    config, task = session.loaded.config, task_of(data.classes)
    solve = find_head(kind).solve
    assert solve is not None, f"{kind} has a solver"
    rows, labels = training_rows(data, table)
    units = [data.samples[index].unit for index in rows]
    folds = stratified_folds(units, task.strata(labels).tolist(), folds=config.head.folds, seed=config.seed)
    solved = solve(
        LabelledRows(table.features[rows], labels, len(task.names), config.head.class_weight),
        Choice(config.head.candidates(), folds, widen=config.head.C == "auto"),
        session.emit,
    )
    session.emit(Fact("head", solved.text))
    return solved


def solved_facts(kind: str, solved: Solved, class_weight: str) -> dict[str, Any]:
    """What `metrics.json` says of a solved head."""
    return {"kind": kind, "C": solved.C, "class_weight": class_weight, **solved.facts}
