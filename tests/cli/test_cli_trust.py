"""Numbers that can be believed: held-out accuracy, calibrated confidence, sets, silence, strangers, reasons, verify."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
import safetensors
import safetensors.numpy

from tests.cli.lab import Lab, line_of, read_csv, strict_json
from tests.process import ForkServer

pytestmark = pytest.mark.slow

STRIPPED = ("calibration", "trust")


@pytest.fixture(scope="module")
def many(server: ForkServer, tmp_path_factory: pytest.TempPathFactory, make_folder: Callable[..., Path]) -> Lab:
    """A working directory with a run on 120 images, some of them under the wrong class."""
    lab = Lab(server, tmp_path_factory.mktemp("many"))
    make_folder(lab.folder / "photos/train", {"cats": 48, "dogs": 48})
    make_folder(lab.folder / "photos/val", {"cats": 12, "dogs": 12}, start=60)
    make_folder(lab.folder / "new", {"cats": 30, "dogs": 30}, start=100)
    shutil.move(lab.folder / "photos/train/cats/03.png", lab.folder / "photos/train/dogs/wrong.png")
    done = lab.train("--cache", lab.folder / "cache")
    assert done.code == 0, done.stderr
    return lab


def predicted(lab: Lab, *arguments: str | Path, run: str = "run", **options: Any) -> list[dict[str, Any]]:
    done = lab("predict", run, "new", *arguments, "--cache", lab.folder / "cache", **options)
    assert done.code == 0, done.stderr
    return done.rows


def stripped(lab: Lab, tmp_path: Path) -> Path:
    """The run as a featcli of before wrote it."""
    run = tmp_path / "old"
    shutil.copytree(lab.folder / "run", run)
    path = run / "checkpoint.safetensors"
    with safetensors.safe_open(path, framework="numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys() if not name.startswith("trust.")}
        facts = json.loads(file.metadata()["featcli"])
    facts = {name: value for name, value in facts.items() if name not in STRIPPED} | {"calibration": None}
    safetensors.numpy.save_file(tensors, path, metadata={"featcli": json.dumps(facts)})
    return run


def test_what_training_says_of_itself(many: Lab) -> None:
    again = many.train("--cache", many.folder / "cache")
    assert re.search(r"^confidence temperature \d\.\d\d: log loss of held-out images ", again.stderr, re.MULTILINE)
    assert "each left out in turn" in line_of(again.stderr, "held out")
    assert line_of(again.stderr, "doubtful").startswith("doubtful  ")
    assert "photos/train/dogs/wrong.png: dogs? cats " in line_of(again.stderr, "doubtful")
    assert "one in 20 of their kind" in line_of(again.stderr, "strangers")
    rows = read_csv(many.folder / "run" / "training.csv")
    assert rows[0]["path"].endswith("photos/train/dogs/wrong.png")
    assert list(rows[0]) == ["path", "true_label", "label", "confidence", "true_confidence"]
    own = [float(row["true_confidence"]) for row in rows]
    assert own == sorted(own) and len(rows) == 96
    metrics = strict_json((many.folder / "run" / "metrics.json").read_bytes())
    held_out = metrics["head"]["held_out"]
    assert held_out["n"] == 96 and held_out["doubtful_labels"] >= 1
    assert held_out["accuracy"] == sum(row["label"] == row["true_label"] for row in rows) / 96
    assert metrics["head"]["calibration"]["how"] == held_out["how"] == "each left out in turn"
    val = metrics["val"]
    assert val["calibration"]["log_loss_after"] == pytest.approx(val["log_loss"], rel=1e-6)
    assert sum(item["n"] for item in val["calibration"]["reliability"]) == val["n"]
    assert {row["asked"] for row in val["sets"]} == {0.8, 0.9, 0.95}
    told = many("info", "run").text
    assert re.search(r"^confidence +temperature \d\.\d+, from 96 images: each left out in turn$", told, re.MULTILINE)


def test_rows_hold_what_was_asked_for(many: Lab) -> None:
    plain = predicted(many)
    assert {tuple(row) for row in plain} == {("path", "label", "confidence", "top", "novelty", "error")}
    assert np.mean([row["novelty"] > 1 for row in plain]) < 0.3
    rows = predicted(many, "--coverage", "0.9", "--abstain-below", "0.97", "--because", "2", "--probs")
    order = ["path", "label", "confidence", "top", "novelty", "set", "because", "abstained", "error", "probs"]
    assert [list(row) for row in rows] == [order] * 60
    for row, before in zip(rows, plain, strict=True):
        assert row["abstained"] is (row["confidence"] < 0.97)
        assert row["label"] == (None if row["abstained"] else before["label"])
        why = row["because"]
        assert why["label"] == before["label"]
        assert len(why["for"]) <= 2 and all(item["pull"] > 0 for item in why["for"])
        assert all(item["pull"] < 0 for item in why["against"])
        named = sum(item["pull"] for item in why["for"] + why["against"])
        assert named + why["others"] + why["intercept"] == pytest.approx(why["logit"], abs=1e-5)
    truth = [row["path"].split("/")[1] for row in rows]
    held = np.mean([label in row["set"] for label, row in zip(truth, rows, strict=True)])
    assert 0.75 < held <= 1


def test_the_logit_is_the_heads(many: Lab, tmp_path: Path) -> None:
    done = many("extract", "run/config.yaml", "new", "-o", tmp_path / "f.npz", "--cache", many.folder / "cache")
    assert done.code == 0, done.stderr
    features = np.load(tmp_path / "f.npz")["features"].astype(np.float64)
    head = safetensors.numpy.load_file(many.folder / "run" / "checkpoint.safetensors")
    logits = features @ head["head.weight"].T.astype(np.float64) + head["head.bias"]
    for row, own in zip(predicted(many, "--because", "1"), logits, strict=True):
        assert row["because"]["logit"] == pytest.approx(own.max(), abs=1e-5)


def test_other_formats_have_them_too(many: Lab, tmp_path: Path) -> None:
    asked = ("--coverage", "0.9", "--abstain-below", "0.97")
    for ending in ("csv", "parquet"):
        done = many(
            "predict", "run", "new", *asked, "-o", tmp_path / f"rows.{ending}", "--cache", many.folder / "cache"
        )
        assert done.code == 0, done.stderr
    rows = read_csv(tmp_path / "rows.csv")
    assert list(rows[0]) == ["path", "label", "confidence", "novelty", "set", "abstained", "error"]
    table = pyarrow.parquet.read_table(tmp_path / "rows.parquet").to_pylist()
    assert [json.loads(row["set"]) for row in rows] == [row["set"] for row in table]
    assert [json.loads(row["abstained"]) for row in rows] == [row["abstained"] for row in table]
    shown = many(
        "predict", "run", "new", *asked, "--format", "table", "--because", "1", "--cache", many.folder / "cache"
    )
    assert "set: " in shown.text and re.search(r"for \+\d\.\d{3}: photos/", shown.text) is None
    assert re.search(r"for \+\d\.\d{3}: \S*photos/", shown.text)


def test_strangers_are_told(many: Lab, make_folder: Callable[..., Path]) -> None:
    make_folder(many.folder / "strange", {"a": 0, "b": 0, "c": 6})
    done = many("predict", "run", "strange", "--summary", "counts.json", "--cache", many.folder / "cache")
    assert all(row["novelty"] > 1 for row in done.rows)
    assert "note: 6 of 6 images are unlike the training images: novelty above 1\n" in done.stderr
    assert strict_json((many.folder / "counts.json").read_bytes())["n_strangers"] == 6


def test_a_threshold_that_nothing_passes(many: Lab) -> None:
    done = many("predict", "run", "new", "--abstain-below", "1", "--cache", many.folder / "cache")
    assert {row["label"] for row in done.rows} == {None}
    assert "note: 60 of 60 without a label, below --abstain-below 1: no confidence reaches it\n" in done.stderr


@pytest.mark.parametrize(("flag", "value"), [("--coverage", "1"), ("--coverage", "0"), ("--abstain-below", "1.5")])
def test_a_probability_is_one(many: Lab, flag: str, value: str) -> None:
    done = many("predict", "run", "new", flag, value)
    assert done.code == 2 and done.text == ""


def test_a_checkpoint_of_before_predicts_and_knows_nothing(many: Lab, tmp_path: Path) -> None:
    old = stripped(many, tmp_path)
    done = many("predict", old, "new", "--coverage", "0.9", "--abstain-below", "0.9", "--cache", many.folder / "cache")
    assert done.code == 0
    assert {(row["novelty"], row["set"]) for row in done.rows} == {(None, None)}
    assert "warning: --coverage: the checkpoint holds no scores of held-out images" in done.stderr
    now = predicted(many)
    assert [row["label"] for row in predicted(many, run=str(old))] == [row["label"] for row in now]


def test_reasons_need_the_runs_features(many: Lab, tmp_path: Path) -> None:
    done = many("predict", "run", "new", "--because", "1", "--cache", tmp_path / "empty")
    assert done.code == 0 and {row["because"] for row in done.rows} == {None}
    assert "warning: --because: 96 of the run's training images have no feature in the store" in done.stderr
    shutil.copy(many.folder / "run" / "checkpoint.safetensors", tmp_path / "alone.safetensors")
    alone = many("predict", tmp_path / "alone.safetensors", "new", "--because", "1", "--cache", many.folder / "cache")
    assert alone.code == 0 and "no images.csv beside" in alone.stderr


def test_few_images(lab: Lab) -> None:
    done = lab.train("--set", "data.val_fraction=0.5")
    assert done.code == 0
    assert "note: confidence is not calibrated: too few images that the head did not learn from\n" in done.stderr
    assert "note: novelty cannot be told: it takes 40 training images that differ; here are 8\n" in done.stderr
    done = lab("predict", "run", "photos/cats/00.png", "--coverage", "0.9")
    assert (done.code, done.rows[0]["set"], done.rows[0]["novelty"]) == (0, None, None)


def test_one_image_in_a_class_and_two_in_all(lab: Lab, make_folder: Callable[..., Path]) -> None:
    make_folder(lab.folder / "tiny/train", {"cats": 1, "dogs": 1})
    make_folder(lab.folder / "tiny/val", {"cats": 1, "dogs": 1}, start=9)
    done = lab.train(data="tiny", output="tiny-run")
    assert done.code == 0, done.stderr
    assert not (lab.folder / "tiny-run/training.csv").exists()
    make_folder(lab.folder / "uneven/train", {"cats": 1, "dogs": 30})
    make_folder(lab.folder / "uneven/val", {"cats": 1, "dogs": 1}, start=40)
    done = lab.train(data="uneven", output="uneven-run")
    assert done.code == 0, done.stderr
    assert {row["true_label"] for row in read_csv(lab.folder / "uneven-run/training.csv")} == {"dogs"}


def test_groups_are_left_out_together(many: Lab, tmp_path: Path, make_folder: Callable[..., Path]) -> None:
    """A copy of each image in its group would else vouch for it."""
    data = make_folder(tmp_path / "photos", {"cats": 20, "dogs": 20})
    for path in list(data.rglob("*.png")):
        path.rename(path.with_name(f"p{path.stem}_a.png"))
        shutil.copy(path.with_name(f"p{path.stem}_a.png"), path.with_name(f"p{path.stem}_b.png"))
    group = ("--set", "data.group=/(p[0-9]+)_")
    done = many.train(*group, "--cache", many.folder / "cache", data=str(data), output=str(tmp_path / "run"))
    assert done.code == 0, done.stderr
    rows = read_csv(tmp_path / "run" / "training.csv")
    by_image = {row["path"]: row["true_confidence"] for row in rows}
    pairs = [(path, path.replace("_a.", "_b.")) for path in by_image if "_a." in path]
    assert pairs and all(by_image[one] == by_image[other] for one, other in pairs)
    alone = many.train("--cache", many.folder / "cache", data=str(data), output=str(tmp_path / "run2"))
    assert alone.code == 0


def test_repeats(many: Lab, tmp_path: Path) -> None:
    done = many.train("--set", "head.repeats=3", "--cache", many.folder / "cache", output=str(tmp_path / "run"))
    assert re.search(r"^repeats   accuracy [01]\.\d+ in the mean of 3 deals of the folds", done.stderr, re.MULTILINE)
    repeats = strict_json((tmp_path / "run" / "metrics.json").read_bytes())["head"]["repeats"]
    assert repeats["repeats"] == 3
    assert repeats["accuracy"]["min"] <= repeats["accuracy"]["mean"] <= repeats["accuracy"]["max"]
    assert set(repeats["recall"]) == {"cats", "dogs"}
    refused = many.train("--set", "head.repeats=3", "--set", "head.kind=linear", output=str(tmp_path / "other"))
    assert refused.code == 2 and "head.repeats=3: a head of kind linear is not fitted on folds" in refused.stderr


def verified(lab: Lab, run: str | Path = "run", *arguments: str | Path) -> tuple[int, dict[str, str], str]:
    done = lab("verify", run, "--json", "--cache", lab.folder / "cache", *arguments)
    facts = strict_json(done.stdout)
    return done.code, {check["name"]: check["outcome"] for check in facts["checks"]}, done.stderr


HOLDS = dict.fromkeys(["files", "frozen", "features", "predictions", "optimum"], "holds")


def test_verify_a_run(many: Lab, tmp_path: Path) -> None:
    assert verified(many)[:2] == (0, HOLDS)
    done = many("verify", "run", "--cache", many.folder / "cache")
    assert [line.split()[0] for line in done.text.splitlines()] == list(HOLDS)
    code, outcomes, said = verified(many, "run", "--cache", tmp_path / "empty")
    assert (code, outcomes) == (
        1, HOLDS | {"features": "cannot be checked", "optimum": "cannot be checked"}
    )  # fmt: skip
    assert said.endswith("not verified: features, optimum\n")


def test_verify_finds_what_was_changed(many: Lab, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(many.folder / "run", run)
    metrics = strict_json((run / "metrics.json").read_bytes())
    (run / "metrics.json").write_text(json.dumps(metrics | {"checkpoint_sha256": "0" * 64}))
    rows = (run / "predictions.csv").read_text().replace(",cats,cats,", ",cats,dogs,")
    (run / "predictions.csv").write_text(rows)
    images = (run / "images.csv").read_text().splitlines()
    relabelled = [
        line.replace(",train,cats,", ",train,dogs,") if index == 3 else line for index, line in enumerate(images)
    ]
    (run / "images.csv").write_text("\n".join(relabelled) + "\n")
    code, outcomes, _ = verified(many, run)
    assert code == 1
    assert outcomes == HOLDS | dict.fromkeys(["files", "predictions", "optimum"], "does not hold")


def test_verify_a_checkpoint_that_was_edited(many: Lab, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(many.folder / "run", run)
    path = run / "checkpoint.safetensors"
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(bytes(data))
    done = many("verify", run)
    assert done.code == 3 and "is damaged: its tensors are not those that were saved" in done.stderr


def test_verify_takes_a_run(many: Lab, tmp_path: Path) -> None:
    shutil.copy(many.folder / "run" / "checkpoint.safetensors", tmp_path / "alone.safetensors")
    done = many("verify", tmp_path / "alone.safetensors")
    assert done.code == 2
    assert f"error: {tmp_path}/alone.safetensors lies in no run: there is no config.yaml beside it\n" in done.stderr
    done = many("verify", "photos")
    assert done.code == 2
    assert done.stderr.splitlines()[-1] == (
        "The run comes first: featcli verify RUN. To make one: featcli train-head FOLDER"
    )


def test_verify_a_fine_tuned_run(lab: Lab) -> None:
    done = lab.finetune("--set", "data.val_fraction=0.4", depth=4)
    assert done.code == 0, done.stderr
    done = lab("verify", "run", "--json")
    outcomes = {check["name"]: check["outcome"] for check in strict_json(done.stdout)["checks"]}
    assert outcomes["frozen"] == outcomes["predictions"] == outcomes["files"] == "holds"
    assert outcomes["optimum"] == "does not apply"


def test_a_fine_tuned_model_is_calibrated_on_validation_and_says_so(many: Lab, tmp_path: Path) -> None:
    store = ("--cache", many.folder / "cache")
    done = many.finetune(*store, output=str(tmp_path / "tuned"))
    assert done.code == 0, done.stderr
    assert line_of(done.stderr, "confidence").endswith(", chosen on the 24 validation images: optimistic there")
    metrics = strict_json((tmp_path / "tuned/metrics.json").read_bytes())
    assert metrics["head"]["calibration"]["how"] == "validation"
    told = metrics["val"]["calibration"]
    assert told["log_loss_after"] != pytest.approx(metrics["val"]["log_loss"], rel=1e-6)  # measured by fifths
    again = strict_json(many("evaluate", tmp_path / "tuned", "--json", *store).stdout)
    assert again["calibration"]["log_loss_after"] == pytest.approx(told["log_loss_after"], rel=1e-3)
    rows = many("predict", tmp_path / "tuned", "new", "--coverage", "0.8", "--because", "1", *store)
    assert {row["because"] for row in rows.rows} == {None} and all(row["set"] is not None for row in rows.rows)
    assert "a head of kind linear is no sum over training images" in rows.stderr


def test_evaluate_shows_what_silence_is_worth(many: Lab) -> None:
    done = many("evaluate", "run", "new", "--cache", many.folder / "cache")
    assert "answered  --abstain-below  accuracy  images" in done.text
    assert "--coverage  true class in the set  mean size  empty" in done.text
    facts = strict_json(many("evaluate", "run", "new", "--json", "--cache", many.folder / "cache").stdout)
    assert facts["coverage_curve"][0]["n"] == 60
    assert facts["calibration"]["temperature"] == pytest.approx(facts["calibration"]["temperature"])
