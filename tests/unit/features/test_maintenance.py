from __future__ import annotations

import itertools
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy

from featcli.errors import StorageError
from featcli.events import Event, ignore
from featcli.features import merging
from featcli.features import store as store_module
from featcli.features.maintenance import clear_store, list_spaces, prune_store, verify_store
from featcli.features.merging import merge_segments
from featcli.features.segments import segment_paths
from featcli.features.store import FeatureStore, SegmentWriter, Space, space_folder
from tests.unit.features.lab import SPACE, WIDTH, digest, ended, feature, in_child, segments

OTHER = replace(SPACE, backbone="resnet34")
DAY = 24 * 3600.0


def fill(cache: Path, names: list[str], space: Space = SPACE) -> Path:
    """One segment with these rows."""
    before = set(segments(cache))
    with FeatureStore(cache, space, WIDTH, ignore).writer({}) as writer:
        for name in names:
            writer.add(digest(name), feature(name))
    (path,) = set(segments(cache)) - before
    return path


def require_rows(cache: Path, names: list[str], space: Space = SPACE) -> FeatureStore:
    """Every row is there, bit for bit, and no reader complains."""
    events: list[Event] = []
    store = FeatureStore(cache, space, WIDTH, events.append)
    found, rows = store.find([digest(name) for name in names])
    assert found.all(), [name for name, hit in zip(names, found, strict=True) if not hit]
    np.testing.assert_array_equal(rows, [feature(name) for name in names])
    assert events == []
    return store


def age(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def damage(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(data)


# Merging


def test_seventeen_small_segments_become_one(tmp_path: Path) -> None:
    names = [f"image{index}" for index in range(34)]
    for index in range(16):
        fill(tmp_path, names[2 * index : 2 * index + 2])
    assert len(segments(tmp_path)) == 16
    fill(tmp_path, names[32:])
    (merged,) = segments(tmp_path)
    assert len(require_rows(tmp_path, names)) == 34
    assert not list(tmp_path.rglob("*.tmp"))
    # By the library's own reader, not ours.
    tensors = safetensors.numpy.load(merged.read_bytes())
    assert {name: (value.shape, value.dtype.name) for name, value in tensors.items()} == {
        "keys": ((34, 32), "uint8"),
        "blocks": ((1, 32), "uint8"),
        "features": ((34, WIDTH), "float32"),
    }
    rows = dict(zip(map(bytes, tensors["keys"]), map(bytes, tensors["features"]), strict=True))
    assert rows == {digest(name): feature(name).tobytes() for name in names}
    pairs = list(zip(*[iter(rows)] * 2, strict=True))
    # The rows of a run stay together, in their order; the segments have random names.
    assert sorted(pairs) == sorted((digest(names[place]), digest(names[place + 1])) for place in range(0, 34, 2))


def test_rows_that_several_segments_hold_are_kept_once(tmp_path: Path) -> None:
    for index in range(17):
        fill(tmp_path, ["shared", f"own{index}", "shared", "shared too"])
    assert len(segments(tmp_path)) == 1
    assert len(require_rows(tmp_path, ["shared", "shared too", *(f"own{index}" for index in range(17))])) == 19


def test_keys_that_end_in_zeros_are_not_mixed_up(tmp_path: Path) -> None:
    keys = [bytes([first]).ljust(31, b"\0") + bytes([last]) for first in (0, 1, 255) for last in (0, 1)]
    keys += [bytes([1] * count).ljust(32, b"\0") for count in range(2, 13)]
    truth = {key: np.full(WIDTH, index, np.float32) for index, key in enumerate(keys)}
    for key, row in truth.items():
        with FeatureStore(tmp_path, SPACE, WIDTH, ignore).writer({}) as writer:
            writer.add(key, row)
    assert len(segments(tmp_path)) == 1
    found, rows = FeatureStore(tmp_path, SPACE, WIDTH, ignore).find(keys)
    assert found.all()
    np.testing.assert_array_equal(rows, list(truth.values()))


def test_large_segments_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "SMALL_ROWS", 50)
    large = {fill(tmp_path, [f"{index}-{row}" for row in range(50)]) for index in range(20)}
    assert set(segments(tmp_path)) == large
    for index in range(17):
        fill_any(tmp_path, [f"small{index}"])
    assert large < set(segments(tmp_path))
    assert len(segments(tmp_path)) == 21


def fill_any(cache: Path, names: list[str], space: Space = SPACE, path: str = "plain") -> None:
    """As `fill`, where the rows may be merged at once."""
    with FeatureStore(cache, space, WIDTH, ignore).writer({"path": path}) as writer:
        for name in names:
            writer.add(digest(name), feature(name))


def test_a_merged_segment_has_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "_MERGED_ROWS", 10)
    for index in range(17):
        fill_any(tmp_path, [f"{index}-{row}" for row in range(3)])
    sizes = sorted(len(safetensors.numpy.load(path.read_bytes())["keys"]) for path in segments(tmp_path))
    assert sum(sizes) == 51
    assert len(sizes) > 3
    assert max(sizes) <= 12  # the last one that fits, and the one after it
    require_rows(tmp_path, [f"{index}-{row}" for index in range(17) for row in range(3)])


