"""Finding one of two classes: against scikit-learn, and formulas written out as loops."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featcli.evaluation.detection import auroc, average_precision, threshold_table
from featcli.evaluation.intervals import student_quantile
from featcli.evaluation.truth import Truth
from featcli.tasks.multiclass import evaluate

sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is the independent truth of these tests")

CLASSES = ["healthy", "sick"]
DEPENDENT = ("sensitivity", "specificity", "average_precision", "thresholds")


def scored(seed: int, n: int = 60, decimals: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """Scores with ties, and which are positive."""
    random = np.random.default_rng(seed)
    positive = random.random(n) < 0.4
    return np.round(np.clip(random.normal(0.4 + 0.2 * positive, 0.2), 0, 1), decimals), positive


def measure(
    scores: Any, positive: Any, lost: Any = (), groups: Any = None, name: str | None = "sick"
) -> dict[str, Any]:
    column = np.asarray(scores, dtype=np.float64)
    truth = Truth(np.asarray(positive, dtype=np.int64), lost, groups)
    return evaluate(np.stack([1 - column, column], axis=1), truth, CLASSES, positive=name)


def delong_variance(scores: np.ndarray, positive: np.ndarray) -> float:
    def psi(one: float, other: float) -> float:
        return 1.0 if one > other else 0.5 if one == other else 0.0

    upper, lower = scores[positive].tolist(), scores[~positive].tolist()
    per_positive = [sum(psi(x, y) for y in lower) / len(lower) for x in upper]
    per_negative = [sum(psi(x, y) for x in upper) / len(upper) for y in lower]
    return float(np.var(per_positive, ddof=1) / len(upper) + np.var(per_negative, ddof=1) / len(lower))


def standard_error(area: float, bounds: list[float], quantile: float) -> float:
    """Back from the interval on the logit's scale."""
    logits = [math.log(bound / (1 - bound)) for bound in bounds]
    return (logits[1] - logits[0]) / (2 * quantile) * area * (1 - area)


@pytest.mark.parametrize("seed", range(5))
def test_areas_are_scikit_learns_and_the_variance_is_delongs(seed: int) -> None:
    scores, positive = scored(seed)
    area, bounds = auroc(scores, positive)
    assert area == pytest.approx(sklearn.roc_auc_score(positive, scores), rel=1e-12)
    assert area is not None and bounds is not None
    found = standard_error(area, bounds, NormalDist().inv_cdf(0.975))
    assert found**2 == pytest.approx(delong_variance(scores, positive), rel=1e-9)
    assert average_precision(scores, positive) == pytest.approx(
        sklearn.average_precision_score(positive, scores), rel=1e-12
    )


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=1, max_size=25))
def test_areas_agree_with_scikit_learn_whatever_the_ties(pairs: list[tuple[int, bool]]) -> None:
    scores, positive = np.array([score / 6 for score, _ in pairs]), np.array([side for _, side in pairs])
    if positive.any():
        truth = sklearn.average_precision_score(positive, scores)
        assert average_precision(scores, positive) == pytest.approx(truth, rel=1e-12)
    if positive.any() and not positive.all():
        area, bounds = auroc(scores, positive)
        assert area == pytest.approx(sklearn.roc_auc_score(positive, scores), rel=1e-12, abs=1e-15)
        assert bounds is None or 0 <= bounds[0] <= area <= bounds[1] <= 1


def test_over_groups_the_interval_is_as_wide_as_a_bootstrap_of_groups_says() -> None:
    """Obuchowski's variance, on images of which each counts four times: DeLong's would be half as wide."""
    scores, positive = scored(0, n=200, decimals=6)
    repeated, sides = np.repeat(scores, 4), np.repeat(positive, 4)
    groups = np.repeat(np.arange(200), 4)
    area, bounds = auroc(repeated, sides, groups)
    once, alone = auroc(scores, positive)
    _, narrow = auroc(repeated, sides)
    assert area == once
    assert area is not None and bounds is not None and alone is not None and narrow is not None
    assert bounds[1] - bounds[0] == pytest.approx(alone[1] - alone[0], rel=0.03)
    assert narrow[1] - narrow[0] == pytest.approx((alone[1] - alone[0]) / 2, rel=0.03)
    random = np.random.default_rng(1)
    drawn = []
    for _ in range(400):
        chosen = random.integers(0, 200, 200)
        drawn.append(sklearn.roc_auc_score(positive[chosen], scores[chosen]))
    assert standard_error(area, bounds, 1.98) == pytest.approx(np.std(drawn), rel=0.15)


