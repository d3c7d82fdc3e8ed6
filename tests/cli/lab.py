"""What the tests of the command line share: a small, fast model, and looking at what was left behind."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from tests.process import Finished, ForkServer, Running

# A random network on images of 32 x 32: nothing to download, and a run takes well under a second.
SMALL = (
    "--set",
    "backbone.name=efficientnet_lite0",
    "--set",
    "backbone.weights=none",
    "--set",
    "backbone.preprocess={resize: 40, crop: 32}",
    "--set",
    "head.C=1.0",
)
# Enough to move weights: with a random head, since the solved one on random features leaves nothing to be learned.
SHORT = ("--set", "train.epochs=2", "--set", "train.batch_size=4", "--set", "train.augment=flip")
RUN_FILES = [
    "MODEL_CARD.md", "checkpoint.safetensors", "config.yaml", "images.csv", "metrics.json", "metrics.jsonl",
    "predictions.csv", "timings.json", "training.csv",
]  # fmt: skip
TUNED_FILES = sorted([*RUN_FILES[:-1], "last.json", "last.safetensors"])  # nothing is held out of a fine-tuning
BACKBONE_LINE = "backbone  efficientnet_lite0, weights none (seed 0), 3.4 M parameters, 1280 features\n"


class Lab:
    """A working directory in which commands are run."""

    def __init__(self, server: ForkServer, folder: Path) -> None:
        self.server = server
        self.folder = folder

    def __call__(self, *arguments: str | Path, **options: Any) -> Finished:
        """Runs `featcli ARGUMENTS` here, to its end."""
        return self.start(*arguments, **options).wait()

    def start(self, *arguments: str | Path, **options: Any) -> Running:
        """Starts `featcli ARGUMENTS` here."""
        return self.server.start(*arguments, **{"cwd": self.folder, **options})

    def train(self, *arguments: str | Path, data: str = "photos", output: str = "run", **options: Any) -> Finished:
        """Runs `train-head` with the small model."""
        return self("train-head", *SMALL, "--set", f"data.root={data}", "-o", output, *arguments, **options)

    def finetune(
        self, *arguments: str | Path, depth: int | str = 4, data: str = "photos", output: str = "run", **options: Any
    ) -> Finished:
        """Runs `finetune` with the small model, for two epochs of three steps."""
        return self.start_finetune(*arguments, depth=depth, data=data, output=output, **options).wait()

    def start_finetune(
        self, *arguments: str | Path, depth: int | str = 4, data: str = "photos", output: str = "run", **options: Any
    ) -> Running:
        """Starts `finetune` with the small model."""
        where = ("--set", f"data.root={data}", "--set", f"backbone.freeze_depth={depth}", "-o", output)
        return self.start("finetune", *SMALL, *SHORT, *where, *arguments, **options)

    def write(self, name: str, text: str | bytes) -> Path:
        """Makes a file."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    def preload(self, code: str) -> Path:
        """A file of code that breaks something on purpose, for `preload=`."""
        return self.write(f"preload-{hashlib.sha256(code.encode()).hexdigest()[:8]}.py", code)


def tree(root: Path) -> dict[str, tuple[str, int]]:
    """Everything below a folder: content and time of change."""
    return {
        str(path.relative_to(root)): (_content(path), path.lstat().st_mtime_ns)
        for path in sorted([root, *root.rglob("*")])
    }


def _content(path: Path) -> str:
    return "folder" if path.is_dir() else hashlib.sha256(path.read_bytes()).hexdigest()


def names(folder: Path) -> list[str]:
    """What a folder holds, hidden files too."""
    return sorted(path.name for path in folder.iterdir())


def strict_json(text: str | bytes) -> Any:
    """Reads JSON, and refuses NaN and Infinity."""

    def refuse(constant: str) -> None:
        raise ValueError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def line_of(text: str, start: str) -> str:
    """The first line of a text that starts so."""
    return next(line for line in text.splitlines() if line.startswith(start))


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file."""
    with path.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        return list(csv.DictReader(file))


def head_of(run: Path) -> dict[str, np.ndarray]:
    """The tensors of a run's head."""
    tensors = safetensors.numpy.load_file(run / "checkpoint.safetensors")
    return {name: tensor for name, tensor in tensors.items() if name.startswith("head.")}


def is_complete(run: Path) -> bool:
    """Whether a folder holds a finished run: metrics, written last, that name this checkpoint."""
    try:
        metrics = strict_json((run / "metrics.json").read_bytes())
        checkpoint = (run / "checkpoint.safetensors").read_bytes()
    except FileNotFoundError:
        return False
    return metrics["checkpoint_sha256"] == hashlib.sha256(checkpoint).hexdigest()


def cut(path: Path) -> None:
    """Keeps the first part of a file."""
    data = path.read_bytes()
    path.write_bytes(data[: len(data) * 2 // 3])
