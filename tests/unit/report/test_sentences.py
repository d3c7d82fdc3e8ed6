"""Which three sentences are said, and what is in them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from featcli.report.counting import ClassScores, Confused
from featcli.report.sentences import Situation, three_sentences

SCORES = [ClassScores("ants", 0.9, 0.88, 0.9, 60), ClassScores("bees", 0.9, 0.92, 0.9, 90)]
PLAIN = Situation(
    words="validation",
    n=150,
    n_errors=0,
    accuracy=0.9,
    interval=(0.87, 0.93),
    majority=0.6,
    largest="bees",
    scores=SCORES,
    confused=[Confused("ants", "bees", 6, 60)],
    selected=False,
    train_accuracy=0.95,
    held_out=(0.86, 0.94),
    ece=0.02,
    counts={},
    training={"ants": 100, "bees": 150},
    trainable=True,
)


def kinds(**changes: Any) -> list[str]:
    return [sentence.kind for sentence in three_sentences(replace(PLAIN, **changes))]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ["better", "weakest", "tune"]),
        ({"majority": 0.88}, ["unproven", "weakest", "tune"]),
        ({"majority": 0.95}, ["below", "weakest", "tune"]),
        ({"majority": None}, ["verdict", "weakest", "tune"]),
        ({"counts": {"leak": 2, "conflict": 1, "label": 3}}, ["better", "leaks", "conflicts"]),
        ({"counts": {"label": 1}, "selected": True}, ["better", "selected", "labels"]),
        ({"counts": {"label": 20}, "selected": True}, ["better", "labels", "selected"]),
        ({"scores": [*SCORES, ClassScores("cats", None, 0.0, 0.0, 4)]}, ["better", "never", "weakest"]),
        ({"n_errors": 3, "selected": True}, ["better", "errors", "selected"]),
        ({"interval": (0.8, 0.95)}, ["better", "wide", "weakest"]),
        ({"interval": (0.62, 1.0), "n": 9, "training": {"ants": 9}}, ["better", "wide", "few"]),
        ({"train_accuracy": 1.0, "accuracy": 0.85, "interval": (0.82, 0.88)}, ["better", "gap", "weakest"]),
        ({"train_accuracy": 1.0, "accuracy": 0.85, "interval": (0.7, 1.0)}, ["better", "wide", "weakest"]),
        ({"held_out": (0.95, 0.99)}, ["better", "harder", "weakest"]),
        ({"held_out": (0.6, 0.7)}, ["better", "easier", "weakest"]),
        ({"ece": 0.2}, ["better", "calibration", "weakest"]),
        ({"ece": 0.2, "n": 50}, ["better", "weakest", "tune"]),
        ({"scores": [], "accuracy": 1.0, "interval": (0.98, 1.0), "held_out": None}, ["better", "perfect", "next"]),
        ({"trainable": False}, ["better", "weakest", "next"]),
        ({"scores": [], "trainable": False}, ["better", "next", "novelty"]),
    ],
)
def test_what_matters_most_is_said(changes: dict[str, Any], expected: list[str]) -> None:
    assert kinds(**changes) == expected


def test_a_class_that_is_far_weaker_than_the_rest_goes_before_a_few_doubtful_labels() -> None:
    weak = [replace(SCORES[0], recall=0.5), SCORES[1]]
    assert kinds(scores=weak, counts={"label": 0}, training={"ants": 5, "bees": 500}) == ["better", "weakest", "few"]


def test_the_sentences_hold_the_numbers() -> None:
    verdict, weakest, _ = (sentence.text for sentence in three_sentences(PLAIN))
    assert verdict == (
        "It is right on 90.0 % of 150 validation images (95 % interval 87.0 % to 93.0 %); always naming the largest "
        "class, bees, gives 60.0 %, so it is better by at least 27.0 points."
    )
    assert weakest == (
        "The weakest class is ants, found in 88.0 % of its 60 images; the most frequent mistake is ants taken for bees "
        "(6 of 60)."
    )
    found = three_sentences(replace(PLAIN, counts={"leak": 1, "label": 2}))
    assert found[1].text.startswith("One photograph is on two sides of the split")
    assert found[2].text.startswith("2 labels are doubtful")


def test_there_are_three_whatever_holds() -> None:
    everything = replace(
        PLAIN,
        n_errors=9,
        selected=True,
        counts=dict.fromkeys(("leak", "conflict", "label"), 9),
        ece=0.5,
        held_out=(0, 0.1),
    )
    assert len(three_sentences(everything)) == 3
