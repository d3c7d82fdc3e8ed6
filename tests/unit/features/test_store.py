from __future__ import annotations

import hashlib
import itertools
import json
import multiprocessing
import os
import re
import resource
import signal
import time
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featcli.errors import StorageError
from featcli.events import Event, Warn, ignore
from featcli.features.place import NO_CACHE
from featcli.features.store import FeatureStore, Space
from tests.unit.features.lab import SPACE, WIDTH, digest, ended, feature, in_child, segments


def fill(cache: Path, names: list[str], space: Space = SPACE) -> None:
    """One segment with these rows."""
    with FeatureStore(cache, space, WIDTH, ignore).writer({"path": "plain"}) as writer:
        for name in names:
            writer.add(digest(name), feature(name))


def opened(cache: Path, space: Space = SPACE, **options: Any) -> tuple[FeatureStore, list[Event]]:
    events: list[Event] = []
    return FeatureStore(cache, space, options.pop("width", WIDTH), events.append, **options), events


# Round trip


def test_what_was_written_is_found_bit_for_bit(tmp_path: Path) -> None:
    row = np.array([0.0, -0.0, 1e-45, -3.4e38, 1 / 3], dtype=np.float32)
    with FeatureStore(tmp_path, SPACE, WIDTH, ignore).writer({}) as writer:
        writer.add(digest("a"), row)
    store, events = opened(tmp_path)
    found = store.get(digest("a"))
    assert found is not None
    assert found.dtype == np.float32
    assert found.tobytes() == row.tobytes()
    assert store.get(digest("b")) is None
    assert events == []


def test_an_empty_store_finds_nothing_and_makes_no_folder(tmp_path: Path) -> None:
    store, events = opened(tmp_path / "cache")
    found, rows = store.find([digest("a"), digest("b")])
    assert found.tolist() == [False, False]
    assert rows.shape == (2, WIDTH)
    assert (len(store), events, (tmp_path / "cache").exists()) == (0, [], False)


def test_nothing_to_look_up(tmp_path: Path) -> None:
    fill(tmp_path, ["a"])
    found, rows = opened(tmp_path)[0].find([])
    assert found.shape == (0,)
    assert rows.shape == (0, WIDTH)


def test_nothing_to_write_writes_no_segment(tmp_path: Path) -> None:
    fill(tmp_path, [])
    assert segments(tmp_path) == []


# Few byte values, many zeros at the end: numpy's strings drop those.
keys = st.builds(
    lambda body: bytes(body).ljust(32, b"\0"), st.lists(st.sampled_from([0, 0, 1, 127, 128, 255]), max_size=32)
)


@pytest.mark.slow
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    parts=st.lists(st.dictionaries(keys, st.integers(0, 2**31), max_size=12), max_size=5),
    wanted=st.lists(keys, max_size=12),
)
def test_the_store_is_a_dictionary(
    parts: list[dict[bytes, int]], wanted: list[bytes], tmp_path_factory: pytest.TempPathFactory
) -> None:
    cache = tmp_path_factory.mktemp("store")
    truth: dict[bytes, np.ndarray] = {}
    for part in parts:
        with FeatureStore(cache, SPACE, WIDTH, ignore).writer({}) as writer:
            for key, seed in part.items():
                # A key has one feature in any number of segments, as it is the hash of what it was computed from.
                row = truth.setdefault(key, np.random.default_rng(seed).normal(size=WIDTH).astype(np.float32))
                writer.add(key, row)
    store, events = opened(cache)
    assert events == []
    assert len(store) == sum(len(part) for part in parts)
    lookup = [*truth, *wanted, *truth]
    found, rows = store.find(lookup)
    assert found.tolist() == [key in truth for key in lookup]
    expected = [truth.get(key, np.zeros(WIDTH, np.float32)) for key in lookup]
    np.testing.assert_array_equal(rows, np.array(expected, dtype=np.float32).reshape(-1, WIDTH))
    for key in lookup:
        row = store.get(key)
        assert (row is None) == (key not in truth)


def test_the_same_row_twice_in_one_segment(tmp_path: Path) -> None:
    fill(tmp_path, ["a", "b", "a", "a"])
    store, _ = opened(tmp_path)
    np.testing.assert_array_equal(store.find([digest("a"), digest("b")])[1], [feature("a"), feature("b")])


