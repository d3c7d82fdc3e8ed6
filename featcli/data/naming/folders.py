"""Folders of images, walked in sorted order with everything that is skipped counted."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, TypeAlias

from featcli.data.pixels.decoding import EXTENSIONS, UNREAD_ENDINGS
from featcli.errors import DatasetError

# What systems and programs put among the images: archives of macOS, network storage, Windows, ext file systems, Python.
_SYSTEM_FOLDERS = frozenset(
    {
        "__macosx", "network trash folder", "temporary items",
        "@eadir", "@tmp", "@recycle", "@recently-snapshot", "@sharebin", "@__thumb", "#recycle", "#snapshot",
        "$recycle.bin", "recycler", "recycled", "system volume information", "found.000",
        "lost+found", "__pycache__",
    }
)  # fmt: skip


@dataclass(slots=True)
class Ignored:
    """What a walk skipped, by reason: hidden and system folders, other endings, links already followed."""

    counts: Counter[str] = field(default_factory=Counter)

    def passes_over(self, name: str, *, is_folder: bool) -> bool:
        """Whether a file or folder is hidden, or a folder of the system; if so, it is counted."""
        if name.startswith("."):
            self.counts["hidden"] += 1
            return True
        if is_folder and is_system_folder(name):
            self.counts[f"system folders ({name})"] += 1
            return True
        return False

    def count_ending(self, name: str) -> None:
        """Counts a file that is not named like an image, with the next step where there is one."""
        ending = os.path.splitext(name)[1].lower()
        step = f" ({UNREAD_ENDINGS[ending]})" if ending in UNREAD_ENDINGS else ""
        self.counts[f"named *{ending or ' without an ending'}{step}"] += 1

    def __str__(self) -> str:
        return ", ".join(f"{count} {reason}" for reason, count in sorted(self.counts.items()))


def is_image_name(name: str) -> bool:
    """Whether the ending is one of the allow-list, in any case."""
    return os.path.splitext(name)[1].lower() in EXTENSIONS


def is_system_folder(name: str) -> bool:
    """Whether a folder of this name is made by a system or a program, and never holds the user's images."""
    return name.lower() in _SYSTEM_FOLDERS


def subfolders(folder: Path) -> list[str]:
    """Names of the folders directly in `folder`, sorted by code point; hidden ones and the system's left out.

    Raises:
        DatasetError: `folder` does not exist, is no folder, or cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if _is_folder(entry))
    except OSError as error:
        refuse_unreadable(os.fspath(folder), error)
    return [name for name in names if not name.startswith(".") and not is_system_folder(name)]


def refuse_unreadable(folder: str, error: OSError) -> NoReturn:
    """The end of a walk at a folder that cannot be listed.

    Raises:
        DatasetError: always.
    """
    hint = "Make it readable, or leave it out with data.exclude." if isinstance(error, PermissionError) else None
    raise DatasetError(f"cannot read the folder {folder}: {(error.strerror or str(error)).lower()}", hint) from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads back to itself, or to where we may not look
        return False


Unlisted: TypeAlias = Callable[[str, OSError], Iterable[str]]
"""Given a folder that cannot be listed and why, it gives what is yielded in its place, or raises."""


def walk_images(folder: Path | str, ignored: Ignored, unlisted: Unlisted = refuse_unreadable) -> Iterator[str]:
    """Yields the paths of the images below `folder`: its own files sorted, then its folders sorted, recursively.

    Links to folders are followed, each folder once, so that a loop ends; none leads to a folder that holds this one.
    Anything with the name of an image is yielded, readable or not; what it really is shows when it is read.

    Args:
        folder: the folder.
        ignored: counts what is skipped.
        unlisted: what is done about a folder below that cannot be listed.

    Raises:
        DatasetError: a folder cannot be listed, and `unlisted` says no other.
    """
    above = (os.stat(parent) for parent in Path(os.path.abspath(folder)).parents if parent.is_dir())
    yield from _walk(os.fspath(folder), ignored, unlisted, {(status.st_dev, status.st_ino) for status in above})


def _walk(folder: str, ignored: Ignored, unlisted: Unlisted, visited: set[tuple[int, int]]) -> Iterator[str]:
    try:
        status = os.stat(folder)
        with os.scandir(folder) as entries:
            listing = sorted((entry.name, _is_folder(entry)) for entry in entries)
    except OSError as error:
        yield from unlisted(folder, error)
        return
    if (status.st_dev, status.st_ino) in visited:
        ignored.counts["links to folders seen already"] += 1
        return
    visited.add((status.st_dev, status.st_ino))
    below = []
    for name, is_folder in listing:
        if ignored.passes_over(name, is_folder=is_folder):
            continue
        if is_folder and not is_image_name(name):
            below.append(name)
        elif is_image_name(name):
            yield os.path.join(folder, name)
        else:
            ignored.count_ending(name)
    for name in below:
        yield from _walk(os.path.join(folder, name), ignored, unlisted, visited)
