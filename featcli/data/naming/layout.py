"""Where in a folder the classes are: in it, in its splits, or in the one folder that it holds."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from featcli.data.naming.exclusions import Exclusions
from featcli.data.naming.folders import Ignored, is_image_name, subfolders, walk_images
from featcli.data.naming.listing import SPLIT_NAMES
from featcli.errors import DatasetError
from featcli.text import did_you_mean, first_few, listing, nfc
from featcli.units import count_text

_DEPTH = 8  # of folders that hold nothing but a folder
_LOOKED_INTO = 100  # folders, among which some with splits of their own are looked for
_WORD = re.compile(r"[0-9]+|[^\W\d_]+")
_FILLERS = frozenset({"set", "data", "dataset", "split", "image", "images", "img", "imgs", "photos", "pictures"})
_PLAIN = frozenset({"train", "val", "valid", "validation", "test"})  # names of splits that need no word


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the class folders lie.

    Attributes:
        root: what holds them, or holds the splits: the folder that was given, or one below.
        folders: split name to folder; `{"train": root}` where the class folders lie directly in the root.
        notes: what was decided, and what is passed over.
        warnings: what is probably not as it was meant.
        above: the folders from the one that was given to `root`, without that.
    """

    root: Path
    folders: Mapping[str, Path]
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    above: tuple[Path, ...] = ()


def find_layout(root: Path, exclusions: Exclusions, known: Collection[str] | None = None) -> Layout:
    """Finds the splits or the class folders of a folder; where it holds one folder alone, those of that.

    `root/train/<class>/...` with val and test beside it, in any case and by their other names, or `root/<class>/...`.

    Args:
        root: the folder.
        exclusions: what of it is left out.
        known: the classes, where images of them are to be evaluated on: then train may be missing, and anything may
            lie beside the splits. None to learn from the folder.

    Raises:
        DatasetError: splits without train, two folders for one split, images beside the splits, several folders with
            splits of their own, or a folder that cannot be listed.
    """
    look = _Look(exclusions)
    here = root
    found = None
    for _ in range(_DEPTH):
        names = look.names(here)
        if known is not None and names and {nfc(name) for name in names} <= set(known):
            break
        found = _split_layout(here, names, look, known)
        inner = _only_folder(here, names, look) if found is None else None
        if inner is None or (known is not None and nfc(inner.name) in known):
            break
        here = inner
    if found is None:
        if known is None:
            _refuse_loose_splits(here, look)
        if known is None and here != root and not _has_two(here, look.names(here), look):
            here = root  # one class, whose images lie deeper
        found = Layout(here, {"train": here}, _alike(here, look), tuple(_doubts(here, look)))
    if here != root:
        whose = "its splits" if found.folders.get("train") != here else "its class folders"
        taken = f"{root} holds one folder with images, {here.relative_to(root)}/: {whose} are taken"
        above = tuple(folder for folder in here.parents if folder == root or root in folder.parents)
        found = replace(found, notes=(taken, *found.notes), above=above)
    return found


def layout_hint() -> str:
    """The next step where a folder has no layout that is known."""
    return (
        "Put the images of each class in a folder of its own: "
        "ROOT/<class>/..., or ROOT/train/<class>/... and ROOT/val/<class>/..."
    )


def split_word(name: str) -> tuple[str, str] | None:
    """The split that a folder's name says, and what else it says: `("train", "")` for Training, train_set, 1-train.

    Returns:
        None where it says no split, or two.
    """
    splits: list[str] = []
    rest: list[str] = []
    for word in _WORD.findall(nfc(name).lower()):
        split = SPLIT_NAMES.get(word) or _split_with_filler(word)
        if split:
            splits.append(split)
        elif word not in _FILLERS and (splits or rest or not word.isdigit()):
            rest.append(word)
    return (splits[0], " ".join(rest)) if len(splits) == 1 else None


def _split_with_filler(word: str) -> str | None:
    """Of words like trainset and testimages."""
    for name, split in SPLIT_NAMES.items():
        if word.startswith(name) and word.removeprefix(name) in _FILLERS:
            return split
    return None


class _Look:
    """What folders hold, apart from what is left out; each is listed once."""

    def __init__(self, exclusions: Exclusions) -> None:
        self._exclusions = exclusions
        self._names: dict[Path, list[str]] = {}
        self._holding: dict[Path, bool] = {}

    def names(self, folder: Path) -> list[str]:
        """The folders in a folder."""
        if folder not in self._names:
            names = subfolders(folder)
            self._names[folder] = [name for name in names if not self._exclusions.covers(os.fspath(folder / name))]
        return self._names[folder]

    def has_images(self, folder: Path) -> bool:
        """Whether anything below a folder is named like an image, left out or not."""
        if folder not in self._holding:
            self._holding[folder] = next(_walk(folder), None) is not None
        return self._holding[folder]

    def count_images(self, folder: Path) -> int:
        """How many images below a folder are not left out."""
        return sum(not self._exclusions.covers(path) for path in _walk(folder))