def test_rows_computed_differently_stay_apart(tmp_path: Path) -> None:
    for version in ("one", "two"):
        for index in range(16):
            fill_any(tmp_path, [f"{version}{index}"], path=version)
    assert len(segments(tmp_path)) == 32
    fill_any(tmp_path, ["two16"], path="two")
    assert len(segments(tmp_path)) == 17
    require_rows(tmp_path, [f"{version}{index}" for version in ("one", "two") for index in range(16)])
    provenances = set()
    for path in segments(tmp_path):
        with safetensors.safe_open(path, framework="numpy") as file:
            provenances.add(file.metadata()["provenance"])
    assert provenances == {'{"path": "one"}', '{"path": "two"}'}


def test_another_space_is_left_alone(tmp_path: Path) -> None:
    for index in range(12):
        fill(tmp_path, [f"{index}"])
        fill(tmp_path, [f"{index}"], OTHER)
    assert len(segments(tmp_path)) == 24


def test_damage_is_not_laundered(tmp_path: Path) -> None:
    """A damaged segment must not come out of a merge with a fresh checksum."""
    paths = [fill(tmp_path, [f"image{index}"]) for index in range(16)]
    store = FeatureStore(tmp_path, SPACE, WIDTH, ignore)
    writer = store.writer({})
    damage(paths[3])
    with writer:
        writer.add(digest("image16"), feature("image16"))
    assert len(segments(tmp_path)) == 2
    assert [path for path, _ in verify_store(tmp_path).corrupt] == [paths[3]]
    events: list[Event] = []
    assert FeatureStore(tmp_path, SPACE, WIDTH, events.append).get(digest("image3")) is None
    assert len(events) == 1
    require_rows(tmp_path, [f"image{index}" for index in range(17) if index != 3])


@pytest.mark.parametrize("error", [KeyboardInterrupt, StorageError])
def test_an_interrupted_writer_leaves_at_once(tmp_path: Path, error: type[BaseException]) -> None:
    for index in range(16):
        fill(tmp_path, [f"{index}"])
    with pytest.raises(error), FeatureStore(tmp_path, SPACE, WIDTH, ignore).writer({}) as writer:
        writer.add(digest("16"), feature("16"))
        writer.flush()
        raise error("")
    assert len(segments(tmp_path)) == 17


def test_a_merge_that_cannot_be_written_does_no_harm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(merging, "_write_merged", full)
    names = [str(index) for index in range(18)]
    for name in names:
        fill(tmp_path, [name])
    assert len(segments(tmp_path)) == 18
    require_rows(tmp_path, names)
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_merged_segment_is_as_old_as_its_youngest_rows(tmp_path: Path) -> None:
    for index in range(16):
        age(fill(tmp_path, [f"{index}"]), (index + 2) * DAY)
    with FeatureStore(tmp_path, SPACE, WIDTH, ignore).writer({}) as writer:
        writer.add(digest("16"), feature("16"))
        writer.flush()
        for path in set(segments(tmp_path)):
            if time.time() - path.stat().st_mtime < DAY:
                age(path, 1.5 * DAY)
    (merged,) = segments(tmp_path)
    assert time.time() - merged.stat().st_mtime == pytest.approx(1.5 * DAY, abs=60)


# Readers and mergers at once


