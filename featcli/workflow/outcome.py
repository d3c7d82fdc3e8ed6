"""What `train-head` and `finetune` end with: metrics, a checkpoint, the files of a run, and a summary."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from featcli.backbones.stages import Backbone
from featcli.checkpoint import Checkpoint, head_sha256, library_versions, save_checkpoint, trust_facts
from featcli.config import Config
from featcli.data.dataset import Dataset, fingerprint
from featcli.evaluation.trust import NOTHING, Trust
from featcli.features.engines.choosing import engine_versions
from featcli.features.extraction import FeatureTable
from featcli.features.store import PLAIN_ENGINE
from featcli.heads.head import Head
from featcli.metadata import BackboneFacts, CheckpointMetadata, HeadFacts, ValidationFacts
from featcli.runs.folder import Run, RunImage
from featcli.runs.images import Changes
from featcli.runtime import Runtime
from featcli.tasks import Task
from featcli.workflow.cards import drop_stale_card
from featcli.workflow.measuring import TRAINING_FACTS, Measurements, Metrics, confusion_cells

_LONG = (
    "classes",
    "per_class",
    "confusion",
    "thresholds",
    "coverage_curve",
    "sets",
    "calibration",
    "distance_curve",
)  # what a summary leaves to metrics.json


@dataclass(frozen=True, slots=True)
class Model:
    """A trained model with what was measured on it.

    Attributes:
        backbone: as it predicts.
        head: on its features.
        freeze_depth: how many of its stages are as pretrained, or `all`.
        facts: of the head, as `metrics.json` has them: `kind`, `C`, ...
        task: what it was trained for.
        measured: on val, and on test if there is one.
        engine: whose features were measured.
        trust: what it knows of its own limits.
    """

    backbone: Backbone
    head: Head
    freeze_depth: str | int
    facts: dict[str, Any]
    task: Task
    measured: Measurements
    engine: str = PLAIN_ENGINE
    trust: Trust = NOTHING

    @property
    def metrics(self) -> Metrics:
        """By split."""
        return self.measured.metrics

    @property
    def known(self) -> dict[str, dict[str, Any] | None]:
        """The same as files and summaries have it: None for a split without images."""
        return {split: values if values["n"] else None for split, values in self.metrics.items()}

    def to_json(self) -> dict[str, Any]:
        """What `metrics.json` has of it."""
        return {**self.known, "head": self.facts, "memory": dict(self.measured.memory.facts)}


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


def make_checkpoint(model: Model, config: Config, runtime: Runtime, data: Dataset) -> Checkpoint:
    """The model as a checkpoint, with all that `predict` and `evaluate --parity` need."""
    backbone, val = model.backbone, model.metrics["val"]
    metadata = CheckpointMetadata(
        format=1,
        classes=list(data.classes),
        positive=val.get("positive"),
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
        engine=model.engine,
        head=HeadFacts(
            kind=model.facts["kind"],
            C=model.facts["C"],
            class_weight=config.head.class_weight,
            sha256=head_sha256(model.head),
        ),
        split=data.rule,
        training_fingerprint=fingerprint(data.split("train")),
        validation=ValidationFacts(
            fingerprint=fingerprint(data.split("val")),
            n=val["n"],
            correct=model.measured.correct,
            metrics=val,
        ),
        calibration=None if model.trust.calibration is None else model.trust.calibration.to_json(),
        trust=trust_facts(model.trust),
        versions=library_versions() | engine_versions(model.engine),
    )
    return Checkpoint(backbone, model.head, metadata, model.trust)


def write_model(run: Run, config: Config, checkpoint: Checkpoint, model: Model) -> str:
    """Writes everything of a run but its log, images and metrics; gives the checkpoint's sha256."""
    run.begin(config)
    sha256 = save_checkpoint(run.checkpoint, checkpoint)
    drop_stale_card(run)
    run.write_config(config)
    run.write_predictions(model.measured.rows)
    run.write_confusion(confusion_cells(model.measured, model.task))
    return sha256


def finish_run(
    run: Run, sha256: str, model: Model, images: Sequence[RunImage], log: list[dict[str, Any]], clock: Clock
) -> FinishedRun:
    """Writes the log, the images, the timings and, last, the metrics."""
    events = [
        {"event": split, **{name: values[name] for name in (*model.task.logged, "n")}}
        for split, values in model.metrics.items()
    ]
    run.write_log(log + events)
    run.write_images(images)
    timings = clock.finish()
    run.write_timings(timings)
    run.write_metrics({"checkpoint_sha256": sha256, **model.to_json()})
    return FinishedRun(run, sha256, timings)


def brief(metrics: dict[str, Any] | None) -> dict[str, Any] | None:
    """The metrics of one split that a summary has; None where it has no images."""
    return None if metrics is None else {name: value for name, value in metrics.items() if name not in _LONG}


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
        **{split: brief(values) for split, values in model.known.items()},
        "head": {"kind": model.facts["kind"], "C": model.facts["C"]},
        "memory": {split: brief(facts) for split, facts in model.measured.memory.facts.items()},
        **{name: model.facts[name] for name in TRAINING_FACTS},
        "timings": finished.timings,
    }
