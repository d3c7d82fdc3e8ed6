"""What a head says of a row that it did not learn from: against heads that are solved without it."""

from __future__ import annotations

import numpy as np
import pytest

from featcli.heads.influence import Influence
from featcli.heads.kind import HeldOut, LabelledRows
from featcli.heads.leave_one_out import is_affordable, leave_one_out
from featcli.heads.logistic import fit_logistic
from featcli.heads.logistic_path import solve_path
from featcli.tasks.multiclass import softmax


def like_a_network(n: int, d: int, k: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Rectified features of classes that overlap, and some wrong labels."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % k
    features = np.maximum(0, rng.normal(size=(k, d))[labels] + 2 * rng.normal(size=(n, d))).astype(np.float32)
    wrong = rng.random(n) < 0.08
    return features, np.where(wrong, (labels + 1) % k, labels)


def left_out(rows: LabelledRows, C: float, units: np.ndarray) -> HeldOut:
    (solution,) = solve_path(rows.features, rows.labels, rows.n_classes, [C], class_weight=rows.class_weight)
    found = leave_one_out(rows, C, solution.weight, solution.bias, units)
    assert found is not None
    return found


CASES = [
    (60, 200, 2, 0.1, "none"),
    (150, 20, 2, 1.0, "balanced"),
    (90, 30, 3, 1.0, "none"),
    (60, 100, 3, 10.0, "balanced"),
    (120, 12, 4, 100.0, "none"),
    (40, 64, 2, 100.0, "none"),
]


@pytest.mark.parametrize(("n", "d", "k", "C", "class_weight"), CASES)
def test_it_is_the_head_that_is_solved_without_the_row(n: int, d: int, k: int, C: float, class_weight: str) -> None:
    features, labels = like_a_network(n, d, k)
    rows = LabelledRows(features, labels, k, class_weight)
    units = np.arange(n)
    units[:6] = [0, 0, 2, 2, 2, 5]  # some rows go together
    found = left_out(rows, C, units)
    np.testing.assert_array_equal(found.rows, np.arange(n))
    for row in range(0, n, 5):
        unit = np.flatnonzero(units == units[row])
        rest = np.setdiff1d(np.arange(n), unit)
        (solved,) = solve_path(features[rest], labels[rest], k, [C], class_weight=class_weight)
        expected = softmax(features[unit].astype(np.float64) @ solved.weight.T + solved.bias, 1)
        np.testing.assert_allclose(softmax(found.logits[unit], 1), expected, atol=1e-3)


def test_a_feature_that_one_row_alone_has() -> None:
    features, labels = like_a_network(40, 10, 2)
    features[:, 3] = 0.0
    features[7, 3] = 5.0
    rows = LabelledRows(features, labels, 2)
    found = left_out(rows, 1.0, np.arange(40))
    rest = np.arange(40) != 7
    (solved,) = solve_path(features[rest], labels[rest], 2, [1.0])
    expected = softmax(features[7:8].astype(np.float64) @ solved.weight.T + solved.bias, 1)
    np.testing.assert_allclose(softmax(found.logits[7:8], 1), expected, atol=1e-3)


def test_the_only_row_of_a_class_is_not_left_out() -> None:
    features, labels = like_a_network(30, 10, 2)
    labels = labels.copy()
    labels[4] = 2
    found = left_out(LabelledRows(features, labels, 3), 1.0, np.arange(30))
    np.testing.assert_array_equal(found.rows, np.setdiff1d(np.arange(30), [4]))
    two = left_out(LabelledRows(features[:2], np.array([0, 1]), 2), 1.0, np.arange(2))
    assert len(two.rows) == 0


def test_units_that_steps_overshoot_are_solved_anew() -> None:
    """Where all is sure, a first step looks like the last: no probability moves."""
    features, labels = like_a_network(30, 12, 3)
    found = left_out(LabelledRows(features, labels, 3), 1e5, np.arange(30))
    for row in range(0, 30, 5):
        rest = np.arange(30) != row
        (solved,) = solve_path(features[rest], labels[rest], 3, [1e5])
        expected = softmax(features[row : row + 1].astype(np.float64) @ solved.weight.T + solved.bias, 1)
        np.testing.assert_allclose(softmax(found.logits[row : row + 1], 1), expected, atol=1e-3)


def test_where_steps_do_not_get_there_folds_say_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featcli.heads.leave_one_out.MOST_ANEW", 0)
    monkeypatch.setattr("featcli.heads.leave_one_out.LEAST_ANEW", 0)
    features, labels = like_a_network(60, 20, 3)
    rows = LabelledRows(features, labels, 3)
    (solution,) = solve_path(features, labels, 3, [1e6])
    assert leave_one_out(rows, 1e6, solution.weight, solution.bias, np.arange(60)) is None
    fitted = fit_logistic(rows, Cs=[1e6], folds=np.arange(60) % 3, units=np.arange(60))
    assert fitted.held_out is not None and fitted.held_out.how == "3 folds"


def test_where_it_would_take_long_folds_say_it() -> None:
    features, labels = like_a_network(60, 40, 2)
    assert is_affordable(LabelledRows(features, labels, 2), 1.0)
    assert not is_affordable(LabelledRows(features, labels, 2), 1e9)
    assert not is_affordable(LabelledRows(np.zeros((2000, 1280), np.float32), np.arange(2000) % 10, 10), 1.0)
    assert not is_affordable(LabelledRows(np.zeros((9000, 1280), np.float32), np.arange(9000) % 2, 2), 1.0)


@pytest.mark.parametrize("Cs", [[1.0], [0.1, 1.0]])
def test_folds_hold_out_what_each_did_not_learn_from(Cs: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featcli.heads.logistic.is_affordable", lambda rows, C: False)
    features, labels = like_a_network(60, 10, 3)
    folds = np.arange(60) % 3
    folds[5] = -1
    fitted = fit_logistic(LabelledRows(features, labels, 3), Cs=Cs, folds=folds, units=np.arange(60))
    held_out = fitted.held_out
    assert held_out is not None and held_out.how == "3 folds"
    np.testing.assert_array_equal(held_out.rows, np.flatnonzero(folds >= 0))
    rest = folds != 1
    (solved,) = solve_path(features[rest], labels[rest], 3, [fitted.C])
    rows = np.flatnonzero(folds == 1)
    expected = softmax(features[rows].astype(np.float64) @ solved.weight.T + solved.bias, 1)
    found = softmax(held_out.logits[np.isin(held_out.rows, rows)], 1)
    np.testing.assert_allclose(found, expected, atol=2e-3)
    assert fit_logistic(LabelledRows(features, labels, 3), Cs=Cs, folds=folds).held_out is None


@pytest.mark.parametrize(("n", "d", "k", "C", "class_weight"), CASES[:5])
def test_a_logit_is_a_sum_over_training_rows(n: int, d: int, k: int, C: float, class_weight: str) -> None:
    features, labels = like_a_network(n, d, k)
    rows = LabelledRows(features, labels, k, class_weight)
    (solution,) = solve_path(features, labels, k, [C], class_weight=class_weight)
    weight, bias = solution.weight.astype(np.float32), solution.bias.astype(np.float32)
    influence = Influence.of(rows, C, weight, bias)
    assert influence.is_optimum
    new = like_a_network(20, d, k, seed=3)[0]
    for feature in new:
        for label in range(k):
            logit = feature.astype(np.float64) @ weight[label].astype(np.float64) + float(bias[label])
            total = influence.contributions(feature, label).sum() + float(influence.intercept[label])
            assert total == pytest.approx(logit, abs=1e-5)


def test_another_head_is_no_sum_over_these_rows() -> None:
    features, labels = like_a_network(60, 100, 2)
    rows = LabelledRows(features, labels, 2)
    (solution,) = solve_path(features, labels, 2, [1.0])
    weight, bias = solution.weight.astype(np.float32), solution.bias.astype(np.float32)
    assert not Influence.of(rows, 1.05, weight, bias).is_optimum
    assert not Influence.of(rows, 1.0, (1.02 * weight).astype(np.float32), bias).is_optimum
    assert not Influence.of(LabelledRows(features[1:], labels[1:], 2), 1.0, weight, bias).is_optimum
    flipped = np.where(np.arange(60) == 3, 1 - labels, labels)
    assert not Influence.of(LabelledRows(features, flipped, 2), 1.0, weight, bias).is_optimum
