"""WebP: lossless, lossy, with alpha, animated, and cut."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image

from tests.corpus.case import DAMAGED, UNKNOWN, Strange, bad, good
from tests.corpus.samples import (
    ALPHA,
    GREY_SCENE,
    RGB,
    encode,
    grey_rgb,
    levels,
    on_white,
)


def webps() -> Iterator[Strange]:
    yield good("webp lossless", encode(RGB, "WEBP", lossless=True), RGB)
    tinted = levels(grey_rgb(GREY_SCENE // 2 + 64) + np.array([20.0, 0, -20]))
    lossy = encode(tinted, "WEBP", quality=100)
    yield good("webp lossy", lossy, tinted, 8)
    rgba = np.dstack([RGB, ALPHA])
    yield good("webp alpha", encode(rgba, "WEBP", lossless=True, exact=True), on_white(RGB, ALPHA), 1)
    half = np.where(np.arange(64) < 32, 255, 0).astype(np.uint8)[None].repeat(48, 0)
    yield good(
        "webp lossy alpha",
        encode(np.dstack([tinted, half]), "WEBP", quality=100, alpha_quality=100),
        on_white(tinted, half),
        8,
    )
    frames = [Image.fromarray(np.full_like(RGB, value)) for value in (10, 200, 90)]
    animated = encode(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    yield good("webp animated", animated, np.full_like(RGB, 10))
    clear = [Image.fromarray(np.dstack([np.full_like(RGB, 10), ALPHA])), Image.new("RGBA", (17, 13), (9, 9, 9, 255))]
    yield good(
        "webp animated alpha",
        encode(clear[0], "WEBP", save_all=True, append_images=clear[1:], lossless=True, exact=True),
        on_white(np.full_like(RGB, 10), ALPHA),
        1,
    )
    yield good("webp then junk", lossy + b"junk" * 99, tinted, 8)
    yield good("webp with broken exif", encode(RGB, "WEBP", lossless=True, exif=b"Exif\0\0garbage"), RGB)
    for part in (1, 2, 3):
        yield bad(f"webp cut at {part} of 4", lossy[: len(lossy) * part // 4])
        yield bad(f"webp animated cut at {part} of 4", animated[: len(animated) * part // 4], DAMAGED)
    yield bad("webp header alone", lossy[:20])
    yield bad("webp riff alone", lossy[:12], UNKNOWN)
    yield bad("riff that is sound", b"RIFF\x24\0\0\0WAVEfmt " + bytes(40), UNKNOWN)
