from __future__ import annotations

import io
import os
import socket
import stat
import struct
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from featcli.data.pixels.decoding import (
    EXTENSIONS,
    MAX_PIXELS,
    bit_range,
    decode_rgb,
    grey_values,
    inspect_image,
    is_narrow,
)
from featcli.data.readers.files import MAX_BYTES, read_file
from featcli.data.readers.reader import UnreadableImage
from tests.corpus.tiff import tiff as corpus_tiff

WHITE = np.array([255, 255, 255])


def encode(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels_of(data: bytes) -> np.ndarray:
    image = decode_rgb(data)
    assert image.mode == "RGB"
    return np.asarray(image)


def noise(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


RGB = noise(13, 17, 3)
GREY = noise(13, 17, seed=1)
ALPHA = noise(13, 17, seed=2)


def on_white(rgb: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Over a white ground, by the definition, in floating point."""
    share = alpha[..., None] / 255
    return rgb * share + WHITE * (1 - share)


def grey_rgb(grey: np.ndarray) -> np.ndarray:
    return np.repeat(grey[..., None], 3, axis=2)


# Modes


def test_rgb_is_unchanged() -> None:
    np.testing.assert_array_equal(pixels_of(encode(Image.fromarray(RGB))), RGB)


def test_grey_is_repeated() -> None:
    np.testing.assert_array_equal(pixels_of(encode(Image.fromarray(GREY))), grey_rgb(GREY))


def test_one_bit_is_black_and_white() -> None:
    bits = Image.fromarray(GREY).point(lambda value: 255 * (value > 127), "1")
    expected = grey_rgb(np.where(GREY > 127, 255, 0).astype(np.uint8))
    np.testing.assert_array_equal(pixels_of(encode(bits)), expected)


def test_a_palette_is_looked_up() -> None:
    palette = noise(256, 3, seed=3)
    image = Image.fromarray(GREY)
    image.putpalette(palette.tobytes())
    assert image.mode == "P"
    np.testing.assert_array_equal(pixels_of(encode(image)), palette[GREY])


def test_a_palettes_transparent_entry_is_white() -> None:
    palette = noise(256, 3, seed=3)
    image = Image.fromarray(GREY)
    image.putpalette(palette.tobytes())
    entry = int(GREY[0, 0])
    expected = palette.copy()
    expected[entry] = WHITE
    np.testing.assert_array_equal(pixels_of(encode(image, transparency=entry)), expected[GREY])


def test_a_palettes_graded_transparency_is_composited() -> None:
    palette, alpha = noise(256, 3, seed=3), noise(256, seed=4)
    image = Image.fromarray(GREY)
    image.putpalette(palette.tobytes())
    found = pixels_of(encode(image, transparency=alpha.tobytes()))
    np.testing.assert_allclose(found, on_white(palette[GREY], alpha[GREY]), rtol=0, atol=1)


def test_rgba_is_composited_on_white() -> None:
    found = pixels_of(encode(Image.fromarray(np.dstack([RGB, ALPHA]))))
    np.testing.assert_allclose(found, on_white(RGB, ALPHA), rtol=0, atol=1)


def test_transparent_pixels_do_not_show_their_hidden_colour() -> None:
    hidden = np.dstack([RGB, np.zeros_like(ALPHA)])
    assert (pixels_of(encode(Image.fromarray(hidden))) == 255).all()


def test_grey_with_alpha_is_composited_on_white() -> None:
    found = pixels_of(encode(Image.fromarray(np.dstack([GREY, ALPHA]), "LA")))
    np.testing.assert_allclose(found, on_white(grey_rgb(GREY), ALPHA), rtol=0, atol=1)


def test_rgbs_transparent_colour_is_white() -> None:
    rgb = RGB.copy()
    rgb[2:5, 3:9] = (10, 20, 30)
    expected = rgb.copy()
    expected[2:5, 3:9] = WHITE
    np.testing.assert_array_equal(pixels_of(encode(Image.fromarray(rgb), transparency=(10, 20, 30))), expected)


def test_greys_transparent_value_is_white() -> None:
    grey = np.where(GREY == 77, 78, GREY)
    grey[2:5, 3:9] = 77
    expected = grey_rgb(np.where(grey == 77, 255, grey).astype(np.uint8))
    np.testing.assert_array_equal(pixels_of(encode(Image.fromarray(grey), transparency=77)), expected)


SIXTEEN = np.array([[0, 1, 128, 129, 257, 32767, 32768, 65406, 65407, 65535]], dtype=np.uint16)


def scaled(values: np.ndarray) -> np.ndarray:
    """65535 becomes 255; no value is half way between two results."""
    return grey_rgb(np.round(values.astype(np.float64) / 257).astype(np.uint8))


def test_sixteen_bit_png_is_scaled_not_clipped() -> None:
    data = encode(Image.fromarray(SIXTEEN))
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode == "I;16"
    np.testing.assert_array_equal(pixels_of(data), scaled(SIXTEEN))


def tiff(values: np.ndarray, order: str, *, sample_format: int = 1) -> bytes:
    """A one-strip grey TIFF, made by hand: Pillow does not write every byte order."""
    raw = values.astype(values.dtype.newbyteorder(order)).tobytes()
    height, width = values.shape
    bits = values.dtype.itemsize * 8
    entries = [
        (256, 3, width), (257, 3, height), (258, 3, bits), (259, 3, 1), (262, 3, 1),
        (273, 4, 8), (277, 3, 1), (278, 3, height), (279, 4, len(raw)), (339, 3, sample_format),
    ]  # fmt: skip
    body = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, 8 + len(raw)) + raw
    body += struct.pack(f"{order}H", len(entries))
    for tag, kind, value in entries:
        body += struct.pack(f"{order}HHI", tag, kind, 1)
        body += struct.pack(f"{order}HH" if kind == 3 else f"{order}I", *((value, 0) if kind == 3 else (value,)))
    return body + bytes(4)


@pytest.mark.parametrize(("order", "mode"), [("<", "I;16"), (">", "I;16B")])
def test_sixteen_bit_tiff_in_both_byte_orders(order: str, mode: str) -> None:
    data = tiff(SIXTEEN, order)
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode == mode
    np.testing.assert_array_equal(pixels_of(data), scaled(SIXTEEN))


def test_thirty_two_bit_integers_that_hold_sixteen_bits_are_scaled() -> None:
    data = tiff(SIXTEEN.astype(np.int32), "<", sample_format=2)
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode == "I"
    np.testing.assert_array_equal(pixels_of(data), scaled(SIXTEEN))


@pytest.mark.parametrize("value", [-1, 65536, 2**31 - 1])
def test_thirty_two_bit_integers_beyond_that_have_no_range(value: int) -> None:
    with pytest.raises(UnreadableImage, match="pixels outside 0 to 65535"):
        decode_rgb(tiff(np.array([[0, value]], dtype=np.int32), "<", sample_format=2))


def test_floating_point_pixels_have_no_range() -> None:
    with pytest.raises(UnreadableImage, match="floating-point pixels have no defined range"):
        decode_rgb(encode(Image.fromarray(np.ones((2, 2), np.float32)), "TIFF"))


# A range of 16-bit grey


@pytest.mark.parametrize("ends", [(0, 65535), (0, 4095), (0, 255), (1000, 1003), (129, 65406)])
@pytest.mark.parametrize("order", ["<", ">", "png", "I"])
def test_a_range_is_linear_between_its_ends_and_clips_beyond(ends: tuple[int, int], order: str) -> None:
    values = np.concatenate([SIXTEEN, np.arange(990, 1010, dtype=np.uint16)[None]], axis=1)
    if order == "png":
        data = encode(Image.fromarray(values))
    elif order == "I":
        data = tiff(values.astype(np.int32), "<", sample_format=2)
    else:
        data = tiff(values, order)
    low, high = ends
    expected = np.floor(np.clip((values.astype(np.float64) - low) / (high - low), 0, 1) * 255 + 0.5).astype(np.uint8)
    np.testing.assert_array_equal(np.asarray(decode_rgb(data, ends)), grey_rgb(expected))


def test_twelve_bits_of_sixteen_give_the_pixels_of_the_scaled_file() -> None:
    raw = np.arange(4096, dtype=np.uint16).reshape(64, 64)
    scaled_up = (raw.astype(np.int64) * 65535 // 4095).astype(np.uint16)
    found = np.asarray(decode_rgb(encode(Image.fromarray(raw)), (0, 4095))).astype(int)
    expected = pixels_of(encode(Image.fromarray(scaled_up))).astype(int)
    assert np.abs(found - expected).max() <= 1
    assert np.mean(found != expected) < 0.05
    assert len(np.unique(found)) == 256
    assert len(np.unique(pixels_of(encode(Image.fromarray(raw))))) == 17


def test_a_range_counts_a_files_own_values_also_where_zero_is_white() -> None:
    values = np.array([[0, 1000, 4095, 9000]], dtype=np.uint16)
    found = np.asarray(decode_rgb(corpus_tiff(values, t262=(0,)), (0, 4095)))
    assert found[0, :, 0].tolist() == [255, 193, 0, 0]


def test_a_range_leaves_a_transparent_value_white() -> None:
    values = np.array([[0, 1000, 2000]], dtype=np.uint16)
    found = np.asarray(decode_rgb(encode(Image.fromarray(values), transparency=1000), (0, 2000)))
    assert found[0, :, 0].tolist() == [0, 255, 255]


def test_what_is_not_16_bit_grey_is_not_affected_by_a_range() -> None:
    twelve = noise(8, 16).astype(np.uint16) * 16
    packed = np.packbits((twelve[..., None] >> np.arange(11, -1, -1) & 1).astype(np.uint8)).tobytes()
    colour = np.random.default_rng(0).integers(0, 65536, (9, 9, 3)).astype(np.uint16)
    for data in (
        corpus_tiff(twelve, raw=packed, t258=(12,)),
        corpus_tiff(colour),
        encode(Image.fromarray(GREY)),
        encode(Image.fromarray(RGB), "JPEG"),
    ):
        np.testing.assert_array_equal(np.asarray(decode_rgb(data, (100, 200))), pixels_of(data))
        assert grey_values(data) is None


def test_values_of_16_bit_grey_are_given_as_they_are() -> None:
    np.testing.assert_array_equal(grey_values(encode(Image.fromarray(SIXTEEN))), SIXTEEN)
    with pytest.raises(UnreadableImage, match="pixels outside 0 to 65535"):
        grey_values(tiff(np.array([[0, -1]], dtype=np.int32), "<", sample_format=2))


@pytest.mark.parametrize(
    ("largest", "high"),
    [(0, 255), (255, 255), (256, 1023), (1998, 4095), (4095, 4095), (4096, 16383), (16384, 65535), (65535, 65535)],
)
def test_the_bits_of_a_camera(largest: int, high: int) -> None:
    assert bit_range(largest) == (0, high)
    assert is_narrow(largest) == (high < 65535)


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])
def test_cmyk_goes_through_pillows_conversion(kind: str) -> None:
    data = encode(Image.fromarray(noise(16, 16, 4, seed=5), "CMYK"), kind)
    with Image.open(io.BytesIO(data)) as image:
        assert image.mode == "CMYK"
        expected = np.asarray(image.convert("RGB"))
    np.testing.assert_array_equal(pixels_of(data), expected)


def test_cmyk_black_is_black_and_paper_is_white() -> None:
    inks = np.array([[[0, 0, 0, 0], [0, 0, 0, 255], [255, 0, 0, 0]]], dtype=np.uint8)
    found = pixels_of(encode(Image.fromarray(inks, "CMYK"), "TIFF"))
    assert found.tolist() == [[[255, 255, 255], [0, 0, 0], [0, 255, 255]]]


@pytest.mark.parametrize("options", [{"progressive": True}, {"subsampling": 0}, {"quality": 30}])
def test_jpeg_equals_pillows_own_pixels(options: dict[str, Any]) -> None:
    data = encode(Image.fromarray(noise(40, 33, 3)), "JPEG", **options)
    with Image.open(io.BytesIO(data)) as image:
        expected = np.asarray(image)
    np.testing.assert_array_equal(pixels_of(data), expected)


@pytest.mark.parametrize(("kind", "options"), [("BMP", {}), ("WEBP", {"lossless": True}), ("TIFF", {})])
def test_lossless_formats_keep_every_pixel(kind: str, options: dict[str, Any]) -> None:
    np.testing.assert_array_equal(pixels_of(encode(Image.fromarray(RGB), kind, **options)), RGB)


# EXIF


def stored(upright: np.ndarray, orientation: int) -> np.ndarray:
    """How a camera stores an upright picture under each orientation.

    Source: EXIF 2.3, tag 0x0112: which side of the scene row 0 and column 0 are.
    """
    return {
        1: lambda p: p,  # row 0 top, column 0 left
        2: lambda p: p[:, ::-1],  # top, right
        3: lambda p: p[::-1, ::-1],  # bottom, right
        4: lambda p: p[::-1],  # bottom, left
        5: lambda p: p.transpose(1, 0, 2),  # left, top
        6: lambda p: p.transpose(1, 0, 2)[::-1],  # right, top
        7: lambda p: p.transpose(1, 0, 2)[::-1, ::-1],  # right, bottom
        8: lambda p: p.transpose(1, 0, 2)[:, ::-1],  # left, bottom
    }[orientation](upright)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_every_orientation_gives_the_upright_picture(orientation: int, kind: str) -> None:
    # Eight by eight blocks of one colour, so that JPEG keeps them exactly enough to tell them apart.
    upright = np.kron(noise(2, 3, 3, seed=6), np.ones((16, 16, 1), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    picture = Image.fromarray(np.ascontiguousarray(stored(upright, orientation)))
    found = pixels_of(encode(picture, kind, exif=exif, **options))
    np.testing.assert_allclose(found.astype(int), upright.astype(int), rtol=0, atol=3 if kind == "JPEG" else 0)


def test_orientation_of_a_sixteen_bit_picture() -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    data = encode(Image.fromarray(np.ascontiguousarray(SIXTEEN[:, ::-1])), exif=exif)
    np.testing.assert_array_equal(pixels_of(data), scaled(SIXTEEN))


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_orientations_that_do_not_exist_count_as_none(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    np.testing.assert_array_equal(pixels_of(encode(Image.fromarray(RGB), exif=exif)), RGB)


@pytest.mark.parametrize(
    "block",
    [
        b"Exif\0\0",
        b"Exif\0\0garbage",
        b"Exif\0\0II*\0\xff\xff\xff\xff",
        b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\xff" * 30,
        b"Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x02\0\xff\xff\0\0\xff\xff\0\0",
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_an_invalid_exif_block_counts_as_none(block: bytes) -> None:
    data = encode(Image.fromarray(RGB), "JPEG")
    expected = pixels_of(data)
    segment = b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block
    np.testing.assert_array_equal(pixels_of(data[:2] + segment + data[2:]), expected)


def test_orientation_is_applied_although_another_tag_is_broken() -> None:
    upright = np.kron(noise(2, 3, 3, seed=6), np.ones((16, 16, 1), np.uint8))
    picture = Image.fromarray(np.ascontiguousarray(stored(upright, 6)))
    data = encode(picture, "JPEG", quality=100, subsampling=0)
    entries = struct.pack("<HHIIHHII", 0x0112, 3, 1, 6, 0x0103, 5, 1, 8)  # a compression that is a fraction
    block = b"Exif\0\0II*\0\x08\0\0\0\x02\0" + entries + bytes(4)
    found = pixels_of(data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:])
    np.testing.assert_allclose(found.astype(int), upright.astype(int), rtol=0, atol=3)


# Animations


@pytest.mark.parametrize(("kind", "options"), [("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {}), ("TIFF", {})])
def test_the_first_frame_of_an_animation(kind: str, options: dict[str, Any]) -> None:
    frames = [Image.new("RGB", (9, 7), colour) for colour in ("red", "lime", "blue")]
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    with Image.open(io.BytesIO(data)) as image:
        assert image.n_frames == 3
    assert (pixels_of(data) == (255, 0, 0)).all()


def test_the_first_picture_of_a_stereo_jpeg() -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("white", "black")]
    assert (pixels_of(encode(frames[0], "MPO", save_all=True, append_images=frames[1:])) == 255).all()


# Damage

SAVED: dict[str, bytes] = {
    "jpg": encode(Image.fromarray(noise(64, 64, 3)), "JPEG"),
    "progressive": encode(Image.fromarray(noise(64, 64, 3)), "JPEG", progressive=True),
    "png": encode(Image.fromarray(noise(64, 64, 3))),
    "gif": encode(Image.fromarray(noise(64, 64)), "GIF"),
    "webp": encode(Image.fromarray(noise(64, 64, 3)), "WEBP"),
    "bmp": encode(Image.fromarray(noise(64, 64, 3)), "BMP"),
    "tiff": encode(Image.fromarray(noise(64, 64, 3)), "TIFF"),
    "lzw": encode(Image.fromarray(noise(64, 64, 3)), "TIFF", compression="tiff_lzw"),
}


@pytest.mark.parametrize("part", [2, 3, 4])
@pytest.mark.parametrize("name", SAVED)
@pytest.mark.filterwarnings("ignore")
def test_a_truncated_file_is_an_error_not_a_grey_half(name: str, part: int) -> None:
    whole = SAVED[name]
    assert pixels_of(whole).shape == (64, 64, 3)
    with pytest.raises(UnreadableImage):
        decode_rgb(whole[: len(whole) // part])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\0" * 100,
        b"a text that somebody renamed\n" * 9,
        noise(5000, seed=7).tobytes(),
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff\xe0",
        b"<html>404</html>",
        b"\0\x05\x16\x07\0\x02\0\0Mac OS X        ",
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_what_is_no_image_is_an_error(data: bytes) -> None:
    with pytest.raises(
        UnreadableImage, match=r"not an image of a known format \(JPEG, PNG, .*\)|, not an image: |damaged image: "
    ):
        decode_rgb(data)


@pytest.mark.parametrize("name", ["png", "gif", "bmp", "tiff"])
@pytest.mark.filterwarnings("ignore")
def test_a_header_that_is_cut_is_not_called_an_unknown_format(name: str) -> None:
    with pytest.raises(UnreadableImage, match=r"damaged image: its (PNG|GIF|BMP|TIFF) header is incomplete"):
        decode_rgb(SAVED[name][:10])


def test_the_content_decides_not_the_ending(tmp_path: Path) -> None:
    path = tmp_path / "really_a_png.jpg"
    Image.fromarray(RGB).save(path, "PNG")
    np.testing.assert_array_equal(pixels_of(read_file(str(path))), RGB)
    path.write_text("not at all")
    with pytest.raises(UnreadableImage, match=r"^a text file, not an image: fetch the image again, or remove it$"):
        decode_rgb(read_file(str(path)))


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(hello) show\nshowpage\n%%EOF\n"


@pytest.mark.parametrize("kind", ["EPS", "PDF", "ICO", "TGA", "PCX", "SGI", "DDS", "JPEG2000"])
def test_formats_beyond_the_list_are_refused(kind: str) -> None:
    data = EPS if kind == "EPS" else encode(Image.fromarray(RGB), kind)
    if kind != "PDF":  # Pillow itself would open it
        with Image.open(io.BytesIO(data)) as image:
            assert image.format == kind
    with pytest.raises(UnreadableImage, match=r", which is not read: |, not an image: |not an image of a known format"):
        decode_rgb(data)


def pgm(values: np.ndarray, largest: int) -> bytes:
    height, width = values.shape
    return f"P5 {width} {height} {largest}\n".encode() + values.astype(">u2").tobytes()


def test_a_range_is_of_16_bit_pgm_too_and_not_of_one_that_names_its_largest_value() -> None:
    values = np.random.default_rng(0).integers(0, 4096, (13, 17))
    half = np.floor(values * 255 / 4095 + 0.5)
    np.testing.assert_array_equal(np.asarray(decode_rgb(pgm(values, 65535), (0, 4095)))[..., 0], half)
    np.testing.assert_array_equal(np.asarray(decode_rgb(pgm(values, 4095), (0, 65535)))[..., 0], half)
    found = grey_values(pgm(values, 65535))
    assert found is not None
    np.testing.assert_array_equal(found, values)
    assert grey_values(pgm(values, 4095)) is None


@pytest.mark.parametrize("decode", [False, True])
def test_what_a_pnm_holds_is_told_by_its_header(decode: bool) -> None:
    values = np.array([[5, 700]])
    facts = inspect_image(io.BytesIO(pgm(values, 65535)), decode=decode)
    assert (facts.format, facts.mode, facts.width, facts.height) == ("PNM", "I;16", 2, 1)
    assert (facts.is_16_bit, facts.largest) == (True, 700 if decode else None)
    assert not inspect_image(io.BytesIO(pgm(values, 1000)), decode=decode).is_16_bit
    with pytest.raises(UnreadableImage, match="more than the limit"):
        inspect_image(io.BytesIO(b"P6 99999 99999 255\n"), decode=decode)


def test_the_header_of_a_png_with_a_large_profile_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    Image.fromarray(RGB).save(path, icc_profile=bytes(3_000_000))
    with path.open("rb") as file:
        assert inspect_image(file, decode=False).width == 17
    np.testing.assert_array_equal(pixels_of(path.read_bytes()), RGB)


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


@pytest.mark.parametrize(("width", "height"), [(100_000, 100_000), (2**31 - 1, 1), (MAX_PIXELS + 1, 1)])
def test_a_decompression_bomb_is_refused_by_its_header(width: int, height: int) -> None:
    with pytest.raises(UnreadableImage, match=f"{width} x {height} pixels are more than the limit of {MAX_PIXELS}"):
        decode_rgb(png_header(width, height))


def test_a_large_picture_within_the_limit_is_not_a_bomb() -> None:
    # Above Pillow's own warning threshold, half of our limit: damaged, as its data is missing, but not refused.
    with pytest.raises(UnreadableImage, match="damaged image: "):
        decode_rgb(png_header(1, MAX_PIXELS // 2 + 1000))


@pytest.mark.parametrize("size", [(1, 1), (1, 500), (500, 1)])
def test_the_smallest_pictures_are_pictures(size: tuple[int, int]) -> None:
    assert decode_rgb(encode(Image.new("RGB", size, "red"))).size == size


def test_endings_are_lower_case_and_hold_the_usual_ones() -> None:
    assert {
        ".jpg",
        ".jpeg",
        ".png",
        ".webp",
        ".bmp",
        ".gif",
        ".tif",
        ".tiff",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
    } <= EXTENSIONS
    assert all(ending == ending.lower() for ending in EXTENSIONS)
    assert not EXTENSIONS & {".eps", ".ps", ".pdf", ".svg", ".txt", ".ico"}


# Files


def within(seconds: float, work: Callable[[], object]) -> list[BaseException | object]:
    """The result or error of `work`, or nothing where it hangs."""
    outcome: list[BaseException | object] = []

    def run() -> None:
        try:
            outcome.append(work())
        except BaseException as error:
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    return outcome


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_socket(path: Path) -> None:
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.close()


def make_loop(path: Path) -> None:
    path.symlink_to(path)


def make_dangling(path: Path) -> None:
    path.symlink_to(path.with_name("gone.jpg"))


def make_link_to_folder(path: Path) -> None:
    path.symlink_to(path.parent)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (Path.mkdir, "is a folder"),
        (make_link_to_folder, "is a folder"),
        (make_fifo, "not a regular file"),
        (make_socket, "not a regular file"),
        (make_loop, "too many levels of symbolic links"),
        (make_dangling, "no such file or directory"),
        (Path.touch, "the file is empty"),
        (lambda path: None, "no such file or directory"),
    ],
)
def test_names_that_are_no_files_are_errors_and_never_hang(
    tmp_path: Path, make: Callable[[Path], object], reason: str
) -> None:
    path = tmp_path / "x.jpg"
    make(path)
    (error,) = within(5, lambda: read_file(str(path)))
    assert isinstance(error, UnreadableImage)
    assert str(error) == reason


def test_a_fifo_with_a_writer_is_not_read_either(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    os.mkfifo(path)
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.write(descriptor, b"data")
        (error,) = within(5, lambda: read_file(str(path)))
    finally:
        os.close(descriptor)
    assert str(error) == "not a regular file"


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/null"])
def test_devices_are_not_read(name: str) -> None:
    with pytest.raises(UnreadableImage, match="not a regular file"):
        read_file(name)


@pytest.mark.parametrize(("name", "reason"), [("a\0b.jpg", "its name holds a NUL"), ("x" * 300, "file name too long")])
def test_names_that_cannot_be_are_errors(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(UnreadableImage, match=reason):
        read_file(f"{tmp_path}/{name}")


def test_a_file_with_a_hole_is_not_read_into_memory(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(UnreadableImage, match=f"{MAX_BYTES + 1} bytes are more than the limit of {MAX_BYTES}"):
        read_file(str(path))


def test_a_file_without_permission_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    path.write_bytes(b"data")
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("root reads everything")
    with pytest.raises(UnreadableImage, match="permission denied"):
        read_file(str(path))


@pytest.mark.parametrize("name", ["a b.jpg", "é\u0301.jpg", "new\nline.jpg", "\udcff\udcfe.jpg", "-", "[red].jpg"])
def test_odd_names_are_names(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(name.encode("utf-8", "surrogateescape"))
    assert read_file(str(path)) == name.encode("utf-8", "surrogateescape")


def test_reading_leaves_no_descriptor_open(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"data")
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "fifo")
    before = len(os.listdir("/proc/self/fd"))
    for name in ("file", "empty", "fifo", ".", "gone"):
        within(5, lambda name=name: read_file(str(tmp_path / name)))
    assert len(os.listdir("/proc/self/fd")) == before


def test_reading_and_decoding_write_nothing(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    Image.fromarray(RGB).save(path)
    before = path.stat()
    decode_rgb(read_file(str(path)))
    after = path.stat()
    assert (before.st_mtime_ns, before.st_ctime_ns, before.st_size) == (
        after.st_mtime_ns,
        after.st_ctime_ns,
        after.st_size,
    )
    assert stat.S_IMODE(before.st_mode) == stat.S_IMODE(after.st_mode)
