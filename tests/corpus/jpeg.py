"""JPEG: every kind of frame, broken EXIF, and scans that end too early."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import numpy as np
from PIL import Image

from tests.corpus.case import DAMAGED, HEADER, TOO_LARGE, UNKNOWN, Strange, bad, good
from tests.corpus.samples import (
    GREY_SCENE,
    INKS,
    SCENE,
    Pixels,
    encode,
    from_inks,
    grey_rgb,
    levels,
    noise,
    patched,
    stored,
    to_ycc,
)


def with_segment(jpeg: bytes, marker: int, body: bytes) -> bytes:
    """A JPEG with one more segment, right after its start."""
    return jpeg[:2] + struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body + jpeg[2:]


def exif_block(*entries: tuple[int, int, int, int]) -> bytes:
    """An EXIF segment's body with entries (tag, kind, count, value), right or wrong."""
    fields = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", len(entries)) + fields + bytes(4)


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
    yield damaged("as text", whole.hex().encode(), "a text file, not an image: ")
    yield damaged("read as utf 8", whole.replace(b"\xff", b"\xef\xbf\xbd"), UNKNOWN)
