"""The limits of a model in sentences: each holds because of a number of the run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from featcli.metadata import CheckpointMetadata
from featcli.report.sentences import FEW, GAP, POOR_ECE, WIDE
from featcli.runs.folder import RunImage
from featcli.text import first_few
from featcli.writers.markdown import named

_FEW_MEASURED = 10  # images of a class, whose recall says little
_NAMED = 5


def limits(metadata: CheckpointMetadata, metrics: Mapping[str, Any], images: Sequence[RunImage]) -> list[str]:
    """Lines of Markdown; there is always one.

    Args:
        metadata: of the checkpoint.
        metrics: as `metrics.json` has them.
        images: of the run.
    """
    val, test = metrics.get("val"), metrics.get("test")
    split, values = ("test", test) if test else ("val", val)
    lines = _of_measuring(metadata, val, test)
    if values:
        lines += _of_accuracy(split, values, metrics["head"])
        lines += _of_classes(split, values)
    lines += _of_training(metadata, metrics["head"], images)
    for name, found in (metrics.get("memory") or {}).items():
        if found["leaks"]:
            are = "image of {} is" if found["leaks"] == 1 else "images of {} are"
            lines.append(f"{found['leaks']} {are.format(name)} in train too, so that its numbers are partly memory.")
    lines.append("The numbers are of images like these: other cameras, places, people or times were not measured.")
    return lines


def _of_measuring(
    metadata: CheckpointMetadata, val: Mapping[str, Any] | None, test: Mapping[str, Any] | None
) -> list[str]:
    lines = []
    if not val and not test:
        lines.append("Nothing was measured: how often it is right on new images is not known.")
    elif not test:
        chosen = (
            ", and the epoch was chosen on the validation images: their numbers are optimistic"
            if val and val.get("selected")
            else ""
        )
        lines.append(f"It was never measured on a test split{chosen}.")
    if metadata.split.get("made_by") == "hash" and not metadata.split.get("grouped"):
        lines.append(
            "Images were split one by one (`data.group` was not used): where several show one subject, the numbers are "
            "too good."
        )
    return lines


def _of_accuracy(split: str, values: Mapping[str, Any], head: Mapping[str, Any]) -> list[str]:
    lines = []
    bounds = values["accuracy_ci95"]
    low, high = bounds or (values["accuracy"], values["accuracy"])
    if bounds is None:
        lines.append(
            f"The accuracy on {split} has no interval: its {values['n_groups']} groups are too few or unequal."
        )
    elif (high - low) / 2 > WIDE:
        lines.append(
            f"{values['n']} images of {split} leave the accuracy uncertain by {100 * (high - low):.0f} points "
            f"({low:.3f} to {high:.3f})."
        )
    majority = values["majority_accuracy"]
    if majority is not None and low <= majority < 1:
        lines.append(
            f"It is not shown to be better than always naming the largest class ({majority:.3f}, within or above the "
            "interval)."
        )
    if values["n_errors"]:
        lines.append(f"{values['n_errors']} of {values['n']} images of {split} could not be read, and count as wrong.")
    if values["ece"] is not None and values["ece"] > POOR_ECE:
        lines.append(f"Its confidence is off by {values['ece']:.3f} on average (ECE on {split}, n = {values['n']}).")
    trained = head.get("train_accuracy")
    if trained is not None and trained - values["accuracy"] > GAP and trained > high:
        lines.append(
            f"It is right on {trained:.3f} of what it learned from, far more than on {split}: it knows those by heart."
        )
    return lines


def _of_classes(split: str, values: Mapping[str, Any]) -> list[str]:
    scores = values.get("per_class") or {}
    lines = []
    never = [name for name, score in scores.items() if score["recall"] == 0]
    if never:
        lines.append(f"Never recognised in {split}: {_names(never)}.")
    absent = [name for name, score in scores.items() if not score["support"]]
    if absent:
        lines.append(f"Without an image in {split}, so not measured: {_names(absent)}.")
    few = [name for name, score in scores.items() if 0 < score["support"] < _FEW_MEASURED]
    if few:
        lines.append(f"Recall rests on fewer than {_FEW_MEASURED} images of {split}: {_names(few)}.")
    return lines


def _of_training(metadata: CheckpointMetadata, head: Mapping[str, Any], images: Sequence[RunImage]) -> list[str]:
    lines = []
    counts = Counter(image.label for image in images if image.split == "train")
    few = [name for name in metadata.classes if counts[name] < FEW]
    if few:
        lines.append(f"Fewer than {FEW} images to learn from: {_names(few)}.")
    doubtful = (head.get("held_out") or {}).get("doubtful_labels")
    if doubtful:
        labels = "training label is" if doubtful == 1 else "training labels are"
        lines.append(f"{doubtful} {labels} doubtful (`training.csv`): what is called a mistake may be a wrong label.")
    if metadata.calibration is None:
        lines.append("Its confidence is not calibrated: it is no probability.")
    if metadata.trust is None or metadata.trust.novelty is None:
        lines.append("It cannot tell images that are unlike the training images: `novelty` is null.")
    return lines


def _names(names: Sequence[str]) -> str:
    return first_few([named(name) for name in names], _NAMED)
