"""Curves beside scikit-learn and by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit, logit
from sklearn.metrics import roc_auc_score, roc_curve

from featcli.report.curves import coverage, positive_scores, reliability, roc, uncalibrated
from featcli.report.material import Judged


def test_the_roc_curve_is_that_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    scores = random.normal(size=200).round(1)  # with ties
    positive = random.random(200) < 0.3 + 0.2 * (scores > 0)
    found = np.array(roc(scores, positive))
    x, y, _ = roc_curve(positive, scores, drop_intermediate=False)
    assert set(map(tuple, found.round(12))) <= set(map(tuple, np.stack([x, y], axis=1).round(12)))
    assert np.sum(np.diff(found[:, 0]) * (found[1:, 1] + found[:-1, 1]) / 2) == pytest.approx(
        roc_auc_score(positive, scores)
    )
    assert len(found) < len(x), "points on a straight line are left out"
    assert tuple(found[0]) == (0, 0) and tuple(found[-1]) == (1, 1)


def test_no_curve_of_one_class() -> None:
    assert roc(np.array([0.2, 0.4]), np.array([True, True])) == []


def test_scores_of_the_positive_class_from_what_was_predicted() -> None:
    images = [Judged("a", "sick", "sick", 0.9), Judged("b", "sick", "well", 0.8), Judged("c", "well", "", 0.0)]
    scores, positive = positive_scores(images, "sick")
    assert scores.tolist() == pytest.approx([0.9, 0.2]) and positive.tolist() == [True, True]


def test_accuracy_of_the_surest_by_the_share_that_is_answered() -> None:
    images = [
        Judged("a", "x", "x", 0.9),
        Judged("b", "x", "x", 0.8),
        Judged("c", "x", "y", 0.8),
        Judged("d", "x", "y", 0.6),
        Judged("e", "x", "", 0.0),
    ]
    assert coverage(images) == [(0.2, 1.0), (pytest.approx(0.6), pytest.approx(2 / 3)), (0.8, 0.5)]
    many = [Judged(str(index), "x", "x", index / 5000) for index in range(5000)]
    assert len(coverage(many, 200)) == 200 and coverage(many, 200)[-1] == (1.0, 1.0)


def test_bins_of_confidence() -> None:
    bins = reliability(np.array([0.1, 0.55, 0.6, 0.61]), np.array([False, True, False, True]))
    assert [(item.n, item.accuracy) for item in bins] == [(1, 0.0), (2, 0.5), (1, 1.0)]
    assert bins[1].confidence == pytest.approx(0.575)


def test_the_confidence_before_the_temperature() -> None:
    """Dividing what comes out by the temperature again gives what went in."""
    confidence = np.array([0.5, 0.7, 0.999, 1.0])
    before = uncalibrated(confidence, 1.7)
    assert expit(logit(before) / 1.7) == pytest.approx(confidence, abs=1e-9)
    assert before[1] > 0.7
