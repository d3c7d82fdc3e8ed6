"""A folder of strange files, what each must give, and whether featcli gives it: `scripts/strange_images.py`.

Every mode, format, orientation and damage that real folders hold, with names that break naive programs. What an image
must give is computed here, from the samples it was made of and the definitions of the formats, never by featcli. Real
featcli processes run over the folder too: a row for each file in order, bounded memory, no hang, nothing touched.
Takes about half a minute on two cores; exits 1 where anything is wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import io
import json
import os
import re
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from featcli.data.pixels.decoding import EXTENSIONS, decode_rgb
from featcli.data.readers.files import read_file
from featcli.data.readers.reader import UnreadableImage

PROJECT = Path(__file__).resolve().parents[1]
MODEL = {"name": "efficientnet_lite0", "weights": "none", "preprocess": "{resize: 40, crop: 32}"}
MAX_SECONDS = 120  # of one process
MAX_MEMORY = 1_600_000_000  # bytes, of one process
DAMAGED = r"damaged image: "
HEADER = r"damaged image: its \w+ header is incomplete, or of a kind that is not supported$"
UNKNOWN = r"not an image of a known format \("
TOO_LARGE = r"\d+ x \d+ pixels are more than the limit of 178956970$"
Pixels = NDArray[np.uint8]
Content = bytes | Callable[[bytes], None]


@dataclass(frozen=True, kw_only=True)
class Strange:
    """A strange file and what it must give: pixels or an error.

    Attributes:
        about: what is strange about it; unique.
        content: its bytes, or what makes it at a path.
        pixels: (H, W, 3), upright; None where it is an error.
        tolerance: largest difference from `pixels`, in levels of 255: nonzero for lossy formats and rounding.
        error: regular expression for the reason, from its start; of `predict` alone where there are pixels too.
        name: of the file, as bytes; empty for `about` with `.jpg`.
    """

    about: str
    content: Content
    pixels: Pixels | None = None
    tolerance: int = 0
    error: str | None = None
    name: bytes = b""

    @property
    def file(self) -> bytes:
        """The name of the file."""
        return self.name or self.about.replace(" ", "_").encode() + b".jpg"

    @property
    def is_walked(self) -> bool:
        """Whether a walk of the folder yields it."""
        return os.path.splitext(os.fsdecode(self.file))[1].lower() in EXTENSIONS and not self.file.startswith(b".")

    def write(self, folder: Path) -> None:
        """Makes it in a folder."""
        path = os.fsencode(folder) + b"/" + self.file
        if isinstance(self.content, bytes):
            Path(os.fsdecode(path)).write_bytes(self.content)
        else:
            self.content(path)

    def verdict(self, folder: Path) -> str | None:
        """What is wrong with the pixels or the error that featcli gives for it in this folder; None if nothing is."""
        try:
            image = decode_rgb(read_file(os.path.join(folder, os.fsdecode(self.file))))
        except UnreadableImage as error:
            if self.pixels is not None:
                return f"has pixels, but: {error}"
            return None if re.match(self.error or "", str(error)) else f"reason: {error}"
        if self.pixels is None:
            return "decoded, but is an error"
        return compare(image, self.pixels, self.tolerance)


def compare(image: Image.Image, expected: Pixels, tolerance: int) -> str | None:
    """What differs, in bands of rows: some images are large."""
    height, width, _ = expected.shape
    if (image.mode, image.size) != ("RGB", (width, height)):
        return f"{image.mode} {image.size} instead of RGB {(width, height)}"
    for top in range(0, height, 256):
        band = expected[top : top + 256]
        found = np.asarray(image.crop((0, top, width, top + len(band))))
        if not np.array_equal(found, band):
            worst = int(np.abs(found.astype(np.int16) - band).max())
            if worst > tolerance:
                return f"pixels differ by {worst}"
    return None


# What images are made of


def noise(*shape: int, seed: int = 0, top: int = 256) -> NDArray[Any]:
    kind = np.uint8 if top <= 256 else np.uint16
    return np.random.default_rng(seed).integers(0, top, shape).astype(kind)


def blocks(*shape: int, seed: int = 0) -> Pixels:
    """Squares of 16 x 16 of one colour, which JPEG keeps."""
    return np.repeat(np.repeat(noise(*shape, seed=seed), 16, axis=0), 16, axis=1)


def levels(values: NDArray[Any]) -> Pixels:
    return np.asarray(np.clip(np.round(values), 0, 255), dtype=np.uint8)


def grey_rgb(grey: NDArray[Any]) -> Pixels:
    return np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)


def on_white(rgb: NDArray[Any], alpha: NDArray[Any]) -> Pixels:
    """Over a white ground, alpha from 0 to 255."""
    share = alpha[..., None] / 255
    return levels(rgb * share + 255 * (1 - share))


def eight_bits(values: NDArray[Any], bits: int) -> Pixels:
    """The largest value of so many bits becomes 255."""
    return levels(values.astype(np.float64) * 255 / (2**bits - 1))


def from_inks(inks: NDArray[Any]) -> Pixels:
    """Cyan, magenta, yellow, each darkened by black: (255 - C)(255 - K) / 255."""
    parts = 255 - inks.astype(np.float64)
    return levels(parts[..., :3] * parts[..., 3:] / 255)


def from_ycc(ycc: NDArray[Any]) -> Pixels:
    """Source: JFIF 1.02."""
    y, cb, cr = (ycc[..., index].astype(np.float64) - (0, 128, 128)[index] for index in range(3))
    return levels(np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], axis=2))


def to_ycc(rgb: NDArray[Any]) -> Pixels:
    """The inverse of `from_ycc`."""
    weights = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
    return levels(rgb @ weights.T + (0, 128, 128))


def from_lab(lightness: NDArray[Any], a: NDArray[Any], b: NDArray[Any]) -> Pixels:
    """CIE L*a*b* under D50 to sRGB.

    Source: CIE 15, IEC 61966-2-1, with Bradford's adaptation from D50 in the matrix (Lindbloom).
    """
    y = (lightness + 16) / 116
    xyz = np.stack([y + a / 500, y, y - b / 200], axis=2)
    xyz = np.where(xyz > 6 / 29, xyz**3, (xyz - 4 / 29) * 3 * (6 / 29) ** 2) * (0.96422, 1, 0.82521)
    matrix = [
        [3.1338561, -1.6168667, -0.4906146],
        [-0.9787684, 1.9161415, 0.0334540],
        [0.0719453, -0.2289914, 1.4052427],
    ]
    linear = np.clip(xyz @ np.array(matrix).T, 0, 1)
    return levels(255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055))


def stored(upright: Pixels, orientation: int) -> Pixels:
    """How a camera stores an upright picture: which side of the scene its row 0 and column 0 are.

    Source: EXIF 2.3, tag 0x0112.
    """
    turned = upright.transpose(1, 0, 2)
    return {
        1: upright,  # top, left
        2: upright[:, ::-1],  # top, right
        3: upright[::-1, ::-1],  # bottom, right
        4: upright[::-1],  # bottom, left
        5: turned,  # left, top
        6: turned[::-1],  # right, top
        7: turned[::-1, ::-1],  # right, bottom
        8: turned[:, ::-1],  # left, bottom
    }[orientation]


RGB = noise(13, 17, 3)
GREY = noise(13, 17, seed=1)
ALPHA = noise(13, 17, seed=2)
SCENE = blocks(3, 4, 3, seed=3)  # 48 x 64
GREY_SCENE = blocks(3, 4, seed=4)
INKS = blocks(3, 4, 4, seed=5)
PALETTE = noise(256, 3, seed=6)
SIXTEEN = noise(13, 17, seed=7, top=65536)


def encode(pixels: NDArray[Any] | Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.ascontiguousarray(pixels))
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def paletted(indices: Pixels, palette: Pixels = PALETTE) -> Image.Image:
    image = Image.fromarray(indices)
    image.putpalette(palette.tobytes())
    return image


def orientation_of(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


# Formats, written by hand where Pillow does not write what is wanted


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def packed(samples: NDArray[Any], bits: int) -> list[bytes]:
    """Rows of samples (H, W[, C]) of so many bits, most significant first."""
    if bits >= 8:
        return [row.astype(f">u{bits // 8}").tobytes() for row in samples]
    each = samples[..., None] >> np.arange(bits - 1, -1, -1) & 1
    return [np.packbits(row.astype(np.uint8)).tobytes() for row in each.reshape(len(samples), -1)]


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


def tiff(
    samples: NDArray[Any], order: Literal["<", ">"] = "<", *, tile: int = 0, raw: bytes = b"", **tags: Any
) -> bytes:
    """An uncompressed TIFF of samples (H, W[, C]) in one strip, or in tiles; tags by number, as `t262=(2,)`."""
    height, width, count = (*samples.shape, 1)[:3]
    kind = samples.dtype.newbyteorder(order)
    data = raw or samples.astype(kind).tobytes()
    where: dict[int, tuple[int, ...]] = {273: (8,), 278: (height,), 279: (len(data),)}
    if tile:
        full = np.zeros((-(-height // tile) * tile, -(-width // tile) * tile, *samples.shape[2:]), kind)
        full[:height, :width] = samples
        parts = [
            full[y : y + tile, x : x + tile].tobytes()
            for y in range(0, len(full), tile)
            for x in range(0, full.shape[1], tile)
        ]
        data, size = b"".join(parts), len(parts[0])
        starts = tuple(8 + size * index for index in range(len(parts)))
        where = {322: (tile,), 323: (tile,), 324: starts, 325: (size,) * len(parts)}
    bits = (samples.dtype.itemsize * 8,) * count
    values = {
        256: (width,),
        257: (height,),
        258: bits,
        259: (1,),
        262: (2 if count > 2 else 1,),
        277: (count,),
        **where,
    }
    values |= {int(name[1:]): value for name, value in tags.items()}
    body = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8 + len(data)) + data
    body += struct.pack(f"{order}H", len(values))
    after, beyond = b"", len(body) + 12 * len(values) + 4
    for tag, value in sorted(values.items()):
        long = tag in (273, 279, 324, 325)
        field = struct.pack(f"{order}{len(value)}{'I' if long else 'H'}", *value)
        if len(field) > 4:
            field, after = struct.pack(f"{order}I", beyond + len(after)), after + field
        body += struct.pack(f"{order}HHI", tag, 4 if long else 3, len(value)) + field.ljust(4, b"\0")
    return body + bytes(4) + after


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


def with_segment(jpeg: bytes, marker: int, body: bytes) -> bytes:
    """A JPEG with one more segment, right after its start."""
    return jpeg[:2] + struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body + jpeg[2:]


def exif_block(*entries: tuple[int, int, int, int]) -> bytes:
    """An EXIF segment's body with entries (tag, kind, count, value), right or wrong."""
    fields = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + fields + bytes(4)


