from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms._presets import ImageClassification

from featcli.data.pixels.preprocessing import MAX_RESIZED_PIXELS, Preprocessing
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


def ours(preprocessing: Preprocessing, images: list[Image.Image]) -> torch.Tensor:
    return preprocessing.normalise(torch.from_numpy(np.stack([preprocessing.pixels(image) for image in images])))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize(
    "preprocessing",
    [
        Preprocessing(256, 224, "bilinear", *IMAGENET),
        Preprocessing(232, 224, "bicubic", *IMAGENET),
        Preprocessing(256, 224, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        Preprocessing(40, 33, "nearest", *IMAGENET),
        Preprocessing(32, 48, "bilinear", *IMAGENET),  # a crop larger than the image is padded
    ],
    ids=str,
)
def test_pixels_and_normalise_equal_torchvisions_preset_bit_for_bit(
    size: tuple[int, int], preprocessing: Preprocessing
) -> None:
    image = noise(*size)
    expected = preset(preprocessing)(image)
    found = ours(preprocessing, [image])[0]
    assert found.dtype == torch.float32
    assert torch.equal(found, expected)


def test_photographs_equal_torchvisions_preset(hymenoptera: Path) -> None:
    preprocessing = Preprocessing(256, 224, "bilinear", *IMAGENET)
    images = []
    for path in sorted(hymenoptera.glob("val/*/*.jpg"))[::30]:
        with Image.open(path) as image:
            images.append(image.convert("RGB"))
    expected = torch.stack([preset(preprocessing)(image) for image in images])
    assert torch.equal(ours(preprocessing, images), expected)


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
    ranged = replace(GOOD, grey_range=(3, 4095))
    assert Preprocessing.from_json(json.loads(json.dumps(ranged.to_json()))) == ranged


def test_a_full_range_is_not_written_so_that_keys_and_checkpoints_are_as_they_were() -> None:
    assert sorted(GOOD.to_json()) == ["crop", "interpolation", "mean", "resize", "std"]
    assert Preprocessing.from_json(GOOD.to_json()).grey_range is None
    assert replace(GOOD, grey_range=(3, 4095)).to_json() == {**GOOD.to_json(), "range": [3, 4095]}


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
