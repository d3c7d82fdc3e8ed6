"""Lines and tables in the columns of a terminal."""

from __future__ import annotations

import shlex

import pytest

from featcli.lines import laid_out, table, wrapped
from featcli.text import columns

FACT = "store         /tmp/a: 4 files, 2.1 MB, 9.1 GB free on a disk that is nearly full"


def test_a_pipe_gets_lines_as_they_are() -> None:
    assert laid_out(FACT, None) == FACT


def test_what_does_not_fit_goes_on_below_its_text() -> None:
    assert laid_out(FACT, 40).split("\n") == [
        "store         /tmp/a: 4 files, 2.1 MB,",
        "              9.1 GB free on a disk that",
        "              is nearly full",
    ]


def test_a_name_that_leaves_no_room_gets_a_small_indent() -> None:
    assert laid_out(FACT, 24).split("\n")[1:] == [
        "  files, 2.1 MB, 9.1 GB",
        "  free on a disk that is",
        "  nearly full",
    ]


@pytest.mark.parametrize("width", range(1, 90))
def test_no_word_is_ever_broken(width: int) -> None:
    path = "/a/path/that/is/longer/than/many/terminals/are/wide"
    line = f"  images      from {path}, 猫猫猫 and e\u0301e\u0301e\u0301"
    parts = wrapped(line, width)
    assert " ".join(parts).split() == line.split()
    assert all(columns(part) <= width for part in parts if max(map(columns, part.split())) < width - 20)


def test_a_command_goes_on_after_a_backslash_and_still_is_that_command() -> None:
    command = "featcli finetune -c 'my runs/x/config.yaml' --set backbone.freeze_depth=stage5 -o \"a b\""
    parts = wrapped(f"next      {command}", 50)
    assert parts == [
        "next      featcli finetune \\",
        "            -c 'my runs/x/config.yaml' \\",
        "            --set backbone.freeze_depth=stage5 \\",
        '            -o "a b"',
    ]
    typed = "\n".join(parts).removeprefix("next")
    assert shlex.split(typed.replace("\\\n", " ")) == shlex.split(command)
    assert wrapped("versions  featcli 0.1.0, numpy 2.4.6", 26) == ["versions  featcli 0.1.0,", "          numpy 2.4.6"]


def test_cells_align_by_the_columns_that_they_take() -> None:
    rows = [("class", "n"), ("猫猫", "1"), ("e\u0301", "22"), ("\u1112\u1161\u11ab", "3")]
    lines = table(rows, right=(False, True), width=None)
    assert lines == ["class   n", "猫猫    1", "e\u0301      22", "\u1112\u1161\u11ab      3"]
    assert {columns(line) for line in lines} == {9}


def test_only_the_columns_that_may_shrink_do_and_ends_stay() -> None:
    rows = [("name", "n"), ("a_long_name_of_a_class_female", "12"), ("a_long_name_of_a_class_male", "3")]
    assert table(rows, right=(False, True), width=24, shrink=[0]) == [
        "name                   n",
        "a_long_na...s_female  12",
        "a_long_na...ass_male   3",
    ]
    assert table(rows, right=(False, True), width=5, shrink=[0])[0] == "name       n"