def test_a_reader_that_misses_a_file_lists_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All segments are merged between the listing and the opening, three times in a row."""
    monkeypatch.setattr(merging, "_MANY_SEGMENTS", 1)
    names = [str(index) for index in range(3)]
    for name in names:
        fill_unmerged(tmp_path, [name])
    turns = itertools.count()
    real = store_module.segment_paths

    def then_merge(folder: Path) -> list[Path]:
        listing = real(folder)
        if next(turns) < 3:
            monkeypatch.setattr(store_module, "segment_paths", real)
            fill_unmerged(tmp_path, ["more"])
            merge_segments(folder, WIDTH)
            monkeypatch.setattr(store_module, "segment_paths", then_merge)
        return listing

    monkeypatch.setattr(store_module, "segment_paths", then_merge)
    require_rows(tmp_path, [*names, "more"])
    assert next(turns) >= 4


def fill_unmerged(cache: Path, names: list[str]) -> None:
    folder = space_folder(cache, SPACE)
    writer = SegmentWriter(folder, WIDTH, "{}")
    for name in names:
        writer.add(digest(name), feature(name))
    writer.flush()


def test_a_listing_that_a_merge_slipped_through_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The merged segment comes behind the listing's back, and its sources go before they are listed."""
    monkeypatch.setattr(merging, "_MANY_SEGMENTS", 1)
    for name in "abc":
        fill_unmerged(tmp_path, [name])
    folder = space_folder(tmp_path, SPACE)
    real = Path.iterdir
    slipped = []

    def iterdir(self: Path) -> Any:
        if not slipped:
            slipped.append(True)
            merge_segments(folder, WIDTH)
            return iter([])
        return real(self)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    assert len(segment_paths(folder)) == 1
    slipped.clear()
    fill_unmerged(tmp_path, ["d"])
    require_rows(tmp_path, ["a", "b", "c", "d"])


def test_a_listing_that_shows_what_is_gone_for_ever_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, ["a"])
    (real,) = segments(tmp_path)
    ghost = real.with_name("ff" * 16 + ".safetensors")
    monkeypatch.setattr(Path, "iterdir", lambda self: iter([ghost, real]))
    require_rows(tmp_path, ["a"])


@pytest.mark.slow
def test_readers_and_mergers_at_once_find_every_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "_MANY_SEGMENTS", 3)
    base = [f"base{index}" for index in range(12)]
    for name in base:
        fill_unmerged(tmp_path, [name])
    go = multiprocessing.get_context("fork").Barrier(5, timeout=20)
    end = time.monotonic() + 2.5

    def write(prefix: str) -> None:
        go.wait()
        for turn in itertools.count():
            if time.monotonic() > end:
                break
            fill_any(tmp_path, [f"{prefix}{turn}", *base[turn % 12 : turn % 12 + 1]])
        (tmp_path / f"{prefix}.count").write_text(str(turn))

    def read() -> None:
        go.wait()
        turns = 0
        while time.monotonic() < end:
            require_rows(tmp_path, base)
            assert verify_store(tmp_path).corrupt == ()
            turns += 1
        assert turns > 3

    children = [in_child(lambda prefix=prefix: write(prefix)) for prefix in ("one", "two", "six")]
    children += [in_child(read), in_child(read)]
    assert [ended(child) for child in children] == [0] * 5
    names = list(base)
    for prefix in ("one", "two", "six"):
        count = int((tmp_path / f"{prefix}.count").read_text())
        assert count > 3
        names += [f"{prefix}{turn}" for turn in range(count)]
    require_rows(tmp_path, names)
    assert len(segments(tmp_path)) < 20
    assert not list(tmp_path.rglob("*.tmp"))


