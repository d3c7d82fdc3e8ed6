"""The solved head: which rows it learns from, choosing C on folds of them, and the fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcli.data.dataset import Dataset, Sample
from featcli.data.folds import stratified_folds
from featcli.errors import UnreadableDataError
from featcli.events import Fact, Warn
from featcli.features.extraction import FeatureTable
from featcli.heads.kind import Choice, LabelledRows, Solved
from featcli.heads.registry import find_head
from featcli.tasks import task_of
from featcli.workflow.features import unreadable_of
from featcli.workflow.session import Session
from featcli.workflow.trusting import Evidence, held_out_evidence

FALLBACK_C = 1.0


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


def solve_head(
    kind: str, data: Dataset, table: FeatureTable, session: Session, *, hold_out: bool = False
) -> tuple[Solved, Evidence | None]:
    """Fits a head of a kind that has a solver to the readable images of train, and says what was chosen.

    Whatever is chosen is chosen on folds of train alone.

    Returns:
        The head, and with `hold_out` what heads like it say of training images that they did not learn from.

    Raises:
        UnreadableDataError: a class has no readable image.
    """
    solve = find_head(kind).solve
    assert solve is not None, f"{kind} has a solver"
    rows, labels = training_rows(data, table)
    samples = [data.samples[index] for index in rows]
    choice = choice_among(session, data, samples)
    if hold_out:
        choice = replace(choice, units=np.unique([sample.unit for sample in samples], return_inverse=True)[1])
    solved = solve(
        LabelledRows(table.features[rows], labels, len(data.classes), session.loaded.config.head.class_weight),
        choice,
        session.emit,
    )
    session.emit(Fact("head", solved.text))
    return solved, held_out_evidence(solved.held_out, samples)


def repeated(kind: str, solved: Solved, data: Dataset, table: FeatureTable, session: Session) -> list[Evidence]:
    """What heads of the chosen C say of training images, once for each deal of the folds that `head.repeats` asks for.

    Raises:
        ConfigError: the kind of head has no folds, or the images are too few for any.
    """
    config = session.loaded.config
    hold_out = find_head(kind).hold_out
    assert hold_out is not None and solved.C is not None and config.head.repeats is not None, "checked before"
    rows, labels = training_rows(data, table)
    samples = [data.samples[index] for index in rows]
    units, strata = [sample.unit for sample in samples], task_of(data.classes).strata(labels).tolist()
    problem = LabelledRows(table.features[rows], labels, len(data.classes), config.head.class_weight)
    outcomes = []
    for repeat in range(config.head.repeats):
        folds = stratified_folds(units, strata, folds=config.head.folds, seed=config.seed + 1 + repeat)
        evidence = held_out_evidence(hold_out(problem, solved.C, folds, session.emit), samples)
        if evidence is None:
            raise session.loaded.error("head.repeats", "too few training images of each class for folds")
        outcomes.append(evidence)
    return outcomes


def choice_among(session: Session, data: Dataset, samples: Sequence[Sample]) -> Choice:
    """What a solver chooses from, on folds of these training images; one C where they are too few, which is said.

    Args:
        session: its config says which values of C, and how many folds.
        data: of the images.
        samples: those that are trained on.

    Raises:
        ConfigError: values of C to choose from were given, and no fold can tell them apart.
    """
    config, task = session.loaded.config, task_of(data.classes)
    labels = np.array([sample.label for sample in samples], dtype=np.int64)
    units = [sample.unit for sample in samples]
    folds = stratified_folds(units, task.strata(labels).tolist(), folds=config.head.folds, seed=config.seed)
    Cs = config.head.candidates()
    if len(Cs) == 1 or _tells_apart(folds, labels):
        return Choice(Cs, folds, widen=config.head.C == "auto")
    what = "groups of training images" if data.rule.get("grouped") else "training images"
    if config.head.C != "auto":
        raise session.loaded.error(
            "head.C",
            f"too few {what} to choose from {len(Cs)} values by cross-validation",
            "Give one value: head.C: 1.",
        )
    session.emit(Warn(f"too few {what} to choose C by cross-validation: it is {FALLBACK_C:g}, as head.C: 1 makes it"))
    return Choice((FALLBACK_C,), folds)


def _tells_apart(folds: NDArray[np.int64], labels: NDArray[np.int64]) -> bool:
    """Whether some fold holds out an image of a class that two or more classes are learned beside."""
    for fold in np.unique(folds[folds >= 0]):
        present = np.unique(labels[folds != fold])
        if len(present) > 1 and np.isin(labels[folds == fold], present).any():
            return True
    return False


def solved_facts(kind: str, solved: Solved, class_weight: str) -> dict[str, Any]:
    """What `metrics.json` says of a solved head."""
    return {"kind": kind, "C": solved.C, "class_weight": class_weight, **solved.facts}
