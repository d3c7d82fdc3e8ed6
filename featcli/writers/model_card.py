"""`MODEL_CARD.md`: what a model is, what it was measured on and where it ends, for whoever is handed it.

Everything in it is read from what the run wrote; what only the owner can know is left to the owner, between marks.
No times, hosts or paths: equal runs give equal cards.
"""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featcli.data.dataset import SPLITS
from featcli.evaluation.words import absent_text, interval_text, selection_text
from featcli.metadata import CHECKPOINT_NAME, CheckpointMetadata
from featcli.runs.folder import RunImage
from featcli.writers.card_limits import limits
from featcli.writers.checkpoint_facts import checkpoint_facts
from featcli.writers.markdown import commands, facts, named, plain, table
from featcli.writers.owner_text import TO_DO, owner_part, sealed
from featcli.writers.plots_text import confused_of

_MOST_CLASSES = 50  # that are named
_MOST_ROWS = 30  # classes, each of which has a row
_EXTREMES = 5
_PAIRS = 5
_LABELS = {
    "accuracy": "accuracy",
    "majority_accuracy": "accuracy of always naming the largest class",
    "balanced_accuracy": "balanced accuracy",
    "macro_f1": "macro F1",
    "top5_accuracy": "top-5 accuracy",
    "log_loss": "log loss",
    "brier": "Brier score",
    "ece": "expected calibration error (ECE)",
    "auroc": "AUROC",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
    "average_precision": "average precision",
}
_OWNED = (
    ("Intended use", "intended-use", "what the model is for, and who uses it."),
    ("Out-of-scope use", "out-of-scope-use", "what it must not be used for."),
    ("Ethical considerations", "ethical-considerations", "whom its mistakes may harm, and what is done about that."),
    ("Licence", "licence", "the licences of this model, of its images and of the pretrained weights; whom to ask."),
)
_METADATA = (
    f"# {TO_DO} license, language, datasets, ... (https://huggingface.co/docs/hub/model-cards)\n# license: other"
)


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What a card is made from.

    Attributes:
        name: of the run's folder.
        sha256: of its checkpoint.
        metadata: of its checkpoint.
        metrics: as `metrics.json` has them.
        images: of the run.
    """

    name: str
    sha256: str
    metadata: CheckpointMetadata
    metrics: Mapping[str, Any]
    images: Sequence[RunImage]

    @property
    def splits(self) -> dict[str, Mapping[str, Any]]:
        """The metrics of each split that was measured."""
        return {split: values for split in SPLITS[1:] if (values := self.metrics.get(split))}


def model_card(card: CardFacts) -> str:
    """The card, with nothing of the owner's in it yet."""
    words = checkpoint_facts(Path(CHECKPOINT_NAME), card.metadata)
    owned = [[f"## {title}", "", owner_part(name, f"{TO_DO} {what}")] for title, name, what in _OWNED]
    sections = [
        _front_matter(),
        _opening(card),
        *owned[:2],
        _model(card, words),
        _classes(card.metadata),
        _data(card, words),
        _results(card),
        _trust(card, words),
        _memory(card),
        ["## Limits", "", *(f"- {line}" for line in limits(card.metadata, card.metrics, card.images))],
        *owned[2:],
        _use(card),
        ["## Versions", "", plain(words["versions"])],
    ]
    return sealed("\n\n".join("\n".join(lines) for lines in sections if lines))


def _front_matter() -> list[str]:
    """What model hubs read: nothing in it comes from the data."""
    return [
        "---",
        "library_name: featcli",
        "pipeline_tag: image-classification",
        "tags:",
        "- image-classification",
        "- transfer-learning",
        "- featcli",
        owner_part("metadata", _METADATA, comment=True),
        "---",
    ]


