"""Every option of predict, evaluate and extract works, or one note names it."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.cli.lab import SMALL, Lab, strict_json

pytestmark = pytest.mark.slow


@pytest.fixture
def here(trained: Lab, lab: Lab) -> Lab:
    """A working directory of its own, with runs on `photos` in `run` and on `split` in `splitrun`."""
    for name in ("run", "splitrun"):
        shutil.copytree(trained.folder / name, lab.folder / name)
        config = lab.folder / name / "config.yaml"
        config.write_text(config.read_text().replace(str(trained.folder), str(lab.folder)))
    return lab


def notes(stderr: str) -> list[str]:
    return [line for line in stderr.splitlines() if line.startswith("note: not used")]


def settings(*given: str) -> tuple[str, ...]:
    return tuple(part for setting in given for part in ("--set", setting))


HEAD = ("head.C=3", "backbone.name=resnet50", "data.range=auto", "train.lr=1.0")
SAID = "head.C, backbone.name, data.range (the checkpoint has its own), train.lr (nothing is trained)"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("evaluate", "run", *settings(*HEAD)), f"evaluate: {SAID}"),
        (("evaluate", "run", "--dry-run", *settings(*HEAD)), f"evaluate: {SAID}"),
        (("predict", "run", "photos", *settings(*HEAD)), f"predict: {SAID}"),
        (("evaluate", "run", *settings("data.val_fraction=0.5", "seed=7")),
         "evaluate: data.val_fraction, seed (the images are those of the run)"),
        (("evaluate", "run", "photos", *settings("data.root=split", "data.exclude=photos", "output=x")),
         "evaluate: data.root, data.exclude (the images are those of photos), output (a checkpoint is named)"),
        (("predict", "run", "photos", *settings("seed=3", "data.positive=cats")),
         "predict: seed (the images are those that are named), data.positive (it is of metrics)"),
        (("extract", *SMALL, "photos", "-o", "x.npz", *settings("head.kind=mlp", "data.val_fraction=0.1", "output=x")),
         "extract: head.C, head.kind (features have none), data.val_fraction (the images are those that are named), "
         "output (-o names the file)"),
        (("extract", *SMALL, "photos", "-o", "x.npz", *settings("backbone.freeze_depth=3"), "--seed", "4"),
         "extract: head.C (features have none), backbone.freeze_depth (nothing is trained)"),
    ],
)  # fmt: skip
def test_what_was_given_and_changes_nothing_is_named(here: Lab, arguments: tuple[str, ...], said: str) -> None:
    done = here(*arguments)
    assert (done.code, notes(done.stderr)) == (0, [f"note: not used by {said}"])


def test_a_flag_is_named_as_it_was_given(here: Lab) -> None:
    weights = Path(__file__).parents[2] / "none.pth"
    done = here("extract", *SMALL, "photos", "-o", "x.npz", "--set", f"backbone.weights={weights}", "--seed", "3")
    assert notes(done.stderr)[0].endswith("--seed (the images are those that are named)")


def test_a_config_that_has_changed_since_the_checkpoint_is_said(here: Lab) -> None:
    text = (here.folder / "run" / "config.yaml").read_text()
    here.write("now.yaml", text.replace("C: 1.0", "C: 3.0").replace("range: full", "range: auto"))
    said = (
        "note: now.yaml has changed since the checkpoint, which stays: "
        "data.range was full, is auto, head.C was 1.0, is 3.0\n"
    )
    for command in ("evaluate", "predict"):
        assert here(command, "-c", "now.yaml").stderr.count(said) == 1
        assert "has changed" not in here(command, "-c", "run/config.yaml", "--set", "head.C=3").stderr
        here.write("damaged/config.yaml", "nonsense: [")
        shutil.copyfile(
            here.folder / "run" / "checkpoint.safetensors", here.folder / "damaged" / "checkpoint.safetensors"
        )
        done = here(command, "-c", "now.yaml", "--set", "output=damaged")
        assert (done.code, "has changed" in done.stderr) == (0, False)


def test_a_config_is_for_all_commands(here: Lab) -> None:
    for command in (("evaluate",), ("predict",), ("extract", "-o", "x.npz")):
        done = here(*command, "-c", "run/config.yaml")
        assert (done.code, notes(done.stderr)) == (0, []), command
    here.write("all.yaml", "data: {root: photos}\nhead: {C: 3}\ntrain: {lr: 1.0}\noutput: run\n")
    for command in ("evaluate", "predict"):
        done = here(command, "-c", "all.yaml", "--limit", "2", "--device", "cpu", "--batch-size", "2")
        assert (done.code, notes(done.stderr)) == (0, []), command


def test_the_positive_class_of_a_checkpoint_stays(here: Lab) -> None:
    assert here.train("--set", "data.positive=dogs", output="dogs").code == 0
    done = here("evaluate", "dogs", "--set", "data.positive=null", "--json")
    assert notes(done.stderr) == ["note: not used by evaluate: data.positive (the checkpoint's stays, dogs)"]
    assert strict_json(done.text)["positive"] == "dogs"
    done = here("evaluate", "dogs", "--set", "data.positive=cats", "--json")
    assert (notes(done.stderr), strict_json(done.text)["positive"]) == ([], "cats")


def test_what_rows_have_no_place_for(here: Lab) -> None:
    for arguments, said in (
        (
            ("--top", "1", "--format", "csv"),
            "not used by csv rows: --top (jsonl lists classes; the others take --probs)",
        ),
        (("-0",), "not used: -0 (it is of paths on standard input, and there is no '-')"),
    ):
        done = here("predict", "run", "photos", *arguments)
        assert (done.code, notes(done.stderr)) == (0, [f"note: {said}"])
    assert notes(here("predict", "run", "photos", "--top", "1", "--probs").stderr) == []
    table = here("predict", "run", "photos/cats", "--probs", "--format", "table")
    assert (notes(table.stderr), table.text.count("cats 0.") + table.text.count("cats 1.")) == ([], 8)


def test_a_limit_is_one_limit(here: Lab) -> None:
    """`--limit` and `data.limit` are the same, for the images of a folder, of a run and of a config."""
    for limit in (("--limit", "1"), ("--set", "data.limit=1")):
        for images in ((), ("photos",), ("-c", "run/config.yaml")):
            run = () if "-c" in images else ("run",)
            done = here("evaluate", *run, *images, *limit, "--json")
            assert (done.code, strict_json(done.text)["n"]) == (0, 2), (limit, images)
        assert len(here("predict", "run", "photos", *limit).rows) == 1
        assert len(here("predict", "-c", "run/config.yaml", *limit).rows) == 2
        assert here("extract", *SMALL, "photos", "-o", "x.npz", *limit).code == 0
        with np.load(here.folder / "x.npz") as found:
            assert found["features"].shape == (1, 1280)


def test_parity_is_of_all_validation_images(here: Lab) -> None:
    done = here("evaluate", "run", "--limit", "1", "--parity")
    assert (done.code, done.text) == (2, "")
    assert done.stderr == "error: --limit: --parity is of all validation images, and this leaves some out\n"
    assert here.train("--limit", "6", output="six").code == 0
    assert here("evaluate", "six", "--parity").code == 0
