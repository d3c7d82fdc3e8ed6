"""Two models on the same images: exact probabilities of SciPy's, an interval that holds the truth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from featcli.evaluation.paired import paired_difference


def of(both: int, first: int, second: int, neither: int) -> tuple[np.ndarray, np.ndarray]:
    counts = [both, first, second, neither]
    return np.repeat([True, True, False, False], counts), np.repeat([True, False, True, False], counts)


@pytest.mark.parametrize(("first", "second"), [(0, 0), (3, 2), (0, 5), (30, 12), (1, 9)])
def test_the_probability_is_that_of_a_fair_coin(first: int, second: int) -> None:
    found = paired_difference(*of(100, first, second, 4))
    assert found is not None
    n = first + second
    assert found["p"] == pytest.approx(binomtest(first, n, 0.5).pvalue if n else 1.0)
    assert (found["only_first"], found["only_second"]) == (first, second)
    assert found["difference"] == pytest.approx((second - first) / (104 + n))
    assert found["second"] - found["first"] == pytest.approx(found["difference"])


def test_the_interval_holds_the_true_difference() -> None:
    rng = np.random.default_rng(0)
    cells = np.array([0.85, 0.06, 0.03, 0.06])
    held = 0
    for _ in range(2000):
        found = paired_difference(*of(*rng.multinomial(150, cells)))
        assert found is not None
        low, high = found["ci95"]
        held += low <= cells[2] - cells[1] <= high
    assert 0.935 <= held / 2000 <= 0.975


def test_agreement_on_every_image_is_no_certainty() -> None:
    found = paired_difference(*of(147, 0, 0, 6))
    assert found is not None and found["difference"] == 0
    assert found["ci95"] == pytest.approx([-1.96 / 155, 1.96 / 155], rel=1e-3)


def test_without_images() -> None:
    nothing = np.zeros(0, dtype=bool)
    assert paired_difference(nothing, nothing) is None
