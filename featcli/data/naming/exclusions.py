"""Paths that the user leaves out of a data set, listed in a text file."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from featcli.data.naming.source import DataOptionError, relative_name
from featcli.data.readers.files import read_file
from featcli.data.readers.reader import UnreadableImage


@dataclass(slots=True)
class Exclusions:
    """The lines of a file of exclusions, and which of them have matched something.

    Attributes:
        names: files and folders, as `relative_name` gives them, each with its line as it was written.
        patterns: expressions for the lines with a `*`.
        matched: the lines that left out at least one image.
    """

    names: dict[str, str] = field(default_factory=dict)
    patterns: dict[str, re.Pattern[str]] = field(default_factory=dict)
    matched: set[str] = field(default_factory=set)

    def covers(self, name: str) -> bool:
        """Whether an image is left out: it, or a folder above it, is on the list.

        Every line that covers it counts as matched: a folder and a file in it may both be listed.
        """
        lines = [self.names[part] for part in _with_folders(name) if part in self.names]
        lines += [line for line, pattern in self.patterns.items() if pattern.fullmatch(name)]
        self.matched.update(lines)
        return bool(lines)

    def unmatched(self) -> list[str]:
        """The lines that left out nothing, in their order."""
        return [line for line in [*self.names.values(), *self.patterns] if line not in self.matched]


def read_exclusions(file: Path, base: Path) -> Exclusions:
    """Reads a list of paths, one a line; `#` begins a comment line.

    A path is relative to `base`, or absolute. A folder stands for everything below it. `*` stands for any text, `/`
    included; no other character is special, since names of photographs hold brackets and question marks.

    Raises:
        DataOptionError: the file cannot be read.
    """
    try:
        # Lists made by `find` hold names as they are on disk, which need not be UTF-8.
        text = read_file(os.fspath(file)).decode("utf-8-sig", "surrogateescape")
    except UnreadableImage as error:
        raise DataOptionError("exclude", f"{file} cannot be read: {error}") from error
    found = Exclusions()
    for line in filter(None, (line.strip() for line in text.split("\n"))):
        if not line.startswith("#"):
            name = relative_name(os.fspath(Path(line)), base)  # Path drops "./", "//" and a slash at the end
            if "*" in name:
                found.patterns[line] = _pattern(name)
            else:
                found.names[name] = line
    return found


def _pattern(name: str) -> re.Pattern[str]:
    anything = ".*".join(map(re.escape, re.split(r"\*+", name)))
    return re.compile(f"{anything}(/.*)?", re.DOTALL)


def _with_folders(name: str) -> Iterator[str]:
    """A path and the folders above it: `a/b/c`, `a/b`, `a`."""
    end = len(name)
    while end > 0:
        yield name[:end]
        end = name.rfind("/", 0, end)
