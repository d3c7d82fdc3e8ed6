from __future__ import annotations

import dataclasses
import hashlib
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from torch import Tensor, nn
from torchvision import models
from torchvision.transforms._presets import ImageClassification

from featcli.backbones.stages import Backbone, Built, Partition, assemble, chain, detach_linear
from featcli.backbones.weights import load_backbone
from featcli.data.pixels.preprocessing import Preprocessing
from featcli.data.readers.files import file_ref
from featcli.events import Event, Progress, ignore
from featcli.features.extraction import Extractor, FeatureRow, FeatureTable, compute_table
from featcli.features.store import FeatureStore
from featcli.runtime import Runtime

pytestmark = pytest.mark.usefixtures("one_thread")

PREPROCESSING = Preprocessing(36, 32, "bilinear", (0.4, 0.5, 0.6), (0.2, 0.3, 0.25))
SIZE = 8
WORKERS = [1, 2, 4]
BATCHES = [1, 7, 32]


class Tiny(nn.Module):
    """Two convolutions with BatchNorm, and a Linear that is cut off."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 6, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(6)
        self.relu = nn.ReLU()
        self.layer1 = nn.Sequential(nn.Conv2d(6, SIZE, 3, stride=2), nn.BatchNorm2d(SIZE), nn.ReLU())
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(SIZE, 10)

    def forward(self, images: Tensor) -> Tensor:
        images = self.layer1(self.relu(self.bn1(self.conv1(images))))
        return self.fc(torch.flatten(self.avgpool(images), 1))


def tiny_backbone(seed: int = 0) -> Backbone:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = Tiny()
        for norm in (network.bn1, network.layer1[1]):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
    stages = (chain(network, "stem", ["conv1", "bn1", "relu"]), chain(network, "layer1", ["layer1"]))
    partition = Partition(stages, lambda images: torch.flatten(network.avgpool(images), 1), "fc")
    built = Built(network, partition, detach_linear(network, partition))
    return assemble("tiny", built, PREPROCESSING, f"none (seed {seed})")


def extractor_with(workers: int = 2, seed: int = 0) -> Extractor:
    return Extractor(tiny_backbone(seed), Runtime(torch.device("cpu"), "fp32", 1, workers, 8))


EXTRACTORS = {workers: extractor_with(workers) for workers in WORKERS}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Twenty images of several sizes; broken ones at known places."""
    root = tmp_path_factory.mktemp("photos")
    for index in range(20):
        rng = np.random.default_rng(index)
        shape = (int(rng.integers(20, 60)), int(rng.integers(20, 60)), 3)
        Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(root / f"{index:02d}.png")
    (root / "03.png").write_bytes(b"")
    (root / "08.png").write_bytes((root / "09.png").read_bytes()[:200])
    (root / "15.png").unlink()
    return [str(root / f"{index:02d}.png") for index in range(20)]


BROKEN = {3: "the file is empty", 8: "damaged image: ", 15: "no such file or directory"}


def rows_of(
    paths: list[str], workers: int = 2, batch_size: int = 32, store: FeatureStore | None = None
) -> list[FeatureRow]:
    batches = EXTRACTORS[workers].stream(map(file_ref, paths), batch_size=batch_size, store=store)
    return [row for batch in batches for row in batch]


def bits(row: FeatureRow) -> tuple[str, bytes | None, bytes | None, str | None]:
    return row.path, row.digest, None if row.feature is None else row.feature.tobytes(), row.error


@pytest.fixture(scope="module")
def alone(photos: list[str]) -> dict[str, FeatureRow]:
    """Every file's row, from a stream of that file alone."""
    return {path: rows_of([path])[0] for path in photos}


# Promise 4


def test_a_row_is_its_own_files_feature(photos: list[str], alone: dict[str, FeatureRow]) -> None:
    preset = ImageClassification(crop_size=32, resize_size=36, mean=PREPROCESSING.mean, std=PREPROCESSING.std)
    network = tiny_backbone().network
    seen = set()
    for index, path in enumerate(photos):
        row = alone[path]
        if index in BROKEN:
            assert row.feature is None
            assert row.error is not None
            assert row.error.startswith(BROKEN[index])
            assert (row.digest is None) == (index in (3, 15))
            continue
        assert row.error is None
        assert row.feature is not None
        assert row.feature.shape == (SIZE,)
        assert row.feature.dtype == np.float32
        assert row.digest == hashlib.sha256(Path(path).read_bytes()).digest()
        with Image.open(path) as image, torch.no_grad():
            expected = network(preset(image)[None])[0].numpy()
        np.testing.assert_allclose(row.feature, expected, rtol=0, atol=1e-3)  # a pixel may differ by a level
        seen.add(row.feature.tobytes())
    assert len(seen) == 17


