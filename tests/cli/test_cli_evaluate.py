"""`featcli evaluate` and `info`: what a checkpoint is worth, and whether it keeps its word."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors
import safetensors.numpy

from featcli.backbones.stages import canonical_sha256
from featcli.text import columns
from tests.cli.lab import Lab, line_of, read_csv, strict_json, tree
from tests.terminal import on_terminal, read_all, shown, terminal

pytestmark = pytest.mark.slow

COMES_FIRST = "The checkpoint or run folder comes first: featcli predict RUN NEW_PHOTOS\n"


@pytest.fixture
def here(trained: Lab, lab: Lab) -> Lab:
    """A working directory of its own, with runs on `photos` in `run` and on `split` in `splitrun`."""
    for name in ("run", "splitrun"):
        shutil.copytree(trained.folder / name, lab.folder / name)
        config = lab.folder / name / "config.yaml"
        config.write_text(config.read_text().replace(str(trained.folder), str(lab.folder)))
    return lab


def rewrite(
    checkpoint: Path, change: Callable[[dict[str, np.ndarray], dict[str, object]], None], *, seal: bool = True
) -> None:
    """Changes a checkpoint's tensors and metadata; with `seal` its head's hash is made to fit."""
    import torch

    with safetensors.safe_open(checkpoint, framework="numpy") as file:
        metadata = json.loads(file.metadata()["featcli"])
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    change(tensors, metadata)
    if seal:
        head = {name.removeprefix("head."): torch.from_numpy(tensors[name]) for name in ("head.weight", "head.bias")}
        metadata["head"]["sha256"] = canonical_sha256(head)
    safetensors.numpy.save_file(tensors, checkpoint, metadata={"featcli": json.dumps(metadata)})


def test_on_the_data_of_its_run(here: Lab) -> None:
    done = here("evaluate", "run")
    assert (done.code, done.stderr.splitlines()[0]) == (0, "features  4 computed, 0 from the store")
    assert done.text == (
        f"4 images, the val split of {here.folder}/photos\n"
        "accuracy           1.0000  (95 % interval 0.5101 to 1.0000)\n"
        "majority class     0.5000  (baseline: the accuracy of always naming it)\n"
        "balanced accuracy  1.0000\n"
        "macro f1           1.0000\n"
        f"{line_of(done.text, 'log loss')}\n"
        f"{line_of(done.text, 'Brier score')}\n"
        f"{line_of(done.text, 'ECE')}\n"
        f"{line_of(done.text, 'temperature ')}\n"
        "AUROC              1.0000  (95 % interval 0.3856 to 1.0000)\n"
        "\n"
        "class  precision  recall     f1  images\n"
        "cats       1.000   1.000  1.000       2\n"
        "dogs       1.000   1.000  1.000       2\n"
        "\n"
        "true  cats  dogs  predicted\n"
        "cats     2     0\n"
        "dogs     0     2\n"
        "\n"
        "answered  --abstain-below  accuracy  images\n"
        f"{line_of(done.text, '   1.000 ')}\n"
        f"{line_of(done.text, '   0.750 ')}\n"
        f"{line_of(done.text, '   0.500 ')}\n"
        "\n"
        "--coverage  true class in the set  mean size  empty\n"
        f"{line_of(done.text, '      0.80 ')}\n"
        f"{line_of(done.text, '      0.90 ')}\n"
        f"{line_of(done.text, '      0.95 ')}\n"
    )


def test_the_test_split_where_there_is_one(here: Lab) -> None:
    done = here("evaluate", "splitrun/checkpoint.safetensors", "--json")
    metrics = strict_json(done.text)
    assert done.code == 0
    measured = strict_json((here.folder / "splitrun" / "metrics.json").read_text())["test"]
    assert metrics == measured | {"trained_on": 0}
    assert f"6 images, the val split of {here.folder}/split\n" in here("evaluate", "splitrun", "--parity").text


def test_on_a_folder(here: Lab) -> None:
    here.write("split/test/cats/32.png", "no image")
    metrics = {}
    for folder in ("split", "split/test", "photos"):
        done = here("evaluate", "run", folder, "--json")
        assert done.code == (0 if folder == "photos" else 3), done.stderr
        metrics[folder] = strict_json(done.text)
    assert [metrics[folder]["n"] for folder in metrics] == [5, 5, 16]
    assert (metrics["split/test"]["n_errors"], metrics["split/test"]["accuracy"]) == (1, 0.8)
    assert strict_json(here("evaluate", "run", "photos", "--limit", "2", "--json").text)["n"] == 4
    done = here("evaluate", "run", "split/test", "--max-bad", "1")
    assert done.code == 0
    assert "unreadable         1  (counted as wrong)\n" in done.text
    assert "5 images, the test split of split\n" in here("evaluate", "run", "split").text
    shutil.rmtree(here.folder / "split" / "test")
    assert "6 images, the val split of split\n" in here("evaluate", "run", "split").text


def test_with_a_config(here: Lab) -> None:
    here.write("cats.yaml", "data: {root: photos}\noutput: run\n")
    assert here("evaluate", "-c", "cats.yaml").text == here("evaluate", "run").text
    assert here("evaluate", "-c", "cats.yaml", "photos").text.startswith("16 images, in photos\n")
    assert here("evaluate", "run", "--set", "data.root=split").text.startswith("4 images, the test split of ")


def test_a_class_folder_that_is_missing_moves_no_label(here: Lab) -> None:
    shutil.rmtree(here.folder / "photos" / "cats")
    metrics = strict_json(here("evaluate", "run", "photos", "--json").text)
    assert (metrics["n"], metrics["accuracy"], metrics["classes"]) == (8, 1.0, ["cats", "dogs"])
    assert metrics["confusion"] == [[0, 0], [0, 8]]
    assert metrics["per_class"]["cats"]["recall"] is None


def test_min_accuracy(here: Lab) -> None:
    assert here("evaluate", "run", "--min-accuracy", "1").code == 0
    for index in range(8):
        shutil.copyfile(here.folder / f"photos/dogs/{index:02d}.png", here.folder / f"photos/cats/9{index}.png")
    done = here("evaluate", "run", "photos", "--min-accuracy", "0.9", "--json")
    assert done.code == 1
    assert strict_json(done.text)["accuracy"] == 16 / 24
    assert done.stderr.endswith("error: accuracy 0.6667 is below --min-accuracy 0.9\n")
    assert here("evaluate", "run", "photos", "--min-accuracy", "0.66").code == 0


def test_parity_holds(here: Lab) -> None:
    done = here("evaluate", "run", "--parity")
    assert done.code == 0
    assert done.stderr.endswith("note: parity holds: 4 of 4 correct, 4 of 4 in the checkpoint\n")
    moved = here.folder / "elsewhere"
    shutil.copytree(here.folder / "split" / "val", moved)
    assert here("evaluate", "splitrun", moved, "--parity").code == 0


def test_parity_of_a_folder_takes_its_validation_split(here: Lab) -> None:
    done = here("evaluate", "splitrun", "split", "--parity")
    assert (done.code, done.text.splitlines()[0]) == (0, "6 images, the val split of split")


SEEN = (
    "warning: {} of {} images were in the training split of this run: the accuracy says little about new ones; "
    "--unseen leaves them out\n"
)


def test_images_that_were_trained_on_are_counted_aloud(here: Lab) -> None:
    """By their content: neither the path nor the folder says it."""
    (here.folder / "photos").rename(here.folder / "moved")
    done = here("evaluate", "run", "moved")
    assert (done.code, SEEN.format(12, 16) in done.stderr) == (0, True)
    assert done.text.splitlines()[:2] == [
        "16 images, in moved",
        "trained on         12 of 16  (so the accuracy says little about new images)",
    ]
    assert strict_json(here("evaluate", "run", "moved", "--json").text)["trained_on"] == 12
    assert strict_json(here("evaluate", "run", "moved", "--json", "--dry-run").text)["trained_on"] == 12
    new = here("evaluate", "splitrun", "split", "--json")
    assert (strict_json(new.text)["trained_on"], "training split" in new.stderr) == (0, False)


def test_unseen_leaves_out_what_was_trained_on(here: Lab) -> None:
    done = here("evaluate", "run", "photos", "--unseen")
    assert done.code == 0
    assert "note: 12 of 16 images were in the training split of this run: left out\n" in done.stderr
    assert done.text.splitlines()[:2] == [
        "4 images, in photos",
        "left out           12  (in the training split of this run)",
    ]
    facts = strict_json(here("evaluate", "run", "photos", "--unseen", "--json").text)
    validated = strict_json((here.folder / "run" / "metrics.json").read_text())["val"]
    assert facts == validated | {"trained_on": 0, "left_out": 12}
    none = here("evaluate", "splitrun", "split/train", "--unseen")
    assert (none.code, none.stdout) == (2, b"")
    assert none.stderr.startswith(
        "error: --unseen: 12 of 12 images were in the training split of this run: none is left to evaluate on\n"
    )
    assert here("evaluate", "run", "--unseen").code == 0
    both = here("evaluate", "run", "--unseen", "--parity")
    assert (both.code, "--parity is of all validation images" in both.stderr) == (2, True)


def test_images_that_a_moved_split_brought_into_validation(here: Lab) -> None:
    """A quarter of what is validation now was trained on when the run was made."""
    images = sorted((here.folder / "photos" / "cats").iterdir()) + sorted((here.folder / "photos" / "dogs").iterdir())
    here.write("cats.yaml", "data: {root: photos, val_fraction: 0.5}\noutput: run\n")
    validated = {row["path"] for row in read_csv(here.folder / "run" / "images.csv") if row["split"] == "val"}
    assert len(images) - len(validated) == 12
    done = here("evaluate", "-c", "cats.yaml")
    assert (done.code, SEEN.format(4, 8) in done.stderr) == (0, True)
    left = strict_json(here("evaluate", "-c", "cats.yaml", "--unseen", "--json").text)
    assert (left["n"], left["left_out"]) == (4, 4)


def test_what_a_run_was_trained_on_may_be_unknown(here: Lab) -> None:
    """No list, a damaged one, one of another run: said, null, and no ground for --unseen."""
    shutil.copyfile(here.folder / "run" / "checkpoint.safetensors", here.folder / "lone.safetensors")
    unknown = "whether these images were trained on is not known"
    missing = f"{unknown}: there is no images.csv beside lone.safetensors\n"
    done = here("evaluate", "lone.safetensors", "photos", "--json")
    assert (done.code, strict_json(done.text)["trained_on"], f"note: {missing}" in done.stderr) == (0, None, True)
    done = here("evaluate", "lone.safetensors", "photos", "--unseen")
    assert (done.code, done.stdout, done.stderr.startswith(f"error: --unseen: {missing}")) == (2, b"", True)

    path = here.folder / "run" / "images.csv"
    whole = path.read_bytes()
    rows = whole.splitlines(keepends=True)
    broken = "run/images.csv is damaged: it is no longer the list of a run's images"
    other = "run/images.csv is damaged, or of another run than the checkpoint beside it"
    for content, said in (
        (b"", broken),
        (b"path,split\n", broken),
        (whole[:-80], broken),
        (b"".join(rows[:-1]), other),
        (whole.replace(b",dogs,", b",wolves,"), other),
        (whole[:-3], broken),
        (b"".join(row for row in rows if b",train," not in row), other),
        (whole.replace(b",train,", b",trained,"), other),
        ((here.folder / "splitrun" / "images.csv").read_bytes(), other),
    ):
        path.write_bytes(content)
        done = here("evaluate", "run", "photos", "--json")
        assert (done.code, strict_json(done.text)["trained_on"]) == (0, None), content
        assert f"warning: {said}: {unknown}\n" in done.stderr
        done = here("evaluate", "run", "photos", "--unseen")
        assert (done.code, done.stdout, done.stderr.startswith(f"error: {said}\n")) == (3, b"", True)


def test_parity_on_other_images(here: Lab) -> None:
    image = here.folder / "split" / "val" / "cats" / "20.png"
    original = image.read_bytes()
    message = (
        "error: parity cannot be shown: these {} images are not the 6 that were validated on\n"
        "Images or labels were added, removed or changed since.\n"
    )
    shutil.copyfile(here.folder / "photos" / "cats" / "00.png", image)
    done = here("evaluate", "splitrun", "--parity")
    assert (done.code, done.stderr.endswith(message.format(6))) == (1, True)
    image.unlink()
    done = here("evaluate", "splitrun", "--parity")
    assert (done.code, done.stderr.endswith(message.format(5))) == (1, True)
    (here.folder / "split" / "val" / "dogs" / "20b.png").write_bytes(original)
    assert here("evaluate", "splitrun", "--parity").code == 1


def test_parity_with_another_head(here: Lab) -> None:
    """Promise 2: a head that answers otherwise is noticed although the checkpoint is sound."""

    def swap(tensors: dict[str, np.ndarray], metadata: object) -> None:
        tensors["head.weight"] = tensors["head.weight"][::-1].copy()
        tensors["head.bias"] = tensors["head.bias"][::-1].copy()

    rewrite(here.folder / "run" / "checkpoint.safetensors", swap)
    done = here("evaluate", "run", "--parity")
    assert done.code == 1
    assert done.text.startswith("4 images")
    assert done.stderr.endswith("error: parity does not hold: 0 of 4 correct, 4 of 4 in the checkpoint\n")


def test_parity_with_other_preprocessing(here: Lab) -> None:
    """Promises 2 and 3: preprocessing is the checkpoint's; another one is not silently used."""

    def zoom(tensors: object, metadata: dict[str, object]) -> None:
        metadata["preprocessing"] = {**metadata["preprocessing"], "mean": [9.0, -9.0, 9.0]}  # type: ignore[dict-item]

    before = here("predict", "run", "photos").stdout
    assert here("predict", "run", "photos", "--set", "backbone.preprocess={mean: [0, 0, 0]}").stdout == before
    rewrite(here.folder / "run" / "checkpoint.safetensors", zoom)
    assert here("predict", "run", "photos").stdout != before


