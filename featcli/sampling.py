"""Some of many, spread evenly."""

from __future__ import annotations

from collections.abc import Sequence


def evenly(count: int, most: int) -> Sequence[int]:
    """Places 0 ... count - 1, or at most so many of them at equal distances, ascending."""
    return range(count) if count <= most else [index * count // most for index in range(most)]
