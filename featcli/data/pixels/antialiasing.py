"""Antialiased resizing of 8-bit pixels in numpy: bit for bit what torch's vector instructions give, without torch.

For a photograph or two: torch's import takes longer than a hundred images here. The weights are those of Pillow,
rounded to 16 bits with as many bits after the point as fit; products are summed as whole numbers, rounded and clipped.

Source: torch's `interpolate(antialias=True)` on uint8, which took it from Pillow-SIMD.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

_WEIGHT_BITS = 15
_MOST_BITS = 22  # after the point
_EXACT_IN_FLOAT32 = 1 << 24
_TOGETHER = 32  # columns of the result: their pixels overlap, and are not far apart
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
    height, before, _ = pixels.shape
    first, weights, bits = _weights(before, width, interpolation)
    first, weights = first[columns], weights[columns]
    # Whole numbers, whose products and sums floats hold exactly: a product of matrices adds them fastest.
    largest = int(np.abs(weights).sum(axis=1).max()) * 255 + (1 << bits)
    exact = np.float32 if largest < _EXACT_IN_FLOAT32 else np.float64
    lines = np.ascontiguousarray(pixels.transpose(1, 0, 2)).reshape(before, height * 3)
    found = np.empty((len(first), height * 3), dtype=np.uint8)
    taps = weights.shape[1]
    for start in range(0, len(first), _TOGETHER):
        places = first[start : start + _TOGETHER]
        low, high = int(places[0]), min(int(places[-1]) + taps, before)
        # Beyond the last pixel the weight is zero.
        matrix = np.zeros((len(places), int(places[-1]) - low + taps), dtype=exact)
        matrix[np.arange(len(places))[:, None], (places - low)[:, None] + np.arange(taps)] = weights[start:][
            : len(places)
        ]
        sums = matrix[:, : high - low] @ lines[low:high].astype(exact)
        sums += 1 << (bits - 1)
        sums *= 2.0**-bits
        found[start : start + _TOGETHER] = np.clip(np.floor(sums, out=sums), 0, 255, out=sums)
    return found.reshape(len(first), height, 3).transpose(1, 0, 2)


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
