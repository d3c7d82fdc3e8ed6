from __future__ import annotations

import itertools
import random as python_random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.random import PCG64, Generator
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import InterpolationMode, v2

from featcli.data.pixels.augmentation import (
    CROP_RATIO,
    CROP_SCALE,
    ERASE_RATIO,
    ERASE_SCALE,
    TRIVIAL_AUGMENT,
    Augmentation,
    apply_operation,
    draw_operation,
    draw_seed,
    erase,
    random_box,
    random_crop_box,
)
from featcli.data.pixels.preprocessing import Preprocessing
from featcli.data.readers.reader import UnreadableImage

SMALL = Preprocessing(40, 32, "bilinear", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
MEAN_COLOUR = [124, 116, 104]


def noise(width: int, height: int) -> Image.Image:
    random = np.random.default_rng(width * 1000 + height)
    return Image.fromarray(random.integers(0, 256, (height, width, 3), dtype=np.uint8))


def generator(seed: int) -> Generator:
    return Generator(PCG64(seed))


def plain(size: tuple[int, int], value: int) -> NDArray[np.uint8]:
    return np.full((*size, 3), value, dtype=np.uint8)


# The seed of a draw


def test_every_run_epoch_and_image_has_its_own_seed() -> None:
    seeds = [
        draw_seed(seed, epoch, key)
        for seed in (0, 1, 2**32 - 1)
        for epoch in range(50)
        for key in [b"", b"\0", b"\0\0", *(bytes([byte]) * 32 for byte in range(1, 50))]
    ]
    assert len(set(seeds)) == len(seeds)
    assert all(0 <= seed < 2**64 for seed in seeds)


def test_the_bits_of_seeds_are_even() -> None:
    seeds = np.array([draw_seed(0, epoch, b"image") for epoch in range(4000)], dtype=np.uint64)
    bits = np.unpackbits(seeds.view(np.uint8)).reshape(-1, 64).mean(axis=0)
    assert np.abs(bits - 0.5).max() < 0.04  # five standard deviations


def test_a_seed_never_changes() -> None:
    """A run that is resumed by a later version would go on with other pixels."""
    assert draw_seed(7, 3, bytes(range(32))) == 1864949138357565430


@pytest.mark.parametrize(("seed", "epoch"), [(-1, 0), (0, -1), (2**64, 0), (0, 2**64)])
def test_a_seed_or_epoch_out_of_range_is_an_error(seed: int, epoch: int) -> None:
    with pytest.raises(OverflowError):
        draw_seed(seed, epoch, b"")


# All kinds


@pytest.mark.parametrize("size", [(50, 37), (37, 50), (32, 32), (1, 1), (2, 1), (1, 60), (300, 7)])
@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("kind", ["light", "strong"])
def test_pixels_are_a_crop_of_their_own(kind: str, interpolation: str, size: tuple[int, int]) -> None:
    image = noise(*size)
    before = np.array(image)
    augmentation = Augmentation(kind, replace(SMALL, interpolation=interpolation))
    for seed in (*range(20), 2**64 - 1):
        pixels = augmentation.pixels(image, seed)
        assert pixels.shape == (32, 32, 3) and pixels.dtype == np.uint8
        assert pixels.flags.c_contiguous and pixels.flags.writeable
        pixels[:] = 0
        np.testing.assert_array_equal(np.asarray(image), before)


def test_a_crop_as_large_as_the_image_is_no_view_of_it() -> None:
    image = Image.new("RGB", (1, 1), (1, 2, 3))
    Augmentation("strong", replace(SMALL, resize=1, crop=1)).pixels(image, 0)[:] = 9
    assert image.getpixel((0, 0)) == (1, 2, 3)


@pytest.mark.parametrize("kind", ["light", "strong"])
def test_the_same_seed_gives_the_same_pixels_in_any_thread_whatever_the_global_generators(kind: str) -> None:
    augmentation = Augmentation(kind, SMALL)
    images = [noise(60 + index, 50) for index in range(8)]
    work = [(images[seed % 8], seed) for seed in range(400)]
    expected = [augmentation.pixels(*item) for item in work]
    torch.manual_seed(1)
    np.random.seed(1)
    python_random.seed(1)
    before = torch.get_rng_state(), np.random.get_state(legacy=False), python_random.getstate()
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda item: augmentation.pixels(*item), work))
    after = torch.get_rng_state(), np.random.get_state(legacy=False), python_random.getstate()
    np.testing.assert_array_equal(found, expected)
    assert torch.equal(after[0], before[0])
    np.testing.assert_equal(after[1], before[1])
    assert after[2] == before[2]


