"""Antialiased resizing of 8-bit pixels in numpy: bit for bit what torch's vector instructions give, without torch.

For a photograph or two: torch's import takes longer than a hundred images here. The weights are those of Pillow,
rounded to 16 bits with as many bits after the point as fit; products are summed as integers, rounded and clipped.

Source: torch's `interpolate(antialias=True)` on uint8, which took it from Pillow-SIMD.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

_WEIGHT_BITS = 15
_MOST_BITS = 22  # after the point
_CUBIC = -0.5  # its free parameter, as with Pillow


def _linear(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(distance < 1, 1 - distance, 0.0)


def _cubic(distance: NDArray[np.float64]) -> NDArray[np.float64]:
    near = ((_CUBIC + 2) * distance - (_CUBIC + 3)) * distance * distance + 1
    far = (((distance - 5) * distance + 8) * distance - 4) * _CUBIC
    return np.where(distance < 1, near, np.where(distance < 2, far, 0.0))


FILTERS: dict[str, tuple[Callable[[NDArray[np.float64]], NDArray[np.float64]], int]] = {
    "bilinear": (_linear, 1),
    "bicubic": (_cubic, 2),
}  # and the distance in pixels at which each ends


def resize_across(
    pixels: NDArray[np.uint8], width: int, interpolation: str, columns: slice = slice(None)
) -> NDArray[np.uint8]:
    """Changes the width of an image.

    Args:
        pixels: (H, W, 3) uint8.
        width: W' > 0 of the result.
        interpolation: a key of `FILTERS`.
        columns: of the result that are wanted; only these are computed.

    Returns:
        (H, W', 3) uint8, or so many columns of it.
    """
    if pixels.shape[1] == width:
        return pixels[:, columns]
    first, weights, bits = _weights(pixels.shape[1], width, interpolation)
    first, weights = first[columns], weights[columns]
    sums = np.full((pixels.shape[0], len(first), 3), 1 << (bits - 1), dtype=np.int32)
    for tap in range(weights.shape[1]):
        places = np.minimum(first + tap, pixels.shape[1] - 1)  # beyond the last the weight is zero
        sums += pixels[:, places] * weights[:, tap][:, None]
    return np.asarray(np.clip(sums >> bits, 0, 255), dtype=np.uint8)


def _weights(before: int, after: int, interpolation: str) -> tuple[NDArray[np.int64], NDArray[np.int32], int]:
    """For each pixel of the result the first that it is made of, the weights from there on, and their bits."""
    function, end = FILTERS[interpolation]
    scale = before / after
    wide = max(scale, 1.0)
    support = end * wide
    centres = scale * (np.arange(after) + 0.5)
    first = np.maximum((centres - support + 0.5).astype(np.int64), 0)
    count = np.minimum((centres + support + 0.5).astype(np.int64), before) - first
    taps = np.arange(int(np.ceil(support)) * 2 + 1)
    weights = function(np.abs((taps + first[:, None] - centres[:, None] + 0.5) * (1 / wide)))
    weights[taps >= count[:, None]] = 0.0
    weights /= weights.sum(1, keepdims=True)
    bits = 0
    while bits < _MOST_BITS and int(0.5 + weights.max() * (1 << (bits + 1))) < 1 << _WEIGHT_BITS:
        bits += 1
    scaled = weights * (1 << bits)
    return first, np.trunc(scaled + np.copysign(0.5, scaled)).astype(np.int32), bits
