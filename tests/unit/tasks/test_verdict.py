"""The closing lines of a run: 70 columns at most, and true."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from featcli.evaluation.truth import Truth
from featcli.tasks.multiclass import evaluate
from featcli.tasks.verdict import doubts, verdict_lines
from featcli.text import clipped, columns


def measured(predicted: list[int], labels: list[int], names: list[str], **more: Any) -> dict[str, Any]:
    positive = more.pop("positive", None)
    values = evaluate(np.eye(len(names))[predicted], Truth(np.array(labels), **more), names, positive=positive)
    return values | {"selected": None}


@pytest.mark.parametrize(
    "name", ["x", "a rather long name of a class, number ", "犬猫鳥魚虫花木草石水火土犬猫鳥魚虫花木草石水火土"]
)
def test_lines_have_seventy_columns_whatever_the_names_and_numbers(name: str) -> None:
    labels = [0] * 60_000 + [1] * 60_000
    predicted = [1] * 45_000 + [0] * 45_000 + [1] * 30_000
    groups = [str(row % 30_000) for row in range(120_000)]
    found = measured(predicted, labels, [name + "0", name + "1"], positive=name + "1", groups=groups)
    lines = verdict_lines(found | {"selected": {"epoch": 7, "epochs": 1000}})
    assert max(map(columns, lines)) <= 70
    assert lines[:3] == [
        "accuracy 0.375 (n = 120000)",
        lines[1],
        "the best of epochs 0 to 1000 on these images: optimistic",
    ]
    assert lines[1].startswith("95 % interval over 30000 groups 0.3")
    assert any(line.startswith("sensitivity 0.500 (0.4") for line in lines)


def test_nothing_is_said_to_be_confused_where_nothing_is() -> None:
    lines = verdict_lines(measured([0, 1, 2], [0, 1, 2], ["a", "b", "c"]))
    assert lines == [
        "accuracy 1.000 (95 % interval 0.439 to 1.000, n = 3)",
        "majority-class baseline 0.333; balanced accuracy 1.000",
        "expected calibration error (ECE) 0.000",
    ]
    assert doubts(measured([0, 1, 2], [0, 1, 2], ["a", "b", "c"])) == []


def test_no_images_no_words() -> None:
    empty = evaluate(np.empty((0, 2)), Truth(np.empty(0, dtype=np.int64)), ["a", "b"])
    assert (verdict_lines(empty), doubts(empty)) == ([], [])


def test_what_is_worse_than_the_largest_class_and_what_is_never_found() -> None:
    found = measured([1, 0, 0, 1], [0, 0, 0, 1], ["a", "b"])
    assert doubts(found) == []  # as good as always naming it, and both are found
    found = measured([1, 1, 0, 1], [0, 0, 0, 1], ["a", "b"])
    assert doubts(found) == [
        "accuracy 0.500 is below the majority-class baseline 0.750: always naming the largest class would be right "
        "more often"
    ]
    alone = measured([0, 0, 1], [0, 0, 0], ["a", "b"])
    assert (alone["majority_accuracy"], doubts(alone)) == (1.0, [])
    always = measured([0, 0, 0, 0], [0, 0, 0, 1], ["a", "b"])
    assert doubts(always) == ["recall 0.000 in 1 of 2 classes: b (1 image, never predicted)"]
    many = measured([1, 0] * 6, [0, 1] * 6, [f"c{index}" for index in range(8)], lost=[2, 2, 3, 4, 5])
    assert doubts(many)[1] == (
        "recall 0.000 in 6 of 8 classes: c0 (6 images), c1 (6 images), c2 (2 images, never predicted) and 3 more"
    )


def test_names_are_cut_to_columns_not_to_letters() -> None:
    assert clipped("abcdef", 6) == "abcdef"
    assert clipped("abcdefg", 6) == "ab...g"
    assert clipped("猫猫猫猫", 7) == "猫...猫"
    assert clipped("a\nb", 10) == "a\\nb"
    assert clipped("e\u0301" * 6, 6) == "e\u0301" * 6
    assert clipped("e\u0301" * 7, 6) == "e\u0301" * 2 + "..." + "e\u0301"
    assert columns("\u1112\u1161\u11ab\ufe0f") == 2
    assert [columns(clipped("猫" * 9, width)) <= width for width in range(8)] == [True] * 8
