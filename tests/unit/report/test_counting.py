"""Confusions, classes and orders, beside scikit-learn and by hand."""

from __future__ import annotations

import random
from collections import Counter

import numpy as np
import pytest
from sklearn.metrics import confusion_matrix, precision_recall_fscore_support

from featcli.report.counting import (
    class_scores,
    confused_pairs,
    count_cells,
    least_sure_hits,
    seriated,
    surest_mistakes,
    worst_first,
)
from featcli.report.material import Judged

CLASSES = ["ants", "bees", "cats", "dogs"]


def some_images(n: int = 300, seed: int = 0) -> list[Judged]:
    random_ = random.Random(seed)
    return [
        Judged(f"{index:03}.png", random_.choice(CLASSES[:3]), random_.choice(CLASSES[1:]), random_.random())
        for index in range(n)
    ]


def test_cells_and_scores_are_those_of_scikit_learn() -> None:
    images = some_images()
    truth, label = [image.truth for image in images], [image.label for image in images]
    cells = count_cells(images)
    expected = confusion_matrix(truth, label, labels=CLASSES)
    assert [[cells[one, other] for other in CLASSES] for one in CLASSES] == expected.tolist()
    scores = class_scores(cells, Counter(truth), CLASSES)
    numbers = precision_recall_fscore_support(truth, label, labels=CLASSES, zero_division=np.nan)
    for index, score in enumerate(scores):
        found = [score.precision, score.recall, score.f1, score.support]
        for mine, theirs in zip(found, (column[index] for column in numbers), strict=True):
            assert (mine is None) == bool(np.isnan(theirs))
            assert mine is None or mine == pytest.approx(theirs)


def test_an_unreadable_image_counts_in_its_class_alone() -> None:
    images = [Judged("a", "ants", "", 0.0), Judged("b", "ants", "ants", 0.9)]
    [score, *_] = class_scores(count_cells(images), {"ants": 2}, CLASSES)
    assert (score.precision, score.recall, score.support) == (1.0, 0.5, 2)
    assert not images[0].is_mistake and not images[0].is_right


def test_mistakes_and_hits_in_their_order() -> None:
    images = [
        Judged("c", "ants", "bees", 0.7),
        Judged("b", "ants", "bees", 0.9),
        Judged("a", "bees", "ants", 0.9),
        Judged("d", "bees", "bees", 0.6),
        Judged("e", "bees", "bees", 0.4),
        Judged("f", "bees", "", 0.0),
    ]
    assert [image.path for image in surest_mistakes(images, 10)] == ["a", "b", "c"]
    assert [image.path for image in surest_mistakes(images, 2)] == ["a", "b"]
    assert [image.path for image in least_sure_hits(images, 10)] == ["e", "d"]


def test_pairs_and_classes_the_worst_first() -> None:
    cells = {("ants", "bees"): 2, ("bees", "ants"): 2, ("cats", "ants"): 5, ("cats", "cats"): 90, ("ants", "ants"): 8}
    pairs = confused_pairs(cells, {"ants": 10, "bees": 2, "cats": 95})
    assert [(pair.truth, pair.label, pair.count) for pair in pairs] == [
        ("cats", "ants", 5),
        ("bees", "ants", 2),
        ("ants", "bees", 2),
    ]
    scores = class_scores(cells, {"ants": 10, "bees": 2, "cats": 95}, CLASSES)
    assert [score.name for score in worst_first(scores)] == ["bees", "ants", "cats", "dogs"]


def spread(order: list[str], cells: dict[tuple[str, str], int]) -> int:
    """How far apart what is confused lies, each mistake counted."""
    place = {name: index for index, name in enumerate(order)}
    return sum(count * abs(place[one] - place[other]) for (one, other), count in cells.items())


def test_blocks_of_confused_classes_come_together() -> None:
    names = [f"{index:02}" for index in range(30)]
    blocks = [names[start::5] for start in range(5)]  # each scattered over the alphabet
    cells = {(one, other): 3 for block in blocks for one in block for other in block if one != other}
    order = seriated(names, cells)
    assert sorted(order) == names
    for start in range(0, 30, 6):
        assert set(order[start : start + 6]) in [set(block) for block in blocks]


def test_a_chain_of_confusions_is_laid_out_end_to_end() -> None:
    names = list("hcafbgde")
    cells = dict.fromkeys(zip("abcdefg", "bcdefgh", strict=True), 5)
    assert "".join(seriated(names, cells)) in ("abcdefgh", "hgfedcba")


def test_the_order_is_better_than_the_alphabet_and_the_same_each_time() -> None:
    random_ = random.Random(3)
    names = [f"{index:03}" for index in range(200)]
    hidden = random_.sample(names, len(names))
    cells: dict[tuple[str, str], int] = {}
    for index in range(len(hidden) - 3):
        for step in (1, 2, 3):
            cells[hidden[index], hidden[index + step]] = random_.randrange(1, 9)
    order = seriated(names, cells)
    assert spread(order, cells) < 0.1 * spread(names, cells)
    assert seriated(names, dict(reversed(cells.items()))) == order


def test_what_is_never_confused_keeps_its_order_at_the_end() -> None:
    assert seriated(list("abcde"), {("d", "b"): 1, ("a", "a"): 7}) == ["b", "d", "a", "c", "e"]
