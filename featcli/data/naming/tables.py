"""Tables with named columns, as text: CSV and Parquet, with all that is wrong with their lines."""

from __future__ import annotations

import csv
import io
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from featcli.data.naming.finding import names_in
from featcli.data.naming.folders import is_image_name
from featcli.data.naming.source import DataOptionError
from featcli.data.readers.files import read_file
from featcli.data.readers.reader import UnreadableImage
from featcli.errors import ConfigError
from featcli.extras import import_pyarrow
from featcli.signatures import HEAD_BYTES, recognise, utf16_of
from featcli.text import did_you_mean, meant

NEEDED = ("path", "label")
COLUMNS = (*NEEDED, "split", "group", "sha256")
# Other names of columns, without blanks, case, - and _. Ids are none: they name no file.
_OTHER_NAMES = {
    "path": {
        "file", "filename", "filepath", "image", "imagefile", "imagefilename", "imagename", "imagepath", "img",
        "imgname", "imgpath",
    },
    "label": {"category", "categoryname", "class", "classlabel", "classname", "labelname", "labels", "target"},
}  # fmt: skip
_IDS = {"id", "imageid", "imgid", "fileid", "index", "uuid"}
_SEPARATORS = {",": "", ";": "semicolons", "\t": "tabs", "|": "vertical bars"}
_SHOWN = 20  # problems of one file
_SAVE = "Save it as CSV: the line path,label, then a line for each image."


class Row(NamedTuple):
    """The cells of one line; columns that are not there are empty."""

    line: int
    path: str
    label: str
    split: str
    group: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Table:
    """What a file says.

    Attributes:
        columns: all names of columns.
        taken: of `COLUMNS`, those that there are, with the name that each has in the file.
        rows: the lines that are not empty.
        empty: how many lines held cells and nothing in them.
        separated: what lies between the cells, in words; empty for commas.
    """

    columns: Sequence[str]
    taken: Mapping[str, str]
    rows: Sequence[Row]
    empty: int
    separated: str = ""


@dataclass(slots=True)
class Problems:
    """What is wrong with a file, by line; raised together."""

    name: str
    found: list[tuple[int, str]] = field(default_factory=list)

    def add(self, line: int, text: str) -> None:
        """Keeps what is wrong with a line."""
        self.found.append((line, text))

    def fail(self, line: int, text: str) -> NoReturn:
        """Raises what is wrong with a line, and all before it."""
        self.add(line, text)
        self.raise_any()
        raise AssertionError("there is a problem to raise")

    def raise_any(self) -> None:
        """Raises all that is wrong, if anything is.

        Raises:
            ConfigError: the first 20 lines, and how many more there are.
        """
        if not self.found:
            return
        lines = [f"{self.name}:{line}: {text}" for line, text in sorted(self.found, key=itemgetter(0))]
        more = [f"{self.name}: and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
        raise ConfigError(lines[:_SHOWN] + more)


def read_table(file: Path, problems: Problems) -> Table:
    """Reads a table: Parquet, or text in cells; the content decides which, not the ending.

    Raises:
        DataOptionError: there is no such file, or it is something else, which is named.
        ConfigError: it has not the columns, or a line is no such line.
        EnvironmentFault: Parquet without pyarrow.
    """
    data = _bytes(file)
    if data.startswith(b"PAR1"):
        return _parquet_table(file, data, problems)
    kind = recognise(data[:HEAD_BYTES])
    if kind is not None and kind.words != "a text file" and utf16_of(data) is None:
        step = f"{kind.step[0].upper()}{kind.step[1:]}." if kind.words == "a Git LFS pointer" else _SAVE
        raise DataOptionError("manifest", f"{file} is {kind.words}, not a CSV or Parquet table", step)
    return _csv_table(data, problems)


def _csv_table(data: bytes, problems: Problems) -> Table:
    """Reads CSV in UTF-8 or UTF-16, whose cells commas separate, semicolons, tabs or vertical bars.

    Blanks after a separator are left out, as are cells without text beyond the header.
    """
    text = _text(data, problems)
    separator = _separator(text)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True, skipinitialspace=True)
    lines = _csv_lines(reader, problems)
    line, header = next(lines, (1, []))
    if re.fullmatch("sep=.?", "".join(header).strip()):  # Excel's own line, which says the separator
        line, header = next(lines, (1, []))
    columns = [name.strip() for name in header]
    problems.raise_any()
    taken = _taken(columns, line, problems)
    cell_of = {name: columns.index(own) for name, own in taken.items()}
    rows = []
    empty = 0
    for line, cells in lines:
        if not any(map(str.strip, cells)):
            empty += 1
        elif len(cells) < len(columns) or any(map(str.strip, cells[len(columns) :])):
            problems.add(line, f"{len(cells)} cells, where the header has {len(columns)}")
        else:
            rows.append(Row(line, *(cells[cell_of[name]] if name in cell_of else "" for name in COLUMNS)))
    return Table(columns, taken, rows, empty, _SEPARATORS[separator])


def _separator(text: str) -> str:
    """What separates the cells: that by which the header has the most of the columns that are needed."""
    lines = (line for line in text.lstrip().splitlines() if not line.lower().startswith("sep="))
    header = next(lines, "")

    def likeness(separator: str) -> tuple[int, bool]:
        columns = [name.strip(' "') for name in header.split(separator)]
        return sum(bool(_fitting(name, columns)) for name in NEEDED), separator in header

    return max(_SEPARATORS, key=likeness)


