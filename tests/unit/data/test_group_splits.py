from __future__ import annotations

import itertools
import random
from collections import Counter, defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featcli.data.group_splits import split_groups

groups_of_images = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 3)), min_size=1, max_size=60)
shares = st.floats(0, 0.9)


def patients(seed: int, count: int = 12, classes: int = 3, *, mixed: bool = False) -> tuple[list[str], list[int]]:
    """Units and labels of patients with 1 to 60 images each, of one class, or of any."""
    rng = random.Random(seed)
    units, labels = [], []
    for patient in range(count):
        own = rng.randrange(classes)
        for _ in range(rng.randint(1, 60)):
            units.append(f"patient-{patient}")
            labels.append(rng.randrange(classes) if mixed else own)
    return units, labels


def split(units: list[str], labels: list[int], val: float = 0.2, test: float = 0.0, seed: int = 0) -> list[str]:
    return split_groups(units, labels, seed=seed, val_fraction=val, test_fraction=test)


def classes_of(units: list[str], labels: list[int]) -> dict[str, Counter[int]]:
    contents: dict[str, Counter[int]] = defaultdict(Counter)
    for unit, label in zip(units, labels, strict=True):
        contents[unit][label] += 1
    return contents


def nearest_share(units: list[str], labels: list[int], share: float) -> float | None:
    """How near whole groups that cover every class can come: all subsets, one by one. None where none covers them."""
    contents = list(classes_of(units, labels).values())
    count_of = Counter(label for content in contents for label in content)
    best = None
    for chosen in itertools.product((False, True), repeat=len(contents)):
        taken = [content for content, is_in in zip(contents, chosen, strict=True) if is_in]
        groups = Counter(label for content in taken for label in content)
        if all(min(1, count - 1) <= groups[label] <= count - 1 for label, count in count_of.items()):
            images = sum(sum(content.values()) for content in taken)
            off = abs(images / len(units) - share)
            best = off if best is None else min(best, off)
    return best


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("seed", range(6))
def test_every_class_is_covered_and_the_share_is_near_the_nearest(seed: int, mixed: bool) -> None:
    units, labels = patients(seed, 10, mixed=mixed)
    nearest = nearest_share(units, labels, 0.2)
    assert nearest is not None
    splits = split(units, labels, seed=seed)
    for label in set(labels):
        of_class = {unit for unit, own in zip(units, labels, strict=True) if own == label}
        inside = {place for place, own in zip(splits, labels, strict=True) if own == label}
        assert inside == ({"train", "val"} if len(of_class) > 1 else {"train"})
    assert abs(splits.count("val") / len(splits) - 0.2) <= nearest + 0.02


@given(
    images=groups_of_images, val=st.floats(0, 0.9), test=st.floats(0, 0.9), seed=st.integers(0, 99), mix=st.randoms()
)
def test_groups_stay_whole_train_keeps_every_class_and_order_does_not_matter(
    images: list[tuple[int, int]], val: float, test: float, seed: int, mix: random.Random
) -> None:
    units, labels = [f"u{unit}" for unit, _ in images], [label for _, label in images]
    splits = split(units, labels, val, test, seed)
    assert len(set(zip(units, splits, strict=True))) == len(set(units))
    assert {label for label, place in zip(labels, splits, strict=True) if place == "train"} == set(labels)
    if val == 0:
        assert "val" not in splits
    order = list(range(len(images)))
    mix.shuffle(order)
    again = split([units[index] for index in order], [labels[index] for index in order], val, test, seed)
    assert again == [splits[index] for index in order]


def test_four_groups_of_a_quarter_give_one_to_validation() -> None:
    units = [f"quarter{index % 4}" for index in range(80)]
    labels = [index // 4 % 2 for index in range(80)]  # every quarter has both classes
    assert Counter(split(units, labels))["val"] == 20


def test_a_group_larger_than_the_share_is_taken_where_a_class_has_no_other() -> None:
    units = ["a0"] * 50 + ["a1"] * 50 + ["b0"] * 5 + ["b1"] * 5
    splits = split(units, [0] * 100 + [1] * 10)
    assert Counter(splits[:100]) == {"train": 50, "val": 50}
    assert Counter(splits[100:]) == {"train": 5, "val": 5}


def test_a_class_of_three_groups_is_in_all_three_splits() -> None:
    for seed in range(20):
        units = [f"p{index % 6}" for index in range(120)]
        labels = [index % 6 // 3 for index in range(120)]
        splits = split(units, labels, 0.2, 0.2, seed)
        assert set(zip(labels, splits, strict=True)) == {
            (label, place) for label in (0, 1) for place in ("train", "val", "test")
        }


def test_old_images_keep_their_split_when_groups_are_added() -> None:
    moved = []
    for seed in range(10):
        rng = random.Random(seed)
        sizes = [rng.randint(1, 20) for _ in range(220)]
        units = [f"p{group}" for group, size in enumerate(sizes) for _ in range(size)]
        labels = [int(unit[1:]) % 3 for unit in units]
        first = units.index("p200")
        before = split(units[:first], labels[:first], seed=seed)
        after = split(units, labels, seed=seed)
        moved.append(sum(old != new for old, new in zip(before, after, strict=False)) / first)
    assert sum(moved) / 10 < 0.05


def test_images_without_a_group_are_split_exactly() -> None:
    units, labels = [f"image{index}" for index in range(1000)], [index % 4 for index in range(1000)]
    counts = Counter(zip(labels, split(units, labels, 0.2, 0.1), strict=True))
    assert all((counts[label, "val"], counts[label, "test"]) == (50, 25) for label in range(4))


def test_hundreds_of_classes_with_groups_of_their_own_are_split_soon() -> None:
    units = [f"c{label}g{group}" for label in range(300) for group in range(7) for _ in range(5)]
    labels = [int(unit[1:].split("g")[0]) for unit in units]
    splits = split(units, labels)  # in a second or so: not in a time that grows with the cube of the classes
    assert {label for label, place in zip(labels, splits, strict=True) if place == "val"} == set(range(300))