@pytest.mark.parametrize("kind", ["light", "strong"])
def test_epochs_differ(kind: str) -> None:
    augmentation, image = Augmentation(kind, SMALL), noise(60, 50)
    seen = {augmentation.pixels(image, draw_seed(0, epoch, b"digest")).tobytes() for epoch in range(50)}
    assert len(seen) == 50


def test_without_mirroring_all_else_is_drawn_alike() -> None:
    image = noise(60, 50)
    for kind, exact in (("light", 400), ("strong", 150)):
        free, fixed = Augmentation(kind, SMALL), Augmentation(kind, SMALL, mirror=False)
        pairs = [(free.pixels(image, seed), fixed.pixels(image, seed)) for seed in range(400)]
        same = sum(np.array_equal(one, other) for one, other in pairs)
        mirrored = sum(np.array_equal(one[:, ::-1], other) for one, other in pairs)
        assert 160 < same < 240, kind
        assert same + mirrored >= exact, kind  # of `strong` many operations know left from right


def test_without_mirroring_left_stays_left() -> None:
    image = Image.new("RGB", (60, 50))
    image.paste((255, 255, 255), (0, 0, 30, 50))
    for mirror, turned in ((True, range(60, 141)), (False, range(1))):
        light = Augmentation("light", SMALL, mirror)
        views = [light.pixels(image, seed).astype(float) for seed in range(200)]
        assert sum(pixels[:, 0].mean() < pixels[:, -1].mean() for pixels in views) in turned


@pytest.mark.parametrize("kind", ["light", "strong"])
def test_elongated_images_are_refused_by_every_kind(kind: str) -> None:
    preprocessing = replace(SMALL, resize=256, crop=224)
    with pytest.raises(UnreadableImage, match="5000 x 1 pixels are too elongated to be resized"):
        Augmentation(kind, preprocessing).pixels(Image.new("RGB", (5000, 1)), 0)


def test_an_unknown_kind_is_an_error() -> None:
    with pytest.raises(ValueError, match="'heavy' is none of the augmentations none, flip, light, strong"):
        Augmentation("heavy", SMALL)


# The boxes of crops and erasing


def test_the_ranges_are_the_documented_ones() -> None:
    assert CROP_SCALE == {"light": (0.5, 1.0), "strong": (0.25, 1.0)}
    assert CROP_RATIO == (3 / 4, 4 / 3)
    assert (ERASE_SCALE, ERASE_RATIO) == ((0.02, 0.33), (0.3, 1 / 0.3))


@pytest.mark.parametrize("scale", CROP_SCALE.values())
@pytest.mark.parametrize(("width", "height"), [(500, 375), (375, 500), (640, 640)])
def test_crop_boxes_keep_their_bounds_and_reach_them(width: int, height: int, scale: tuple[float, float]) -> None:
    boxes = np.array([random_crop_box(generator(seed), width, height, scale) for seed in range(2000)])
    left, top, right, bottom = boxes.T
    assert left.min() == 0 and top.min() == 0 and right.max() == width and bottom.max() == height
    across, down = right - left, bottom - top
    area, ratio = across * down / (width * height), across / down
    assert scale[0] - 0.005 < area.min() < scale[0] + 0.02
    assert scale[1] - 0.05 < area.max() <= scale[1]
    assert CROP_RATIO[0] - 0.005 < ratio.min() < CROP_RATIO[0] + 0.02
    assert CROP_RATIO[1] - 0.02 < ratio.max() < CROP_RATIO[1] + 0.005


def test_the_area_is_uniform_and_the_ratio_even_where_every_box_fits() -> None:
    boxes = [random_box(generator(seed), 1000, 1000, (0.1, 0.3), CROP_RATIO) for seed in range(4000)]
    left, top, right, bottom = np.array([box for box in boxes if box is not None]).T
    assert len(left) == 4000
    area = (right - left) * (bottom - top) / 1e6
    assert np.histogram(area, 4, (0.1, 0.3))[0].min() > 850  # of 1000; five standard deviations are 137
    assert abs(np.log((right - left) / (bottom - top)).mean()) < 0.015
    assert abs((left / (1000 - (right - left))).mean() - 0.5) < 0.025
    assert abs((top / (1000 - (bottom - top))).mean() - 0.5) < 0.025


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((1000, 9), (494, 0, 506, 9)),
        ((9, 1000), (0, 494, 9, 506)),
        ((1, 60), (0, 29, 1, 30)),
        ((60, 1), (29, 0, 30, 1)),
    ],
)
def test_of_an_elongated_image_the_middle_is_taken(size: tuple[int, int], expected: tuple[int, ...]) -> None:
    assert {random_crop_box(generator(seed), *size, (0.5, 1.0)) for seed in range(50)} == {expected}


