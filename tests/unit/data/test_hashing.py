from __future__ import annotations

import hashlib
import multiprocessing
import os
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import pytest

from featcli.data import hashing as memo_module
from featcli.data.hashing import HashMemo, hash_file, hash_files, memo_files
from featcli.data.readers.reader import UnreadableImage
from featcli.events import Event, Progress, ignore


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    """Files of the tests are young; only the tests of trust itself keep the real rule."""
    if "real_time" not in request.fixturenames:
        monkeypatch.setattr(memo_module, "SETTLED_NS", 0)


@pytest.fixture
def real_time() -> None:
    """Asks for the rule of two seconds."""


@pytest.fixture
def memo(tmp_path: Path) -> Path:
    return tmp_path / "cache" / "memo-v1.sqlite"


def sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def make(folder: Path, count: int) -> dict[str, bytes]:
    """Files, and the truth about them."""
    folder.mkdir(parents=True, exist_ok=True)
    truth = {}
    for index in range(count):
        path = folder / f"{index}.jpg"
        path.write_bytes(b"content %d" % index)
        truth[str(path)] = sha256(b"content %d" % index)
    return truth


def known(memo: Path, paths: Any) -> dict[str, bytes]:
    with HashMemo(memo) as opened:
        return opened.lookup(paths)


def fill(memo: Path, paths: Any) -> None:
    with HashMemo(memo) as opened:
        opened.remember([hash_file(path) for path in paths])


