"""HEIF, where pillow-heif writes and reads it: the pixels that were given to it are the truth."""

from __future__ import annotations

import importlib.util
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.corpus.case import Strange, bad, good
from tests.corpus.samples import ALPHA, GREY_SCENE, SCENE, grey_rgb, noise, on_white, orientation_of, stored

HAS_HEIF = importlib.util.find_spec("pillow_heif") is not None
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99)


def heic(pixels: NDArray[Any], mode: str = "RGB", **options: Any) -> bytes:
    """Lossless but for the way to YCbCr and back."""
    import pillow_heif

    height, width = pixels.shape[:2]
    buffer = io.BytesIO()
    settings = {"quality": -1, "chroma": 444, **options}
    pillow_heif.encode(mode, (width, height), np.ascontiguousarray(pixels).tobytes(), buffer, **settings)
    return buffer.getvalue()


def turned_heic(orientation: int) -> bytes:
    """As a phone writes it: stored turned, with the turn in its boxes and a copy in EXIF."""
    exif = orientation_of(orientation).tobytes()
    return heic(stored(SCENE, orientation), exif=exif)


def heifs() -> Iterator[Strange]:
    if not HAS_HEIF:
        yield bad("heic without its library", HEIC, r"a HEIC image, which is not read: pip install 'featcli\[heif\]'")
        return
    yield good("heic", heic(SCENE), SCENE, 2, name=b"phone.HEIC")
    yield good("heic named jpg", heic(SCENE), SCENE, 2)
    yield good("heic grey", heic(GREY_SCENE, "L"), grey_rgb(GREY_SCENE), 2)
    alpha = np.resize(ALPHA, SCENE.shape[:2])
    yield good("heic with alpha", heic(np.dstack([SCENE, alpha]), "RGBA"), on_white(SCENE, alpha), 3)
    deep = noise(48, 64, 3, seed=5, top=1024).astype(np.uint16) << 6
    ten = np.asarray(np.round(deep.astype(np.float64) * 255 / 65535), np.uint8)
    yield good("heic of 10 bits", heic(deep.astype("<u2"), "RGB;16"), ten, 3)
    for orientation in range(1, 9):
        yield good(f"heic stored as {orientation}", turned_heic(orientation), SCENE, 2)
    whole = heic(SCENE)
    yield bad("heic cut", whole[: len(whole) // 2], "damaged image: ")
    yield bad("heic header alone", whole[:32], "damaged image: ")
    yield good("heic of two images", several(), SCENE, 2)


def several() -> bytes:
    import pillow_heif

    file = pillow_heif.from_pillow(Image.fromarray(SCENE))
    file.add_from_pillow(Image.fromarray(255 - SCENE))
    buffer = io.BytesIO()
    file.save(buffer, quality=-1, chroma=444, primary_index=0)
    return buffer.getvalue()
