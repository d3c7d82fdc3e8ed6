"""Promises 7, 8 and 10: the user's data is read-only, no code runs from data, selection never sees the test."""

from __future__ import annotations

import json
import os
import pickle  # noqa: TID251  to make what must be refused
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from tests.cli.lab import SMALL, Lab, head_of, tree
from tests.process import ForkServer, Running

pytestmark = pytest.mark.slow

# The tests may run as root, whom no permission stops: gives up all of root's capabilities.
UNPRIVILEGED = """
import ctypes
header = (ctypes.c_uint32 * 2)(0x20080522, 0)
assert ctypes.CDLL(None).capset(header, (ctypes.c_uint32 * 6)()) == 0
"""


@pytest.fixture
def locked(lab: Lab) -> Iterator[Lab]:
    """A working directory with `photos` and `locked` that cannot be written to, where permissions count."""
    (lab.folder / "locked").mkdir()
    _set_modes(lab.folder / "locked", lab.folder / "photos", folder=0o555, file=0o444)
    yield Restricted(lab.server, lab.folder, lab.preload(UNPRIVILEGED))
    _set_modes(lab.folder / "locked", lab.folder / "photos", folder=0o755, file=0o644)


class Restricted(Lab):
    """Runs every command without privileges."""

    def __init__(self, server: ForkServer, folder: Path, preload: Path) -> None:
        super().__init__(server, folder)
        self._preload = preload

    def start(self, *arguments: str | Path, **options: Any) -> Running:
        """Starts `featcli ARGUMENTS` here."""
        return super().start(*arguments, **{"preload": self._preload, **options})


def _set_modes(*roots: Path, folder: int, file: int) -> None:
    for root in roots:
        for path in [root, *sorted(root.rglob("*"))]:
            path.chmod(folder if path.is_dir() else file)


def test_the_data_is_as_it_was(lab: Lab) -> None:
    """Promise 7: after every command the folder's bytes and times are those of before, corrupt files included."""
    lab.write("photos/cats/broken.png", "no image")
    before = {name: tree(lab.folder / name) for name in ("photos", "split")}
    for arguments in (
        ("train-head", *SMALL, "--set", "data.root=photos", "-o", "run"),
        ("train-head", *SMALL, "--set", "data.root=photos", "-o", "run", "--dry-run"),
        ("extract", *SMALL, "--set", "data.root=split", "-o", "x.npz"),
        ("extract", *SMALL, "photos", "-o", "x.csv"),
        ("predict", "run", "photos", "-o", "rows.jsonl", "--summary", "counts.json"),
        ("evaluate", "run", "photos"),
        ("evaluate", "run", "--parity"),
    ):
        assert lab(*arguments, "--max-bad", "1").code == 0
    assert {name: tree(lab.folder / name) for name in before} == before


def test_a_read_only_folder_is_enough(locked: Lab) -> None:
    done = locked.train("--cache", "cache", output="run")
    assert done.code == 0, done.stderr
    done = locked("predict", "run", "photos", "--cache", "cache")
    assert (done.code, len(done.rows)) == (0, 16)
    assert locked("evaluate", "run", "--parity", "--cache", "cache").code == 0


def test_places_that_cannot_be_written(locked: Lab) -> None:
    way_out = "Choose a place that can be written to, with -o (results) or --cache (features).\n"
    done = locked.train("--cache", "cache", output="locked/run")
    assert (done.code, done.stderr) == (
        4, f"error: cannot write {locked.folder}/locked/run: Permission denied\n{way_out}"
    )  # fmt: skip
    assert not (locked.folder / "cache").exists()
    done = locked.train("--cache", "locked/cache", output="run")
    assert done.code == 0
    refused = f"warning: the feature store {locked.folder}/locked/cache cannot be written (Permission denied); "
    assert f"{refused}features are computed and not kept" in done.stderr
    locked.train("--cache", "cache", output="run")
    done = locked("predict", "run", "photos", "-o", "locked/rows.jsonl")
    assert (done.code, done.stdout) == (4, b"")
    assert done.stderr == f"error: cannot write locked/rows.jsonl: Permission denied\n{way_out}"
    # Reading needs no store: one that cannot be read or made costs time and nothing else.
    assert locked("predict", "run", "photos", "--cache", "locked/cache").code == 0


def test_a_file_without_permission_is_an_error_row(locked: Lab) -> None:
    assert locked.train("--cache", "cache", output="run").code == 0
    (locked.folder / "photos" / "cats" / "00.png").chmod(0o000)
    done = locked("predict", "run", "photos")
    assert (done.code, len(done.rows)) == (3, 16)
    assert done.rows[0]["error"] == "permission denied"
    (locked.folder / "photos" / "dogs").chmod(0o000)
    done = locked("evaluate", "run", "photos")
    assert (done.code, done.stderr) == (
        2,
        "error: cannot read the folder photos/dogs: permission denied\n"
        "Make it readable, or leave it out with data.exclude.\n",
    )