def _walk(folder: Path) -> Iterator[str]:
    """The images below a folder; one that cannot be listed counts as one."""
    return walk_images(folder, Ignored(), lambda path, _: [path])


def _named_splits(names: Sequence[str]) -> dict[str, str]:
    """Folders that are named after splits: plainly, or several alike, as `seg_train` and `seg_test`."""
    alike: dict[str, dict[str, str]] = {}
    for name in names:
        found = split_word(name)
        if found is not None:
            split, rest = found
            alike.setdefault(rest, {})[name] = split
    if "" in alike:
        return alike[""]
    sets = [named for named in alike.values() if "train" in named.values() and len(set(named.values())) > 1]
    return {name: split for named in sets for name, split in named.items()}


def _split_layout(root: Path, names: Sequence[str], look: _Look, known: Collection[str] | None) -> Layout | None:
    """The layout where some of the names are splits that hold class folders; None where none are."""
    named, learns = _named_splits(names), known is None
    nested = [name for name in named if look.names(root / name)]
    others = [name for name in names if name not in named]
    held = [{nfc(inner) for inner in look.names(root / name)} for name in nested]
    if not nested or not (
        any(named[name] == "train" for name in nested)
        or _are_splits(held, others)
        or any(not inner.isdisjoint(known or ()) for inner in held)
    ):
        return None
    folders, notes = _one_for_each(root, named, nested, look, learns=learns)
    if learns and "train" not in folders:
        raise _no_train(root, named, list(folders.values()), others)
    warnings = []
    for name in (name for name in named if name not in nested):
        count = look.count_images(root / name)
        if not learns:
            folders.setdefault(named[name], name)  # so that train is not evaluated on in its place
        elif count:
            warnings.append(f"{name}/ holds {count_text(count, 'image')} and no class folders: not used")
        else:
            notes.append(f"{name}/ is empty and no split")
    notes += _beside(root, folders, others, look, learns=learns)
    if not set(folders.values()) <= _PLAIN:
        notes.insert(0, "splits: " + ", ".join(f"{name}/ is {split}" for split, name in folders.items()))
    paths = {split: _unwrapped(root / name, split, look) for split, name in folders.items()}
    return Layout(root, paths, tuple(notes), tuple(warnings))


def _are_splits(held: Sequence[set[str]], others: Sequence[str]) -> bool:
    """Whether folders named after splits other than train are such, and not classes: by the folders that they hold."""
    twice = len(set().union(*held)) < sum(map(len, held))
    return not others or twice or any({nfc(name) for name in others} & inner for inner in held)


def _one_for_each(
    root: Path, named: Mapping[str, str], nested: Sequence[str], look: _Look, *, learns: bool
) -> tuple[dict[str, str], list[str]]:
    """The folder of each split, and a note on those that would be a second one but hold no images."""
    folders: dict[str, str] = {}
    notes = []
    for name in sorted(nested, key=lambda name: not look.has_images(root / name)):  # those with images first
        first = folders.setdefault(named[name], name)
        if first != name and look.has_images(root / name):
            leave_out = ", or leave it out: a line with its name in the file of data.exclude" if learns else ""
            raise DatasetError(
                f"{root} holds both {first}/ and {name}/: which one is the {named[name]} split?",
                f"Move the other elsewhere{leave_out}.",
            )
        if first != name:
            notes.append(f"{name}/ holds no images and is no split")
    return {named[name]: name for name in nested if folders[named[name]] == name}, notes


def _no_train(root: Path, named: Mapping[str, str], splits: Sequence[str], others: Sequence[str]) -> DatasetError:
    there = listing([f"{name}/" for name in splits], "and")
    flat = [name for name, split in named.items() if split == "train"]
    if flat:
        return DatasetError(f"{root / flat[0]} holds no class folders, while {there} beside it does", layout_hint())
    if others:
        classes = first_few([f"{name}/" for name in others])
        return DatasetError(
            f"{root} holds {there} with class folders, and beside it {classes}: a split among classes",
            "Move the class folders to learn from into a folder train.",
        )
    return DatasetError(
        f"{root} holds {there} and no train",
        f"Name the folder to learn from, as {root / splits[0]}, or put one called train beside it.",
    )


