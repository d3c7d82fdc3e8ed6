from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from featcli.training.mixing import Mixed, mix


def random(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def maps(n: int = 6) -> Tensor:
    """Each pixel tells its row."""
    return torch.arange(n, dtype=torch.float32).view(n, 1, 1, 1).expand(n, 2, 8, 10).contiguous()


def mixed(inputs: Tensor, *, mixup: float = 0.0, cutmix: float = 0.0, seed: int = 0) -> Mixed:
    found = mix(inputs, mixup=mixup, cutmix=cutmix, rng=random(seed))
    assert found is not None
    return found


def test_nothing_is_drawn_where_nothing_is_asked_for() -> None:
    generator = random(0)
    before = generator.bit_generator.state
    assert mix(maps(), mixup=0.0, cutmix=0.0, rng=generator) is None
    assert generator.bit_generator.state == before


@pytest.mark.parametrize("shape", [(5, 7), (5, 3, 4, 4), (5, 9, 7)])
def test_mixup_is_the_weighted_sum_of_a_row_and_its_partner(shape: tuple[int, ...]) -> None:
    inputs = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    before = inputs.clone()
    found = mixed(inputs, mixup=0.4, seed=3)
    assert 0 <= found.share <= 1
    torch.testing.assert_close(found.inputs, found.share * inputs + (1 - found.share) * inputs[found.partners])
    assert sorted(found.partners.tolist()) == list(range(5))
    assert torch.equal(inputs, before)


@pytest.mark.parametrize("seed", range(30))
def test_cutmix_has_one_box_of_the_partner_and_its_area_is_the_rest(seed: int) -> None:
    inputs = maps()
    found = mixed(inputs, cutmix=1.0, seed=seed)
    own = torch.arange(6).view(6, 1, 1, 1)
    partner = found.partners.view(6, 1, 1, 1)
    assert ((found.inputs == own) | (found.inputs == partner)).all()
    others = [row for row in range(6) if found.partners[row] != row]
    boxes = (found.inputs != own)[others]
    assert (boxes == boxes[0, 0]).all()  # the same for every row and channel
    box = boxes[0, 0]
    assert found.share == pytest.approx(1 - float(box.sum()) / 80)
    if box.any():
        down, across = box.any(1).nonzero().flatten(), box.any(0).nonzero().flatten()
        assert box[down[0] : down[-1] + 1, across[0] : across[-1] + 1].all()
    assert torch.equal(inputs, maps())


def test_boxes_are_of_every_size() -> None:
    shares = [mixed(maps(), cutmix=1.0, seed=seed).share for seed in range(200)]
    assert min(shares) < 0.3
    assert max(shares) > 0.9


def test_with_both_either_is_taken_half_of_the_time() -> None:
    inputs = maps()
    boxes = [
        bool((found.inputs == found.inputs.round()).all())
        for found in (mixed(inputs, mixup=1.0, cutmix=1.0, seed=seed) for seed in range(200))
    ]
    assert 70 < sum(boxes) < 130


def test_the_share_is_drawn_from_its_distribution() -> None:
    shares = np.array([mixed(maps(2), mixup=0.2, seed=seed).share for seed in range(400)])
    assert shares.mean() == pytest.approx(0.5, abs=0.06)
    assert shares.var() == pytest.approx(1 / (4 * (2 * 0.2 + 1)), rel=0.15)  # of Beta(a, a)


def test_the_same_generator_gives_the_same_mixture() -> None:
    one, other = (mixed(maps(), mixup=0.5, cutmix=0.5, seed=7) for _ in range(2))
    assert torch.equal(one.inputs, other.inputs)
    assert (one.share, one.partners.tolist()) == (other.share, other.partners.tolist())
