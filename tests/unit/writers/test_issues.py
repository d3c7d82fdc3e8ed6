"""The table of suspicious images, written again and again."""

from __future__ import annotations

from pathlib import Path

import pytest

from featcli.analysis.suspects import Suspect
from featcli.errors import UsageError
from featcli.outputs import STDOUT
from featcli.writers.issues import marks_in, write_issues

SUSPECTS = [
    Suspect("b.jpg", "label", None, 0.7, "labelled ants"),
    Suspect("a.jpg", "leak", "c.jpg", 0.95, "mirrored, correlation 0.95"),
    Suspect("a.jpg", "label", None, 0.9, "labelled bees"),
]
HEADER = "path,kind,partner,score,why,exclude\n"


def test_rows_by_kind_and_strength(tmp_path: Path) -> None:
    path = tmp_path / "issues.csv"
    write_issues(path, SUSPECTS, [])
    assert path.read_text() == (
        HEADER + 'a.jpg,leak,c.jpg,0.9500,"mirrored, correlation 0.95",\n'
        "a.jpg,label,,0.9000,labelled bees,\n"
        "b.jpg,label,,0.7000,labelled ants,\n"
    )


def test_marks_outlive_the_next_table(tmp_path: Path) -> None:
    """On the row that had it; on another of the same image where that is gone; and where nothing is found any more."""
    path = tmp_path / "issues.csv"
    path.write_text(
        HEADER + "a.jpg,label,,0.9,x,yes\nb.jpg,dark,,0.9,x,yes\ngone.jpg,tiny,,0.5,small,yes\nc.jpg,dark,,1,x,\n"
    )
    for _ in range(2):
        write_issues(path, SUSPECTS, marks_in(path))
    assert path.read_text() == (
        HEADER + 'a.jpg,leak,c.jpg,0.9500,"mirrored, correlation 0.95",\n'
        "a.jpg,label,,0.9000,labelled bees,yes\n"
        "b.jpg,label,,0.7000,labelled ants,yes\n"
        "gone.jpg,tiny,,0.5,small,yes\n"
    )


def test_another_file_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "issues.csv"
    path.write_text("my own notes\n")
    with pytest.raises(UsageError, match="is no table of suspicious images"):
        marks_in(path)
    path.write_text("")
    assert marks_in(path) == marks_in(tmp_path / "none.csv") == []


def test_a_file_that_is_named_like_standard_output_is_not_what_was_written_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("-").write_text("my own notes\n")
    assert marks_in(STDOUT) == []
