"""Copies among pictures, planted: found by features and pixels, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from featcli.analysis.alignment import Pictures
from featcli.analysis.duplicates import bursts, find_duplicates
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