@pytest.mark.slow
def test_many_segments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featcli.features.merging._MANY_SEGMENTS", 60)
    names = [f"image{index}" for index in range(60)]
    for name in names:
        fill(tmp_path, [name])
    assert len(segments(tmp_path)) == 60
    found, rows = opened(tmp_path)[0].find([digest(name) for name in reversed(names)])
    assert found.all()
    np.testing.assert_array_equal(rows, [feature(name) for name in reversed(names)])


def test_a_writer_writes_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featcli.features.store._SEGMENT_ROWS", 4)
    with FeatureStore(tmp_path, SPACE, WIDTH, ignore).writer({}) as writer:
        for index in range(10):
            writer.add(digest(str(index)), feature(str(index)))
            assert len(opened(tmp_path)[0]) == (index + 1) // 4 * 4
    assert len(opened(tmp_path)[0]) == 10


def test_refresh_sees_what_others_wrote(tmp_path: Path) -> None:
    fill(tmp_path, ["a"])
    store, _ = opened(tmp_path)
    fill(tmp_path, ["b"])
    assert store.get(digest("b")) is None
    store.refresh()
    store.refresh()
    assert store.get(digest("b")) is not None
    assert len(store) == 2


def test_rows_that_were_added_are_not_views_of_the_callers_array(tmp_path: Path) -> None:
    batch = np.stack([feature("a"), feature("b")])
    with FeatureStore(tmp_path, SPACE, WIDTH, ignore).writer({}) as writer:
        writer.add(digest("a"), batch[0])
        batch[0] = 0  # a reused buffer
    np.testing.assert_array_equal(opened(tmp_path)[0].get(digest("a")), feature("a"))


# What is accepted


@pytest.mark.parametrize(
    ("key", "row"),
    [
        (digest("a"), feature("a").astype(np.float64)),
        (digest("a"), feature("a").astype(np.float16)),
        (digest("a"), feature("a", WIDTH + 1)),
        (digest("a"), feature("a")[None]),
        (digest("a")[:31], feature("a")),
        (digest("a") + b"\0", feature("a")),
    ],
    ids=["float64", "float16", "too wide", "two axes", "short key", "long key"],
)
def test_a_writer_refuses_what_a_reader_would(tmp_path: Path, key: bytes, row: np.ndarray) -> None:
    with FeatureStore(tmp_path, SPACE, WIDTH, ignore).writer({}) as writer:
        with pytest.raises(ValueError, match="32 bytes and float32"):
            writer.add(key, row)
        writer.add(digest("good"), feature("good"))
    store, events = opened(tmp_path)
    assert events == []
    assert len(store) == 1


def checksum(keys: np.ndarray, features: np.ndarray) -> dict[str, str]:
    return {"sha256": hashlib.sha256(keys.tobytes() + features.tobytes()).hexdigest()}


def foreign(keys: np.ndarray, features: np.ndarray, metadata: dict[str, str] | None = None) -> bytes:
    values = {"keys": keys, "features": features}
    return safetensors.numpy.save(values, metadata=checksum(keys, features) if metadata is None else metadata)


KEYS = np.frombuffer(digest("a") + digest("b"), dtype=np.uint8).reshape(2, 32)
ROWS = np.stack([feature("a"), feature("b")])


def test_the_format_is_what_the_design_says(tmp_path: Path) -> None:
    fill(tmp_path, ["a", "b"])
    (path,) = segments(tmp_path)
    with safetensors.safe_open(path, framework="numpy") as file:
        np.testing.assert_array_equal(file.get_tensor("keys"), KEYS)
        np.testing.assert_array_equal(file.get_tensor("features"), ROWS)
        metadata = file.metadata()
        blocks = file.get_tensor("blocks")
    assert metadata["sha256"] == checksum(KEYS, ROWS)["sha256"]
    assert blocks.tobytes() == hashlib.sha256(ROWS.tobytes()).digest()
    index = metadata.pop("index_sha256")
    others = json.dumps(metadata, sort_keys=True).encode()
    assert index == hashlib.sha256(KEYS.tobytes() + blocks.tobytes() + others).hexdigest()
    assert int(metadata["block_rows"]) == (1 << 17) // (4 * WIDTH)
    assert metadata["provenance"] == '{"path": "plain"}'
    path.write_bytes(foreign(KEYS, ROWS))  # and what is written by hand is read
    np.testing.assert_array_equal(opened(tmp_path)[0].get(digest("b")), ROWS[1])


