from __future__ import annotations

import dataclasses
import errno
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from featcli.backbones.stages import Backbone
from featcli.backbones.weights import load_backbone
from featcli.data.pixels.augmentation import Augmentation
from featcli.data.readers.files import file_ref
from featcli.data.readers.reader import ImageRef
from featcli.errors import StorageError, UnreadableDataError
from featcli.events import Event, Progress, ignore
from featcli.features.extraction import Extractor
from featcli.runtime import Runtime
from featcli.training.boundary import CachedExamples, Examples, FeatureExamples, FrozenPrefix
from featcli.training.loop import epoch_batches
from featcli.training.problem import Labelled
from featcli.training.trainable import TrainableModel
from featcli.training.views import Views
from tests.unit.training.lab import CPU, Watch, recipe, same, score, train

pytestmark = pytest.mark.usefixtures("one_thread")

N = 11
BF16 = Runtime(torch.device("cpu"), "bf16", 1, 2, 8)


def load(name: str = "efficientnet_lite0") -> Backbone:
    backbone = load_backbone(name, "none", preprocess={"resize": 40, "crop": 32}, emit=ignore)
    backbone.network.to(memory_format=torch.channels_last)
    return backbone


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load()


@pytest.fixture
def items(tmp_path: Path) -> list[ImageRef]:
    found = []
    for index in range(N):
        path = tmp_path / "photos" / f"{index:02d}.png"
        path.parent.mkdir(exist_ok=True)
        pixels = np.random.default_rng(index).integers(0, 256, (44, 50, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(path)
        found.append(file_ref(str(path), hashlib.sha256(path.read_bytes()).digest()))
    return found


def views(backbone: Backbone, kind: str = "none", k: int | None = None) -> Views:
    return Views(Augmentation(kind, backbone.preprocessing), k, 0)


def batches(examples: Examples, epoch: int) -> list[torch.Tensor]:
    return list(examples.batches(epoch, epoch_batches(N, 4, 0, epoch)))


def test_training_sees_16_bit_grey_in_the_range_of_the_preprocessing(backbone: Backbone, tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 4096, (32, 40)).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "twelve.png")
    ref = file_ref(str(tmp_path / "twelve.png"), hashlib.sha256((tmp_path / "twelve.png").read_bytes()).digest())
    own = dataclasses.replace(backbone.preprocessing, resize=32, grey_range=(0, 4095))
    ranged = dataclasses.replace(backbone, preprocessing=own)
    examples = Examples([ref], views(ranged), FrozenPrefix(Extractor(ranged, CPU), 0), CPU)
    (batch,) = examples.batches(1, [np.array([0])])
    found = batch[0].permute(1, 2, 0).numpy() * 127.5 + 127.5  # mean and std are 0.5
    expected = values[:, 4:36].astype(np.float64) * 255 / 4095
    np.testing.assert_allclose(found, np.repeat(expected[..., None], 3, axis=2), rtol=0, atol=0.51)


@pytest.mark.parametrize("stop", [0, 1, 5, 9])
def test_prefix_and_rest_give_the_features_bit_for_bit(backbone: Backbone, items: list[ImageRef], stop: int) -> None:
    assert len(backbone.stages) == 9
    pixels = [backbone.preprocessing.pixels(Image.open(item.name)) for item in items[:8]]
    prefix = FrozenPrefix(Extractor(backbone, CPU), stop)
    inputs = prefix.inputs(prefix.encode(pixels))
    head = nn.Identity()
    with torch.inference_mode():
        found = TrainableModel(backbone, stop, head, batch_norm="eval").eval()(inputs)
        expected = backbone.features(backbone.preprocessing.normalise(torch.from_numpy(np.stack(pixels))))
    assert torch.equal(found, expected)


def test_a_row_has_the_same_bits_whatever_comes_with_it(backbone: Backbone, items: list[ImageRef]) -> None:
    prefix = FrozenPrefix(Extractor(backbone, CPU), 4)
    pixels = [backbone.preprocessing.pixels(Image.open(item.name)) for item in items]
    together = prefix.encode(pixels)
    assert len(together) == N
    for row in range(N):
        assert torch.equal(prefix.encode([pixels[row]])[0], together[row])


@pytest.mark.parametrize(("kind", "k"), [("none", None), ("flip", None), ("light", 3)])
@pytest.mark.parametrize("stop", [0, 4, 9])
def test_what_is_kept_equals_what_is_computed_anew(
    backbone: Backbone, items: list[ImageRef], tmp_path: Path, stop: int, kind: str, k: int | None
) -> None:
    prefix, chosen = FrozenPrefix(Extractor(backbone, CPU), stop), views(backbone, kind, k)
    anew = Examples(items, chosen, prefix, CPU)
    kept = CachedExamples(items, chosen, prefix, CPU, folder=tmp_path / "cache", emit=ignore)
    assert len(anew) == len(kept) == N
    for epoch in (1, 2, 3):
        for one, other in zip(batches(anew, epoch), batches(kept, epoch), strict=True):
            assert torch.equal(one, other)
            assert one.stride() == other.stride()
    first, second = (torch.cat(batches(kept, epoch)) for epoch in (1, 2))
    order = [torch.from_numpy(np.concatenate(epoch_batches(N, 4, 0, epoch)).argsort()) for epoch in (1, 2)]
    assert torch.equal(first[order[0]], second[order[1]]) == (kind == "none")


def test_in_half_precision_half_as_much_is_kept(backbone: Backbone, items: list[ImageRef], tmp_path: Path) -> None:
    prefix = FrozenPrefix(Extractor(backbone, BF16), 4)
    assert prefix.encode([np.zeros((32, 32, 3), np.uint8)]).dtype == torch.bfloat16
    anew = Examples(items, views(backbone), prefix, BF16)
    kept = CachedExamples(items, views(backbone), prefix, BF16, folder=tmp_path, emit=ignore)
    assert all(torch.equal(*pair) for pair in zip(batches(anew, 1), batches(kept, 1), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("stop", [0, 5])
def test_training_on_either_ends_in_the_same_bits(items: list[ImageRef], tmp_path: Path, stop: int) -> None:
    finals = []
    for is_kept in (False, True):
        backbone = load()
        prefix, chosen = FrozenPrefix(Extractor(backbone, CPU), stop), views(backbone, "flip")
        plain = views(backbone)

        def source(wanted: Views, is_kept: bool = is_kept, prefix: FrozenPrefix = prefix) -> Examples:
            if is_kept:
                return CachedExamples(items, wanted, prefix, CPU, folder=tmp_path, emit=ignore)
            return Examples(items, wanted, prefix, CPU)

        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            head = nn.Linear(backbone.feature_size, 2)
        model = TrainableModel(backbone, stop, head, batch_norm="eval")
        labels, watch = np.arange(N) % 2, Watch()
        train(
            model,
            recipe(mixup=0.2, label_smoothing=0.1),
            data=Labelled(source(chosen), labels),
            val=Labelled(source(plain), labels),
            stages=model.stage_parameters(),
            scorer=score(labels, classes=2),
            watch=watch,
        )
        finals.append(watch.saved[-1].tensors)  # the last and the best weights, and the optimizer
    assert same(*finals)


def test_the_file_has_no_name(backbone: Backbone, items: list[ImageRef], tmp_path: Path) -> None:
    """So that nothing is left, however the process ends."""
    folder = tmp_path / "cache"
    prefix = FrozenPrefix(Extractor(backbone, CPU), 4)
    kept = CachedExamples(items, views(backbone), prefix, CPU, folder=folder, emit=ignore)
    assert os.listdir(folder) == []
    maps = Path("/proc/self/maps")
    if maps.exists():
        assert f"{folder}/.boundary-" in maps.read_text()  # on disk, not in memory
    assert len(batches(kept, 1)) == 3


def test_a_full_disk_is_told_before_anything_is_written(
    backbone: Backbone, items: list[ImageRef], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []

    def full(descriptor: int, offset: int, size: int) -> None:
        sizes.append(size)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    prefix = FrozenPrefix(Extractor(backbone, CPU), 4)
    with pytest.raises(StorageError, match=f"cannot write {tmp_path}/cache: No space left on device"):
        CachedExamples(items, views(backbone, "flip"), prefix, CPU, folder=tmp_path / "cache", emit=ignore)
    assert os.listdir(tmp_path / "cache") == []
    one = prefix.encode([np.zeros((32, 32, 3), np.uint8)])
    assert sizes == [2 * N * one.numel() * 4]


def test_the_first_pass_says_how_far_it_is(backbone: Backbone, items: list[ImageRef], tmp_path: Path) -> None:
    said: list[Event] = []
    prefix = FrozenPrefix(Extractor(backbone, CPU), 1)
    CachedExamples(items, views(backbone, "flip"), prefix, CPU, folder=tmp_path, emit=said.append)
    assert [event.done for event in said if isinstance(event, Progress)] == [0, 8, 16, 22, 22]
    assert said[-1] == Progress("boundary", 22, 22, finished=True)


@pytest.mark.parametrize("what", ["changed", "vanished", "broken"])
def test_an_image_that_is_not_what_it_was_ends_it(backbone: Backbone, items: list[ImageRef], what: str) -> None:
    examples = Examples(items, views(backbone), FrozenPrefix(Extractor(backbone, CPU), 1), CPU)
    path = Path(items[5].name)
    if what == "changed":
        path.write_bytes(Path(items[6].name).read_bytes())
    elif what == "vanished":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:100])
    said = {"vanished": "could be read at the start of the run, and cannot now: "}.get(what, "has changed since the ")
    with pytest.raises(UnreadableDataError, match=f"{path} {said}") as caught:
        batches(examples, 1)
    assert caught.value.hint == "Nothing was learned from it. Restore the file, and continue with --resume."


def test_nothing_is_learned_from_an_image_that_changed(items: list[ImageRef]) -> None:
    backbone = load()
    examples = Examples(items, views(backbone), FrozenPrefix(Extractor(backbone, CPU), 9), CPU)
    Path(items[5].name).unlink()
    watch = Watch()
    model = TrainableModel(backbone, 9, nn.Linear(1280, 2), batch_norm="eval")
    batch = next(number for number, rows in enumerate(epoch_batches(N, 1, 0, 1)) if 5 in rows)
    val = Labelled(FeatureExamples(np.zeros((0, 1280), np.float32), [], CPU), np.zeros(0, np.int64))
    with pytest.raises(UnreadableDataError):
        train(model, recipe(batch_size=1), data=Labelled(examples, np.arange(N) % 2), val=val, stages=[], watch=watch)
    assert 0 < watch.steps <= batch


def test_features_in_memory() -> None:
    features = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    source = FeatureExamples(features, list("abcde"), CPU)
    found = list(source.batches(1, [np.array([4, 0]), np.array([2])]))
    assert [item.numpy().tolist() for item in found] == [features[[4, 0]].tolist(), features[[2]].tolist()]
    assert (len(source), source.names(np.array([3, 1]))) == (5, ["d", "b"])