def _csv_lines(reader: Any, problems: Problems) -> Iterator[tuple[int, list[str]]]:
    """Lines that are not blank, each with its number; a cell in quotes may run over several, the first counts."""
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            problems.add(line, f"not valid CSV: {error}")
            return
        if cells:
            yield line, cells


def _text(data: bytes, problems: Problems) -> str:
    encoding = utf16_of(data)
    if encoding is not None:  # as Excel writes "Unicode text", and PowerShell any
        return data.decode(encoding, "replace").removeprefix("\ufeff")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        problems.fail(line, f"not UTF-8 text (byte 0x{data[error.start]:02x}); save it as UTF-8")


def _bytes(file: Path) -> bytes:
    try:
        return read_file(os.fspath(file))
    except UnreadableImage as error:
        if not os.path.lexists(file):
            near = did_you_mean(file.name, names_in(os.fspath(file.parent)), most=1)
            raise DataOptionError("manifest", f"no such file: {file}{near}") from error
        raise DataOptionError("manifest", f"{file} cannot be read: {error}") from error


def _parquet_table(file: Path, data: bytes, problems: Problems) -> Table:
    """Reads a Parquet file. Lines are counted as in a CSV file: the first image is on line 2, below the header."""
    pyarrow, parquet = import_pyarrow()
    try:
        table = parquet.ParquetFile(io.BytesIO(data))
        schema = table.schema_arrow
        columns = list(schema.names)
        taken = _taken(columns, 1, problems)
        for own in taken.values():
            kind = schema.field(own).type
            if pyarrow.types.is_nested(kind):
                problems.add(1, f"column '{own}' holds {kind}, where text is expected{_IMAGES_WITHIN}")
        problems.raise_any()
        cells = table.read(columns=list(taken.values())).to_pydict()
        for own in taken.values():
            if any(isinstance(cell, bytes) and b"\0" in cell for cell in cells[own]):
                problems.fail(1, f"column '{own}' holds bytes, where text is expected{_IMAGES_WITHIN}")
    except (pyarrow.ArrowException, OSError) as error:
        raise DataOptionError("manifest", f"{file} is not a Parquet file that can be read: {error}") from error
    count = len(cells[taken["path"]])
    texts = (_cell_texts(cells[taken[name]]) if name in taken else [""] * count for name in COLUMNS)
    rows = [Row(line, *row) for line, row in enumerate(zip(*texts, strict=True), 2)]
    kept = [row for row in rows if any(map(str.strip, row[1:]))]
    return Table(columns, taken, kept, len(rows) - len(kept))


_IMAGES_WITHIN = "; images within a table are not read: write them to files, and their paths into the table"


def _cell_texts(values: Sequence[Any]) -> list[str]:
    """The cells of a column as text; what is missing is empty. Floats that are all whole are read as integers.

    Pandas turns integers into floats where one is missing.
    """
    there = [None if value is None or value != value else value for value in values]  # NaN is not itself
    numbers = [value for value in there if isinstance(value, float | Decimal)]
    whole = all(value % 1 == 0 for value in numbers)
    return ["" if value is None else _cell_text(value, whole=whole) for value in there]


def _cell_text(value: Any, *, whole: bool) -> str:
    if isinstance(value, bytes):  # as Spark, Hive and Impala write text
        return value.decode("utf-8", "surrogateescape")
    return str(int(value)) if whole and isinstance(value, float | Decimal) else str(value)


def _taken(columns: Sequence[str], line: int, problems: Problems) -> dict[str, str]:
    """Which column of the file is which of `COLUMNS`, by its name, in another case, or by another name."""
    named = next((name for name in columns if is_image_name(name)), None)
    if named is not None and not set(columns) & set(COLUMNS):
        problems.fail(line, f"no header: '{named}' names an image; begin the file with the line path,label")
    taken = {}
    for name in COLUMNS:
        if columns.count(name) > 1:
            problems.add(line, f"column '{name}' is there {columns.count(name)} times")
        fitting = _fitting(name, columns)
        if len(fitting) == 1:
            taken[name] = fitting[0]
        elif name in NEEDED:
            problems.add(line, f"no column '{name}'{meant(fitting) or _instead(name, columns)}")
    problems.raise_any()
    return taken


def _fitting(name: str, columns: Sequence[str]) -> list[str]:
    """The columns that may be the one of this name: exactly, else in another case, else by another name."""
    if name in columns:
        return [name]
    plain = {column: _plain(column) for column in columns if column not in COLUMNS}
    same = [column for column, word in plain.items() if word == name]
    return same or [column for column, word in plain.items() if word in _OTHER_NAMES.get(name, ())]


def _plain(column: str) -> str:
    return re.sub(r"[\W_]+", "", column).lower()


def _instead(name: str, columns: Sequence[str]) -> str:
    others = [column for column in columns if column not in COLUMNS]
    there = ", ".join(f"'{column}'" for column in columns[:10] if column)
    ids = next((column for column in others if _plain(column) in _IDS), None) if name == "path" else None
    step = f". '{ids}' may be a part of each file's name: make it a column path, as in train/ID.jpg" if ids else ""
    return did_you_mean(name, others, most=1) or f"; there are {there or 'none'}{step}"
