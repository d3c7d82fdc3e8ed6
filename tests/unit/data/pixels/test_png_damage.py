"""PNG that ends early: files are written here chunk by chunk, as the format's definition has them."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from featcli.data.pixels.decoding import decode_rgb, grey_values, inspect_image
from featcli.data.readers.reader import UnreadableImage

WIDTH, HEIGHT = 23, 19
PASSES = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
KINDS = {"grey": (8, 0, 1), "RGB": (8, 2, 3), "RGBA": (8, 6, 4), "16-bit grey": (16, 0, 2)}  # depth, colour, bytes


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def samples(kind: str, height: int = HEIGHT, *, black: bool = False) -> np.ndarray:
    shape = (height, WIDTH, KINDS[kind][2])
    return np.zeros(shape, np.uint8) if black else np.random.default_rng(1).integers(1, 256, shape, dtype=np.uint8)


def rows(pixels: np.ndarray, *, interlaced: bool) -> bytes:
    passes = PASSES if interlaced else ((0, 0, 1, 1),)
    parts = (pixels[top::down, left::across] for left, top, across, down in passes)
    return b"".join(b"\0" + row.tobytes() for part in parts for row in part if row.size)


def png(kind: str, stream: bytes, *, interlaced: bool, end: bool = True, height: int = HEIGHT) -> bytes:
    depth, colour, _ = KINDS[kind]
    header = struct.pack(">IIBBBBB", WIDTH, height, depth, colour, 0, 0, interlaced)
    body = chunk(b"IDAT", stream[:60]) + chunk(b"IDAT", stream[60:])
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + (chunk(b"IEND", b"") if end else b"")


def reason(data: bytes) -> str | None:
    said = []
    for read in (decode_rgb, lambda data: inspect_image(io.BytesIO(data), decode=True), grey_values):
        try:
            read(data)
            said.append(None)
        except UnreadableImage as error:
            said.append(str(error))
    assert said[0] == said[1]
    assert said[2] in (None, said[0])  # of what is not 16-bit grey it says nothing
    return said[0]


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_fewer_rows_than_the_header_says_are_an_error(kind: str, interlaced: bool) -> None:
    whole = rows(samples(kind), interlaced=interlaced)
    assert reason(png(kind, zlib.compress(whole), interlaced=interlaced)) is None
    row = 1 + WIDTH * KINDS[kind][2]
    for missing in (1, 4, 8):
        data = png(kind, zlib.compress(whole[: -missing * row]), interlaced=interlaced)
        Image.open(io.BytesIO(data)).load()  # which says nothing
        assert reason(data) == f"damaged image: {missing * row} of the {len(whole)} bytes of its pixels are missing"


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("height", [1, 2, 3, HEIGHT])
def test_black_images_are_counted_and_are_whole(kind: str, interlaced: bool, height: int) -> None:
    for black in (False, True):
        stream = zlib.compress(rows(samples(kind, height, black=black), interlaced=interlaced))
        assert reason(png(kind, stream, interlaced=interlaced, height=height)) is None


def test_more_rows_than_the_header_says_are_no_error() -> None:
    stream = zlib.compress(rows(samples("RGB", black=True), interlaced=False) * 2)
    assert reason(png("RGB", stream, interlaced=False)) is None


@pytest.mark.parametrize("interlaced", [False, True])
def test_a_file_without_its_end_is_read_where_all_pixels_are_there(interlaced: bool) -> None:
    stream = zlib.compress(rows(samples("RGB"), interlaced=interlaced))
    assert reason(png("RGB", stream, interlaced=interlaced, end=False)) is None
    whole = png("RGB", stream, interlaced=interlaced)
    assert reason(whole + b"garbage") is None
    after_pixels = 4 + 4 + 12  # the stream's checksum, the chunk's, the end
    assert [cut for cut in range(1, after_pixels + 1) if reason(whole[:-cut]) is not None] == []
    for cut in range(after_pixels + 1, len(whole) - 20, 7):
        assert reason(whole[:-cut]) is not None, cut


def test_one_bit_images_have_rows_of_whole_bytes() -> None:
    for size in ((1, 1), (9, 3), (16, 2)):
        for mode in ("1", "P"):
            file = io.BytesIO()
            Image.new(mode, size).save(file, "PNG")
            assert reason(file.getvalue()) is None
