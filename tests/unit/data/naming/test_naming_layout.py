from __future__ import annotations

from pathlib import Path

import pytest

from featcli.data.naming.exclusions import Exclusions, read_exclusions
from featcli.data.naming.layout import Layout, find_layout, split_word
from featcli.errors import DatasetError


def touch(root: Path, *names: str) -> Path:
    """Files; of a name that ends in a slash, a folder."""
    for name in names:
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def two(*folders: str) -> list[str]:
    """An image of cats and one of dogs in each of the folders."""
    return [f"{folder}/{name}/1.jpg" for folder in folders for name in ("cat", "dog")]


def found(root: Path, *excluded: str, known: tuple[str, ...] | None = None) -> Layout:
    exclusions = Exclusions(root)
    if excluded:
        file = root.parent / "exclude.txt"
        file.write_text("\n".join(excluded))
        exclusions = read_exclusions(file, root)
    return find_layout(root, exclusions, known)


def folders(layout: Layout, root: Path) -> dict[str, str]:
    return {split: str(folder.relative_to(root)) for split, folder in layout.folders.items()}


def refused(root: Path, *excluded: str, known: tuple[str, ...] | None = None) -> tuple[str, str]:
    with pytest.raises(DatasetError) as error:
        found(root, *excluded, known=known)
    return error.value.message.replace(str(root), "ROOT"), str(error.value.hint).replace(str(root), "ROOT")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return touch(tmp_path, "root/") / "root"


# Names of splits


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("train", ("train", "")),
        ("TRAINING", ("train", "")),
        ("Train Set", ("train", "")),
        ("training_set", ("train", "")),
        ("trainset", ("train", "")),
        ("testImages", ("test", "")),
        ("1-val", ("val", "")),
        ("Validation", ("val", "")),
        ("valid", ("val", "")),
        ("dev", ("val", "")),
        ("Testing", ("test", "")),
        ("evaluation", ("test", "")),
        ("seg_train", ("train", "seg")),
        ("test_tube", ("test", "tube")),
        ("val2017", ("val", "2017")),
        ("trainval", None),
        ("train_val", None),
        ("trains", None),
        ("contest", None),
        ("devices", None),
        ("cat", None),
    ],
)
def test_the_split_that_a_name_says(name: str, word: tuple[str, str] | None) -> None:
    assert split_word(name) == word


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (("train", "val", "test"), {"train": "train", "val": "val", "test": "test"}),
        (("Train", "Val"), {"train": "Train", "val": "Val"}),
        (("Training", "Testing"), {"train": "Training", "test": "Testing"}),
        (("TRAIN", "VALID", "TEST"), {"train": "TRAIN", "val": "VALID", "test": "TEST"}),
        (("training", "validation", "evaluation"), {"train": "training", "val": "validation", "test": "evaluation"}),
        (("training_set", "test_set"), {"train": "training_set", "test": "test_set"}),
        (("1_train", "2_val"), {"train": "1_train", "val": "2_val"}),
        (("seg_train", "seg_test"), {"train": "seg_train", "test": "seg_test"}),
        (("train2017", "val2017"), {"train": "train2017", "val": "val2017"}),
        (("Train",), {"train": "Train"}),
    ],
)
def test_splits_in_any_case_and_by_their_usual_names(
    root: Path, names: tuple[str, ...], expected: dict[str, str]
) -> None:
    layout = found(touch(root, *two(*names)))
    assert folders(layout, root) == expected
    assert layout.root == root


def test_other_names_than_the_plain_ones_are_said(root: Path) -> None:
    assert found(touch(root, *two("Testing", "Training"))).notes == ("splits: Testing/ is test, Training/ is train",)
    assert found(touch(root.parent / "plain", *two("train", "valid"))).notes == ()


def test_two_folders_for_one_split_are_named(root: Path) -> None:
    touch(root, *two("train", "val", "Validation"))
    assert refused(root) == (
        "ROOT holds both Validation/ and val/: which one is the val split?",
        "Move the other elsewhere, or leave it out: a line with its name in the file of data.exclude.",
    )
    assert folders(found(root, "Validation"), root) == {"train": "train", "val": "val"}
    assert refused(root, known=("cat", "dog"))[1] == "Move the other elsewhere."


