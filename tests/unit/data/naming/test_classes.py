from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from featcli.data.naming.classes import list_folder
from featcli.data.naming.exclusions import Exclusions, read_exclusions
from featcli.data.naming.folders import Ignored
from featcli.data.naming.listing import Listing
from featcli.errors import DatasetError
from featcli.events import Event, Note, Warn

COMPOSED, DECOMPOSED = "café", "cafe\u0301"


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def listed(root: Path, *excluded: str) -> tuple[Listing, list[str]]:
    exclusions = Exclusions(root)
    if excluded:
        file = root.parent / "exclude.txt"
        file.write_text("\n".join(excluded))
        exclusions = read_exclusions(file, root)
    events: list[Event] = []
    ignored = Ignored()
    listing = list_folder(root, ignored, exclusions, events.append)
    said = [type(event).__name__.lower() + ": " + event.text for event in events if isinstance(event, Note | Warn)]
    return listing, [*said, f"skipped: {ignored}"]


def refused(root: Path, *excluded: str) -> str:
    with pytest.raises(DatasetError) as error:
        listed(root, *excluded)
    return error.value.message.replace(str(root), "ROOT")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return touch(tmp_path, "root/") / "root"


def paths(listing: Listing, root: Path) -> list[str]:
    return [os.path.relpath(entry.path, root) for entry in listing.entries]


# What systems leave behind


def test_folders_of_systems_are_skipped_at_every_depth_and_said(root: Path) -> None:
    names = ["__MACOSX/cat", "@eaDir/x", "#recycle", "$RECYCLE.BIN", "lost+found", "System Volume Information"]
    touch(root, "cat/1.jpg", "dog/1.jpg", *(f"{name}/1.jpg" for name in names))
    touch(
        root, "cat/@eaDir/1.jpg/THUMB_XL.jpg", "cat/a/b/__MACOSX/2.jpg", "dog/.ipynb_checkpoints/1.jpg", "dog/._1.jpg"
    )
    listing, said = listed(root)
    assert (listing.classes, paths(listing, root)) == (("cat", "dog"), ["cat/1.jpg", "dog/1.jpg"])
    assert said == [
        "skipped: 2 hidden, 1 system folders (#recycle), 1 system folders ($RECYCLE.BIN), 2 system folders (@eaDir), "
        "1 system folders (System Volume Information), 2 system folders (__MACOSX), 1 system folders (lost+found)"
    ]


def test_what_lies_around_the_one_folder_is_counted_too(root: Path) -> None:
    touch(root, "a/b/cat/1.jpg", "a/b/dog/1.jpg", "__MACOSX/x", "README.md", "a/.DS_Store", "a/notes.txt", "a/b/x.txt")
    _, said = listed(root)
    assert said == [
        f"note: {root} holds one folder with images, a/b/: its class folders are taken",
        "skipped: 3 beside the class folders, 1 hidden, 1 system folders (__MACOSX)",
    ]


# Class folders without images


def test_class_folders_without_images_are_no_classes_aloud(root: Path) -> None:
    listing, said = listed(touch(root, "cat/1.jpg", "dog/1.jpg", "emu/", "runs/a/", "notes/readme.txt"))
    assert listing.classes == ("cat", "dog")
    assert said == [
        "note: class folders without images, which are no classes: emu/, runs/",
        "warn: class folders without images, which are no classes; skipped there: notes/ (1 named *.txt)",
        "skipped: 1 named *.txt",
    ]
    _, said = listed(root, "emu", "runs/", "notes")
    assert said == [f"note: left out by {root.parent}/exclude.txt: 0 of 2 images", "skipped: 1 named *.txt"]


def test_class_folders_without_images_in_a_later_split(root: Path) -> None:
    listing, said = listed(touch(root, "train/a/1.jpg", "train/b/1.jpg", "val/a/1.jpg", "val/c/"))
    assert (listing.classes, listing.splits) == (("a", "b"), {"train", "val"})
    assert said[0] == "note: class folders without images, which are no classes: c/"