class _Bomb:
    """Runs a command when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, (f"touch '{self.marker}'",)


def test_no_code_runs_from_weights(lab: Lab) -> None:
    """Promise 8."""
    marker = lab.folder / "exploded"
    bomb = lab.write("bomb.pth", pickle.dumps({"x": _Bomb(marker)}))
    for name in ("bomb.pt", "bomb.safetensors"):
        shutil.copyfile(bomb, lab.folder / name)
    for name in ("bomb.pth", "bomb.pt", "bomb.safetensors"):
        done = lab.train("--set", f"backbone.weights={name}")
        assert (done.code, done.stdout) == (4, b""), done.stderr
        assert not marker.exists()
    assert (
        "bomb.pt holds more than tensors and is refused, since reading it could run code"
        in lab.train("--set", "backbone.weights=bomb.pt").stderr
    )
    pickle.loads(bomb.read_bytes())
    assert marker.exists(), "the bomb works"


def test_no_code_runs_from_checkpoints(lab: Lab) -> None:
    marker = lab.folder / "exploded"
    lab.write("bomb.safetensors", pickle.dumps(_Bomb(marker)))
    for command in ("predict", "info", "evaluate"):
        assert lab(command, "bomb.safetensors", *(["photos"] if command != "info" else [])).code == 3
    assert lab.train().code == 0
    checkpoint = lab.folder / "run" / "checkpoint.safetensors"
    with safetensors.safe_open(checkpoint, framework="numpy") as file:
        metadata = json.loads(file.metadata()["featcli"])
    tensors = safetensors.numpy.load_file(checkpoint)
    for name in ("os.system", "list_models", "evil:build", "../evil"):
        metadata["backbone"]["name"] = name
        safetensors.numpy.save_file(tensors, checkpoint, metadata={"featcli": json.dumps(metadata)})
        done = lab("predict", "run", "photos")
        assert (done.code, done.stdout) == (3, b"")
        assert f"error: run/checkpoint.safetensors: unknown backbone '{name}'" in done.stderr
    assert not marker.exists()


def test_no_code_runs_from_configs_and_packages(lab: Lab) -> None:
    marker = lab.folder / "exploded"
    lab.write("cats.yaml", f"data: !!python/object/apply:os.system ['touch {marker}']\n")
    done = lab("train-head", "-c", "cats.yaml")
    assert (done.code, done.stderr) == (
        2, "cats.yaml:1:7: tags (!!python/object/apply:os.system) are not supported; write the value without it\n"
    )  # fmt: skip
    lab.write("evil/__init__.py", f"open({str(marker)!r}, 'w').close()\n")
    safetensors.numpy.save_file({"x": np.zeros(1)}, lab.folder / "evil" / "weights.safetensors")
    path = lab.preload(f"import sys\nsys.path.insert(0, {str(lab.folder)!r})\n")
    done = lab.train("--set", "backbone.weights=package:evil/weights.safetensors", preload=path)
    assert done.code == 4
    assert "do not fit efficientnet_lite0" in done.stderr  # it was found, and read
    assert not marker.exists()


def _spoil(folder: Path, images: Path) -> None:
    """Replaces every image of a split by one of the other class, and leaves one out."""
    cats, dogs = (sorted((folder / name).iterdir()) for name in ("cats", "dogs"))
    for index, (cat, dog) in enumerate(zip(cats, dogs, strict=True)):
        shutil.copyfile(images / "dogs" / f"{index:02d}.png", cat)
        shutil.copyfile(images / "cats" / f"{index:02d}.png", dog)
    cats[-1].unlink()


def test_selection_never_sees_the_test(lab: Lab) -> None:
    """Promise 10: whatever the test images are, the checkpoint is the same to the byte."""
    options = ("--set", "head.C=auto", "--overwrite")
    assert lab.train(*options, data="split").code == 0
    first = (lab.folder / "run" / "checkpoint.safetensors").read_bytes()
    metrics = json.loads((lab.folder / "run" / "metrics.json").read_text())
    _spoil(lab.folder / "split" / "test", lab.folder / "photos")
    assert lab.train(*options, data="split").code == 0
    changed = json.loads((lab.folder / "run" / "metrics.json").read_text())
    assert (metrics["test"]["accuracy"], changed["test"]["accuracy"]) == (1.0, 0.0)
    assert (lab.folder / "run" / "checkpoint.safetensors").read_bytes() == first
    shutil.rmtree(lab.folder / "split" / "test")
    assert lab.train(*options, data="split").code == 0
    assert (lab.folder / "run" / "checkpoint.safetensors").read_bytes() == first


def test_the_head_never_sees_validation(lab: Lab) -> None:
    options = ("--set", "head.C=auto", "--overwrite")
    assert lab.train(*options, data="split").code == 0
    first = head_of(lab.folder / "run")
    _spoil(lab.folder / "split" / "val", lab.folder / "photos")
    assert lab.train(*options, data="split").code == 0
    assert json.loads((lab.folder / "run" / "metrics.json").read_text())["val"]["accuracy"] == 0.0
    for name, tensor in head_of(lab.folder / "run").items():
        np.testing.assert_array_equal(tensor, first[name])
