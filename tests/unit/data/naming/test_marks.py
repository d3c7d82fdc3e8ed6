"""A table of suspicious images as it comes back from its owner."""

from __future__ import annotations

from pathlib import Path

import pytest

from featcli.data.naming.exclusions import read_exclusions
from featcli.data.naming.marks import MarkError, read_marks
from featcli.data.naming.source import DataOptionError

OURS = (
    "path,kind,partner,score,why,exclude\n"
    '/d/ants/1.jpg,leak,/d/ants/2.jpg,0.9900,"mirrored, correlation 0.99",yes\n'
    "/d/ants/ü 3.jpg,label,,0.8000,labelled ants,\n"
    "/d/bees/é.jpg,outlier,,0.7000,unlike,YES\n"
)
GERMAN = OURS.replace('"mirrored, correlation 0.99"', "mirrored").replace(",", ";").replace("0.", "0,")


@pytest.mark.parametrize(
    "data",
    [
        OURS.encode(),
        b"\xef\xbb\xbf" + OURS.replace("\n", "\r\n").encode(),
        GERMAN.encode(),
        ("sep=;\r\n" + GERMAN).encode(),
        GERMAN.replace(";", "\t").encode("utf-16"),
        GERMAN.encode("cp1252"),
        (OURS + ",,,,,\n\n").encode(),
        OURS.replace("YES", " x ").encode(),
    ],
    ids=["ours", "excel", "semicolons", "sep", "unicode text", "windows", "empty rows", "x"],
)
def test_marked_rows_however_a_spreadsheet_saves_them(data: bytes, tmp_path: Path) -> None:
    marks = read_marks(data)
    assert marks is not None
    assert [mark.paths[-1] for mark in marks] == ["/d/ants/1.jpg", "/d/bees/é.jpg"]
    file = tmp_path / "issues.csv"
    file.write_bytes(data)
    found = read_exclusions(file, Path("/d"))
    covered = [
        name for name in ("ants/1.jpg", "ants/2.jpg", "ants/ü 3.jpg", "bees/é.jpg") if found.covers(f"/d/{name}")
    ]
    assert covered == ["ants/1.jpg", "bees/é.jpg"]
    assert found.unmatched() == []


def test_a_table_that_is_not_utf_8_is_of_windows() -> None:
    (mark,) = read_marks("path,exclude\n5 €.jpg,yes\n".encode("cp1252")) or ()
    assert mark.paths == ("5 \udc80.jpg", "5 €.jpg")


def test_columns_in_another_order_and_more_of_them() -> None:
    (mark,) = read_marks(b"note,Exclude,PATH\nmine,y,a.jpg\n,,b.jpg\n") or ()
    assert (mark.line, mark.paths, mark.cells["note"]) == (2, ("a.jpg",), "mine")


def test_a_list_of_paths_is_no_table() -> None:
    assert read_marks(b"ants/1.jpg\nants/2.jpg\n") is None
    assert read_marks(b"path,label\na.jpg,ants\n") is None
    assert read_marks(b"") is None


def test_a_name_with_a_star_is_no_pattern(tmp_path: Path) -> None:
    file = tmp_path / "issues.csv"
    file.write_text("path,exclude\n/d/a*.jpg,yes\n")
    found = read_exclusions(file, Path("/d"))
    assert [found.covers(f"/d/{name}") for name in ("a*.jpg", "abc.jpg")] == [True, False]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("path,exclude\na.jpg,perhaps\n", "line 2: exclude is 'perhaps', and neither yes nor no"),
        ("path,kind,exclude\nants,classes,yes\n", "line 2: a row of kind 'classes' names no image"),
    ],
)
def test_marks_that_say_nothing(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(MarkError, match=said):
        read_marks(text.encode())
    file = tmp_path / "issues.csv"
    file.write_text(text)
    with pytest.raises(DataOptionError, match=said):
        read_exclusions(file, Path("/d"))
