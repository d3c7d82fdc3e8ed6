from __future__ import annotations

import os
from pathlib import Path

import pytest

from featcli.data.naming.folders import Ignored, is_image_name, subfolders, walk_images
from featcli.errors import DatasetError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def walked(root: Path) -> tuple[list[str], dict[str, int]]:
    ignored = Ignored()
    return [os.path.relpath(path, root) for path in walk_images(root, ignored)], dict(ignored.counts)


@pytest.mark.parametrize("name", ["a.jpg", "a.JPG", "a.JpEg", "a.b.PNG", "a.tif", "a.TIFF", "a.webp", "a.Bmp", "a.gif"])
def test_endings_count_in_any_case(name: str) -> None:
    assert is_image_name(name)


@pytest.mark.parametrize("name", ["a", "jpg", ".jpg", "a.jpg.txt", "a.jpg~", "a.eps", "a.svg", "Thumbs.db", "a.jpg "])
def test_other_endings_do_not(name: str) -> None:
    assert not is_image_name(name)


def test_files_come_before_folders_both_by_code_point(tmp_path: Path) -> None:
    touch(tmp_path, "b.jpg", "a/z.jpg", "Z.jpg", "10.jpg", "2.jpg", "é.jpg", "c/d/e.jpg", "c/a.jpg")
    assert walked(tmp_path)[0] == [
        "10.jpg", "2.jpg", "Z.jpg", "b.jpg", "é.jpg", "a/z.jpg", "c/a.jpg", "c/d/e.jpg",
    ]  # fmt: skip


def test_what_is_passed_over_is_counted(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "a.jpg",
        "._a.jpg",
        ".DS_Store",
        ".ipynb_checkpoints/a.jpg",
        "notes.TXT",
        "more.txt",
        "README",
        "x/b.png",
    )
    found, counts = walked(tmp_path)
    assert found == ["a.jpg", "x/b.png"]
    assert counts == {"hidden": 3, "named *.txt": 2, "named * without an ending": 1}
    ignored = Ignored()
    list(walk_images(tmp_path, ignored))
    assert str(ignored) == "3 hidden, 1 named * without an ending, 2 named *.txt"


def test_nothing_passed_over_says_nothing(tmp_path: Path) -> None:
    ignored = Ignored()
    list(walk_images(touch(tmp_path, "a.jpg"), ignored))
    assert str(ignored) == ""


def test_a_loop_of_links_ends_and_each_folder_is_walked_once(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "x/b.jpg")
    (tmp_path / "x" / "loop").symlink_to(tmp_path)
    (tmp_path / "y").symlink_to(tmp_path / "x")
    found, counts = walked(tmp_path)
    assert found == ["a.jpg", "x/b.jpg"]
    assert counts == {"links to folders seen already": 2}


def test_links_to_folders_and_files_elsewhere_are_followed(tmp_path: Path) -> None:
    outside = touch(tmp_path / "outside", "o.jpg", "p.jpg")
    inside = touch(tmp_path / "inside", "a.jpg")
    (inside / "link").symlink_to(outside)
    (inside / "one.jpg").symlink_to(outside / "p.jpg")
    assert walked(inside)[0] == ["a.jpg", "one.jpg", "link/o.jpg", "link/p.jpg"]


def test_a_link_to_itself_is_no_folder(tmp_path: Path) -> None:
    for name in ("ring.jpg", "ring"):
        (tmp_path / name).symlink_to(name)
    touch(tmp_path, "x/a.jpg")
    assert walked(tmp_path) == (["ring.jpg", "x/a.jpg"], {"named * without an ending": 1})
    assert subfolders(tmp_path) == ["x"]


def test_whatever_is_named_like_an_image_is_yielded(tmp_path: Path) -> None:
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "dangling.jpg").symlink_to("gone")
    os.mkfifo(tmp_path / "fifo.jpg")
    assert walked(tmp_path)[0] == ["dangling.jpg", "fifo.jpg", "folder.jpg"]


def test_names_that_are_not_utf8_keep_their_bytes(tmp_path: Path) -> None:
    name = os.fsdecode(b"\xff\xfe.jpg")
    touch(tmp_path, name)
    assert walked(tmp_path)[0] == [name]


def test_subfolders_are_sorted_and_visible_folders(tmp_path: Path) -> None:
    touch(tmp_path, "b/x", "10/x", "2/x", "B/x", ".hidden/x", "file")
    (tmp_path / "link").symlink_to(tmp_path / "b")
    assert subfolders(tmp_path) == ["10", "2", "B", "b", "link"]


@pytest.mark.parametrize("list_it", [subfolders, lambda path: list(walk_images(path, Ignored()))])
def test_a_folder_that_cannot_be_listed_is_named(tmp_path: Path, list_it: object) -> None:
    assert callable(list_it)
    with pytest.raises(DatasetError, match=r"cannot read the folder .*/gone: no such file or directory"):
        list_it(tmp_path / "gone")
    touch(tmp_path, "file")
    with pytest.raises(DatasetError, match=r"cannot read the folder .*/file: not a directory"):
        list_it(tmp_path / "file")