@pytest.mark.parametrize("workers", WORKERS)
@pytest.mark.parametrize("batch_size", BATCHES)
def test_row_i_is_file_i_whatever_workers_and_batch_size(
    photos: list[str], alone: dict[str, FeatureRow], workers: int, batch_size: int
) -> None:
    rows = rows_of(photos, workers, batch_size)
    assert [bits(row) for row in rows] == [bits(alone[path]) for path in photos]


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    chosen=st.lists(st.integers(0, 19), min_size=1, max_size=40),
    workers=st.sampled_from(WORKERS),
    batch_size=st.sampled_from(BATCHES),
    in_store=st.sets(st.integers(0, 19)),
)
def test_row_i_is_file_i_whatever_order_subset_and_store(
    photos: list[str],
    alone: dict[str, FeatureRow],
    tmp_path_factory: pytest.TempPathFactory,
    chosen: list[int],
    workers: int,
    batch_size: int,
    in_store: set[int],
) -> None:
    extractor = EXTRACTORS[workers]
    store = FeatureStore(tmp_path_factory.mktemp("cache"), extractor.space, SIZE, ignore)
    stored = {photos[index] for index in in_store - BROKEN.keys()}
    with store.writer({}) as writer:
        for path in stored:
            digest, feature = alone[path].digest, alone[path].feature
            assert digest is not None
            assert feature is not None
            writer.add(digest, feature)
    store.refresh()
    paths = [photos[index] for index in chosen]
    rows = rows_of(paths, workers, batch_size, store)
    assert [bits(row) for row in rows] == [bits(alone[path]) for path in paths]
    assert [row.stored for row in rows] == [path in stored for path in paths]


def test_what_comes_from_the_store_is_not_computed(
    photos: list[str], alone: dict[str, FeatureRow], tmp_path: Path
) -> None:
    extractor = EXTRACTORS[1]
    store = FeatureStore(tmp_path, extractor.space, SIZE, ignore)
    digest = alone[photos[0]].digest
    assert digest is not None
    marked = np.arange(SIZE, dtype=np.float32)
    with store.writer({}) as writer:
        writer.add(digest, marked)
    store.refresh()
    (row,) = rows_of([photos[0]], 1, 8, store)
    np.testing.assert_array_equal(row.feature, marked)


def test_forward_does_not_depend_on_how_many_come_with_it() -> None:
    """Promise 9."""
    extractor = extractor_with()
    rng = np.random.default_rng(0)
    pixels = list(rng.integers(0, 256, (19, 32, 32, 3), dtype=np.uint8))
    together = extractor.forward(pixels)
    assert together.shape == (19, SIZE)
    for count in (1, 7, 8, 9):
        np.testing.assert_array_equal(extractor.forward(pixels[:count]), together[:count])
        np.testing.assert_array_equal(extractor.forward(pixels[-count:]), together[-count:])


def test_every_forward_pass_has_the_tiles_shape() -> None:
    # A fixed shape is what makes the bits independent of the batch; other shapes may take other code in a library.
    extractor = extractor_with()
    shapes: list[tuple[int, ...]] = []
    extractor.backbone.network.conv1.register_forward_pre_hook(
        lambda module, inputs: shapes.append(tuple(inputs[0].shape))
    )
    pixels = [np.zeros((32, 32, 3), np.uint8)] * 19
    for count in (1, 8, 19):
        extractor.forward(pixels[:count])
    assert shapes == [(8, 3, 32, 32)] * (1 + 1 + 3)


@pytest.mark.parametrize(("asked", "given_out"), [(1, [8, 8, 4]), (7, [8, 8, 4]), (9, [16, 4]), (32, [20])])
def test_batches_are_whole_tiles(photos: list[str], asked: int, given_out: list[int]) -> None:
    batches = EXTRACTORS[2].stream(map(file_ref, photos), batch_size=asked)
    assert [len(batch) for batch in batches] == given_out


