"""What does without torch, or without torchvision, does: importing either takes longer than most work."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from featcli.backbones.stages import canonical_sha256
from featcli.checkpoint import head_sha256, load_checkpoint, load_head
from featcli.heads.linear import LinearHead

pytestmark = pytest.mark.slow

SLOW = {"torch", "torchvision"}
TINY = ["--set", "backbone.preprocess={resize: 40, crop: 32}", "--set", "backbone.weights=none"]
TINY += ["--set", "device=cpu", "--set", "loader.workers=1"]


def packages_of(*arguments: str, cwd: Path | None = None) -> set[str]:
    """The packages that Python imports for a call."""
    ran = subprocess.run(
        [sys.executable, "-X", "importtime", *arguments], capture_output=True, text=True, check=False, cwd=cwd
    )
    assert ran.returncode == 0, ran.stderr[-2000:]
    lines = [line for line in ran.stderr.splitlines() if line.startswith("import time:")]
    return {line.rsplit("|", 1)[-1].strip().split(".")[0] for line in lines}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, make_folder: Callable[..., Path]) -> tuple[Path, set[str]]:
    """A run of train-head on a backbone of our own, and what it imported."""
    folder = tmp_path_factory.mktemp("run")
    make_folder(folder / "photos", {"cats": 8, "dogs": 8})
    called = ["train-head", "photos", "--backbone", "efficientnet_lite0", "-o", "run", *TINY]
    return folder / "run", packages_of("-m", "featcli", *called, cwd=folder)


@pytest.mark.parametrize(("kind", "arrays"), [("linear", 1), ("logistic", 1), ("mlp", 2)])
def test_a_head_predicts_without_torch(kind: str, arrays: int) -> None:
    code = f"""
import numpy as np
from featcli.heads.blocks import apply_in_blocks
from featcli.heads.registry import find_head, head_from_tensors
from featcli.tasks import task_of
shapes = [(5, 4), (5,), (3, 5), (3,)] if {arrays} == 2 else [(3, 4), (3,)]
tensors = dict(zip(find_head("{kind}").tensors, (np.ones(shape, dtype=np.float32) for shape in shapes)))
head = head_from_tensors("{kind}", tensors, 3, 4)
found = apply_in_blocks(head.layers(), np.ones((2, 4), dtype=np.float32), task_of(["a", "b", "c"]).link)
assert found.shape == (2, 3) and found.dtype == np.float64
"""
    assert packages_of("-c", code) & {"numpy", *SLOW} == {"numpy"}


def test_a_device_is_chosen_without_torch() -> None:
    code = 'from featcli.runtime import decide_runtime; assert decide_runtime("cpu", defer_torch=True).tile'
    assert not packages_of("-c", code) & SLOW
    assert "torch" in packages_of("-c", code.replace(", defer_torch=True", ""))


def test_what_commands_begin_with_is_imported_without_torch() -> None:
    names = ("checkpoint", "metadata", "tasks", "runtime", "workflow.session", "workflow.images", "features.store")
    assert not packages_of("-c", "import " + ", ".join(f"featcli.{name}" for name in names)) & SLOW


def test_a_network_without_storage_is_built_without_torchs_compiler() -> None:
    """Giving random numbers to what has no storage would load it."""
    code = """
import sys
import torch
from featcli.backbones.building import build_network
from featcli.backbones.efficientnet_lite import efficientnet_lite0
from featcli.backbones.families import efficientnet
from featcli.backbones.architecture import Architecture
built = build_network(Architecture("lite", efficientnet_lite0, efficientnet, {}), {}, None)
assert all(tensor.is_meta for tensor in built.network.parameters())
print("torch._dynamo" in sys.modules)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout == "False\n"


def test_the_head_of_a_checkpoint_is_read_without_torch(run: tuple[Path, set[str]]) -> None:
    path = run[0] / "checkpoint.safetensors"
    code = f"""
from pathlib import Path
from featcli.checkpoint import library_versions, load_head
from featcli.metadata import read_metadata
path = Path({str(path)!r})
assert library_versions() == read_metadata(path).versions
assert load_head(path, read_metadata(path)).layers().n_outputs == 2
"""
    assert not packages_of("-c", code) & SLOW
    checkpoint = load_checkpoint(path)
    alone = load_head(path, checkpoint.metadata)
    for name, array in checkpoint.head.tensors().items():
        np.testing.assert_array_equal(alone.tensors()[name], array)


def test_the_hash_of_a_head_is_that_of_its_tensors_in_torch() -> None:
    import torch

    rng = np.random.default_rng(0)
    head = LinearHead(np.asfortranarray(rng.normal(size=(3, 4)).astype(np.float32)), np.ones(3, dtype=np.float32))
    tensors = {name: torch.from_numpy(array) for name, array in head.tensors().items()}
    assert head_sha256(head) == canonical_sha256(tensors)


def test_a_backbone_of_our_own_is_used_without_torchvision(run: tuple[Path, set[str]]) -> None:
    path, imported = run
    assert imported & SLOW == {"torch"}
    photo = str(next((path.parent / "photos").rglob("*.png")))
    assert packages_of("-m", "featcli", "predict", str(path), photo, "--device", "cpu") & SLOW <= {"torch"}
