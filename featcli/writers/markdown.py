"""Markdown from text that is not: names of classes and folders, which are shown as they are and do nothing."""

from __future__ import annotations

import re
from collections.abc import Sequence

from featcli.text import clipped, printable

_ACTIVE = re.compile(r"([\\`*_{}\[\]<>#.!|~&$@-])")
_WIDEST = 60  # columns of a name


def plain(text: str) -> str:
    r"""Text on one line in which no character has a meaning: markup, HTML, tables and links are shown, not made.

    Hyphens, dots and underscores within words need no backslash, which would only make the source harder to read.
    """
    escaped = _ACTIVE.sub(r"\\\1", printable(text))
    return re.sub(r"(?<=[A-Za-z0-9])\\([._-])(?=[A-Za-z0-9])", r"\1", escaped)


def named(name: str) -> str:
    """The name of a class, shortened in its middle where it is long."""
    return plain(clipped(name, _WIDEST))


def table(heading: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """A table whose cells are Markdown: the first column to the left, the others to the right."""
    if not rows:
        return []
    bars = ["---", *["---:"] * (len(heading) - 1)]
    return [f"| {' | '.join(cells)} |" for cells in (heading, bars, *rows)]


def facts(rows: Sequence[tuple[str, str]]) -> list[str]:
    """A table of names and texts."""
    return [f"| {' | '.join(cells)} |" for cells in (("", ""), ("---", "---"), *rows)] if rows else []


def commands(lines: Sequence[str]) -> list[str]:
    """A block of code that nothing in it can end."""
    shown = [printable(line) for line in lines]
    longest = max((len(ticks) for line in shown for ticks in re.findall("`+", line)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}sh", *shown, fence]
