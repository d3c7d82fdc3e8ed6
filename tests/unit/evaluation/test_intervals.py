"""Intervals of a share: whether they hold what is true as often as they say, also where images come in groups."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featcli.evaluation.intervals import (
    design_effect,
    equal_groups,
    group_interval,
    share_interval,
    student_quantile,
    wilson_interval,
)


def draw(random: np.random.Generator, sizes: list[int], accuracy: float, correlation: float) -> tuple:
    """Images that are right, and their groups: each group has an accuracy of its own, from a beta distribution."""
    spread = (1 - correlation) / correlation
    groups = np.repeat(np.arange(len(sizes)), sizes)
    shares = random.beta(accuracy * spread, (1 - accuracy) * spread, len(sizes))
    return random.random(len(groups)) < shares[groups], groups


@pytest.mark.parametrize(
    ("sizes", "accuracy", "correlation"),
    [([20] * 20, 0.85, 0.3), ([20] * 20, 0.95, 0.3), ([20] * 15, 0.85, 0.1), ([3, 40] * 20, 0.85, 0.3)],
)
def test_the_interval_over_groups_holds_the_accuracy_as_often_as_it_says(
    sizes: list[int], accuracy: float, correlation: float
) -> None:
    random = np.random.default_rng(0)
    held = {"groups": 0, "images": 0}
    for _ in range(400):
        right, groups = draw(random, sizes, accuracy, correlation)
        for name, bounds in (("groups", share_interval(right, groups)), ("images", share_interval(right))):
            assert bounds is not None
            held[name] += bounds[0] <= accuracy <= bounds[1]
    assert 0.90 <= held["groups"] / 400 <= 0.985
    assert held["images"] / 400 < 0.85


def test_the_design_effect_by_hand() -> None:
    # 12 groups of 10, six all right and six all wrong. Share 1/2, residuals 5: variance 12/11 * 12 * 25 / 120^2 =
    # 1/44; of independent images 1/480; ratio 10.9091, correlation 1.10101. 60 mistakes against 5 of the prior:
    # 60/65 * 1.10101 + 5/65 * 0.3 = 1.039394; 1 + 9 * 1.039394 = 10.354545.
    counts = np.array([10] * 6 + [0] * 6)
    assert design_effect(np.full(12, 10), counts) == pytest.approx(10.354545, abs=1e-6)


def test_groups_of_one_image_have_no_design_effect() -> None:
    right = np.arange(40) % 5 > 0
    expected = wilson_interval(32, 40, student_quantile(39))
    assert group_interval(right, np.arange(40)) == pytest.approx(expected)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 6), st.integers(0, 6)), min_size=10, max_size=30), st.randoms())
def test_it_is_never_narrower_than_over_images_and_knows_no_order(pairs: list[tuple[int, int]], random) -> None:
    rows = [(group, index < hits) for group, (size, hits) in enumerate(pairs) for index in range(size)]
    right, groups = np.array([hit for _, hit in rows]), np.array([group for group, _ in rows])
    low, high = group_interval(right, groups) or (np.nan, np.nan)
    assert 0 <= low <= right.mean() <= high <= 1
    narrow = wilson_interval(int(right.sum()), len(right)) or [np.nan, np.nan]
    assert low <= narrow[0] + 1e-12
    assert high >= narrow[1] - 1e-12
    random.shuffle(rows)
    names = np.array([1000 - 7 * group for group, _ in rows])
    assert group_interval(np.array([hit for _, hit in rows]), names) == pytest.approx([low, high])


def test_without_a_mistake_the_groups_still_count() -> None:
    right, groups = np.ones(400, dtype=bool), np.repeat(np.arange(20), 20)
    low, high = group_interval(right, groups) or (np.nan, np.nan)
    alone, _ = wilson_interval(400, 400) or (np.nan, np.nan)
    one_each, _ = wilson_interval(20, 20) or (np.nan, np.nan)
    assert one_each < low < alone
    assert high == 1


def test_under_ten_groups_there_is_no_interval() -> None:
    right = np.ones(90, dtype=bool)
    assert share_interval(right, np.arange(90) % 9) is None
    assert share_interval(right, np.arange(90) % 10) is not None
    assert share_interval(right[:0], np.empty(0, dtype=np.int64)) is None
    assert share_interval(right[:0]) is None


def test_students_quantile_is_scipys() -> None:
    stats = pytest.importorskip("scipy.stats")
    for freedom in (9, 10, 19, 99, 5000):
        assert student_quantile(freedom) == pytest.approx(stats.t.ppf(0.975, freedom), abs=2e-5)


def test_a_few_groups_that_have_most_images_say_too_little() -> None:
    # As 13 groups of one size would, and as one would that has all images.
    groups = np.repeat(np.arange(13), [500, *[2] * 12])
    hits = np.arange(len(groups)) % 7 > 0
    assert share_interval(hits, groups) is None
    even = np.repeat(np.arange(13), 40)
    assert share_interval(np.arange(len(even)) % 7 > 0, even) is not None


def test_unequal_groups_have_fewer_degrees_of_freedom() -> None:
    sizes = np.array([100] * 6 + [5] * 30)
    assert equal_groups(sizes) == pytest.approx(750**2 / (6 * 100**2 + 30 * 5**2))
    assert equal_groups(np.full(20, 7)) == pytest.approx(20)
    random, held = np.random.default_rng(0), 0
    for _ in range(300):
        shares = random.beta(0.85 * 9, 0.15 * 9, len(sizes))  # a correlation of 0.1
        hits = random.random(750) < np.repeat(shares, sizes)
        bounds = share_interval(hits, np.repeat(np.arange(36), sizes))
        assert bounds is not None
        held += bounds[0] <= 0.85 <= bounds[1]
    assert held / 300 > 0.92
