"""The folder of a run: whose it is, and writing its files so that a killed run is seen to be unfinished."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featcli.errors import CheckpointError, FeatcliError
from featcli.files import remove_file, storage_errors, write_json, write_text
from featcli.metadata import CHECKPOINT_NAME
from featcli.text import csv_text

if TYPE_CHECKING:
    from featcli.config import Config

CONFIG_NAME = "config.yaml"
METRICS_NAME = "metrics.json"
TIMINGS_NAME = "timings.json"
LOG_NAME = "metrics.jsonl"
PREDICTIONS_NAME = "predictions.csv"
CONFUSION_NAME = "confusion.csv"
IMAGES_NAME = "images.csv"
TRAINING_NAME = "training.csv"
REPORT_NAME = "report.html"
CARD_NAME = "MODEL_CARD.md"
EDITED_CARD_NAME = "MODEL_CARD.edited-{}.md"  # of a card whose other lines somebody changed: the hash of its text
LAST_NAME = "last.safetensors"
LAST_FACTS_NAME = "last.json"


@dataclass(frozen=True, slots=True)
class RunImage:
    """One image of a run: where it lay, its split, the name of its class, and the sha256 of its bytes, or nothing."""

    path: str
    split: str
    label: str
    sha256: str


_PREDICTIONS_HEADER = ("path", "split", "true_label", "label", "confidence")
_TRAINING_HEADER = ("path", "true_label", "label", "confidence", "true_confidence")
_SHA256 = re.compile("([0-9a-f]{64})?")  # nothing where the image could not be read
_IMAGES_HEADER = tuple(field.name for field in fields(RunImage))


class Run:
    """One output folder.

    Args:
        folder: made when it does not exist.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def checkpoint(self) -> Path:
        """Where the model goes."""
        return self.folder / CHECKPOINT_NAME

    @property
    def last(self) -> Path:
        """Where a training keeps what `--resume` needs."""
        return self.folder / LAST_NAME

    @property
    def last_facts(self) -> Path:
        """Which training that is."""
        return self.folder / LAST_FACTS_NAME

    def is_complete(self) -> bool:
        """Whether it holds a checkpoint and metrics."""
        return self.checkpoint.is_file() and (self.folder / METRICS_NAME).is_file()

    def begin(self, config: Config) -> None:
        """To be called before the checkpoint is written.

        Where there is no complete run to be replaced, the config comes first: a run that is killed between the two is
        still recognised as its own. A complete run keeps its config until its checkpoint is replaced, its
        report goes at once.
        """
        self.remove_report()
        if not (self.folder / METRICS_NAME).is_file():
            self.write_config(config)

    def holds(self, config: Config) -> bool:
        """Whether the folder's config is this one, but for what does not change the result."""
        from featcli.config import load_config, same_run

        try:
            return same_run(load_config(self.folder / CONFIG_NAME).config, config)
        except FeatcliError:
            return False

    def write_config(self, config: Config) -> None:
        """Writes `config.yaml`: running it again gives the same run."""
        from featcli.config import dump_config  # PyYAML takes a while, and who reads a run needs none

        write_text(self.folder / CONFIG_NAME, dump_config(config))

    def write_log(self, events: Iterable[Mapping[str, Any]]) -> None:
        """Writes `metrics.jsonl`, one line per event."""
        lines = "".join(json.dumps(event, allow_nan=False) + "\n" for event in events)
        write_text(self.folder / LOG_NAME, lines)

    def write_predictions(self, rows: Sequence[Sequence[Any]]) -> None:
        """Writes `predictions.csv`; None becomes an empty cell."""
        write_text(self.folder / PREDICTIONS_NAME, csv_text([_PREDICTIONS_HEADER], rows))

    def read_predictions(self) -> list[dict[str, str]] | None:
        """What `write_predictions` wrote, by column; None where there is none that can be read.

        Runs of before called the truth `label`, and the prediction `predicted`.
        """
        try:
            text = (self.folder / PREDICTIONS_NAME).read_bytes().decode("utf-8", "surrogateescape")
            header, *rows = csv.reader(io.StringIO(text, newline=""))
        except (OSError, ValueError, csv.Error):
            return None
        if tuple(header) not in (_PREDICTIONS_HEADER, ("path", "split", "label", "predicted", "confidence")):
            return None
        found = [dict(zip(_PREDICTIONS_HEADER, row, strict=False)) for row in rows if len(row) == len(header)]
        return found if all(_is_number(row["confidence"]) for row in found if row["label"]) else None

    def write_confusion(self, cells: Sequence[Sequence[Any]] | None) -> None:
        """Writes `confusion.csv`; None where the confusion matrix is among the metrics: an old one is removed."""
        path = self.folder / CONFUSION_NAME
        if cells is None:
            remove_file(path)
        else:
            write_text(path, csv_text([("split", "true_label", "label", "count")], cells))

    def write_training(self, rows: Sequence[Sequence[Any]] | None) -> None:
        """Writes `training.csv`, training images as heads see them that did not learn from them; None removes it."""
        path = self.folder / TRAINING_NAME
        if rows is None:
            remove_file(path)
        else:
            write_text(path, csv_text([_TRAINING_HEADER], rows))

    def read_training(self) -> list[dict[str, str]] | None:
        """What `write_training` wrote, by column; None where there is none that can be read."""
        try:
            text = (self.folder / TRAINING_NAME).read_bytes().decode("utf-8", "surrogateescape")
            header, *rows = csv.reader(io.StringIO(text, newline=""))
        except (OSError, ValueError, csv.Error):
            return None
        if tuple(header) != _TRAINING_HEADER or any(len(row) != len(header) for row in rows):
            return None
        found = [dict(zip(header, row, strict=True)) for row in rows]
        return found if all(_is_number(row[name]) for row in found for name in header[3:]) else None

    def read_log(self) -> list[dict[str, Any]]:
        """What `write_log` wrote; nothing where it cannot be read."""
        try:
            lines = (self.folder / LOG_NAME).read_bytes().decode("utf-8").splitlines()
            found = [json.loads(line) for line in lines]
        except (OSError, ValueError):
            return []
        return found if all(isinstance(event, dict) for event in found) else []

    @property
    def report(self) -> Path:
        """Where the page of the run goes."""
        return self.folder / REPORT_NAME

    def remove_report(self) -> None:
        """Takes the page of an earlier run away, which would be stale."""
        remove_file(self.report)

    @property
    def card(self) -> Path:
        """Where the card of the model goes."""
        return self.folder / CARD_NAME

    def read_card(self) -> str | None:
        """The card that lies here, of whichever run; None where there is none.

        Raises:
            StorageError: it cannot be read, so that what somebody wrote into it would be lost.
        """
        if not self.card.is_file():
            return None
        with storage_errors(self.card, doing="read"):
            return self.card.read_bytes().decode("utf-8", "surrogateescape")

    def write_card(self, text: str) -> None:
        """Writes `MODEL_CARD.md`."""
        write_text(self.card, text)

    def put_card_aside(self, text: str) -> Path:
        """Writes a card under a name that belongs to its text, so that no other is replaced by it."""
        digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8]
        path = self.folder / EDITED_CARD_NAME.format(digest)
        write_text(path, text)
        return path

    def remove_card(self) -> None:
        """Takes the card of an earlier run away."""
        remove_file(self.card)

    def write_images(self, images: Iterable[RunImage]) -> None:
        """Writes `images.csv`: what the run was made from."""
        write_text(self.folder / IMAGES_NAME, csv_text([_IMAGES_HEADER], map(astuple, images)))

    def read_images(self) -> list[RunImage] | None:
        """The images of the run that this folder holds; None where it has no list of them.

        Raises:
            CheckpointError: the list is damaged.
            StorageError: it cannot be read.
        """
        path = self.folder / IMAGES_NAME
        if not path.is_file():
            return None
        damaged = CheckpointError(f"{path} is damaged: it is no longer the list of a run's images")
        try:
            with (
                storage_errors(path, doing="read"),
                path.open(encoding="utf-8", errors="surrogateescape", newline="") as file,
            ):
                header, *rows = [tuple(row) for row in csv.reader(file)] or [()]
        except csv.Error as error:
            raise damaged from error
        if header != _IMAGES_HEADER or any(len(row) != len(header) or not _SHA256.fullmatch(row[-1]) for row in rows):
            raise damaged
        return [RunImage(*row) for row in rows]

    def read_metrics(self) -> dict[str, Any]:
        """What `write_metrics` wrote.

        Raises:
            CheckpointError: there is none, or it is damaged.
        """
        path = self.folder / METRICS_NAME
        damaged = CheckpointError(f"{path} cannot be read: the run is damaged", "Run it again.")
        try:
            found = json.loads(path.read_bytes().decode("utf-8", "surrogateescape"))  # as `write_text` wrote it
        except (OSError, ValueError, RecursionError) as error:
            raise damaged from error
        if not isinstance(found, dict):
            raise damaged
        return found

    def read_timings(self) -> dict[str, float]:
        """What `write_timings` wrote; nothing where it cannot be read."""
        try:
            found = json.loads((self.folder / TIMINGS_NAME).read_bytes())
        except (OSError, ValueError):
            return {}
        return dict(found) if isinstance(found, dict) else {}

    def write_timings(self, timings: Mapping[str, float]) -> None:
        """Writes `timings.json`: apart from the metrics, so that equal runs have equal metrics."""
        write_json(self.folder / TIMINGS_NAME, timings)

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Writes `metrics.json`, last: a folder without it, or with another checkpoint's, is unfinished."""
        write_json(self.folder / METRICS_NAME, metrics)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
