"""Copies among pictures, planted: found by features and pixels, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from featcli.analysis import duplicates
from featcli.analysis.alignment import Alignments, Pictures
from featcli.analysis.duplicates import bursts, find_duplicates, verify_pairs
from featcli.analysis.neighbours import directions, nearest
from tests.scenes import grey, scene

Changed = Image.Transpose.FLIP_LEFT_RIGHT


def features_of(names: list[int], spread: float = 0.3) -> NDArray[np.float32]:
    """(N, 64): pictures of one name lie near to each other."""
    centres = np.random.default_rng(0).standard_normal((max(names) + 1, 64))
    noise = np.random.default_rng(1).standard_normal((len(names), 64))
    return (centres[names] + spread * noise).astype(np.float32)


def found_among(images: list[Image.Image], names: list[int]) -> list[tuple[int, int]]:
    labels = np.arange(len(images)) % 2
    pairs = find_duplicates(
        features_of(names), labels, np.zeros(len(images), np.int64), Pictures([grey(image) for image in images])
    )
    return [(pair.first, pair.second) for pair in pairs]


class Told:
    """Stands for N pictures of which it is told how each two correlate, and by how much they overlap."""

    def __init__(self, correlation: NDArray[np.float64], overlap: float = 1.0) -> None:
        self.correlation = np.maximum(correlation, correlation.T)
        np.fill_diagonal(self.correlation, -1.0)
        self.overlap = overlap
        self.has_structure = np.ones(len(correlation), dtype=bool)
        self.least_coarse: set[float] = set()

    def most_alike(self, queries: NDArray[np.int64], among: NDArray[np.int64], *, own: bool) -> NDArray[np.int64]:
        assert own
        return among[self.correlation[np.ix_(queries, among)].argmax(axis=1)]

    def align(self, pairs: NDArray[np.int64], *, least: float = 0.0, least_coarse: float = 0.0) -> Alignments:
        self.least_coarse.add(least_coarse)
        laid = self.correlation[pairs[:, 0], pairs[:, 1]].astype(np.float32)
        overlap = np.full(len(pairs), self.overlap, np.float32)
        return Alignments(laid, laid, overlap, np.zeros(len(pairs), np.int64), np.ones(len(pairs), np.float32))


def found_by(told: Told, features: NDArray[np.float32], labels: NDArray[np.int64] | None = None) -> list[list[int]]:
    """The bursts among pictures, all of train."""
    nothing = np.zeros(len(features), np.int64)
    pairs = find_duplicates(features, nothing if labels is None else labels, nothing, told)  # type: ignore[arg-type]
    return bursts((pair.first, pair.second) for pair in pairs)


def tight(sizes: list[int], more: int = 30) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Groups of copies, each tighter than it is near to the others, and as many other pictures: features, correlations.

    Copies of different groups do not correlate yet.
    """
    random = np.random.default_rng(0)
    group = np.repeat(np.arange(len(sizes)), sizes)
    features = random.standard_normal((len(group) + more, 16))
    near = random.standard_normal(16) + 0.3 * random.standard_normal((len(sizes), 16))
    features[: len(group)] = near[group] + 0.001 * features[: len(group)]
    correlation = random.uniform(0.0, 0.2, (len(features), len(features)))
    correlation[: len(group), : len(group)][group[:, None] == group] = 0.999
    return features.astype(np.float32), correlation


def test_planted_copies_are_found_and_nothing_else() -> None:
    images = [scene(seed) for seed in range(40)]
    images += [images[0].transpose(Changed), images[5].crop((16, 12, 304, 228)), images[9].resize((160, 120))]
    assert found_among(images, [*range(40), 0, 5, 9]) == [(0, 40), (5, 41), (9, 42)]


