from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from featcli.errors import CheckpointError
from featcli.metadata import CheckpointMetadata, find_checkpoint, parse_metadata, read_metadata

VALUE: dict[str, Any] = {
    "format": 1,
    "classes": ["ants", "bees"],
    "positive": "bees",
    "backbone": {
        "name": "resnet18",
        "weights": "DEFAULT",
        "weights_sha256": "00",
        "arguments": {},
        "layer": "penultimate",
        "feature_size": 512,
        "n_stages": 5,
    },
    "freeze_depth": "all",
    "preprocessing": {"resize": 256, "crop": 224, "interpolation": "bilinear", "mean": [0.5] * 3, "std": [0.5] * 3},
    "precision": "fp32",
    "device_type": "cpu",
    "head": {"kind": "logistic", "C": 0.1, "class_weight": "none", "sha256": "00"},
    "split": {"made_by": "user", "seed": 0},
    "validation": {
        "fingerprint": "00",
        "n": 3,
        "correct": 2,
        "metrics": {"accuracy": 0.6667, "accuracy_ci95": [0.2, 0.9]},
    },
    "training_fingerprint": "11",
    "calibration": None,
    "versions": {"featcli": "0.1"},
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(safetensors.numpy.save({"x": np.zeros(1)}, metadata={"featcli": json.dumps(VALUE)}))
    return path


def test_what_is_written_is_read(path: Path) -> None:
    metadata = read_metadata(path)
    assert metadata.model_dump() == VALUE | {"engine": "torch", "trust": None}
    assert json.loads(metadata.to_text()) == VALUE
    assert parse_metadata(metadata.to_text(), "x") == metadata


def test_the_text_is_sorted_strict_json_in_plain_letters() -> None:
    names = {"classes": ["b", "é"], "positive": "é"}
    shuffled = CheckpointMetadata.model_validate(dict(reversed(VALUE.items())) | names)
    text = shuffled.to_text()
    assert text == json.dumps(VALUE | names, sort_keys=True, ensure_ascii=False)
    nan = shuffled.model_copy(update={"split": {"x": float("nan")}})
    with pytest.raises(ValueError, match="Out of range float"):
        nan.to_text()


def test_the_wrong_place_is_named() -> None:
    wrong = VALUE | {"classes": ["one"], "head": VALUE["head"] | {"C": "much"}}
    with pytest.raises(CheckpointError, match=r"^x\.safetensors has a damaged description: classes, head\.C$"):
        parse_metadata(json.dumps(wrong), "x.safetensors")


@pytest.mark.parametrize("name", ["positive", "training_fingerprint"])
def test_what_may_be_absent_is_none(name: str) -> None:
    value = {key: item for key, item in VALUE.items() if key != name}
    assert getattr(parse_metadata(json.dumps(value), "x"), name) is None


@pytest.mark.parametrize("changed", [{"positive": "wasps"}, {"classes": ["ants", "bees", "cats"]}])
def test_a_positive_class_is_one_of_two(changed: dict[str, Any]) -> None:
    with pytest.raises(CheckpointError, match=r"^x has a damaged description: positive$"):
        parse_metadata(json.dumps(VALUE | changed), "x")


def test_a_head_by_gradient_has_no_C() -> None:
    value = VALUE | {"head": VALUE["head"] | {"kind": "linear", "C": None}}
    metadata = parse_metadata(json.dumps(value), "x")
    assert metadata.head.C is None
    assert json.loads(metadata.to_text()) == value
    without = {name: fact for name, fact in VALUE["head"].items() if name != "C"}
    with pytest.raises(CheckpointError, match=r"^x has a damaged description: head\.C$"):
        parse_metadata(json.dumps(VALUE | {"head": without}), "x")


def test_a_run_folder_is_its_checkpoint(path: Path) -> None:
    assert find_checkpoint(path.parent) == path
    assert find_checkpoint(path) == path


def test_a_folder_without_a_checkpoint_and_nothing_at_all(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no checkpoint\.safetensors in .*: not a run folder, or an unfinished"):
        find_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match=r"no such checkpoint: .*/gone"):
        find_checkpoint(tmp_path / "gone")


INFO = """
import sys
from pathlib import Path
from featcli.commands.info import info
facts = info(Path(sys.argv[1])).facts
print(facts["classes"], [name for name in ("torch", "torchvision", "PIL", "sklearn") if name in sys.modules])
"""


def test_describing_a_checkpoint_needs_no_torch(path: Path) -> None:
    process = subprocess.run(
        [sys.executable, "-W", "error", "-c", INFO, str(path)],
        check=False, capture_output=True, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert process.stderr == ""
    assert process.stdout == "['ants', 'bees'] []\n"


def test_describing_a_checkpoint_works_in_this_process_too(path: Path) -> None:
    from featcli.commands.info import info

    said = info(path.parent)
    assert said.facts["bytes"] == path.stat().st_size
    assert said.facts["validation"]["correct"] == 2
    assert "2 of 3" in (said.text or "")


@pytest.mark.parametrize(
    ("head", "line"),
    [
        ({}, "head         logistic, C 0.1, class weight none"),
        ({"kind": "linear", "C": None}, "head         linear, by gradient descent, class weight none"),
        (
            {"kind": "mlp", "C": None, "class_weight": "balanced"},
            "head         mlp, by gradient descent, class weight balanced",
        ),
    ],
)
def test_a_head_is_described_by_what_made_it(path: Path, head: dict[str, Any], line: str) -> None:
    from featcli.commands.info import info

    text = json.dumps(VALUE | {"head": VALUE["head"] | head})
    path.write_bytes(safetensors.numpy.save({"x": np.zeros(1)}, metadata={"featcli": text}))
    said = info(path)
    assert line in (said.text or "").splitlines()
    assert said.facts["head"] == VALUE["head"] | head
