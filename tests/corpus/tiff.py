"""TIFF: both orders of bytes, every kind of sample, tiles, compressions and pages, and what is damaged."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from tests.corpus.case import HEADER, TOO_LARGE, Strange, bad, good
from tests.corpus.samples import (
    ALPHA,
    GREY,
    GREY_SCENE,
    PALETTE,
    RGB,
    SIXTEEN,
    Pixels,
    eight_bits,
    encode,
    from_inks,
    from_lab,
    from_ycc,
    grey_rgb,
    levels,
    noise,
    on_white,
    packed,
    paletted,
    patched,
    to_ycc,
)


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