def bfloat16_keys() -> bytes:
    header = {
        "keys": {"dtype": "BF16", "shape": [2, 32], "data_offsets": [0, 128]},
        "features": {"dtype": "F32", "shape": [2, WIDTH], "data_offsets": [128, 128 + 8 * WIDTH]},
    }
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + bytes(128 + 8 * WIDTH)


FOREIGN: dict[str, bytes] = {
    "empty": b"",
    "garbage": b"garbage" * 100,
    "float64": foreign(KEYS, ROWS.astype(np.float64)),
    "float16": foreign(KEYS, ROWS.astype(np.float16)),
    "int32": foreign(KEYS, ROWS.view(np.int32)),
    "too wide": foreign(KEYS, np.zeros((2, WIDTH + 1), np.float32)),
    "too few rows": foreign(KEYS, ROWS[:1]),
    "one axis": foreign(KEYS, ROWS.reshape(-1)),
    "no rows": foreign(KEYS[:0], ROWS[:0]),
    "short keys": foreign(np.ascontiguousarray(KEYS[:, :31]), ROWS),
    "signed keys": foreign(KEYS.view(np.int8), ROWS),
    "bfloat16 keys": bfloat16_keys(),
    "no checksum": foreign(KEYS, ROWS, {}),
    "wrong checksum": foreign(KEYS, ROWS, {"sha256": "0" * 64}),
    "no keys": safetensors.numpy.save({"features": ROWS}),
    "no features": safetensors.numpy.save({"keys": KEYS}, metadata=checksum(KEYS, ROWS)),
    "other tensors": safetensors.numpy.save({"weight": ROWS}),
    "scalar": safetensors.numpy.save({"keys": KEYS, "features": np.array(1, np.float32)}),
}


FOUND_IN_USE = ("wrong checksum",)  # the others at opening


@pytest.mark.parametrize("name", FOREIGN)
def test_a_damaged_or_foreign_segment_is_set_aside_said_once_and_written_anew(tmp_path: Path, name: str) -> None:
    fill(tmp_path, ["a", "b"])
    fill(tmp_path, ["c"])
    bad = max(segments(tmp_path), key=lambda path: path.stat().st_size)
    bad.write_bytes(FOREIGN[name])
    store, events = opened(tmp_path)
    assert len(events) == (name not in FOUND_IN_USE)
    assert [store.get(digest(key)) is None for key in "abc"] == [True, True, False]
    (event,) = events
    assert isinstance(event, Warn)
    assert event.text.startswith("damaged segment in the feature store (")
    assert str(bad) in event.text
    (aside,) = tmp_path.rglob("*.corrupt-*")
    assert aside.name in event.text
    assert aside.read_bytes() == FOREIGN[name]
    store.refresh()
    assert len(events) == 1
    assert opened(tmp_path)[1] == []
    fill(tmp_path, ["a", "b"])
    np.testing.assert_array_equal(opened(tmp_path)[0].find([digest("a"), digest("b")])[1], ROWS)


def test_read_only_leaves_a_damaged_segment_where_it_is(tmp_path: Path) -> None:
    fill(tmp_path, ["a"])
    (path,) = segments(tmp_path)
    path.write_bytes(path.read_bytes()[:-1])
    before = sorted(tmp_path.rglob("*"))
    store, events = opened(tmp_path, read_only=True)
    assert store.get(digest("a")) is None
    assert [type(event) for event in events] == [Warn]
    assert "left where it is" in str(events[0])
    assert sorted(tmp_path.rglob("*")) == before


