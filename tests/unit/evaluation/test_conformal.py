"""Sets that hold the truth as often as was asked for: thresholds of MAPIE's, coverage on new draws."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from featcli.evaluation.abstaining import coverage_curve, set_metrics
from featcli.evaluation.conformal import MANY_CLASSES, Scores, SetRule, _quantile
from featcli.tasks.multiclass import softmax


def drawn(n: int, k: int, seed: int, sureness: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    probabilities = softmax(sureness * rng.normal(size=(n, k)), 1)
    return probabilities, np.array([rng.choice(k, p=row) for row in probabilities])


class Given:
    """A classifier that is fitted already, for MAPIE: its features are probabilities."""

    def __init__(self, k: int) -> None:
        self.classes_ = np.arange(k)
        self.is_fitted_ = True

    def fit(self, features: np.ndarray, labels: np.ndarray) -> Given:
        return self

    def predict_proba(self, features: np.ndarray) -> np.ndarray:
        return features

    def predict(self, features: np.ndarray) -> np.ndarray:
        return features.argmax(1)


@pytest.mark.parametrize("coverage", [0.8, 0.9, 0.95])
@pytest.mark.parametrize("n", [43, 200])
def test_thresholds_and_sets_are_mapies(n: int, coverage: float) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from mapie.classification import SplitConformalClassifier

        probabilities, labels = drawn(n, 4, n)
        new, _ = drawn(500, 4, 1)
        mapie = SplitConformalClassifier(Given(4), confidence_level=coverage, conformity_score="lac", prefit=True)
        mapie.conformalize(probabilities, labels)
        _, sets = mapie.predict_set(new)
    scores = Scores.of(probabilities, labels)
    rule = scores.rule(coverage)
    one = SetRule(np.full(4, _quantile(1.0 - scores.mass, scores.weights, coverage)), False, 4, False)
    np.testing.assert_array_equal(one.members(new), sets[:, :, 0])
    if not rule.by_class:
        np.testing.assert_array_equal(rule.limits, one.limits)


@pytest.mark.parametrize("k", [3, MANY_CLASSES + 5])
@pytest.mark.parametrize("coverage", [0.8, 0.9])
def test_new_images_are_covered_as_often_as_was_asked_for(k: int, coverage: float) -> None:
    found = []
    for seed in range(60):
        rule = Scores.of(*drawn(300, k, seed)).rule(coverage)
        new, labels = drawn(300, k, 1000 + seed)
        found.append(rule.members(new)[np.arange(300), labels].mean())
    error = np.std(found, ddof=1) / np.sqrt(len(found))
    assert coverage - 2 * error < np.mean(found) < coverage + 2 * error + 0.02


def test_each_class_is_covered_where_it_has_images_enough() -> None:
    """A class that is recognised less often would else pay for the others."""
    rng = np.random.default_rng(0)

    def skewed(n: int) -> tuple[np.ndarray, np.ndarray]:
        labels = rng.integers(0, 2, n)
        margin = np.where(labels == 0, 4.0, 0.5) + rng.normal(size=n)
        signed = np.where(labels == 0, margin, -margin)
        return softmax(np.stack([signed, -signed], 1), 1), labels

    rule = Scores.of(*skewed(1000)).rule(0.9)
    assert rule.by_class
    new, labels = skewed(20_000)
    held = rule.members(new)[np.arange(len(labels)), labels]
    for label in (0, 1):
        assert held[labels == label].mean() == pytest.approx(0.9, abs=0.04)


def test_too_few_images_hold_everything() -> None:
    rule = Scores.of(*drawn(5, 3, 0)).rule(0.9)
    assert np.isinf(rule.limits).all()
    assert rule.members(drawn(4, 3, 1)[0]).all()
    assert not np.isinf(Scores.of(*drawn(9, 3, 0)).rule(0.9).limits).any()  # ceil(10 * 0.9) = 9 of 9


def test_a_group_counts_once_however_many_images_it_has() -> None:
    probabilities, labels = drawn(40, 3, 0)
    alone = Scores.of(probabilities, labels).rule(0.8)
    copies = np.repeat(np.arange(40), np.arange(40) % 5 + 1)
    grouped = Scores.of(probabilities[copies], labels[copies], copies.astype(np.int64)).rule(0.8)
    np.testing.assert_allclose(grouped.limits, alone.limits)


def test_what_is_stored_is_read() -> None:
    scores = Scores.of(*drawn(30, 3, 0))
    again = Scores.from_arrays(scores.arrays(), 3)
    np.testing.assert_array_equal(again.rule(0.7).limits, scores.rule(0.7).limits)
    with pytest.raises(ValueError):
        Scores.from_arrays(scores.arrays() | {"mass": np.zeros(3)}, 3)
    with pytest.raises(ValueError):
        Scores.from_arrays(scores.arrays(), 2)


def test_adaptive_sets_are_filled_from_the_top() -> None:
    k = MANY_CLASSES
    rule = Scores.of(*drawn(500, k, 0)).rule(0.9)
    assert rule.adaptive
    new, _ = drawn(200, k, 1)
    for row, members in zip(new, rule.members(new), strict=True):
        if members.any():
            assert row[members].min() >= row[~members].max(initial=0)


def test_keeping_silent() -> None:
    confidence, hits = np.array([0.9, 0.8, 0.8, 0.6]), np.array([True, True, False, False])
    rows = coverage_curve(confidence, hits)
    assert rows[0] == {"coverage": 1.0, "threshold": 0.6, "accuracy": 0.5, "n": 4}
    assert rows[-1] == {"coverage": 0.75, "threshold": 0.8, "accuracy": 2 / 3, "n": 3}  # equals go together
    scores = Scores.of(*drawn(200, 3, 0))
    new, labels = drawn(300, 3, 1)
    (row,) = [row for row in set_metrics(scores, new, labels) if row["asked"] == 0.9]
    members = scores.rule(0.9).members(new)
    assert row["size"] == members.sum() / 300
    assert row["coverage"] == members[np.arange(300), labels].mean()