def _opening(card: CardFacts) -> list[str]:
    metadata = card.metadata
    said = [f"# {named(card.name)}: an image classifier of {len(metadata.classes)} classes", ""]
    measured = list(card.splits.items())
    if measured:
        split, values = measured[-1]  # the test split, where there is one
        optimistic = ", optimistic" if values.get("selected") else ""
        right = f"{values['accuracy']:.3f} of {values['n']} images of {split}"
        said.append(f"Right on {right} ({interval_text(values)}{optimistic}).")
    else:
        said.append("Nothing was measured: the run held no images out.")
    said += [
        "",
        f"featcli {metadata.versions.get('featcli', '')} wrote this from what the run measured; all numbers are in "
        "`metrics.json`. It writes it again with the run; what stands between the marks `featcli:owner` and "
        "`featcli:end` is its owner's and is kept.",
    ]
    return said


def _model(card: CardFacts, words: Mapping[str, str]) -> list[str]:
    names = ("backbone", "features", "frozen", "head", "input", "decode", "range", "computed on")
    rows = [(name, plain(words[name])) for name in names if name in words]
    epoch = card.metrics["head"].get("best_epoch")
    if epoch is not None:
        rows.append(
            ("training", f"{card.metrics['head']['epochs']} epochs by gradient descent, of which {epoch} is kept")
        )
    rows.append(("checkpoint", f"`{CHECKPOINT_NAME}`, sha256 `{card.sha256}`"))
    return ["## Model", "", *facts(rows)]


def _classes(metadata: CheckpointMetadata) -> list[str]:
    names = [named(name) for name in metadata.classes]
    more = len(names) - _MOST_CLASSES
    listed = ", ".join(names[:_MOST_CLASSES]) + (f" and {more} more" if more > 0 else "")
    lines = ["## Classes", "", f"{len(names)} classes, in this order: {listed}"]
    if metadata.positive is not None:
        lines += ["", f"The one to be found: {named(metadata.positive)}"]
    return lines


def _data(card: CardFacts, words: Mapping[str, str]) -> list[str]:
    metadata, rule = card.metadata, card.metadata.split
    counts = Counter((image.label, image.split) for image in card.images)
    splits = [split for split in SPLITS if any(image.split == split for image in card.images)]
    classes, above = list(metadata.classes), []
    if len(classes) > _MOST_ROWS:
        order = sorted(range(len(classes)), key=lambda index: (counts[classes[index], "train"], index))
        above = [
            f"Of {len(classes)} classes the {_EXTREMES} with the fewest training images, and those with the most:",
            "",
        ]
        classes = [classes[index] for index in [*order[:_EXTREMES], *order[-_EXTREMES:]]]
    rows = [[named(name), *(str(counts[name, split]) for split in splits)] for name in classes]
    totals = Counter(image.split for image in card.images)
    rows.append(["all", *(str(totals[split]) for split in splits)])
    unreadable = sum(not image.sha256 for image in card.images)
    lines = ["## Data", "", *above, *table(["images", *splits], rows), "", f"- split: {plain(words['split'])}"]
    if rule.get("grouped"):
        lines.append("- images of one group are on one side of the split")
    if rule.get("excluded"):
        lines.append(f"- left out by `data.exclude`: {rule['excluded']}")
    if rule.get("limit") is not None:
        lines.append(f"- only the first {rule['limit']} images of each class and split (`data.limit`)")
    if unreadable:
        lines.append(f"- {unreadable} could not be read from disk")
    prints = (("train", metadata.training_fingerprint), ("val", metadata.validation.fingerprint))
    found = ", ".join(f"{split} `{value}`" for split, value in prints if value)
    return [*lines, f"- fingerprints of contents and labels: {found}"]


def _results(card: CardFacts) -> list[str]:
    splits = card.splits
    if not splits:
        return ["## Results", "", "Nothing was measured: the run held no images out."]
    rows = [["images", *(str(values["n"]) for values in splits.values())]]
    for key, label in _LABELS.items():
        if any(values.get(key) is not None for values in splits.values()):
            rows.append([label, *(_cell(values, key) for values in splits.values())])
    lines = ["## Results", "", *table(["", *splits], rows), ""]
    for split, values in splits.items():
        lines += [f"- {split}: {line}" for line in _split_lines(values)]
    return lines + [f"- {line}" for line in _head_lines(card.metrics["head"])]


def _cell(values: Mapping[str, Any], key: str) -> str:
    if values.get(key) is None:
        return "-"
    bounds = values.get(f"{key}_ci95")
    return f"{values[key]:.3f}" + (f" ({bounds[0]:.3f} to {bounds[1]:.3f})" if bounds else "")