@pytest.fixture(scope="module")
def a_segment(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    cache = tmp_path_factory.mktemp("segment")
    fill(cache, ["a", "b"])
    return segments(cache)[0].read_bytes()


@pytest.mark.slow
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_no_damage_gives_a_wrong_feature_or_a_crash(
    data: st.DataObject, a_segment: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    damaged = bytearray(a_segment)
    if data.draw(st.booleans(), "cut"):
        del damaged[data.draw(st.integers(0, len(damaged) - 1), "length") :]
    for _ in range(data.draw(st.integers(0, 3), "flips")):
        if damaged:
            damaged[data.draw(st.integers(0, len(damaged) - 1), "place")] ^= 1 << data.draw(st.integers(0, 7), "bit")
    cache = tmp_path_factory.mktemp("damaged")
    folder = cache / "features" / "v1" / SPACE.key
    folder.mkdir(parents=True)
    (folder / "x.safetensors").write_bytes(damaged)
    store, events = opened(cache)
    for name in "ab":
        row = store.get(digest(name))
        assert row is None if events else row is not None
        if row is not None:
            assert row.tobytes() == feature(name).tobytes()


def test_temporary_files_of_a_killed_writer_are_not_read(tmp_path: Path) -> None:
    fill(tmp_path, ["a"])
    (path,) = segments(tmp_path)
    (path.parent / f".{path.name}.0123.tmp").write_bytes(b"half")
    (path.parent / "notes.txt").write_text("")
    assert opened(tmp_path)[1] == []


# Promise 6


CHANGES: dict[str, list[Any]] = {
    "backbone": ["resnet34"],
    "weights_sha256": ["01" * 32],
    "arguments": [{"transform_input": True}],
    "preprocessing": [
        SPACE.preprocessing | {"resize": 255},
        SPACE.preprocessing | {"crop": 223},
        SPACE.preprocessing | {"interpolation": "bicubic"},
        SPACE.preprocessing | {"mean": [0.5, 0.5, 0.5000001]},
        SPACE.preprocessing | {"std": [0.5, 0.4999999, 0.5]},
        SPACE.preprocessing | {"range": [0, 4095]},
    ],
    "layer": ["layer3"],
    "pixel_pipeline": [2],
    "precision": ["bf16", "fp16"],
    "device_type": ["cuda", "mps"],
    "engine": ["openvino", "compile"],
}


def test_every_field_of_a_space_is_tried_below() -> None:
    assert {field.name for field in fields(Space)} == set(CHANGES)


@pytest.mark.parametrize(("field", "value"), [(field, value) for field in CHANGES for value in CHANGES[field]])
def test_a_feature_of_another_space_is_never_found(tmp_path: Path, field: str, value: Any) -> None:
    fill(tmp_path, ["a"])
    other = replace(SPACE, **{field: value})
    assert opened(tmp_path, other)[0].get(digest("a")) is None
    assert len(opened(tmp_path)[0]) == 1
    assert opened(tmp_path, replace(SPACE))[0].get(digest("a")) is not None


def test_a_feature_of_another_image_is_never_found(tmp_path: Path) -> None:
    fill(tmp_path, ["a"])
    store, _ = opened(tmp_path)
    for place in range(32):
        key = bytearray(digest("a"))
        key[place] ^= 1
        assert store.get(bytes(key)) is None


def test_the_key_does_not_depend_on_the_order_of_the_preprocessing() -> None:
    shuffled = dict(reversed(SPACE.preprocessing.items()))
    assert replace(SPACE, preprocessing=shuffled).key == SPACE.key


def test_the_space_is_described_beside_its_segments(tmp_path: Path) -> None:
    fill(tmp_path, ["a"])
    (described,) = tmp_path.rglob("space.json")
    assert json.loads(described.read_text()) == SPACE.to_json()


# Interruption, several processes, disks


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, SystemExit])
def test_an_interrupted_writer_keeps_its_rows(tmp_path: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), FeatureStore(tmp_path, SPACE, WIDTH, ignore).writer({}) as writer:
        writer.add(digest("a"), feature("a"))
        raise error
    np.testing.assert_array_equal(opened(tmp_path)[0].get(digest("a")), feature("a"))


