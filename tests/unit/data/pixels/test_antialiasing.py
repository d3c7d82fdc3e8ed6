from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from torch.nn.functional import interpolate

from featcli.data.pixels.antialiasing import FILTERS, resize_across
from featcli.data.pixels.picture import Picture, Turn, stored_size
from featcli.data.pixels.preprocessing import Preprocessing

SIDES = st.integers(1, 400)


@given(SIDES, SIDES, st.integers(1, 300), st.integers(0, 2**32 - 1), st.booleans(), st.sampled_from(sorted(FILTERS)))
@settings(max_examples=120, deadline=None)
def test_bits_are_those_of_torch(height: int, before: int, after: int, seed: int, hard: bool, mode: str) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, before, 3), dtype=np.uint8)
    if hard:  # black and white: bicubic overshoots at both ends
        pixels = (pixels // 128 * 255).astype(np.uint8)
    image = torch.from_numpy(pixels).permute(2, 0, 1)[None]
    expected = interpolate(image, size=(height, after), mode=mode, antialias=True)[0].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(resize_across(pixels, after, mode) if after != before else pixels, expected)


@pytest.mark.parametrize("mode", sorted(FILTERS))
@pytest.mark.parametrize("orientation", range(1, 9))
def test_preprocessing_gives_the_same_bits_by_either(mode: str, orientation: int, tmp_path: Path) -> None:
    random = np.random.default_rng(orientation)
    image = Image.fromarray(random.integers(0, 256, (53, 71, 3), dtype=np.uint8)).resize((213, 160))
    exif = Image.Exif()
    exif[0x0112] = orientation
    image.save(tmp_path / "a.jpg", exif=exif, quality=95)
    preprocessing = Preprocessing(60, 48, mode, (0.5,) * 3, (0.5,) * 3)
    from featcli.data.pixels.decoding import decode_picture

    picture = decode_picture((tmp_path / "a.jpg").read_bytes())
    by_torch = preprocessing.pixels(picture, resizer="torch")
    np.testing.assert_array_equal(preprocessing.pixels(picture, resizer="numpy"), by_torch)
    np.testing.assert_array_equal(preprocessing.pixels(picture), by_torch)


@pytest.mark.parametrize("mode", sorted(FILTERS))
@pytest.mark.parametrize("size", [(213, 160), (90, 301), (60, 60), (700, 9)])
@pytest.mark.parametrize("turn", [None, Turn.ROTATE_90, Turn.TRANSVERSE, Turn.ROTATE_180])
def test_the_window_of_a_large_image_has_the_bits_of_the_whole(
    mode: str, size: tuple[int, int], turn: Turn | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an image of Pillow's and of an array, in bands of a few rows or columns."""
    stored = np.random.default_rng(1).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    preprocessing = Preprocessing(60, 48, mode, (0.5,) * 3, (0.5,) * 3)
    pictures = [Picture(kept, stored_size(size, turn), turn) for kept in (stored, Image.fromarray(stored))]
    whole = preprocessing.pixels(pictures[0], resizer="torch")
    monkeypatch.setattr("featcli.data.pixels.resizing._LARGE_PIXELS", 1)
    monkeypatch.setattr("featcli.data.pixels.resizing._BAND_PIXELS", 1000)
    for picture in pictures:
        np.testing.assert_array_equal(preprocessing.pixels(picture), whole)


def test_pixels_need_no_torch_and_are_the_same(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    Image.fromarray(random.integers(0, 256, (97, 130, 3), dtype=np.uint8)).save(tmp_path / "a.png")
    script = """
import sys, hashlib
if sys.argv[2] == "torch": import torch
from featcli.data.pixels.loading import load_pixels
from featcli.data.pixels.preprocessing import Preprocessing
from featcli.data.readers.files import file_ref
value = load_pixels(file_ref(sys.argv[1]), Preprocessing(40, 32, "bicubic", (0.5,) * 3, (0.5,) * 3).pixels).value
print("torch" in sys.modules, hashlib.sha256(value.tobytes()).hexdigest())
"""
    said = [
        subprocess.run(
            [sys.executable, "-c", script, str(tmp_path / "a.png"), way], capture_output=True, text=True, check=True
        ).stdout.split()
        for way in ("torch", "numpy")
    ]
    assert [word for word, _ in said] == ["True", "False"]
    assert said[0][1] == said[1][1]
