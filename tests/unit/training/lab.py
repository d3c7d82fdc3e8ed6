"""What the tests of training share: a recipe, small networks, a way to stop and to look."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from featcli.evaluation.truth import Truth
from featcli.events import Event
from featcli.runtime import Runtime
from featcli.tasks import Multiclass
from featcli.tasks.multiclass import evaluate
from featcli.training.boundary import FeatureExamples
from featcli.training.loop import fit
from featcli.training.optimizers import make_optimizer, parameter_groups
from featcli.training.problem import Callbacks, Labelled, Outcome, Problem
from featcli.training.recipe import Recipe
from featcli.training.state import Snapshot

TASK = Multiclass(("0", "1", "2"))
CPU = Runtime(torch.device("cpu"), "fp32", 1, 2, 8)


def recipe(**changes: Any) -> Recipe:
    """Two epochs of nothing special."""
    plain: dict[str, Any] = {
        "epochs": 2,
        "batch_size": 4,
        "accumulate": 1,
        "optimizer": "adamw",
        "lr": 0.01,
        "weight_decay": 0.0,
        "layer_decay": 1.0,
        "warmup_epochs": 0.0,
        "schedule": "constant",
        "clip_norm": None,
        "label_smoothing": 0.0,
        "mixup": 0.0,
        "cutmix": 0.0,
        "ema": None,
        "monitor": "accuracy",
        "patience": None,
        "time_limit": None,
        "class_weights": None,
        "seed": 0,
    }
    return Recipe(**{**plain, **changes})


def images(n: int, seed: int, classes: int = 3) -> Labelled:
    """N arrays (3, 6, 6) whose channels tell their class, with noise; named `{seed}-{row}.png`."""
    random = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    pixels = random.normal(size=(n, 3, 6, 6)).astype(np.float32)
    pixels[np.arange(n), labels] += 1.0
    return Labelled(FeatureExamples(pixels, [f"{seed}-{row}.png" for row in range(n)], CPU), labels.astype(np.int64))


class Net(nn.Module):
    """Convolutions (channels last, as backbones are), perhaps BatchNorm and dropout, a Linear."""

    def __init__(self, *, batch_norm: bool = False, dropout: float = 0.0, classes: int = 3) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(3)
            self.first = nn.Conv2d(3, 5, 3)
            self.norm = nn.BatchNorm2d(5) if batch_norm else nn.Identity()
            self.second = nn.Conv2d(5, 6, 3)
            self.dropout = nn.Dropout(dropout)
            self.head = nn.Linear(6, classes)
        self.to(memory_format=torch.channels_last)

    def forward(self, inputs: Tensor) -> Tensor:
        maps = self.second(self.norm(self.first(inputs)).relu()).relu()
        found: Tensor = self.head(self.dropout(maps.mean((2, 3))))
        return found

    def tensors(self) -> dict[str, Tensor]:
        """Everything, live."""
        return dict(self.state_dict())

    def copies(self) -> dict[str, Tensor]:
        """Everything, as it is now."""
        return copy.deepcopy(self.tensors())


def score(labels: NDArray[np.int64], classes: int = 3) -> Callable[[NDArray[np.float64]], Mapping[str, Any]]:
    """The metrics of validation images with these labels."""
    names = [str(index) for index in range(classes)]
    return lambda probabilities: evaluate(probabilities, Truth(labels), names)


@dataclass
class Watch:
    """What a training did: its events, its snapshots, and after which step it is to stop."""

    stop_after: int | None = None
    events: list[Event] = field(default_factory=list)
    saved: list[Snapshot] = field(default_factory=list)
    steps: int = 0

    def stop(self) -> bool:
        self.steps += 1
        return self.steps == self.stop_after

    def save(self, snapshot: Snapshot) -> None:
        self.saved.append(copy.deepcopy(snapshot))

    def callbacks(self, scorer: Callable[[NDArray[np.float64]], Mapping[str, Any]]) -> Callbacks:
        return Callbacks(self.events.append, self.save, self.stop, scorer)


def train(
    model: nn.Module,
    chosen: Recipe,
    *,
    data: Labelled | None = None,
    val: Labelled | None = None,
    watch: Watch | None = None,
    resume: Snapshot | None = None,
    scorer: Callable[[NDArray[np.float64]], Mapping[str, Any]] | None = None,
    stages: Sequence[Sequence[nn.Parameter]] | None = None,
) -> Outcome:
    """Runs `fit` on 18 images to learn from and 9 to validate on, unless told otherwise."""
    data = images(18, 1) if data is None else data
    val = images(9, 2) if val is None else val
    if stages is None:
        body = [item for name, item in model.named_parameters() if not name.startswith("head.")]
        stages = [body]
    assert isinstance(model.head, nn.Module)
    return fit(
        Problem(model, TASK, data, val),
        make_optimizer(parameter_groups(stages, model.head, chosen), chosen),
        chosen,
        CPU,
        (watch or Watch()).callbacks(scorer or score(val.labels)),
        resume=resume,
    )


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    """Whether names and bits are equal."""
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
