"""Folders of images: their layouts, and walking them in sorted order with everything that is skipped counted."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from featcli.data.naming.listing import SPLIT_NAMES, Keep, ListedImage, Listing
from featcli.data.naming.source import DataOptionError
from featcli.data.pixels.decoding import EXTENSIONS, UNREAD_ENDINGS
from featcli.errors import DatasetError
from featcli.text import did_you_mean


@dataclass(slots=True)
class Ignored:
    """What a walk skipped, by reason: hidden files and folders, other endings, links already followed."""

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
            return sorted(entry.name for entry in entries if _is_folder(entry) and not entry.name.startswith("."))
    except OSError as error:
        raise DatasetError(f"cannot read the folder {folder}: {(error.strerror or str(error)).lower()}") from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads back to itself, or to where we may not look
        return False


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
            listing = sorted((entry.name, _is_folder(entry)) for entry in entries)
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
            ignored.counts[_ending_words(os.path.splitext(name)[1].lower())] += 1
    for name in below:
        yield from _walk(os.path.join(folder, name), ignored, visited)


def _ending_words(ending: str) -> str:
    """`named *.txt`, with the next step where there is one."""
    step = f" ({UNREAD_ENDINGS[ending]})" if ending in UNREAD_ENDINGS else ""
    return f"named *{ending or ' without an ending'}{step}"


def list_folder(root: Path, ignored: Ignored, keep: Keep) -> Listing:
    """The images of a folder and their classes, in one of two layouts.

    `root/train/<class>/...` with `val` (or valid, validation) and `test` beside it, or `root/<class>/...`. A class of
    which everything is excluded is none.

    Args:
        root: the folder.
        ignored: counts what is skipped.
        keep: leaves out what is excluded.

    Raises:
        DatasetError: no such folder, no classes, a class of a later split that train does not have, everything is
            excluded, ...
    """
    if not root.exists():
        near = did_you_mean(root.name, subfolders(root.parent)) if root.parent.is_dir() else ""
        raise DatasetError(f"no such folder: {root}{near}")
    if not root.is_dir():
        raise DatasetError(f"{root} is a file; data.root names a folder")
    folders = split_folders(root)
    names = {split: subfolders(folder) for split, folder in folders.items()}
    found = class_entries(root, folders, ignored)
    entries = keep(found)
    emptied = {(entry.split, entry.label) for entry in found} - {(entry.split, entry.label) for entry in entries}
    left = {split: [name for name in names[split] if (split, name) not in emptied] for split in names}
    classes = left["train"]
    if names["train"] and not classes:
        raise DataOptionError("exclude", f"every image in {folders['train']} is left out")
    _require_classes(folders["train"], classes)
    for split, folder in folders.items():
        reject_unknown_classes(folder, left[split], classes)
    _require_images(entries, classes, ignored)
    return Listing(tuple(classes), tuple(entries), frozenset(folders), len(found) - len(entries))


def split_folders(root: Path) -> dict[str, Path]:
    """Split name to folder; `{"train": root}` where the class folders lie directly in the root.

    Raises:
        DatasetError: two folders for one split.
    """
    names = subfolders(root)
    is_split_layout = (
        "train" in names and all(name in SPLIT_NAMES for name in names) and bool(subfolders(root / "train"))
    )
    if not is_split_layout:
        return {"train": root}
    folders: dict[str, Path] = {}
    for name in names:
        split = SPLIT_NAMES[name]
        if split in folders:
            raise DatasetError(f"{root} holds both {folders[split].name}/ and {name}/: which one is the {split} split?")
        folders[split] = root / name
    return folders


def class_entries(root: Path, folders: Mapping[str, Path], ignored: Ignored) -> list[ListedImage]:
    """Every image in the class folders of these splits, in sorted order."""
    found = []
    for split, folder in folders.items():
        for name in subfolders(folder):
            found += [ListedImage(path, name, split) for path in walk_images(folder / name, ignored)]
    for folder in {root, *folders.values()}:
        for path in folder.iterdir():
            if path.name.startswith("."):
                ignored.counts["hidden"] += 1
            elif path.is_file():
                ignored.counts["beside the class folders"] += 1
    return found


def reject_unknown_classes(folder: Path, names: Sequence[str], classes: Sequence[str]) -> None:
    """Checks that a folder holds trained classes alone.

    Raises:
        DatasetError: it does not.
    """
    known = set(classes)
    unknown = [name for name in names if name not in known]
    if unknown:
        listed = ", ".join(f"'{name}'{did_you_mean(name, classes, most=1)}" for name in unknown[:5])
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        raise DatasetError(
            f"{folder} holds classes that were not trained: {listed}{more}",
            f"Known classes: {', '.join(classes[:20])}{', ...' if len(classes) > 20 else ''}.",
        )


def layout_hint() -> str:
    """The next step where a folder has no layout that is known."""
    return (
        "Put the images of each class in a folder of its own: "
        "ROOT/<class>/..., or ROOT/train/<class>/... and ROOT/val/<class>/..."
    )


def _require_classes(train: Path, classes: Sequence[str]) -> None:
    if not classes:
        images = sum(is_image_name(path.name) for path in train.iterdir())
        found = f"{images} images but no class folders" if images else "no class folders and no images"
        raise DatasetError(f"{train} holds {found}", layout_hint())
    if len(classes) == 1:
        raise DatasetError(f"{train} holds one class, '{classes[0]}'; a classifier needs at least two", layout_hint())


def _require_images(entries: Sequence[ListedImage], classes: Sequence[str], ignored: Ignored) -> None:
    skipped = f"\nSkipped: {ignored}." if ignored.counts else ""
    if not entries:
        raise DatasetError("the class folders hold no images", layout_hint() + skipped)
    trained = {entry.label for entry in entries if entry.split == "train"}
    empty = [name for name in classes if name not in trained]
    if empty:
        named = ", ".join(f"'{name}'" for name in empty)
        raise DatasetError(f"no images to train on in class {named}", f"Add images, or remove the folder.{skipped}")
