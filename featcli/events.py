"""What the library says while it works: plain values, handed to an `emit` function.

No loop prints. The command line draws these events on stderr; a test collects them in a list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of the summary of a run: `features  398 computed, 0 from the store`."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Note:
    """Something worth knowing that changes nothing."""

    text: str


@dataclass(frozen=True, slots=True)
class Warn:
    """Something that the user should look at; the work goes on."""

    text: str


@dataclass(frozen=True, slots=True)
class Detail:
    """Said only under `-v`."""

    text: str


@dataclass(frozen=True, slots=True)
class Progress:
    """`done` of `total` (None: unknown) items of a task. The first event of a task starts its clock."""

    task: str
    done: int
    total: int | None
    unit: str = "images"
    finished: bool = False


@dataclass(frozen=True, slots=True)
class EpochEnd:
    """An epoch of a training by gradient descent is over; epoch 0 is the model as it came.

    Attributes:
        epoch: counted from 1.
        epochs: that there will be at most.
        lr: learning rate of the head in its last step; None for epoch 0.
        loss: mean over the training examples; None for epoch 0.
        metrics: of the validation examples, by name; None where there are none.
        best: whether no epoch before was better.
        shown: the metrics that a person sees while the training goes on.
    """

    epoch: int
    epochs: int
    lr: float | None
    loss: float | None
    metrics: Mapping[str, float | None]
    best: bool
    shown: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ClassResults:
    """How each class of a split fared, to be drawn; shown only under `-v`.

    Attributes:
        split: `val` or `test`.
        per_class: `recall`, `f1` and `support`, among others, by the name of the class.
        confusion: rows true, columns predicted, in the order of the classes; None where there are too many.
        confused: true class, predicted class, how many images, and of how many; the most frequent mistake first.
    """

    split: str
    per_class: Mapping[str, Mapping[str, float | int | None]]
    confusion: Sequence[Sequence[int]] | None
    confused: Sequence[tuple[str, str, int, int]]


Event: TypeAlias = Fact | Note | Warn | Detail | Progress | EpochEnd | ClassResults
Emit: TypeAlias = Callable[[Event], None]


def ignore(event: Event) -> None:
    """An `emit` for callers that do not listen."""
