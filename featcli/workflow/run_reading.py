"""A finished run as the values that its page is made of: what cannot be read is said, and left out."""

from __future__ import annotations

import hashlib
import math
import os
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featcli.checkpoint import StoredModel, read_checkpoint
from featcli.config import Config, LoadedConfig, dump_config, load_config
from featcli.errors import CheckpointError, UsageError
from featcli.files import storage_errors
from featcli.metadata import find_checkpoint
from featcli.report.counting import count_cells
from featcli.report.material import HELD_OUT, TEST, VAL, Epoch, Judged, Listed, Measured
from featcli.report.numbers import Numbers
from featcli.runs.folder import CONFIG_NAME, IMAGES_NAME, METRICS_NAME, PREDICTIONS_NAME, TRAINING_NAME, Run
from featcli.runs.moving import load_run_config
from featcli.workflow.session import Session


@dataclass(frozen=True, slots=True)
class FinishedFolder:
    """A finished run, opened.

    Attributes:
        run: its folder.
        model: its checkpoint.
        config: as it stands in the folder.
        loaded: the same, following a move.
        metrics: of `metrics.json`.
    """

    run: Run
    model: StoredModel
    config: Config
    loaded: LoadedConfig
    metrics: Numbers

    @property
    def folder(self) -> str:
        """Where it lies."""
        return os.path.abspath(self.run.folder)

    @property
    def command(self) -> str:
        """That it was made by."""
        return "finetune" if self.run.last_facts.is_file() else "train-head"


