"""What the loop is given, and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from featcli.errors import UsageError
from featcli.events import Emit
from featcli.tasks import Task
from featcli.training.state import Snapshot, TrainingProgress

Rows = NDArray[np.int64]
Score = Callable[[NDArray[np.float64]], Mapping[str, Any]]


class ExampleSource(Protocol):
    """Examples in rows 0 to N - 1."""

    def __len__(self) -> int: ...

    def names(self, rows: Rows) -> list[str]:
        """Of some rows, for messages."""

    def batches(self, epoch: int, batches: Sequence[Rows]) -> Iterator[Tensor]:
        """The inputs (B, ...) of each batch, on the device."""


class Diverged(UsageError):
    """The loss, the gradient or what the model says of validation images is not a finite number.

    Args:
        message: where, and on which images.
        hint: the next step.
        progress: how far the training came; the model holds the weights of its best epoch.
    """

    def __init__(self, message: str, hint: str, progress: TrainingProgress) -> None:
        super().__init__(message, hint)
        self.progress = progress


@dataclass(frozen=True, slots=True)
class Labelled:
    """Examples with their classes: N labels, int64."""

    source: ExampleSource
    labels: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Problem:
    """What is trained, for what, and on what.

    Attributes:
        model: a module (B, ...) to outputs (B, K), with `tensors()`: everything that training may change, live.
        task: gives the loss, and what the outputs mean.
        train: what it learns from.
        val: what chooses the epoch; may be empty.
    """

    model: Any
    task: Task
    train: Labelled
    val: Labelled


@dataclass(frozen=True, slots=True)
class Callbacks:
    """What happens around the loop.

    Attributes:
        emit: hears of every epoch.
        save: keeps a snapshot, now and then, and at a stop.
        stop: asked after every step; True ends the loop there.
        score: metrics of (N, K) probabilities of the validation examples.
    """

    emit: Emit
    save: Callable[[Snapshot], None]
    stop: Callable[[], bool]
    score: Score


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a training ended: `finished`, or asked to stop; the model holds the best weights if it finished."""

    progress: TrainingProgress
    finished: bool
