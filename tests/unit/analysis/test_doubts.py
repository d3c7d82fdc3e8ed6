"""Labels, classes and images to doubt, planted in features, beside what cleanlab makes of the same."""

from __future__ import annotations

import numpy as np
import pytest
from cleanlab.rank import get_label_quality_scores
from numpy.typing import NDArray
from sklearn.datasets import load_digits
from sklearn.metrics import average_precision_score, roc_auc_score

from featcli.analysis.doubts import Doubts, find_alike_classes, find_doubts, find_outliers


def clusters(counts: list[int], distance: float, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Gaussian classes in 32 dimensions, their means so far from the origin."""
    random = np.random.default_rng(seed)
    labels = np.repeat(np.arange(len(counts)), counts)
    means = random.standard_normal((len(counts), 32))
    means *= distance / np.linalg.norm(means, axis=1, keepdims=True)
    return (means[labels] + random.standard_normal((len(labels), 32))).astype(np.float32), labels


def units(count: int) -> list[str]:
    return [str(row) for row in range(count)]


@pytest.mark.parametrize("rate", [0.05, 0.1])
def test_flipped_labels_rank_as_high_as_with_cleanlab(rate: float) -> None:
    """On scikit-learn's digits, by average precision over draws; cleanlab judges by the same heads' probabilities."""
    images, truth = load_digits(return_X_y=True)
    ours, theirs = [], []
    for seed in range(2):
        random = np.random.default_rng(seed)
        rows = random.permutation(len(truth))[:600]
        features, labels = images[rows].astype(np.float32), truth[rows].astype(np.int64)
        flipped = random.permutation(600)[: round(600 * rate)]
        labels[flipped] = (labels[flipped] + random.integers(1, 10, len(flipped))) % 10
        wrong = np.isin(np.arange(600), flipped)
        doubts = find_doubts(features, labels, 10, units(600))
        assert doubts is not None
        ours.append(average_precision_score(wrong, doubts.scores))
        theirs.append(average_precision_score(wrong, 1 - get_label_quality_scores(labels, doubts.first)))
        assert np.isin(flipped, doubts.doubtful).mean() > 0.95
    assert np.mean(ours) > np.mean(theirs)
    assert np.mean(ours) > 0.95


@pytest.mark.parametrize("seed", [2, 4])
def test_a_second_round_ranks_flipped_labels_higher_than_the_first_alone(seed: int) -> None:
    features, labels = clusters([50, 50, 50], 4.0, seed)
    flipped = np.random.default_rng(seed).permutation(150)[:30]
    labels[flipped] = (labels[flipped] + 1) % 3
    wrong = np.isin(np.arange(150), flipped)
    doubts = find_doubts(features, labels, 3, units(150))
    assert doubts is not None
    own = np.take_along_axis(doubts.first, labels[:, None], axis=1)[:, 0]
    other = np.where(labels[:, None] == np.arange(3), 0.0, doubts.first).max(axis=1)
    alone = average_precision_score(wrong, other / (own + other))
    assert average_precision_score(wrong, doubts.scores) > alone + 0.05


def test_clean_labels_are_not_doubted() -> None:
    features, labels = clusters([60, 60, 60], 8.0)
    doubts = find_doubts(features, labels, 3, units(180))
    assert doubts is not None
    assert len(doubts.doubtful) == 0
    assert find_alike_classes(doubts, labels) == []


def test_copies_do_not_vouch_for_each_other() -> None:
    """A wrong label on an image and its copy: held out together, both are doubted."""
    features, labels = clusters([60, 60], 6.0)
    features = np.concatenate([features, features[:1] + 0.001])
    labels = np.append(labels, 1)
    labels[0] = 1
    together = [*units(120), "0"]
    doubts = find_doubts(features, labels, 2, together)
    assert doubts is not None
    assert {0, 120} <= set(doubts.doubtful.tolist())


def test_classes_without_a_difference_cannot_be_told_apart() -> None:
    features, labels = clusters([80, 80, 40], 6.0)
    labels[:160] = np.arange(160) % 2
    features[:160] = clusters([160], 6.0, 5)[0]
    doubts = find_doubts(features, labels, 3, units(200))
    assert doubts is not None
    (pair,) = find_alike_classes(doubts, labels)
    assert (pair.first, pair.second, pair.n) == (0, 1, 160)
    both = doubts.first[:160]
    truth = roc_auc_score(labels[:160] == 0, np.log(both[:, 0] + 1e-12) - np.log(both[:, 1] + 1e-12))
    assert pair.area == pytest.approx(truth)


def test_too_few_images_for_folds_are_not_judged() -> None:
    features, labels = clusters([1, 1], 3.0)
    assert find_doubts(features, labels, 2, units(2)) is None
    assert find_doubts(features[:1], labels[:1], 1, units(1)) is None


def test_a_class_of_one_image_is_left_aside() -> None:
    features, labels = clusters([40, 40, 1], 6.0)
    doubts = find_doubts(features, labels, 3, units(81))
    assert doubts is not None
    assert isinstance(doubts, Doubts)
    assert 80 not in doubts.doubtful


def test_a_stranger_is_the_farthest() -> None:
    features, labels = clusters([60, 60], 6.0)
    features[17] = 12.0 * np.random.default_rng(3).standard_normal(32)
    found = find_outliers(features, labels, 2)
    assert found[0][0] == 17
    assert len(found) <= 3


def test_no_outlier_among_few_or_equal_images() -> None:
    assert find_outliers(*clusters([5, 5], 3.0), 2) == []
    assert find_outliers(np.ones((100, 8), np.float32), np.arange(100) % 2, 2) == []
