"""A table of images: a CSV or Parquet file with the columns path, label and, as the user likes, split and group."""

from __future__ import annotations

import codecs
import csv
import io
import math
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from featcli.data.naming.listing import SPLIT_NAMES, Keep, ListedImage, Listing
from featcli.data.naming.source import DataOptionError, shown_path
from featcli.data.readers.files import read_file
from featcli.data.readers.reader import UnreadableImage
from featcli.errors import ConfigError
from featcli.events import Emit, Note
from featcli.extras import import_pyarrow
from featcli.text import did_you_mean

NEEDED = ("path", "label")
COLUMNS = (*NEEDED, "split", "group")
_SHOWN = 20  # problems of one file
_SPLITS_IN_WORDS = "the splits are train (or training), val (valid, validation, dev) and test (testing, evaluation)"


class Manifest(NamedTuple):
    """What a manifest says.

    Attributes:
        entries: one for each path, in the order of the file.
        has_groups: whether it has a column `group`.
    """

    entries: list[ListedImage]
    has_groups: bool


def read_manifest(file: Path, emit: Emit) -> Manifest:
    """Reads a table of images; a path is relative to the table's folder.

    A path that is there twice counts once, if both lines say the same.

    Args:
        file: CSV in UTF-8 with a header; Parquet, where the name ends so.
        emit: hears which columns and lines are not used.

    Raises:
        DataOptionError: there is no such file.
        ConfigError: what is wrong with its lines, at once: `labels.csv:7: ...`, the first 20.
        EnvironmentFault: Parquet without pyarrow.
    """
    problems = _Problems(shown_path(file))
    table = _parquet_table(file, problems) if file.suffix.lower() == ".parquet" else _csv_table(file, problems)
    has_splits = any(row.split.strip() for row in table.rows)
    entries = [_entry(row, file.parent, has_splits, problems) for row in table.rows]
    kept, repeats = _once_each([entry for entry in entries if entry is not None], problems)
    problems.raise_any()
    if not kept:
        raise ConfigError([f"{problems.name}: no images: there is a header, but no line below it"])
    _say_what_is_not_used(table, kept, repeats, problems.name, emit)
    return Manifest(kept, "group" in table.columns)


def list_manifest(manifest: Manifest, file: Path, keep: Keep) -> Listing:
    """The images of a manifest and their classes, those of train.

    Args:
        manifest: as it was read.
        file: for messages.
        keep: leaves out what is excluded.

    Raises:
        DataOptionError: nothing to train on, or fewer than two classes.
        ConfigError: classes of val or test that train does not have, each with its first line.
    """
    entries = keep(manifest.entries)
    classes = sorted({entry.label for entry in entries if entry.split == "train"})
    name = shown_path(file)
    if not classes:
        raise DataOptionError("manifest", f"{name} has no images to train on", "Give some lines the split train.")
    if len(classes) == 1:
        raise DataOptionError(
            "manifest", f"{name} holds one class, '{classes[0]}'; a classifier needs at least two to train on"
        )
    _reject_untrained(entries, classes, name)
    splits = frozenset(entry.split for entry in manifest.entries)
    return Listing(tuple(classes), tuple(entries), splits, len(manifest.entries) - len(entries))


class _Row(NamedTuple):
    """The cells of one line; columns that are not there are empty."""

    line: int
    path: str
    label: str
    split: str
    group: str


@dataclass(frozen=True, slots=True)
class _Table:
    columns: Sequence[str]
    rows: Sequence[_Row]


