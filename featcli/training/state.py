"""Where a training stands, so that another process can go on from there bit for bit."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from featcli.errors import CheckpointError
from featcli.files import atomic_path, storage_errors

_KEY = "featcli"


@dataclass(slots=True)
class TrainingProgress:
    """How far a training is, in plain values.

    Attributes:
        epoch: the one under way, counted from 1.
        step: steps that are done in it.
        best_epoch: whose weights are kept; 0 is the start.
        best_value: its monitored metric; None where there is none.
        seconds: of training so far.
        parts: into how many parts a batch is divided where memory is short.
        log: one entry for each epoch that is done.
    """

    epoch: int = 1
    step: int = 0
    best_epoch: int = 0
    best_value: float | None = None
    seconds: float = 0.0
    parts: int = 1
    log: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A training at rest: plain values, and tensors by `model.`, `best.`, `average.`, `optimizer.` and `loss`."""

    progress: TrainingProgress
    tensors: dict[str, Tensor]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors of one kind, their names without it."""
        return {name.removeprefix(prefix): item for name, item in self.tensors.items() if name.startswith(prefix)}


def write_snapshot(path: Path, snapshot: Snapshot) -> None:
    """Writes a snapshot, complete or not at all.

    Raises:
        StorageError: it cannot be written.
    """
    metadata = {_KEY: json.dumps(asdict(snapshot.progress), allow_nan=False)}  # unsorted: log entries keep their order
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in snapshot.tensors.items()}
    with atomic_path(path) as temporary, storage_errors(path):
        mode = temporary.stat().st_mode
        safetensors.torch.save_file(tensors, temporary, metadata)
        temporary.chmod(mode)  # safetensors makes files that nobody else may read


def read_snapshot(path: Path) -> Snapshot:
    """Reads a snapshot.

    Raises:
        CheckpointError: it is damaged.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as file:
            progress = TrainingProgress(**json.loads((file.metadata() or {})[_KEY]))
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}
    except (OSError, safetensors.SafetensorError, KeyError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} is damaged: training cannot be resumed from it", "Start over with --overwrite."
        ) from error
    return Snapshot(progress, tensors)


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """An optimizer's state as tensors with names: `3.exp_avg`."""
    state: Mapping[int, Mapping[str, Tensor]] = optimizer.state_dict()["state"]
    return {f"{index}.{name}": tensor for index, item in state.items() for name, tensor in item.items()}


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """The inverse of `optimizer_tensors`."""
    parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        index, _, key = name.partition(".")
        parameter = parameters[int(index)]
        # Fused optimizers pair numbers by their place in memory: a file has lost channels_last, the parameter has not.
        laid_out = torch.empty_like(parameter).copy_(tensor) if tensor.shape == parameter.shape else tensor
        state.setdefault(int(index), {})[key] = laid_out
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def copy_into(live: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    """Overwrites live tensors with values of the same names.

    Raises:
        CheckpointError: the names or shapes differ.
    """
    if live.keys() != values.keys() or any(live[name].shape != values[name].shape for name in live):
        raise CheckpointError("the saved training is of another model", "Start over with --overwrite.")
    with torch.no_grad():
        for name, tensor in live.items():
            tensor.copy_(values[name])
