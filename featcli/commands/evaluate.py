"""`featcli evaluate`: the metrics of a checkpoint on labelled images, and whether they are those that were promised."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcli.checkpoint import Checkpoint
from featcli.commands.runs import CONFIG_NAME, PREDICTIONS_NAME
from featcli.commands.setup import (
    Call,
    Unreadable,
    features_of,
    open_model,
    open_runtime,
    read_dataset,
    unreadable_of,
)
from featcli.commands.text import printable
from featcli.config import LoadedConfig, load_config
from featcli.data.dataset import Sample, fingerprint, open_labelled
from featcli.data.memo import MEMO_NAME
from featcli.errors import ConditionFailed, DatasetError, UsageError
from featcli.evaluation.metrics import correct_count
from featcli.evaluation.metrics import evaluate as split_metrics
from featcli.events import Note
from featcli.features.extraction import Extractor, FeatureTable
from featcli.runtime import Runtime

MAX_DIFFERING_SHARE = 0.005  # of the labels, between kinds of devices or precisions


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """What `evaluate` takes besides the common flags.

    Attributes:
        min_accuracy: fail below it.
        parity: fail unless the validation accuracy in the checkpoint is reproduced.
    """

    min_accuracy: float | None = None
    parity: bool = False


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The metrics in both forms, what could not be read, and the condition that does not hold."""

    text: str
    metrics: dict[str, Any]
    unreadable: Unreadable
    failure: ConditionFailed | None = None


def evaluate(call: Call, checkpoint: Path | None, data_dir: Path | None, options: EvaluateOptions) -> Evaluated:
    """Evaluates a checkpoint on a folder, on the config's data, or on that of the run it lies in.

    Raises:
        FeatcliError: the checkpoint or the data is not to be had.
    """
    runtime = open_runtime(call)
    model, path = open_model(call, checkpoint)
    samples, where = _samples(call, model, path, data_dir, runtime, options)
    if call.dry_run:
        text = f"plan\n  checkpoint  {path}\n  device      {runtime}\n  images      {len(samples)}, {where}"
        facts = {"checkpoint": str(path), "device": str(runtime), "images": len(samples), "where": where}
        return Evaluated(text, facts, Unreadable())
    # predict and evaluate read the store and never write to it.
    table = features_of(samples, Extractor(model.backbone, runtime), call, keep=False)
    good = np.flatnonzero(table.readable)
    labels = np.array([sample.label for sample in samples], dtype=np.int64)
    probabilities = model.head.probabilities(table.features[good])
    metrics = split_metrics(
        probabilities, labels[good], model.metadata.classes, error_labels=labels[list(table.errors)].tolist()
    )
    failure = None
    if options.parity:
        failure = _parity(path, model, runtime, samples, table, probabilities, call)
    if failure is None and options.min_accuracy is not None and (metrics["accuracy"] or 0.0) < options.min_accuracy:
        failure = ConditionFailed(
            f"accuracy {metrics['accuracy']:.4f} is below --min-accuracy {options.min_accuracy:g}"
        )
    return Evaluated(_metrics_text(where, metrics), metrics, unreadable_of(samples, table), failure)


def _samples(
    call: Call, model: Checkpoint, path: Path, data_dir: Path | None, runtime: Runtime, options: EvaluateOptions
) -> tuple[Sequence[Sample], str]:
    """The labelled images to evaluate on, and what they are in words."""
    if data_dir is not None:
        limit = call.loaded.config.data.limit
        samples = open_labelled(
            data_dir,
            model.metadata.classes,
            workers=runtime.workers,
            emit=call.emit,
            limit=limit,
            memo=call.cache / MEMO_NAME,
        )
        split = samples[0].split
        return samples, f"in {data_dir}" if split == "train" else f"the {split} split of {data_dir}"
    data = read_dataset(call, _data_config(call, path), runtime, keep=False)
    if list(data.classes) != model.metadata.classes:
        raise DatasetError(
            f"the classes of {data.origin} are not those of the checkpoint: "
            f"{', '.join(data.classes[:10])} and {', '.join(model.metadata.classes[:10])}"
        )
    split = "val" if options.parity else "test" if data.split("test") else "val"
    if not data.split(split):
        raise DatasetError(f"{data.origin} has no images in its {split} split")
    return data.split(split), f"the {split} split of {data.origin}"


def _data_config(call: Call, checkpoint: Path) -> LoadedConfig:
    """The config that names the images: the one that was given, else the run's."""
    if _names_images(call.loaded):
        return call.loaded
    beside = checkpoint.parent / CONFIG_NAME
    if not beside.is_file():
        raise UsageError(
            "nothing to evaluate on", f"Name a folder, or give --config: there is no {CONFIG_NAME} beside {checkpoint}."
        )
    loaded = load_config(beside)
    if not _names_images(loaded):
        raise UsageError(f"{beside} names no images", "Name a folder to evaluate on.")
    return loaded


def _names_images(loaded: LoadedConfig) -> bool:
    return loaded.config.data.root is not None or loaded.config.data.manifest is not None


