from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from featcli.data.naming.folders import Ignored
from featcli.data.readers.reader import ImageRef, UnreadableImage
from featcli.errors import UsageError
from featcli.workflow.inputs import expand

COMPOSED, DECOMPOSED = "caf\u00e9.jpg", "cafe\u0301.jpg"


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def touch(*names: str) -> None:
    for name in names:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)


def refs(*arguments: str) -> list[ImageRef]:
    return list(expand(arguments, Ignored()))


def names(*arguments: str) -> list[str]:
    return [ref.name for ref in refs(*arguments)]


def piped(*chunks: bytes, separator: bytes = b"\n") -> list[str]:
    """The names that come of a list in a pipe; each chunk is read before the next is written."""
    read, write = os.pipe()
    try:
        found: Iterator[ImageRef] = expand(["-"], Ignored(), separator=separator, stdin=read)
        os.write(write, b"".join(chunks))
        os.close(write)
        return [ref.name for ref in found]
    finally:
        os.close(read)


def reason(ref: ImageRef) -> str:
    with pytest.raises(UnreadableImage) as error:
        ref.reader.read(ref)
    return str(error.value)


# Names and patterns


def test_a_name_that_does_not_exist_is_a_row_whatever_its_characters() -> None:
    touch("a[1].jpg", "b.jpg")
    assert names("a[1].jpg", "gone[2].jpg", "gone?.jpg", "gone.jpg", "?.jpg") == [
        "a[1].jpg", "gone[2].jpg", "gone?.jpg", "gone.jpg", "b.jpg",
    ]  # fmt: skip


def test_a_star_that_matches_nothing_is_a_mistake_found_before_any_row() -> None:
    touch("b.jpg")
    with pytest.raises(UsageError, match=r"^the pattern 'no\*\.jpg' matches nothing$"):
        next(expand(["b.jpg", "no*.jpg"], Ignored()))


def test_a_pattern_below_a_folder_with_brackets() -> None:
    touch("p [2024]/in/1.jpg", "p [2024]/in/2.jpg", "p [2024]/in/deep/3.jpg", "p 2/in/4.jpg")
    assert names("p [2024]/in/*.jpg") == ["p [2024]/in/1.jpg", "p [2024]/in/2.jpg"]
    assert names("p [2024]/**/*.jpg") == [f"p [2024]/in/{name}.jpg" for name in ("1", "2", "deep/3")]
    assert names("p [24]/in/*.jpg") == ["p 2/in/4.jpg"]


def test_a_folder_that_cannot_be_listed_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    touch("d/a/1.jpg", "d/b/2.jpg")
    scandir = os.scandir

    def guarded(path: str) -> object:
        if str(path) == "d/a":
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    assert names("d") == ["d/a", "d/b/2.jpg"]


# The two ways to write an accent


@pytest.mark.parametrize(("there", "given"), [(COMPOSED, DECOMPOSED), (DECOMPOSED, COMPOSED)])
def test_a_name_is_found_in_its_other_form_and_kept_as_given(there: str, given: str) -> None:
    touch(f"d {there}/{there}")
    (ref,) = refs(f"d {given}/{given}")
    assert ref.name == f"d {given}/{given}"
    assert ref.reader.read(ref) == f"d {there}/{there}".encode()
    assert names(f"d {given}", f"d {given}/") == [f"d {there}/{there}"] * 2


def test_two_files_whose_names_differ_by_form_alone_stay_two() -> None:
    touch(COMPOSED, DECOMPOSED)
    assert [ref.reader.read(ref).decode() for ref in refs(DECOMPOSED, COMPOSED)] == [DECOMPOSED, COMPOSED]


def test_a_pattern_in_its_other_form() -> None:
    touch(COMPOSED)
    assert names("cafe\u0301*") == [COMPOSED]


# Files that were probably meant


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ('"d/1.jpg"', "d/1.jpg"),
        ("'d/1.jpg'", "d/1.jpg"),
        ("d/1.jpg ", "d/1.jpg"),
        ("d\\1.jpg", "d/1.jpg"),
        ("d/1", "d/1.jpg"),
        ("d/2", "d/2.PNG"),
        ("file://{here}/d/a%20b.jpg", "{here}/d/a b.jpg"),
        ("~/d/1.jpg", "{here}/d/1.jpg"),
    ],
)
def test_the_reason_names_the_file_that_was_probably_meant(
    given: str, meant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    touch("d/1.jpg", "d/2.PNG", "d/a b.jpg")
    (ref,) = refs(given.format(here=tmp_path))
    assert ref.name == given.format(here=tmp_path)
    assert reason(ref) == f"no such file or directory; did you mean {meant.format(here=tmp_path)}?"


def test_an_odd_name_that_exists_is_that_file() -> None:
    touch("d\\1.jpg", "d/1.jpg", " 2.jpg", "2.jpg")
    assert [ref.reader.read(ref).decode() for ref in refs("d\\1.jpg", " 2.jpg")] == ["d\\1.jpg", " 2.jpg"]
    assert [reason(ref) for ref in refs("gone", "")] == ["no such file or directory"] * 2


# Lists


TEXT = "d/\u00e9.jpg\nd/2.jpg\n"


@pytest.mark.parametrize(
    "data",
    [
        TEXT.encode(),
        TEXT.encode("utf-8-sig"),
        TEXT.encode().replace(b"\n", b"\r\n"),
        b"\n\r\n" + TEXT.encode() + b"\r\n\n",
        TEXT.encode().removesuffix(b"\n"),
        TEXT.encode("utf-16"),
        TEXT.encode("utf-16-le"),
        TEXT.encode("utf-16-be"),
        b"\xfe\xff" + TEXT.replace("\n", "\r\n").encode("utf-16-be"),
    ],
    ids=["plain", "bom", "crlf", "blank lines", "no end", "utf-16", "utf-16-le", "utf-16-be", "be with mark and crlf"],
)
def test_ways_to_write_the_same_list(data: bytes) -> None:
    assert piped(data) == ["d/\u00e9.jpg", "d/2.jpg"]


def test_lists_one_after_the_other_and_names_as_they_are() -> None:
    assert piped(b"\xef\xbb\xbfa.jpg\n\xef\xbb\xbfb.jpg\n c.jpg \ncaf\xe9.jpg\nx") == [
        "a.jpg", "b.jpg", " c.jpg ", os.fsdecode(b"caf\xe9.jpg"), "x",
    ]  # fmt: skip
    assert piped(b"a\r\0b\n\0\0c", separator=b"\0") == ["a\r", "b\n", "c"]
    assert piped(b"") == []


def test_nuls_in_a_list_of_lines_are_named() -> None:
    (name,) = piped(b"d/1.jpg\0d/2.jpg\0")
    (ref,) = refs(name)
    assert reason(ref) == "its name holds a NUL (-0 reads a list that NULs separate)"
