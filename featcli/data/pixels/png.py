"""PNG without the texts and profiles that say nothing about its pixels; and whether it ends early.

Pillow unpacks them all and refuses a file in which one is larger than a megabyte, as a defence against bombs. They are
left out instead, packed as they are; of texts, those stay in which Pillow looks for the orientation, if they are small.

Pillow reads in silence a PNG that has no end, and one whose stream of pixels ends properly, but after fewer rows than
the header says: the others become zeros. The stream is unpacked again, to be counted, where the last row is zeros.

Source: PNG, third edition, https://www.w3.org/TR/png-3/ (chunks, interlacing).
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from PIL import Image

from featcli.data.readers.reader import UnreadableImage

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_WORDS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
_OF_ORIENTATION = (b"Raw profile type exif", b"Raw profile type APP1", b"XML:com.adobe.xmp")
_LARGEST = 1 << 20  # bytes, of a text once it is unpacked: Pillow's own limit
_MOST = 8  # of such texts: Pillow's limit on all together is 64 times the other


def is_png(data: bytes) -> bool:
    """Whether a file begins as PNG does."""
    return data.startswith(_SIGNATURE)


def without_words(data: bytes) -> bytes:
    """The same PNG, without what is described above; the same bytes where there is nothing to leave out."""
    kept, begin, at, texts = [], 0, len(_SIGNATURE), 0
    while at + 8 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8]
        if kind in _WORDS and end <= len(data):
            stays = texts < _MOST and _tells_orientation(kind, data[at + 8 : end - 4])
            texts += stays
            if not stays:
                kept.append(data[begin:at])
                begin = end
        at = end
    return b"".join([*kept, data[begin:]]) if kept else data


def require_whole(data: bytes, image: Image.Image) -> None:
    """Refuses a PNG that ends early.

    Args:
        data: the file; texts and profiles may be left out.
        image: as Pillow has loaded it.

    Raises:
        UnreadableImage: it has fewer pixels than its header says. Where they are all there it may lack its end.
    """
    header = next((data[begin:end] for kind, begin, end in _chunks(data) if kind == b"IHDR"), b"")
    if len(header) < _HEADER_BYTES:
        return  # of no kind that Pillow has loaded
    # Of an interlaced image the odd rows come last; one of a single row is always counted.
    row = image.height - 1 if not header[12] else (image.height - 2) | 1
    pixels = image.load()
    if row > 0 and pixels is not None and not all(pixels[column, row] in _ZEROS for column in range(image.width)):
        return
    expected = _unpacked_size(header)
    missing = expected - _count(data, expected)
    if missing > 0:
        raise UnreadableImage(f"damaged image: {missing} of the {expected} bytes of its pixels are missing")


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The kind of each chunk, and where its body begins and ends, as far as there is one."""
    at = len(_SIGNATURE)
    while at + 8 <= len(data):
        end = at + 8 + int.from_bytes(data[at : at + 4], "big")
        yield data[at + 4 : at + 8], at + 8, min(end, len(data))
        at = end + 4


_HEADER_BYTES = 13
# Of each pass of an interlaced image: the first column and row, and the steps between columns and between rows.
_PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
_ZEROS = (0, (0, 0), (0, 0, 0), (0, 0, 0, 0))
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a pixel, by the kind of colour


def _unpacked_size(header: bytes) -> int:
    """Bytes of the rows with their filters, by the body of IHDR."""
    width, height = int.from_bytes(header[:4], "big"), int.from_bytes(header[4:8], "big")
    bits = header[8] * _SAMPLES.get(header[9], 1)
    size = 0
    for left, top, across, down in _PASSES if header[12] else ((0, 0, 1, 1),):
        columns, rows = -((left - width) // across), -((top - height) // down)
        if columns > 0 and rows > 0:
            size += rows * (1 + (columns * bits + 7) // 8)
    return size


def _count(data: bytes, enough: int) -> int:
    """How many bytes the stream of pixels unpacks to; counting ends where there are enough."""
    unpacking, count = zlib.decompressobj(), 0
    for kind, begin, end in _chunks(data):
        rest = data[begin:end] if kind == b"IDAT" else b""
        while rest and count < enough:
            count += len(unpacking.decompress(rest, min(_LARGEST, enough - count)))
            rest = unpacking.unconsumed_tail
    return count


def _tells_orientation(kind: bytes, body: bytes) -> bool:
    keyword, _, rest = body.partition(b"\0")
    if kind == b"iCCP" or keyword not in _OF_ORIENTATION or len(body) > _LARGEST:
        return False
    packed = (
        rest[1:] if kind == b"zTXt" else rest[2:].split(b"\0", 2)[-1] if kind == b"iTXt" and rest[:1] == b"\1" else b""
    )
    unpacking = zlib.decompressobj()
    try:
        unpacking.decompress(packed, _LARGEST)
    except zlib.error:
        return False
    return not unpacking.unconsumed_tail
