from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms._presets import ImageClassification

from featcli.data.pixels.decoding import decode_picture
from featcli.data.pixels.picture import Picture
from featcli.data.pixels.preprocessing import MAX_RESIZED_PIXELS, Preprocessing
from featcli.data.pixels.resizing import RESIZERS
from featcli.data.readers.reader import UnreadableImage

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
SIZES = [
    (500, 375),
    (375, 500),
    (224, 224),
    (256, 256),
    (257, 300),
    (100, 60),
    (31, 900),
    (640, 33),
    (1, 1),
    (225, 223),
]


def noise(width: int, height: int) -> Image.Image:
    random = np.random.default_rng(width * 1000 + height)
    return Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))


def preset(preprocessing: Preprocessing) -> ImageClassification:
    return ImageClassification(
        crop_size=preprocessing.crop,
        resize_size=preprocessing.resize,
        mean=preprocessing.mean,
        std=preprocessing.std,
        interpolation=InterpolationMode(preprocessing.interpolation),
    )


def ours(
    preprocessing: Preprocessing, images: Sequence[Image.Image | Picture], resizer: str = "pillow"
) -> torch.Tensor:
    pixels = [preprocessing.pixels(image, resizer=resizer) for image in images]
    return preprocessing.normalise(torch.from_numpy(np.stack(pixels)))


def levels(preprocessing: Preprocessing, normalised: torch.Tensor) -> np.ndarray:
    """Back to 0..255."""
    mean, std = (torch.tensor(values)[:, None, None] for values in (preprocessing.mean, preprocessing.std))
    return ((normalised * std + mean) * 255).round().numpy().astype(int)


def assert_close(found: np.ndarray, expected: np.ndarray) -> None:
    """No pixel by more than two levels, and hardly any by more than one."""
    apart = np.abs(found.astype(int) - expected.astype(int))
    assert apart.max() <= 2
    assert (apart > 1).mean() < 0.001


