"""AVIF: with alpha, animated, and cut."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image, features

from tests.corpus.case import Strange, bad, good
from tests.corpus.samples import (
    SCENE,
    encode,
    on_white,
)


def avifs() -> Iterator[Strange]:
    if not features.check("avif"):
        return
    best = {"quality": 100, "subsampling": "4:4:4"}
    whole = encode(SCENE, "AVIF", **best)
    yield good("avif", whole, SCENE, 4)
    half = np.where(np.arange(64) < 32, 255, 0).astype(np.uint8)[None].repeat(48, 0)
    yield good("avif alpha", encode(np.dstack([SCENE, half]), "AVIF", **best), on_white(SCENE, half), 4)
    frames = [Image.fromarray(SCENE), Image.fromarray(255 - SCENE)]
    yield good("avif animated", encode(frames[0], "AVIF", save_all=True, append_images=frames[1:], **best), SCENE, 4)
    for part in (1, 2, 3):
        yield bad(f"avif cut at {part} of 4", whole[: len(whole) * part // 4])
    yield bad(
        "heic box alone", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", r"damaged image: |a HEIC image, which is not read"
    )
