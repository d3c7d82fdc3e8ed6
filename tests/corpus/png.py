"""PNG: every mode, depth and interlacing, transparency of each kind, and what is cut, wrong or a bomb."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.corpus.case import HEADER, TOO_LARGE, Strange, bad, good
from tests.corpus.samples import (
    ALPHA,
    GREY,
    PALETTE,
    RGB,
    SIXTEEN,
    eight_bits,
    encode,
    grey_rgb,
    noise,
    on_white,
    orientation_of,
    packed,
    paletted,
    patched,
    stored,
)


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


ADAM7 = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))


def png(samples: NDArray[Any], bits: int, colour: int, *chunks: bytes, interlaced: bool = False) -> bytes:
    """A PNG of samples (H, W[, C]); colour 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGBA."""
    height, width = samples.shape[:2]
    passes = [samples[y::dy, x::dx] for x, y, dx, dy in ADAM7] if interlaced else [samples]
    raw = b"".join(b"\0" + row for part in passes if part.size for row in packed(part, bits))
    return png_of(width, height, bits, colour, *chunks, chunk(b"IDAT", zlib.compress(raw)), interlaced=interlaced)


def png_of(width: int, height: int, bits: int, colour: int, *chunks: bytes, interlaced: bool = False) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def modes() -> Iterator[Strange]:
    """What PNG and JPEG do not store is under the formats that do."""
    bits = (GREY > 127).astype(np.uint8)
    yield good("mode 1", encode(Image.fromarray(bits * 255).convert("1")), grey_rgb(bits * 255))
    yield good("mode L", encode(GREY), grey_rgb(GREY))
    grey_alpha = Image.fromarray(np.dstack([GREY, ALPHA]), "LA")
    yield good("mode LA", encode(grey_alpha), on_white(grey_rgb(GREY), ALPHA), 1)
    yield good("mode P", encode(paletted(GREY)), PALETTE[GREY])
    clear = PALETTE.copy()
    clear[GREY[0, 0]] = 255
    yield good("mode P with a transparent entry", encode(paletted(GREY), transparency=int(GREY[0, 0])), clear[GREY])
    graded = noise(256, seed=8)
    yield good(
        "mode P with transparency in bytes",
        encode(paletted(GREY), transparency=graded.tobytes()),
        on_white(PALETTE[GREY], graded[GREY]),
        1,
    )
    few = np.concatenate([graded[:9], np.full(247, 255, np.uint8)])
    yield good(
        "mode P with transparency of nine entries",
        encode(paletted(GREY), transparency=graded[:9].tobytes()),
        on_white(PALETTE[GREY], few[GREY]),
        1,
    )
    yield good("mode RGB", encode(RGB), RGB)
    rgba = np.dstack([RGB, ALPHA])
    yield good("mode RGBA", encode(rgba), on_white(RGB, ALPHA), 1)
    yield good("mode RGBA all transparent", encode(np.dstack([RGB, np.zeros_like(ALPHA)])), np.full_like(RGB, 255))
    yield good("mode RGBA all opaque", encode(np.dstack([RGB, np.full_like(ALPHA, 255)])), RGB)
    yield good("mode I 16", encode(SIXTEEN), grey_rgb(eight_bits(SIXTEEN, 16)))


def pngs() -> Iterator[Strange]:
    for bits in (1, 2, 4, 8, 16):
        grey = noise(13, 17, seed=bits, top=2**bits)
        grey[5, 5] = clear = 2**bits * 2 // 3
        pixels = grey_rgb(eight_bits(grey, bits))
        for interlaced in (False, True):
            kind = f"{'interlaced' if interlaced else 'plain'} png"
            yield good(f"{kind} grey {bits}", png(grey, bits, 0, interlaced=interlaced), pixels)
            if bits < 16:
                table = chunk(b"PLTE", PALETTE[: 2**bits].tobytes())
                yield good(f"{kind} palette {bits}", png(grey, bits, 3, table, interlaced=interlaced), PALETTE[grey])
        yield good(
            f"png grey {bits} with a transparent value",
            png(grey, bits, 0, chunk(b"tRNS", struct.pack(">H", clear))),
            grey_rgb(np.where(grey == clear, 255, eight_bits(grey, bits))),
        )
    yield from deep_pngs()
    yield from damaged_pngs()
    yield from wordy_pngs()


def deep_pngs() -> Iterator[Strange]:
    deep = noise(13, 17, 4, seed=9, top=65536)
    shown, alpha = eight_bits(deep[..., :3], 16), eight_bits(deep[..., 3], 16)
    for interlaced in (False, True):
        kind = "interlaced png" if interlaced else "png"
        yield good(f"{kind} rgb 16", png(deep[..., :3], 16, 2, interlaced=interlaced), shown, 1)
        yield good(f"{kind} rgba 16", png(deep, 16, 6, interlaced=interlaced), on_white(shown, alpha), 2)
        yield good(
            f"{kind} grey and alpha 16",
            png(deep[..., 2:], 16, 4, interlaced=interlaced),
            on_white(grey_rgb(shown[..., 2]), alpha),
            2,
        )
        yield good(f"{kind} rgb 8", png(RGB, 8, 2, interlaced=interlaced), RGB)
    for bits, rgb, truth in ((8, RGB, RGB), (16, deep[..., :3], shown)):
        clear = chunk(b"tRNS", struct.pack(">HHH", *rgb[4, 4].tolist()))
        pixels = np.where((rgb == rgb[4, 4]).all(axis=2)[..., None], 255, truth).astype(np.uint8)
        yield good(f"png rgb {bits} with a transparent colour", png(rgb, bits, 2, clear), pixels, int(bits == 16))
    frames = [Image.fromarray(np.full_like(RGB, value)) for value in (10, 200)]
    yield good("png animated", encode(frames[0], save_all=True, append_images=frames[1:]), np.full_like(RGB, 10))
    whole = png(RGB, 8, 2)
    split = zlib.compress(b"".join(b"\0" + row for row in packed(RGB, 8)))
    yield good(
        "png of many small idat",
        png_of(17, 13, 8, 2, *(chunk(b"IDAT", split[at : at + 7]) for at in range(0, len(split), 7))),
        RGB,
    )
    yield good("png then junk", whole + b"junk" * 99, RGB)
    yield good("png with unknown chunks", png(RGB, 8, 2, chunk(b"zzZz", b"?" * 999)), RGB)
    yield good("png with a broken profile", png(RGB, 8, 2, chunk(b"iCCP", b"x\0\0???")), RGB)
    yield good("png with gamma", png(RGB, 8, 2, chunk(b"gAMA", struct.pack(">I", 99999))), RGB)
    yield good("png with broken exif", png(RGB, 8, 2, chunk(b"eXIf", b"II*\0????")), RGB)
    yield good("png without its end", whole[:-12], RGB)
    yield good("png without its last byte", whole[:-1], RGB)
    yield good("png without its checksums", whole[:-20], RGB)


def damaged_pngs() -> Iterator[Strange]:
    whole = png(RGB, 8, 2)
    for part in (1, 2, 3, 4, 5, 6):
        cut = whole[: 40 + (len(whole) - 60) * part // 7]
        yield bad(f"png cut at {part} of 7", cut)
    yield bad("png signature alone", whole[:8], HEADER)
    yield bad("png cut in its header", whole[:20])
    yield bad("png header alone", whole[:33], HEADER)
    yield bad("png bad header crc", patched(whole, 30, b"\0"), HEADER)
    yield bad("png without idat", png_of(17, 13, 8, 2))
    yield bad("png empty idat", png_of(17, 13, 8, 2, chunk(b"IDAT", b"")))
    few = chunk(b"IDAT", zlib.compress(b"\0" * 52 * 6))
    raw = bytearray(zlib.compress(b"".join(b"\0" + row for row in packed(RGB, 8)), 0))
    raw[99] ^= 0xFF
    flipped = chunk(b"IDAT", bytes(raw))
    yield bad("png one byte flipped", png_of(17, 13, 8, 2, flipped))
    yield bad("png garbage in idat", patched(whole, 60, b"\xff" * 99))
    yield bad("png without palette", png(GREY, 8, 3), "damaged image: it has no palette$")
    yield bad("png of no width", png_of(0, 13, 8, 2, few), HEADER)
    yield bad("png of no height", png_of(17, 0, 8, 2, few), HEADER)
    yield bad("png bit depth 3", png_of(17, 13, 3, 0, few))
    yield bad("png bomb", png_of(100_000, 100_000, 8, 2, few), TOO_LARGE)
    yield bad("png bomb in a line", png_of(2**31 - 1, 1, 8, 2, few), TOO_LARGE)
    yield bad("png just over the limit", png_of(178_956_971, 1, 1, 0, few), TOO_LARGE)


def wordy_pngs() -> Iterator[Strange]:
    """Texts and profiles above Pillow's limits, before and behind the pixels; none is unpacked."""
    large = bytes(3_000_000)
    packed = zlib.compress(large)
    kinds = {
        "text bomb": chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(70_000_000))),
        "international text": chunk(b"iTXt", b"x\0\1\0\0\0" + packed),
        "plain text": chunk(b"tEXt", b"x\0" + large),
        "profile": chunk(b"iCCP", b"x\0\0" + packed),
        "xmp bomb": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + packed),
        "many texts": chunk(b"tEXt", b"XML:com.adobe.xmp\0" + bytes(900_000)) * 80,
    }
    whole = png(RGB, 8, 2)
    for about, words in kinds.items():
        yield good(f"png {about}", png(RGB, 8, 2, words), RGB)
        yield good(f"png {about} behind", whole[:-12] + words + whole[-12:], RGB)
    exif = orientation_of(6).tobytes().hex()
    said = f"\nexif\n{len(exif) // 2:8}\n{exif}\n".encode()
    turned = np.ascontiguousarray(stored(RGB, 6))
    yield good(
        "png turned by a text",
        png(turned, 8, 2, kinds["profile"], chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(said))),
        RGB,
    )