PREPROCESSINGS = [
    Preprocessing(256, 224, "bilinear", *IMAGENET),
    Preprocessing(232, 224, "bicubic", *IMAGENET),
    Preprocessing(256, 224, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    Preprocessing(40, 33, "nearest", *IMAGENET),
    Preprocessing(40, 32, "lanczos", *IMAGENET),
    Preprocessing(32, 48, "bilinear", *IMAGENET),  # a crop larger than the image is padded
]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("preprocessing", PREPROCESSINGS, ids=str)
def test_pixels_and_normalise_equal_torchvisions_preset_bit_for_bit(
    size: tuple[int, int], preprocessing: Preprocessing
) -> None:
    image = noise(*size)
    expected = preset(preprocessing)(image)
    found = ours(preprocessing, [image])[0]
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


@pytest.mark.parametrize("size", [*SIZES, (20_000, 400)])
@pytest.mark.parametrize("preprocessing", PREPROCESSINGS, ids=str)
def test_the_fast_resizer_is_the_preset_within_two_levels(size: tuple[int, int], preprocessing: Preprocessing) -> None:
    image = noise(*size)
    expected = levels(preprocessing, preset(preprocessing)(image))
    assert_close(levels(preprocessing, ours(preprocessing, [image], "torch")[0]), expected)


@pytest.mark.real
@pytest.mark.parametrize("preprocessing", PREPROCESSINGS[:3], ids=str)
def test_photographs_are_those_of_torchvisions_preset(hymenoptera: Path, preprocessing: Preprocessing) -> None:
    for path in sorted(hymenoptera.glob("*/*/*.jpg")):
        with Image.open(path) as file:
            image = file.convert("RGB")
        expected = preset(preprocessing)(image)
        assert torch.equal(ours(preprocessing, [image])[0], expected), path
        found = preprocessing.pixels(decode_picture(path.read_bytes())).transpose(2, 0, 1)
        assert_close(found, levels(preprocessing, expected))


@pytest.mark.parametrize("turn", [None, *Image.Transpose])
@pytest.mark.parametrize("size", [(333, 251), (250, 337), (30, 31)])
@pytest.mark.parametrize("preprocessing", [*PREPROCESSINGS, Preprocessing(255, 224, "bicubic", *IMAGENET)], ids=str)
def test_an_image_turned_late_is_the_image_turned_first_bit_for_bit(
    preprocessing: Preprocessing, size: tuple[int, int], turn: Image.Transpose | None
) -> None:
    stored = noise(*size)
    upright = stored if turn is None else stored.transpose(turn)
    for kept in (stored, np.array(stored)):
        picture = Picture(kept, upright.size, turn)
        np.testing.assert_array_equal(picture.upright(), upright)
        for resizer in RESIZERS:
            found = preprocessing.pixels(picture, resizer=resizer)
            np.testing.assert_array_equal(found, preprocessing.pixels(upright, resizer=resizer))


@pytest.mark.parametrize("resizer", RESIZERS)
def test_pixels_go_into_the_row_that_is_given(resizer: str) -> None:
    preprocessing = PREPROCESSINGS[-1]
    tile = np.full((3, 48, 48, 3), 7, dtype=np.uint8)
    found = preprocessing.pixels(noise(50, 41), tile[1], resizer=resizer)
    assert np.shares_memory(found, tile)
    np.testing.assert_array_equal(tile[1], preprocessing.pixels(noise(50, 41), resizer=resizer))
    assert (tile[[0, 2]] == 7).all()


def test_pixels_without_torch() -> None:
    program = """
import sys
from PIL import Image
from featcli.data.pixels.decoding import decode_picture
from featcli.data.pixels.preprocessing import Preprocessing
preprocessing = Preprocessing.from_json(dict(resize=8, crop=4, interpolation="bicubic", mean=[0, 0, 0], std=[1, 1, 1]))
assert preprocessing.pixels(Image.new("RGB", (30, 20)), resizer="pillow").shape == (4, 4, 3)
assert not [name for name in sys.modules if name.startswith("torch")]
"""
    subprocess.run([sys.executable, "-c", program], check=True)


def test_a_batch_is_the_same_as_its_images_and_stays_channels_last() -> None:
    preprocessing = Preprocessing(40, 32, "bilinear", *IMAGENET)
    images = [noise(50, 41), noise(41, 50), noise(64, 64)]
    batch = ours(preprocessing, images)
    assert batch.shape == (3, 3, 32, 32)
    assert batch.is_contiguous(memory_format=torch.channels_last)
    for row, image in zip(batch, images, strict=True):
        assert torch.equal(row, ours(preprocessing, [image])[0])


def test_normalise_leaves_the_pixels_alone() -> None:
    pixels = torch.arange(2 * 4 * 4 * 3, dtype=torch.uint8).reshape(2, 4, 4, 3)
    before = pixels.clone()
    Preprocessing(4, 4, "bilinear", *IMAGENET).normalise(pixels)
    assert torch.equal(pixels, before)


def test_pixels_leave_the_image_alone() -> None:
    image = noise(32, 32)
    before = np.array(image)
    pixels = Preprocessing(32, 32, "bilinear", *IMAGENET).pixels(image)
    pixels[:] = 0
    np.testing.assert_array_equal(np.asarray(image), before)


@pytest.mark.parametrize("size", [(1, 5000), (5000, 1), (2, 10_000)])
def test_too_elongated_images_are_an_error_with_their_size(size: tuple[int, int]) -> None:
    image = Image.new("RGB", size)
    with pytest.raises(UnreadableImage, match=f"{size[0]} x {size[1]} pixels are too elongated to be resized"):
        Preprocessing(256, 224, "bilinear", *IMAGENET).pixels(image)


def test_the_limit_counts_the_resized_image() -> None:
    preprocessing = Preprocessing(100, 10, "nearest", *IMAGENET)
    longest = MAX_RESIZED_PIXELS // 100 // 100
    assert preprocessing.pixels(Image.new("RGB", (1, longest // 50))).shape == (10, 10, 3)
    with pytest.raises(UnreadableImage, match="elongated"):
        preprocessing.pixels(Image.new("RGB", (1, longest + 1)))


GOOD = Preprocessing(232, 224, "bicubic", *IMAGENET)


def test_json_round_trip_keeps_every_bit() -> None:
    odd = replace(GOOD, mean=(0.1 + 0.2, 1 / 3, 5e-324))
    assert Preprocessing.from_json(json.loads(json.dumps(odd.to_json()))) == odd
    ranged = replace(GOOD, grey_range=(3, 4095), decode="scaled")
    assert Preprocessing.from_json(json.loads(json.dumps(ranged.to_json()))) == ranged


def test_a_full_range_is_not_written_so_that_keys_and_checkpoints_are_as_they_were() -> None:
    assert sorted(GOOD.to_json()) == ["crop", "interpolation", "mean", "resize", "std"]
    assert Preprocessing.from_json(GOOD.to_json()).grey_range is None
    assert replace(GOOD, grey_range=(3, 4095)).to_json() == {**GOOD.to_json(), "range": [3, 4095]}


def test_exact_decoding_is_not_written_either() -> None:
    assert Preprocessing.from_json(GOOD.to_json()).decode == "exact"
    assert replace(GOOD, decode="scaled").to_json() == {**GOOD.to_json(), "decode": "scaled"}
    assert str(replace(GOOD, decode="scaled")) == f"{GOOD}, decoded scaled"


@pytest.mark.parametrize("key", ["resize", "crop", "interpolation", "mean", "std"])
def test_a_missing_value_is_an_error(key: str) -> None:
    value = GOOD.to_json()
    del value[key]
    with pytest.raises(KeyError, match=key):
        Preprocessing.from_json(value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("resize", 0),
        ("resize", -5),
        ("resize", None),
        ("resize", float("inf")),
        ("resize", float("nan")),
        ("resize", 10**9),
        ("crop", 0),
        ("crop", -1),
        ("crop", 10**9),
        ("crop", []),
        ("interpolation", "psychic"),
        ("interpolation", None),
        ("interpolation", ["bilinear"]),
        ("decode", "half"),
        ("decode", None),
        ("decode", True),
        ("mean", [0.5, 0.5]),
        ("mean", [float("nan"), 0.5, 0.5]),
        ("mean", [float("inf"), 0.5, 0.5]),
        ("mean", 3),
        ("mean", ["a", "b", "c"]),
        ("std", [1.0, 1.0, 0.0]),
        ("std", [1.0, 1.0, -1.0]),
        ("std", [1.0, float("nan"), 1.0]),
        ("std", [1.0, float("inf"), 1.0]),
        ("std", [1.0, 1.0, 1.0, 1.0]),
        ("range", [0]),
        ("range", [0, 1, 2]),
        ("range", [5, 5]),
        ("range", [-1, 5]),
        ("range", [0, 65536]),
        ("range", [0, 4095.0]),
        ("range", [False, True]),
        ("range", "full"),
        ("range", 7),
    ],
)
def test_values_that_cannot_be_are_errors(key: str, value: Any) -> None:
    with pytest.raises((TypeError, ValueError)):
        Preprocessing.from_json({**GOOD.to_json(), key: value})


def test_in_words() -> None:
    words = "resize 232 bicubic, crop 224, mean (0.485, 0.456, 0.406), std (0.229, 0.224, 0.225)"
    assert str(GOOD) == words
    assert str(replace(GOOD, grey_range=(3, 4095))) == f"{words}, 16-bit grey 3 to 4095"
