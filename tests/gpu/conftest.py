"""Fixtures of the tests that need a CUDA device; the one place where they are skipped.

`FEATCLI_TEST_DEVICE=cpu` runs them on the CPU instead: what only CUDA can show is then skipped, test by test.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.gpu.device import DEVICE, ON_CUDA
from tests.process import ForkServer


@pytest.fixture(autouse=True, scope="session")
def _device() -> None:
    """Skips every test here on a machine that has no CUDA device."""
    import torch

    if ON_CUDA and not torch.cuda.is_available():
        pytest.skip("no CUDA device")


@pytest.fixture
def needs_cuda() -> None:
    """For what means nothing on another device."""
    if not ON_CUDA:
        pytest.skip(f"means nothing on {DEVICE}")


@pytest.fixture(scope="session")
def originals(tmp_path_factory: pytest.TempPathFactory, make_folder: Callable[..., Path]) -> Path:
    """`photos`: two classes of 24 small images."""
    root = tmp_path_factory.mktemp("originals")
    make_folder(root / "photos", {"cats": 24, "dogs": 24})
    return root


@pytest.fixture(scope="module")
def lab(server: ForkServer, tmp_path_factory: pytest.TempPathFactory, originals: Path) -> object:
    """A working directory with `photos`, shared by the tests of a module; its commands run on the device."""
    from tests.gpu.lab import DeviceLab

    folder = tmp_path_factory.mktemp("lab")
    shutil.copytree(originals, folder, dirs_exist_ok=True)
    return DeviceLab(server, folder)
