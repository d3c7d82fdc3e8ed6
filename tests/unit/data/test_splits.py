from __future__ import annotations

import random
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featcli.data.splits import hash_order, split_by_hash, stratified_folds

FRACTIONS = [(0.2, 0.0), (0.2, 0.1), (0.5, 0.4), (0.0, 0.0), (0.0, 0.3), (0.9, 0.0), (0.15, 0.15)]


def names(count: int, start: int = 0) -> list[str]:
    return [f"unit{index}" for index in range(start, start + count)]


def tally(labels: list[int], splits: list[str]) -> Counter[tuple[int, str]]:
    return Counter(zip(labels, splits, strict=True))


@pytest.mark.parametrize(("val", "test"), FRACTIONS)
@pytest.mark.parametrize("seed", [0, 1, 17])
def test_every_class_gets_exactly_its_share(val: float, test: float, seed: int) -> None:
    sizes = [1, 2, 3, 5, 10, 99, 250]
    labels = [label for label, size in enumerate(sizes) for _ in range(size)]
    splits = split_by_hash(names(len(labels)), labels, seed=seed, val_fraction=val, test_fraction=test)
    counts = tally(labels, splits)
    for label, size in enumerate(sizes):
        in_val = min(round(size * val), size - 1)
        in_test = min(round(size * test), size - 1 - in_val)
        assert [counts[label, split] for split in ("val", "test", "train")] == [
            in_val, in_test, size - in_val - in_test,
        ]  # fmt: skip


groups = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 3)), min_size=1, max_size=60)


@given(images=groups, seed=st.integers(0, 2**63), val=st.floats(0, 0.99), test=st.floats(0, 0.99), shuffle=st.randoms())
def test_units_stay_whole_classes_stay_in_train_and_order_does_not_matter(
    images: list[tuple[int, int]], seed: int, val: float, test: float, shuffle: random.Random
) -> None:
    units, labels = [f"u{unit}" for unit, _ in images], [label for _, label in images]
    splits = split_by_hash(units, labels, seed=seed, val_fraction=val, test_fraction=test)
    of_unit = defaultdict(set)
    for unit, split in zip(units, splits, strict=True):
        of_unit[unit].add(split)
    assert all(len(found) == 1 for found in of_unit.values())
    counts = tally(labels, splits)
    for label, size in Counter(labels).items():
        assert counts[label, "train"] >= 1
        assert counts[label, "val"] <= round(size * val)
        assert counts[label, "test"] <= round(size * test)
    order = list(range(len(images)))
    shuffle.shuffle(order)
    again = split_by_hash(
        [units[i] for i in order], [labels[i] for i in order], seed=seed, val_fraction=val, test_fraction=test
    )
    assert again == [splits[i] for i in order]


def test_the_order_is_that_of_sha256_of_seed_and_unit() -> None:
    # Written out: sha256(b"3:unit0"), ..., as `printf 3:unit0 | sha256sum` gives them.
    import hashlib

    units = names(40)
    splits = split_by_hash(units, [0] * 40, seed=3, val_fraction=0.25, test_fraction=0.1)
    ranked = sorted(units, key=lambda unit: hashlib.sha256(f"3:{unit}".encode()).hexdigest())
    expected = dict.fromkeys(ranked[:10], "val") | dict.fromkeys(ranked[10:14], "test")
    assert splits == [expected.get(unit, "train") for unit in units]


@pytest.mark.parametrize("seed", range(5))
def test_old_images_keep_their_split_when_some_are_added(seed: int) -> None:
    labels = [index % 3 for index in range(550)]
    old = split_by_hash(names(500), labels[:500], seed=seed, val_fraction=0.2, test_fraction=0.0)
    new = split_by_hash(names(550), labels, seed=seed, val_fraction=0.2, test_fraction=0.0)
    assert sum(before != after for before, after in zip(old, new[:500], strict=True)) < 10


def test_another_seed_gives_another_split() -> None:
    splits = {
        tuple(split_by_hash(names(50), [0] * 50, seed=seed, val_fraction=0.3, test_fraction=0.0)) for seed in range(5)
    }
    assert len(splits) == 5


def test_a_unit_that_does_not_fit_goes_on_and_is_not_divided() -> None:
    # Nine copies of one image and eleven single ones: four of twenty fit into val, so the nine cannot.
    units = ["copy"] * 9 + names(11)
    splits = split_by_hash(units, [0] * 20, seed=0, val_fraction=0.2, test_fraction=0.0)
    assert set(splits[:9]) == {"train"}
    assert splits.count("val") == 4


def test_file_names_that_are_not_utf8_have_an_order() -> None:
    assert len({hash_order(0, "\udcff.jpg"), hash_order(0, "\udcfe.jpg"), hash_order(1, "\udcff.jpg")}) == 3


# Folds


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
    assert overall.max() - overall.min() <= 1


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


def test_single_images_are_dealt_round_by_round() -> None:
    # As cards are dealt: in the order of the hash, class after class, the next class where the last one stopped.
    units, labels = names(37), [0] * 11 + [1] * 26
    found = dict(zip(units, stratified_folds(units, labels, folds=4, seed=5).tolist(), strict=True))
    dealt = [
        sorted(units[start:end], key=lambda unit: hash_order(5, f"fold:{unit}")) for start, end in ((0, 11), (11, 37))
    ]
    assert [found[unit] for unit in dealt[0] + dealt[1]] == [index % 4 for index in range(37)]


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
