"""Small, elongated and large: up to the limits of pixels and of bytes."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

import numpy as np

from tests.corpus.case import Strange, bad, good, later
from tests.corpus.png import chunk, png_of
from tests.corpus.samples import (
    Pixels,
    blocks,
    encode,
    noise,
)


def sizes() -> Iterator[Strange]:
    def plain(height: int, width: int, value: int) -> Pixels:
        return np.broadcast_to(np.uint8(value), (height, width, 3))

    for height, width in ((1, 5000), (5000, 1), (1, 1), (2, 2), (31, 33)):
        pixels = noise(height, width, 3, seed=height)
        yield good(f"{width} by {height}", encode(pixels), pixels)
    panorama = np.tile(noise(100, 200, 3, seed=15), (3, 100, 1))
    yield good("panorama 20000 by 300", later(lambda: encode(panorama)), panorama)
    wide = blocks(3, 16, 3, seed=16).repeat(25, axis=1)
    yield good("panorama of jpeg", encode(wide, "JPEG", quality=100, subsampling=0), wide, 3)
    # Above half of the limit, where Pillow warns: 90 million pixels of one bit; and 36 million of 16 bits.
    rows = b"\0" + b"\xff" * 1188
    yield good(
        "90 million pixels",
        later(lambda: png_of(9500, 9500, 1, 0, chunk(b"IDAT", zlib.compress(rows * 9500)))),
        plain(9500, 9500, 255),
    )
    deep = b"\0" + b"\x80\x80" * 6000
    yield good(
        "36 million pixels of 16 bits",
        later(lambda: png_of(6000, 6000, 16, 0, chunk(b"IDAT", zlib.compress(deep * 6000, 1)))),
        plain(6000, 6000, 128),
    )
    yield good(
        "too elongated",
        later(lambda: encode(np.zeros((1, 100_000, 3), np.uint8))),
        plain(1, 100_000, 0),
        error="100000 x 1 pixels are too elongated to be resized$",
    )
    yield bad("terabyte of nothing", a_terabyte, r"1099511627776 bytes are more than the limit")


def a_terabyte(path: bytes) -> None:
    with open(path, "wb") as file:
        file.truncate(1 << 40)
