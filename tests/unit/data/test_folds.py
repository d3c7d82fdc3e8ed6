from __future__ import annotations

import random
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featcli.data.folds import stratified_folds
from featcli.data.splits import hash_order

groups = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3)), min_size=1, max_size=60)


def names(count: int, start: int = 0) -> list[str]:
    return [f"unit{index}" for index in range(start, start + count)]


@pytest.mark.parametrize("folds", [2, 5, 7])
def test_folds_are_stratified_and_even(folds: int) -> None:
    sizes = [7, 40, 101]
    labels = [label for label, size in enumerate(sizes) for _ in range(size)]
    found = stratified_folds(names(len(labels)), labels, folds=folds, seed=0)
    assert found.dtype == np.int64
    for label, size in enumerate(sizes):
        counts = np.bincount(found[np.array(labels) == label], minlength=folds)
        assert set(counts) <= {size // folds, -(-size // folds)}
    overall = np.bincount(found, minlength=folds)
    assert overall.max() - overall.min() <= len(sizes) - 1


@given(images=groups, folds=st.integers(2, 6), seed=st.integers(0, 2**40), shuffle=st.randoms())
def test_folds_keep_units_whole_whatever_the_order(
    images: list[tuple[int, int]], folds: int, seed: int, shuffle: random.Random
) -> None:
    # A unit belongs to one class here; copies under two labels follow the first one that is seen.
    units, labels = [f"u{unit}-{label}" for unit, label in images], [label for _, label in images]
    found = stratified_folds(units, labels, folds=folds, seed=seed)
    by_unit = defaultdict(set)
    for unit, fold in zip(units, found.tolist(), strict=True):
        by_unit[unit].add(fold)
    assert all(len(values) == 1 for values in by_unit.values())
    for label in set(labels):
        distinct = {unit for unit, own in zip(units, labels, strict=True) if own == label}
        values = {fold for unit in distinct for fold in by_unit[unit]}
        if len(distinct) == 1:
            assert values == {-1}
        else:
            assert values <= set(range(folds))
            assert len(values) == min(folds, len(distinct))
    order = list(range(len(images)))
    shuffle.shuffle(order)
    again = stratified_folds([units[i] for i in order], [labels[i] for i in order], folds=folds, seed=seed)
    assert again.tolist() == [found[i] for i in order]


def test_copies_of_one_image_count_as_one_unit() -> None:
    assert stratified_folds(["same"] * 6, [0] * 6, folds=3, seed=0).tolist() == [-1] * 6
    found = stratified_folds(["x"] * 6 + ["y"], [0] * 7, folds=3, seed=0)
    assert len(set(found[:6].tolist())) == 1
    assert found[0] != found[6]


def test_folds_depend_on_the_seed_and_not_on_the_order_of_the_split() -> None:
    units = names(60)
    assert len({tuple(stratified_folds(units, [0] * 60, folds=5, seed=seed).tolist()) for seed in range(5)}) == 5
    # The images that come first in the split's order are val; were folds in the same order, they would not be mixed.
    first = sorted(units, key=lambda unit: hash_order(0, unit))[:5]
    of = dict(zip(units, stratified_folds(units, [0] * 60, folds=5, seed=0).tolist(), strict=True))
    assert [of[unit] for unit in first] != [0, 1, 2, 3, 4]


@given(images=groups, folds=st.integers(2, 6), seed=st.integers(0, 2**40), shuffle=st.randoms())
def test_units_of_several_classes_stay_whole_and_no_fold_holds_all_of_a_class(
    images: list[tuple[int, int]], folds: int, seed: int, shuffle: random.Random
) -> None:
    units, labels = [f"u{unit}" for unit, _ in images], [label for _, label in images]
    found = stratified_folds(units, labels, folds=folds, seed=seed).tolist()
    assert len(set(zip(units, found, strict=True))) == len(set(units))
    assert set(found) <= set(range(-1, folds))
    for label in set(labels):
        assert {fold for fold, own in zip(found, labels, strict=True) if own == label} not in [
            {fold} for fold in range(folds)
        ]
    order = list(range(len(images)))
    shuffle.shuffle(order)
    again = stratified_folds([units[i] for i in order], [labels[i] for i in order], folds=folds, seed=seed)
    assert again.tolist() == [found[i] for i in order]


def test_single_images_fill_one_fold_after_the_other() -> None:
    # In the order of the hash, class by class; each class begins with another fold.
    units, labels = names(37), [0] * 11 + [1] * 26
    found = dict(zip(units, stratified_folds(units, labels, folds=4, seed=5).tolist(), strict=True))
    for label, (start, end) in enumerate(((0, 11), (11, 37))):
        ranked = sorted(units[start:end], key=lambda unit: hash_order(5, f"fold:{unit}"))
        expected = [(int(4 * (index + 0.5) / len(ranked)) + label) % 4 for index in range(len(ranked))]
        assert [found[unit] for unit in ranked] == expected


@pytest.mark.parametrize("seed", range(3))
def test_old_images_keep_their_fold_when_some_are_added(seed: int) -> None:
    labels = [index % 3 for index in range(550)]
    old = stratified_folds(names(500), labels[:500], folds=5, seed=seed)
    new = stratified_folds(names(550), labels, folds=5, seed=seed)
    assert (old != new[:500]).sum() < 40


@pytest.mark.parametrize("seed", range(3))
def test_old_groups_keep_their_fold_when_some_are_added(seed: int) -> None:
    sizes = [random.Random(seed).randint(1, 10) for _ in range(220)]
    units = [f"p{group}" for group, size in enumerate(sizes) for _ in range(size)]
    labels = [int(unit[1:]) % 2 for unit in units]
    first = units.index("p200")
    old = stratified_folds(units[:first], labels[:first], folds=5, seed=seed)
    new = stratified_folds(units, labels, folds=5, seed=seed)
    assert (old != new[:first]).mean() < 0.2


def test_classes_of_few_images_leave_no_fold_empty() -> None:
    labels = [label for label in range(100) for _ in range(3)]
    assert np.bincount(stratified_folds(names(300), labels, folds=5, seed=0)).tolist() == [60] * 5


def test_large_units_are_spread_by_their_images() -> None:
    # Patients with 1 to 40 images: dealt by turns a fold could get all large ones.
    random_sizes = random.Random(0)
    sizes = [random_sizes.randint(1, 40) for _ in range(60)]
    units = [f"p{patient}" for patient, size in enumerate(sizes) for _ in range(size)]
    labels = [int(unit[1:]) % 2 for unit in units]
    for seed in range(5):
        found = stratified_folds(units, labels, folds=5, seed=seed)
        for label in (0, 1):
            counts = np.bincount(found[np.array(labels) == label], minlength=5)
            assert counts.max() - counts.min() <= 40, "no more than one unit apart"


def test_the_only_unit_of_a_class_is_always_trained_on() -> None:
    # p0 alone has images of class 1; its fold, held out, would leave none to learn from.
    units = ["p0", "p0", "p1", "p2", "p3"]
    found = stratified_folds(units, [0, 1, 0, 0, 0], folds=2, seed=0).tolist()
    assert found[:2] == [-1, -1]
    assert set(found[2:]) == {0, 1}
