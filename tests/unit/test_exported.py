"""An exported file, as far as it is read without onnx: what it says, and that its bytes are those that were written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from featcli.errors import CheckpointError
from featcli.evaluation.conformal import Scores
from featcli.exported import (
    DIGEST_KEY,
    FACTS_KEY,
    read_description,
    read_exported,
    scores_to_json,
    split_columns,
    with_entries,
)
from featcli.metadata import KEY, CheckpointMetadata, ExportFacts, is_exported
from tests.unit.test_metadata import VALUE


def body() -> bytes:
    weight = helper.make_tensor("w", TensorProto.FLOAT, [300], np.arange(300, dtype=np.float32).tolist())
    value = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [300]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Add", ["x", "w"], ["y"])], "g", value[:1], value[1:], [weight])
    return bytes(helper.make_model(graph, producer_name="somebody").SerializeToString())


SCORES = Scores.of(np.array([[0.7, 0.3], [0.2, 0.8], [0.6, 0.4]]), np.array([0, 1, 1]))


def exported(tmp_path: Path, **changes: Any) -> Path:
    description = CheckpointMetadata.model_validate(VALUE).to_text()
    facts: dict[str, Any] = {
        "format": 1,
        "form": "exact",
        "precision": "fp32",
        "outputs": {"probabilities": 2, "logits": 2, "features": 512, "novelty": 1},
        "checkpoint_sha256": "00",
        "scores": scores_to_json(SCORES),
        "checked": None,
        "versions": {},
    }
    path = tmp_path / "model.onnx"
    text = ExportFacts.model_validate(facts | changes).to_text()
    path.write_bytes(with_entries(body(), entries(description) | {FACTS_KEY: text}))
    return path


def entries(description: str) -> dict[str, str]:
    return {KEY: description, "classes": json.dumps(["ä" * 200, "b"], ensure_ascii=False)}


def test_what_was_added_is_onnx_to_others(tmp_path: Path) -> None:
    model = onnx.load(exported(tmp_path))
    onnx.checker.check_model(model)
    found = {entry.key: entry.value for entry in model.metadata_props}
    assert list(found) == [KEY, "classes", FACTS_KEY, DIGEST_KEY]
    assert json.loads(found["classes"]) == ["ä" * 200, "b"]
    assert json.loads(found[KEY]) == VALUE
    assert model.producer_name == "somebody" and len(model.graph.initializer) == 1


def test_it_is_read(tmp_path: Path) -> None:
    path = exported(tmp_path)
    model = read_exported(path)
    assert is_exported(path)
    assert list(model.metadata.classes) == ["ants", "bees"]
    assert model.outputs == {"probabilities": 2, "logits": 2, "novelty": 1}  # predictions need no features
    assert model.backbone.feature_size == 5
    assert (model.backbone.name, model.backbone.preprocessing.crop) == ("resnet18", 224)
    assert model.trust.scores is not None and model.trust.novelty is None
    for name, array in SCORES.arrays().items():
        found = model.trust.scores.arrays()[name]
        assert found.dtype == array.dtype
        np.testing.assert_array_equal(found, array)


def test_what_takes_whole_images_leaves_resizing_to_the_file(tmp_path: Path) -> None:
    from PIL import Image

    image = Image.fromarray(np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3))
    pixels = read_exported(exported(tmp_path, form="whole")).backbone.preprocessing.pixels(image)
    np.testing.assert_array_equal(pixels, np.asarray(image))
    assert read_exported(exported(tmp_path)).backbone.preprocessing.pixels(image).shape == (224, 224, 3)


def test_neither_torch_nor_onnx_is_needed(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from featcli.exported import read_exported; "
        f"read_exported(Path({str(exported(tmp_path))!r})); "
        "assert not {'torch', 'torchvision', 'onnx', 'onnxruntime', 'google.protobuf'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("place", [40, 700, -1200, -300, -20])
def test_a_flipped_bit_is_found(tmp_path: Path, place: int) -> None:
    path = exported(tmp_path)
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError):
        read_description(path)


def test_no_cut_is_taken_for_the_whole(tmp_path: Path) -> None:
    path = exported(tmp_path)
    data = path.read_bytes()
    for length in range(16, len(data), 97):
        path.write_bytes(data[:length])
        with pytest.raises(CheckpointError):
            read_exported(path)


def test_somebody_elses_file_is_told_what_it_lacks(tmp_path: Path) -> None:
    path = tmp_path / "other.onnx"
    path.write_bytes(body())
    assert is_exported(path)
    with pytest.raises(CheckpointError, match="does not say its classes and preprocessing") as caught:
        read_exported(path)
    assert caught.value.hint == "To make one: featcli export RUN -o model.onnx"


def test_a_newer_one_says_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="format 2"):
        read_exported(exported(tmp_path, format=2))


@pytest.mark.parametrize("data", [b"", b"\x08", b"\x08\x00\x00\x00\x00\x00\x00\x00{}......", b"PK\x03\x04" * 9])
def test_other_files_are_none(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    assert not is_exported(path)
    assert not is_exported(tmp_path / "missing")


def test_columns() -> None:
    vectors = np.arange(10, dtype=np.float32).reshape(2, 5)
    found = split_columns(vectors, {"a": 2, "b": 1, "c": 2})
    assert {name: array.tolist() for name, array in found.items()} == {
        "a": [[0, 1], [5, 6]],
        "b": [[2], [7]],
        "c": [[3, 4], [8, 9]],
    }
