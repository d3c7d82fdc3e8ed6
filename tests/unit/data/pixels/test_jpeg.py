"""JPEG by the fast decoder: Pillow's pixels are the truth, and its reading of what the fast one leaves to it."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from featcli.data.pixels.decoding import Decoding, decode_picture, decode_rgb, inspect_image
from featcli.data.pixels.jpeg import SCALES, decode_jpeg, scaled_size
from featcli.data.pixels.preprocessing import Preprocessing
from featcli.data.readers.reader import UnreadableImage

END = b"\xff\xd9"


def smooth(width: int, height: int, mode: str = "RGB") -> Image.Image:
    """Neither flat nor noise, as a photograph."""
    small = np.random.default_rng(width + height).integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def encode(image: Image.Image, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, "JPEG", **options)
    return file.getvalue()


def by_pillow(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def read_by(data: bytes) -> str:
    return "pillow" if isinstance(decode_picture(data).stored, Image.Image) else "fast"


def reason(data: bytes) -> str | None:
    """Why it is refused; None where it is not. Looking at it must say the same."""
    try:
        decode_rgb(data)
        said = None
    except UnreadableImage as error:
        said = str(error)
    try:
        inspect_image(io.BytesIO(data), decode=True)
        assert said is None
    except UnreadableImage as error:
        assert (said is None, str(error)) == (False, said)
    return said


KINDS: dict[str, dict[str, Any]] = {
    "4:4:4": {"subsampling": 0},
    "4:2:2": {"subsampling": 1},
    "4:2:0": {"subsampling": 2},
    "progressive": {"progressive": True},
    "restarts": {"restart_marker_blocks": 2},
    "profile": {"icc_profile": bytes(range(256)) * 400},
    "words": {"comment": b"x" * 60_000, "xmp": b"<x:xmpmeta/>"},
    "coarse": {"quality": 1},
}


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (8, 8), (9, 7), (17, 33), (150, 101)])
@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_pixels_are_pillows(kind: str, mode: str, size: tuple[int, int]) -> None:
    data = encode(smooth(*size, mode), **KINDS[kind])
    assert read_by(data) == "fast"
    np.testing.assert_array_equal(np.asarray(decode_rgb(data)), by_pillow(data))
    assert reason(data) is None


def with_samplings(data: bytes, samplings: tuple[int, int, int]) -> bytes:
    """The header says another subsampling, of as many blocks: of 4:2:2, that is 4:4:0."""
    place = data.index(b"\xff\xc0") + 11
    changed = bytearray(data)
    for index, sampling in enumerate(samplings):
        changed[place + 3 * index] = sampling
    return bytes(changed)


def test_rarer_subsamplings_are_pillows_too() -> None:
    wide = encode(smooth(160, 160), subsampling=1)  # ten times ten macroblocks, whichever way a block lies
    for samplings in ((0x12, 0x11, 0x11), (0x21, 0x11, 0x11)):
        data = with_samplings(wide, samplings)
        np.testing.assert_array_equal(np.asarray(decode_rgb(data)), by_pillow(data))
    four = with_samplings(encode(smooth(128, 64), subsampling=2), (0x41, 0x11, 0x11))
    assert read_by(four) == "fast"
    np.testing.assert_array_equal(np.asarray(decode_rgb(four)), by_pillow(four))


@pytest.mark.real
def test_every_photograph_has_pillows_pixels_and_gives_no_false_alarm(hymenoptera: Path) -> None:
    paths = sorted(hymenoptera.glob("*/*/*.jpg"))
    assert len(paths) > 390
    for path in paths:
        data = path.read_bytes()
        assert read_by(data) == "fast", path
        np.testing.assert_array_equal(np.asarray(decode_rgb(data)), by_pillow(data), str(path))
        inspect_image(io.BytesIO(data), decode=True)


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_every_orientation_is_applied(orientation: int, mode: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encode(smooth(30, 20, mode), exif=exif)
    picture = decode_picture(data)
    assert not isinstance(picture.stored, Image.Image)
    expected = by_pillow(data)
    np.testing.assert_array_equal(np.asarray(picture.upright()), expected)
    assert picture.size == expected.shape[1::-1] == ((20, 30) if 5 <= orientation <= 8 else (30, 20))


def test_a_broken_exif_block_counts_as_none() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encode(smooth(30, 20), exif=exif)
    broken = data.replace(b"Exif\0\0MM\0*", b"Exif\0\0\xff\xff\xff\xff")
    assert broken != data
    assert decode_picture(broken).turn is None
    assert decode_rgb(broken).size == (30, 20)


@pytest.mark.parametrize("mode", ["CMYK", "RGB kept"])
def test_what_is_not_plain_goes_to_pillow(mode: str) -> None:
    data = encode(smooth(30, 20), keep_rgb=True) if mode == "RGB kept" else encode(smooth(30, 20, mode))
    assert read_by(data) == "pillow"
    np.testing.assert_array_equal(np.asarray(decode_rgb(data)), by_pillow(data))
    assert reason(data) is None
    assert reason(data[: len(data) * 6 // 10]) is not None


def test_the_first_picture_of_several_is_read_fast() -> None:
    file = io.BytesIO()
    smooth(30, 20).save(file, "MPO", save_all=True, append_images=[smooth(20, 20)])
    assert read_by(file.getvalue()) == "fast"
    np.testing.assert_array_equal(np.asarray(decode_rgb(file.getvalue())), by_pillow(file.getvalue()))


# Damage

WHOLE = {kind: encode(smooth(150, 101), quality=90, **KINDS[kind]) for kind in ("4:2:0", "progressive", "restarts")}


@pytest.mark.parametrize("kind", WHOLE)
def test_a_file_that_is_cut_anywhere_is_an_error(kind: str) -> None:
    data = WHOLE[kind]
    assert reason(data) is None
    for place in range(700, len(data) - 1, 101):
        assert reason(data[:place]) is not None, place


@pytest.mark.parametrize("kind", ["4:2:0", "restarts"])
def test_an_end_marker_does_not_hide_that_a_file_is_cut(kind: str) -> None:
    data = WHOLE[kind]
    for place in range(700, len(data) - 4, 101):
        cut = data[:place] + END
        by_pillow(cut)  # which says nothing
        assert re.fullmatch(
            r"damaged image: (premature end of data segment|found marker 0xd9 instead of RST)", reason(cut) or "none"
        ), place


def test_a_scan_of_a_progressive_file_that_is_cut_is_an_error_and_one_that_is_not_there_is_none() -> None:
    data = WHOLE["progressive"]
    scans = [found.start() for found in re.finditer(rb"\xff\xda", data)]
    middle = (scans[1] + scans[2]) // 2
    assert reason(data[:middle] + END) == "damaged image: premature end of data segment"
    # A file of fewer scans is a coarser picture, by the format's definition.
    fewer = data[: data.rindex(b"\xff\xc4", 0, scans[2])] + END
    assert reason(fewer) is None
    np.testing.assert_array_equal(np.asarray(decode_rgb(fewer)), by_pillow(fewer))


def test_a_missing_segment_between_restarts_is_as_pillow_reads_it() -> None:
    data = WHOLE["restarts"]
    marks = [found.start() for found in re.finditer(rb"\xff[\xd0-\xd7]", data)]
    gone = data[: marks[5]] + data[marks[6] :]
    assert read_by(gone) == "pillow"
    assert reason(gone) is None
    assert "found marker 0xd9 instead of RST" in (reason(data[: marks[5]] + END) or "")


@pytest.mark.parametrize("kind", ["4:2:0", "restarts"])
def test_bytes_that_belong_nowhere_are_no_error(kind: str) -> None:
    whole = WHOLE[kind]
    for data in (whole + b"garbage" * 99, whole + whole, whole[:-2] + b"padding" + END):
        assert reason(data) is None
        np.testing.assert_array_equal(np.asarray(decode_rgb(data)), by_pillow(whole))


# Scaled


def test_a_scaled_jpeg_has_the_pixels_of_pillows_draft() -> None:
    for size in ((64, 64), (150, 101), (301, 203)):
        for options in ({"subsampling": 0}, {"subsampling": 2}, {"progressive": True}):
            data = encode(smooth(*size), **options)
            for scale in SCALES:
                with Image.open(io.BytesIO(data)) as image:
                    image.draft(None, (size[0] // scale, size[1] // scale))
                    expected = np.asarray(image)
                found = decode_jpeg(data, size, scale)
                assert found is not None
                assert found.shape[1::-1] == scaled_size(size, scale)
                np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(("least", "scale"), [(None, 1), (101, 1), (51, 1), (50, 2), (25, 4), (13, 4), (12, 8), (1, 8)])
def test_the_shorter_side_keeps_as_many_pixels_as_are_needed(least: int | None, scale: int) -> None:
    for mode in ("RGB", "CMYK"):
        picture = decode_picture(encode(smooth(150, 101, mode)), Decoding(least=least))
        stored = picture.stored
        size = stored.size if isinstance(stored, Image.Image) else stored.shape[1::-1]
        assert (size, picture.size) == (scaled_size((150, 101), scale), (150, 101))


def test_what_is_no_jpeg_is_not_scaled() -> None:
    file = io.BytesIO()
    smooth(150, 101).save(file, "PNG")
    picture = decode_picture(file.getvalue(), Decoding(least=1))
    assert isinstance(picture.stored, Image.Image)
    assert picture.stored.size == (150, 101)


def test_a_scaled_image_is_resized_to_what_the_exact_one_is() -> None:
    data = encode(smooth(1501, 1003), quality=95)
    exact = Preprocessing(64, 56, "bilinear", (0.5,) * 3, (0.5,) * 3)
    scaled = Preprocessing(64, 56, "bilinear", (0.5,) * 3, (0.5,) * 3, decode="scaled")
    one, other = (item.pixels(decode_picture(data, item.decoding)).astype(int) for item in (exact, scaled))
    assert 0 < np.abs(one - other).max() <= 4
