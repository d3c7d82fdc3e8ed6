"""`featcli evaluate`: the metrics of a checkpoint on labelled images, and whether they are those that were promised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from featcli.data.dataset import Sample, fingerprint, first_of_each, open_labelled
from featcli.data.hashing import MEMO_NAME
from featcli.errors import ConditionFailed, DatasetError
from featcli.events import Warn
from featcli.exported import Model
from featcli.lines import lines_of
from featcli.runtime import Runtime
from featcli.workflow.answer import Answer
from featcli.workflow.engines import all_of, with_engine
from featcli.workflow.features import features_of, unreadable_of
from featcli.workflow.grouping import with_groups
from featcli.workflow.idle import OF_CHECKPOINT, describe_changed, describe_idle, of_images
from featcli.workflow.measuring import truth_of
from featcli.workflow.parity import Measured, check_parity
from featcli.workflow.positives import ask_for_positive, open_task
from featcli.workflow.predicting import open_predictor, open_runtime_of
from featcli.workflow.run_data import names_images, open_data_of
from featcli.workflow.session import Session, open_model
from featcli.workflow.unseen import find_overlap
from featcli.writers.metrics_text import metrics_text


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """What `evaluate` takes besides the common flags.

    Attributes:
        min_accuracy: fail below it.
        parity: fail unless the validation accuracy in the checkpoint is reproduced.
        unseen: leave out images of the run's training split; not together with `parity`.
    """

    min_accuracy: float | None = None
    parity: bool = False
    unseen: bool = False


def evaluate(session: Session, checkpoint: Path | None, data_dir: Path | None, options: EvaluateOptions) -> Answer:
    """Evaluates a checkpoint on a folder, on the config's data, or on that of the run it lies in.

    Raises:
        FeatcliError: the checkpoint or the data is not available.
    """
    model, path = open_model(session, checkpoint)
    runtime = open_runtime_of(session, model)
    if options.parity and not model.metadata.validation.n:
        raise ConditionFailed(
            f"parity cannot be shown: {path} was trained without validation images",
            "Hold some out with data.val_fraction, or evaluate it on a labelled folder without --parity.",
        )
    _check_limit(session, data_dir, options)
    _describe_idle(session, path, model, data_dir, named=checkpoint is not None)
    task = open_task(session, model.metadata.classes, model.metadata.positive)
    samples, where = _samples(session, model, path, data_dir, runtime, options)
    grouped = bool(model.metadata.split.get("grouped"))
    samples = with_groups(samples, data_dir, path, session, grouped=grouped)
    overlap = find_overlap(path, model.metadata, samples, unseen=options.unseen, emit=session.emit)
    samples = overlap.samples
    if session.dry_run:
        plan = ["plan", f"  checkpoint  {path}", f"  device      {runtime}", f"  images      {len(samples)}, {where}"]
        facts = {"checkpoint": str(path), "device": str(runtime), "images": len(samples), "where": where}
        return Answer.arranged(lines_of(plan), facts | overlap.to_json())
    # predict and evaluate read the store and never write to it.
    asked = with_engine(session, model.metadata.engine, runtime) if options.parity else session
    predictor = open_predictor(asked, model, runtime, all_of(samples), task=task)
    table = features_of(samples, predictor.extractor, session, keep=False)
    good = np.flatnonzero(table.readable)
    measured = Measured(task, samples, good, predictor.predictions(table.features[good]))
    validation = model.metadata.validation
    validated = fingerprint(samples) == validation.fingerprint
    truth = truth_of(samples, table.readable)
    metrics = predictor.measure(table.features[good], measured.predictions, truth, validation=validated)
    metrics["selected"] = validation.metrics.get("selected") if validated else None
    for doubt in task.doubts(metrics):
        session.emit(Warn(doubt))
    ask_for_positive(metrics, session.emit)
    failure = None
    if options.parity:
        failure = check_parity(path, model.metadata, measured, predictor.extractor, session.emit)
    if failure is None and options.min_accuracy is not None and (metrics["accuracy"] or 0.0) < options.min_accuracy:
        failure = ConditionFailed(
            f"accuracy {metrics['accuracy']:.4f} is below --min-accuracy {options.min_accuracy:g}"
        )
    text = partial(metrics_text, where, metrics, overlap.lines, count=measured.cells)
    return Answer.arranged(text, metrics | overlap.to_json(), unreadable_of(samples, table), failure)


def _samples(
    session: Session, model: Model, path: Path, data_dir: Path | None, runtime: Runtime, options: EvaluateOptions
) -> tuple[Sequence[Sample], str]:
    """The labelled images to evaluate on, and what they are in words."""
    if data_dir is not None:
        samples = open_labelled(
            data_dir,
            model.metadata.classes,
            splits=("val", "test") if options.parity else ("test", "val"),
            workers=runtime.workers,
            emit=session.emit,
            memo=session.cache / MEMO_NAME,
        )
        split = samples[0].split
        where = f"in {data_dir}" if split == "train" else f"the {split} split of {data_dir}"
        return _limited(session, samples), where
    data = open_data_of(session, path, model.metadata, runtime, doing="evaluate")
    split = "val" if options.parity else "test" if data.split("test") else "val"
    if not data.split(split):
        raise DatasetError(f"{data.origin} has no images in its {split} split", "Name a labelled folder.")
    return _limited(session, data.split(split)), f"the {split} split of {data.origin}"


def _limited(session: Session, samples: Sequence[Sample]) -> Sequence[Sample]:
    """The first images of each class, as many as the call asks for."""
    limit = session.loaded.config.data.limit
    return samples if limit is None else tuple(first_of_each(samples, limit))


def _check_limit(session: Session, data_dir: Path | None, options: EvaluateOptions) -> None:
    """Refuses to show parity on some of the images that a run was validated on."""
    loaded = session.loaded
    if options.parity and loaded.config.data.limit is not None and not (data_dir or names_images(loaded)):
        raise loaded.error("data.limit", "--parity is of all validation images, and this leaves some out")


def _describe_idle(session: Session, path: Path, model: Model, data_dir: Path | None, *, named: bool) -> None:
    """Names the options that were given for this call and that it does nothing with."""
    data, idle = session.loaded.config.data, dict(OF_CHECKPOINT)
    if named:
        idle["output"] = "a checkpoint is named"
    if data_dir is not None or not names_images(session.loaded):
        idle |= of_images(f"the images are those of {'the run' if data_dir is None else data_dir}")
        if data.group is not None:
            del idle["data.group"]  # the groups of the call go before those of the run
    if data.positive is None and model.metadata.positive is not None:
        idle["data.positive"] = f"the checkpoint's stays, {model.metadata.positive}"
    describe_idle(session, "evaluate", idle)
    describe_changed(session, path)
