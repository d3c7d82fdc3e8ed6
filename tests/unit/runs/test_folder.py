from __future__ import annotations

import os
from pathlib import Path

import pytest

from featcli.errors import CheckpointError
from featcli.runs.folder import Run, RunImage

ROWS = [("a,1.png", "val", "cats", "dogs", 0.75), ("b.png", "test", "dogs", None, None)]


def test_predictions_are_read_as_they_were_written(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.write_predictions(ROWS)
    assert (tmp_path / "predictions.csv").read_text() == (
        'path,split,true_label,label,confidence\n"a,1.png",val,cats,dogs,0.75\nb.png,test,dogs,,\n'
    )
    assert run.read_predictions() == [
        {"path": "a,1.png", "split": "val", "true_label": "cats", "label": "dogs", "confidence": "0.75"},
        {"path": "b.png", "split": "test", "true_label": "dogs", "label": "", "confidence": ""},
    ]


def test_a_run_of_before_called_the_truth_label(tmp_path: Path) -> None:
    run = Run(tmp_path)
    run.write_predictions(ROWS)
    now = run.read_predictions()
    text = (tmp_path / "predictions.csv").read_text().replace("true_label,label", "label,predicted")
    (tmp_path / "predictions.csv").write_text(text)
    assert run.read_predictions() == now


@pytest.mark.parametrize("data", [None, b"", b"path,label\na.png,cats\n", b"\xff\xd8\xff\x00"])
def test_what_is_no_list_of_predictions_is_none(tmp_path: Path, data: bytes | None) -> None:
    if data is not None:
        (tmp_path / "predictions.csv").write_bytes(data)
    assert Run(tmp_path).read_predictions() is None


def test_names_of_predictions_that_are_not_utf8_keep_their_bytes(tmp_path: Path) -> None:
    path = os.fsdecode(b"caf\xe9.png")
    Run(tmp_path).write_predictions([(path, "val", "a", "b", 0.5)])
    rows = Run(tmp_path).read_predictions()
    assert rows is not None
    assert rows[0]["path"] == path


def test_timings_are_read_as_they_were_written(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert run.read_timings() == {}
    run.write_timings({"head": 0.5, "total": 2.0})
    assert run.read_timings() == {"head": 0.5, "total": 2.0}
    (tmp_path / "timings.json").write_text("[]")
    assert run.read_timings() == {}


def test_a_confidence_that_is_no_number_is_no_list(tmp_path: Path) -> None:
    """As a spreadsheet leaves it that writes decimal commas."""
    Run(tmp_path).write_predictions([["a.jpg", "val", "ants", "ants", "0,98"]])
    assert Run(tmp_path).read_predictions() is None
    Run(tmp_path).write_predictions([["a.jpg", "val", "ants", None, None]])
    assert Run(tmp_path).read_predictions() is not None


@pytest.mark.parametrize("digest", ["x", "0" * 63, "G" * 64, "1.2E+63"])
def test_a_hash_that_is_none_is_damage(tmp_path: Path, digest: str) -> None:
    Run(tmp_path).write_images([RunImage("a.jpg", "train", "ants", digest)])
    with pytest.raises(CheckpointError, match="no longer the list of a run's images"):
        Run(tmp_path).read_images()
    Run(tmp_path).write_images([RunImage("a.jpg", "train", "ants", "0" * 64), RunImage("b.jpg", "train", "ants", "")])
    assert len(Run(tmp_path).read_images() or ()) == 2
