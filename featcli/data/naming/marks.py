"""Marks in a table of suspicious images: the rows that its owner wants left out, however a spreadsheet saved it."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import NamedTuple

from featcli.signatures import utf16_of

PATH, KIND, EXCLUDE = "path", "kind", "exclude"
OF_CLASSES = "classes"  # rows of this kind name two classes, not an image
_YES = {"yes", "y", "x", "true", "1"}
_NO = {"", "no", "n", "false", "0"}
_SEPARATORS = (",", ";", "\t", "|")


class MarkError(ValueError):
    """A row that says neither yes nor no, or that cannot be left out."""


class Mark(NamedTuple):
    """A row that is marked.

    Attributes:
        line: its number in the file.
        paths: its path as written, and as it would be in other encodings.
        cells: all of its cells, by the name of the column.
    """

    line: int
    paths: tuple[str, ...]
    cells: dict[str, str]


def read_marks(data: bytes) -> list[Mark] | None:
    """The rows whose column `exclude` says yes; None where there are no columns `path` and `exclude`: no such table.

    Commas, semicolons, tabs or bars between cells; UTF-8, UTF-16 or Windows' own encoding; columns in any order.

    Raises:
        MarkError: a mark that is neither yes nor no, or the mark of a row that names no image.
    """
    texts = _texts(data)
    separator = _separator(texts[0])
    if separator is None:
        return None
    marks = []
    rows = [list(_rows(text, separator)) for text in texts]
    for line, cells in rows[0]:
        word = cells[EXCLUDE].strip().lower()
        if word in _NO or not cells[PATH].strip():
            continue
        if word not in _YES:
            raise MarkError(f"line {line}: exclude is '{cells[EXCLUDE].strip()}', and neither yes nor no")
        if cells.get(KIND, "").strip() == OF_CLASSES:
            raise MarkError(f"line {line}: a row of kind '{OF_CLASSES}' names no image that could be left out")
        others = [other[PATH] for more in rows[1:] for number, other in more if number == line]
        marks.append(Mark(line, tuple(dict.fromkeys([cells[PATH], *others])), cells))
    return marks


def _texts(data: bytes) -> list[str]:
    """The text; where it is not UTF-8, names on disk need not be either, so it may be two things."""
    encoding = utf16_of(data)
    if encoding is not None:
        return [data.decode(encoding, "replace").removeprefix("\ufeff")]
    data = data.removeprefix(b"\xef\xbb\xbf")
    try:
        return [data.decode()]
    except UnicodeDecodeError:
        return [data.decode("utf-8", "surrogateescape"), data.decode("cp1252", "replace")]


def _separator(text: str) -> str | None:
    lines = [line for line in text.lstrip().split("\n", 2)[:2] if not line.lower().startswith("sep=")]
    for separator in _SEPARATORS if lines else ():
        names = _names(next(csv.reader([lines[0]], delimiter=separator), []))
        if names.count(PATH) == 1 and names.count(EXCLUDE) == 1:
            return separator
    return None


def _names(cells: list[str]) -> list[str]:
    return [cell.strip().lower() for cell in cells]


def _rows(text: str, separator: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Each row by its columns, with the line on which it ends; missing cells are empty."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    header: list[str] = []
    for cells in reader:
        if not header:
            names = _names(cells)
            header = names if PATH in names and EXCLUDE in names else []
        elif cells:
            padded = [*cells, *[""] * len(header)]
            yield reader.line_num, dict(zip(header, padded, strict=False))