def test_a_blocking_source_gets_its_rows_after_a_moment(photos: list[str], alone: dict[str, FeatureRow]) -> None:
    import queue

    source: queue.Queue[str] = queue.Queue()
    stream = EXTRACTORS[1].stream(map(file_ref, iter(source.get, "")), batch_size=32, idle_timeout=0.05)
    source.put(photos[0])
    assert [bits(row) for row in next(stream)] == [bits(alone[photos[0]])]
    source.put(photos[3])
    assert [bits(row) for row in next(stream)] == [bits(alone[photos[3]])]
    source.put("")
    assert list(stream) == []


# Upright copies, damaged numbers


def test_a_rotated_copy_has_the_upright_ones_feature(tmp_path: Path) -> None:
    upright = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8))
    upright.save(tmp_path / "upright.png")
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    upright.transpose(Image.Transpose.ROTATE_90).save(tmp_path / "turned.png", exif=exif)
    one, other = rows_of([str(tmp_path / "upright.png"), str(tmp_path / "turned.png")])
    np.testing.assert_array_equal(one.feature, other.feature)
    assert one.digest != other.digest


@pytest.mark.parametrize("poison", [float("nan"), float("inf"), float("-inf")])
def test_features_that_are_not_finite_are_error_rows(photos: list[str], poison: float) -> None:
    extractor = extractor_with()
    with torch.no_grad():
        extractor.backbone.network.layer1[1].bias[2] = poison
        extractor.backbone.network.layer1[2] = nn.Identity()  # a ReLU would hide minus infinity
    rows = [row for batch in extractor.stream(map(file_ref, photos[:3]), batch_size=8) for row in batch]
    assert [row.feature is None for row in rows] == [True] * 3
    assert {row.error for row in rows} == {"its features are not finite numbers"}


def test_a_store_never_receives_features_that_are_not_finite(photos: list[str], tmp_path: Path) -> None:
    extractor = extractor_with()
    with torch.no_grad():
        extractor.backbone.network.layer1[1].bias[2] = float("nan")
    table, store = table_of(extractor, photos[:3], tmp_path)
    assert table.errors == dict.fromkeys(range(3), "its features are not finite numbers")
    assert len(store) == 0


# Tables


def digests_of(paths: list[str]) -> list[bytes | None]:
    found = [Path(path).read_bytes() if Path(path).is_file() else b"" for path in paths]
    return [hashlib.sha256(data).digest() if data else None for data in found]


def table_of(
    extractor: Extractor,
    paths: list[str],
    cache: Path,
    *,
    digests: list[bytes | None] | None = None,
    write: bool = True,
    emit: Callable[[Event], None] = ignore,
    batch_size: int = 8,
) -> tuple[FeatureTable, FeatureStore]:
    store = FeatureStore(cache, extractor.space, SIZE, ignore)
    digests = digests_of(paths) if digests is None else digests
    refs = [file_ref(path, digest) for path, digest in zip(paths, digests, strict=True)]
    if write:
        with store.writer({}) as writer:
            table = compute_table(extractor, refs, store=store, writer=writer, batch_size=batch_size, emit=emit)
    else:
        table = compute_table(extractor, refs, store=store, writer=None, batch_size=batch_size, emit=emit)
    store.refresh()
    return table, store


def test_a_table_holds_row_i_of_file_i_cold_warm_and_mixed(
    photos: list[str], alone: dict[str, FeatureRow], tmp_path: Path
) -> None:
    expected = np.array(
        [np.zeros(SIZE, np.float32) if (row := alone[path]).feature is None else row.feature for path in photos]
    )
    some = [photos[index] for index in (0, 5, 8, 11, 19)]
    first, _ = table_of(EXTRACTORS[2], some, tmp_path)
    assert first.computed == 4
    mixed, store = table_of(EXTRACTORS[4], photos, tmp_path, batch_size=1)
    assert mixed.computed == 13
    warm, again = table_of(EXTRACTORS[1], photos, tmp_path)
    assert warm.computed == 0
    for table in (mixed, warm):
        np.testing.assert_array_equal(table.features, expected)
        assert table.features.dtype == np.float32
        assert sorted(table.errors) == sorted(BROKEN)
        assert all(table.errors[index].startswith(reason) for index, reason in BROKEN.items())
        assert np.flatnonzero(~table.readable).tolist() == sorted(BROKEN)
    assert len(store) == len(again) == 17


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    shuffle=st.randoms(use_true_random=False), before=st.sets(st.integers(0, 19)), batch_size=st.sampled_from(BATCHES)
)
def test_a_table_does_not_depend_on_the_order_or_the_store(
    photos: list[str],
    alone: dict[str, FeatureRow],
    tmp_path_factory: pytest.TempPathFactory,
    shuffle: random.Random,
    before: set[int],
    batch_size: int,
) -> None:
    cache = tmp_path_factory.mktemp("cache")
    if before:
        table_of(EXTRACTORS[2], [photos[index] for index in before], cache)
    order = [*range(20), 4, 8]  # two of them twice
    shuffle.shuffle(order)
    paths = [photos[index] for index in order]
    table, _ = table_of(EXTRACTORS[2], paths, cache, batch_size=batch_size)
    for row, path in zip(table.features, paths, strict=True):
        feature = alone[path].feature
        np.testing.assert_array_equal(row, np.zeros(SIZE, np.float32) if feature is None else feature)
    assert sorted(order[index] for index in table.errors) == [3, 8, 8, 15]


