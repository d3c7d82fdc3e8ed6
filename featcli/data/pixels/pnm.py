"""PNM: bitmaps, grey and colour of netpbm (`.pbm`, `.pgm`, `.ppm`), raw and plain, of any largest value.

Pillow reads them too, but brings 16-bit grey of another largest value to 16 bits first, which rounds twice.

Source: the pages pbm(5), pgm(5) and ppm(5) of netpbm.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featcli.data.readers.reader import UnreadableImage

PNM_ENDINGS = (".ppm", ".pgm", ".pbm", ".pnm")
_SPACE = b" \t\n\v\f\r"
_BEGIN = re.compile(rb"P([1-6])[\s#]")
_NUMBER = re.compile(rb"(?:\s|#[^\r\n]*[\r\n])+(\d{1,10})")
_COMMENT = re.compile(rb"#[^\r\n]*")


@dataclass(frozen=True, slots=True)
class PnmHeader:
    """What the header of a PNM file says.

    Attributes:
        is_plain: whether the samples are written as decimal numbers.
        channels: 1 or 3.
        width: in pixels.
        height: likewise.
        largest: the value that is white; 1 for bitmaps, in which 1 is black.
        is_bitmap: whether it is one.
        start: where the samples begin.
    """

    is_plain: bool
    channels: int
    width: int
    height: int
    largest: int
    is_bitmap: bool
    start: int

    @property
    def mode(self) -> str:
        """As Pillow would name it."""
        if self.is_bitmap:
            return "1"
        return "RGB" if self.channels == 3 else "I;16" if self.largest == 65535 else "L"


def is_pnm(head: bytes) -> bool:
    """Whether a file begins as PNM does."""
    return _BEGIN.match(head) is not None


def read_header(data: bytes) -> PnmHeader:
    """The header of a file of which these are the first bytes, or all.

    Raises:
        UnreadableImage: it is incomplete or wrong.
    """
    kind, at = int(data[1:2]), 2
    numbers = []
    for _ in range(2 if kind in (1, 4) else 3):
        found = _NUMBER.match(data, at)
        if found is None:
            raise UnreadableImage("damaged image: its PNM header is incomplete, or of a kind that is not supported")
        numbers.append(int(found[1]))
        at = found.end()
    width, height, largest = (*numbers, 1)[:3]
    if not (width and height and 0 < largest <= 65535):
        raise UnreadableImage(f"damaged image: a PNM of {width} x {height} pixels and largest value {largest}")
    return PnmHeader(kind < 4, 3 if kind in (3, 6) else 1, width, height, largest, kind in (1, 4), at + (kind >= 4))


def read_pixels(data: bytes, header: PnmHeader) -> Image.Image:
    """The first image of a file: 16-bit grey whose largest value is 65535 as I;16, all else as 8 bits, rounded once.

    Raises:
        UnreadableImage: it is cut off, or has values above its largest.
    """
    shape = (header.height, header.width, header.channels)
    count = header.height * header.width * header.channels
    values = _plain(data, header, count) if header.is_plain else _raw(data, header, count)
    if values.size < count:
        raise UnreadableImage(f"damaged image: {count - values.size} of its {count} values are missing")
    if int(values.max()) > header.largest:
        raise UnreadableImage(f"damaged image: values above its largest, {header.largest}")
    if header.mode == "I;16":
        image = Image.fromarray(values.astype(np.uint16).reshape(shape[:2]))
    else:
        table = np.rint(np.arange(header.largest + 1) * 255 / header.largest).astype(np.uint8)
        pixels = (255 - table if header.is_bitmap else table)[values].reshape(shape)
        image = Image.fromarray(pixels if header.channels == 3 else pixels[..., 0])
    image.format = "PNM"
    return image


def _plain(data: bytes, header: PnmHeader, count: int) -> NDArray[Any]:
    text = _COMMENT.sub(b" ", data[header.start :])
    if text.translate(None, _SPACE + b"0123456789"):
        # A later image or a note may follow; what is not a number ends the samples.
        text = re.split(rb"[^\s\d]", text, maxsplit=1)[0]
    if header.is_bitmap:  # its digits need no blanks between them
        return np.frombuffer(text.translate(None, _SPACE)[:count], np.uint8) - ord("0")
    return np.fromstring(text.decode("ascii"), np.int64, count=-1, sep=" ")[:count]


def _raw(data: bytes, header: PnmHeader, count: int) -> NDArray[Any]:
    body = memoryview(data)[header.start :]
    if header.is_bitmap:
        width = (header.width + 7) // 8
        rows = np.frombuffer(body[: len(body) // width * width][: width * header.height], np.uint8).reshape(-1, width)
        return np.unpackbits(rows, axis=1)[:, : header.width].reshape(-1)
    kind = np.dtype(np.uint8 if header.largest < 256 else ">u2")
    return np.frombuffer(body[: min(len(body) // kind.itemsize, count) * kind.itemsize], kind)