def _beside(root: Path, folders: Mapping[str, str], others: Sequence[str], look: _Look, *, learns: bool) -> list[str]:
    """What is said of folders beside the splits.

    Raises:
        DatasetError: to learn from: some of them hold images.
    """
    for name in others:
        look.names(root / name)  # one that cannot be listed is no empty one
    counts = {name: look.count_images(root / name) for name in others}
    strange = [name for name in others if counts[name]]
    if strange and learns:
        splits = listing([f"{name}/" for name in folders.values()], "and")
        named = first_few([f"{name}/ ({count_text(counts[name], 'image')})" for name in strange])
        near = did_you_mean(strange[0].lower(), SPLIT_NAMES, most=1) if len(strange) == 1 else ""
        raise DatasetError(
            f"{root} holds {splits} and, beside the splits, {named}: no split{near}",
            f"Move it elsewhere, or leave it out: a line '{strange[0]}' in the file of data.exclude.",
        )
    if not others:
        return []
    why = "no split" if strange else "no images"
    return [f"not used, beside the splits: {first_few([f'{name}/' for name in others], 5)} ({why})"]


def _unwrapped(folder: Path, split: str, look: _Look) -> Path:
    """The folder of a split; where it holds one of its own kind alone (`train/train/<class>`), that one."""
    names = look.names(folder)
    if len(names) == 1 and (split_word(names[0]) or ("", ""))[0] == split and look.names(folder / names[0]):
        return folder / names[0]
    return folder


def _only_folder(folder: Path, names: Sequence[str], look: _Look) -> Path | None:
    """The one folder that holds images, none of them directly; None where it is a class, or there are several.

    Raises:
        DatasetError: one of several has splits of its own.
    """
    if len(names) <= _LOOKED_INTO and len(names) > 1:
        sets = [name for name in names if _has_splits(folder / name, look)]
        rest = [name for name in names if name not in sets and look.has_images(folder / name)]
        if sets and len(sets) + len(rest) > 1:
            beside = f", beside {first_few([f'{name}/' for name in rest])}" if rest else ""
            raise DatasetError(
                f"{folder} holds {listing([f'{name}/' for name in sets], 'and')} with splits of {_own(sets)}{beside}",
                f"Name the one to use: {folder / sets[0]}",
            )
    if _has_two(folder, names, look):
        return None
    inner = next((folder / name for name in names if look.has_images(folder / name)), None)
    if inner is None or any(is_image_name(path.name) and not path.is_dir() for path in inner.iterdir()):
        return None
    return inner


def _own(sets: Sequence[str]) -> str:
    return "its own" if len(sets) == 1 else "their own"


def _has_two(folder: Path, names: Iterable[str], look: _Look) -> bool:
    """Whether two of the folders hold images."""
    holding = (name for name in names if look.has_images(folder / name))
    return next(holding, None) is not None and next(holding, None) is not None


def _has_splits(folder: Path, look: _Look) -> bool:
    """Whether a folder is surely in the split layout: train, and another, with class folders."""
    named = _named_splits(look.names(folder))
    return "train" in {split for name, split in named.items() if look.names(folder / name)} and len(named) > 1


def _refuse_loose_splits(root: Path, look: _Look) -> None:
    """Refuses splits whose images lie in them directly, as those of competitions, whose labels are in a table.

    Raises:
        DatasetError: all folders with images are named after splits, train and others.
    """
    named = _named_splits(look.names(root))
    holding = [name for name in look.names(root) if look.has_images(root / name)]
    splits = {named.get(name) for name in holding}
    if None in splits or "train" not in splits or len(splits) < 2:
        return
    tables = first_few(
        sorted(path.name for path in root.iterdir() if path.suffix.lower() in (".csv", ".tsv", ".parquet"))
    )
    table = f" {tables} may be one." if tables else ""
    raise DatasetError(
        f"{root} holds {listing([f'{name}/' for name in holding], 'and')} with images and no class folders: "
        "splits, and no classes",
        f"{layout_hint()}\nOr name a table of paths and labels: data.manifest.{table}",
    )


def _doubts(root: Path, look: _Look) -> list[str]:
    """Why folders that are taken for classes may be something else."""
    names = look.names(root)
    for name in (name for name in _named_splits(names) if len(look.names(root / name)) > 1):
        return [f"{name}/ is taken for a class, although it holds folders and is named like a split"]
    if 1 < len(names) <= _LOOKED_INTO:
        inner = [_named_splits(look.names(root / name)) for name in names]
        if all("train" in named.values() and len(named) > 1 for named in inner):
            listed = listing([f"{name}/" for name in inner[0]], "and")
            return [f"{listed} below the class folders are not taken for splits; ROOT/train/<class>/... is"]
    return []


def _alike(root: Path, look: _Look) -> tuple[str, ...]:
    """A note where all class folders hold the same folders: these may be the classes."""
    names = look.names(root)
    if not 1 < len(names) <= _LOOKED_INTO:
        return ()
    held = look.names(root / names[0])
    if len(held) < 2 or any(look.names(root / name) != held for name in names):
        return ()
    outer = first_few([f"{name}/" for name in names])
    inner = first_few([f"{name}/" for name in held])
    return (f"{outer} are taken for classes, and each holds {inner}: if these are the classes, name one of the outer",)
