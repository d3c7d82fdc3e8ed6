"""The metrics as a person reads them: in 80 columns, whatever the classes are called and however many they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from featcli.evaluation.truth import Truth
from featcli.tasks.multiclass import evaluate
from featcli.text import BLOCKS, columns
from featcli.writers.metrics_text import metrics_text


def measured(names: list[str], n: int = 60, positive: str | None = None, lost: int = 0) -> dict[str, Any]:
    random = np.random.default_rng(len(names))
    probabilities, labels = random.dirichlet(np.ones(len(names)), n), random.integers(0, len(names), n)
    return evaluate(probabilities, Truth(labels, [0] * lost), names, positive=positive)


@pytest.mark.parametrize("k", [2, 3, 7, 12, 13, 30, 31, 200])
@pytest.mark.parametrize("name", ["c", "a rather long name of a class, number ", "犬猫鳥魚虫花木草石水火土"])
def test_every_line_fits_into_eighty_columns(k: int, name: str) -> None:
    names = [f"{name}{index}" for index in range(k)]
    text = metrics_text("in photos", measured(names, positive=names[0] if k == 2 else None), width=80)
    assert max(map(columns, text.splitlines())) <= 80


def test_no_name_is_shortened_in_a_pipe() -> None:
    names = [name * 60 for name in "ab"]
    text = metrics_text("in photos", measured(names, positive=names[1]))
    assert "..." not in text
    assert [line.split()[0] for line in text.splitlines() if line.startswith("aa")] == [names[0]] * 2


def test_a_pipe_gets_the_confusion_matrix_of_twelve_classes_in_order() -> None:
    metrics = measured([f"{index:02d} a long name" for index in range(12)], n=600)
    lines = metrics_text("in photos", metrics).splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("true  ")) + 1
    found = [[int(cell) for cell in line.split()[-12:]] for line in lines[start : start + 12]]
    assert found == metrics["confusion"]


def test_a_terminal_gets_plots_and_a_pipe_gets_tables() -> None:
    metrics = measured(["cats", "dogs"])
    assert not set(BLOCKS) & set(metrics_text("in photos", metrics))
    assert set(BLOCKS) & set(metrics_text("in photos", metrics, width=80))


def test_of_many_classes_the_worst_are_listed_worst_first() -> None:
    metrics = measured([f"class{index:02d}" for index in range(31)], n=200)
    text = metrics_text("in photos", metrics)
    assert "\nthe 20 classes of the lowest recall, of 31 (--json has all)\n" in text
    listed = [line.split()[0] for line in text.splitlines() if line.startswith("class") and line[5].isdigit()]
    recall = {name: scores["recall"] for name, scores in metrics["per_class"].items() if scores["support"]}
    assert [recall[name] for name in listed] == sorted(recall.values())[:20]
    assert "class29" in metrics_text("in photos", measured([f"class{index:02d}" for index in range(30)]))


def test_a_printed_threshold_is_rounded_down_so_that_it_lets_through_what_it_says() -> None:
    metrics = measured(["no", "yes"], positive="yes", lost=40)
    metrics["thresholds"][0] |= {"threshold": 0.12345678}
    metrics["thresholds"][1] |= {"threshold": None}
    lines = metrics_text("in photos", metrics).splitlines()
    start = lines.index("yes from a threshold on, chosen on these images")
    assert lines[start + 2].startswith("  0.80   0.123456  ")
    assert lines[start + 3] == "  0.90  cannot be reached: too many images cannot be read"
    assert lines[-1].startswith("     -   0.500000  ")


def test_no_images() -> None:
    empty = evaluate(np.empty((0, 2)), Truth(np.empty(0, dtype=np.int64)), ["a", "b"])
    assert metrics_text("in photos", empty) == "no images, in photos"
