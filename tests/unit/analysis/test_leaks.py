"""What train knows of val: a quick look, beside the thorough one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from featcli.analysis.leaks import MOST_COMPARED, Leaks, find_leaks
from featcli.data.dataset import Sample
from featcli.data.pixels.thumbnails import Thumbnail
from tests.scenes import grey, scene


class Set:
    """Images of train, then of val, then of test: scenes by their number, val mirrored."""

    def __init__(self, train: list[int], val: list[int], test: Sequence[int] = ()) -> None:
        self.scenes = [*train, *val, *test]
        self.samples = [Sample(f"t{row}", row % 2, "train", bytes([row])) for row in range(len(train))]
        self.samples += [Sample(f"v{row}", row % 2, "val", bytes([100 + row])) for row in range(len(val))]
        self.samples += [Sample(f"x{row}", row % 2, "test", bytes([200 + row])) for row in range(len(test))]
        centres = np.random.default_rng(0).standard_normal((200, 32))
        noise = 0.2 * np.random.default_rng(1).standard_normal((len(self.scenes), 32))
        self.features: NDArray[np.float32] = (centres[self.scenes] + noise).astype(np.float32)
        self.looked: set[int] = set()

    def look(self, rows: list[int]) -> dict[int, Thumbnail]:
        self.looked |= set(rows)
        found = {}
        for row in rows:
            thumbnail = grey(scene(self.scenes[row]))
            found[row] = thumbnail[:, ::-1] if self.samples[row].split == "val" else thumbnail
        return found

    def leaks(self, split: str = "val") -> Leaks:
        readable = np.ones(len(self.samples), bool)
        return find_leaks(self.samples, self.features, readable, split, self.look)  # type: ignore[arg-type]


def test_copies_in_train_are_found_and_distances_told() -> None:
    images = Set(list(range(30)), [3, 40, 41, 12, 42])
    leaks = images.leaks()
    assert {row: pair.first for row, pair in leaks.pairs.items()} == {30: 3, 33: 12}
    assert all(pair.how.startswith("mirrored, correlation") for pair in leaks.pairs.values())
    assert leaks.compared == {30, 31, 32, 33, 34}
    centred = images.features - images.features.mean(axis=0)
    cosines = centred @ centred.T / np.outer(*[np.linalg.norm(centred, axis=1)] * 2)
    assert [leaks.distances[row] for row in range(30, 35)] == pytest.approx(1 - cosines[30:, :30].max(axis=1), abs=1e-5)


def test_identical_files_need_no_look() -> None:
    images = Set([0, 1, 2, 3], [0])
    images.samples[4] = Sample("v0", 0, "val", images.samples[0].digest)
    assert images.leaks().pairs[4].how == "identical files"
    assert images.looked == set()


def test_no_more_than_so_many_are_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    assert MOST_COMPARED == 300
    monkeypatch.setattr("featcli.analysis.leaks.MOST_COMPARED", 2)
    images = Set(list(range(20)), [3, 40, 41, 12, 42])
    leaks = images.leaks()
    assert leaks.compared == {20, 23}, "the nearest"
    assert set(leaks.pairs) == {20, 23}
    assert len(leaks.distances) == 5


def test_what_is_said_of_val_does_not_depend_on_the_test() -> None:
    train, val, test = list(range(20)), [3, 40, 41], [3, 5, 42]
    alone, both = Set(train, val), Set(train, val, test)
    alone.features = both.features[: len(alone.samples)]
    assert both.leaks() == alone.leaks()
    assert both.looked == alone.looked
    assert set(both.leaks("test").pairs) == {23, 24}


def test_of_two_copies_in_train_the_surer_is_named() -> None:
    """The last is nearer by its features, the first by its pixels."""
    images = Set([5, *range(10, 30), 5], [5])
    images.features[21] = images.features[22]
    exact = images.look

    def look(rows: list[int]) -> dict[int, Thumbnail]:
        found = exact(rows)
        found[21] = (0.8 * found[21] + 0.2 * grey(scene(9))).astype(np.uint8)
        return found

    images.look = look  # type: ignore[method-assign]
    assert images.leaks().pairs[22].first == 0


def test_a_plain_surface_is_not_what_another_one_is() -> None:
    images = Set([1, 2, 3, 4], [1])
    plain = np.tile(np.arange(100, 164, dtype=np.uint8), (48, 1))
    images.look = lambda rows: dict.fromkeys(rows, plain)  # type: ignore[method-assign]
    assert images.leaks().pairs == {}


@pytest.mark.parametrize(("train", "val"), [([], [1]), ([1], []), ([], [])])
def test_nothing_to_compare(train: list[int], val: list[int]) -> None:
    leaks = Set(train, val).leaks()
    assert (leaks.pairs, leaks.compared) == ({}, frozenset())


def test_one_image_a_class() -> None:
    """No two of a class to see what chance gives: copies must be sure ones."""
    assert set(Set([5, 6], [5]).leaks().pairs) == {2}
