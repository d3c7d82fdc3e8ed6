"""What the library says while it works: plain values, handed to an `emit` function.

No loop prints. The command line draws these events on stderr; a test collects them in a list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True)
class Fact:
    """One line of the summary of a run: `features  398 x 1280, 398 computed`."""

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
class TableRow:
    """The next row of a table that grows while the work goes on: its cells, by the name of their column."""

    table: str
    cells: Mapping[str, str]


Event: TypeAlias = Fact | Note | Warn | Detail | Progress | TableRow
Emit: TypeAlias = Callable[[Event], None]


def ignore(event: Event) -> None:
    """An `emit` for callers that do not listen."""
