"""Paths that the user leaves out of a data set, listed in a text file."""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from featcli.data.naming.listing import ListedImage
from featcli.data.naming.marks import MarkError, read_marks
from featcli.data.naming.source import DataOptionError, relative_name, shown_path
from featcli.data.readers.files import read_file
from featcli.data.readers.reader import UnreadableImage
from featcli.events import Emit, Note, Warn
from featcli.signatures import utf16_of
from featcli.text import nfc


@dataclass(slots=True)
class Exclusions:
    """The lines of a file of exclusions, and which of them have matched something.

    Attributes:
        base: the folder that names are relative to.
        file: the list; None where nothing is left out.
        names: files and folders, as `relative_name` gives them and in NFC, each with its line as it was written.
        patterns: expressions for the lines with a `*`.
        matched: the lines that left out at least one image or folder.
        is_utf16: whether the file was read as UTF-16.
    """

    base: Path
    file: Path | None = None
    names: dict[str, str] = field(default_factory=dict)
    patterns: dict[re.Pattern[str], str] = field(default_factory=dict)
    matched: set[str] = field(default_factory=set)
    is_utf16: bool = False

    def covers(self, path: str) -> bool:
        """Whether an image or folder is left out: it, or a folder above it, is on the list.

        Every line that covers it counts as matched: a folder and a file in it may both be listed.
        """
        if not self.names and not self.patterns:
            return False
        name = nfc(relative_name(path, self.base))
        lines = [self.names[part] for part in _with_folders(name) if part in self.names]
        lines += [line for pattern, line in self.patterns.items() if pattern.fullmatch(name)]
        self.matched.update(lines)
        return bool(lines)

    def unmatched(self) -> list[str]:
        """The lines that left out nothing, in their order."""
        lines = dict.fromkeys([*self.names.values(), *self.patterns.values()])
        return [line for line in lines if line not in self.matched]

    def keep(self, entries: Iterable[ListedImage], emit: Emit) -> list[ListedImage]:
        """The images that are not left out; how many are, and lines without use, are said."""
        found = list(entries)
        if self.file is None:
            return found
        kept = [entry for entry in found if not self.covers(entry.path)]
        name = shown_path(self.file) + (", read as UTF-16" if self.is_utf16 else "")
        emit(Note(f"left out by {name}: {len(found) - len(kept)} of {len(found)} images"))
        unmatched = self.unmatched()
        if unmatched:
            listed = ", ".join(f"'{line}'" for line in unmatched[:3]) + (", ..." if len(unmatched) > 3 else "")
            emit(Warn(f"{name}: lines that match no image ({len(unmatched)}): {listed}"))
        return kept


def read_exclusions(file: Path, base: Path) -> Exclusions:
    """Reads a list of paths, one a line; `#` begins a comment line.

    A path is relative to `base`, or absolute. A folder stands for everything below it. `*` stands for any text, `/`
    included; no other character is special, since names of photographs hold brackets and question marks. A line with
    backslashes stands for the same one with slashes too: lists are made on Windows.

    A table with the columns `path` and `exclude`, as `check --deep` writes it, leaves out the rows that say yes.

    Raises:
        DataOptionError: the file cannot be read, or holds NULs, or a mark that is neither yes nor no.
    """
    try:
        data = read_file(os.fspath(file))
    except UnreadableImage as error:
        raise DataOptionError("exclude", f"{file} cannot be read: {error}") from error
    encoding = utf16_of(data)
    if encoding is None and b"\0" in data:
        raise DataOptionError("exclude", f"{file} holds NULs", "Save it as UTF-8, one path a line.")
    found = Exclusions(base, file, is_utf16=encoding is not None)
    try:
        marks = read_marks(data)
    except (MarkError, csv.Error) as error:
        raise DataOptionError("exclude", f"{file}: {error}", "In the column exclude, write yes or nothing.") from error
    if marks is not None:
        for mark in marks:
            for path in mark.paths:
                _leave_out(found, path, mark.paths[0], patterns=False)
        return found
    # Lists made by `find` hold names as they are on disk, which need not be UTF-8.
    text = data.decode(encoding or "utf-8", "replace" if encoding else "surrogateescape").removeprefix("\ufeff")
    for line in filter(None, (line.strip() for line in text.split("\n"))):
        if not line.startswith("#"):
            _leave_out(found, line, line, patterns=True)
    return found


def _leave_out(found: Exclusions, path: str, line: str, *, patterns: bool) -> None:
    """Puts a path on the list, with backslashes and with slashes."""
    for spelling in dict.fromkeys((path, path.replace("\\", "/"))):
        # Path drops "./", "//" and a slash at the end.
        name = relative_name(nfc(os.fspath(Path(spelling))), Path(nfc(os.fspath(found.base))))
        if patterns and "*" in name:
            found.patterns[_pattern(name)] = line
        else:
            found.names[name] = line


def _pattern(name: str) -> re.Pattern[str]:
    anything = ".*".join(map(re.escape, re.split(r"\*+", name)))
    return re.compile(f"{anything}(/.*)?", re.DOTALL)


def _with_folders(name: str) -> Iterator[str]:
    """A path and the folders above it: `a/b/c`, `a/b`, `a`."""
    end = len(name)
    while end > 0:
        yield name[:end]
        end = name.rfind("/", 0, end)
