"""A table of images: a CSV or Parquet file with the columns path, label and, as the user likes, split and group."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from featcli.data.naming.finding import Finder, beside_manifest, is_foreign, names_in, near_file
from featcli.data.naming.listing import SPLIT_NAMES, Keep, ListedImage, Listing
from featcli.data.naming.source import DataOptionError, relative_name, shown_path
from featcli.data.naming.tables import Problems, Row, Table, read_table
from featcli.errors import ConfigError
from featcli.events import Emit, Note, Warn
from featcli.text import clipped, did_you_mean, nfc

_SPLITS_IN_WORDS = "the splits are train (or training), val (valid, validation, dev) and test (testing, evaluation)"
_BLANKS = "blanks around a path that are left out"
_BACKSLASHES = "backslashes in a path that are taken for slashes"


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
        file: CSV with a header, or Parquet.
        emit: hears which columns and lines are not used.

    Raises:
        DataOptionError: there is no such file, or it is no table.
        ConfigError: what is wrong with its lines, at once: `labels.csv:7: ...`, the first 20.
        EnvironmentFault: Parquet without pyarrow.
    """
    problems = Problems(shown_path(file))
    table = read_table(file, problems)
    has_splits = any(row.split.strip() for row in table.rows)
    paths = _Paths(file.parent)
    entries = [_entry(row, paths, has_splits, problems) for row in table.rows]
    kept, repeats = _once_each([entry for entry in entries if entry is not None], problems)
    problems.raise_any()
    if not kept:
        raise ConfigError([f"{problems.name}: no images: there is a header, but no line below it"])
    _say_what_is_taken(table, paths, problems.name, emit)
    _say_what_is_not_used(table, kept, repeats, problems.name, emit)
    return Manifest(kept, "group" in table.taken)


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


def describe_missing(missing: Sequence[ListedImage], count: int, file: Path, emit: Emit) -> None:
    """Says which paths of a manifest name no file, and what may have been meant.

    Args:
        missing: images that could not be read, of which some are not there.
        count: of all images.
        file: the manifest.
        emit: hears it.
    """
    gone = [entry for entry in missing if not os.path.lexists(entry.path)]
    if not gone:
        return
    first, folder = gone[0], file.parent
    written = relative_name(first.path, folder)
    near = near_file(written, os.fspath(folder)) or beside_manifest(written, folder)
    if near is not None:
        near = f"; did you mean '{relative_name(near, folder)}'?"
    elif re.match("[a-z0-9]+://", written):
        near = ": a URL: fetch the images, and write where they lie"
    elif "\\" in written:
        near = ": a path of Windows? Write it with slashes, as seen from the manifest's folder"
    elif is_foreign(written):
        near = ": a path of another machine? Write it as seen from the manifest's folder"
    else:
        near = did_you_mean(os.path.basename(written), names_in(os.path.dirname(first.path)), most=1)
    many = f"{len(gone)} of {count} paths name no file" if len(gone) > 1 else f"of {count} paths one names no file"
    emit(Warn(f"{shown_path(file)}: {many}; line {first.line}: '{written}'{near or f', seen from {folder}'}"))


def describe_absent(entries: Sequence[ListedImage], digests: Sequence[bytes | None], file: Path, emit: Emit) -> None:
    """Says of how many images there is a hash alone, and of how many the file is not the one whose hash is there.

    Args:
        entries: N images of a manifest.
        digests: (N,) by which they are known.
        file: the manifest.
        emit: hears it.
    """
    told = [(entry, digest) for entry, digest in zip(entries, digests, strict=True) if entry.sha256 is not None]
    absent = sum(not os.path.lexists(entry.path) for entry, _ in told)
    if absent:
        emit(Note(f"{shown_path(file)}: {absent} of {len(entries)} images are not here, and are known by their sha256"))
    other = [entry for entry, digest in told if digest is not None and digest != entry.sha256]
    if other:
        first, what = other[0], f"{len(other)} files are" if len(other) > 1 else "one file is"
        emit(Warn(f"{shown_path(file)}: {what} not of the sha256 that is there, and used all the same: {first.path}"))


class _Paths:
    """From paths as they are written to those of files, relative to the manifest's folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._finder = Finder()
        self.changed: Counter[str] = Counter()

    def find(self, written: str) -> str:
        """The file: as written if it is there, else without blanks around, else with slashes for backslashes."""
        bare = written.strip()
        # Path makes one slash of two.
        whole = os.path.join(self._folder, written) if "://" in written else os.fspath(self._folder / written)
        if written.isascii() and written == bare and "\\" not in written:
            return whole
        for spelling, why in ((written, ""), (bare, _BLANKS), (bare.replace("\\", "/"), _BACKSLASHES)):
            path = self._finder.find(os.fspath(self._folder / spelling))
            if os.path.lexists(path):
                self.changed[why] += 1
                return path
        return whole


def _entry(row: Row, paths: _Paths, has_splits: bool, problems: Problems) -> ListedImage | None:
    path, label, split = row.path, nfc(row.label.strip()), row.split.strip()
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
    sha256 = row.sha256.strip()
    if sha256 and not re.fullmatch("[0-9a-fA-F]{64}", sha256):
        said.append(f"the sha256 '{clipped(sha256, 20)}' is not 64 hexadecimal digits")
    for text in said:
        problems.add(row.line, text)
    if said:
        return None
    own = SPLIT_NAMES[split.lower()] if has_splits else "train"
    group, digest = nfc(row.group.strip()) or None, bytes.fromhex(sha256) or None
    return ListedImage(paths.find(path), label, own, group, row.line, digest)


def _once_each(
    entries: Iterable[ListedImage], problems: Problems
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
    problems = Problems(name)
    for entry in entries:
        if entry.label not in known:
            known.add(entry.label)  # once for each class
            near = did_you_mean(entry.label, classes, most=1)
            problems.add(entry.line, f"class '{entry.label}' of {entry.split} is not in train{near}")
    problems.raise_any()


def _say_what_is_taken(table: Table, paths: _Paths, name: str, emit: Emit) -> None:
    others = [f"'{own}' is {column}" for column, own in table.taken.items() if own != column]
    if others:
        emit(Note(f"{name}: columns that are taken by another name: {', '.join(others)}"))
    if table.separated:
        emit(Note(f"{name}: cells are separated by {table.separated}"))
    if table.empty:
        emit(Note(f"{name}: empty lines that are left out: {table.empty}"))
    for why in (_BLANKS, _BACKSLASHES):
        if paths.changed[why]:
            emit(Note(f"{name}: {why}: {paths.changed[why]}"))


def _say_what_is_not_used(
    table: Table,
    entries: Sequence[ListedImage],
    repeats: Sequence[tuple[ListedImage, ListedImage]],
    name: str,
    emit: Emit,
) -> None:
    unused = [column for column in table.columns if column not in table.taken.values()]
    others = list(dict.fromkeys(f"'{column}'" if column else "one without a name" for column in unused))
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
    if "group" in table.taken and alone:
        emit(Note(f"{name}: {alone} of {len(entries)} images have no group; each counts by itself"))
