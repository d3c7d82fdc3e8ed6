"""`issues.csv`: suspicious images, with a column that their owner fills in."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from featcli.analysis.suspects import KINDS, Suspect
from featcli.data.naming.marks import EXCLUDE, Mark, MarkError, read_marks
from featcli.errors import UsageError
from featcli.files import storage_errors, write_text
from featcli.outputs import STDOUT
from featcli.text import csv_text

HEADER = ("path", "kind", "partner", "score", "why", EXCLUDE)
_YES = "yes"


def marks_in(path: Path) -> list[Mark]:
    """The rows that an owner marked in a table of before; none where there is no file.

    Raises:
        UsageError: the file is something else, which is not to be replaced, or its marks cannot be read.
        StorageError: it cannot be read.
    """
    if path.is_dir():
        raise UsageError(f"{path} is a folder", f"Name a file: -o {path / 'issues.csv'}")
    if path == STDOUT or not path.is_file():
        return []
    with storage_errors(path, doing="read"):
        data = path.read_bytes()
    try:
        marks = read_marks(data) if data else []
    except (MarkError, csv.Error) as error:
        raise UsageError(f"{path}: {error}", "In the column exclude, write yes or nothing.") from error
    if marks is None:
        raise UsageError(f"{path} is no table of suspicious images", "Name another file with -o, or move it away.")
    return marks


def write_issues(path: Path, suspects: Sequence[Suspect], marks: Sequence[Mark]) -> None:
    """Writes the table, and hands on the marks of the one before; marked rows that are no longer found stay.

    Args:
        path: of the file.
        suspects: its rows; they are put in the order of `KINDS`, the strongest suspicion first.
        marks: as `marks_in` gave them.
    """
    ordered = in_order(suspects)
    found = {(suspect.path, suspect.kind) for suspect in ordered}
    of_row = {(mark.paths[0], mark.cells.get("kind", "")) for mark in marks}
    homeless = {path for path, kind in of_row if (path, kind) not in found}
    rows: list[tuple[str, ...]] = []
    written = set()
    for suspect in ordered:
        yes = (suspect.path, suspect.kind) in of_row or (suspect.path in homeless and suspect.path not in written)
        written.add(suspect.path)
        cells = (suspect.path, suspect.kind, suspect.partner or "", f"{suspect.score:.4f}", suspect.why)
        rows.append((*cells, _YES if yes else ""))
    for mark in marks:
        if mark.paths[0] not in written:
            written.add(mark.paths[0])
            rows.append((mark.paths[0], *(mark.cells.get(name, "") for name in HEADER[1:-1]), _YES))
    write_text(path, csv_text([HEADER], rows))


def in_order(suspects: Sequence[Suspect]) -> list[Suspect]:
    """By kind, then the strongest first."""
    return sorted(suspects, key=lambda suspect: (KINDS.index(suspect.kind), -suspect.score))