def test_writers_at_once_lose_nothing(tmp_path: Path) -> None:
    go = multiprocessing.get_context("fork").Barrier(2, timeout=20)

    def write(prefix: str) -> None:
        store = FeatureStore(tmp_path, SPACE, WIDTH, ignore)
        go.wait()
        for turn in range(10):
            with store.writer({}) as writer:
                for index in range(turn * 5, turn * 5 + 5):
                    writer.add(digest(f"{prefix}{index}"), feature(f"{prefix}{index}"))
                    writer.add(digest(str(index)), feature(str(index)))  # both write these
            store.refresh()

    processes = [in_child(lambda prefix=prefix: write(prefix)) for prefix in ("one", "two")]
    assert [ended(process) for process in processes] == [0, 0]
    store, events = opened(tmp_path)
    assert events == []
    names = [prefix + str(index) for prefix in ("one", "two", "") for index in range(50)]
    found, rows = store.find([digest(name) for name in names])
    assert found.all()
    np.testing.assert_array_equal(rows, [feature(name) for name in names])
    assert len(segments(tmp_path)) <= 20  # 20 were written, and merged where 17 were seen
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_killed_writer_leaves_whole_segments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featcli.features.store._SEGMENT_ROWS", 10)

    def write() -> None:
        with FeatureStore(tmp_path, SPACE, WIDTH, ignore).writer({}) as writer:
            for index in itertools.count():
                writer.add(digest(str(index)), feature(str(index)))

    for wait in (0.0, 0.01, 0.02, 0.03):
        before = len(segments(tmp_path))
        process = in_child(write)
        while len(segments(tmp_path)) == before:
            assert process.is_alive()
            time.sleep(0.002)
        time.sleep(wait)
        process.kill()
        assert ended(process) == -signal.SIGKILL
        store, events = opened(tmp_path)
        assert events == []
        assert len(store) == 10 * len(segments(tmp_path))
        first_ten = [str(index) for index in range(10)]
        found, rows = store.find([digest(name) for name in first_ten])
        assert found.all()
        np.testing.assert_array_equal(rows, [feature(name) for name in first_ten])


def test_a_full_disk_is_one_error_and_leaves_no_half_segment(tmp_path: Path) -> None:
    fill(tmp_path, ["old"])
    said = tmp_path / "said"

    def write() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
        try:
            with FeatureStore(tmp_path, SPACE, WIDTH, ignore).writer({}) as writer:
                for index in range(1000):
                    writer.add(digest(str(index)), feature(str(index)))
        except StorageError as error:
            said.write_text(error.message)

    assert ended(in_child(write)) == 0
    assert re.fullmatch(rf"cannot write {tmp_path}/.*\.safetensors: File too large", said.read_text())
    store, events = opened(tmp_path)
    assert events == []
    assert len(store) == 1
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize("block", ["", "features", "features/v1", f"features/v1/{SPACE.key}"])
def test_a_file_in_the_way_is_a_storage_error(tmp_path: Path, block: str) -> None:
    cache = tmp_path / "cache"
    in_the_way = cache / block
    in_the_way.parent.mkdir(parents=True, exist_ok=True)
    in_the_way.write_text("mine")
    store, _ = opened(cache)
    assert store.get(digest("a")) is None
    with pytest.raises(StorageError, match=str(cache)) as caught:
        store.writer({})
    assert caught.value.hint is not None
    assert "--cache" in caught.value.hint
    assert in_the_way.read_text() == "mine"


def require_refused(cache: Path) -> None:
    """What is stored is found, and what is new is not kept, which is said once."""
    store, events = opened(cache)
    with store.writer({}) as writer:
        writer.add(digest("b"), feature("b"))
        writer.add(digest("c"), feature("c"))
    (event,) = events
    assert isinstance(event, Warn)
    assert "features are computed and not kept: --cache or FEATCLI_CACHE names another" in event.text
    assert store.get(digest("b")) is None


def test_a_store_where_nobody_may_write_is_a_warning() -> None:
    require_refused(Path("/proc/1/no-such-place" if not os.path.isdir("/sys") else "/sys/featcli"))


def test_a_user_without_a_home_has_no_store() -> None:
    require_refused(NO_CACHE)


def test_a_folder_without_permission_is_read(tmp_path: Path) -> None:
    fill(tmp_path, ["a"])
    folder = segments(tmp_path)[0].parent
    folder.chmod(0o555)
    if os.access(folder, os.W_OK):
        folder.chmod(0o755)
        pytest.skip("root writes everywhere")
    try:
        require_refused(tmp_path)
    finally:
        folder.chmod(0o755)


def test_a_segment_that_goes_away_is_not_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, ["a"])
    fill(tmp_path, ["b"])
    gone = segments(tmp_path)[0]
    listing = Path.iterdir

    def iterdir(self: Path) -> Any:
        names = list(listing(self))
        gone.unlink(missing_ok=True)  # between the listing and the opening
        return iter(names)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    store, events = opened(tmp_path)
    assert events == []
    assert len(store) == 1


def test_what_is_open_stays_readable_when_it_is_removed(tmp_path: Path) -> None:
    fill(tmp_path, ["a"])
    store, _ = opened(tmp_path)
    for path in segments(tmp_path):
        path.unlink()
    np.testing.assert_array_equal(store.get(digest("a")), feature("a"))
