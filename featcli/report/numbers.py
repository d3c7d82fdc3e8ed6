"""What a `metrics.json` says, read with care: absent is None, and what is of another kind is damage, said by name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from featcli.errors import CheckpointError


class Numbers:
    """A part of `metrics.json`.

    Args:
        values: what was read.
        file: that it was read from.
        place: of the part in the file, dotted.
    """

    def __init__(self, values: Mapping[str, Any], file: str, place: str = "") -> None:
        self._values = values
        self._file = file
        self._place = place

    def __contains__(self, name: str) -> bool:
        return self._values.get(name) is not None

    @property
    def names(self) -> list[str]:
        """What there is, in order."""
        return list(self._values)

    def number(self, name: str) -> float | None:
        """A finite number."""
        return None if name not in self else self._number(self._values[name], name)

    def count(self, name: str) -> int | None:
        """An integer that is not negative."""
        value = self.number(name)
        if value is not None and (value < 0 or value != int(value)):
            raise self._damaged(name, "a count")
        return None if value is None else int(value)

    def pair(self, name: str) -> tuple[float, float] | None:
        """Two numbers, such as an interval."""
        if name not in self:
            return None
        found = [self._number(value, name) for value in self._list(name)]
        if len(found) != 2:
            raise self._damaged(name, "a pair of numbers")
        return found[0], found[1]

    def text(self, name: str) -> str | None:
        """A string."""
        value = self._values.get(name)
        if value is not None and not isinstance(value, str):
            raise self._damaged(name, "a text")
        return value

    def part(self, name: str) -> Numbers | None:
        """What lies below a name."""
        value = self._values.get(name)
        if value is None:
            return None
        if not isinstance(value, dict):
            raise self._damaged(name, "a mapping")
        return Numbers(value, self._file, self._named(name))

    def rows(self, name: str) -> list[Numbers]:
        """A list of mappings; empty where there is none."""
        if name not in self:
            return []
        found = self._list(name)
        if not all(isinstance(row, dict) for row in found):
            raise self._damaged(name, "a list of rows")
        return [Numbers(row, self._file, f"{self._named(name)}.{index}") for index, row in enumerate(found)]

    def square(self, name: str, size: int) -> list[list[float]] | None:
        """Rows of numbers, as many as columns."""
        if name not in self:
            return None
        rows = self._list(name)
        if len(rows) != size or not all(isinstance(row, list) and len(row) == size for row in rows):
            raise self._damaged(name, f"a table of {size} rows and columns")
        return [[self._number(value, name) for value in row] for row in rows]

    def _list(self, name: str) -> Sequence[Any]:
        value = self._values[name]
        if not isinstance(value, list):
            raise self._damaged(name, "a list")
        return value

    def _number(self, value: Any, name: str) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise self._damaged(name, "a number")
        return float(value)

    def _named(self, name: str) -> str:
        return f"{self._place}.{name}".lstrip(".")

    def _damaged(self, name: str, kind: str) -> CheckpointError:
        return CheckpointError(f"{self._file} is damaged: {self._named(name)} is not {kind}", "Run it again.")
