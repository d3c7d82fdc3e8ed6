"""Grey images of any shape in the middle of squares, their edges and texture at equal contrast."""

from __future__ import annotations

import functools

import torch
from torch.nn import functional

_FLOOR = 4.0  # levels of contrast, below which there is only noise


def resized(grey: torch.Tensor, factor: float) -> torch.Tensor:
    """Images (n, h, w) made so many times as large, no side shorter than 4 pixels."""
    size = [max(4, round(length * factor)) for length in grey.shape[1:]]
    if size == list(grey.shape[1:]):
        return grey
    return functional.interpolate(grey[:, None], size=size, mode="bicubic", align_corners=False, antialias=True)[:, 0]


def flattened(grey: torch.Tensor) -> torch.Tensor:
    """Edges and texture at equal contrast: less the local mean, over the local deviation."""
    radius = max(2, max(grey.shape[1:]) // 8)
    rest = grey - _blurred(grey, radius)
    return rest / (_blurred(rest * rest, radius).clamp(min=0).sqrt() + _FLOOR)


def _blurred(grey: torch.Tensor, radius: int) -> torch.Tensor:
    """The mean over squares, twice; an image goes on beyond its edges as it ends there."""
    height, width = grey.shape[1:]
    return _means(height, radius) @ grey @ _means(width, radius).T


@functools.cache
def _means(length: int, radius: int) -> torch.Tensor:
    """(length, length): what makes of a line its means over `radius` neighbours, and those of these."""
    half = radius // 2
    once = torch.zeros(length, length)
    for place in range(length):
        for other in range(place - half, place + half + 1):
            once[place, min(max(other, 0), length - 1)] += 1.0 / (2 * half + 1)
    return once @ once


def centred(images: torch.Tensor, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images in the middle of a square, cut where they are larger, and where in it they are."""
    canvas = torch.zeros(len(images), side, side)
    inside = torch.zeros(len(images), side, side, dtype=torch.bool)
    (top, height, skip_y), (left, width, skip_x) = (_span(length, side) for length in images.shape[1:])
    canvas[:, top : top + height, left : left + width] = images[:, skip_y : skip_y + height, skip_x : skip_x + width]
    inside[:, top : top + height, left : left + width] = True
    return canvas, inside


def _span(length: int, side: int) -> tuple[int, int, int]:
    taken = min(length, side)
    return (side - taken) // 2, taken, (length - taken) // 2