def test_a_second_folder_without_images_is_no_second_split(root: Path) -> None:
    layout = found(touch(root, *two("train", "val"), "Validation/cat/"))
    assert folders(layout, root) == {"train": "train", "val": "val"}
    assert "Validation/ holds no images and is no split" in layout.notes


# Beside the splits


def test_images_beside_the_splits_are_an_error_that_names_the_folder(root: Path) -> None:
    touch(root, *two("train", "val"), "unlabelled/1.jpg", "unlabelled/2.jpg", "docs/x.txt")
    assert refused(root) == (
        "ROOT holds train/ and val/ and, beside the splits, unlabelled/ (2 images): no split",
        "Move it elsewhere, or leave it out: a line 'unlabelled' in the file of data.exclude.",
    )
    for line in ("unlabelled", "unlabelled/", "unlabelled/*", "unl*"):
        assert folders(found(root, line), root) == {"train": "train", "val": "val"}


def test_a_split_that_is_misspelt_is_named(root: Path) -> None:
    assert refused(touch(root, *two("train", "vall")))[0].endswith(
        "beside the splits, vall/ (2 images): no split; did you mean 'val'?"
    )


def test_folders_without_images_beside_the_splits_are_passed_over_aloud(root: Path) -> None:
    layout = found(touch(root, *two("train", "val"), "runs/old/weights/", "docs/a.txt", "@eaDir/1.jpg/x.jpg"))
    assert folders(layout, root) == {"train": "train", "val": "val"}
    assert layout.notes == ("not used, beside the splits: docs/, runs/ (no images)",)


def test_a_split_without_class_folders_is_not_used_aloud(root: Path) -> None:
    layout = found(touch(root, *two("train"), "test/1.jpg", "test/2.jpg", "val/"))
    assert folders(layout, root) == {"train": "train"}
    assert layout.warnings == ("test/ holds 2 images and no class folders: not used",)
    assert layout.notes == ("val/ is empty and no split",)


def test_splits_without_train_are_an_error(root: Path) -> None:
    assert refused(touch(root, *two("val", "test"))) == (
        "ROOT holds test/ and val/ and no train",
        "Name the folder to learn from, as ROOT/test, or put one called train beside it.",
    )
    touch(root, "unlabelled/1.jpg")
    assert (
        refused(root)[0]
        == "ROOT holds test/ and val/ with class folders, and beside it unlabelled/: a split among classes"
    )


def test_train_without_class_folders_while_val_has_them_is_an_error(root: Path) -> None:
    assert refused(touch(root, *two("val"), "train/1.jpg"))[0] == (
        "ROOT/train holds no class folders, while val/ beside it does"
    )


def test_a_split_among_classes_is_an_error(root: Path) -> None:
    assert refused(touch(root, "cat/1.jpg", "dog/1.jpg", *two("Test"))) == (
        "ROOT holds Test/ with class folders, and beside it cat/, dog/: a split among classes",
        "Move the class folders to learn from into a folder train.",
    )


def test_classes_may_be_named_like_splits(root: Path) -> None:
    layout = found(touch(root, "test/1.jpg", "plane/1.jpg", "train_station/a/1.jpg", "test_tube/b/1.jpg"))
    assert (folders(layout, root), layout.warnings) == ({"train": "."}, ())
    layout = found(touch(root.parent / "deep", "test/2020/1.jpg", "plane/2020/1.jpg"))
    assert (layout.folders, layout.warnings) == ({"train": root.parent / "deep"}, ())


def test_splits_without_class_folders_become_classes_with_a_warning(root: Path) -> None:
    layout = found(touch(root, "train/1.jpg", "Test/2.jpg"))
    assert folders(layout, root) == {"train": "."}
    assert layout.warnings == ("Test/ and train/ are taken for classes: they hold no class folders, as splits do",)


def test_a_split_beside_other_images_becomes_a_class_with_a_warning(root: Path) -> None:
    layout = found(touch(root, *two("Testing"), "unlabelled/1.jpg"))
    assert folders(layout, root) == {"train": "."}
    assert layout.warnings == ("Testing/ is taken for a class, although it holds folders and is named like a split",)


