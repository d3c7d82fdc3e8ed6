"""Mixup and cutmix, applied to whatever enters the part that trains."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from featcli.runtime import to_device


@dataclass(frozen=True, slots=True)
class Mixed:
    """A batch of which each row is mixed with another.

    Attributes:
        inputs: (B, ...).
        partners: (B,) the row that each is mixed with.
        share: of each row's own target; the partner's has the rest.
    """

    inputs: Tensor
    partners: Tensor
    share: float


def mix(inputs: Tensor, *, mixup: float, cutmix: float, rng: np.random.Generator) -> Mixed | None:
    """Mixes a batch with a permutation of itself; None where neither is asked for. With both, either by half.

    Mixup: Zhang et al., 2018 (arXiv 1710.09412), at an inner layer Verma et al., 2019 (arXiv 1806.05236). Cutmix: Yun
    et al., 2019 (arXiv 1905.04899).

    Args:
        inputs: (B, ...); for cutmix (B, C, H, W).
        mixup: alpha of Beta(alpha, alpha); 0 for none.
        cutmix: likewise.
        rng: draws everything.
    """
    if not mixup and not cutmix:
        return None
    boxes = bool(cutmix) and (not mixup or rng.random() < 0.5)
    alpha = cutmix if boxes else mixup
    share = float(rng.beta(alpha, alpha))
    partners = to_device(torch.from_numpy(rng.permutation(len(inputs))), inputs.device)
    if not boxes:
        return Mixed(torch.lerp(inputs[partners], inputs, share), partners, share)
    rows, columns = inputs.shape[2:]
    top, bottom = _side(rows, share, rng)
    left, right = _side(columns, share, rng)
    mixed = inputs.clone()
    mixed[:, :, top:bottom, left:right] = inputs[partners, :, top:bottom, left:right]
    return Mixed(mixed, partners, 1 - (bottom - top) * (right - left) / (rows * columns))


def _side(length: int, share: float, rng: np.random.Generator) -> tuple[int, int]:
    """Where a box with `1 - share` of the area begins and ends along one side, clipped at the border."""
    half = length * float(np.sqrt(1 - share)) / 2
    centre = float(rng.uniform(0, length))
    return round(max(0.0, centre - half)), round(min(float(length), centre + half))