def _split_lines(values: Mapping[str, Any]) -> list[str]:
    lines = [f"accuracy {values['accuracy']:.3f}, {interval_text(values)}"]
    if values.get("selected"):
        lines.append(selection_text(values["selected"]))
    if values.get("n_errors"):
        lines.append(f"{values['n_errors']} could not be read, and count as wrong")
    if "per_class" not in values:
        return lines
    absent = absent_text(values)
    if absent is not None:
        lines.append(plain(absent))
    worst = values["worst_class"]
    if worst is not None:
        lines.append(
            f"worst class {named(worst['class'])}: recall {worst['recall']:.3f}, {worst['hits']} of {worst['support']}"
        )
    pairs = [
        f"{named(pair.truth)} taken for {named(pair.label)} ({pair.count} of {pair.support})"
        for pair in confused_of(values)[:_PAIRS]
    ]
    return [*lines, f"most confused: {'; '.join(pairs)}"] if pairs else lines


def _head_lines(head: Mapping[str, Any]) -> list[str]:
    lines = []
    if head.get("train_accuracy") is not None:
        lines.append(f"accuracy {head['train_accuracy']:.3f} on {head['train_accuracy_n']} images that it learned from")
    held = head.get("held_out")
    if held:
        lines.append(
            f"held-out training images ({held['how']}): accuracy {held['accuracy']:.3f}, {interval_text(held)}, "
            f"n = {held['n']}"
        )
    repeats = head.get("repeats")
    if repeats:
        spread = repeats["accuracy"]
        lines.append(
            f"over {repeats['repeats']} deals of the folds: accuracy {spread['mean']:.3f} in the mean, "
            f"{spread['min']:.3f} to {spread['max']:.3f}"
        )
    return lines


def _trust(card: CardFacts, words: Mapping[str, str]) -> list[str]:
    lines = ["## Confidence and strangers", ""]
    calibration = card.metadata.calibration
    if calibration is None:
        lines.append("- confidence is not calibrated")
    else:
        lines.append(f"- confidence: {plain(words['confidence'])}")
        for split, values in card.splits.items():
            here = values.get("calibration")
            if here:
                lines.append(
                    f"- {split}: ECE {here['ece_before']:.3f} before the temperature, {here['ece_after']:.3f} after; "
                    f"log loss {here['log_loss_before']:.3f} and {here['log_loss_after']:.3f}"
                )
    lines.append(f"- `novelty` of a prediction: {plain(words['novelty'])}; such an image may be of no class at all")
    for split, values in card.splits.items():
        if values.get("strangers") is not None:
            lines.append(f"- {split}: {values['strangers']:.3f} of the images have a novelty above 1")
    return lines


def _memory(card: CardFacts) -> list[str]:
    lines = []
    for split, found in (card.metrics.get("memory") or {}).items():
        said = (
            f"- {split}: of {found['n']} images train has a copy of {found['leaks']}; {found['compared']} were compared"
        )
        free = found["leak_free"]
        if found["leaks"] and free is not None:
            said += f"; accuracy {free['accuracy']:.3f} ({interval_text(free)}) on the other {free['n']}"
        lines.append(said)
        if found["distance_curve"]:
            curve = ", ".join(f"{point['accuracy']:.3f}" for point in found["distance_curve"])
            lines.append(f"- {split}: accuracy {curve}, from the fifth nearest to the training images to the farthest")
    return ["## How much is memory", "", *lines] if lines else []


def _use(card: CardFacts) -> list[str]:
    folder = shlex.quote(card.name)
    parity = [f"featcli evaluate {folder} --parity"] if card.metadata.validation.n else []
    return [
        "## How to use it",
        "",
        "From the folder that holds the run:",
        "",
        *commands(
            [
                f"featcli predict {folder} NEW_PHOTOS",
                f"featcli evaluate {folder} LABELLED_PHOTOS --unseen",
                *parity,
                f"featcli verify {folder}",
                f"featcli report {folder}",
            ]
        ),
    ]