def test_a_damaged_head(here: Lab) -> None:
    def nudge(tensors: dict[str, np.ndarray], metadata: object) -> None:
        tensors["head.weight"][0, 0] *= 1.01

    checkpoint = here.folder / "run" / "checkpoint.safetensors"
    rewrite(checkpoint, nudge, seal=False)
    for command in (("evaluate", "run", "--parity"), ("predict", "run", "photos")):
        done = here(*command)
        assert (done.code, done.stdout) == (3, b"")
        assert (
            done.stderr == "error: run/checkpoint.safetensors is damaged: its tensors are not those that were saved\n"
        )


def test_an_unknown_class(here: Lab) -> None:
    (here.folder / "photos" / "cats").rename(here.folder / "photos" / "cat")
    done = here("evaluate", "run", "photos")
    assert (done.code, done.stdout) == (2, b"")
    assert done.stderr == (
        "error: photos holds classes that were not trained: 'cat'; did you mean 'cats'?\nKnown classes: cats, dogs.\n"
    )


def test_writes_nothing(here: Lab) -> None:
    cache = here.folder / "cache"
    cache.mkdir()
    before = tree(here.folder)
    for arguments in (("run",), ("run", "photos", "--json"), ("run", "--parity"), ("run", "--dry-run")):
        assert here("evaluate", *arguments, "--cache", cache).code == 0
    assert here("info", "run").code == 0
    assert tree(here.folder) == before


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ("gone",),
            2,
            "error: no such checkpoint or run: gone\n"
            "The run comes first: featcli evaluate RUN. To make one: featcli train-head FOLDER\n",
        ),
        (("run", "gone"), 2, "error: no such folder: gone\n"),
        (("run", "empty"), 2, "error: no images in the class folders of empty\n"),
        (
            ("run", "photos/cats"),
            2,
            "error: no images in the class folders of photos/cats; skipped: 8 beside the class folders\n",
        ),
        (
            ("lone.safetensors",),
            2,
            "error: nothing to evaluate on\n"
            "Name a folder, or give --config: there is no config.yaml beside lone.safetensors.\n",
        ),
    ],
)
def test_what_cannot_be(here: Lab, arguments: tuple[str, ...], code: int, message: str) -> None:
    shutil.copyfile(here.folder / "run" / "checkpoint.safetensors", here.folder / "lone.safetensors")
    (here.folder / "empty").mkdir()
    done = here("evaluate", *arguments)
    assert (done.code, done.stdout) == (code, b"")
    assert done.stderr.startswith(message)