def open_finished(session: Session, named: Path) -> FinishedFolder:
    """Opens a run, by its folder or its checkpoint.

    Raises:
        CheckpointError: there is no checkpoint, or it or the metrics are damaged.
        UsageError: the checkpoint lies in no run, or the run is not finished.
    """
    path = find_checkpoint(named)
    run = Run(path.parent)
    config = run.folder / CONFIG_NAME
    if not config.is_file():
        raise UsageError(
            f"{path} lies in no run: there is no {CONFIG_NAME} beside it",
            "Name the run folder that it was written in; featcli info tells what is in the file itself.",
        )
    if not run.is_complete():
        raise _unfinished(run, f"there is no {METRICS_NAME} in it")
    metrics = run.read_metrics()
    with storage_errors(path, doing="read"), path.open("rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    if metrics.get("checkpoint_sha256") != actual:
        raise _unfinished(run, f"its {METRICS_NAME} is of another checkpoint")
    model = read_checkpoint(path)
    loaded = load_run_config(run.folder, session.emit)
    return FinishedFolder(
        run, model, load_config(config).config, loaded, Numbers(metrics, str(run.folder / METRICS_NAME))
    )


def _unfinished(run: Run, why: str) -> UsageError:
    folder = shlex.quote(str(run.folder))
    if run.last_facts.is_file():
        return UsageError(
            f"{run.folder} is an unfinished run: {why}", f"Finish it: featcli finetune --resume -o {folder}"
        )
    config = shlex.quote(str(run.folder / CONFIG_NAME))
    return UsageError(f"{run.folder} is an unfinished run: {why}", f"Run it again: featcli train-head {config}")


@dataclass(frozen=True, slots=True)
class Judgements:
    """What a run says of its images.

    Attributes:
        measured: the split that the page is about: test, else validation, else training images that were held out.
        others: further splits.
        training: training images that were held out.
        by_content: what it says of images that it held out, by their sha256; None where that is not known.
        problems: what cannot be read.
    """

    measured: Measured | None
    others: Sequence[Measured]
    training: Sequence[Judged] | None
    by_content: Mapping[str, Judged] | None
    problems: Sequence[str]


def read_judgements(opened: FinishedFolder, images: Mapping[str, Listed]) -> Judgements:
    """Reads the predictions of a run and what was measured on them.

    Args:
        opened: the run.
        images: its images by path, empty where they are not known.

    Raises:
        CheckpointError: the metrics are damaged.
    """
    classes = opened.model.metadata.classes
    problems: list[str] = []
    rows = opened.run.read_predictions()
    splits: list[Measured] = []
    for split in (TEST, VAL):
        numbers = opened.metrics.part(split)
        if numbers is None or not numbers.count("n"):
            continue
        found = None if rows is None else _judged([row for row in rows if row["split"] == split], classes)
        if found is not None and len(found) != numbers.count("n"):
            found = None
        if found is None:
            problems.append(f"{PREDICTIONS_NAME} is damaged or of another run: images of {split} are not shown.")
        splits.append(Measured(split, numbers, found, _cells(numbers, found, classes)))
    training, said = _training(opened, classes)
    problems += said
    head = opened.metrics.part("head")
    held_out = None if head is None else head.part("held_out")
    if not splits and held_out is not None:
        splits.append(Measured(HELD_OUT, held_out, training, {} if training is None else count_cells(training)))
    by_content = None
    shown = [split.images for split in splits if split.split != HELD_OUT]
    if images and all(found is not None for found in shown):
        by_content = {
            images[image.path].sha256: image
            for found in shown
            for image in found or ()
            if image.label and image.path in images
        }
    return Judgements(splits[0] if splits else None, splits[1:], training, by_content, problems)


def _training(opened: FinishedFolder, classes: Sequence[str]) -> tuple[list[Judged] | None, list[str]]:
    if not (opened.run.folder / TRAINING_NAME).is_file():
        return None, []
    rows = opened.run.read_training()
    found = None if rows is None else _judged(rows, classes)
    return found, [] if found is not None else [f"{TRAINING_NAME} is damaged: held-out training images are not shown."]


def _judged(rows: Sequence[Mapping[str, str]], classes: Sequence[str]) -> list[Judged] | None:
    """Rows of a list of predictions; None where one of them cannot be of this run."""
    known = set(classes)
    found = []
    for row in rows:
        confidence = float(row["confidence"]) if row["label"] else 0.0
        if row["true_label"] not in known or (row["label"] and row["label"] not in known):
            return None
        if not math.isfinite(confidence) or not 0 <= confidence <= 1:
            return None
        found.append(Judged(row["path"], row["true_label"], row["label"], confidence))
    return found


def _cells(numbers: Numbers, images: Sequence[Judged] | None, classes: Sequence[str]) -> dict[tuple[str, str], int]:
    if images is not None:
        return dict(count_cells(images))
    square = numbers.square("confusion", len(classes)) or []
    return {
        (truth, label): int(count)
        for truth, row in zip(classes, square, strict=False)
        for label, count in zip(classes, row, strict=True)
        if count
    }


def read_images(opened: FinishedFolder) -> tuple[dict[str, Listed], list[str]]:
    """The images of a run by path, where they lie now; and what is to be said where they cannot be read."""
    try:
        images = opened.run.read_images()
    except CheckpointError as error:
        return {}, [f"{error.message}."]
    if images is None:
        return {}, [f"There is no {IMAGES_NAME} in the run: it is not known whether images have changed."]
    moved = _moved(opened.config, opened.loaded.config)
    found = {}
    for image in images:
        place = image.path
        for before, now in moved:
            if Path(place).is_relative_to(before):
                place = str(now / Path(place).relative_to(before))
                break
        found[image.path] = Listed(image.path, place, image.split, image.label, image.sha256)
    return found, []


def _moved(before: Config, now: Config) -> list[tuple[Path, Path]]:
    """Folders of images that lie elsewhere now."""
    pairs = [(before.data.root, now.data.root)]
    if before.data.manifest is not None and now.data.manifest is not None:
        pairs.append((before.data.manifest.parent, now.data.manifest.parent))
    return [(Path(one), Path(other)) for one, other in pairs if one is not None and other is not None and one != other]


def read_epochs(run: Run) -> list[Epoch]:
    """The epochs in the log of a training; none where it has no such, or the log is damaged."""
    found = []
    for event in run.read_log():
        epoch = event.get("epoch")
        if event.get("event") == "epoch" and isinstance(epoch, int):
            loss, accuracy, log_loss = (_finite(event.get(name)) for name in ("loss", "val_accuracy", "val_log_loss"))
            found.append(Epoch(epoch, loss, accuracy, log_loss, best=event.get("best") is True))
    return found


def _finite(value: Any) -> float | None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return float(value) if is_number else None


def config_lines(opened: FinishedFolder) -> list[str]:
    """The resolved config, as the run has it."""
    return dump_config(opened.config).splitlines()


def commands_of(opened: FinishedFolder) -> list[str]:
    """What repeats a run, checks it, and uses it."""
    folder = shlex.quote(opened.folder)
    config = shlex.quote(os.path.join(opened.folder, CONFIG_NAME))
    parity = [f"featcli evaluate {folder} --parity"] if opened.model.metadata.validation.n else []
    return [
        f"featcli {opened.command} {config}",
        f"featcli verify {folder}",
        *parity,
        f"featcli predict {folder} NEW_PHOTOS",
    ]
