from __future__ import annotations

import math

import pytest

from tests.unit.training.lab import recipe


def by_hand(step: int, warmup: float, total: float) -> float:
    """Linear from 1/(w+1) over w steps, then half a cosine down to zero."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return (1 + math.cos(math.pi * (step - warmup) / (total - warmup))) / 2


@pytest.mark.parametrize(("epochs", "warmup", "per_epoch"), [(10, 1.0, 7), (3, 0.0, 5), (4, 0.5, 3), (2, 1.5, 10)])
def test_the_cosine_against_its_formula(epochs: int, warmup: float, per_epoch: int) -> None:
    chosen = recipe(epochs=epochs, warmup_epochs=warmup, schedule="cosine")
    for step in range(epochs * per_epoch):
        expected = by_hand(step, warmup * per_epoch, epochs * per_epoch)
        assert chosen.lr_factor(step, per_epoch) == pytest.approx(expected, abs=1e-12)
    assert chosen.lr_factor(epochs * per_epoch, per_epoch) == pytest.approx(0.0, abs=1e-12)


def test_the_rate_rises_in_the_warm_up_and_falls_after() -> None:
    chosen = recipe(epochs=5, warmup_epochs=1.0, schedule="cosine")
    rates = [chosen.lr_factor(step, 4) for step in range(20)]
    assert rates[:5] == [0.2, 0.4, 0.6, 0.8, 1.0]
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert 0 < rates[-1] < 0.02


def test_constant_stays_at_the_full_rate() -> None:
    chosen = recipe(epochs=3, warmup_epochs=0.5, schedule="constant")
    assert [chosen.lr_factor(step, 4) for step in range(5)] == [1 / 3, 2 / 3, 1.0, 1.0, 1.0]


def test_a_warm_up_longer_than_the_training_only_rises() -> None:
    chosen = recipe(epochs=1, warmup_epochs=5.0, schedule="cosine")
    rates = [chosen.lr_factor(step, 3) for step in range(3)]
    assert rates == [1 / 16, 2 / 16, 3 / 16]