def test_info(here: Lab) -> None:
    done = here("info", "splitrun")
    assert (done.code, done.stderr) == (0, "")
    facts = dict(line.split(maxsplit=1) for line in done.text.splitlines() if not line.startswith("computed"))
    assert facts["classes"] == "cats, dogs"
    assert facts["backbone"].startswith("efficientnet_lite0, weights none (seed 0), sha256 ")
    assert facts["input"].startswith("resize 40 bicubic, crop 32, mean ")
    assert facts["head"] == "logistic, C 1, class weight none"
    assert facts["validation"] == "6 of 6, 1.0000 (95 % interval 0.6097 to 1.0000)"
    assert facts["split"] == "the user's folders"
    assert max(map(len, done.text.splitlines())) <= 120


def test_info_as_json(here: Lab) -> None:
    facts = strict_json(here("info", "run/checkpoint.safetensors", "--json").text)
    assert facts["bytes"] == (here.folder / "run" / "checkpoint.safetensors").stat().st_size
    assert (facts["format"], facts["classes"], facts["validation"]["correct"]) == (1, ["cats", "dogs"], 4)
    assert facts["validation"]["metrics"]["confusion"] == [[2, 0], [0, 2]]
    assert facts["split"] == {"made_by": "hash", "seed": 0, "version": 2, "val_fraction": 0.2, "test_fraction": 0.0}


