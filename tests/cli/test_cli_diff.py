"""`featcli diff`: what two models say of the same images, as they wrote it or now; a gate for pipelines."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.lab import Lab, strict_json
from tests.process import ForkServer

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(server: ForkServer, tmp_path_factory: pytest.TempPathFactory, make_folder: Callable[..., Path]) -> Lab:
    """Runs `a`, `b` of another C, and `tuned`, on 40 images, of which some are under the wrong class."""
    lab = Lab(server, tmp_path_factory.mktemp("runs"))
    make_folder(lab.folder / "photos/train", {"cats": 12, "dogs": 12})
    make_folder(lab.folder / "photos/val", {"cats": 8, "dogs": 8}, start=30)
    shutil.move(lab.folder / "photos/val/cats/30.png", lab.folder / "photos/val/dogs/wrong.png")
    store = ("--cache", lab.folder / "cache")
    for output, more in (("a", ()), ("b", ("--C", "0.0001"))):
        done = lab.train(*store, *more, output=output)
        assert done.code == 0, done.stderr
    assert lab.finetune(*store, "--set", "head.init=random", output="tuned").code == 0
    return lab


def test_a_run_and_itself(runs: Lab) -> None:
    done = runs("diff", "a", "a", "--max-changed", "0")
    assert (done.code, done.stderr) == (0, "")
    assert done.text.splitlines() == [
        "images       16 of both",
        "labels       0 differ, 0.0% (95 % interval 0.0% to 19.4%)",
        "accuracy     0.9375 and 0.9375, +0.0000",
        "             paired 95 % interval -0.1089 to +0.1089, McNemar's p 1.000",
        "             only A is right on 0, only B on 0",
        "confidence   of equal labels moved by 0.0000 in the median, 0.0000 at most",
        "features     the same: one backbone, one preprocessing",
    ]


def test_what_two_runs_wrote_is_compared_by_content(runs: Lab, tmp_path: Path) -> None:
    """Also where the rows were written by another version of a library, and the images lie elsewhere."""
    other = tmp_path / "other"
    shutil.copytree(runs.folder / "a", other)
    for name in ("predictions.csv", "images.csv"):
        text = (other / name).read_text().replace("/photos/val/", "/elsewhere/")
        (other / name).write_text(text.replace(",cats,cats,", ",cats,dogs,"))
    done = runs("diff", "a", other, "--json", "--max-changed", "0.3")
    facts = strict_json(done.stdout)
    assert done.code == 1
    assert done.stderr == "error: 7 of 16 labels differ, more than --max-changed 0.3\n"
    assert facts["changed"] == len(facts["changes"]) == 7
    assert {(item["a"], item["b"], item["true_label"]) for item in facts["changes"]} == {("cats", "dogs", "cats")}
    assert (facts["accuracy"]["only_first"], facts["accuracy"]["only_second"]) == (7, 0)
    assert runs("diff", "a", other, "--max-changed", "0.5").code == 0


def test_images_that_both_predict_now(runs: Lab) -> None:
    runs.write("broken.png", "no image")
    done = runs("diff", "a", "b", "photos/val", "broken.png", "--json", "--cache", runs.folder / "cache")
    facts = strict_json(done.stdout)
    assert done.code == 3
    assert (facts["images"], facts["accuracy"], facts["features"]["same"]) == (16, None, True)
    assert facts["confidence"]["median"] > 0.01
    one, other = ({row["path"]: row for row in runs("predict", run, "photos/val").rows} for run in ("a", "b"))
    assert facts["changed"] == sum(one[path]["label"] != other[path]["label"] for path in one)


def test_how_far_features_moved(runs: Lab) -> None:
    done = runs("diff", "a", "tuned", "--json", "--cache", runs.folder / "cache")
    features = strict_json(done.stdout)["features"]
    assert (features["same"], features["comparable"], features["missing"]) == (False, True, 0)
    assert features["lowest_cosine"] <= features["median_cosine"] < 1
    assert "photos/val" in features["lowest"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "two runs or checkpoints are compared"),
        (("a",), "two runs or checkpoints are compared"),
        (("a", "nothing"), "no such checkpoint or run: nothing"),
        (("a", "photos"), "photos is a folder without a checkpoint, not a run"),
        (("a", "alone.safetensors"), "there is no predictions.csv beside alone.safetensors"),
        (("a", "b", "--max-changed", "2"), "--max-changed"),
    ],
)
def test_what_cannot_be_compared(runs: Lab, arguments: tuple[str, ...], said: str) -> None:
    shutil.copy(runs.folder / "a" / "checkpoint.safetensors", runs.folder / "alone.safetensors")
    done = runs("diff", *arguments)
    assert done.code == 2 and said in done.stderr
