"""The trial on mirrored copies: images whose class is a side, and images whose class is a colour."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import binomtest

from featcli.analysis.mirroring import MIRRORED, LabelledImages, MirrorTrial, sign_test, try_mirroring
from featcli.backbones.layers import Layer
from featcli.backbones.weights import load_backbone
from featcli.data.hashing import hash_files
from featcli.data.readers.files import file_ref
from featcli.events import ignore
from featcli.features.extraction import Extractor
from featcli.runtime import decide_runtime
from featcli.tasks import task_of

TASK = task_of(("one", "two"))
pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def extractor() -> Extractor:
    """Random weights, and features that know where something lies."""
    backbone = load_backbone(
        "efficientnet_lite0",
        "none",
        preprocess={"resize": 32, "crop": 32},
        layer=Layer(("stage1",), "flatten"),
        emit=ignore,
    )
    return Extractor(backbone, decide_runtime("cpu", "fp32", threads=1, workers=1))


def images_in(
    folder: Path, extractor: Extractor, draw: Callable[[np.ndarray, int], None], count: int
) -> LabelledImages:
    paths, labels = [], []
    for index in range(count):
        pixels = np.random.default_rng(index).integers(0, 90, (32, 32, 3)).astype(np.uint8)
        draw(pixels, index % 2)
        paths.append(str(folder / f"{index}.png"))
        Image.fromarray(pixels).save(paths[-1])
        labels.append(index % 2)
    digests = hash_files(paths, memo=None, keep=False, workers=1, emit=ignore)
    refs = [file_ref(path, digests[path]) for path in paths]
    rows = [row for batch in extractor.stream(refs, batch_size=64) for row in batch]
    features = np.stack([row.feature for row in rows if row.feature is not None])
    return LabelledImages(refs, features, np.array(labels), [ref.digest.hex() for ref in refs if ref.digest])


def lit_side(pixels: np.ndarray, label: int) -> None:
    pixels[:, 16 * label : 16 * label + 16] += 120


def own_colour(pixels: np.ndarray, label: int) -> None:
    pixels[..., label] += 120


def test_a_side_does_not_survive_and_a_colour_does(tmp_path: Path, extractor: Extractor) -> None:
    (tmp_path / "sides").mkdir()
    sides = try_mirroring(extractor, images_in(tmp_path / "sides", extractor, lit_side, 24), TASK, seed=0)
    assert sides == MirrorTrial(24, 24, 0, 24)
    assert not sides.survives
    colours = try_mirroring(extractor, images_in(tmp_path, extractor, own_colour, 24), TASK, seed=0)
    assert colours == MirrorTrial(24, 24, 24, 0)
    assert colours.survives


def test_the_order_of_the_images_changes_nothing(tmp_path: Path, extractor: Extractor) -> None:
    def faint_side(pixels: np.ndarray, label: int) -> None:
        pixels[:, 16 * label : 16 * label + 16] += 3

    images = images_in(tmp_path, extractor, faint_side, 30)
    trial = try_mirroring(extractor, images, TASK, seed=3)
    assert trial is not None
    assert 0 < trial.plain < 30
    order = list(range(30))
    random.Random(0).shuffle(order)
    shuffled = LabelledImages(
        [images.refs[row] for row in order],
        images.features[order],
        images.labels[order],
        [images.units[row] for row in order],
    )
    assert try_mirroring(extractor, shuffled, TASK, seed=3) == trial


def test_an_image_that_is_gone_or_changed_is_left_out(tmp_path: Path, extractor: Extractor) -> None:
    images = images_in(tmp_path, extractor, own_colour, 20)
    Path(images.refs[3].name).unlink()
    Path(images.refs[4].name).write_bytes(Path(images.refs[5].name).read_bytes())
    assert try_mirroring(extractor, images, TASK, seed=0) == MirrorTrial(18, 18, 18, 0)


def test_where_nothing_can_be_held_out_nothing_is_known(tmp_path: Path, extractor: Extractor) -> None:
    assert try_mirroring(extractor, images_in(tmp_path, extractor, lit_side, 2), TASK, seed=0) is None


def test_of_many_images_so_many_are_mirrored_and_as_many_of_each_class(tmp_path: Path, extractor: Extractor) -> None:
    few = images_in(tmp_path, extractor, own_colour, 2)
    n, rare = 500, 40
    labels = (np.arange(n) < rare).astype(np.int64)
    images = LabelledImages(
        [few.refs[1 - label] for label in labels], few.features[1 - labels], labels, [str(row) for row in range(n)]
    )
    trial = try_mirroring(extractor, images, TASK, seed=0)
    assert trial == MirrorTrial(MIRRORED, MIRRORED, MIRRORED, 0)


@pytest.mark.parametrize(
    ("trial", "survives"),
    [
        (MirrorTrial(200, 175, 25, 150), False),
        (MirrorTrial(200, 190, 184, 6), True),  # 3 %: the margin
        (MirrorTrial(200, 190, 183, 7), False),
        (MirrorTrial(200, 150, 138, 40), True),  # 12 fewer, but 40 lost and 28 gained: chance
        (MirrorTrial(5, 5, 0, 5), True),  # one in 32: not rare enough
        (MirrorTrial(6, 6, 0, 6), False),
        (MirrorTrial(200, 100, 150, 0), True),
    ],
)
def test_a_loss_counts_where_it_is_large_and_no_chance(trial: MirrorTrial, survives: bool) -> None:
    assert trial.survives is survives


def test_the_sign_test_is_scipys() -> None:
    for losses, gains in ((0, 0), (1, 0), (7, 0), (0, 7), (12, 5), (40, 28), (150, 20)):
        n = losses + gains
        expected = binomtest(losses, n, alternative="greater").pvalue if n else 1.0
        assert sign_test(losses, gains) == pytest.approx(expected)
