"""`data.decode: scaled`, from training to `predict`, and in the store."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from tests.cli.lab import SMALL, Lab, read_csv, strict_json


@pytest.fixture
def photographs(lab: Lab) -> Lab:
    """`large`: 9 JPEGs a class of 400 x 300, ten times what is needed."""
    for label, name in enumerate(("fine", "coarse")):
        for index in range(9):
            random = np.random.default_rng([label, index])
            small = Image.fromarray(random.integers(0, 256, (30 - 20 * label, 40 - 25 * label, 3), dtype=np.uint8))
            path = lab.folder / "large" / ("val" if index > 6 else "train") / name / f"{index}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            small.resize((400, 300), Image.Resampling.BICUBIC).save(path)
    return lab


def test_scaled_decoding_travels_from_training_to_prediction(photographs: Lab) -> None:
    lab = photographs
    done = lab.train("--set", "data.decode=scaled", data="large")
    assert done.code == 0, done.stderr
    assert strict_json(lab("info", "run", "--json").text)["preprocessing"]["decode"] == "scaled"
    assert "decode       JPEG scaled\n" in lab("info", "run").text
    assert lab("evaluate", "run", "--parity").code == 0
    rows = lab("predict", "run", *sorted((lab.folder / "large" / "val").rglob("*.jpg"))).rows
    told = {row["path"]: row for row in read_csv(lab.folder / "run" / "predictions.csv")}
    assert len(rows) == 4
    for row in rows:
        assert row["confidence"] == float(told[row["path"]]["confidence"])
    said = lab("evaluate", "run", "--set", "data.decode=exact").stderr
    assert "data.decode (the checkpoint has its own)" in said


def test_scaled_features_are_near_and_exact_ones_are_not_said_to_be_anything(photographs: Lab) -> None:
    features = {}
    for value in ("exact", "scaled"):
        given = ("--set", f"data.decode={value}") if value == "scaled" else ()
        output = photographs.folder / f"{value}.npz"
        done = photographs("extract", *SMALL, "--set", "data.root=large", *given, "--cache", "store", "-o", output)
        assert done.code == 0, done.stderr
        with np.load(output) as archive:
            features[value] = archive["features"].astype(np.float64)
    one, other = features.values()
    assert not np.array_equal(one, other)
    assert ((one * other).sum(1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)).min() > 0.99
    lines = [line for line in photographs("cache", "show", "--cache", "store").text.splitlines() if "crop 32" in line]
    assert sorted("crop 32, decode scaled" in line for line in lines) == [False, True]
    assert not any("exact" in line for line in lines)


def test_a_run_that_starts_from_scaled_weights_says_what_is_its_own(photographs: Lab) -> None:
    lab = photographs
    assert lab.finetune("--set", "data.decode=scaled", data="large").code == 0
    path = lab.folder / "run" / "checkpoint.safetensors"
    again = lab.train("--set", f"backbone.weights={path}", data="large", output="next")
    assert again.code == 0, again.stderr
    assert "note: the checkpoint whose weights these are has data.decode scaled, and this run exact\n" in again.stderr
    assert "decode" not in strict_json(lab("info", "next", "--json").text)["preprocessing"]
