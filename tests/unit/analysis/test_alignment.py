"""Laying one picture over another, against pictures that Pillow has turned, cropped and moved."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from featcli.analysis.alignment import Pictures
from tests.scenes import grey, scene

Change = Callable[[Image.Image], Image.Image]
Transpose = Image.Transpose

CHANGES: dict[str, tuple[Change, int, float]] = {
    "the same": (lambda image: image, 0, 1.0),
    "half": (lambda image: image.resize((image.width // 2, image.height // 2)), 0, 1.0),
    "brighter": (lambda image: ImageEnhance.Brightness(image).enhance(1.3), 0, 1.0),
    "mirrored": (lambda image: image.transpose(Transpose.FLIP_LEFT_RIGHT), 4, 1.0),
    "upside down": (lambda image: image.transpose(Transpose.FLIP_TOP_BOTTOM), 6, 1.0),
    "turned left": (lambda image: image.transpose(Transpose.ROTATE_90), 3, 1.0),
    "turned round": (lambda image: image.transpose(Transpose.ROTATE_180), 2, 1.0),
    "turned right": (lambda image: image.transpose(Transpose.ROTATE_270), 1, 1.0),
    "cropped": (lambda image: image.crop((16, 12, 304, 228)), 0, 1 / 0.9),
    "cropped more": (lambda image: image.crop((32, 24, 288, 216)), 0, 1 / 0.8),
    "cropped at one side": (lambda image: image.crop((32, 0, 320, 240)), 0, 1 / 0.9),
    "mirrored and cropped": (lambda image: image.transpose(Transpose(0)).crop((16, 12, 304, 228)), 4, 1 / 0.9),
}  # fmt: skip


@pytest.mark.parametrize("name", CHANGES)
def test_a_changed_picture_lies_on_the_original(name: str) -> None:
    change, orientation, scale = CHANGES[name]
    for seed in range(5):
        original = scene(seed)
        pictures = Pictures([grey(original), grey(change(original))])
        found = pictures.align(np.array([[0, 1]]))
        assert found.correlation[0] > 0.9, (name, seed)
        assert found.orientation[0] == orientation
        assert found.scale[0] == pytest.approx(scale, abs=0.03)
        assert found.overlap[0] > 0.9


def test_tiles_that_overlap_correlate_where_they_do() -> None:
    original = scene(0, (400, 240))
    tiles = [original.crop((left, 0, left + 240, 240)) for left in (0, 96, 160)]
    found = Pictures([grey(tile) for tile in tiles]).align(np.array([[0, 1], [1, 2], [0, 2]]))
    assert found.correlation[:2] == pytest.approx([1.0, 1.0], abs=0.05)
    assert found.overlap[:2] == pytest.approx([144 / 240, 176 / 240], abs=0.05)
    assert found.correlation[2] < 0.6  # a third of the picture is too little to tell
    assert found.coarse[2] < 0.4, "and is not looked at"


def wall(seed: int, period: int) -> Image.Image:
    """Bricks of so many pixels, half of them and half of a scene: nearly the same again a brick further on."""
    width, height = 400, 240
    y, x = np.mgrid[:height, :width]
    half = period // 2
    mortar = (y % half < 4) | ((x + y // half % 2 * half) % period < 4)
    shapes = np.asarray(scene(seed, (width, height)).convert("L"), dtype=np.float64)
    return Image.fromarray((0.5 * np.where(mortar, 220.0, 90.0) + 0.5 * shapes).astype(np.uint8))


@pytest.mark.parametrize("seed", [0, 1, 5])
def test_tiles_of_a_wall_lie_where_they_overlap_and_not_a_brick_further_on(seed: int) -> None:
    """Where bricks lie on bricks over a larger overlap: coarsely, a small overlap counts as much."""
    picture = wall(seed, 48)
    tiles = [grey(picture.crop((left, 0, left + 240, 240))) for left in (0, 96)]
    found = Pictures(tiles).align(np.array([[0, 1]]))
    assert found.correlation[0] > 0.85
    assert found.overlap[0] == pytest.approx(144 / 240, abs=0.05)


@pytest.mark.parametrize(("seed", "period", "left"), [(0, 40, 55), (0, 56, 66), (1, 26, 66)])
def test_a_part_of_a_wall_lies_where_only_the_second_best_place_leads_to(seed: int, period: int, left: int) -> None:
    picture = wall(seed, period)
    whole, part = picture.crop((0, 0, 240, 240)), picture.crop((left, 24, left + 200, 224))
    assert Pictures([grey(whole), grey(part)]).align(np.array([[0, 1]])).correlation[0] > 0.9


def test_faint_pictures_with_one_loud_mark_do_not_correlate() -> None:
    """Edges and texture count the same everywhere, whatever their contrast."""
    mark = np.where(grey(scene(900), 16) > 128, 255, 0)
    thumbnails = []
    for seed in range(6):
        faint = 128 + (grey(scene(seed)).astype(np.int64) - 128) // 6
        faint[: mark.shape[0], : mark.shape[1]] = mark
        thumbnails.append(faint.astype(np.uint8))
    pairs = np.array([(one, two) for one in range(6) for two in range(one)])
    assert Pictures(thumbnails).align(pairs).correlation.max() < 0.6


def test_what_nowhere_lies_well_coarsely_is_not_refined() -> None:
    pictures = Pictures([grey(scene(seed)) for seed in (0, 1, 0)])
    found = pictures.align(np.array([[0, 1], [0, 2]]), least_coarse=0.6)
    assert found.coarse[0] < 0.6 < found.coarse[1]
    assert found.correlation == pytest.approx([0.0, 1.0], abs=0.01)


def test_other_pictures_do_not_correlate() -> None:
    pictures = Pictures([grey(scene(seed)) for seed in range(30)])
    pairs = np.array([(one, two) for one in range(30) for two in range(one)])
    assert pictures.align(pairs).correlation.max() < 0.6


def test_a_pair_depends_on_nothing_beside_it() -> None:
    pictures = Pictures([grey(scene(seed % 4)) for seed in range(300)])
    pairs = np.array([(index, index + 7) for index in range(290)])
    together, alone = pictures.align(pairs), pictures.align(pairs[200:201])
    assert together.correlation[200] == pytest.approx(alone.correlation[0], abs=1e-5)
    reverse = pictures.align(pairs[:, ::-1])
    assert (together.correlation > 0.9).tolist() == (reverse.correlation > 0.9).tolist()


def test_least_leaves_out_only_what_is_below_it() -> None:
    scenes = [grey(scene(seed)) for seed in range(12)] + [
        grey(scene(seed).crop((16, 12, 304, 228))) for seed in range(12)
    ]
    pictures = Pictures(scenes)
    pairs = np.array([(one, two) for one in range(12) for two in range(12, 24)])
    everything, some = pictures.align(pairs), pictures.align(pairs, least=0.7, least_coarse=0.3)
    assert (some.correlation >= 0.7).tolist() == (everything.correlation >= 0.7).tolist()
    assert int((some.correlation >= 0.7).sum()) == 12


def test_plain_surfaces_have_no_structure() -> None:
    plain, ramp = np.full((48, 64), 200, np.uint8), np.tile(np.arange(64, dtype=np.uint8), (48, 1))
    assert Pictures([plain, ramp, grey(scene(0)), None]).has_structure.tolist() == [False, False, True, False]


@pytest.mark.parametrize("size", [(4, 64), (64, 4), (8, 8), (1, 64)])
def test_any_shape_of_thumbnail(size: tuple[int, int]) -> None:
    thumbnail = np.random.default_rng(0).integers(0, 255, size, dtype=np.uint8)
    found = Pictures([thumbnail, thumbnail]).align(np.array([[0, 1]]))
    assert np.isfinite(found.correlation).all()
