from __future__ import annotations

import os
from pathlib import Path

import pytest

from featcli.config import Config
from featcli.errors import CheckpointError, StorageError
from featcli.events import ignore
from featcli.runs.folder import Run, RunImage
from featcli.runs.resuming import Identity, start_over

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


def test_held_out_training_images_are_read_as_they_were_written(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert run.read_training() is None
    run.write_training([("a,1.png", "cats", "dogs", 0.75, 0.25)])
    assert run.read_training() == [
        {"path": "a,1.png", "true_label": "cats", "label": "dogs", "confidence": "0.75", "true_confidence": "0.25"}
    ]
    path = tmp_path / "training.csv"
    whole = path.read_text()
    for damaged in (whole.replace("0.25", "0,25"), whole.replace(",0.25", ""), whole.replace("label", "labels"), ""):
        path.write_text(damaged)
        assert run.read_training() is None


def test_a_log_is_read_as_it_was_written(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert run.read_log() == []
    run.write_log([{"event": "epoch", "epoch": 0}, {"event": "val"}])
    assert run.read_log() == [{"event": "epoch", "epoch": 0}, {"event": "val"}]
    for damaged in (b'{"event": ', b"[]\n", b"\xff"):
        (tmp_path / "metrics.jsonl").write_bytes(damaged)
        assert run.read_log() == []


@pytest.mark.parametrize("data", [b"", b"[]", b"3", b"{", b"[" * 100_000])
def test_metrics_that_are_no_mapping_are_damaged(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "metrics.json").write_bytes(data)
    with pytest.raises(CheckpointError, match="the run is damaged"):
        Run(tmp_path).read_metrics()


def test_metrics_of_a_class_whose_name_is_not_utf8_are_read(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9")
    Run(tmp_path).write_metrics({"classes": [name]})
    assert Run(tmp_path).read_metrics() == {"classes": [name]}


def test_a_run_that_begins_anew_has_no_report_of_before(tmp_path: Path) -> None:
    """Also a training that is killed later: its old page is gone by then."""
    run = Run(tmp_path)
    run.write_metrics({})
    for begin in (lambda: run.begin(Config()), lambda: start_over(run, Identity(Config(), "00", []), ignore)):
        run.report.write_text("of before")
        begin()
        assert not run.report.exists()


def test_a_card_that_cannot_be_read_is_no_card_that_is_not_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path)
    assert run.read_card() is None
    run.write_card("caf\udce9\n")
    assert (tmp_path / "MODEL_CARD.md").read_bytes() == b"caf\xe9\n"
    assert run.read_card() == "caf\udce9\n"

    def refuse(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(StorageError, match=r"cannot read .*MODEL_CARD.md: Permission denied"):
        run.read_card()


def test_cards_that_are_put_aside_do_not_replace_each_other(tmp_path: Path) -> None:
    run = Run(tmp_path)
    places = [run.put_card_aside(text) for text in ("one", "two", "one")]
    assert places[0] == places[2]
    assert sorted(path.read_text() for path in tmp_path.iterdir()) == ["one", "two"]