def test_the_variance_over_groups_is_obuchowskis_term_by_term() -> None:
    """Groups of unequal size with images of both classes, of one, and of either, which also lean together."""
    random = np.random.default_rng(7)
    groups = np.sort(random.integers(0, 30, 150))
    positive = random.random(150) < 0.5
    scores = 0.8 * positive + random.normal(size=30)[groups] + 0.5 * random.normal(size=150)
    area, bounds = auroc(scores, positive, groups)
    assert area is not None and bounds is not None
    upper, lower = scores[positive], scores[~positive]
    s10 = s01 = s11 = 0.0
    with_positives = with_negatives = 0
    for group in range(30):
        inside = groups == group
        sick, healthy = scores[inside & positive], scores[inside & ~positive]
        one = sum(float((lower < score).mean()) for score in sick) - len(sick) * area
        other = sum(float((upper > score).mean()) for score in healthy) - len(healthy) * area
        s10, s01, s11 = s10 + one**2, s01 + other**2, s11 + one * other
        with_positives, with_negatives = with_positives + bool(len(sick)), with_negatives + bool(len(healthy))
    m, n = len(upper), len(lower)
    variance = with_positives / (with_positives - 1) * s10 / m**2 + with_negatives / (with_negatives - 1) * s01 / n**2
    variance += 2 * 30 / 29 * s11 / (m * n)
    sizes = [np.bincount(groups[chosen]) for chosen in (positive, ~positive)]
    quantile = student_quantile(min(size.sum() ** 2 / (size**2).sum() for size in sizes) - 1)
    assert standard_error(area, bounds, quantile) ** 2 == pytest.approx(variance, rel=1e-9)


def test_perfectly_parted_classes_have_an_interval_too() -> None:
    area, bounds = auroc(np.arange(20) / 20, np.arange(20) >= 10)
    assert area == 1.0
    assert bounds is not None
    assert bounds[1] == 1.0
    # Newcombe's, of 10 and 10: the area below which a perfect result is 1.96 standard errors away.
    low = bounds[0]
    variance = low * (1 - low) * (1 + 9 * ((1 - low) / (2 - low) + low / (1 + low))) / 100
    assert (1 - low) ** 2 == pytest.approx(NormalDist().inv_cdf(0.975) ** 2 * variance, rel=1e-9)
    assert auroc(np.arange(20) / 20, np.arange(20) < 10)[1] == pytest.approx([0.0, 1 - low])
    assert auroc(np.array([0.1, 0.2, 0.9]), np.array([False, False, True])) == (1.0, None)


def test_an_absent_class_leaves_the_area_undefined() -> None:
    for positive in (np.zeros(4, dtype=bool), np.ones(4, dtype=bool), np.zeros(0, dtype=bool)):
        assert auroc(np.arange(len(positive)) / 9, positive) == (None, None)
    found = measure([0.2, 0.3], [0, 0])
    assert (found["auroc"], found["average_precision"], found["sensitivity"]) == (None, None, None)
    assert found["specificity"] == 1.0
    assert [row["threshold"] for row in found["thresholds"]] == [None] * 4 + [0.5]
    assert found["thresholds"][-1]["specificity"] == 1.0
    nothing = measure([], [], lost=[1, 1, 0])
    assert (nothing["sensitivity"], nothing["specificity"], nothing["auroc"]) == (0.0, 0.0, None)
    assert (nothing["thresholds"], nothing["brier"]) == (None, None)


@pytest.mark.parametrize("name", CLASSES)
def test_sensitivity_and_specificity_are_recalls_with_unreadable_images_as_wrong(name: str) -> None:
    scores, positive = scored(2)
    lost = [1, 1, 0]
    found = measure(scores, positive, lost, name=name)
    true = np.append(positive.astype(int), lost)
    predicted = np.append(scores > 0.5, [0, 0, 1])  # of an unreadable image the other class
    truth = [sklearn.recall_score(true, predicted, pos_label=side) for side in (1, 0)]
    ours = [found["sensitivity"], found["specificity"]]
    assert ours == pytest.approx(truth if name == "sick" else truth[::-1])
    assert found["positive"] == name
    readable = scores if name == "sick" else 1 - scores
    side = positive if name == "sick" else ~positive
    assert found["average_precision"] == pytest.approx(sklearn.average_precision_score(side, readable))
    assert found["auroc"] == pytest.approx(sklearn.roc_auc_score(positive, scores))


