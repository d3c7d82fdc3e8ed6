from __future__ import annotations

import hashlib

import numpy as np
import pytest
from PIL import Image

from featcli.data.pixels.augmentation import Augmentation
from featcli.data.pixels.preprocessing import Preprocessing
from featcli.data.readers.reader import UnreadableImage
from featcli.training.views import Views

PREPROCESSING = Preprocessing(40, 32, "bilinear", (0.5, 0.5, 0.5), (0.2, 0.2, 0.2))
IMAGE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 60, 3), dtype=np.uint8))
DIGEST = hashlib.sha256(b"image").digest()


def views(kind: str, k: int | None = None, seed: int = 0) -> Views:
    return Views(Augmentation(kind, PREPROCESSING), k, seed)


@pytest.mark.parametrize(
    ("kind", "k", "count"),
    [("none", None, 1), ("none", 5, 1), ("flip", None, 2), ("flip", 5, 2), ("light", None, None), ("strong", 5, 5)],
)
def test_how_many_variants_there_are(kind: str, k: int | None, count: int | None) -> None:
    assert views(kind, k).count == count


@pytest.mark.parametrize(("kind", "k", "count"), [("flip", None, 2), ("light", 3, 3), ("none", None, 1)])
def test_every_variant_is_chosen_about_equally_often(kind: str, k: int | None, count: int) -> None:
    chosen = [views(kind, k).choose(epoch, DIGEST) for epoch in range(1, 301)]
    assert set(chosen) == set(range(count))
    assert np.bincount(chosen).min() > 300 / count * 0.7
    assert chosen == [views(kind, k).choose(epoch, DIGEST) for epoch in range(1, 301)]
    if count > 1:
        assert chosen != [views(kind, k, seed=1).choose(epoch, DIGEST) for epoch in range(1, 301)]
        assert chosen != [views(kind, k).choose(epoch, b"other") for epoch in range(1, 301)]


def test_without_an_end_of_variants_each_epoch_has_its_own() -> None:
    light = views("light")
    assert [light.choose(epoch, DIGEST) for epoch in (1, 2, 3)] == [1, 2, 3]
    found = [light.pixels(IMAGE, view, DIGEST).tobytes() for view in (1, 2, 3, 1)]
    assert len(set(found)) == 3
    assert found[0] == found[3]


def test_without_mirroring_the_variants_are_as_many_and_no_mirror_images() -> None:
    half = Image.new("RGB", (60, 48))
    half.paste((255, 255, 255), (0, 0, 30, 48))
    for mirror, sides in ((True, {True, False}), (False, {True})):
        variants = Views(Augmentation("light", PREPROCESSING, mirror), 40, 0)
        assert variants.count == 40
        found = [variants.pixels(half, view, DIGEST).astype(float) for view in range(40)]
        assert {pixels[:, 0].mean() > pixels[:, -1].mean() for pixels in found} == sides


def test_flip_has_the_image_and_its_mirror_image() -> None:
    plain, mirrored = (views("flip").pixels(IMAGE, view, DIGEST) for view in (0, 1))
    np.testing.assert_array_equal(plain, PREPROCESSING.pixels(IMAGE))
    np.testing.assert_array_equal(mirrored, plain[:, ::-1])


@pytest.mark.parametrize("kind", ["none", "flip", "light", "strong"])
def test_elongated_images_are_refused_by_every_kind(kind: str) -> None:
    with pytest.raises(UnreadableImage, match="9000000 x 1 pixels are too elongated to be resized"):
        views(kind).pixels(Image.new("RGB", (9_000_000, 1)), 0, DIGEST)


def test_none_is_what_is_validated() -> None:
    np.testing.assert_array_equal(views("none").pixels(IMAGE, 0, DIGEST), PREPROCESSING.pixels(IMAGE))
