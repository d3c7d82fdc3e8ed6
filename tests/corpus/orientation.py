"""The eight orientations of a camera, in each format that holds them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import features

from tests.corpus.case import Strange, good
from tests.corpus.jpeg import with_segment
from tests.corpus.samples import (
    GREY,
    PALETTE,
    SCENE,
    SIXTEEN,
    eight_bits,
    encode,
    grey_rgb,
    orientation_of,
    paletted,
    stored,
)


def orientations() -> Iterator[Strange]:
    exact: dict[str, dict[str, Any]] = {
        "JPEG": {"quality": 100, "subsampling": 0},
        "PNG": {},
        "WEBP": {"lossless": True},
        "TIFF": {},
    }
    if features.check("avif"):
        exact["AVIF"] = {"quality": 100, "subsampling": "4:4:4"}
    for orientation in range(1, 9):
        picture = stored(SCENE, orientation)
        for kind, options in exact.items():
            yield good(
                f"{kind.lower()} orientation {orientation}",
                encode(picture, kind, exif=orientation_of(orientation), **options),
                SCENE,
                {"JPEG": 3, "AVIF": 4}.get(kind, 0),
            )
    sixteen = stored(SIXTEEN[..., None], 6)[..., 0]
    yield good("orientation of 16 bits", encode(sixteen, exif=orientation_of(6)), grey_rgb(eight_bits(SIXTEEN, 16)))
    yield good(
        "orientation of a palette with a transparent entry",
        encode(paletted(GREY[::-1, ::-1].copy()), exif=orientation_of(3), transparency=int(GREY[0, 0])),
        np.where((GREY == GREY[0, 0])[..., None], 255, PALETTE[GREY]).astype(np.uint8),
    )
    xmp = b'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta tiff:Orientation="6"/>'
    turned = encode(stored(SCENE, 6), "JPEG", quality=100, subsampling=0)
    yield good("orientation in xmp alone", with_segment(turned, 0xE1, xmp), SCENE, 3)