def test_the_interval_of_the_sensitivity_is_over_the_groups_of_that_class() -> None:
    scores, positive = scored(3, n=120)
    groups = [f"patient {row % 24}" for row in range(121)]
    sides = np.array([row % 24 < 9 for row in range(120)])  # nine patients are sick: too few
    found = measure(scores, sides, [0], groups)
    assert (found["interval"], found["n_groups"]) == ("groups", 24)
    assert found["sensitivity_ci95"] is None
    assert found["auroc"] is not None
    assert found["auroc_ci95"] is None
    assert found["specificity_ci95"] is not None
    mixed = measure(scores, positive, [0], groups)
    assert mixed["sensitivity_ci95"] is not None
    assert mixed["auroc_ci95"] is not None


def test_thresholds_are_the_highest_that_reach_each_sensitivity() -> None:
    scores, positive = scored(4)
    lost_positives, lost_negatives = 1, 2
    n_positive, n = positive.sum() + lost_positives, len(scores) + 3
    table = threshold_table(scores, positive, lost_positives, lost_negatives)
    assert [row["target_sensitivity"] for row in table] == [0.8, 0.9, 0.95, 0.99, None]
    for row in table:
        if row["target_sensitivity"] is not None:
            reaching = [
                score
                for score in set(scores)
                if (positive & (scores >= score)).sum() / n_positive >= row["target_sensitivity"]
            ]
            assert row["threshold"] == (max(reaching) if reaching else None)
        if row["threshold"] is not None:
            flagged = scores >= row["threshold"]
            assert row["sensitivity"] == (positive & flagged).sum() / n_positive
            assert row["specificity"] == (~positive & ~flagged).sum() / (n - n_positive)
            assert row["precision"] == pytest.approx(sklearn.precision_score(positive, flagged))
            assert row["flagged_share"] == flagged.sum() / n
    assert table[3]["threshold"] is None  # one of the positives cannot be read
    assert table[-1]["threshold"] == 0.5


def test_a_target_is_reached_by_as_many_images_as_it_takes_exactly() -> None:
    scores = np.arange(1, 21) / 20
    table = threshold_table(np.append(scores, 0.01), np.append(np.ones(20, dtype=bool), False), 0, 0)
    assert [row["sensitivity"] for row in table[:4]] == [0.8, 0.9, 0.95, 1.0]


def test_without_a_positive_class_only_the_area_is_known() -> None:
    scores, positive = scored(5)
    found = measure(scores, positive, name=None)
    assert all(found[name] is None for name in ("positive", *DEPENDENT))
    assert found["auroc"] == pytest.approx(sklearn.roc_auc_score(positive, scores))
    assert found["auroc_ci95"] == auroc(scores, positive)[1]


def test_more_than_two_classes_have_neither() -> None:
    found = evaluate(np.full((2, 3), 1 / 3), Truth(np.array([0, 1])), ["a", "b", "c"])
    assert all(found[name] is None for name in ("positive", "auroc", "auroc_ci95", *DEPENDENT))


@pytest.mark.parametrize(("classes", "positive"), [(["a", "b"], "c"), (["a", "b", "c"], "a")])
def test_a_positive_class_that_cannot_be_is_a_mistake(classes: list[str], positive: str) -> None:
    k = len(classes)
    with pytest.raises(ValueError, match="is not one of two classes"):
        evaluate(np.full((1, k), 1 / k), Truth(np.array([0])), classes, positive=positive)


@pytest.mark.parametrize("k", [2, 3, 8])
def test_the_brier_score_is_scikit_learns(k: int) -> None:
    random = np.random.default_rng(k)
    probabilities, labels = random.dirichlet(np.ones(k), 50), random.integers(0, k - 1, 50)  # the last is absent
    found = evaluate(probabilities, Truth(labels, [0]), [str(index) for index in range(k)])
    truth = sklearn.brier_score_loss(labels, probabilities, labels=range(k))
    assert found["brier"] == pytest.approx(truth, rel=1e-12)
