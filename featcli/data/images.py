"""From the bytes of a file to upright RGB pixels: the one place where this policy is written down.

* The content decides the format, never the ending; only the formats of `FORMATS` are opened (none of them runs code).
* EXIF orientation is applied. An EXIF block that cannot be read counts as none.
* 16-bit grey is scaled to 8 bits (65535 becomes 255), not clipped. Floating-point pixels have no range: an error.
* Transparency is composited on white. Palettes, grey, CMYK and the rest go through Pillow's conversion.
* Of an animation, the first frame.
* Truncated files, and images of more than `MAX_PIXELS` pixels, are errors.

`PIXEL_PIPELINE` is part of every stored feature's key: a change of this policy, or of the resizing in
`featcli.data.transforms`, raises it.
"""

from __future__ import annotations

import contextlib
import io
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError, features

PIXEL_PIPELINE = 1
MAX_PIXELS = 178_956_970  # half a gigabyte of RGB, where Pillow too stops by default
FORMATS = tuple(
    name for name in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF") if name != "AVIF" or features.check("avif")
)
EXTENSIONS = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff")
    + ((".avif",) if "AVIF" in FORMATS else ())
)
BACKGROUND = (255, 255, 255)

# Our own check replaces Pillow's, whose warning between one and two times its limit reaches nobody here.
Image.MAX_IMAGE_PIXELS = None


class UnreadableImage(Exception):
    """An image that cannot become pixels; the message is the reason, fit for a row."""


def read_file(path: str) -> bytes:
    """The bytes of a regular file.

    Raises:
        UnreadableImage: no such file, not a regular file (a pipe would block for ever), or it cannot be read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:  # not by `with open(descriptor)`: given a folder, open() raises and leaves the descriptor open
            mode = os.fstat(descriptor).st_mode
            if stat.S_ISDIR(mode):
                raise UnreadableImage("is a folder")
            if not stat.S_ISREG(mode):
                raise UnreadableImage("not a regular file")
            with open(descriptor, "rb", closefd=False) as file:
                data = file.read()
        finally:
            os.close(descriptor)
    except OSError as error:
        raise UnreadableImage((error.strerror or str(error)).lower()) from error
    except ValueError as error:  # a NUL byte inside the name
        raise UnreadableImage("not a valid file name") from error
    if not data:
        raise UnreadableImage("the file is empty")
    return data


def decode_rgb(data: bytes) -> Image.Image:
    """Decodes the bytes of one image file to an upright image of mode RGB.

    Raises:
        UnreadableImage: unknown format, damaged or truncated data, too many pixels, no defined range.
    """
    with _opened(io.BytesIO(data)) as image:
        image.load()
        return _to_rgb(_upright(image))


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What an image file holds, before any conversion.

    Attributes:
        format: as Pillow names it: `JPEG`, `PNG`, ...
        mode: of its pixels, as Pillow names it: `RGB`, `L`, `P`, `CMYK`, `I;16`, ...
        width: in pixels, as stored (before EXIF orientation).
        height: likewise.
    """

    format: str
    mode: str
    width: int
    height: int


def inspect_image(file: BinaryIO, *, decode: bool) -> ImageFacts:
    """Reads what an image file holds.

    Args:
        file: its bytes; without `decode` the header alone is read.
        decode: whether to decode it too, as quickly as its format allows, so that whatever `decode_rgb` would refuse is
            refused here too.

    Raises:
        UnreadableImage: as `decode_rgb` does.
    """
    with _opened(file) as image:
        facts = ImageFacts(image.format or "", image.mode, *image.size)
        if decode:
            image.draft(None, (1, 1))  # JPEG: all of the data is read, an eighth of the pixels are made
            image.load()
            if image.mode[0] in "IF":
                _to_rgb(image)
        return facts


@contextlib.contextmanager
def _opened(file: BinaryIO) -> Iterator[Image.Image]:
    """Opens an image of a known format and size; whatever goes wrong with it inside becomes a reason."""
    try:
        with Image.open(file, formats=FORMATS) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise UnreadableImage(f"{width} x {height} pixels are more than the limit of {MAX_PIXELS}")
            yield image
    except UnidentifiedImageError as error:
        raise UnreadableImage(f"not an image of a known format ({', '.join(FORMATS)})") from error
    except MemoryError as error:
        raise UnreadableImage("not enough memory to decode it") from error
    except UnreadableImage:
        raise
    except Exception as error:  # Pillow's plugins raise whatever a damaged file leads them to
        reason = str(error) or type(error).__name__
        raise UnreadableImage(f"damaged image: {reason[:1].lower()}{reason[1:]}") from error


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # a broken EXIF block says nothing about the pixels, which are decoded already
        return image


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        image = _from_16_bit(image)
    elif image.mode == "F":
        raise UnreadableImage("floating-point pixels have no defined range; save them as 8 or 16 bits")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        canvas = Image.new("RGBA", rgba.size, (*BACKGROUND, 255))
        return Image.alpha_composite(canvas, rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _from_16_bit(image: Image.Image) -> Image.Image:
    """Modes I;16, I;16B and I, Pillow's containers for 16-bit grey, to L: 65535 becomes 255."""
    values = np.asarray(image).astype(np.int64)
    if values.size and (values.min() < 0 or values.max() > 65535):
        raise UnreadableImage("32-bit pixels outside 0 to 65535 have no defined range; save them as 8 or 16 bits")
    return Image.fromarray(((values + 128) // 257).astype(np.uint8))