@pytest.mark.parametrize("kind", CROP_SCALE)
def test_crop_boxes_of_tiny_images_hold_a_pixel(kind: str) -> None:
    for width in range(1, 6):
        for height in range(1, 6):
            for seed in range(50):
                left, top, right, bottom = random_crop_box(generator(seed), width, height, CROP_SCALE[kind])
                assert 0 <= left < right <= width and 0 <= top < bottom <= height


# Light


def test_the_crop_of_a_gradient_is_the_gradient_of_its_box(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featcli.data.pixels.augmentation.JITTER", 0.0)
    across, down = np.meshgrid(np.arange(200), np.arange(150))
    image = Image.fromarray(np.stack([across, down, np.full_like(down, 77)], axis=2).astype(np.uint8))
    mirrored = 0
    for seed in range(100):
        left, top, right, bottom = random_crop_box(generator(seed), 200, 150, CROP_SCALE["light"])
        pixels = Augmentation("light", SMALL).pixels(image, seed).astype(float)
        if pixels[0, 0, 0] > pixels[0, -1, 0]:
            pixels = pixels[:, ::-1]
            mirrored += 1
        centres = (np.arange(32) + 0.5) / 32
        assert np.abs(pixels[:, :, 0] - (left + centres * (right - left) - 0.5)).max() <= 1
        assert np.abs(pixels[:, :, 1] - (top + centres * (bottom - top) - 0.5)[:, None]).max() <= 1
        assert (pixels[:, :, 2] == 77).all()
    assert 25 < mirrored < 75


def test_the_crop_equals_torchvisions_within_the_edge(monkeypatch: pytest.MonkeyPatch) -> None:
    """At its edge the filter sees a few pixels outside the box, which torchvision cuts off before."""
    monkeypatch.setattr("featcli.data.pixels.augmentation.JITTER", 0.0)
    image = noise(90, 80)
    for seed in range(20):
        left, top, right, bottom = random_crop_box(generator(seed), 90, 80, CROP_SCALE["light"])
        expected = v2.functional.resized_crop(image, top, left, bottom - top, right - left, [32, 32])
        pixels = Augmentation("light", SMALL).pixels(image, seed)[3:-3, 3:-3]
        wanted = np.asarray(expected)[3:-3, 3:-3]
        assert np.array_equal(pixels, wanted) or np.array_equal(pixels, wanted[:, ::-1])


def test_light_changes_brightness_contrast_and_saturation_once_each_in_any_order(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[tuple[str, float]] = []
    names = ("adjust_brightness", "adjust_contrast", "adjust_saturation")
    for name in names:

        def record(image: Image.Image, factor: float, name: str = name) -> Image.Image:
            calls.append((name, factor))
            return image

        monkeypatch.setattr(f"featcli.data.pixels.augmentation.F.{name}", record)
    orders = set()
    for seed in range(300):
        Augmentation("light", SMALL).pixels(noise(9, 9), seed)
        orders.add(tuple(name for name, _ in calls[-3:]))
    assert len(calls) == 900 and orders == set(itertools.permutations(names))
    for name in names:
        factors = [factor for called, factor in calls if called == name]
        assert 0.8 <= min(factors) < 0.81 and 1.19 < max(factors) <= 1.2 and abs(np.mean(factors) - 1) < 0.035


def test_light_changes_the_pixels_mildly() -> None:
    grey = np.array([Augmentation("light", SMALL).pixels(Image.new("RGB", (9, 9), (100,) * 3), s) for s in range(200)])
    assert (grey == grey[:, :1, :1, :1]).all()  # contrast and saturation leave a grey plane alone
    assert 79 <= grey.min() <= 84 and 116 <= grey.max() <= 121
    halves = Image.fromarray(np.concatenate([plain((40, 80), 60), plain((40, 80), 140)]))
    planes = np.array([Augmentation("light", SMALL).pixels(halves, seed)[..., 0] for seed in range(200)], dtype=float)
    contrast = (planes.max(axis=(1, 2)) - planes.min(axis=(1, 2))) / 80
    assert 0.8**2 - 0.02 < contrast.min() < 0.75  # brightness or contrast alone would stop at 0.8
    assert 1.25 < contrast.max() < 1.2**2 + 0.02


# Strong: TrivialAugment


def torchvisions_magnitudes(name: str) -> tuple[float, ...]:
    magnitudes, _ = v2.TrivialAugmentWide._AUGMENTATION_SPACE[name]
    values = magnitudes(31, 224, 224)
    return () if values is None else tuple(float(value) for value in values)


def test_the_operations_and_ranges_are_torchvisions() -> None:
    space = v2.TrivialAugmentWide._AUGMENTATION_SPACE
    assert list(TRIVIAL_AUGMENT) == list(space)
    assert v2.TrivialAugmentWide().num_magnitude_bins == 31
    for name, (magnitudes, signed) in TRIVIAL_AUGMENT.items():
        assert magnitudes == torchvisions_magnitudes(name), name
        assert signed == space[name][1], name


@pytest.mark.parametrize("interpolation", [InterpolationMode.NEAREST, InterpolationMode.BICUBIC])
@pytest.mark.parametrize("name", TRIVIAL_AUGMENT)
def test_every_operation_equals_torchvisions(name: str, interpolation: InterpolationMode) -> None:
    reference = v2.TrivialAugmentWide(interpolation=interpolation, fill=MEAN_COLOUR)
    image = noise(48, 40)
    for magnitude in TRIVIAL_AUGMENT[name][0] or (0.0,):
        for signed in {magnitude, -magnitude} if TRIVIAL_AUGMENT[name][1] else {magnitude}:
            expected = reference._apply_image_or_video_transform(image, name, signed, interpolation, reference._fill)
            found = apply_operation(image, name, signed, interpolation, MEAN_COLOUR)
            np.testing.assert_array_equal(np.asarray(found), np.asarray(expected), f"{name} {signed}")


def test_every_operation_and_magnitude_is_drawn() -> None:
    drawn = Counter(draw_operation(generator(seed)) for seed in range(14_000))
    operations = Counter[str]()
    for (name, _), count in drawn.items():
        operations[name] += count
    assert set(operations) == set(TRIVIAL_AUGMENT)
    assert 840 < min(operations.values()) and max(operations.values()) < 1160  # of 1000; five standard deviations
    for name, (magnitudes, signed) in TRIVIAL_AUGMENT.items():
        possible = set(magnitudes) | {-magnitude for magnitude in magnitudes if signed} or {0.0}
        assert {magnitude for operation, magnitude in drawn if operation == name} == possible, name


def test_strong_applies_the_operation_to_the_crop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featcli.data.pixels.augmentation.ERASE_PROBABILITY", 0.0)
    monkeypatch.setattr("featcli.data.pixels.augmentation.draw_operation", lambda random: ("Rotate", 45.0))
    pixels = Augmentation("strong", SMALL).pixels(Image.new("RGB", (50, 50), (255, 0, 9)), 3)
    for row, column in [(0, 0), (0, -1), (-1, 0), (-1, -1)]:
        assert pixels[row, column].tolist() == MEAN_COLOUR
    assert pixels[16, 16].tolist() == [255, 0, 9]


# Strong: erasing


def test_erasing_fills_one_rectangle_of_the_papers_area_and_ratio() -> None:
    areas, ratios = [], []
    for seed in range(1000):
        pixels = plain((100, 120), 255)
        erase(pixels, generator(seed), MEAN_COLOUR)
        rows, columns = np.nonzero((pixels != 255).any(axis=2))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        assert len(rows) == height * width
        assert (pixels[rows, columns] == MEAN_COLOUR).all()
        areas.append(height * width / 12_000)
        ratios.append(width / height)
    assert ERASE_SCALE[0] - 0.003 < min(areas) < 0.03 and 0.31 < max(areas) < ERASE_SCALE[1] + 0.003
    assert ERASE_RATIO[0] - 0.03 < min(ratios) < 0.35 and 2.9 < max(ratios) < ERASE_RATIO[1] + 0.2


def test_a_quarter_of_the_strong_images_are_erased(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featcli.data.pixels.augmentation.draw_operation", lambda random: ("Identity", 0.0))
    image = Image.new("RGB", (40, 40), (255, 255, 255))
    erased = 0
    for seed in range(2000):
        pixels = Augmentation("strong", SMALL).pixels(image, seed)
        if (pixels != 255).any():
            assert np.unique(pixels.reshape(-1, 3), axis=0).tolist() == [MEAN_COLOUR, [255, 255, 255]]
            erased += 1
    assert abs(erased / 2000 - 0.25) < 0.05


def test_the_mean_colour_is_near_0_after_normalising_and_always_a_colour() -> None:
    pixels = torch.tensor(MEAN_COLOUR, dtype=torch.uint8).expand(1, 32, 32, 3)
    assert SMALL.normalise(pixels).abs().max() < 0.5 / 255 / 0.224
    assert Augmentation("strong", SMALL)._mean_colour == MEAN_COLOUR
    assert Augmentation("strong", replace(SMALL, mean=(-1.0, 2.0, 0.0)))._mean_colour == [0, 255, 0]


def test_a_crop_of_one_pixel_survives_erasing() -> None:
    for seed in range(100):
        pixels = plain((1, 1), 7)
        erase(pixels, generator(seed), MEAN_COLOUR)
        assert pixels.tolist() in ([[[7, 7, 7]]], [[MEAN_COLOUR]])
