from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
import torch
from torch import nn

from featcli.errors import CheckpointError, StorageError
from featcli.training.state import (
    Snapshot,
    TrainingProgress,
    copy_into,
    optimizer_tensors,
    read_snapshot,
    restore_optimizer,
    write_snapshot,
)
from tests.unit.training.lab import same

PROGRESS = TrainingProgress(
    epoch=3, step=2, best_epoch=1, best_value=0.75, seconds=1.5, parts=4, log=[{"epoch": 0, "loss": None}]
)


def snapshot() -> Snapshot:
    maps = torch.randn(4, 3, 3, 3).to(memory_format=torch.channels_last)
    return Snapshot(PROGRESS, {"model.conv": maps, "optimizer.0.step": torch.tensor(7.0), "loss": torch.tensor(0.5)})


def test_what_is_written_is_read(tmp_path: Path) -> None:
    before = snapshot()
    write_snapshot(tmp_path / "last.safetensors", before)
    after = read_snapshot(tmp_path / "last.safetensors")
    assert after.progress == before.progress
    assert same(after.tensors, before.tensors)
    assert list(after.part("model.")) == ["conv"]
    assert os.listdir(tmp_path) == ["last.safetensors"]


def test_a_disk_that_is_full_keeps_the_last_snapshot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last.safetensors"
    write_snapshot(path, snapshot())
    data = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("safetensors.torch.save_file", full)
    with pytest.raises(StorageError, match=r"cannot write .*last\.safetensors: No space left"):
        write_snapshot(path, snapshot())
    assert path.read_bytes() == data
    assert os.listdir(tmp_path) == ["last.safetensors"]


@pytest.mark.parametrize("spoil", ["cut", "empty", "foreign", "keys"])
def test_a_damaged_snapshot_is_told(tmp_path: Path, spoil: str) -> None:
    path = tmp_path / "last.safetensors"
    write_snapshot(path, snapshot())
    data = path.read_bytes()
    path.write_bytes(
        {
            "cut": data[:-5],
            "empty": b"",
            "foreign": data.replace(b"featcli", b"unknown"),
            "keys": data.replace(b'\\"epoch\\"', b'\\"eposh\\"', 1),
        }[spoil]
    )
    with pytest.raises(CheckpointError, match="is damaged: training cannot be resumed from it") as caught:
        read_snapshot(path)
    assert caught.value.hint == "Start over with --overwrite."


def test_an_optimizer_is_restored_in_the_layout_of_its_parameters() -> None:
    """Fused steps pair numbers by their place in memory; a file knows no channels_last."""
    torch.manual_seed(0)
    one = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    other = nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    optimizers = [torch.optim.AdamW(model.parameters(), lr=0.1, fused=True) for model in (one, other)]
    gradients = [torch.randn_like(item) for item in one.parameters()]

    def step(model: nn.Conv2d, optimizer: torch.optim.Optimizer) -> None:
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            parameter.grad = gradient.clone()
        optimizer.step()

    step(one, optimizers[0])
    other.load_state_dict(one.state_dict())
    written = {name: tensor.contiguous().clone() for name, tensor in optimizer_tensors(optimizers[0]).items()}
    restore_optimizer(optimizers[1], written)
    assert same(optimizer_tensors(optimizers[1]), written)
    for _ in range(3):
        for pair in ((one, optimizers[0]), (other, optimizers[1])):
            step(*pair)
        assert same(dict(one.state_dict()), dict(other.state_dict()))


def test_live_tensors_are_overwritten_in_place() -> None:
    live = {"a": torch.zeros(2), "b": torch.zeros(1, dtype=torch.int64)}
    places = {name: tensor.data_ptr() for name, tensor in live.items()}
    copy_into(live, {"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([3])})
    assert (live["a"].tolist(), live["b"].tolist()) == ([1.0, 2.0], [3])
    assert {name: tensor.data_ptr() for name, tensor in live.items()} == places


@pytest.mark.parametrize("values", [{}, {"a": torch.zeros(3)}, {"a": torch.zeros(2), "c": torch.zeros(1)}])
def test_other_names_or_shapes_are_refused(values: dict[str, torch.Tensor]) -> None:
    with pytest.raises(CheckpointError, match="the saved training is of another model"):
        copy_into({"a": torch.zeros(2)}, values)