def test_without_a_writer_the_store_stays_as_it_is(photos: list[str], tmp_path: Path) -> None:
    table, store = table_of(EXTRACTORS[1], photos, tmp_path / "cache", write=False)
    assert table.computed == 17
    assert len(store) == 0
    assert not (tmp_path / "cache").exists()


def test_adding_images_computes_only_those(photos: list[str], tmp_path: Path) -> None:
    good = [path for index, path in enumerate(photos) if index not in BROKEN]
    table_of(EXTRACTORS[2], good[:12], tmp_path)
    assert table_of(EXTRACTORS[2], good, tmp_path)[0].computed == 5


def test_a_file_that_changed_since_it_was_listed_is_an_error(photos: list[str], tmp_path: Path) -> None:
    paths = [shutil.copy(photos[index], tmp_path / f"{index}.png") for index in (0, 1, 2)]
    digests = digests_of(paths)
    shutil.copy(photos[4], paths[1])
    table, store = table_of(EXTRACTORS[2], paths, tmp_path / "cache", digests=digests)
    assert table.errors == {1: "changed while it was being read"}
    assert not table.features[1].any()
    found, _ = store.find([digest for digest in digests_of(paths) if digest is not None])
    assert found.tolist() == [True, False, True]


def test_a_file_that_became_readable_since_is_an_error_too(photos: list[str], tmp_path: Path) -> None:
    table, _ = table_of(EXTRACTORS[2], photos[:2], tmp_path, digests=[digests_of(photos[:1])[0], None])
    assert table.errors == {1: "changed while it was being read"}


def test_a_changed_image_of_the_same_name_and_size_is_computed_anew(photos: list[str], tmp_path: Path) -> None:
    # Promise 6: nothing but the bytes counts.
    path = tmp_path / "x.bmp"
    Image.new("RGB", (40, 40), "red").save(path)
    stamp = path.stat()
    red, _ = table_of(EXTRACTORS[2], [str(path)], tmp_path / "cache")
    Image.new("RGB", (40, 40), "blue").save(path)
    import os

    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    blue, _ = table_of(EXTRACTORS[2], [str(path)], tmp_path / "cache")
    assert blue.computed == 1
    assert not np.array_equal(red.features, blue.features)


def test_other_weights_or_preprocessing_or_precision_find_nothing(photos: list[str], tmp_path: Path) -> None:
    table_of(EXTRACTORS[1], photos[:2], tmp_path)
    runtime = Runtime(torch.device("cpu"), "fp32", 1, 1, 8)
    one = tiny_backbone()
    others = [
        Extractor(tiny_backbone(seed=1), runtime),
        Extractor(dataclasses.replace(one, preprocessing=dataclasses.replace(PREPROCESSING, resize=37)), runtime),
        Extractor(one, dataclasses.replace(runtime, precision="bf16")),
    ]
    for other in others:
        assert table_of(other, photos[:2], tmp_path)[0].computed == 2
    assert table_of(Extractor(tiny_backbone(), runtime), photos[:2], tmp_path)[0].computed == 0


def test_the_space_says_what_the_features_depend_on() -> None:
    space = EXTRACTORS[1].space
    backbone = EXTRACTORS[1].backbone
    assert (space.backbone, space.weights_sha256, space.layer) == ("tiny", backbone.weights_sha256, "penultimate")
    assert space.preprocessing == PREPROCESSING.to_json()
    assert (space.precision, space.device_type) == ("fp32", "cpu")


