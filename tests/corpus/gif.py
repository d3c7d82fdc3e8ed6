"""GIF: interlaced, transparent, animated, and cut."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np
from PIL import Image

from tests.corpus.case import HEADER, TOO_LARGE, Strange, bad, good
from tests.corpus.samples import (
    GREY,
    PALETTE,
    RGB,
    encode,
    grey_rgb,
    noise,
    paletted,
)


def gifs() -> Iterator[Strange]:
    pixels = PALETTE[GREY]
    whole = encode(paletted(GREY), "GIF", optimize=False, interlace=False)
    yield good("gif", whole, pixels)
    large = noise(40, 50, seed=11)
    yield good("gif interlaced", encode(paletted(large), "GIF", interlace=True), PALETTE[large])
    clear = PALETTE.copy()
    clear[GREY[3, 3]] = 255
    yield good(
        "gif transparent", encode(paletted(GREY), "GIF", transparency=int(GREY[3, 3]), optimize=False), clear[GREY]
    )
    frames = [Image.fromarray(np.full_like(RGB, value)) for value in (10, 200, 90)]
    animated = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    yield good("gif animated", animated, np.full_like(RGB, 10))
    yield good("gif grey", encode(GREY, "GIF"), grey_rgb(GREY))
    yield good("gif one pixel", encode(RGB[:1, :1], "GIF"), RGB[:1, :1])
    yield good("gif then junk", whole + b"junk" * 99, pixels)
    yield good("gif without its last byte", whole[:-1], pixels)
    start = len(whole) - len(whole.partition(b",\0\0\0\0")[2])
    for part in (1, 2, 3):
        at = start + (len(whole) - start) * part // 4
        yield bad(f"gif cut at {part} of 4", whole[:at])
    yield bad("gif signature alone", whole[:6], HEADER)
    yield bad("gif without a frame", whole[:781] + b";", HEADER)
    bomb = whole.replace(b"," + struct.pack("<4H", 0, 0, 17, 13), b"," + struct.pack("<4H", 0, 0, 65535, 65535))
    yield bad("gif bomb", bomb, TOO_LARGE)
