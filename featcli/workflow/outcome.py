"""What `train-head` and `finetune` end with: metrics, a checkpoint, the files of a run, and a summary."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcli.backbones.stages import Backbone
from featcli.checkpoint import Checkpoint, head_sha256, library_versions, save_checkpoint
from featcli.config import Config
from featcli.data.dataset import SPLITS, Dataset, Sample, fingerprint
from featcli.events import Emit, Fact
from featcli.features.extraction import FeatureTable
from featcli.heads.head import Head
from featcli.metadata import BackboneFacts, CheckpointMetadata, HeadFacts, ValidationFacts
from featcli.predictor import Predictor
from featcli.runs.folder import Run, RunImage
from featcli.runs.images import Changes
from featcli.runtime import Runtime
from featcli.tasks import Task

Metrics = dict[str, dict[str, Any]]
_BRIEF = ("accuracy", "accuracy_ci95", "macro_f1", "log_loss", "n", "n_errors")


@dataclass(frozen=True, slots=True)
class Model:
    """A trained model with what was measured on it.

    Attributes:
        backbone: as it predicts.
        head: on its features.
        freeze_depth: how many of its stages are as pretrained, or `all`.
        facts: of the head, as `metrics.json` has them: `kind`, `C`, ...
        task: what it was trained for.
        metrics: by split.
        predictions: rows of `predictions.csv`.
    """

    backbone: Backbone
    head: Head
    freeze_depth: str | int
    facts: dict[str, Any]
    task: Task
    metrics: Metrics
    predictions: list[list[Any]]


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run whose files are all written: the sha256 of its checkpoint, and seconds by part of the work."""

    run: Run
    sha256: str
    timings: dict[str, float]


class Clock:
    """Seconds since the start, by part of the work."""

    def __init__(self) -> None:
        self._start = self._last = time.perf_counter()
        self._laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        """Ends a part."""
        now = time.perf_counter()
        self._laps[name] = round(now - self._last, 3)
        self._last = now

    def finish(self) -> dict[str, float]:
        """All parts, and the total."""
        return {**self._laps, "total": round(time.perf_counter() - self._start, 3)}


def evaluate_splits(
    samples: Sequence[Sample], table: FeatureTable, predictor: Predictor
) -> tuple[Metrics, list[list[Any]]]:
    """Metrics of val, and of test if there is one, with the exported head; and a row for every image of both.

    Args:
        samples: row i is row i of the table.
        table: their features.
        predictor: predicts from them.
    """
    metrics = {}
    rows_of_images: list[list[Any]] = []
    usable, task = table.readable, predictor.task
    for split in SPLITS[1:]:
        rows = [index for index, sample in enumerate(samples) if sample.split == split]
        if not rows and split == "test":
            continue
        good = [index for index in rows if usable[index]]
        predictions = predictor.predictions(table.features[good])
        metrics[split] = task.evaluate(
            predictions,
            np.array([samples[index].label for index in good], dtype=np.int64),
            [samples[index].label for index in rows if not usable[index]],
        )
        by_row = dict(zip(good, predictions, strict=True))
        rows_of_images += [_prediction_row(samples[index], by_row.get(index), task) for index in rows]
    return metrics, rows_of_images


def describe_metrics(metrics: Metrics, task: Task, emit: Emit) -> None:
    """Says how good a model is on each split."""
    for split, values in metrics.items():
        line = task.describe(values)
        if line is not None:
            emit(Fact(split, line))


def make_checkpoint(model: Model, config: Config, runtime: Runtime, data: Dataset) -> Checkpoint:
    """The model as a checkpoint, with all that `predict` and `evaluate --parity` need."""
    backbone, val = model.backbone, model.metrics["val"]
    metadata = CheckpointMetadata(
        format=1,
        classes=list(data.classes),
        backbone=BackboneFacts(
            name=backbone.name,
            weights=backbone.weights,
            weights_sha256=backbone.weights_sha256,
            arguments=dict(backbone.arguments),
            layer=str(backbone.layer),
            feature_size=backbone.feature_size,
            n_stages=len(backbone.stages),
        ),
        freeze_depth=model.freeze_depth,
        preprocessing=backbone.preprocessing.to_json(),
        precision=runtime.precision,
        device_type=runtime.device.type,
        head=HeadFacts(
            kind=model.facts["kind"],
            C=model.facts["C"],
            class_weight=config.head.class_weight,
            sha256=head_sha256(model.head),
        ),
        split=data.rule,
        validation=ValidationFacts(
            fingerprint=fingerprint(data.split("val")),
            n=val["n"],
            correct=sum(row[index] for index, row in enumerate(val["confusion"])),
            metrics=val,
        ),
        calibration=None,
        versions=library_versions(),
    )
    return Checkpoint(backbone, model.head, metadata)


def write_model(run: Run, config: Config, checkpoint: Checkpoint, model: Model) -> str:
    """Writes everything of a run but its log, images and metrics; gives the checkpoint's sha256."""
    run.begin(config)
    sha256 = save_checkpoint(run.checkpoint, checkpoint)
    run.write_config(config)
    run.write_predictions(model.predictions)
    return sha256


def finish_run(
    run: Run, sha256: str, model: Model, images: Sequence[RunImage], log: list[dict[str, Any]], clock: Clock
) -> FinishedRun:
    """Writes the log, the images and, last, the metrics."""
    events = [
        {"event": split, **{name: values[name] for name in (*model.task.logged, "n")}}
        for split, values in model.metrics.items()
    ]
    run.write_log(log + events)
    run.write_images(images)
    timings = clock.finish()
    run.write_metrics({"checkpoint_sha256": sha256, **model.metrics, "head": model.facts, "timings": timings})
    return FinishedRun(run, sha256, timings)


def brief(metrics: dict[str, Any]) -> dict[str, Any]:
    """The metrics of one split that a summary has."""
    return {name: metrics[name] for name in _BRIEF}


def summarise(
    finished: FinishedRun, model: Model, data: Dataset, table: FeatureTable, changes: Changes | None
) -> dict[str, Any]:
    """The answer of a training command under `--json`."""
    return {
        "checkpoint": str(finished.run.checkpoint),
        "checkpoint_sha256": finished.sha256,
        "classes": list(data.classes),
        "features": {
            "computed": table.computed,
            "stored": len(data.samples) - table.computed - len(table.errors),
            "errors": len(table.errors),
        },
        "changes": changes.to_json() if changes else None,
        **{split: brief(values) for split, values in model.metrics.items()},
        "head": {"kind": model.facts["kind"], "C": model.facts["C"]},
        "timings": finished.timings,
    }


def _prediction_row(sample: Sample, prediction: NDArray[np.float64] | None, task: Task) -> list[Any]:
    cells = task.cells(prediction)
    return [sample.path, sample.split, task.target_text(sample.label), *(cells[name] for name in task.fields)]
