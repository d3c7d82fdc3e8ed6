"""Walking folders of images, in sorted order, with everything that is passed over counted."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from featcli.data.images import EXTENSIONS
from featcli.errors import DatasetError

SPLIT_FOLDERS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}


@dataclass(slots=True)
class Ignored:
    """What a walk passed over, by reason: hidden files and folders, other endings, links already followed."""

    counts: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        return ", ".join(f"{count} {reason}" for reason, count in sorted(self.counts.items()))


def is_image_name(name: str) -> bool:
    """Whether the ending is one of the allow-list, in any case."""
    return os.path.splitext(name)[1].lower() in EXTENSIONS


def subfolders(folder: Path) -> list[str]:
    """Names of the folders directly in `folder`, sorted by code point; hidden ones left out.

    Raises:
        DatasetError: `folder` does not exist, is no folder, or cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))
    except OSError as error:
        raise DatasetError(f"cannot read the folder {folder}: {(error.strerror or str(error)).lower()}") from error


def walk_images(folder: Path | str, ignored: Ignored) -> Iterator[str]:
    """Yields the paths of the images below `folder`: its own files sorted, then its folders sorted, recursively.

    Links to folders are followed, each folder once, so that a loop ends; none leads to a folder that holds this one.
    Anything with the name of an image is
    yielded, readable or not; what it really is shows when it is read.

    Raises:
        DatasetError: a folder cannot be listed.
    """
    above = (os.stat(parent) for parent in Path(os.path.abspath(folder)).parents if parent.is_dir())
    yield from _walk(os.fspath(folder), ignored, {(status.st_dev, status.st_ino) for status in above})


def _walk(folder: str, ignored: Ignored, visited: set[tuple[int, int]]) -> Iterator[str]:
    try:
        status = os.stat(folder)
        with os.scandir(folder) as entries:
            listing = sorted((entry.name, entry.is_dir()) for entry in entries)
    except OSError as error:
        raise DatasetError(f"cannot read the folder {folder}: {(error.strerror or str(error)).lower()}") from error
    if (status.st_dev, status.st_ino) in visited:
        ignored.counts["links to folders seen already"] += 1
        return
    visited.add((status.st_dev, status.st_ino))
    below = []
    for name, is_folder in listing:
        if name.startswith("."):
            ignored.counts["hidden"] += 1
        elif is_folder and not is_image_name(name):
            below.append(name)
        elif is_image_name(name):
            yield os.path.join(folder, name)
        else:
            ignored.counts[f"named *{os.path.splitext(name)[1].lower() or ' without an ending'}"] += 1
    for name in below:
        yield from _walk(os.path.join(folder, name), ignored, visited)
