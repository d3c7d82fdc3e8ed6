"""PNG without the texts and profiles that say nothing about its pixels.

Pillow unpacks them all and refuses a file in which one is larger than a megabyte, as a defence against bombs. They are
left out instead, packed as they are; of texts, those stay in which Pillow looks for the orientation, if they are small.
"""

from __future__ import annotations

import zlib

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
