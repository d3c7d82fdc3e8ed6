"""`featcli train-head`: features, a solved head, metrics, one checkpoint."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from featcli.backbones.freezing import FrozenWitness
from featcli.backbones.stages import Backbone
from featcli.checkpoint import Checkpoint, head_sha256, library_versions, save_checkpoint
from featcli.commands.changes import Changes, describe_changes, list_images
from featcli.commands.plans import make_plan
from featcli.commands.runs import Run, check_output, claim_run
from featcli.commands.setup import (
    Call,
    Unreadable,
    features_of,
    open_backbone,
    open_data,
    open_runtime,
    unreadable_of,
)
from featcli.config import Config
from featcli.data.dataset import SPLITS, Dataset, Sample, fingerprint
from featcli.data.splits import stratified_folds
from featcli.errors import UnreadableDataError
from featcli.evaluation.metrics import evaluate
from featcli.events import Fact, Note
from featcli.features.extraction import Extractor, FeatureTable
from featcli.heads.linear import LinearHead
from featcli.heads.logistic import Fitted, fit_logistic
from featcli.metadata import BackboneFacts, CheckpointMetadata, HeadFacts, ValidationFacts
from featcli.runtime import Runtime


@dataclass(frozen=True, slots=True)
class TrainedHead:
    """What `train-head` made: the answer in both forms, and the images that could not be read."""

    answer: str
    summary: dict[str, Any]
    unreadable: Unreadable


def train_head(call: Call) -> TrainedHead:
    """Trains a head on frozen features and writes a run folder.

    Raises:
        FeatcliError: whatever is wrong with config, data, weights, or the output; nothing is left half done.
    """
    config = call.loaded.config
    call.loaded.require("data.root", "backbone.name", "output")
    clock = _Clock()
    runtime = open_runtime(call)
    if call.dry_run:
        check_output(config, overwrite=call.overwrite)
    else:
        run = claim_run(config, overwrite=call.overwrite)
    backbone = open_backbone(call)
    if config.backbone.freeze_depth != "all":
        call.emit(Note(f"freeze_depth {config.backbone.freeze_depth} is for finetune; train-head freezes every stage"))
    data = open_data(call, runtime)
    if call.dry_run:
        plan = make_plan(call, Extractor(backbone, runtime), data)
        return TrainedHead(plan.text, plan.facts, plan.unreadable)
    images = list_images(data)
    changes = describe_changes(run, images, call.emit)
    clock.lap("prepare")

    witness = FrozenWitness(backbone)
    table = features_of(data.samples, Extractor(backbone, runtime), call)
    clock.lap("features")
    fitted = _fit(data, table, config, call)
    clock.lap("head")
    witness.verify()

    metrics, predictions = _evaluate_splits(data, table, fitted.head)
    _describe_result(metrics, fitted, call)
    checkpoint = Checkpoint(backbone, fitted.head, _metadata(config, runtime, backbone, data, fitted, metrics["val"]))
    head_facts = _head_facts(config, fitted)
    run.begin(config)
    sha256 = save_checkpoint(run.checkpoint, checkpoint)
    run.write_config(config)
    run.write_predictions(predictions)
    run.write_log(_log(table, head_facts, metrics))
    run.write_images(images)
    timings = clock.finish()
    run.write_metrics({"checkpoint_sha256": sha256, **metrics, "head": head_facts, "timings": timings})
    return TrainedHead(
        answer=str(run.checkpoint),
        summary=_summary(run, sha256, table, data, changes, metrics, head_facts, timings),
        unreadable=unreadable_of(data.samples, table),
    )


class _Clock:
    """Seconds since the start, by part of the work."""

    def __init__(self) -> None:
        self._start = self._last = time.perf_counter()
        self._laps: dict[str, float] = {}

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self._laps[name] = round(now - self._last, 3)
        self._last = now

    def finish(self) -> dict[str, float]:
        return {**self._laps, "total": round(time.perf_counter() - self._start, 3)}


def _fit(data: Dataset, table: FeatureTable, config: Config, call: Call) -> Fitted:
    """Solves the head on the readable images of train; C is chosen on folds of train alone."""
    usable = table.readable
    rows = [index for index, sample in enumerate(data.samples) if sample.split == "train" and usable[index]]
    labels = np.array([data.samples[index].label for index in rows], dtype=np.int64)
    lost = [name for label, name in enumerate(data.classes) if not (labels == label).any()]
    if lost:
        reasons = [f"{path}: {reason}" for path, reason in unreadable_of(data.samples, table).first[:3]]
        raise UnreadableDataError(
            f"no readable image to train on in class {', '.join(lost)}; for example {'; '.join(reasons)}"
        )
    units = [data.samples[index].unit for index in rows]
    return fit_logistic(
        table.features[rows],
        labels,
        len(data.classes),
        Cs=config.head.candidates(),
        folds=stratified_folds(units, labels.tolist(), folds=config.head.folds, seed=config.seed),
        class_weight=config.head.class_weight,
        emit=call.emit,
    )


def _evaluate_splits(
    data: Dataset, table: FeatureTable, head: LinearHead
) -> tuple[dict[str, dict[str, Any]], list[list[Any]]]:
    """Metrics of val, and of test if there is one, with the exported head; and a row for every image of both."""
    metrics = {}
    predictions: list[list[Any]] = []
    usable = table.readable
    for split in SPLITS[1:]:
        rows = [index for index, sample in enumerate(data.samples) if sample.split == split]
        if not rows and split == "test":
            continue
        good = [index for index in rows if usable[index]]
        bad = [index for index in rows if not usable[index]]
        probabilities = head.probabilities(table.features[good])
        metrics[split] = evaluate(
            probabilities,
            np.array([data.samples[index].label for index in good], dtype=np.int64),
            data.classes,
            error_labels=[data.samples[index].label for index in bad],
        )
        by_row = dict(zip(good, probabilities, strict=True))
        for index in rows:
            predictions.append(_prediction_row(data.samples[index], by_row.get(index), data.classes))
    return metrics, predictions


def _prediction_row(sample: Sample, probabilities: Any, classes: Sequence[str]) -> list[Any]:
    label = classes[sample.label]
    if probabilities is None:
        return [sample.path, sample.split, label, None, None]
    best = int(np.argmax(probabilities))
    return [sample.path, sample.split, label, classes[best], round(float(probabilities[best]), 6)]


def _metadata(
    config: Config, runtime: Runtime, backbone: Backbone, data: Dataset, fitted: Fitted, val: dict[str, Any]
) -> CheckpointMetadata:
    return CheckpointMetadata(
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
        freeze_depth="all",
        preprocessing=backbone.preprocessing.to_json(),
        precision=runtime.precision,
        device_type=runtime.device.type,
        head=HeadFacts(
            kind=config.head.kind,
            C=fitted.C,
            class_weight=config.head.class_weight,
            sha256=head_sha256(fitted.head),
        ),
        split=data.rule,
        validation=ValidationFacts(
            fingerprint=fingerprint(data.split("val")),
            n=val["n"],
            correct=_correct(val),
            metrics=val,
        ),
        calibration=None,
        versions=library_versions(),
    )


def _correct(metrics: dict[str, Any]) -> int:
    return sum(row[index] for index, row in enumerate(metrics["confusion"]))


def _head_facts(config: Config, fitted: Fitted) -> dict[str, Any]:
    return {
        "kind": config.head.kind,
        "C": fitted.C,
        "class_weight": config.head.class_weight,
        "candidates": [asdict(candidate) for candidate in fitted.candidates],
        "iterations": fitted.iterations,
        "converged": fitted.converged,
    }


def _log(table: FeatureTable, head: dict[str, Any], metrics: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = [{"event": "features", "computed": table.computed, "errors": len(table.errors)}]
    events += [{"event": "candidate", **candidate} for candidate in head["candidates"]]
    events.append({"event": "head", "C": head["C"], "iterations": head["iterations"], "converged": head["converged"]})
    for split, values in metrics.items():
        events.append({"event": split, **{name: values[name] for name in ("accuracy", "macro_f1", "log_loss", "n")}})
    return events


def _describe_result(metrics: dict[str, dict[str, Any]], fitted: Fitted, call: Call) -> None:
    chosen = f"C {fitted.C:g}"
    if fitted.candidates:
        losses = {candidate.C: candidate.log_loss for candidate in fitted.candidates}
        chosen += f", the best of {len(losses)} by cross-validation (log loss {losses[fitted.C]:.3f})"
    call.emit(Fact("head", f"logistic, {chosen}"))
    for split, values in metrics.items():
        if values["accuracy"] is None:
            continue
        low, high = values["accuracy_ci95"]
        call.emit(
            Fact(
                split,
                f"accuracy {values['accuracy']:.3f} (95 % interval {low:.3f} to {high:.3f}, n = {values['n']}); "
                f"always the largest class: {values['majority_accuracy']:.3f}",
            )
        )


def _summary(
    run: Run,
    sha256: str,
    table: FeatureTable,
    data: Dataset,
    changes: Changes | None,
    metrics: dict[str, dict[str, Any]],
    head: dict[str, Any],
    timings: dict[str, float],
) -> dict[str, Any]:
    brief = ("accuracy", "accuracy_ci95", "macro_f1", "log_loss", "n", "n_errors")
    return {
        "checkpoint": str(run.checkpoint),
        "checkpoint_sha256": sha256,
        "classes": list(data.classes),
        "features": {
            "computed": table.computed,
            "stored": len(data.samples) - table.computed - len(table.errors),
            "errors": len(table.errors),
        },
        "changes": changes.to_json() if changes else None,
        **{split: {name: values[name] for name in brief} for split, values in metrics.items()},
        "head": {"kind": head["kind"], "C": head["C"]},
        "timings": timings,
    }
