"""One run at a time in a folder; the lock ends with its process, and nothing is left where nothing was written."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from featcli.errors import StorageError, UsageError
from featcli.events import Event, Warn, ignore
from featcli.runs.locks import LOCK_NAME, only_run_in, require_free


def fork(work: Callable[[], None]) -> int:
    """A child that does this and ends."""
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    return pid


def hold(folder: Path, said: Path) -> None:
    with only_run_in(folder, ignore):
        said.touch()
        time.sleep(60)


def wait_for(path: Path) -> None:
    end = time.monotonic() + 20
    while not path.exists():
        assert time.monotonic() < end
        time.sleep(0.005)


def end(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_a_second_run_is_told_of_the_first(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    first = fork(lambda: hold(folder, tmp_path / "held"))
    wait_for(tmp_path / "held")
    said = f"the output {folder} is being written by another run, process {first} on this machine"
    try:
        for attempt in (lambda: require_free(folder), lambda: only_run_in(folder, ignore).__enter__()):
            with pytest.raises(UsageError) as caught:
                attempt()
            assert caught.value.message == said
            assert caught.value.hint == "Wait until it has ended, or choose another folder with -o."
        assert (folder / LOCK_NAME).exists()
    finally:
        end(first)
    # Killed: its file is still there, and means nothing.
    assert (folder / LOCK_NAME).exists()
    require_free(folder)
    with only_run_in(folder, ignore):
        assert (folder / LOCK_NAME).read_text() == f"{os.getpid()} {socket.gethostname()}\n"
    assert os.listdir(folder) == []


def test_a_run_on_another_machine_is_named_with_it(tmp_path: Path) -> None:
    with only_run_in(tmp_path, ignore):
        (tmp_path / LOCK_NAME).write_text("77 node7\n")
        with pytest.raises(UsageError, match="written by another run, process 77 on node7\n"):
            require_free(tmp_path)
        (tmp_path / LOCK_NAME).write_text("")
        with pytest.raises(UsageError, match="written by another run\n"):
            require_free(tmp_path)


def test_a_forked_child_does_not_keep_the_lock_of_a_parent_that_is_killed(tmp_path: Path) -> None:
    folder, pid_file = tmp_path / "run", tmp_path / "child"

    def parent() -> None:
        with only_run_in(folder, ignore):
            child = fork(lambda: time.sleep(60))
            (tmp_path / "new").write_text(str(child))
            (tmp_path / "new").rename(pid_file)
            time.sleep(60)

    first = fork(parent)
    wait_for(pid_file)
    child = int(pid_file.read_text())
    with pytest.raises(UsageError):
        require_free(folder)
    end(first)
    try:
        os.kill(child, 0)  # it lives
        require_free(folder)
    finally:
        os.kill(child, signal.SIGKILL)


def test_of_many_at_once_one_has_it(tmp_path: Path) -> None:
    """Each holds it for a moment and counts up; two at once would lose a count."""
    folder, counter = tmp_path / "run", tmp_path / "count"
    counter.write_text("0")

    def work() -> None:
        done = 0
        while done < 10:
            try:
                with only_run_in(folder, ignore):
                    count = int(counter.read_text())
                    time.sleep(0.001)
                    counter.write_text(str(count + 1))
                done += 1
            except UsageError:
                time.sleep(0.002)

    children = [fork(work) for _ in range(4)]
    for child in children:
        assert os.waitpid(child, 0)[1] == 0
    assert counter.read_text() == "40"


@pytest.mark.parametrize("fails", [False, True])
def test_folders_that_were_made_and_hold_nothing_are_gone(tmp_path: Path, fails: bool) -> None:
    (tmp_path / "there").mkdir()
    for name in ("there", "new/deep/run", "kept/run"):
        try:
            with only_run_in(tmp_path / name, ignore):
                if name == "kept/run":
                    (tmp_path / name / "file").touch()
                if fails:
                    raise RuntimeError
        except RuntimeError:
            assert fails
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == [
        "kept", "kept/run", "kept/run/file", "there"
    ]  # fmt: skip


def test_nothing_is_left_of_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match=r"cannot write .*/file/a/run: Not a directory"):
        only_run_in(tmp_path / "file" / "a" / "run", ignore).__enter__()
    with pytest.raises(StorageError, match="File name too long"):
        only_run_in(tmp_path / "new" / ("x" * 300), ignore).__enter__()
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS])
def test_a_file_system_without_locks_is_said_and_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    events: list[Event] = []
    with only_run_in(tmp_path / "run", events.append):
        (tmp_path / "run" / "file").touch()
        require_free(tmp_path / "run")
    (event,) = events
    assert isinstance(event, Warn)
    assert event.text == (
        f"the file system of {tmp_path}/run has no locks ({os.strerror(number)}): "
        "a second run into it at the same time would not be noticed"
    )
    assert os.listdir(tmp_path / "run") == ["file"]
