from __future__ import annotations

import pytest
import torch

from featcli.training.ema import MovingAverage


def test_the_average_by_hand() -> None:
    """Decay 1/10, 2/11, 3/12 while the average is young, then as asked."""
    live = {"weight": torch.tensor([1.0, 2.0]), "count": torch.tensor(0)}
    average = MovingAverage(live, decay=0.2)
    expected = live["weight"].clone()
    for step, decay in enumerate([1 / 10, 2 / 11, 0.2, 0.2]):
        live["weight"] += 1.0
        live["count"] += 1
        average.update(step)
        expected = decay * expected + (1 - decay) * live["weight"]
        torch.testing.assert_close(average.tensors["weight"], expected)
        assert average.tensors["count"] == step + 1


def test_it_starts_as_a_copy_and_leaves_the_live_tensors_alone() -> None:
    live = {"weight": torch.ones(3, requires_grad=True)}
    average = MovingAverage(live, decay=0.9)
    with torch.no_grad():
        live["weight"].mul_(3.0)
    assert average.tensors["weight"].tolist() == [1.0] * 3
    average.update(10**6)
    assert average.tensors["weight"].tolist() == pytest.approx([1.2] * 3)
    assert live["weight"].tolist() == [3.0] * 3
    assert not average.tensors["weight"].requires_grad
