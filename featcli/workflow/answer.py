"""What a command gives back: one type for all of them, a dry run's plan included."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from featcli.errors import FeatcliError

_SHOWN = 10


@dataclass(slots=True)
class Unreadable:
    """Images that could not be read: how many, and the first few with their reasons, however many there are."""

    count: int = 0
    first: list[tuple[str, str]] = field(default_factory=list)

    def add(self, path: str, reason: str) -> None:
        """Counts one; `_SHOWN` are kept."""
        self.count += 1
        if len(self.first) < _SHOWN:
            self.first.append((path, reason))


Layout: TypeAlias = Callable[[int | None], str]  # from the columns of a terminal, or None for a pipe, to text


@dataclass(frozen=True, slots=True)
class Answer:
    """What was asked for.

    Attributes:
        text: for a pipe: lines for a person, or a path; None where everything was written already.
        facts: the same as one JSON value, for `--json`.
        unreadable: the images that could not be read.
        failure: an error to end with once the answer is out: a condition that does not hold, damage that was found.
        layout: gives the text for a terminal; None where it is the same there.
    """

    text: str | None
    facts: Any = None
    unreadable: Unreadable = field(default_factory=Unreadable)
    failure: FeatcliError | None = None
    layout: Layout | None = None

    @classmethod
    def arranged(
        cls,
        layout: Layout,
        facts: Any = None,
        unreadable: Unreadable | None = None,
        failure: FeatcliError | None = None,
    ) -> Answer:
        """An answer whose lines depend on how wide the terminal is."""
        return cls(layout(None), facts, unreadable or Unreadable(), failure, layout)

    def text_in(self, width: int | None) -> str | None:
        """The text for a terminal of so many columns; None for a pipe."""
        return self.text if self.layout is None or width is None else self.layout(width)
