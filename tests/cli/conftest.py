"""Fixtures of the tests of the command line."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.lab import Lab
from tests.process import ForkServer


@pytest.fixture(scope="session")
def originals(tmp_path_factory: pytest.TempPathFactory, make_folder: Callable[..., Path]) -> Path:
    """Folders of small images to copy from: `photos` without splits, `split` with three."""
    root = tmp_path_factory.mktemp("originals")
    make_folder(root / "photos", {"cats": 8, "dogs": 8})
    make_folder(root / "split" / "train", {"cats": 6, "dogs": 6})
    make_folder(root / "split" / "val", {"cats": 3, "dogs": 3}, start=20)
    make_folder(root / "split" / "test", {"cats": 2, "dogs": 2}, start=30)
    return root


@pytest.fixture
def lab(server: ForkServer, tmp_path: Path, originals: Path) -> Lab:
    """A working directory of its own, with `photos` and `split`."""
    shutil.copytree(originals, tmp_path, dirs_exist_ok=True)
    return Lab(server, tmp_path)


@pytest.fixture(scope="session")
def trained(server: ForkServer, tmp_path_factory: pytest.TempPathFactory, originals: Path) -> Lab:
    """A working directory with runs on both folders, `run` and `splitrun`; tests must leave it as it is."""
    lab = Lab(server, tmp_path_factory.mktemp("trained"))
    shutil.copytree(originals, lab.folder, dirs_exist_ok=True)
    for data, output in (("photos", "run"), ("split", "splitrun")):
        done = lab.train("--cache", lab.folder / "cache", data=data, output=output)
        assert done.code == 0, done.stderr
    return lab