def test_checkpoints_that_are_none(here: Lab) -> None:
    """Truncated, foreign, newer, damaged: exit 3, one line that says which."""
    whole = (here.folder / "run" / "checkpoint.safetensors").read_bytes()
    here.write("cut.safetensors", whole[: len(whole) // 2])
    here.write("empty.safetensors", b"")
    here.write("text.safetensors", "Dear diary, " * 10)
    safetensors.numpy.save_file({"x": np.zeros(3)}, here.folder / "foreign.safetensors")
    for name, description in (
        ("newer", json.dumps({"format": 2})),
        ("garbled", "{"),
        ("partial", json.dumps({"format": 1, "classes": ["a"]})),
    ):
        safetensors.numpy.save_file(
            {"x": np.zeros(3)}, here.folder / f"{name}.safetensors", metadata={"featcli": description}
        )
    expected = {
        "cut": "cut.safetensors is not a safetensors file, or only a part of one\nCopy it again ",
        "empty": "empty.safetensors is not a safetensors file, or only a part of one\nCopy it again ",
        "text": "text.safetensors is not a safetensors file, or only a part of one\nCopy it again ",
        "foreign": "foreign.safetensors is a safetensors file, but not a checkpoint of featcli\nIf it holds weights, ",
        "newer": "newer.safetensors has format 2; this featcli reads formats up to 1\nUpgrade: ",
        "garbled": "garbled.safetensors has a damaged description\n",
        "partial": "partial.safetensors has a damaged description: classes, backbone, freeze_depth\n",
    }
    for name, message in expected.items():
        for command in (("info", f"{name}.safetensors"), ("predict", f"{name}.safetensors", "photos")):
            done = here(*command)
            assert (done.code, done.stdout) == (3, b""), command
            assert done.stderr.startswith(f"error: {message}"), done.stderr
            assert "Traceback" not in done.stderr


@pytest.mark.parametrize("width", [40, 80])
def test_a_terminal_shows_plots(here: Lab, width: int) -> None:
    shutil.copytree(here.folder / "photos/cats", here.folder / "other/cats")
    shutil.copytree(here.folder / "photos/cats", here.folder / "other/dogs")
    seen, code = on_terminal(here.server, "evaluate", "run", "other", cwd=here.folder, width=width)
    assert code == 0
    lines = seen.splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("class "))
    assert [line.split()[0] for line in lines[start + 1 : start + 3]] == ["dogs", "cats"]
    assert "█" not in lines[start + 1]
    assert "█" in lines[start + 2]
    assert [line.split() for line in lines if "[" in line][-2:] == [["cats", "[8█]", "."], ["dogs", "8█", "[0", "]"]]
    assert max(columns(line) for line in lines[start:]) <= max(width, 62)  # the tables below are of fixed width
    piped = here("evaluate", "run", "other")
    assert "true  cats  dogs  predicted\n" in piped.text
    assert "█" not in piped.text


def test_a_terminal_that_knows_no_blocks_gets_ascii(here: Lab) -> None:
    preload = here.preload("import sys\nsys.stdout.reconfigure(encoding='ascii')\n")
    with terminal() as (near, far):
        done = here("evaluate", "run", "photos", "-q", stdout=far, preload=preload)
        seen = shown(read_all(near))
    assert done.code == 0
    assert [line.split() for line in seen.splitlines() if line.startswith("cats ")][1] == ["cats", "[8#]", "."]
    assert seen.isascii()
