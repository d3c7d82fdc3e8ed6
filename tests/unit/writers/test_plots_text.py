"""Plots of characters: right numbers, bars to scale, lines that fit, whatever the classes are called."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from featcli.evaluation.truth import Truth
from featcli.tasks.multiclass import evaluate
from featcli.text import BLOCKS, columns, writable
from featcli.writers.plots_text import bar, class_bars, confused_of, confusion_matrix, confusion_plot

NAMES = ["c", "class ", "a rather long name of a class, number ", "犬猫鳥魚虫花木草石水火土", "\x1b[31m[bold]\n"]


def measured(names: list[str], n: int = 60) -> dict[str, Any]:
    random = np.random.default_rng(len(names))
    probabilities, labels = random.dirichlet(np.ones(len(names)), n), random.integers(0, len(names), n)
    return evaluate(probabilities, Truth(labels, []), names)


def counted(square: list[list[int]]) -> dict[str, Any]:
    """The metrics of a confusion matrix of classes a, b, ..."""
    cells = [(row, column) for row, line in enumerate(square) for column, n in enumerate(line) for _ in range(n)]
    probabilities = np.array([[float(index == column) for index in range(len(square))] for _, column in cells])
    names = [chr(ord("a") + index) for index in range(len(square))]
    return evaluate(probabilities, Truth(np.array([row for row, _ in cells]), []), names)


@pytest.mark.parametrize(
    ("share", "drawn"),
    [(0, ""), (1, "████"), (0.5, "██"), (0.25, "█"), (0.001, "▏"), (0.999, "███▉"), (0.28, "█▏"), (0.61, "██▌")],
)
def test_a_bar_is_empty_for_nothing_and_full_for_all_alone(share: float, drawn: str) -> None:
    assert bar(share, 4) == drawn


@pytest.mark.parametrize("width", [32, 33, 40, 59, 60, 80, 200])
@pytest.mark.parametrize("k", [2, 3, 7, 12, 13, 31, 150])
@pytest.mark.parametrize("name", NAMES)
def test_every_line_fits(name: str, k: int, width: int) -> None:
    names = [f"{name}{index}" for index in range(k)]
    metrics = measured(names, n=20 * k)
    plot = confusion_plot(names, metrics["confusion"], confused_of(metrics), width)
    lines = [*class_bars(metrics["per_class"], width), *plot]
    assert max(map(columns, lines)) <= width
    assert "".join(lines).isprintable()
    assert [columns(writable(line, "ascii")) for line in lines] == [columns(line) for line in lines]


def test_classes_worst_first_with_their_numbers() -> None:
    metrics = counted([[8, 0, 0], [3, 1, 0], [1, 0, 3]])
    assert class_bars(metrics["per_class"], 100) == [
        "class  precision  recall     f1  images  recall, 0 to 1",
        "b          1.000   0.250  0.400       4  ██████████",
        "c          1.000   0.750  0.857       4  ██████████████████████████████",
        "a          0.667   1.000  0.800       8  ████████████████████████████████████████",
    ]
    assert class_bars(metrics["per_class"], 40)[:2] == [
        "class  recall     f1  images",
        "b       0.250  0.400       4  ██▌",
    ]


def test_of_many_classes_thirty_have_a_line_and_the_rest_is_counted() -> None:
    metrics = measured([f"class{index:02d}" for index in range(45)], n=200)
    lines = class_bars(metrics["per_class"], 80)
    known = [scores["recall"] for scores in metrics["per_class"].values() if scores["recall"] is not None]
    assert lines[0] == f"the 30 classes of the lowest recall; {len(known) - 30} more are not shown"
    listed = [line.split()[0] for line in lines if line.startswith("class") and line[5].isdigit()]
    assert [metrics["per_class"][name]["recall"] for name in listed] == sorted(known)[:30]


def test_classes_without_images_are_counted() -> None:
    metrics = counted([[2, 0, 0], [0, 0, 0], [1, 0, 1]])
    lines = class_bars(metrics["per_class"], 80)
    assert lines[0] == "without images: 1 of 3 classes"
    assert [line[0] for line in lines[2:]] == ["c", "a"]
    assert class_bars({"a": {"recall": None, "f1": None, "support": 0}}, 80) == []


def test_the_matrix_marks_what_is_right_and_shades_shares_of_a_row() -> None:
    assert confusion_matrix(["ants", "bees", "wasps"], [[12, 0, 3], [1, 1, 0], [0, 0, 0]], 80) == [
        "confusion: rows true, columns predicted; [ ] right; shade: share of the row",
        "       ants  bees wasps",
        "ants   [12█]   .     3░",
        "bees     1▓   [1▓]   .",
        "wasps    .     .    [0 ]",
    ]


def test_letters_stand_for_names_that_are_too_long_for_a_column() -> None:
    names = [f"a long name {index:02d}" for index in range(12)]
    square = [[row * 12 + column for column in range(12)] for row in range(12)]
    lines = confusion_matrix(names, square, 80)
    assert lines is not None
    assert lines[1].split() == list("abcdefghijkl")
    assert [line.split()[0] for line in lines[2:]] == list("abcdefghijkl")
    found = [[int(cell.strip("[]" + BLOCKS).replace(".", "0")) for cell in line.split()[-12:]] for line in lines[2:]]
    assert found == square
    assert all("[" in line for line in lines[2:])


def test_a_matrix_that_does_not_fit_gives_way_to_the_most_confused() -> None:
    metrics = measured([f"class{index}" for index in range(12)], n=600)
    lines = confusion_plot(metrics["classes"], metrics["confusion"], confused_of(metrics), 40)
    assert " ".join(line.strip() for line in lines[:2]) == "the matrix of 12 classes takes a wider terminal"
    assert lines[2] == "most confused, true -> predicted"


def test_the_most_confused_pairs_have_bars_and_the_others_are_counted() -> None:
    square = [[9] * 13 for _ in range(13)]
    square[3][5], square[7][1] = 40, 20
    metrics = counted(square)
    lines = confusion_plot(metrics["classes"], metrics["confusion"], confused_of(metrics), 80)
    assert lines[:3] == [
        "most confused, true -> predicted",
        "d -> f  40 of 148  ████████████████████████████████████████",
        "h -> b  20 of 128  ████████████████████",
    ]
    assert len(lines) == 12
    assert lines[-1] == "and 146 more pairs"


def test_where_nothing_was_counted_the_most_frequent_mistake_is_known() -> None:
    metrics = counted([[1, 2], [0, 3]]) | {"confusion": None}
    assert [(pair.truth, pair.label, pair.count) for pair in confused_of(metrics)] == [("a", "b", 2)]
    assert [pair.count for pair in confused_of(metrics, lambda: {("b", "a"): 1, ("a", "b"): 2, ("a", "a"): 7})] == [
        2,
        1,
    ]
    assert confusion_plot(["a", "b"], None, [], 80) == ["no image was taken for another class"]
    assert confused_of(metrics | {"most_confused": None}) == []


def test_a_name_is_no_command_to_a_terminal_and_is_whole_in_a_pipe() -> None:
    name = "\x1b[31m" + "[red]" * 30
    metrics = measured([name, "b"])
    lines = [*class_bars(metrics["per_class"], None), *confusion_plot([name, "b"], metrics["confusion"], [], None)]
    assert "\x1b" not in "".join(lines)
    assert sum("\\x1b[31m" + "[red]" * 30 in line for line in lines) == 3


@pytest.mark.parametrize(
    ("encoding", "text"),
    [("utf-8", "[3█] 1░ ▏▌"), (None, "[3█] 1░ ▏▌"), ("ascii", "[3#] 1. -#"), ("latin-1", "[3#] 1. -#"),
     ("cp437", "[3#] 1. -#"), ("no such", "[3#] 1. -#")],
)  # fmt: skip
def test_blocks_only_where_the_stream_can_write_them(encoding: str | None, text: str) -> None:
    assert writable("[3█] 1░ ▏▌", encoding) == text