def test_what_was_skipped_is_said_where_too_little_is_left(root: Path) -> None:
    touch(root, "cat/1.psd", "cat/2.PSD", "dog/1.mov", "emu/")
    assert refused(root) == "the class folders hold no images; skipped: 2 named *.psd in cat/, 1 named *.mov in dog/"
    touch(root, "cat/1.jpg")
    assert refused(root) == (
        "ROOT holds one class, 'cat'; a classifier needs at least two; without images: dog/ (skipped: 1 named *.mov), "
        "emu/"
    )
    touch(root.parent / "loose", "1.psd", "2.psd", "a.txt", "@eaDir/")
    assert refused(root.parent / "loose").endswith(
        "holds no class folders and no images; skipped: 2 named *.psd, 1 named *.txt, 1 system folders (@eaDir)"
    )


def test_one_class_whose_folders_may_be_the_classes(root: Path) -> None:
    touch(root, "pets/cat/1.jpg", "pets/dog/1.psd")
    with pytest.raises(DatasetError) as error:
        listed(root)
    assert error.value.message == f"{root} holds one class, 'pets'; a classifier needs at least two"
    assert error.value.hint == f"If the classes are cat/, dog/ in it, name {root}/pets."


def test_a_split_that_holds_images_alone(root: Path) -> None:
    assert refused(touch(root, "Train/1.jpg")) == "ROOT/Train holds images but no class folders"


def test_a_class_that_has_images_in_val_alone(root: Path) -> None:
    touch(root, "train/a/1.jpg", "train/b/1.jpg", "train/c/", "val/c/1.jpg")
    assert refused(root) == "ROOT/val holds classes that were not trained: 'c'"


# Folders that cannot be read


def test_a_folder_that_cannot_be_listed_ends_it_unless_it_is_left_out(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(root, "cat/1.jpg", "dog/1.jpg", "dog/private/2.jpg")
    scandir = os.scandir

    def guarded(path: Any) -> Any:
        if str(path).endswith("private"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    with pytest.raises(DatasetError) as error:
        listed(root)
    assert error.value.message == f"cannot read the folder {root}/dog/private: permission denied"
    assert error.value.hint == "Make it readable, or leave it out with data.exclude."
    listing, _ = listed(root, "dog/private/")
    assert paths(listing, root) == ["cat/1.jpg", "dog/1.jpg"]
    splits = touch(root.parent / "splits", "train/a/1.jpg", "train/b/1.jpg", "private/")
    assert refused(splits) == "cannot read the folder ROOT/private: permission denied"
    assert listed(splits, "private")[0].classes == ("a", "b")


# Two ways to write one name


def test_a_name_composed_and_decomposed_is_one_class(root: Path) -> None:
    touch(root, f"train/{COMPOSED}/1.jpg", "train/bar/1.jpg", f"val/{DECOMPOSED}/2.jpg", "val/bar/2.jpg")
    listing, said = listed(root)
    assert listing.classes == ("bar", COMPOSED)
    assert [(entry.label, entry.split) for entry in listing.entries] == [
        ("bar", "train"), (COMPOSED, "train"), ("bar", "val"), (COMPOSED, "val"),
    ]  # fmt: skip
    assert f"val/{DECOMPOSED}/2.jpg" in paths(listing, root), "opened as it is on disk"
    assert said == ["skipped: "]


def test_both_ways_in_one_folder_are_one_class_aloud(root: Path) -> None:
    touch(root, f"{COMPOSED}/{COMPOSED}.jpg", f"{COMPOSED}/{DECOMPOSED}.jpg", f"{DECOMPOSED}/3.jpg", "bar/1.jpg")
    listing, said = listed(root)
    assert listing.classes == ("bar", COMPOSED)
    assert sorted(paths(listing, root)) == sorted(
        ["bar/1.jpg", f"{DECOMPOSED}/3.jpg", f"{COMPOSED}/{DECOMPOSED}.jpg", f"{COMPOSED}/{COMPOSED}.jpg"]
    )
    assert said[0] == f"note: {root}: '{COMPOSED}' is there with composed and decomposed accents (Unicode): one class"


@pytest.mark.parametrize("line", [COMPOSED, DECOMPOSED])
def test_exclusions_in_either_way(root: Path, line: str) -> None:
    touch(root, f"{COMPOSED}/1.jpg", f"{DECOMPOSED}/2.jpg", "bar/1.jpg", "cat/1.jpg")
    assert listed(root, line)[0].classes == ("bar", "cat")
    assert listed(root, f"{root}/{line}/*")[0].classes == ("bar", "cat")
