"""One segment: its two formats, and that no damaged row is ever used, though features are checked only when used."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from featcli.events import Event, ignore
from featcli.features import segments as segments_module
from featcli.features.maintenance import verify_store
from featcli.features.merging import merge_segments
from featcli.features.segments import Segment, write_segment
from featcli.features.store import FeatureStore, Space, space_folder
from tests.unit.features import lab
from tests.unit.features.lab import digest

WIDTH = 3
BLOCK_ROWS = 2
NAMES = "abcdefg"  # four blocks, the last one of one row
SPACE = Space("resnet18", "00" * 32, {}, {}, "penultimate", 1, "fp32", "cpu")
PROVENANCE = '{"path": "plain", "versions": {}}'


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments_module, "_BLOCK_BYTES", 4 * WIDTH * BLOCK_ROWS)


def feature(name: str) -> np.ndarray:
    return lab.feature(name, WIDTH)


def keys_of(names: Sequence[str]) -> np.ndarray:
    return np.frombuffer(b"".join(map(digest, names)), dtype=np.uint8).reshape(-1, 32)


def rows_of(names: Sequence[str]) -> np.ndarray:
    return np.stack([feature(name) for name in names])


def write_new(path: Path, names: Sequence[str]) -> None:
    write_segment(path, keys_of(names), [rows_of(names)], WIDTH, PROVENANCE)


def write_old(path: Path, names: Sequence[str]) -> None:
    """As the writer of commit 761b38b wrote a segment."""
    keys, features = keys_of(names), rows_of(names)
    metadata = {"sha256": old_checksum(keys, features), "provenance": PROVENANCE}
    path.write_bytes(safetensors.numpy.save({"keys": keys, "features": features}, metadata=metadata))


def write_old_merged(path: Path, names: Sequence[str]) -> None:
    """As its merger wrote one: keys first, sorted."""
    names = sorted(names, key=digest)
    keys, features = keys_of(names), rows_of(names)
    split, end = keys.nbytes, keys.nbytes + features.nbytes
    facts = {
        "__metadata__": {"sha256": old_checksum(keys, features), "provenance": PROVENANCE},
        "keys": {"dtype": "U8", "shape": [len(names), 32], "data_offsets": [0, split]},
        "features": {"dtype": "F32", "shape": [len(names), WIDTH], "data_offsets": [split, end]},
    }
    text = json.dumps(facts).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(len(text).to_bytes(8, "little") + text + keys.tobytes() + features.tobytes())


def old_checksum(keys: np.ndarray, features: np.ndarray) -> str:
    return hashlib.sha256(keys.tobytes() + features.tobytes()).hexdigest()


def read_as_of_old(path: Path, feature_size: int) -> dict[bytes, bytes]:
    """The rows of a segment by the checks of commit 761b38b, one for one."""
    with safetensors.safe_open(path, framework="numpy") as file:
        metadata = file.metadata() or {}
        keys = file.get_tensor("keys")
    with path.open("rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        entry = json.loads(stream.read(length))["features"]
    assert entry["dtype"] == "F32"
    offset = 8 + length + entry["data_offsets"][0]
    features = np.memmap(path, dtype="<f4", mode="r", offset=offset, shape=tuple(entry["shape"]))
    assert keys.dtype == np.uint8
    assert keys.shape[1:] == (32,)
    assert features.shape == (len(keys), feature_size)
    assert metadata["sha256"] == old_checksum(keys, features)
    assert metadata["provenance"]
    return {bytes(key): row.tobytes() for key, row in zip(keys, features, strict=True)}


WRITERS: dict[str, Callable[[Path, Sequence[str]], None]] = {
    "new": write_new,
    "old": write_old,
    "old, merged": write_old_merged,
}
TRUTH = {digest(name): feature(name).tobytes() for name in NAMES}


def segment_path(cache: Path, name: str = "x") -> Path:
    folder = space_folder(cache, SPACE)
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{name}.safetensors"


def opened(cache: Path, *, read_only: bool = False) -> tuple[FeatureStore, list[Event]]:
    events: list[Event] = []
    return FeatureStore(cache, SPACE, WIDTH, events.append, read_only=read_only), events


def regions(path: Path) -> dict[str, range]:
    """Where in the file its parts lie."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:start])
    found = {"length": range(8), "header": range(8, start)}
    for name, entry in header.items():
        if name != "__metadata__":
            found[name] = range(*(start + offset for offset in entry["data_offsets"]))
    for name, value in header["__metadata__"].items():
        place = data.index(json.dumps(value).encode()) + 1
        found[f"metadata {name}"] = range(place, place + len(json.dumps(value)) - 2)
    return found


