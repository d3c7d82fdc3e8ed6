"""Not images: what somebody renamed to .jpg; and images under another format's ending."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from tests.corpus.case import DAMAGED, UNKNOWN, Strange, bad, good
from tests.corpus.samples import (
    RGB,
    encode,
    noise,
)


def foreign() -> Iterator[Strange]:
    """What somebody renamed to .jpg."""
    contents: dict[str, bytes] = {
        "eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(x) (w) file\nshowpage\n%%EOF\n",
        "pdf": encode(RGB, "PDF"),
        "ico": encode(RGB, "ICO"),
        "ppm": encode(RGB, "PPM"),
        "tga": encode(RGB, "TGA"),
        "pcx": encode(RGB, "PCX"),
        "sgi": encode(RGB, "SGI"),
        "jpeg 2000": encode(RGB, "JPEG2000"),
        "psd": b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 13, 17, 8, 3) + bytes(999),
        "svg": b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'><rect width='9' height='9'/></svg>",
        "html": b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        "text": b"a note that somebody renamed\n",
        "utf 16 text": "\ufeffa note".encode("utf-16-le"),
        "json": b'{"label": "cat"}',
        "zip": b"PK\x03\x04\x14\0\0\0\0\0" + bytes(20) + b"x.jpg" + encode(RGB),
        "tar": b"x.jpg".ljust(257, b"\0") + b"ustar\x0000" + bytes(247) + encode(RGB),
        "gzip": b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + zlib.compress(encode(RGB))[2:],
        "pickle": b"cos\nsystem\n(S'touch owned'\ntR.",
        "script": b"#!/bin/sh\ntouch owned\n",
        "program": b"\x7fELF\x02\x01\x01" + bytes(99),
        "numpy": b"\x93NUMPY\x01\0v\0{'descr': '|u1', 'fortran_order': False, 'shape': (9,), }" + bytes(99),
        "dicom": bytes(128) + b"DICM" + bytes(99),
        "apple double": b"\0\x05\x16\x07\0\x02\0\0Mac OS X        " + bytes(99),
        "git lfs pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345\n",
        "one byte": b"\xff",
        "zeros": bytes(5000),
        "ones": b"\xff" * 5000,
        "random bytes": noise(5000, seed=14).tobytes(),
        "text that begins with BM": b"BMW, a photograph\n",
        "text that begins with GIF89a": b"GIF89a is a format\n",
        "text that begins with II": b"II, the second\n",
    }
    for about, data in contents.items():
        begins = data.startswith((b"BM", b"GIF89a"))
        yield bad(f"renamed {about}", data, DAMAGED if begins else UNKNOWN)
    yield bad("empty", b"", "the file is empty$")
    for ending, data in (
        ("jpg", encode(RGB)),
        ("png", encode(RGB, "BMP")),
        ("TIFF", encode(RGB, "WEBP", lossless=True)),
    ):
        yield good(f"wrong ending {ending}", data, RGB, name=b"wrong." + ending.encode())
    yield good("no ending", encode(RGB), RGB, name=b"no_ending")
