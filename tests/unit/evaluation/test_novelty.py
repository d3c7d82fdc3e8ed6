"""Strangers are far from every class: distances written out, the images left out in turn, and few images."""

from __future__ import annotations

import numpy as np
import pytest

from featcli.evaluation.novelty import FEWEST, SHARE, SHRINKAGE, Novelty, _scaled


def like_a_network(n: int, d: int, k: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % k
    centres = np.random.default_rng(99).normal(size=(k, d))
    return np.maximum(0, centres[labels] + rng.normal(size=(n, d))).astype(np.float32), labels


def written_out(features: np.ndarray, labels: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Means and the inverse of the shrunk covariance."""
    scaled = features.astype(np.float64) / np.linalg.norm(features.astype(np.float64), axis=1, keepdims=True)
    means = np.stack([scaled[labels == label].mean(0) for label in range(k)])
    centred = scaled - means[labels]
    covariance = centred.T @ centred / len(labels)
    sphere = np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    return means, np.linalg.inv((1 - SHRINKAGE) * covariance + SHRINKAGE * sphere)


@pytest.mark.parametrize("shape", [(200, 20), (60, 150)])
def test_distances_are_mahalanobis_to_the_nearest_mean(shape: tuple[int, int]) -> None:
    features, labels = like_a_network(*shape, 3)
    novelty = Novelty.fit(features, labels, 3)
    assert novelty is not None
    means, precision = written_out(features, labels, 3)
    new = like_a_network(50, shape[1], 3, seed=1)[0]
    offsets = _scaled(new)[:, None] - means
    expected = np.einsum("nkd,de,nke->nk", offsets, precision, offsets).min(1)
    np.testing.assert_allclose(novelty.distances(new), expected, rtol=1e-4)


@pytest.mark.parametrize("shape", [(90, 20), (60, 150)])
def test_an_image_that_is_left_out_is_as_far_as_a_new_one(shape: tuple[int, int]) -> None:
    features, labels = like_a_network(*shape, 3)
    novelty = Novelty.fit(features, labels, 3)
    assert novelty is not None
    found = novelty._left_out(_scaled(features), labels, np.bincount(labels))
    for row in range(0, shape[0], 7):
        rest = np.arange(shape[0]) != row
        means, precision = written_out(features[rest], labels[rest], 3)
        offsets = _scaled(features[row : row + 1]) - means
        assert found[row] == pytest.approx(np.einsum("kd,de,ke->k", offsets, precision, offsets).min(), rel=0.05)


def test_the_stated_share_of_new_own_images_is_no_stranger() -> None:
    features, labels = like_a_network(300, 60, 3)
    novelty = Novelty.fit(features, labels, 3)
    assert novelty is not None
    own = novelty.of(like_a_network(2000, 60, 3, seed=5)[0])
    assert (own <= 1).mean() == pytest.approx(SHARE, abs=0.03)
    rng = np.random.default_rng(7)
    strangers = np.maximum(0, 2 * rng.normal(size=60) + rng.normal(size=(200, 60))).astype(np.float32)
    assert (novelty.of(strangers) > 1).mean() > 0.95


def test_a_row_depends_on_that_row_alone() -> None:
    features, labels = like_a_network(100, 30, 2)
    novelty = Novelty.fit(features, labels, 2)
    assert novelty is not None
    np.testing.assert_allclose(novelty.of(features)[7], novelty.of(features[7:8])[0], rtol=1e-12)


def test_of_few_images_nothing_is_told() -> None:
    features, labels = like_a_network(FEWEST - 1, 30, 2)
    assert Novelty.fit(features, labels, 2) is None
    many, of = like_a_network(100, 30, 2)
    assert Novelty.fit(many, of, 2, own=many[:10]) is None
    assert Novelty.fit(np.ones((50, 4), np.float32), np.arange(50) % 2, 2) is None  # all alike
    assert Novelty.fit(np.zeros((50, 4), np.float32), np.arange(50) % 2, 2) is None


def test_a_class_without_images_and_one_with_a_single_image() -> None:
    features, labels = like_a_network(60, 30, 2)
    labels = np.where(np.arange(60) == 0, 3, labels)
    novelty = Novelty.fit(features, labels, 4)
    assert novelty is not None
    assert np.isfinite(novelty.of(features)).all()
    again = Novelty.from_arrays(novelty.arrays(), novelty.threshold)
    np.testing.assert_array_equal(again.of(features), novelty.of(features))