def test_splits_below_the_classes_are_warned_of(root: Path) -> None:
    layout = found(touch(root, *(f"{name}/{split}/1.jpg" for name in ("cat", "dog") for split in ("train", "val"))))
    assert folders(layout, root) == {"train": "."}
    assert layout.warnings == (
        "train/ and val/ below the class folders are not taken for splits; ROOT/train/<class>/... is",
    )


def test_class_folders_that_hold_the_same_folders_are_said(root: Path) -> None:
    layout = found(touch(root, *two("images", "masks")))
    assert (folders(layout, root), layout.warnings) == ({"train": "."}, ())
    assert layout.notes == (
        "images/, masks/ are taken for classes, and each holds cat/, dog/: if these are the classes, name one of the "
        "outer",
    )


# One folder within another


@pytest.mark.parametrize("inner", ["pets", "pets/pets", "archive/data/pets"])
def test_the_only_folder_is_taken_and_said(root: Path, inner: str) -> None:
    layout = found(touch(root, *two(inner), "README.md", "__MACOSX/pets/._1.jpg", "__MACOSX/cat/1.jpg", "docs/x.txt"))
    assert folders(layout, root) == {"train": inner}
    assert layout.root == root / inner
    assert layout.notes == (f"{root} holds one folder with images, {inner}/: its class folders are taken",)


def test_the_splits_of_the_only_folder_are_taken(root: Path) -> None:
    layout = found(touch(root, *two("chest_xray/Train", "chest_xray/val")))
    assert folders(layout, root) == {"train": "chest_xray/Train", "val": "chest_xray/val"}
    assert layout.notes[0] == f"{root} holds one folder with images, chest_xray/: its splits are taken"


def test_a_split_in_a_folder_of_its_own_name(root: Path) -> None:
    layout = found(touch(root, *two("seg_train/seg_train", "seg_test/seg_test")))
    assert folders(layout, root) == {"train": "seg_train/seg_train", "test": "seg_test/seg_test"}


def test_one_class_stays_one_class(root: Path) -> None:
    assert folders(found(touch(root, "only/1.jpg", "only/a/2.jpg", "only/b/2.jpg")), root) == {"train": "."}
    assert folders(found(touch(root.parent / "deep", "only/deeper/1.jpg")), root.parent / "deep") == {"train": "."}


def test_several_folders_with_splits_are_named(root: Path) -> None:
    touch(root, *two("a/train", "a/val", "b/Train", "b/Test"))
    assert refused(root) == ("ROOT holds a/ and b/ with splits of their own", "Name the one to use: ROOT/a")
    touch(root.parent / "beside", *two("xray/train", "xray/test"), "docs/1.jpg")
    assert refused(root.parent / "beside")[0].endswith(" holds xray/ with splits of its own, beside docs/")
    assert folders(found(root, "b"), root) == {"train": "a/train", "val": "a/val"}


# To evaluate on


def test_evaluation_needs_no_train_and_looks_past_its_neighbours(root: Path) -> None:
    touch(root, *two("Testing"), "unlabelled/1.jpg")
    layout = found(root, known=("cat", "dog"))
    assert folders(layout, root) == {"test": "Testing"}
    layout = found(touch(root, *two("val")), known=("cat", "dog"))
    assert folders(layout, root) == {"test": "Testing", "val": "val"}
    assert layout.notes[-1] == "not used, beside the splits: unlabelled/ (no split)"


def test_evaluation_takes_classes_that_are_named_like_splits_for_classes(root: Path) -> None:
    touch(root, "train/2020/1.jpg", "test/2020/1.jpg")
    assert folders(found(root, known=("train", "test", "plane")), root) == {"train": "."}
    assert folders(found(touch(root.parent / "x", "ants/1.jpg"), known=("ants", "bees")), root.parent / "x") == {
        "train": "."
    }
    assert folders(found(touch(root.parent / "y", "in/ants/1.jpg"), known=("ants", "bees")), root.parent / "y") == {
        "train": "in"
    }
