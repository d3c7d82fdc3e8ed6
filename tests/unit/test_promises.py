"""Promises that no single module keeps: the library's whole path from a folder to predictions, in this process."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from featcli.checkpoint import load_checkpoint
from featcli.commands.train_head import train_head
from featcli.config import load_config
from featcli.data.readers.files import file_ref
from featcli.events import ignore
from featcli.features.extraction import Extractor
from featcli.runtime import Runtime
from featcli.workflow.session import Session

pytestmark = pytest.mark.usefixtures("one_thread")


def train(tmp_path: Path, root: Path, name: str) -> Path:
    config = tmp_path / f"{name}.yaml"
    config.write_text(
        json.dumps(
            {
                "data": {"root": str(root)},
                "backbone": {"name": "shufflenet_v2_x0_5", "weights": "none", "preprocess": {"resize": 36, "crop": 32}},
                "head": {"folds": 3},
                "loader": {"workers": 2},
                "device": "cpu",
                "output": str(tmp_path / name),
            }
        )
    )
    session = Session(load_config(config), tmp_path / "cache", ignore, threads=1)
    return Path(train_head(session).text or "")


@pytest.fixture
def root(tmp_path: Path, make_folder: Callable[..., Path]) -> Path:
    root = tmp_path / "data"
    for split, (start, count) in {"train": (0, 8), "val": (8, 5), "test": (13, 4)}.items():
        make_folder(root / split, {"blue": count, "green": count}, start=start)
    (root / "val" / "green" / "99.png").write_bytes(b"broken")
    return root


def without_test(metrics: dict[str, Any]) -> dict[str, Any]:
    memory = {split: facts for split, facts in metrics["memory"].items() if split != "test"}
    return {name: value for name, value in metrics.items() if name != "test"} | {"memory": memory}


def test_what_is_chosen_never_sees_the_test(tmp_path: Path, root: Path) -> None:
    """Promise 10: whatever the test split holds, the checkpoint has the same bytes."""
    first = train(tmp_path, root, "first")
    with_test = json.loads((first.parent / "metrics.json").read_text())
    assert with_test["test"]["n"] == 8
    for index, path in enumerate(sorted((root / "test").rglob("*.png"))):
        noise = np.random.default_rng(index).integers(0, 256, (30, 30, 3), dtype=np.uint8)
        Image.fromarray(noise).save(path)
    swapped = root / "test" / "swapped"
    (root / "test" / "blue").rename(swapped)
    (root / "test" / "green").rename(root / "test" / "blue")
    swapped.rename(root / "test" / "green")
    second = train(tmp_path, root, "second")
    assert second.read_bytes() == first.read_bytes()
    other = json.loads((second.parent / "metrics.json").read_text())
    assert other["test"] != with_test["test"]
    assert without_test(other) == without_test(with_test)
    shutil.rmtree(root / "test")
    third = train(tmp_path, root, "third")
    assert third.read_bytes() == first.read_bytes()


def test_the_checkpoint_reproduces_what_was_validated(tmp_path: Path, root: Path) -> None:
    """Promise 2, by hand: files to labels with nothing but what is in the checkpoint."""
    checkpoint = load_checkpoint(train(tmp_path, root, "run"))
    extractor = Extractor(checkpoint.backbone, Runtime(torch.device("cpu"), "fp32", 1, 1, 8))
    paths = [str(path) for path in sorted((root / "val").rglob("*.png"))[::-1]]  # another order than training's
    rows = [row for batch in extractor.stream(map(file_ref, paths), batch_size=1) for row in batch]
    good = [row for row in rows if row.feature is not None]
    logits = checkpoint.head.logits(np.stack([row.feature for row in good if row.feature is not None]))
    labels = [checkpoint.metadata.classes[best] for best in logits.argmax(axis=1)]
    correct = sum(Path(row.path).parent.name == label for row, label in zip(good, labels, strict=True))
    facts = checkpoint.metadata.validation
    assert facts.correct == correct
    assert len(rows) - len(good) == 1
    predictions = (tmp_path / "run" / "predictions.csv").read_text().splitlines()[1:]
    written = {line.split(",")[0]: line.split(",")[3] for line in predictions}
    assert {row.path: label for row, label in zip(good, labels, strict=True)}.items() <= written.items()


def test_the_users_data_is_only_read(tmp_path: Path, root: Path) -> None:
    """Promise 7."""

    def state() -> dict[str, tuple[int, int, str]]:
        found = {}
        for folder, _, names in os.walk(root):
            for path in (Path(folder), *(Path(folder, name) for name in names)):
                status = path.stat()
                content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
                found[str(path)] = (status.st_mtime_ns, status.st_mode, content)
        return found

    before = state()
    train(tmp_path, root, "run")
    assert state() == before


def test_a_warm_store_gives_the_same_checkpoint(tmp_path: Path, root: Path) -> None:
    """Promise 4: the state of the store does not matter."""
    cold = train(tmp_path, root, "cold").read_bytes()
    assert train(tmp_path, root, "warm").read_bytes() == cold
    segments = sorted((tmp_path / "cache").rglob("*.safetensors"))
    assert segments
    for segment in segments:
        segment.unlink()
    assert train(tmp_path, root, "again").read_bytes() == cold