@dataclass(slots=True)
class _Problems:
    """What is wrong with a file, by line; raised together."""

    name: str
    found: list[tuple[int, str]] = field(default_factory=list)

    def add(self, line: int, text: str) -> None:
        self.found.append((line, text))

    def fail(self, line: int, text: str) -> NoReturn:
        self.add(line, text)
        self.raise_any()
        raise AssertionError("there is a problem to raise")

    def raise_any(self) -> None:
        if not self.found:
            return
        lines = [f"{self.name}:{line}: {text}" for line, text in sorted(self.found, key=itemgetter(0))]
        more = [f"{self.name}: and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else []
        raise ConfigError(lines[:_SHOWN] + more)


def _csv_table(file: Path, problems: _Problems) -> _Table:
    text = _text(file, problems)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    lines = _csv_lines(reader, problems)
    line, header = next(lines, (1, []))
    columns = [name.strip() for name in header]
    problems.raise_any()
    _check_columns(columns, line, problems)
    cell_of = {name: columns.index(name) for name in COLUMNS if name in columns}
    rows = []
    for line, cells in lines:
        if len(cells) != len(columns):
            problems.add(line, f"{len(cells)} cells, where the header has {len(columns)}")
        else:
            rows.append(_Row(line, *(cells[cell_of[name]] if name in cell_of else "" for name in COLUMNS)))
    return _Table(columns, rows)


def _csv_lines(reader: Any, problems: _Problems) -> Iterator[tuple[int, list[str]]]:
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


def _text(file: Path, problems: _Problems) -> str:
    data = _bytes(file)
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        problems.fail(1, "UTF-16, not UTF-8; save it as UTF-8")
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
            near = did_you_mean(file.name, _names_in(file.parent), most=1)
            raise DataOptionError("manifest", f"no such file: {file}{near}") from error
        raise DataOptionError("manifest", f"{file} cannot be read: {error}") from error


def _names_in(folder: Path) -> list[str]:
    try:
        return sorted(os.listdir(folder))
    except OSError:
        return []


def _parquet_table(file: Path, problems: _Problems) -> _Table:
    """Lines are counted as in a CSV file: the header is line 1, so that the first image is on line 2."""
    pyarrow, parquet = import_pyarrow()
    data = io.BytesIO(_bytes(file))
    try:
        table = parquet.ParquetFile(data)
        columns = list(table.schema_arrow.names)
        _check_columns(columns, 1, problems)
        cells = table.read(columns=[name for name in COLUMNS if name in columns]).to_pydict()
    except (pyarrow.ArrowException, OSError) as error:
        raise DataOptionError("manifest", f"{file} is not a Parquet file that can be read: {error}") from error
    count = len(cells["path"])
    texts = (map(_cell_text, cells[name]) if name in cells else [""] * count for name in COLUMNS)
    return _Table(columns, [_Row(line, *row) for line, row in enumerate(zip(*texts, strict=True), 2)])


def _cell_text(value: object) -> str:
    """A label may be a number in Parquet; what is missing is empty there."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    return str(value)


def _check_columns(columns: Sequence[str], line: int, problems: _Problems) -> None:
    for separator, word in ((";", "semicolons"), ("\t", "tabs")):
        if len(columns) == 1 and separator in columns[0]:
            problems.fail(line, f"cells are separated by {word}, where commas are expected")
    for name in COLUMNS:
        if columns.count(name) > 1:
            problems.add(line, f"column '{name}' is there {columns.count(name)} times")
    for name in NEEDED:
        if name not in columns:
            problems.add(line, f"no column '{name}'{_instead(name, columns)}")
    problems.raise_any()


def _instead(name: str, columns: Sequence[str]) -> str:
    others = [column for column in columns if column not in COLUMNS]
    there = ", ".join(f"'{column}'" for column in columns[:10] if column)
    return did_you_mean(name, others, most=1) or f"; there are {there or 'none'}"


def _entry(row: _Row, folder: Path, has_splits: bool, problems: _Problems) -> ListedImage | None:
    path, label, split = row.path, row.label.strip(), row.split.strip()
    said = []
    if not path.strip():
        said.append("the path is empty")
    if "\0" in path:
        said.append("the path holds a NUL")
    if not label:
        said.append("the label is empty")
    if has_splits and not split:
        said.append("the split is empty, while other lines have one; give it to all lines or to none")
    elif has_splits and split.lower() not in SPLIT_NAMES:
        said.append(f"unknown split '{split}'{did_you_mean(split.lower(), SPLIT_NAMES, most=1)}; {_SPLITS_IN_WORDS}")
    for text in said:
        problems.add(row.line, text)
    if said:
        return None
    own = SPLIT_NAMES[split.lower()] if has_splits else "train"
    return ListedImage(os.fspath(folder / path), label, own, row.group.strip() or None, row.line)


def _once_each(
    entries: Iterable[ListedImage], problems: _Problems
) -> tuple[list[ListedImage], list[tuple[ListedImage, ListedImage]]]:
    """Each path once; and the lines that repeat an earlier one, beside it."""
    first: dict[str, ListedImage] = {}
    repeats = []
    for entry in entries:
        earlier = first.setdefault(entry.path, entry)
        if earlier is entry:
            continue
        differing = [name for name in ("label", "split", "group") if getattr(entry, name) != getattr(earlier, name)]
        for name in differing:
            here, there = getattr(entry, name) or "none", getattr(earlier, name) or "none"
            what = f"{entry.path} has the {name} '{here}' here and '{there}' on line {earlier.line}"
            problems.add(entry.line, f"{what}; keep one of the lines")
        if not differing:
            repeats.append((earlier, entry))
    return list(first.values()), repeats


def _reject_untrained(entries: Iterable[ListedImage], classes: Sequence[str], name: str) -> None:
    known = set(classes)
    problems = _Problems(name)
    for entry in entries:
        if entry.label not in known:
            known.add(entry.label)  # once for each class
            near = did_you_mean(entry.label, classes, most=1)
            problems.add(entry.line, f"class '{entry.label}' of {entry.split} is not in train{near}")
    problems.raise_any()


def _say_what_is_not_used(
    table: _Table,
    entries: Sequence[ListedImage],
    repeats: Sequence[tuple[ListedImage, ListedImage]],
    name: str,
    emit: Emit,
) -> None:
    others = [f"'{column}'" for column in table.columns if column not in COLUMNS]
    if others:
        more = f" and {len(others) - 10} more" if len(others) > 10 else ""
        emit(Note(f"{name}: columns that are not used: {', '.join(others[:10])}{more}"))
    if repeats:
        earlier, entry = repeats[0]
        emit(
            Note(
                f"{name}: lines that repeat an earlier one and are left out ({len(repeats)}); "
                f"the first: line {entry.line} repeats line {earlier.line}"
            )
        )
    alone = sum(entry.group is None for entry in entries)
    if "group" in table.columns and alone:
        emit(Note(f"{name}: {alone} of {len(entries)} images have no group; each counts by itself"))
