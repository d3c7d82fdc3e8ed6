"""JPEG by libjpeg-turbo's own interface, through simplejpeg: the pixels that Pillow's copy of that library gives.

It goes straight into an array, and says where data ends early, which Pillow does not once an end marker follows. What
is not plain (CMYK, RGB, more than 8 bits), and what it refuses for any other reason, Pillow decides.

The first warning is all that is told. Of libjpeg's (jerror.h, https://github.com/libjpeg-turbo/libjpeg-turbo):

* "premature end of data segment", "found marker 0xd9 instead of RST...": the pixels that follow are missing. An error.
* "bad Huffman code": the decoder has lost its place, and makes up what follows. An error.
* "Premature end of JPEG file": no end marker; Pillow refuses that in words of its own.
* Any other, such as "extraneous bytes before marker", may leave the picture whole: Pillow reads it in silence.
"""

from __future__ import annotations

import re

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from featcli.data.readers.reader import UnreadableImage

SCALES = (8, 4, 2)  # libjpeg has others, which are no power of two, and as slow as the whole
_PLAIN = ("YCbCr", "Gray")
_DAMAGE = re.compile(r"premature end of data segment|found marker 0xd9 instead of RST|bad Huffman code")


def scaled_size(size: tuple[int, int], scale: int) -> tuple[int, int]:
    """Width and height of an image of which only every `scale`th pixel is decoded; a part counts as a pixel."""
    return -(-size[0] // scale), -(-size[1] // scale)


def decode_jpeg(data: bytes, size: tuple[int, int], scale: int = 1) -> NDArray[np.uint8] | None:
    """Decodes a plain JPEG.

    Args:
        data: the file.
        size: its width and height by Pillow's reading of its header.
        scale: 1, or one of `SCALES`: of so many pixels in a row and in a column, one is decoded.

    Returns:
        (H, W, 3) uint8 as stored; None where Pillow decides.

    Raises:
        UnreadableImage: its data ends before its picture does, or is garbled.
    """
    width, height = scaled_size(size, scale)
    try:
        rows, columns, colours, _ = simplejpeg.decode_jpeg_header(data)
        if colours not in _PLAIN or (columns, rows) != size:
            return None
        pixels = simplejpeg.decode_jpeg(data, "RGB", min_height=height, min_width=width, strict=True)
    except ValueError as error:
        found = _DAMAGE.search(str(error))
        if found is None:
            return None
        raise UnreadableImage(f"damaged image: {found[0]}") from error
    return pixels if pixels.shape == (height, width, 3) else None
