"""How good a model is on labelled images: the metrics of each split, and of what it was trained on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcli.data.dataset import SPLITS, Sample
from featcli.evaluation.truth import Truth
from featcli.events import ClassResults, Emit, Fact, Warn
from featcli.features.extraction import FeatureTable
from featcli.predictor import Predictor
from featcli.tasks import Task
from featcli.writers.plots_text import confused_of

Metrics = dict[str, dict[str, Any]]
TRAINING_FACTS = ("train_accuracy", "train_accuracy_n")
_BLOCK = 4096  # rows whose predictions are held at a time


@dataclass(frozen=True, slots=True)
class LeakedImage:
    """An image of val or test that train has too: its path and split, the training image, and how they differ."""

    path: str
    split: str
    partner: str
    how: str


@dataclass(frozen=True, slots=True)
class Memory:
    """How much of what was measured is memory.

    Attributes:
        images: those of val and test that train has too.
        facts: for `metrics.json`, by split.
    """

    images: tuple[LeakedImage, ...] = ()
    facts: Mapping[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Measurements:
    """What a model was found to be worth.

    Attributes:
        metrics: by split.
        rows: of `predictions.csv`: an image, its split, its target, and the cells of its prediction.
        correct: how many images of val it is right on.
        memory: how much of it is memory.
    """

    metrics: Metrics
    rows: list[list[Any]]
    correct: int
    memory: Memory = Memory()


def truth_of(samples: Sequence[Sample], readable: NDArray[np.bool_]) -> Truth:
    """What is true of some images; their groups too, where any of them is in one.

    Args:
        samples: N images.
        readable: (N,) which of them could be read.
    """
    ordered = [samples[row] for row in (*np.flatnonzero(readable), *np.flatnonzero(~readable))]
    n = int(np.count_nonzero(readable))
    return Truth(
        np.array([sample.label for sample in ordered[:n]], dtype=np.int64),
        [sample.label for sample in ordered[n:]],
        group_names(ordered),
    )


def group_names(samples: Sequence[Sample]) -> list[str] | None:
    """What images are not independent of: a name for each, alike in a group; None where none is in a group."""
    return [sample.unit for sample in samples] if any(sample.group is not None for sample in samples) else None


def measure_splits(samples: Sequence[Sample], table: FeatureTable, predictor: Predictor) -> Measurements:
    """Metrics of val, and of test if there is one, with the exported head; and a row for every image of both.

    Args:
        samples: row i is row i of the table.
        table: their features.
        predictor: predicts from them.
    """
    metrics: Metrics = {}
    rows_of_images: list[list[Any]] = []
    correct, task = 0, predictor.task
    for split in SPLITS[1:]:
        rows = np.array([row for row, sample in enumerate(samples) if sample.split == split], dtype=np.int64)
        if not len(rows) and split == "test":
            continue
        chosen, readable = [samples[row] for row in rows], table.readable[rows]
        predictions = predictor.predictions(table.features[rows[readable]])
        truth = truth_of(chosen, readable)
        metrics[split] = predictor.measure(
            table.features[rows[readable]], predictions, truth, validation=split == "val"
        )
        if split == "val":
            correct = task.count_correct(predictions, truth.targets)
        found = iter(predictions)
        rows_of_images += [
            _prediction_row(sample, next(found) if usable else None, task)
            for sample, usable in zip(chosen, readable, strict=True)
        ]
    return Measurements(metrics, rows_of_images, correct)


def training_facts(samples: Sequence[Sample], table: FeatureTable, predictor: Predictor) -> dict[str, Any]:
    """The accuracy on training images that can be read, and how many these are.

    Args:
        samples: row i is row i of the table; only those of train count.
        table: their features.
        predictor: predicts from them.
    """
    usable = table.readable
    rows = [row for row, sample in enumerate(samples) if sample.split == "train" and usable[row]]
    correct = 0
    for start in range(0, len(rows), _BLOCK):
        block = rows[start : start + _BLOCK]
        targets = np.array([samples[row].label for row in block], dtype=np.int64)
        correct += predictor.task.count_correct(predictor.predictions(table.features[block]), targets)
    return dict(zip(TRAINING_FACTS, (correct / len(rows) if rows else None, len(rows)), strict=True))


def mark_selection(metrics: Metrics, head: Mapping[str, Any]) -> None:
    """Says in the metrics of val which epoch was chosen on these images; of all else that nothing was.

    Args:
        metrics: by split; changed.
        head: what `metrics.json` says of the head.
    """
    for split, values in metrics.items():
        chosen = split == "val" and values["n"] > 0 and head.get("best_epoch") is not None
        values["selected"] = {"epoch": head["best_epoch"], "epochs": head["epochs"]} if chosen else None


def confusion_cells(measured: Measurements, task: Task) -> list[list[Any]] | None:
    """Rows of `confusion.csv`: split, class, predicted class and how many images; where there are any, in order.

    Returns:
        None where the metrics have the confusion matrix, or know none.
    """
    if all(values.get("confusion", ()) is not None for values in measured.metrics.values()):
        return None
    counts = Counter((split, true, label) for _, split, true, label, *_ in measured.rows if label is not None)
    place = {name: index for index, name in enumerate(task.names)}
    ordered = sorted(counts, key=lambda cell: (SPLITS.index(cell[0]), place[cell[1]], place[cell[2]]))
    return [[*cell, counts[cell]] for cell in ordered]


def draw_classes(measured: Measurements, emit: Emit) -> None:
    """Hands on how each class of each split fared, for a person who wants to see it."""
    for split, values in measured.metrics.items():
        if not values["n"] or "per_class" not in values:
            continue
        pairs = confused_of(values, partial(_cells, measured, split))
        confused = [(pair.truth, pair.label, pair.count, pair.support) for pair in pairs]
        emit(ClassResults(split, values["per_class"], values["confusion"], confused))


def _cells(measured: Measurements, split: str) -> Counter[tuple[str, str]]:
    """Images of a split by true and predicted class."""
    return Counter((true, label) for _, own, true, label, *_ in measured.rows if own == split and label is not None)


def describe_metrics(metrics: Metrics, task: Task, emit: Emit) -> None:
    """Says how good a model is on each split, and what should keep a user from trusting it."""
    for split, values in metrics.items():
        for index, line in enumerate(task.describe(values)):
            emit(Fact("" if index else split, line))
    for split, values in metrics.items():
        for doubt in task.doubts(values):
            emit(Warn(f"{split}: {doubt}"))


def _prediction_row(sample: Sample, prediction: NDArray[np.float64] | None, task: Task) -> list[Any]:
    cells = task.cells(prediction)
    return [sample.path, sample.split, task.target_text(sample.label), *(cells[name] for name in task.fields)]