def test_progress_is_told_from_nothing_to_all(photos: list[str], tmp_path: Path) -> None:
    events: list[Event] = []
    table_of(EXTRACTORS[1], photos, tmp_path, emit=events.append)
    told = [(event.done, event.total, event.finished) for event in events if isinstance(event, Progress)]
    assert told == [(0, 20, False), (8, 20, False), (16, 20, False), (20, 20, False), (20, 20, True)]


def test_interrupted_work_is_not_lost(photos: list[str], tmp_path: Path) -> None:
    def emit(event: Event) -> None:
        if isinstance(event, Progress) and event.done == 8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        table_of(EXTRACTORS[1], photos, tmp_path, emit=emit)
    table, _ = table_of(EXTRACTORS[1], photos, tmp_path)
    assert table.computed == 17 - 7, "of the first eight, one is broken"


def test_bf16_features_are_float32_and_close(photos: list[str]) -> None:
    extractor = Extractor(tiny_backbone(), Runtime(torch.device("cpu"), "bf16", 1, 1, 8))
    (rows,) = list(extractor.stream(map(file_ref, photos[:2]), batch_size=8))
    plain = rows_of(photos[:2])
    for row, exact in zip(rows, plain, strict=True):
        assert row.feature is not None
        assert exact.feature is not None
        assert row.feature.dtype == np.float32
        assert not np.array_equal(row.feature, exact.feature)
        np.testing.assert_allclose(row.feature, exact.feature, rtol=0, atol=0.05)


def test_extraction_leaves_the_network_bit_for_bit(photos: list[str]) -> None:
    # Promise 1, buffers too: the running statistics of BatchNorm must not move.
    extractor = extractor_with()
    before = {name: tensor.clone() for name, tensor in extractor.backbone.network.state_dict().items()}
    list(extractor.stream(map(file_ref, photos), batch_size=8))
    after = extractor.backbone.network.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    assert not any(parameter.requires_grad for parameter in extractor.backbone.network.parameters())


# The real thing


def test_features_are_torchvisions_own_on_photographs(hymenoptera: Path) -> None:
    backbone = load_backbone("resnet18", "none", seed=3, emit=ignore)
    reference = models.resnet18(weights=None)
    reference.fc = nn.Identity()
    reference.load_state_dict(backbone.network.state_dict())
    reference.eval()
    preset = models.ResNet18_Weights.DEFAULT.transforms()
    paths = sorted(hymenoptera.glob("val/*/*.jpg"))[::20]
    extractor = Extractor(backbone, Runtime(torch.device("cpu"), "fp32", 1, 2, 8))
    rows = [row for batch in extractor.stream([file_ref(str(path)) for path in paths], batch_size=8) for row in batch]
    for path, row in zip(paths, rows, strict=True):
        with Image.open(path) as file, torch.no_grad():
            image = file.convert("RGB")
            expected = reference(preset(image)[None])[0]
        assert row.feature is not None
        assert torch.cosine_similarity(torch.from_numpy(row.feature), expected, dim=0) >= 0.99999
        own = extractor.forward([backbone.preprocessing.pixels(image, resizer="pillow")])[0]  # of the preset's pixels
        torch.testing.assert_close(torch.from_numpy(own), expected, rtol=1e-4, atol=1e-5)


def test_rows_of_known_stored_and_unknown_images_come_in_their_order(
    photos: list[str], alone: dict[str, FeatureRow], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks of images that are looked up at once, some stored, between images whose hashes are not known."""
    monkeypatch.setattr("featcli.features.extraction._BLOCK", 3)
    extractor = EXTRACTORS[2]
    store = FeatureStore(tmp_path / "cache", extractor.space, SIZE, ignore)
    with store.writer({}) as writer:
        for path in photos[::2]:
            row = alone[path]
            if row.digest is not None and row.feature is not None:
                writer.add(row.digest, row.feature)
    store.refresh()
    refs = [file_ref(path, alone[path].digest if index % 7 else None) for index, path in enumerate(photos)]
    batches = list(extractor.stream(refs, batch_size=4, store=store))
    rows = [row for batch in batches for row in batch]
    assert [bits(row) for row in rows] == [bits(alone[path]) for path in photos]
    assert {row.path for row in rows if row.stored} == {path for path in photos[::2] if alone[path].feature is not None}