def _parity(
    path: Path,
    model: Checkpoint,
    runtime: Runtime,
    samples: Sequence[Sample],
    table: FeatureTable,
    probabilities: NDArray[np.float64],
    call: Call,
) -> ConditionFailed | None:
    """Compares with what the checkpoint stores: exactly on the same kind of device, else label by label."""
    stored = model.metadata.validation
    if fingerprint(samples) != stored.fingerprint:
        return ConditionFailed(
            f"parity cannot be shown: these {len(samples)} images are not the {stored.n} that were validated on",
            "Images or labels were added, removed or changed since.",
        )
    good = np.flatnonzero(table.readable)
    labels = np.array([samples[index].label for index in good.tolist()], dtype=np.int64)
    correct = correct_count(probabilities, labels)
    said = f"{correct} of {len(samples)} correct, {stored.correct} of {stored.n} in the checkpoint"
    if (runtime.device.type, runtime.precision) == (model.metadata.device_type, model.metadata.precision):
        if correct != stored.correct:
            return ConditionFailed(f"parity does not hold: {said}")
        call.emit(Note(f"parity holds: {said}"))
        return None
    differing, basis = _differing_labels(path, model, samples, good, probabilities, abs(correct - stored.correct))
    allowed = MAX_DIFFERING_SHARE * len(samples)
    said = (
        f"{said}; {differing} labels differ ({basis}) between {model.metadata.device_type} {model.metadata.precision} "
        f"and {runtime.device.type} {runtime.precision}, {allowed:g} may"
    )
    if differing > allowed:
        return ConditionFailed(f"parity does not hold: {said}")
    call.emit(Note(f"parity holds: {said}"))
    return None


def _differing_labels(
    path: Path,
    model: Checkpoint,
    samples: Sequence[Sample],
    good: NDArray[np.int64],
    probabilities: NDArray[np.float64],
    at_least: int,
) -> tuple[int, str]:
    """Against `predictions.csv` beside the checkpoint; without it, the difference of the counts is all there is."""
    beside = path.parent / PREDICTIONS_NAME
    try:
        text = beside.read_bytes().decode("utf-8", "surrogateescape")
        told = {row["path"]: row["predicted"] for row in csv.DictReader(io.StringIO(text))}
    except (OSError, KeyError, csv.Error):
        return at_least, f"at least, for want of {PREDICTIONS_NAME}"
    now = dict(zip(good.tolist(), probabilities.argmax(axis=1), strict=True))
    classes = model.metadata.classes
    differing = sum(
        told.get(sample.path, "") != (classes[now[index]] if index in now else "")
        for index, sample in enumerate(samples)
    )
    return differing, PREDICTIONS_NAME


def _metrics_text(where: str, metrics: dict[str, Any]) -> str:
    """Metrics as a person reads them."""
    if metrics["n"] == 0:
        return f"no images, {printable(where)}"
    low, high = metrics["accuracy_ci95"]
    lines = [
        f"{metrics['n']} images, {printable(where)}",
        f"accuracy           {metrics['accuracy']:.4f}  (95 % interval {low:.4f} to {high:.4f})",
        f"largest class      {metrics['majority_accuracy']:.4f}  (accuracy of always naming it)",
    ]
    for name in ("balanced_accuracy", "macro_f1", "top5_accuracy", "log_loss", "ece"):
        if metrics[name] is not None:
            lines.append(f"{name.replace('_', ' '):18} {metrics[name]:.4f}")
    if metrics["n_errors"]:
        lines.append(f"unreadable         {metrics['n_errors']}  (counted as wrong)")
    lines += ["", *_class_lines(metrics)]
    if len(metrics["classes"]) <= 12:
        lines += ["", *_confusion_lines(metrics)]
    return "\n".join(lines)


def _class_lines(metrics: dict[str, Any]) -> list[str]:
    scores_of = {printable(name): scores for name, scores in metrics["per_class"].items()}
    width = max(len("class"), *map(len, scores_of))
    lines = [f"{'class':{width}} precision recall     f1  images"]
    for name, scores in scores_of.items():
        cells = (f"{'-' if scores[key] is None else format(scores[key], '.3f'):>{size}}" for key, size in _COLUMNS)
        lines.append(f"{name:{width}} {' '.join(cells)} {scores['support']:7d}")
    return lines


def _confusion_lines(metrics: dict[str, Any]) -> list[str]:
    names = [printable(name) for name in metrics["classes"]]
    width = max(len("true"), *(len(name) for name in names))
    column = max(
        5, *(len(str(cell)) for row in metrics["confusion"] for cell in row), *(min(len(name), 12) for name in names)
    )
    lines = [f"{'true':{width}} " + " ".join(f"{name[:12]:>{column}}" for name in names) + "  predicted"]
    for name, row in zip(names, metrics["confusion"], strict=True):
        lines.append(f"{name:{width}} " + " ".join(f"{cell:{column}d}" for cell in row))
    return lines


_COLUMNS = (("precision", 9), ("recall", 6), ("f1", 6))
