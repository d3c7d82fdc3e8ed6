"""One temperature for all logits: the likelihood's optimum, drawn to 1 where images are few."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from sklearn.metrics import log_loss

from featcli.evaluation.calibration import (
    LARGEST,
    SOLVED_SPREAD,
    TRAINED_SPREAD,
    VALIDATION,
    Calibration,
    cross_fitted_temperatures,
    fit_temperature,
    mean_log_loss,
    refinement,
    reliability,
)
from featcli.tasks.multiclass import Multiclass, softmax


def drawn(n: int, k: int, sureness: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Logits (n, k) and labels that are drawn from their softmax at temperature 1; then as sure as said."""
    rng = np.random.default_rng(seed)
    logits = 2.0 * rng.normal(size=(n, k))
    labels = np.array([rng.choice(k, p=row) for row in softmax(logits, 1)])
    return sureness * logits, labels


@pytest.mark.parametrize("sureness", [0.3, 1.0, 4.0])
def test_without_a_prior_it_is_the_optimum_of_the_likelihood(sureness: float) -> None:
    logits, labels = drawn(400, 3, sureness)
    found = minimize_scalar(
        lambda log_t: log_loss(labels, softmax(logits / np.exp(log_t), 1)), bounds=(-3, 3), method="bounded"
    )
    assert fit_temperature(logits, labels, None) == pytest.approx(np.exp(found.x), rel=1e-3)


def test_of_many_images_the_prior_says_nothing() -> None:
    logits, labels = drawn(20_000, 4, 3.0)
    assert fit_temperature(logits, labels, TRAINED_SPREAD) == pytest.approx(3.0, rel=0.05)
    assert fit_temperature(logits, labels, SOLVED_SPREAD) == pytest.approx(3.0, rel=0.1)


def test_a_few_images_without_a_mistake_ask_for_no_certainty() -> None:
    logits, labels = np.array([[2.0, 0.0], [0.0, 2.0]] * 6), np.array([0, 1] * 6)
    assert fit_temperature(logits, labels, None) == 1 / LARGEST  # the likelihood alone has no end
    assert 0.9 < fit_temperature(logits, labels, SOLVED_SPREAD) < 1
    wrong = 1 - labels
    assert 1 < fit_temperature(logits, wrong, SOLVED_SPREAD) < 1.5
    assert fit_temperature(logits, wrong, None) == LARGEST


def test_a_class_that_a_fold_did_not_know() -> None:
    logits = np.array([[1.0, 0.0, -np.inf], [0.5, 1.0, 2.0], [-np.inf, 0.2, 0.1]])
    labels = np.array([0, 2, 1])
    assert 0.5 < fit_temperature(logits, labels, SOLVED_SPREAD) < 2
    assert mean_log_loss(logits, labels) == pytest.approx(log_loss(labels, softmax(logits, 1)))


def test_what_is_stored_is_read(tmp_path: object) -> None:
    logits, labels = drawn(50, 3, 2.0)
    found = Calibration.fit(logits, labels, "5 folds")
    assert found.after < found.before
    assert Calibration.from_json(found.to_json()) == found
    trained = Calibration.fit(logits, labels, VALIDATION)
    assert trained.temperature > found.temperature > 1  # less is known of it beforehand


@pytest.mark.parametrize(
    "damage", [{"temperature": 0}, {"temperature": float("nan")}, {"method": "other"}, {"n": "many"}]
)
def test_damage_is_refused(damage: dict[str, object]) -> None:
    facts = Calibration.fit(*drawn(50, 3, 2.0), "5 folds").to_json() | damage
    with pytest.raises((ValueError, TypeError)):
        Calibration.from_json(facts)


def test_a_fifth_is_measured_by_what_the_others_chose() -> None:
    logits, labels = drawn(100, 2, 3.0)
    found = cross_fitted_temperatures(logits, labels)
    rest = np.arange(100) % 5 != 2
    assert found[2, 0] == fit_temperature(logits[rest], labels[rest], TRAINED_SPREAD)
    assert len(np.unique(found)) == 5


def test_refinement_is_left_alone_by_a_temperature() -> None:
    logits, labels = drawn(500, 3, 1.0)
    assert refinement(logits, labels) == pytest.approx(refinement(5 * logits, labels), rel=1e-4)
    assert refinement(logits, labels) <= mean_log_loss(logits, labels)


def test_reliability_adds_up() -> None:
    logits, labels = drawn(300, 3, 1.0)
    probabilities = softmax(logits, 1)
    bins = reliability(probabilities, labels, probabilities.argmax(1))
    assert sum(item["n"] for item in bins) == 300
    hits = sum(item["accuracy"] * item["n"] for item in bins)
    assert hits == pytest.approx((probabilities.argmax(1) == labels).sum())


def test_a_task_divides_by_it_everywhere() -> None:
    import torch

    logits, labels = drawn(40, 3, 4.0)
    task = Multiclass(("a", "b", "c")).calibrated(4.0)
    expected = softmax(logits / 4, 1)
    np.testing.assert_array_equal(task.link(logits), expected)
    np.testing.assert_allclose(task.link(torch.from_numpy(logits), 1).numpy(), expected, rtol=1e-12)
    told = task.calibration(logits, labels, chosen_here=False)
    assert told["log_loss_before"] == pytest.approx(log_loss(labels, softmax(logits, 1)))
    assert told["log_loss_after"] == pytest.approx(log_loss(labels, expected))
