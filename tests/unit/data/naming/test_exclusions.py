from __future__ import annotations

import os
from pathlib import Path

import pytest

from featcli.data.naming.exclusions import read_exclusions
from featcli.data.naming.source import DataOptionError

BASE = Path("/data/cats")


def left_out(tmp_path: Path, text: str | bytes, *names: str) -> tuple[list[str], list[str]]:
    file = tmp_path / "exclude.txt"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    exclusions = read_exclusions(file, BASE)
    return [name for name in names if exclusions.covers(name)], exclusions.unmatched()


def test_files_and_folders(tmp_path: Path) -> None:
    names = ("a/1.jpg", "a/10.jpg", "a/x/1.jpg", "ab/1.jpg", "b/a/1.jpg", "1.jpg")
    assert left_out(tmp_path, "a/1.jpg\n", *names) == (["a/1.jpg"], [])
    assert left_out(tmp_path, "a", *names) == (["a/1.jpg", "a/10.jpg", "a/x/1.jpg"], [])
    assert left_out(tmp_path, "./a//x/\n", *names) == (["a/x/1.jpg"], [])
    assert left_out(tmp_path, "1.jpg", *names) == (["1.jpg"], [])


def test_comments_blank_lines_and_line_ends(tmp_path: Path) -> None:
    text = b"\xef\xbb\xbf# blurred\r\n\r\n  a.jpg  \r\n   # and more\n\n./#b.jpg"
    assert left_out(tmp_path, text, "a.jpg", "#b.jpg", "# blurred", "c.jpg") == (["a.jpg", "#b.jpg"], [])


def test_absolute_paths(tmp_path: Path) -> None:
    text = "/data/cats/a.jpg\n/data/cats/b/\n/elsewhere/c\n/data/cats2\n"
    names = ("a.jpg", "b/1.jpg", "/elsewhere/c/1.jpg", "2/a.jpg", "/data/cat.jpg")
    assert left_out(tmp_path, text, *names) == (["a.jpg", "b/1.jpg", "/elsewhere/c/1.jpg"], ["/data/cats2"])


def test_a_star_is_any_text_and_nothing_else_is_special(tmp_path: Path) -> None:
    names = ("a/1.gif", "1.gif", "1xgif", "a/[1].jpg", "a/1.jpg", "a/q?.jpg", "a/qq.jpg", "deep/er/thumbs/1.jpg")
    assert left_out(tmp_path, "*.gif", *names) == (["a/1.gif", "1.gif"], [])
    assert left_out(tmp_path, "a/[1]*", *names) == (["a/[1].jpg"], [])
    assert left_out(tmp_path, "a/[1].jpg\na/q?.jpg", *names) == (["a/[1].jpg", "a/q?.jpg"], [])
    assert left_out(tmp_path, "*/thumbs", *names) == (["deep/er/thumbs/1.jpg"], [])
    assert left_out(tmp_path, "a/*.g", *names) == ([], ["a/*.g"])
    assert left_out(tmp_path, "/data/cats/a/**.gif", *names) == (["a/1.gif"], [])


def test_every_line_that_covers_an_image_counts_as_matched(tmp_path: Path) -> None:
    assert left_out(tmp_path, "a\na/1.jpg\n*1.jpg\nb\na/2.jpg", "a/1.jpg") == (["a/1.jpg"], ["b", "a/2.jpg"])


def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9/1.jpg")
    assert left_out(tmp_path, b"caf\xe9\n", name, "cafe/1.jpg") == ([name], [])


def test_a_list_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataOptionError, match=r"/gone\.txt cannot be read: no such file or directory$") as error:
        read_exclusions(tmp_path / "gone.txt", BASE)
    assert error.value.option == "exclude"
    with pytest.raises(DataOptionError, match=r"cannot be read: is a folder$"):
        read_exclusions(tmp_path, BASE)


def test_lists_from_windows(tmp_path: Path) -> None:
    names = ("a/1.jpg", "a/2.jpg", "b\\3.jpg", "b/3.jpg", "c/1.png")
    text = b"\xef\xbb\xbfa\\1.jpg\r\nb\\3.jpg\r\n.\\c\\*.png\r\n"
    assert left_out(tmp_path, text, *names) == (["a/1.jpg", "b\\3.jpg", "b/3.jpg", "c/1.png"], [])
    assert left_out(tmp_path, "a\\gone.jpg", *names) == ([], ["a\\gone.jpg"])
    for encoding in ("utf-16", "utf-16-le", "utf-16-be"):
        assert left_out(tmp_path, "a\\1.jpg\r\nc\r\n".encode(encoding), *names) == (["a/1.jpg", "c/1.png"], [])
    with pytest.raises(DataOptionError, match=r"holds NULs") as error:
        left_out(tmp_path, b"a/1.jpg\0a/2.jpg\0")
    assert (error.value.option, error.value.hint) == ("exclude", "Save it as UTF-8, one path a line.")


def test_accents_in_either_form(tmp_path: Path) -> None:
    for line, name in (("caf\u00e9", "cafe\u0301/1.jpg"), ("cafe\u0301/*", "caf\u00e9/1.jpg")):
        assert left_out(tmp_path, line, name, "cafe/1.jpg") == ([name], [])
