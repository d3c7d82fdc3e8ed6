"""Text in the columns of a terminal: lines that break between words, and tables that align and fit.

A width of None is no terminal: nothing is broken or shortened there, for whatever reads the lines.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from featcli.text import clipped, columns

_NARROWEST = 8  # columns of a cell that is shortened
_FEWEST = 16  # columns of text beside a hanging indent
_COMMAND = re.compile(r"featcli [a-z]")
_QUOTED = re.compile(r"(?:[^\s'\"]|'[^']*'|\"[^\"]*\"|['\"])+")  # what is quoted stays whole
_HANG = re.compile(r"\s*\S+(?: \S+)*  +(?=\S)")  # up to the second column of `name   text`


def laid_out(text: str, width: int | None) -> str:
    """Lines as they are, but for those that are longer than a terminal is wide, which go on below themselves.

    A line `name  text` goes on below its text.
    """
    if width is None:
        return text
    return "\n".join(part for line in text.split("\n") for part in wrapped(line, width))


def lines_of(lines: Sequence[str]) -> Callable[[int | None], str]:
    """Lines as a layout: from the columns of a terminal, or None, to text."""
    return lambda width: laid_out("\n".join(lines), width)


def wrapped(line: str, width: int, hang: int | None = None) -> list[str]:
    """A line in parts of so many columns, broken between words; a longer word (a path) is on its own, whole.

    A command goes on after a backslash, so that what is copied runs.

    Args:
        line: without line feeds.
        width: columns.
        hang: indentation of what follows; by default below the second column, else two more than the first line's.
    """
    if columns(line) <= width:
        return [line]
    found, start = _HANG.match(line), len(line) - len(line.lstrip())
    if found is None or hang not in (None, columns(found[0])):
        lead = line[:start]
        hang = start + 2 if hang is None else hang
    else:
        lead = found[0]
        hang = columns(lead)
    if width - hang < _FEWEST:
        hang = min(2, width // 4)
    words = _words(line[len(lead) :])
    end = " \\" if _COMMAND.match(line, len(lead)) else ""
    below = " " * hang + ("  " if end else "")
    lines, current = [], lead
    for number, word in enumerate(words):
        last = "" if number == len(words) - 1 else end
        if number == 0:
            current += word
        elif columns(f"{current} {word}{last}") <= width:
            current += f" {word}"
        else:
            lines.append(current + end)
            current = below + word
    return [*lines, current]


def _words(text: str) -> list[str]:
    """What is not broken: words, and in a command a flag with its value."""
    if not _COMMAND.match(text):
        return text.split()
    parts: list[str] = []
    for word in _QUOTED.findall(text):
        if parts and parts[-1].startswith("-") and " " not in parts[-1] and not word.startswith("-"):
            parts[-1] += f" {word}"
        else:
            parts.append(word)
    return parts


def table(
    rows: Sequence[Sequence[str]], *, right: Sequence[bool], width: int | None, gap: int = 2, shrink: Sequence[int] = ()
) -> list[str]:
    """Rows in columns that align, the first row being the heading; trailing space is left out.

    Args:
        rows: their cells, printable.
        right: which columns are numbers, aligned to the right.
        width: of the terminal; None for as wide as the cells are.
        gap: columns between two.
        shrink: which columns are shortened, in their middle, where the table is too wide; the first of them first.
    """
    widths = column_widths(rows, width=width, gap=gap, shrink=shrink)
    return [table_row(row, widths, right, gap=gap) for row in rows]


def column_widths(
    rows: Sequence[Sequence[str]], *, width: int | None, gap: int = 2, shrink: Sequence[int] = ()
) -> list[int]:
    """As wide as their widest cell; `shrink` gives way where the sum is wider than a terminal."""
    widths = [max(map(columns, column)) for column in zip(*rows, strict=True)]
    over = 0 if width is None else sum(widths) + gap * (len(widths) - 1) - width
    for index in shrink:
        taken = max(0, min(over, widths[index] - max(_NARROWEST, columns(rows[0][index]))))
        widths[index] -= taken
        over -= taken
    return widths


def table_row(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool], *, gap: int = 2) -> str:
    """One row; a cell that is too wide is shortened in its middle."""
    padded = (
        pad(clipped(cell, width), -width if number else width)
        for cell, width, number in zip(cells, widths, right, strict=True)
    )
    return (" " * gap).join(padded).rstrip()


def pad(text: str, width: int) -> str:
    """To so many columns, on the right; on the left for a negative width."""
    space = " " * (abs(width) - columns(text))
    return text + space if width >= 0 else space + text