def patched(data: bytes, at: int, value: bytes) -> bytes:
    return data[:at] + value + data[at + len(value) :]


# The corpus


def good(
    about: str, content: Content, pixels: Pixels, tolerance: int = 0, *, error: str | None = None, name: bytes = b""
) -> Strange:
    return Strange(about=about, content=content, pixels=pixels, tolerance=tolerance, error=error, name=name)


def bad(about: str, content: Content, error: str = DAMAGED) -> Strange:
    return Strange(about=about, content=content, error=error)


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
    bomb = chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(70_000_000)))
    yield bad("png text bomb", png(RGB, 8, 2, bomb))


def jpegs() -> Iterator[Strange]:
    exact = {"quality": 100, "subsampling": 0}
    whole = encode(SCENE, "JPEG", **exact)
    tinted = levels(grey_rgb(GREY_SCENE // 2 + 64) + np.array([40.0, -10, -40]))

    def made(about: str, data: bytes, pixels: Pixels = SCENE, tolerance: int = 3) -> Strange:
        return good(f"jpeg {about}", data, pixels, tolerance)

    yield made("baseline", whole)
    yield made("optimised", encode(SCENE, "JPEG", optimize=True, **exact))
    yield made("progressive", encode(SCENE, "JPEG", progressive=True, **exact))
    yield made("grey", encode(GREY_SCENE, "JPEG", quality=100), grey_rgb(GREY_SCENE))
    yield made("grey progressive", encode(GREY_SCENE, "JPEG", quality=100, progressive=True), grey_rgb(GREY_SCENE))
    for ratio in (1, 2):
        yield made(f"subsampled {ratio}", encode(tinted, "JPEG", quality=100, subsampling=ratio), tinted)
    yield made("kept rgb", encode(SCENE, "JPEG", keep_rgb=True, quality=100))
    yield made("quality 50", encode(tinted, "JPEG", quality=50), tinted, 12)
    yield made("restart markers", encode(SCENE, "JPEG", restart_marker_blocks=1, **exact))
    yield made("restart rows", encode(SCENE, "JPEG", restart_marker_rows=1, **exact))
    for height, width in ((1, 1), (1, 64), (48, 1), (7, 9), (17, 33), (47, 63)):
        part = SCENE[:height, :width]
        yield made(f"{width} by {height}", encode(part, "JPEG", **exact), part)
    cmyk = encode(Image.fromarray(INKS, "CMYK"), "JPEG", quality=100)
    yield made("cmyk", cmyk, from_inks(INKS))
    # YCCK: the inks as YCbCr beside black, and the transform of Adobe's marker, its last byte, set to 2.
    ycck = np.dstack([255 - to_ycc(INKS[..., :3]), INKS[..., 3]])
    data = encode(Image.fromarray(ycck, "CMYK"), "JPEG", quality=100)
    yield made("ycck", patched(data, data.index(b"Adobe") + 11, b"\x02"), from_inks(INKS), 4)
    yield made("with a broken profile", encode(SCENE, "JPEG", icc_profile=b"no profile" * 99, **exact))
    yield made("with a long comment", encode(SCENE, "JPEG", comment=b"?" * 65000, **exact))
    yield made("then junk", whole + b"\0junk" * 99)
    yield made("then another", whole + encode(GREY_SCENE, "JPEG"))
    yield made("fill bytes", whole[:2] + b"\xff" * 9 + whole[2:])
    stereo = [Image.fromarray(SCENE), Image.new("RGB", (64, 48))]
    yield made("stereo", encode(stereo[0], "MPO", save_all=True, append_images=stereo[1:], **exact))
    yield made("broken stereo", with_segment(whole, 0xE2, b"MPF\0II*\0\x08\0\0\0" + b"\xff" * 30))
    yield made("thumbnail inside", with_segment(whole, 0xE1, b"Exif\0\0" + encode(GREY_SCENE, "JPEG")))
    for number, block in enumerate(
        (
            b"Exif\0\0",
            b"Exif\0\0garbage",
            b"Exif\0\0II*\0\xff\xff\xff\xff",
            b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 30,
            exif_block((0x0112, 2, 0xFFFF, 0xFFFF)),
            exif_block((0x0112, 2, 2, 0x36)),  # orientation as text
            exif_block((0x0112, 3, 1, 0)),
            exif_block((0x0112, 3, 1, 9)),
        )
    ):
        yield made(f"broken exif {number}", with_segment(whole, 0xE1, block))
    turned = encode(stored(SCENE, 6), "JPEG", **exact)
    for number, beside in enumerate(
        ((0x0103, 5, 1, 8), (0x8769, 4, 1, 0xFFFFFF), (0x8769, 2, 4, 0x41414141), (0x013B, 2, 0xFFFF, 1), (1, 99, 1, 1))
    ):
        block = exif_block((0x0112, 3, 1, 6), beside)
        yield made(f"orientation beside broken exif {number}", with_segment(turned, 0xE1, block))
    yield from damaged_jpegs(whole)


def damaged_jpegs(whole: bytes) -> Iterator[Strange]:
    def damaged(about: str, data: bytes, error: str = DAMAGED) -> Strange:
        return bad(f"jpeg {about}", data, error)

    scan = whole.index(b"\xff\xda") + 14
    for part in (0, 1, 2, 3, 4):
        yield damaged(f"cut at {part} of 5", whole[: scan + (len(whole) - scan) * part // 5])
    yield damaged("without its end", whole[:-2])
    yield damaged("without its last byte", whole[:-1])
    progressive = encode(noise(64, 64, 3), "JPEG", progressive=True)
    for part in (1, 2, 3):
        yield damaged(f"progressive cut at {part} of 4", progressive[: len(progressive) * part // 4])
    frame = whole.index(b"\xff\xc0")
    yield damaged("two bytes", whole[:2], UNKNOWN)
    yield damaged("four bytes", whole[:4])
    yield damaged("cut before its frame", whole[:frame])
    yield damaged("cut in its frame", whole[: frame + 5])
    yield damaged("frame then nothing", whole[: frame + 19])
    yield damaged("start and end alone", b"\xff\xd8\xff\xd9", HEADER)
    yield damaged("of 12 bits", patched(whole, frame + 4, b"\x0c"), HEADER)
    yield damaged("of no height", patched(whole, frame + 5, b"\0\0"), HEADER)
    yield damaged("of no width", patched(whole, frame + 7, b"\0\0"), HEADER)
    yield damaged("bomb", patched(whole, frame + 5, b"\xff" * 4), TOO_LARGE)
    yield damaged("lossless", patched(whole, frame + 1, b"\xc3"))
    tables = whole.index(b"\xff\xdb")
    yield damaged("without its tables", whole[:tables] + whole[frame:])
    yield damaged("junk in front", b"\n" + whole, UNKNOWN)
    yield damaged("as text", whole.hex().encode(), UNKNOWN)
    yield damaged("read as utf 8", whole.replace(b"\xff", b"\xef\xbf\xbd"), UNKNOWN)


def webps() -> Iterator[Strange]:
    yield good("webp lossless", encode(RGB, "WEBP", lossless=True), RGB)
    tinted = levels(grey_rgb(GREY_SCENE // 2 + 64) + np.array([20.0, 0, -20]))
    lossy = encode(tinted, "WEBP", quality=100)
    yield good("webp lossy", lossy, tinted, 8)
    rgba = np.dstack([RGB, ALPHA])
    yield good("webp alpha", encode(rgba, "WEBP", lossless=True, exact=True), on_white(RGB, ALPHA), 1)
    half = np.where(np.arange(64) < 32, 255, 0).astype(np.uint8)[None].repeat(48, 0)
    yield good(
        "webp lossy alpha",
        encode(np.dstack([tinted, half]), "WEBP", quality=100, alpha_quality=100),
        on_white(tinted, half),
        8,
    )
    frames = [Image.fromarray(np.full_like(RGB, value)) for value in (10, 200, 90)]
    animated = encode(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    yield good("webp animated", animated, np.full_like(RGB, 10))
    clear = [Image.fromarray(np.dstack([np.full_like(RGB, 10), ALPHA])), Image.new("RGBA", (17, 13), (9, 9, 9, 255))]
    yield good(
        "webp animated alpha",
        encode(clear[0], "WEBP", save_all=True, append_images=clear[1:], lossless=True, exact=True),
        on_white(np.full_like(RGB, 10), ALPHA),
        1,
    )
    yield good("webp then junk", lossy + b"junk" * 99, tinted, 8)
    yield good("webp with broken exif", encode(RGB, "WEBP", lossless=True, exif=b"Exif\0\0garbage"), RGB)
    for part in (1, 2, 3):
        yield bad(f"webp cut at {part} of 4", lossy[: len(lossy) * part // 4])
        yield bad(f"webp animated cut at {part} of 4", animated[: len(animated) * part // 4], DAMAGED)
    yield bad("webp header alone", lossy[:20])
    yield bad("webp riff alone", lossy[:12], UNKNOWN)
    yield bad("riff that is sound", b"RIFF\x24\0\0\0WAVEfmt " + bytes(40), UNKNOWN)


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


def gifs() -> Iterator[Strange]:
    pixels = PALETTE[GREY]
    whole = encode(paletted(GREY), "GIF", optimize=False, interlace=False)
    yield good("gif", whole, pixels)
    large = noise(40, 50, seed=11)
    yield good("gif interlaced", encode(paletted(large), "GIF", interlace=True), PALETTE[large])
    clear = PALETTE.copy()
    clear[GREY[3, 3]] = 255
    yield good(
        "gif transparent", encode(paletted(GREY), "GIF", transparency=int(GREY[3, 3]), optimize=False), clear[GREY]
    )
    frames = [Image.fromarray(np.full_like(RGB, value)) for value in (10, 200, 90)]
    animated = encode(frames[0], "GIF", save_all=True, append_images=frames[1:])
    yield good("gif animated", animated, np.full_like(RGB, 10))
    yield good("gif grey", encode(GREY, "GIF"), grey_rgb(GREY))
    yield good("gif one pixel", encode(RGB[:1, :1], "GIF"), RGB[:1, :1])
    yield good("gif then junk", whole + b"junk" * 99, pixels)
    yield good("gif without its last byte", whole[:-1], pixels)
    start = len(whole) - len(whole.partition(b",\0\0\0\0")[2])
    for part in (1, 2, 3):
        at = start + (len(whole) - start) * part // 4
        yield bad(f"gif cut at {part} of 4", whole[:at])
    yield bad("gif signature alone", whole[:6], HEADER)
    yield bad("gif without a frame", whole[:781] + b";", HEADER)
    bomb = whole.replace(b"," + struct.pack("<4H", 0, 0, 17, 13), b"," + struct.pack("<4H", 0, 0, 65535, 65535))
    yield bad("gif bomb", bomb, TOO_LARGE)


def tiffs() -> Iterator[Strange]:
    def made(about: str, data: bytes, pixels: Pixels = RGB, tolerance: int = 0) -> Strange:
        return good(f"tiff {about}", data, pixels, tolerance)

    rgba = np.dstack([RGB, ALPHA])
    white = on_white(RGB, ALPHA)
    premultiplied = np.dstack([levels(RGB * (ALPHA[..., None] / 255)), ALPHA])
    orders: tuple[tuple[Literal["<", ">"], str], ...] = (("<", "little"), (">", "big"))
    for order, name in orders:
        yield made(f"{name} endian rgb", tiff(RGB, order))
        yield made(f"{name} endian grey", tiff(GREY, order), grey_rgb(GREY))
        yield made(f"{name} endian white is 0", tiff(GREY, order, t262=(0,)), grey_rgb(255 - GREY))
        yield made(f"{name} endian 16", tiff(SIXTEEN, order), grey_rgb(eight_bits(SIXTEEN, 16)))
        yield made(
            f"{name} endian rgb 16",
            tiff(noise(9, 9, 3, top=65536), order),
            eight_bits(noise(9, 9, 3, top=65536), 16),
            1,
        )
        yield made(f"{name} endian tiled", tiff(noise(40, 50, 3), order, tile=16), noise(40, 50, 3))
        signed = (SIXTEEN // 2).astype(np.int16)
        yield made(f"{name} endian signed 16", tiff(signed, order, t339=(2,)), grey_rgb(eight_bits(signed, 16)))
        wide = SIXTEEN.astype(np.int32)
        yield made(f"{name} endian 32", tiff(wide, order, t339=(2,)), grey_rgb(eight_bits(SIXTEEN, 16)))
        floats = noise(9, 9).astype(np.float32)
        yield bad(
            f"tiff {name} endian float", tiff(floats, order, t339=(3,)), "floating-point pixels have no defined range"
        )
        wider = wide + np.int32(1 << 20)
        yield bad(
            f"tiff {name} endian beyond 16 bits",
            tiff(wider, order, t339=(2,)),
            "pixels outside 0 to 65535 have no defined range",
        )
    inverted = grey_rgb(eight_bits(65535 - SIXTEEN, 16))
    yield made("16 white is 0", tiff(SIXTEEN, t262=(0,)), inverted)
    yield made("16 tiled", tiff(SIXTEEN, tile=16), grey_rgb(eight_bits(SIXTEEN, 16)))
    twelve = noise(8, 16, seed=12, top=4096)
    yield made(
        "12", tiff(twelve, raw=b"".join(bits_12(row) for row in twelve), t258=(12,)), grey_rgb(eight_bits(twelve, 12))
    )
    bits = (GREY > 127).astype(np.uint8)
    for value, shown in ((1, bits), (0, 1 - bits)):
        raw = b"".join(packed(bits, 1))
        yield made(f"1 photometric {value}", tiff(bits, raw=raw, t258=(1,), t262=(value,)), grey_rgb(shown * 255))
    nibbles = noise(13, 16, seed=4, top=16)
    yield made("4", tiff(nibbles, raw=b"".join(packed(nibbles, 4)), t258=(4,)), grey_rgb(nibbles * 17))
    yield made("palette", encode(paletted(GREY), "TIFF"), PALETTE[GREY])
    yield made("alpha", tiff(rgba, t338=(2,)), white, 1)
    yield made("premultiplied alpha", tiff(premultiplied, t338=(1,)), white, 2)
    yield made("mode RGBX", tiff(rgba, t338=(0,)))
    grey_alpha = np.dstack([GREY, ALPHA])
    yield made("mode LA", tiff(grey_alpha, t338=(2,)), on_white(grey_rgb(GREY), ALPHA), 1)
    table = (PALETTE.T.astype(np.uint16) * 257).ravel().tolist()
    indexed = tiff(grey_alpha, t262=(3,), t338=(2,), t320=tuple(table))
    yield made("mode PA", indexed, on_white(PALETTE[GREY], ALPHA), 1)
    inks = noise(13, 17, 4, seed=13)
    yield made("mode CMYK", tiff(inks, t262=(5,)), from_inks(inks), 1)
    ycc = to_ycc(RGB)
    yield made("mode YCbCr", tiff(ycc, t262=(6,), t530=(1, 1)), from_ycc(ycc), 2)
    lab = np.dstack(
        [np.full((13, 17), 128), np.arange(13)[:, None] * 4 + np.zeros(17), np.zeros((13, 1)) + np.arange(17) * 2]
    )
    truth = from_lab(lab[..., 0] * 100 / 255, lab[..., 1], lab[..., 2])
    yield made("mode LAB", tiff(lab.astype(np.uint8), t262=(8,)), truth, 3)
    for compression in ("tiff_lzw", "tiff_deflate", "tiff_adobe_deflate", "packbits", "zstd"):
        yield made(compression, encode(RGB, "TIFF", compression=compression))
        yield made(
            f"{compression} 16", encode(SIXTEEN, "TIFF", compression=compression), grey_rgb(eight_bits(SIXTEEN, 16))
        )
    yield made("jpeg inside", encode(GREY_SCENE, "TIFF", compression="jpeg", quality=100), grey_rgb(GREY_SCENE), 3)
    fax = encode(Image.fromarray(bits * 255).convert("1"), "TIFF", compression="group4")
    yield made("fax", fax, grey_rgb(bits * 255))
    pages = [Image.fromarray(RGB), Image.fromarray(GREY)]
    yield made("of pages", encode(pages[0], "TIFF", save_all=True, append_images=pages[1:]))
    whole = tiff(RGB)
    after = struct.unpack("<I", whole[4:8])[0]
    end = after + 2 + 12 * struct.unpack("<H", whole[after : after + 2])[0]
    yield made("whose pages are a ring", patched(whole, end, struct.pack("<I", after)))
    yield made("then junk", whole + b"junk" * 99)
    lzw = encode(noise(64, 64, 3), "TIFF", compression="tiff_lzw")
    for about, data in (("", encode(RGB, "TIFF")), ("lzw ", lzw)):
        for part in (1, 2, 3):
            cut = data[: len(data) * part // 4]
            yield bad(f"tiff {about}cut at {part} of 4", cut)
    yield bad("tiff header alone", whole[:8], HEADER)
    yield bad("tiff bomb", tiff(RGB, t256=(60000,), t257=(60000,)), TOO_LARGE)
    yield bad("tiff of no width", tiff(RGB, t256=(0,)), HEADER)
    yield bad("tiff strip beyond its end", tiff(RGB, t273=(99_999,)))
    yield bad("tiff of unknown compression", tiff(RGB, t259=(999,)), HEADER)
    yield bad("tiff large tiles", tiff(RGB, tile=16, t322=(65520,), t323=(65520,)))
    yield bad("tiff big endian 16 white is 0", tiff(SIXTEEN, ">", t262=(0,)), HEADER)


def bits_12(row: NDArray[Any]) -> bytes:
    """Two values in three bytes, most significant bits first."""
    return np.packbits((row[:, None] >> np.arange(11, -1, -1) & 1).astype(np.uint8)).tobytes()


def avifs() -> Iterator[Strange]:
    if not features.check("avif"):
        return
    best = {"quality": 100, "subsampling": "4:4:4"}
    whole = encode(SCENE, "AVIF", **best)
    yield good("avif", whole, SCENE, 4)
    half = np.where(np.arange(64) < 32, 255, 0).astype(np.uint8)[None].repeat(48, 0)
    yield good("avif alpha", encode(np.dstack([SCENE, half]), "AVIF", **best), on_white(SCENE, half), 4)
    frames = [Image.fromarray(SCENE), Image.fromarray(255 - SCENE)]
    yield good("avif animated", encode(frames[0], "AVIF", save_all=True, append_images=frames[1:], **best), SCENE, 4)
    for part in (1, 2, 3):
        yield bad(f"avif cut at {part} of 4", whole[: len(whole) * part // 4])
    yield bad("heic box alone", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", UNKNOWN)


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


def later(make: Callable[[], bytes]) -> Callable[[bytes], None]:
    """Content that takes long to make."""

    def write(path: bytes) -> None:
        Path(os.fsdecode(path)).write_bytes(make())

    return write


def sizes() -> Iterator[Strange]:
    def plain(height: int, width: int, value: int) -> Pixels:
        return np.broadcast_to(np.uint8(value), (height, width, 3))

    for height, width in ((1, 5000), (5000, 1), (1, 1), (2, 2), (31, 33)):
        pixels = noise(height, width, 3, seed=height)
        yield good(f"{width} by {height}", encode(pixels), pixels)
    panorama = np.tile(noise(100, 200, 3, seed=15), (3, 100, 1))
    yield good("panorama 20000 by 300", later(lambda: encode(panorama)), panorama)
    wide = blocks(3, 16, 3, seed=16).repeat(25, axis=1)
    yield good("panorama of jpeg", encode(wide, "JPEG", quality=100, subsampling=0), wide, 3)
    # Above half of the limit, where Pillow warns: 90 million pixels of one bit; and 36 million of 16 bits.
    rows = b"\0" + b"\xff" * 1188
    yield good(
        "90 million pixels",
        later(lambda: png_of(9500, 9500, 1, 0, chunk(b"IDAT", zlib.compress(rows * 9500)))),
        plain(9500, 9500, 255),
    )
    deep = b"\0" + b"\x80\x80" * 6000
    yield good(
        "36 million pixels of 16 bits",
        later(lambda: png_of(6000, 6000, 16, 0, chunk(b"IDAT", zlib.compress(deep * 6000, 1)))),
        plain(6000, 6000, 128),
    )
    yield good(
        "too elongated",
        later(lambda: encode(np.zeros((1, 100_000, 3), np.uint8))),
        plain(1, 100_000, 0),
        error="100000 x 1 pixels are too elongated to be resized$",
    )
    yield bad("terabyte of nothing", a_terabyte, r"1099511627776 bytes are more than the limit")


NAMES = (
    b"carriage.jpg\r",
    b"with space.jpg", b" leading space.jpg", b"trailing space.jpg ", b"two\nlines.jpg", b"\nfirst.jpg", b"tab\t.jpg",
    "\N{ANT}\N{HONEYBEE}.jpg".encode(), "e\u0301.jpg".encode(), "\xe9.jpg".encode(), b"caf\xe9.jpg", b"\xff\xfe.jpg",
    "\u202egpj.exe.jpg".encode(), "\ufeffmark.jpg".encode(), b"\xed\xa0\x80.jpg", b"[abc].jpg", b"[red]x[bold].jpg",
    b"*.jpg", b"?.jpg", b"{a,b}.jpg", b"-dash.jpg", b"--top", b"-", b"-0.jpg", b"'quotes\".jpg", b"back\\slash.jpg",
    b"$HOME `id` $(id);&|.jpg", b"%s%n%d.jpg", b"a:b.jpg", b"~", b"#x.jpg", b"....jpg", b".hidden.jpg", b"a.b.c..jpg",
    b"\x1b[31mred.jpg", b"\x07bell\x7f.jpg", b"UPPER.JPG", b"x.JpEg", b"comma,;semicolon.jpg", b"\xf0\x9f.jpg",
    b"x" * 251 + b".jpg", b"\xf0\x9f\x90\x9c" * 62 + b"abc.jpg",
)  # fmt: skip


def names() -> Iterator[Strange]:
    """The same content would be one row in the store: each name has its own picture."""
    for number, name in enumerate(NAMES):
        pixels = noise(11, 12, 3, seed=100 + number)
        yield good(f"name {number} {name[:20]!a}", encode(pixels), pixels, name=name)


def a_terabyte(path: bytes) -> None:
    with open(path, "wb") as file:
        file.truncate(1 << 40)


def a_socket(path: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as server, contextlib.chdir(os.path.dirname(path)):
        server.bind(os.path.basename(path))


def a_secret(path: bytes) -> None:
    Path(os.fsdecode(path)).write_bytes(encode(RGB))
    os.chmod(path, 0)


def link(target: bytes) -> Callable[[bytes], None]:
    return lambda path: os.symlink(target, path)


def no_files() -> Iterator[Strange]:
    """Things that are named like images."""
    linked = noise(11, 12, 3, seed=99)
    yield good("linked", encode(linked), linked)
    yield good("link to an image", link(b"linked.jpg"), linked)
    yield good("link to a link", link(b"link_to_an_image.jpg"), linked)
    loop = "too many levels of symbolic links$"
    yield bad("link to itself", link(b"link_to_itself.jpg"), loop)
    yield bad("ring one", link(b"ring_two.jpg"), loop)
    yield bad("ring two", link(b"ring_one.jpg"), loop)
    yield bad("dangling link", link(b"gone"), "no such file or directory$")
    yield bad("link to a folder", link(b"."), "is a folder$")
    yield bad("link through a file", link(b"linked.jpg/x"), "not a directory$")
    yield bad("folder", lambda path: os.mkdir(path), "is a folder$")
    for device in ("zero", "null", "random", "tty"):
        reason = "not a regular file$|no such device or address$" if device == "tty" else "not a regular file$"
        yield bad(f"device {device}", link(f"/dev/{device}".encode()), reason)
    yield bad("pipe", lambda path: os.mkfifo(path), "not a regular file$")
    yield bad("socket", a_socket, "not a regular file$")
    if os.geteuid() != 0:  # root reads everything
        yield bad("secret", a_secret, "permission denied$")


def corpus() -> list[Strange]:
    """All of it; `about` and the names of the files are unique."""
    parts = (modes, pngs, jpegs, webps, bmps, gifs, tiffs, avifs, orientations, foreign, sizes, names, no_files)
    files = [item for part in parts for item in part()]
    for values in ([item.about for item in files], [item.file for item in files]):
        twice = [value for value, count in Counter(values).items() if count > 1]
        assert not twice, f"named twice: {twice}"
    return files


def write_corpus(folder: Path, files: Sequence[Strange]) -> None:
    """Makes the files in a folder that is there."""
    for item in files:
        item.write(folder)


# featcli on the corpus


@dataclass(frozen=True)
class Finished:
    """A process that has ended."""

    code: int
    stdout: bytes
    stderr: str
    seconds: float
    memory: int  # bytes, at most


def run(work: Path, *arguments: str | Path, stdin: bytes = b"") -> Finished:
    """Runs `featcli ARGUMENTS` in a folder, killed when it takes too long."""
    (work / "stdin").write_bytes(stdin)
    command = [sys.executable, "-m", "featcli", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "FEATCLI_CACHE": str(work / "cache")}
    started = time.monotonic()
    with (
        (work / "stdin").open("rb") as source,
        (work / "stdout").open("wb") as out,
        (work / "stderr").open("wb") as err,
    ):
        process = subprocess.Popen(command, cwd=work / "corpus", env=environment, stdin=source, stdout=out, stderr=err)
        while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
            if time.monotonic() > started + MAX_SECONDS:
                process.kill()
            time.sleep(0.02)
    _, status, usage = ended
    process.returncode = os.waitstatus_to_exitcode(status)
    unit = 1 if sys.platform == "darwin" else 1024
    return Finished(
        process.returncode,
        (work / "stdout").read_bytes(),
        (work / "stderr").read_text("utf-8", "backslashreplace"),
        time.monotonic() - started,
        usage.ru_maxrss * unit,
    )


def snapshot(folder: Path) -> dict[str, tuple[object, ...]]:
    """Mode, size, time of change and content of everything in a folder."""
    found: dict[str, tuple[object, ...]] = {}
    for name in sorted(os.listdir(folder)):
        path = folder / name
        status = path.lstat()
        content = ""
        if stat.S_ISLNK(status.st_mode):
            content = os.readlink(path)
        elif stat.S_ISREG(status.st_mode) and status.st_size < 1 << 30 and os.access(path, os.R_OK):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        found[name] = (status.st_mode, status.st_size, status.st_mtime_ns, content)
    return found


class Check:
    """A folder for the work, the corpus in it, and what was found wrong."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.folder = work / "corpus"
        self.folder.mkdir(parents=True)
        self.files = corpus()
        write_corpus(self.folder, self.files)
        self.failures = 0

    def expect(self, what: str, wrong: Sequence[str], detail: object = "") -> None:
        """Prints one line of the table, and each failure."""
        print(f"{'FAIL' if wrong else 'ok  '}  {what}  {detail}".rstrip(), flush=True)
        for line in wrong:
            print(f"        {line!a}")
        self.failures += len(wrong)

    def ended(self, what: str, process: Finished, code: int) -> None:
        """The exit code, the memory and what a process says."""
        wrong = [f"exit code {process.code}: {process.stderr[-500:]}"] if process.code != code else []
        wrong += [f"took {process.memory} bytes"] if process.memory > MAX_MEMORY else []
        noise = re.compile(r"Traceback|Warning|TIFF\w+:|libpng|Exception|^\w+Error", re.MULTILINE)
        wrong += [f"says: {process.stderr[-500:]}"] if noise.search(process.stderr) else []
        self.expect(what, wrong, f"exit {process.code}, {process.seconds:.1f} s, at most {process.memory >> 20} MiB")

    def pixels(self) -> None:
        """What featcli makes of each file, in this process."""
        started = time.monotonic()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, as the command line does
            found = [(item, item.verdict(self.folder)) for item in self.files]
        wrong = [f"{item.about}: {verdict}" for item, verdict in found if verdict is not None]
        self.expect("pixels and reasons", wrong, f"{len(found)} files, {time.monotonic() - started:.1f} s")

    def predict(self) -> None:
        """All of the names on standard input, whatever they are."""
        train = self.work / "train"
        for label in (0, 1):
            (train / f"class{label}").mkdir(parents=True)
            for index in range(4):
                (train / f"class{label}" / f"{index}.png").write_bytes(encode(noise(40, 40, 3, seed=9 * label + index)))
        settings = [*model_settings(), "--set", "head.C=1.0", "--set", f"data.root={train}"]
        self.ended("train-head", run(self.work, "train-head", *settings, "-o", self.work / "run"), 0)
        fed = b"".join(item.file + b"\0" for item in self.files)
        done = run(self.work, "predict", self.work / "run", "-0", "-", stdin=fed)
        self.ended("predict", done, 3)
        self.expect("rows of predict", wrong_rows(self.files, done.stdout), f"{len(self.files)} files")

    def extract(self) -> None:
        """The folder, walked."""
        walked = sorted((item for item in self.files if item.is_walked), key=lambda item: os.fsdecode(item.file))
        output = self.work / "x.npz"
        self.ended("extract", run(self.work, "extract", self.folder, *model_settings(), "-o", output), 3)
        with np.load(output, allow_pickle=False) as found:
            paths, errors, rows = found["paths"].tolist(), dict(found["errors"].tolist()), found["features"]
        good = [item for item in walked if item.error is None]
        bad = {os.path.join(self.folder, os.fsdecode(item.file)): item for item in walked if item.error is not None}
        named = [os.path.join(self.folder, os.fsdecode(item.file)) for item in good]
        wrong = [] if paths == named else [f"rows: {sorted({*paths} ^ {*named})[:9]}, or their order"]
        wrong += [] if list(errors) == list(bad) else [f"errors: {sorted({*errors} ^ {*bad})[:9]}, or their order"]
        wrong += [f"{path}: {errors[path]}" for path in errors if path in bad and not matches(bad[path], errors[path])]
        wrong += [] if np.isfinite(rows).all() else ["features that are not finite"]
        self.expect("rows of extract", wrong, f"{len(paths)} features, {len(errors)} errors")
        if not wrong:
            self.rows_are_their_files(good, rows)

    def rows_are_their_files(self, good: Sequence[Strange], rows: NDArray[np.float32]) -> None:
        """Row i is file i: the expected pixels, saved plainly, give the same bits."""
        twins = self.work / "twins"
        twins.mkdir()
        chosen = [
            (index, item.about, item.pixels)
            for index, item in enumerate(good)
            if item.pixels is not None and item.tolerance == 0 and item.pixels.size < 1 << 20
        ]
        for index, _, pixels in chosen:
            (twins / f"{index:04d}.png").write_bytes(encode(pixels))
        output = self.work / "twins.npz"
        done = run(self.work, "extract", twins, *model_settings(), "-o", output, "--cache", self.work / "other")
        self.ended("extract of plain twins", done, 0)
        with np.load(output, allow_pickle=False) as found:
            twin_rows = found["features"]
        wrong = [
            f"{about}: not the features of its pixels"
            for (index, about, _), twin in zip(chosen, twin_rows, strict=True)
            if rows[index].tobytes() != twin.tobytes()
        ]
        self.expect("features are those of the pixels", wrong, f"{len(chosen)} lossless files, bit for bit")


def model_settings() -> list[str]:
    return [part for name, value in MODEL.items() for part in ("--set", f"backbone.{name}={value}")]


def matches(item: Strange, reason: str) -> bool:
    return item.error is not None and re.match(item.error, reason) is not None


def wrong_rows(files: Sequence[Strange], stdout: bytes) -> list[str]:
    """What is wrong with the rows of `predict`: one per file, in order, an error where one is expected."""
    rows = [json.loads(line) for line in stdout.split(b"\n") if line]
    if [os.fsencode(row["path"]) for row in rows] != [item.file for item in files]:
        return [f"{len(rows)} rows, not one per file in order"]
    wrong = []
    for item, row in zip(files, rows, strict=True):
        if item.error is None and (row["error"] is not None or row["label"] is None):
            wrong.append(f"{item.about}: {row['error']}")
        elif item.error is not None and not (row["label"] is None and matches(item, row["error"] or "")):
            wrong.append(f"{item.about}: label {row['label']}, error {row['error']}")
    return wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", type=Path, help="a new folder for the corpus, left there")
    keep = parser.parse_args().keep
    with tempfile.TemporaryDirectory(prefix="featcli-strange-") as temporary:
        started = time.monotonic()
        check = Check(keep.resolve() if keep else Path(temporary))
        before = snapshot(check.folder)
        print(f"      {len(check.files)} files made in {time.monotonic() - started:.1f} s")
        check.pixels()
        check.predict()
        check.extract()
        after = snapshot(check.folder)
        changed = [name for name in {*before, *after} if before.get(name) != after.get(name)]
        check.expect("nothing is touched", changed, f"{len(after)} names")
        images = sum(item.pixels is not None for item in check.files)
        print(f"{len(check.files)} files: {images} with pixels, {len(check.files) - images} errors")
        print(f"{check.failures} failures, {time.monotonic() - started:.1f} s")
    return int(check.failures > 0)


if __name__ == "__main__":
    sys.exit(main())
