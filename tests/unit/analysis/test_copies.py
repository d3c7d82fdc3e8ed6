"""From pairs of images to what an owner reads: leaks, conflicts, duplicates, bursts."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from featcli.analysis.copies import Copies, find_copies, same_content
from featcli.analysis.duplicates import Pair
from featcli.data.dataset import Dataset, Sample
from tests.scenes import grey, scene


def data_of(*images: tuple[str, str, int, str]) -> Dataset:
    """Images as path, split, label and content."""
    samples = tuple(
        Sample(path, label, split, hashlib.sha256(content.encode()).digest() if content else None)
        for path, split, label, content in images
    )
    return Dataset(Path("/d"), ("ants", "bees"), samples, {})


def rows_of(copies: Copies, own: dict[int, float] | None = None) -> list[tuple[str, str, str | None, str]]:
    return [(s.path, s.kind, s.partner, s.why) for s in copies.suspects(own or {})]


def test_each_kind() -> None:
    data = data_of(
        ("t1", "train", 0, "a"), ("t2", "train", 0, "b"), ("t3", "train", 1, "c"),
        ("v1", "val", 0, "d"), ("x1", "test", 0, "e"),
    )  # fmt: skip
    pairs = (
        Pair(0, 1, 0.9, "mirrored"),
        Pair(0, 2, 0.8, "cropped"),
        Pair(0, 3, 0.95, "turned"),
        Pair(3, 4, 0.85, "half"),
    )
    copies = Copies(data, pairs)
    assert rows_of(copies) == [
        ("v1", "leak", "t1", "turned; in train and val; burst 1 of 5 images"),
        ("x1", "leak", "v1", "half; in val and test; burst 1 of 5 images"),
        ("t3", "conflict", "t1", "cropped; under ants and bees; burst 1 of 5 images"),
        ("t2", "duplicate", "t1", "mirrored; burst 1 of 5 images"),
    ]
    assert rows_of(copies, {0: 0.1, 2: 0.9})[2][:3] == ("t1", "conflict", "t3")


def test_a_leak_from_train_is_named_before_one_from_val() -> None:
    data = data_of(("t1", "train", 0, "a"), ("v1", "val", 0, "b"), ("x1", "test", 0, "c"))
    pairs = (Pair(0, 2, 0.8, "mirrored"), Pair(1, 2, 0.99, "half"))
    assert Copies(data, pairs).leaks()[2].first == 0


@pytest.mark.parametrize("split", ["train", "val"])
def test_of_two_leaks_from_one_split_the_surer_is_named(split: str) -> None:
    data = data_of(("1", split, 0, "a"), ("2", split, 0, "b"), ("x1", "test", 0, "c"))
    pairs = (Pair(0, 2, 0.8, "mirrored"), Pair(1, 2, 0.99, "half"))
    assert Copies(data, pairs).leaks()[2].first == 1


def test_a_burst_has_a_row_for_each_image_but_one() -> None:
    data = data_of(*((f"t{row}", "train", 0, str(row)) for row in range(25)))
    chain = tuple(Pair(row, row + 1, 0.9, "overlapping by 58%") for row in range(24))
    rows = rows_of(Copies(data, chain))
    assert [(path, partner) for path, _, partner, _ in rows] == [(f"t{row + 1}", f"t{row}") for row in range(24)]
    assert all("burst 1 of 25 images" in why for *_, why in rows)


def test_identical_files_are_paired_across_splits_and_classes() -> None:
    data = data_of(
        ("t1", "train", 0, "a"), ("t2", "train", 0, "a"), ("t3", "train", 1, "a"),
        ("v1", "val", 0, "a"), ("v2", "val", 0, "a"),
        ("gone", "val", 0, ""), ("t4", "train", 0, "b"),
    )  # fmt: skip
    firsts, pairs = same_content(data.samples)
    assert firsts == [0, 6]
    assert sorted((pair.first, pair.second) for pair in pairs) == [(0, 1), (0, 2), (0, 3), (0, 4), (2, 3)]
    copies = Copies(data, tuple(pairs))
    assert sorted(copies.leaks()) == [3, 4]
    assert copies.bursts == [[0, 1, 2, 3, 4]]


def test_images_without_a_thumbnail_are_left_aside() -> None:
    data = data_of(*((f"t{row}", "train", 0, str(row)) for row in range(4)))
    thumbnails = {0: grey(scene(0)), 1: grey(scene(0).crop((16, 12, 304, 228))), 3: grey(scene(3))}
    features = np.random.default_rng(0).standard_normal((4, 8)).astype(np.float32)
    features[1] = features[0]
    copies = find_copies(data, features, np.array([True, True, True, False]), thumbnails, lambda done, total: None)
    assert [(pair.first, pair.second, pair.how.split(",")[0]) for pair in copies.pairs] == [(0, 1, "cropped")]