def test_pictures_that_only_their_features_confuse_are_no_copies() -> None:
    assert found_among([scene(seed) for seed in range(40)], [seed // 4 for seed in range(40)]) == []


def test_many_copies_of_one_picture_hang_together() -> None:
    """Each has only few neighbours, all of them copies: one burst all the same."""
    original = scene(0)
    copies = [original.crop((cut, cut // 2, 320 - cut, 240 - cut // 2)) for cut in range(60)]
    images = copies + [scene(seed) for seed in range(1, 30)]
    pairs = found_among(images, [0] * 60 + list(range(1, 30)))
    assert [len(burst) for burst in bursts(pairs)] == [60]


def test_groups_of_copies_that_are_nearer_to_each_other_become_one_burst() -> None:
    """Each picture's nearest are in its own group: what joins the groups is looked for around them."""
    features, correlation = tight([4, 4, 4, 4])
    assert [len(burst) for burst in found_by(Told(correlation), features)] == [4, 4, 4, 4]
    correlation[:16, :16] = np.maximum(correlation[:16, :16], 0.995)
    assert [len(burst) for burst in found_by(Told(correlation), features)] == [16]


def test_groups_of_more_copies_than_are_looked_for_around_each_become_one_burst() -> None:
    features, correlation = tight([26, 26])
    correlation[:52, :52] = np.maximum(correlation[:52, :52], 0.995)
    assert [len(burst) for burst in found_by(Told(correlation), features)] == [52]


def test_what_only_a_later_member_of_a_burst_is_a_copy_of_joins_it() -> None:
    """As of tiles in a row, of which the first and the last do not overlap."""
    features, correlation = tight([4, 4])
    correlation[2:4, 4:8] = 0.995
    assert found_by(Told(correlation), features) == [list(range(8))]


def test_two_plain_surfaces_are_no_copies() -> None:
    plain = np.tile(np.arange(100, 164, dtype=np.uint8), (48, 1))
    pictures = Pictures([plain, plain, grey(scene(0)), grey(scene(1))])
    assert pictures.align(np.array([[0, 1]])).correlation[0] > 0.99
    assert find_duplicates(features_of([0, 0, 1, 2]), np.zeros(4, np.int64), np.zeros(4, np.int64), pictures) == []


def test_a_set_whose_pictures_are_alike_asks_for_more() -> None:
    """Of one scene with different noise before it, no two are copies; a true copy among them is."""
    random = np.random.default_rng(0)

    def variant(seed: int) -> Image.Image:
        shapes = np.asarray(scene(0).resize((64, 48)), dtype=np.float64)
        other = np.asarray(scene(1000 + seed).resize((64, 48)), dtype=np.float64)
        return Image.fromarray(
            (0.7 * shapes + 0.3 * other + random.normal(0, 3, shapes.shape)).clip(0, 255).astype("u1")
        )

    images = [variant(seed) for seed in range(40)]
    images.append(images[3].rotate(0))
    assert found_among(images, [*range(40), 3]) == [(3, 40)]


def test_copies_across_a_split_are_looked_for_beyond_the_nearest() -> None:
    """A picture of val whose nearest are copies in val: that in train is found too."""
    original = scene(0)
    val = [original.crop((cut, 0, 320, 240 - cut)) for cut in range(8)]
    images = [scene(seed) for seed in range(1, 30)] + [original] + val
    features = features_of([*range(1, 30), 0, *[0] * 8], 0.01)
    features[29] += 1.0  # farther from those of val than they are from each other
    sides = np.array([0] * 30 + [1] * 8)
    pairs = find_duplicates(features, np.zeros(38, np.int64), sides, Pictures([grey(image) for image in images]))
    crossing = {pair.second for pair in pairs if sides[pair.first] != sides[pair.second]}
    assert crossing == set(range(30, 38))


@pytest.mark.parametrize(
    ("correlation", "overlap", "is_copy"),
    [
        (0.71, 1.0, True),
        (0.69, 1.0, False),
        (0.82, 0.5, False),
        (0.86, 0.5, True),
        (0.985, 0.1, False),
        (1.0, 0.1, True),
    ],
)
def test_the_less_two_pictures_overlap_the_more_they_must_correlate(
    correlation: float, overlap: float, is_copy: bool
) -> None:
    """In Fisher's z by the root of the overlap, up to what is sure: of half, 0.84 where it is 0.7 of all."""
    told = Told(np.full((2, 2), correlation), overlap)
    found = verify_pairs(np.array([[0, 1]]), np.empty((0, 2), np.int64), 2, told)  # type: ignore[arg-type]
    assert bool(found) is is_copy


def test_nearest_neighbours_that_are_alike_by_nature_are_no_copies() -> None:
    """As of a class of several kinds: two of a kind correlate more than two of the class do."""
    random = np.random.default_rng(0)
    correlation = np.tanh(np.concatenate([random.normal(0.35, 0.15, 100), random.normal(0.85, 0.1, 100)]))
    told = Told(np.eye(400))
    told.correlation[np.arange(0, 400, 2), np.arange(1, 400, 2)] = correlation
    pairs = np.arange(400).reshape(-1, 2)
    assert (correlation[100:] > 0.7).sum() > 10
    assert verify_pairs(pairs[100:], pairs[:100], 40, told) == []  # type: ignore[arg-type]


def test_copies_are_believed_where_nearly_all_pictures_have_one() -> None:
    told = Told(np.eye(400))
    random = np.random.default_rng(0)
    told.correlation[np.arange(0, 200, 2), np.arange(1, 200, 2)] = np.tanh(random.normal(0.3, 0.1, 100))
    told.correlation[np.arange(200, 400, 2), np.arange(201, 400, 2)] = [*[0.2, 0.5] * 10, *[0.9] * 80]
    pairs = np.arange(400).reshape(-1, 2)
    assert len(verify_pairs(pairs[100:], pairs[:100], 40, told)) == 80  # type: ignore[arg-type]


def test_a_class_whose_few_pairs_happen_to_be_alike_has_the_spread_of_the_others() -> None:
    random = np.random.default_rng(0)
    labels = np.repeat(np.arange(13), 10)
    correlation = np.tanh(random.normal(0.2, 0.1, (130, 130)).clip(0.0, 0.6))
    correlation[:10, :10] = 0.68
    correlation[3, 4] = 0.75
    assert found_by(Told(correlation), random.standard_normal((130, 16)).astype(np.float32), labels) == []
    correlation[3, 4] = 0.95
    assert found_by(Told(correlation), random.standard_normal((130, 16)).astype(np.float32), labels) == [[3, 4]]


def test_of_many_pictures_fewer_pairs_are_refined(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where what is asked for is high: those that coarsely are far from it are left out."""
    features, correlation = tight([2, 2])
    correlation = np.maximum(correlation, np.random.default_rng(0).uniform(0.7, 0.85, correlation.shape))
    few, many = Told(correlation), Told(correlation)
    found = found_by(few, features)
    monkeypatch.setattr(duplicates, "MANY", 10)
    assert found_by(many, features) == found == [[0, 1], [2, 3]]
    assert 0.0 < max(few.least_coarse) < max(many.least_coarse)


def test_bursts_are_connected_sets() -> None:
    assert bursts([(5, 3), (1, 2), (2, 7), (3, 9), (4, 4)]) == [[1, 2, 7], [3, 5, 9], [4]]
    assert bursts([]) == []


@pytest.mark.parametrize("k", [1, 3, 50])
def test_nearest_are_those_of_all_cosines(k: int) -> None:
    features = np.random.default_rng(0).standard_normal((30, 8)).astype(np.float32)
    scaled = directions(features)
    rows, cosines = nearest(scaled, scaled, k, own=np.arange(30))
    centred = features - features.mean(axis=0)
    all_cosines = centred @ centred.T / np.outer(*[np.linalg.norm(centred, axis=1)] * 2)
    np.fill_diagonal(all_cosines, -np.inf)
    expected = np.argsort(-all_cosines, axis=1)[:, : min(k, 29)]
    assert (rows == expected).all()
    assert cosines == pytest.approx(np.take_along_axis(all_cosines, expected, axis=1), abs=1e-5)


def test_nearest_of_nothing() -> None:
    scaled = directions(np.ones((1, 4), np.float32))
    assert nearest(scaled, scaled, 3, own=np.arange(1))[0].shape == (1, 0)