def flip(path: Path, place: int, mask: int = 1) -> None:
    data = bytearray(path.read_bytes())
    data[place] ^= mask
    path.write_bytes(data)


def feature_byte(path: Path, name: str) -> int:
    """The place of the first byte of a row, found by its value."""
    return path.read_bytes().index(feature(name).tobytes())


def requires_right_or_nothing(store: FeatureStore, names: Sequence[str]) -> list[bool]:
    """Which of the names are found, by `get` and by `find`; what is found is right."""
    for name in names:
        row = store.get(digest(name))
        assert row is None or row.tobytes() == feature(name).tobytes()
    found, rows = store.find([digest(name) for name in names])
    for name, hit, row in zip(names, found, rows, strict=True):
        assert row.tobytes() == (feature(name).tobytes() if hit else bytes(4 * WIDTH))
    return [bool(hit) for hit in found]


# Two formats


def test_an_older_featcli_reads_what_this_one_writes(tmp_path: Path) -> None:
    with FeatureStore(tmp_path, SPACE, WIDTH, ignore).writer({}) as writer:
        for name in NAMES:
            writer.add(digest(name), feature(name))
    (path,) = tmp_path.rglob("*.safetensors")
    assert read_as_of_old(path, WIDTH) == TRUTH


def test_an_older_featcli_reads_what_this_one_merges(tmp_path: Path) -> None:
    for index in range(17):
        # Neither 2 nor 3 rows fill whole blocks, so that blocks are cut across sources.
        write = write_old if index % 2 else write_new
        write(segment_path(tmp_path, f"{index:02}"), [f"{index}-{row}" for row in range(2 + index % 2)] + ["shared"])
    merge_segments(space_folder(tmp_path, SPACE), WIDTH)
    (path,) = tmp_path.rglob("*.safetensors")
    names = [f"{index}-{row}" for index in range(17) for row in range(2 + index % 2)]
    names.insert(2, "shared")  # once, and in the order in which they were added
    assert list(read_as_of_old(path, WIDTH)) == [digest(name) for name in names]
    assert read_as_of_old(path, WIDTH) == {digest(name): feature(name).tobytes() for name in names}
    store, events = opened(tmp_path)
    assert requires_right_or_nothing(store, names) == [True] * len(names)
    assert verify_store(tmp_path).corrupt == ()
    assert events == []
    assert len(safetensors.numpy.load(path.read_bytes())["blocks"]) == -(-len(names) // BLOCK_ROWS)


@pytest.mark.parametrize("writer", WRITERS)
def test_both_formats_are_read(tmp_path: Path, writer: str) -> None:
    WRITERS[writer](segment_path(tmp_path), NAMES)
    store, events = opened(tmp_path)
    assert len(store) == len(NAMES)
    assert requires_right_or_nothing(store, [*NAMES, "else", *NAMES]) == [*[True] * 7, False, *[True] * 7]
    assert verify_store(tmp_path).corrupt == ()
    assert events == []


@pytest.mark.parametrize("rows", [1, 2, 3, 6, 7])
@pytest.mark.parametrize("part", [1, 2, 3, 5, 7])
def test_the_parts_that_are_written_leave_no_trace(tmp_path: Path, rows: int, part: int) -> None:
    names = NAMES[:rows]
    write_new(tmp_path / "whole", names)
    parts = [rows_of(names[start : start + part]) for start in range(0, rows, part)]
    write_segment(tmp_path / "parts", keys_of(names), parts, WIDTH, PROVENANCE)
    assert (tmp_path / "parts").read_bytes() == (tmp_path / "whole").read_bytes()
    Segment.open(tmp_path / "parts", WIDTH).verify()


# Damage


@pytest.mark.slow
@pytest.mark.parametrize("writer", WRITERS)
def test_no_flipped_byte_is_used_unseen(tmp_path: Path, writer: str) -> None:
    """Every byte of a file in its turn."""
    path = segment_path(tmp_path)
    WRITERS[writer](path, NAMES)
    sound, parts = path.read_bytes(), regions(path)
    places = [place for name, part in parts.items() if not name.startswith("metadata") for place in part]
    assert sorted(places) == list(range(len(sound)))
    for place in places:
        path.write_bytes(sound)
        flip(path, place, 1 << place % 8)
        store, events = opened(tmp_path, read_only=True)
        at_opening = len(events)
        found = requires_right_or_nothing(store, NAMES)
        assert len(events) <= 1
        assert found == [not events] * len(NAMES)
        if place in parts["features"]:
            assert (at_opening, len(events)) == (0, 1)
        elif place in parts["keys"] or place in parts.get("blocks", ()):
            assert (at_opening, len(events)) == (writer == "new", 1)
        elif writer == "new" and any(place in parts[name] for name in parts if name.startswith("metadata")):
            assert at_opening == 1
        assert bool(verify_store(tmp_path).corrupt) == bool(events)


@pytest.mark.parametrize("victim", "adg")
def test_damage_disturbs_only_those_who_use_it(tmp_path: Path, victim: str) -> None:
    """In the first block, in one in the middle, in the last."""
    path = segment_path(tmp_path)
    write_new(path, NAMES)
    flip(path, feature_byte(path, victim))
    block = NAMES.index(victim) // BLOCK_ROWS
    others = [name for index, name in enumerate(NAMES) if index // BLOCK_ROWS != block]
    store, events = opened(tmp_path)
    assert requires_right_or_nothing(store, others) == [True] * len(others)
    assert events == []
    assert [(bad, reason) for bad, reason in verify_store(tmp_path).corrupt] == [(path, "its checksum is wrong")]
    assert requires_right_or_nothing(store, [victim]) == [False]
    assert requires_right_or_nothing(store, NAMES) == [False] * len(NAMES)  # it is used no more
    (event,) = events
    aside = next(tmp_path.rglob("*.corrupt-*"))
    assert f"(its checksum is wrong): {path}; set aside as {aside.name}" in str(event)
    store.refresh()
    assert (len(store), len(events)) == (0, 1)
    with store.writer({}) as writer:  # and its rows are computed anew
        writer.add(digest(victim), feature(victim))
    store.refresh()
    assert requires_right_or_nothing(store, [victim]) == [True]


@pytest.mark.parametrize("writer", WRITERS)
def test_a_row_that_is_damaged_in_one_segment_is_taken_from_another(tmp_path: Path, writer: str) -> None:
    for name in ("one", "two"):
        WRITERS[writer](segment_path(tmp_path, name), NAMES)
    path = segment_path(tmp_path, "one")
    flip(path, feature_byte(path, "d"))
    store, events = opened(tmp_path)
    found, rows = store.find([digest(name) for name in NAMES])
    assert found.all()
    np.testing.assert_array_equal(rows, rows_of(NAMES))
    assert len(events) == 1


def test_what_is_found_in_one_segment_is_not_read_from_another(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_new(segment_path(tmp_path, name), NAMES)
    path = segment_path(tmp_path, "two")
    flip(path, feature_byte(path, "d"))
    store, events = opened(tmp_path)
    assert requires_right_or_nothing(store, [*NAMES, "else"]) == [*[True] * len(NAMES), False]
    assert events == []


@pytest.mark.parametrize("writer", WRITERS)
def test_opening_reads_no_feature(tmp_path: Path, writer: str) -> None:
    path = segment_path(tmp_path)
    WRITERS[writer](path, NAMES)
    data, place = bytearray(path.read_bytes()), regions(path)["features"]
    data[place.start : place.stop] = b"\xff" * len(place)
    path.write_bytes(data)
    store, events = opened(tmp_path)
    assert (len(store), events) == (len(NAMES), [])
    assert requires_right_or_nothing(store, NAMES) == [False] * len(NAMES)
    assert len(events) == 1


@pytest.mark.parametrize(("writer", "blocks"), [("new", [1, 1, 1, 2, 4, 4]), ("old", [1] * 6)])
def test_a_block_is_checked_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: str, blocks: list[int]
) -> None:
    WRITERS[writer](segment_path(tmp_path), NAMES)
    checked: list[int] = []
    real = segments_module._Checksums.hold
    monkeypatch.setattr(
        segments_module._Checksums, "hold", lambda self, block, rows: checked.append(block) or real(self, block, rows)
    )
    store, _ = opened(tmp_path)
    assert checked == []
    counts = []
    for names in ("a", "a", "ab", "ac", NAMES, NAMES):
        store.find([digest(name) for name in names])
        counts.append(len(checked))
    assert counts == blocks
    assert len(set(checked)) == len(checked)


@pytest.mark.parametrize("writer", WRITERS)
def test_threads_at_once_never_get_a_damaged_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: str) -> None:
    """All of them come while the first one still hashes."""
    path = segment_path(tmp_path)
    WRITERS[writer](path, NAMES)
    flip(path, feature_byte(path, "c"))
    real = segments_module._Checksums.hold

    def slow(self: object, block: int, rows: np.ndarray) -> bool:
        time.sleep(0.02)
        return real(self, block, rows)

    monkeypatch.setattr(segments_module._Checksums, "hold", slow)
    store, events = opened(tmp_path)
    go = threading.Barrier(8, timeout=20)

    def use(turn: int) -> None:
        go.wait()
        for name in ("cdcd", "acg", "gfedcba", "bc")[turn % 4]:
            row = store.get(digest(name))
            assert row is None or (name != "c" and row.tobytes() == feature(name).tobytes())

    with ThreadPoolExecutor(8) as threads:
        for done in [threads.submit(use, turn) for turn in range(8)]:
            done.result()
    assert len(events) == 1
    assert len(list(tmp_path.rglob("*.corrupt-*"))) == 1
    assert len(store) == 0


@pytest.mark.parametrize("writer", WRITERS)
def test_threads_at_once_check_a_block_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: str) -> None:
    WRITERS[writer](segment_path(tmp_path), NAMES)
    real = segments_module._Checksums.hold
    checked: list[int] = []

    def slow(self: object, block: int, rows: np.ndarray) -> bool:
        checked.append(block)
        time.sleep(0.02)
        return real(self, block, rows)

    monkeypatch.setattr(segments_module._Checksums, "hold", slow)
    store, _ = opened(tmp_path)
    go = threading.Barrier(8, timeout=20)

    def use(_: int) -> np.ndarray | None:
        go.wait()
        return store.get(digest("a"))

    with ThreadPoolExecutor(8) as threads:
        for row in threads.map(use, range(8)):
            np.testing.assert_array_equal(row, feature("a"))
    assert len(checked) == 1


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("victim", NAMES)
def test_no_merge_launders_damage(tmp_path: Path, writer: str, victim: str) -> None:
    for index in range(17):
        write_new(segment_path(tmp_path, f"{index:02}"), [f"{index}"])
    path = segment_path(tmp_path, "victim")
    WRITERS[writer](path, NAMES)
    flip(path, feature_byte(path, victim))
    damaged = path.read_bytes()
    merge_segments(space_folder(tmp_path, SPACE), WIDTH)
    assert len(list(tmp_path.rglob("*.safetensors"))) == 2
    assert path.read_bytes() == damaged
    assert [bad for bad, _ in verify_store(tmp_path).corrupt] == [path]
    store, events = opened(tmp_path)
    assert requires_right_or_nothing(store, [*NAMES, "0", "16"]) == [False] * 7 + [True] * 2
    assert len(events) == 1