def test_two_mergers_of_the_same_segments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both have opened the same segments; one finishes while the other writes."""
    monkeypatch.setattr(merging, "_MANY_SEGMENTS", 1)
    names = [str(index) for index in range(6)]
    for name in names:
        fill_unmerged(tmp_path, [name])
    folder = space_folder(tmp_path, SPACE)
    real = merging._write_merged

    def meanwhile(*arguments: Any) -> None:
        monkeypatch.setattr(merging, "_write_merged", real)
        merge_segments(folder, WIDTH)
        assert len(segments(tmp_path)) == 1
        real(*arguments)

    monkeypatch.setattr(merging, "_write_merged", meanwhile)
    merge_segments(folder, WIDTH)
    assert len(segments(tmp_path)) == 2
    require_rows(tmp_path, names)
    merge_segments(folder, WIDTH)
    assert len(segments(tmp_path)) == 1
    assert len(require_rows(tmp_path, names)) == 6


def test_a_segment_that_goes_away_while_it_is_merged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = [str(index) for index in range(17)]
    for name in names:
        fill_unmerged(tmp_path, [name])
    real = merging._write_merged

    def meanwhile(*arguments: Any) -> None:
        segments(tmp_path)[3].unlink()
        real(*arguments)

    monkeypatch.setattr(merging, "_write_merged", meanwhile)
    merge_segments(space_folder(tmp_path, SPACE), WIDTH)
    assert len(segments(tmp_path)) == 1
    require_rows(tmp_path, names)


@pytest.mark.parametrize("place", ["write", "rename", "unlink1", "unlink3"])
def test_a_killed_merger_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    names = [str(index) for index in range(17)]
    for name in names:
        fill_unmerged(tmp_path, [name])
    folder = space_folder(tmp_path, SPACE)

    def die(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def work() -> None:
        if place == "write":
            merging._write_merged = lambda target, _: (target.write_bytes(b"half"), die())
        elif place == "rename":
            os.replace = die
        else:
            count = itertools.count(1)
            real_unlink = Path.unlink

            def unlink(self: Path, missing_ok: bool = False) -> None:
                if self.suffix == ".safetensors" and next(count) == int(place[-1]):
                    die()
                real_unlink(self, missing_ok=missing_ok)

            Path.unlink = unlink
        merge_segments(folder, WIDTH)

    assert ended(in_child(work)) == -signal.SIGKILL
    require_rows(tmp_path, names)
    assert verify_store(tmp_path).corrupt == ()
    monkeypatch.setattr(merging, "_MANY_SEGMENTS", 1)
    merge_segments(folder, WIDTH)
    assert len(segments(tmp_path)) == 1
    assert len(require_rows(tmp_path, names)) == 17


def test_what_killed_writers_left_is_removed_after_a_day(tmp_path: Path) -> None:
    folder = fill(tmp_path, ["a"]).parent
    old, young, mine = (folder / name for name in (".x.safetensors.01.tmp", ".y.safetensors.02.tmp", "notes.tmp"))
    for path, days in ((old, 1.1), (young, 0.9), (mine, 9)):
        path.write_bytes(b"half")
        age(path, days * DAY)
    fill(tmp_path, ["b"])
    assert (old.exists(), young.exists(), mine.exists()) == (False, True, True)


# The last use


def test_the_last_use_is_noted_once_an_hour_by_those_who_may_write(tmp_path: Path) -> None:
    mark = fill(tmp_path, ["a"]).parent / "used"
    for seconds, options, noted in ((1000, {}, False), (4000, {"read_only": True}, False), (4000, {}, True)):
        age(mark, seconds)
        before = mark.stat().st_mtime_ns
        FeatureStore(tmp_path, SPACE, WIDTH, ignore, **options)
        assert (mark.stat().st_mtime_ns != before) == noted
    mark.unlink()
    FeatureStore(tmp_path, SPACE, WIDTH, ignore, read_only=True)
    assert not mark.exists()
    FeatureStore(tmp_path, SPACE, WIDTH, ignore).writer({})
    assert mark.exists()


# Looking, checking


def test_an_empty_store(tmp_path: Path) -> None:
    cache = tmp_path / "none"
    assert list_spaces(cache) == []
    assert verify_store(cache).checked == 0
    assert prune_store(cache, older_than=0, unused=0, max_size=0) == []
    assert clear_store(cache).files == 0
    assert not cache.exists()


def test_spaces_are_listed_with_what_they_hold(tmp_path: Path) -> None:
    first = fill(tmp_path, ["a", "b", "a"])
    second = fill(tmp_path, ["b", "c"])
    third = fill(tmp_path, ["a"], OTHER)
    for path in (first, second, first.with_name("used"), first.with_name("space.json")):
        age(path, DAY)
    aside = third.with_name("ab" * 16 + ".corrupt-01234567")
    aside.write_bytes(b"x")
    other, space = list_spaces(tmp_path)
    assert (other.described, space.described) == (OTHER.to_json(), SPACE.to_json())
    assert (other.count_images(), space.count_images()) == (1, 3)
    assert [segment.path for segment in space.segments] == sorted([first, second])
    assert (other.bytes, space.bytes) == (third.stat().st_size, first.stat().st_size + second.stat().st_size)
    assert (other.set_aside, space.set_aside) == ((aside,), ())
    assert other.last_used == pytest.approx(time.time(), abs=60)
    assert space.last_used == pytest.approx(time.time() - DAY, abs=60)


def test_a_space_without_its_description_is_listed(tmp_path: Path) -> None:
    for content in (None, b"{half", b"[]", b"\xff"):
        described = fill(tmp_path, ["a"]).with_name("space.json")
        described.unlink() if content is None else described.write_bytes(content)
        (space,) = list_spaces(tmp_path)
        assert (space.described, space.count_images()) == ({}, 1)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def no_rows(path: Path) -> None:
    path.write_bytes(safetensors.numpy.save({"keys": np.zeros((0, 32), np.uint8), "features": np.zeros(0, np.float32)}))


def folder_instead(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("harm", [damage, cut, empty, no_rows, folder_instead])
def test_what_is_corrupt_is_named_and_left(tmp_path: Path, harm: Callable[[Path], None]) -> None:
    paths = [fill(tmp_path, ["a"]), fill(tmp_path, ["b"]), fill(tmp_path, ["c"], OTHER)]
    assert (verify_store(tmp_path).checked, verify_store(tmp_path).corrupt) == (3, ())
    harm(paths[1])
    found = verify_store(tmp_path)
    assert found.checked == 3
    assert [path for path, _ in found.corrupt] == [paths[1]]
    assert all(reason for _, reason in found.corrupt)
    assert segments(tmp_path) == sorted(paths)
    assert all(space.count_images() in (1, 2) for space in list_spaces(tmp_path))


def test_every_byte_of_a_segment_is_checked(tmp_path: Path) -> None:
    path = fill(tmp_path, ["a", "b"])
    data = path.read_bytes()
    header = 8 + int.from_bytes(data[:8], "little")
    for place in range(header, len(data)):
        path.write_bytes(data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :])
        assert len(verify_store(tmp_path).corrupt) == 1, place


# Making room


def test_without_a_rule_only_what_is_of_no_use_goes(tmp_path: Path) -> None:
    path = fill(tmp_path, ["a"])
    aside = path.with_name("ab" * 16 + ".corrupt-01234567")
    aside.write_bytes(b"x" * 10)
    abandoned = path.with_name(".x.safetensors.01.tmp")
    abandoned.write_bytes(b"x" * 20)
    age(abandoned, 2 * DAY)
    age(path, 900 * DAY)
    removed = prune_store(tmp_path)
    assert {(removal.why, removal.files, removal.bytes) for removal in removed} == {
        ("left by a killed writer", 1, 20),
        ("damaged", 1, 10),
    }
    assert sorted(entry.name for entry in path.parent.iterdir()) == sorted([path.name, "space.json", "used"])
    assert prune_store(tmp_path) == []


def test_old_features_go(tmp_path: Path) -> None:
    old, young = fill(tmp_path, ["a"]), fill(tmp_path, ["b"])
    only_old = fill(tmp_path, ["c"], OTHER)
    for path in (old, only_old):
        age(path, 31 * DAY)
    size = old.stat().st_size
    assert prune_store(tmp_path, older_than=32 * DAY) == []
    removed = prune_store(tmp_path, older_than=30 * DAY)
    assert sorted(
        (removal.described["backbone"], removal.why, removal.files, removal.bytes) for removal in removed
    ) == [
        ("resnet18", "old", 1, size),
        ("resnet34", "old", 1, size),
    ]
    assert segments(tmp_path) == [young]
    assert not only_old.parent.exists()


def test_unused_spaces_go(tmp_path: Path) -> None:
    unused, used = fill(tmp_path, ["a"]), fill(tmp_path, ["b"], OTHER)
    for path in (unused, used):
        for entry in (path, path.with_name("used"), path.with_name("space.json")):
            age(entry, 40 * DAY)
    FeatureStore(tmp_path, OTHER, WIDTH, ignore)  # reading is use
    removed = prune_store(tmp_path, unused=30 * DAY)
    assert [(removal.folder, removal.why, removal.files) for removal in removed] == [(unused.parent, "unused", 1)]
    assert segments(tmp_path) == [used]
    assert not unused.parent.exists()


def test_room_is_made_from_what_was_used_least_recently(tmp_path: Path) -> None:
    stale = [fill(tmp_path, [f"{index}"]) for index in range(3)]
    fresh = [fill(tmp_path, [f"{index}"], OTHER) for index in range(3)]
    for turn, path in enumerate([stale[2], stale[0], stale[1]]):
        age(path, (50 - turn) * DAY)
    for name in ("used", "space.json"):
        age(stale[0].with_name(name), 40 * DAY)
    age(fresh[1], 90 * DAY)
    size = fresh[0].stat().st_size
    assert prune_store(tmp_path, max_size=6 * size) == []
    left = [*stale, *fresh]
    for gone in (stale[2], stale[0], stale[1], fresh[1]):
        (removal,) = prune_store(tmp_path, max_size=len(left) * size - 1)
        left.remove(gone)
        assert (removal.why, removal.files, removal.bytes) == ("over the size", 1, size)
        assert segments(tmp_path) == sorted(left)
    assert sum(removal.files for removal in prune_store(tmp_path, max_size=0)) == 2
    assert segments(tmp_path) == []


def test_what_one_rule_removes_counts_for_the_size(tmp_path: Path) -> None:
    old, young = fill(tmp_path, ["a"]), fill(tmp_path, ["b"])
    age(old, 31 * DAY)
    removed = prune_store(tmp_path, older_than=30 * DAY, max_size=young.stat().st_size)
    assert [(removal.why, removal.files) for removal in removed] == [("old", 1)]
    assert segments(tmp_path) == [young]


def test_a_space_whose_first_writer_is_at_work_stays(tmp_path: Path) -> None:
    writer = FeatureStore(tmp_path, SPACE, WIDTH, ignore).writer({})
    assert prune_store(tmp_path, unused=0, older_than=0, max_size=0) == []
    with writer:
        writer.add(digest("a"), feature("a"))
    require_rows(tmp_path, ["a"])
    assert [space.described["backbone"] for space in list_spaces(tmp_path)] == ["resnet18"]


def test_a_reader_keeps_what_is_pruned_under_it(tmp_path: Path) -> None:
    fill(tmp_path, ["a"])
    store = FeatureStore(tmp_path, SPACE, WIDTH, ignore)
    prune_store(tmp_path, max_size=0)
    np.testing.assert_array_equal(store.get(digest("a")), feature("a"))
    with store.writer({}) as writer:
        writer.add(digest("b"), feature("b"))
    require_rows(tmp_path, ["b"])


def test_clearing_removes_nothing_of_the_users(tmp_path: Path) -> None:
    path = fill(tmp_path, ["a"])
    old_layout = tmp_path / "features" / "v0" / path.parent.name
    old_layout.mkdir(parents=True)
    (old_layout / "x.safetensors").write_bytes(b"old")
    theirs = [
        tmp_path / "notes.txt",
        tmp_path / "model.safetensors",
        tmp_path / "features" / "a.safetensors",
        tmp_path / "features" / "v1" / "a.safetensors",
        tmp_path / "features" / "v1" / "mine" / "a.safetensors",
        tmp_path / "features" / "other" / path.parent.name / "a.safetensors",
        path.with_name("README"),
    ]
    for file in theirs:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"mine")
    before = path.stat().st_size + path.with_name("space.json").stat().st_size + 3
    removal = clear_store(tmp_path)
    assert (removal.files, removal.bytes) == (2, before)
    assert sorted(entry for entry in tmp_path.rglob("*") if entry.is_file()) == sorted(theirs)
    assert all(file.read_bytes() == b"mine" for file in theirs)
    assert not old_layout.exists()


def test_clearing_all_leaves_an_empty_folder(tmp_path: Path) -> None:
    for space in (SPACE, OTHER):
        fill(tmp_path, ["a"], space)
    clear_store(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_clearing_under_a_writer(tmp_path: Path) -> None:
    with FeatureStore(tmp_path, SPACE, WIDTH, ignore).writer({}) as writer:
        writer.add(digest("a"), feature("a"))
        clear_store(tmp_path)
    require_rows(tmp_path, ["a"])


def test_what_cannot_be_removed_is_a_storage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = fill(tmp_path, ["a"])

    def refuse(self: Path, missing_ok: bool = False) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    for work in (lambda: prune_store(tmp_path, max_size=0), lambda: clear_store(tmp_path)):
        with pytest.raises(StorageError, match=rf"cannot remove {path.parent}/.*: Permission denied"):
            work()


def test_what_cannot_be_listed_is_a_storage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fill(tmp_path, ["a"]).parent
    real = Path.iterdir

    def refuse(self: Path) -> Any:
        if self == folder:
            raise PermissionError(13, "Permission denied")
        return real(self)

    monkeypatch.setattr(Path, "iterdir", refuse)
    for work in (lambda: list_spaces(tmp_path), lambda: verify_store(tmp_path), lambda: clear_store(tmp_path)):
        with pytest.raises(StorageError, match=f"cannot read {folder}: Permission denied"):
            work()
