"""The images in class folders: of a folder to learn from, or to evaluate on."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from featcli.data.naming.exclusions import Exclusions
from featcli.data.naming.folders import (
    Ignored,
    is_image_name,
    is_system_folder,
    refuse_unreadable,
    subfolders,
    walk_images,
)
from featcli.data.naming.layout import Layout, find_layout, layout_hint, split_word
from featcli.data.naming.listing import ListedImage, Listing
from featcli.data.naming.source import DataOptionError
from featcli.errors import DatasetError
from featcli.events import Emit, Note, Warn
from featcli.text import did_you_mean, first_few, nfc


class EmptyClass(NamedTuple):
    """A class folder that holds no image: of which split, and what was skipped in it, in words or empty."""

    split: str
    label: str
    folder: Path
    skipped: str


@dataclass(frozen=True, slots=True)
class ClassFolders:
    """What class folders hold.

    Attributes:
        entries: every image, in sorted order by folder.
        empty: the folders without any.
    """

    entries: Sequence[ListedImage]
    empty: Sequence[EmptyClass]


def list_folder(root: Path, ignored: Ignored, exclusions: Exclusions, emit: Emit) -> Listing:
    """The images of a folder to learn from, and their classes. A class of which everything is left out is none.

    Args:
        root: the folder, in a layout that `find_layout` knows.
        ignored: counts what is skipped.
        exclusions: what is left out.
        emit: hears what was decided, and what is passed over.

    Raises:
        DatasetError: no such folder, no classes, a class of a later split that train does not have, everything is
            excluded, ...
    """
    if not root.exists():
        near = did_you_mean(root.name, subfolders(root.parent)) if root.parent.is_dir() else ""
        raise DatasetError(f"no such folder: {root}{near}")
    if not root.is_dir():
        raise DatasetError(f"{root} is a file; data.root names a folder")
    layout = find_layout(root, exclusions)
    describe_layout(layout, emit)
    found = class_folders(layout, ignored, exclusions, emit)
    entries = exclusions.keep(found.entries, emit)
    train = layout.folders["train"]
    classes = sorted({entry.label for entry in entries if entry.split == "train"})
    if not classes and any(entry.split == "train" for entry in found.entries):
        raise DataOptionError("exclude", f"every image in {train} is left out")
    _require_classes(train, classes, [empty for empty in found.empty if empty.split == "train"])
    describe_empty(found.empty, emit)
    for split, folder in layout.folders.items():
        reject_unknown_classes(
            folder, {entry.label for entry in entries if entry.split == split}, classes, may_exclude=True
        )
    return Listing(tuple(classes), tuple(entries), frozenset(layout.folders), len(found.entries) - len(entries))


def describe_layout(layout: Layout, emit: Emit) -> None:
    """Says what was decided about a folder."""
    for text in layout.notes:
        emit(Note(text))
    for text in layout.warnings:
        emit(Warn(text))


def class_folders(layout: Layout, ignored: Ignored, exclusions: Exclusions, emit: Emit) -> ClassFolders:
    """Every image in the class folders of a layout; what is skipped is counted, two spellings of a name are said."""

    def unlisted(folder: str, error: OSError) -> Iterable[str]:
        if not exclusions.covers(folder):
            refuse_unreadable(folder, error)
        return ()

    entries: list[ListedImage] = []
    empty = []
    for split, folder in layout.folders.items():
        spellings = defaultdict(list)
        for name in subfolders(folder):
            own, label = Ignored(), nfc(name)
            images = [ListedImage(path, label, split) for path in walk_images(folder / name, own, unlisted)]
            entries += images
            ignored.counts.update(own.counts)
            spellings[label].append(name)
            if not images and not exclusions.covers(os.fspath(folder / name)):
                empty.append(EmptyClass(split, label, folder / name, str(own)))
        for name, several in spellings.items():
            if len(several) > 1:
                emit(Note(f"{folder}: '{name}' is there with composed and decomposed accents (Unicode): one class"))
    for folder in {*layout.above, layout.root, *layout.folders.values()}:
        _count_beside(folder, ignored)
    return ClassFolders(entries, empty)


def describe_empty(empty: Sequence[EmptyClass], emit: Emit) -> None:
    """Says which class folders hold no image: a note where they hold nothing, else a warning with what they hold."""
    bare = [f"{entry.folder.name}/" for entry in empty if not entry.skipped]
    if bare:
        emit(Note(f"class folders without images, which are no classes: {first_few(bare, 5)}"))
    other = [f"{entry.folder.name}/ ({entry.skipped})" for entry in empty if entry.skipped]
    if other:
        emit(Warn(f"class folders without images, which are no classes; skipped there: {first_few(other, 5)}"))


def reject_unknown_classes(
    folder: Path, names: Iterable[str], classes: Sequence[str], *, may_exclude: bool = False
) -> None:
    """Checks that a folder holds trained classes alone.

    Args:
        folder: that holds them.
        names: what it holds.
        classes: that were trained.
        may_exclude: whether a list of exclusions would help, which the error then says.

    Raises:
        DatasetError: it does not.
    """
    known = set(classes)
    unknown = sorted(name for name in names if name not in known)
    if unknown:
        listed = ", ".join(f"'{name}'{did_you_mean(name, classes, most=1)}" for name in unknown[:5])
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        steps = [f"Known classes: {', '.join(classes[:20])}{', ...' if len(classes) > 20 else ''}."]
        if may_exclude:
            steps.append(f"To leave one out, name a file with the line {folder.name}/{unknown[0]} in data.exclude.")
        raise DatasetError(f"{folder} holds classes that were not trained: {listed}{more}", "\n".join(steps))


def no_images(what: str, skipped: str) -> DatasetError:
    """The error where nothing is left to look at, with what was there instead."""
    return DatasetError(f"{what}{f'; skipped: {skipped}' if skipped else ''}", layout_hint())


def _count_beside(folder: Path, ignored: Ignored) -> None:
    for path in folder.iterdir():
        is_folder = is_system_folder(path.name) and path.is_dir()
        if not ignored.passes_over(path.name, is_folder=is_folder) and path.is_file():
            ignored.counts["beside the class folders"] += 1


def _require_classes(train: Path, classes: Sequence[str], empty: Sequence[EmptyClass]) -> None:
    if not classes and empty:
        skipped = first_few([f"{entry.skipped} in {entry.folder.name}/" for entry in empty if entry.skipped])
        raise no_images("the class folders hold no images", skipped)
    if not classes:
        raise _no_class_folders(train)
    if len(classes) == 1 and (split_word(classes[0]) or ("", " "))[1] == "" and not _folders_of(train, classes[0]):
        raise DatasetError(f"{train / classes[0]} holds images but no class folders", layout_hint())
    if len(classes) == 1:
        held = [f"{entry.folder.name}/" + (f" (skipped: {entry.skipped})" if entry.skipped else "") for entry in empty]
        without = f"; without images: {first_few(held)}" if held else ""
        below = [f"{name}/" for name in _folders_of(train, classes[0])]
        inner = f"If the classes are {first_few(below)} in it, name {train / classes[0]}." if below else layout_hint()
        raise DatasetError(f"{train} holds one class, '{classes[0]}'; a classifier needs at least two{without}", inner)


def _folders_of(root: Path, label: str) -> list[str]:
    return subfolders(root / label) if (root / label).is_dir() else []


def _no_class_folders(train: Path) -> DatasetError:
    ignored = Ignored()
    images = 0
    for path in train.iterdir():
        if ignored.passes_over(path.name, is_folder=path.is_dir()):
            continue
        images += is_image_name(path.name)
        if not is_image_name(path.name):
            ignored.count_ending(path.name)
    if images:
        return DatasetError(f"{train} holds {images} images but no class folders", layout_hint())
    return no_images(f"{train} holds no class folders and no images", str(ignored))
