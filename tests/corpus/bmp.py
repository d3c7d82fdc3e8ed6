"""BMP: every depth, masks and run lengths, and headers that lie."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence

import numpy as np

from tests.corpus.case import HEADER, TOO_LARGE, Strange, bad, good
from tests.corpus.samples import (
    ALPHA,
    GREY,
    PALETTE,
    RGB,
    Pixels,
    eight_bits,
    noise,
    on_white,
    packed,
    patched,
)


def bmp(
    rows: Sequence[bytes],
    width: int,
    bits: int,
    *,
    palette: bytes = b"",
    masks: Sequence[int] = (),
    compression: int = 0,
    top_down: bool = False,
) -> bytes:
    """A BMP of rows, given from the top, each without its padding; with `compression` 1 and 2 rows are one stream."""
    ordered = rows if top_down or compression in (1, 2) else rows[::-1]
    height = len(rows) if compression not in (1, 2) else len(RGB)
    data = b"".join(row if compression in (1, 2) else row + bytes(-len(row) % 4) for row in ordered)
    size = 108 if len(masks) == 4 else 40
    header = struct.pack(
        "<IiiHHIIiiII", size, width, -height if top_down else height, 1, bits, compression, len(data), 0, 0,
        len(palette) // 4, 0,
    )  # fmt: skip
    header += struct.pack(f"<{len(masks)}I", *masks)
    header += bytes(max(0, size - len(header)))
    start = 14 + len(header) + len(palette)
    return struct.pack("<2sIHHI", b"BM", start + len(data), 0, 0, start) + header + palette + data


def bmps() -> Iterator[Strange]:
    def made(about: str, data: bytes, pixels: Pixels, tolerance: int = 0) -> Strange:
        return good(f"bmp {about}", data, pixels, tolerance)

    for bits in (1, 4, 8):
        indices = noise(13, 17, seed=bits, top=2**bits)
        table = np.dstack([PALETTE[None, : 2**bits, ::-1], np.zeros((1, 2**bits, 1), np.uint8)]).tobytes()
        yield made(f"palette {bits}", bmp(packed(indices, bits), 17, bits, palette=table), PALETTE[indices])
    rows = [row.tobytes() for row in RGB[..., ::-1]]
    whole = bmp(rows, 17, 24)
    yield made("24", whole, RGB)
    yield made("24 from the top", bmp(rows, 17, 24, top_down=True), RGB)
    rgba = np.dstack([RGB[..., ::-1], ALPHA])
    wide = [row.tobytes() for row in rgba]
    yield made("32 without alpha", bmp(wide, 17, 32), RGB)
    masks = (0xFF0000, 0xFF00, 0xFF)
    yield made("32 with masks", bmp(wide, 17, 32, compression=3, masks=masks), RGB)
    alpha = bmp(wide, 17, 32, compression=3, masks=(*masks, 0xFF000000))
    yield made("32 with alpha", alpha, on_white(RGB, ALPHA), 1)
    five = RGB.astype(np.uint16) >> 3
    rows_555 = [row.tobytes() for row in (five[..., 0] << 10 | five[..., 1] << 5 | five[..., 2]).astype("<u2")]
    yield made("16", bmp(rows_555, 17, 16), eight_bits(five, 5), 1)
    six = RGB[..., 1].astype(np.uint16) >> 2
    rows_565 = [row.tobytes() for row in (five[..., 0] << 11 | six << 5 | five[..., 2]).astype("<u2")]
    pixels = np.dstack([eight_bits(five[..., 0], 5), eight_bits(six, 6), eight_bits(five[..., 2], 5)])
    yield made("16 with masks", bmp(rows_565, 17, 16, compression=3, masks=(0xF800, 0x7E0, 0x1F)), pixels, 1)
    table = np.dstack([PALETTE[None, :, ::-1], np.zeros((1, 256, 1), np.uint8)]).tobytes()
    runs = b"".join(bytes((17, row[0])) + b"\0\0" for row in GREY[::-1]) + b"\0\1"
    yield made("run lengths", bmp([runs], 17, 8, palette=table, compression=1), PALETTE[np.repeat(GREY[:, :1], 17, 1)])
    core = struct.pack("<2sIHHIIHHHH", b"BM", 26 + 52 * 13, 0, 0, 26, 12, 17, 13, 1, 24)
    yield made("of os 2", core + whole[54:], RGB)
    yield made("then junk", whole + b"junk" * 99, RGB)
    for part in (1, 2, 3):
        yield bad(f"bmp cut at {part} of 4", whole[: len(whole) * part // 4])
    yield bad("bmp two bytes", b"BM", HEADER)
    yield bad("bmp bomb", patched(whole, 18, struct.pack("<ii", 99_999, 99_999)), TOO_LARGE)
    yield bad("bmp of no width", patched(whole, 18, bytes(4)))