def test_what_was_remembered_is_known_without_reading(
    tmp_path: Path, memo: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = make(tmp_path / "photos", 1201)  # more than two queries
    assert hash_files(list(truth), memo=memo, workers=2, emit=ignore) == truth
    monkeypatch.setattr(memo_module, "read_file", None)
    assert hash_files(list(truth), memo=memo, workers=2, emit=ignore) == truth
    others = [str(tmp_path / "photos" / "none.jpg"), *list(truth)[5:3:-1]]
    assert known(memo, others) == {path: truth[path] for path in others[1:]}


def test_only_what_is_missing_is_read(tmp_path: Path, memo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = make(tmp_path / "photos", 20)
    hash_files(list(first), memo=memo, workers=2, emit=ignore)
    truth = make(tmp_path / "more", 3) | first
    read: list[str] = []
    real = memo_module.read_file
    monkeypatch.setattr(memo_module, "read_file", lambda path: read.append(path) or real(path))
    events: list[Event] = []
    assert hash_files(list(truth), memo=memo, workers=2, emit=events.append) == truth
    assert sorted(read) == sorted(set(truth) - set(first))
    assert [(event.done, event.total, event.finished) for event in events if isinstance(event, Progress)] == [
        (0, 23, False),
        (23, 23, False),
        (23, 23, True),
    ]


def test_files_that_cannot_be_read_have_no_digest(tmp_path: Path, memo: Path) -> None:
    truth = make(tmp_path, 2)
    empty = tmp_path / "empty.jpg"
    empty.touch()
    fifo = tmp_path / "fifo.jpg"
    os.mkfifo(fifo)
    bad = [str(empty), str(fifo), str(tmp_path), str(tmp_path / "gone"), "a\0b", "lone \ud800"]
    assert hash_files([*bad, *truth], memo=memo, workers=2, emit=ignore) == truth
    assert hash_files([*bad, *truth], memo=memo, workers=2, emit=ignore) == truth
    with pytest.raises(UnreadableImage, match="no such file"):
        hash_file(str(tmp_path / "gone"))


@pytest.mark.parametrize("path", [None, "cache/memo-v1.sqlite"])
def test_nothing_to_remember_makes_nothing(tmp_path: Path, path: str | None) -> None:
    memo = None if path is None else tmp_path / path
    assert hash_files([], memo=memo, workers=1, emit=ignore) == {}
    assert hash_files([str(tmp_path / "gone")], memo=memo, workers=1, emit=ignore) == {}
    assert list(tmp_path.iterdir()) == []


def test_looking_up_alone_writes_nothing(tmp_path: Path, memo: Path) -> None:
    truth = make(tmp_path / "photos", 3)
    assert hash_files(list(truth), memo=memo, workers=2, emit=ignore, keep=False) == truth
    assert not memo.parent.exists()
    fill(memo, list(truth)[:1])
    before = memo.read_bytes()
    assert hash_files(list(truth), memo=memo, workers=2, emit=ignore, keep=False) == truth
    assert (list(memo.parent.iterdir()), memo.read_bytes()) == ([memo], before)


def test_without_a_memo_files_are_hashed(tmp_path: Path) -> None:
    truth = make(tmp_path / "photos", 3)
    assert hash_files(list(truth), memo=None, workers=2, emit=ignore) == truth
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


# What counts as changed


def edit(path: Path) -> None:
    path.write_bytes(b"CONTENT 0")


def edit_and_turn_back_the_time(path: Path) -> None:
    facts = path.stat()
    path.write_bytes(b"CONTENT 0")
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def grow_and_turn_back_the_time(path: Path) -> None:
    facts = path.stat()
    path.write_bytes(b"content 0!")
    os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def put_another_in_its_place(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(b"CONTENT 0")
    facts = path.stat()
    os.utime(other, ns=(facts.st_atime_ns, facts.st_mtime_ns))
    other.rename(path)


def touch(path: Path) -> None:
    os.utime(path, ns=(1, 1))


@pytest.mark.parametrize(
    "change", [edit, edit_and_turn_back_the_time, grow_and_turn_back_the_time, put_another_in_its_place, touch]
)
def test_a_changed_file_is_read_again(tmp_path: Path, memo: Path, change: Callable[[Path], None]) -> None:
    (path, other), truth = (paths := list(make(tmp_path, 2))), make(tmp_path, 2)
    fill(memo, paths)
    time.sleep(0.02)  # two ticks of the kernel's clock
    change(Path(path))
    assert known(memo, paths) == {other: truth[other]}
    now = {path: sha256(Path(path).read_bytes()), other: truth[other]}
    assert hash_files(paths, memo=memo, workers=1, emit=ignore) == now
    assert known(memo, paths) == now


def test_a_link_is_what_it_leads_to(tmp_path: Path, memo: Path) -> None:
    one, two = make(tmp_path, 2).items()
    link = tmp_path / "link.jpg"
    link.symlink_to(one[0])
    fill(memo, [str(link)])
    assert known(memo, [str(link)]) == {str(link): one[1]}
    link.unlink()
    link.symlink_to(two[0])
    assert known(memo, [str(link)]) == {}


def test_names_that_are_not_utf_8(tmp_path: Path, memo: Path) -> None:
    names = [b"\xff\xfe.jpg", "\u00e9.jpg".encode(), b"\xe9.jpg", b"new\nline 'quote' -- .jpg", "🐜.jpg".encode()]
    truth = {}
    for name in names:
        path = os.path.join(os.fsencode(tmp_path), name)
        with open(path, "wb") as file:
            file.write(name)
        truth[os.fsdecode(path)] = sha256(name)
    fill(memo, truth)
    assert known(memo, truth) == truth


# Trust


@pytest.mark.slow
def test_a_hash_taken_right_after_a_change_is_not_kept(tmp_path: Path, memo: Path, real_time: None) -> None:
    (path,) = make(tmp_path, 1)
    assert hash_file(path).stamp is None
    fill(memo, [path])
    assert not memo.exists()
    os.utime(path, (1, 1))  # an old mtime: the ctime is still young
    assert hash_file(path).stamp is None
    time.sleep(2.1)
    fill(memo, [path])
    assert known(memo, [path]) == {path: sha256(b"content 0")}
    future = time.time() + 100
    os.utime(path, (future, future))
    time.sleep(2.1)
    assert hash_file(path).stamp is None


def test_a_file_that_changes_while_it_is_read_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (path,) = make(tmp_path, 1)
    time.sleep(0.02)
    assert hash_file(path).stamp is not None
    real = memo_module.read_file

    def read(name: str) -> bytes:
        data = real(name)
        Path(name).write_bytes(b"CONTENT 0")
        return data

    monkeypatch.setattr(memo_module, "read_file", read)
    hashed = hash_file(path)
    assert (hashed.digest, hashed.stamp) == (sha256(b"content 0"), None)


# Damage, locks, processes


def half(memo: Path) -> None:
    data = memo.read_bytes()
    memo.write_bytes(data[: len(data) // 2])


def noise(memo: Path) -> None:
    memo.write_bytes(os.urandom(10_000))


def noise_in_the_pages(memo: Path) -> None:
    data = memo.read_bytes()
    memo.write_bytes(data[:200] + os.urandom(len(data) - 200))


def other_columns(memo: Path) -> None:
    memo.unlink()
    with sqlite3.connect(memo) as database:
        database.execute("CREATE TABLE files (x INTEGER)")
    database.close()


@pytest.mark.parametrize("damage", [half, noise, noise_in_the_pages, other_columns])
def test_a_damaged_memo_is_rebuilt(tmp_path: Path, memo: Path, damage: Callable[[Path], None]) -> None:
    truth = make(tmp_path / "photos", 300)
    fill(memo, truth)
    damage(memo)
    assert hash_files(list(truth), memo=memo, workers=2, emit=ignore) == truth
    assert hash_files(list(truth), memo=memo, workers=2, emit=ignore) == truth
    assert known(memo, truth) == truth


def test_an_empty_file_is_a_memo_to_be_filled(tmp_path: Path, memo: Path) -> None:
    truth = make(tmp_path / "photos", 2)
    memo.parent.mkdir()
    memo.touch()
    assert known(memo, truth) == {}
    fill(memo, truth)
    assert known(memo, truth) == truth


def test_a_flipped_bit_is_never_a_wrong_hash(tmp_path: Path, memo: Path) -> None:
    truth = make(tmp_path / "photos", 4)
    fill(memo, truth)
    sound = memo.read_bytes()
    start = sound.index(next(iter(truth.values())))
    for place in [*range(start - 8, start + 40), *range(100, len(sound), 97)]:
        memo.write_bytes(sound[:place] + bytes([sound[place] ^ 0x10]) + sound[place + 1 :])
        found = known(memo, truth)
        assert found.items() <= truth.items(), place
    memo.write_bytes(sound)
    assert known(memo, truth) == truth


def test_values_of_other_kinds_are_not_believed(tmp_path: Path, memo: Path) -> None:
    truth = make(tmp_path / "photos", 2)
    bad, good = truth
    fill(memo, truth)
    for value in ("NULL", "7", "'text'", "CAST(x'ff' AS TEXT)", "x'00'", "randomblob(32)"):
        with sqlite3.connect(memo) as database:
            database.execute(f"UPDATE files SET sha256 = {value} WHERE path = ?", [os.fsencode(bad)])
        database.close()
        assert known(memo, truth) == {good: truth[good]}


def test_a_locked_memo_is_done_without(tmp_path: Path, memo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memo_module, "_LOCK_SECONDS", 0.5)
    monkeypatch.setattr(memo_module, "_BATCH", 20)
    truth = make(tmp_path / "photos", 500)
    fill(memo, list(truth)[:300])
    holder = sqlite3.connect(memo, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    start = time.monotonic()
    assert hash_files(list(truth), memo=memo, workers=2, emit=ignore) == truth
    assert time.monotonic() - start < 3  # it waits once, not for each of ten batches
    assert len(known(memo, truth)) == 300  # reading goes on beside a writer
    holder.execute("ROLLBACK")
    holder.close()
    hash_files(list(truth), memo=memo, workers=2, emit=ignore)
    assert known(memo, truth) == truth


def test_a_lock_that_goes_away_is_waited_for(tmp_path: Path, memo: Path) -> None:
    truth = make(tmp_path / "photos", 3)
    fill(memo, list(truth)[:1])
    locked = threading.Event()

    def hold() -> None:
        holder = sqlite3.connect(memo, isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        locked.set()
        time.sleep(0.3)
        holder.execute("ROLLBACK")
        holder.close()

    thread = threading.Thread(target=hold)
    thread.start()
    assert locked.wait(10)
    fill(memo, truth)
    thread.join()
    assert known(memo, truth) == truth


@pytest.mark.parametrize("block", ["cache", "cache/memo-v1.sqlite/below"])
def test_something_else_in_its_place(tmp_path: Path, memo: Path, block: str) -> None:
    in_the_way = tmp_path / block
    in_the_way.parent.mkdir(parents=True, exist_ok=True)
    in_the_way.write_text("mine")
    truth = make(tmp_path / "photos", 3)
    assert hash_files(list(truth), memo=memo, workers=2, emit=ignore) == truth
    assert in_the_way.read_text() == "mine"


def in_child(work: Callable[[], object]) -> BaseProcess:
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    return process


def test_processes_at_once(tmp_path: Path, memo: Path) -> None:
    truth = make(tmp_path / "photos", 1000)
    paths = list(truth)
    go = multiprocessing.get_context("fork").Barrier(3, timeout=20)

    def work(part: list[str]) -> None:
        go.wait()
        for start in range(0, len(part), 50):
            assert hash_files(part[: start + 50], memo=memo, workers=1, emit=ignore).items() <= truth.items()

    children = [in_child(lambda part=part: work(part)) for part in (paths[:600], paths[400:], paths[::-1])]
    for child in children:
        child.join(60)
    assert [child.exitcode for child in children] == [0, 0, 0]
    assert known(memo, paths) == truth


def test_a_killed_process_does_no_harm(tmp_path: Path, memo: Path) -> None:
    truth = make(tmp_path / "photos", 500)
    paths = list(truth)

    def work() -> None:
        while True:
            fill(memo, paths[:400])

    for wait in (0.0, 0.01, 0.03):
        child = in_child(work)
        while not memo.exists():
            assert child.is_alive()
            time.sleep(0.002)
        time.sleep(wait)
        child.kill()
        child.join(30)
        assert child.exitcode == -signal.SIGKILL
        assert known(memo, paths).items() <= truth.items()
    assert hash_files(paths, memo=memo, workers=2, emit=ignore) == truth
    assert known(memo, paths) == truth


def test_its_files_are_known(tmp_path: Path, memo: Path) -> None:
    truth = make(tmp_path / "photos", 2)
    with HashMemo(memo) as opened:
        opened.remember([hash_file(path) for path in truth])
        assert sorted(memo.parent.iterdir()) == sorted(memo_files(memo))
    assert list(memo.parent.iterdir()) == [memo]


@pytest.mark.slow
def test_ten_thousand_warm_files_take_well_under_a_second(tmp_path: Path, memo: Path) -> None:
    paths = list(make(tmp_path / "photos", 10_000))
    hash_files(paths, memo=memo, workers=2, emit=ignore)
    start = time.process_time()  # of this process: other work on the machine does not count
    assert len(hash_files(paths, memo=memo, workers=2, emit=ignore)) == 10_000
    assert time.process_time() - start < 0.6
