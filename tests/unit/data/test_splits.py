from __future__ import annotations

import random
from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featcli.data.splits import hash_order, split_by_hash

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
