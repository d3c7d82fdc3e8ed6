"""What lies at a path decides how it is written. No real device is touched: pipes, terminals and nodes of our own."""

from __future__ import annotations

import os
import pty
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from featcli.errors import StorageError, UsageError
from featcli.files import atomic_path, check_output_file, open_sink, remove_file, write_bytes, write_json
from featcli.outputs import find_place

HALVES = (b"first\n", b"x" * 200_000)  # the second is more than a pipe holds
WHOLE = b"".join(HALVES)


def write_by_path(target: Path) -> None:
    with atomic_path(target) as temporary, temporary.open("r+b") as file:
        file.write(bytes(len(WHOLE)))
        file.seek(0)
        file.write(WHOLE)


def write_by_pieces(target: Path) -> None:
    with open_sink(target) as write:
        for half in HALVES:
            write(half)


WAYS = pytest.mark.parametrize("write", [write_by_path, write_by_pieces, lambda target: write_bytes(target, WHOLE)])


@pytest.fixture
def pipe(tmp_path: Path) -> Iterator[tuple[Path, list[bytes]]]:
    """A named pipe, and what its reader has got once it is closed."""
    path, got = tmp_path / "pipe", list[bytes]()
    os.mkfifo(path)
    reader = threading.Thread(target=lambda: got.append(path.read_bytes()), daemon=True)
    reader.start()
    yield path, got
    reader.join(5)


# Links


@WAYS
def test_a_link_stays_and_what_it_leads_to_is_replaced(tmp_path: Path, write: Callable[[Path], None]) -> None:
    (tmp_path / "real").mkdir()
    target = tmp_path / "real" / "file"
    target.write_bytes(b"old")
    (tmp_path / "second").symlink_to("real/file")
    (tmp_path / "first").symlink_to(tmp_path / "second")
    write(tmp_path / "first")
    assert target.read_bytes() == WHOLE
    assert [(tmp_path / name).is_symlink() for name in ("first", "second")] == [True, True]
    assert os.listdir(tmp_path / "real") == ["file"], "nothing is left beside it"


def test_what_a_dangling_link_leads_to_is_made(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("new/folder/file")
    write_bytes(tmp_path / "link", b"data")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "new" / "folder" / "file").read_bytes() == b"data"


def test_folders_on_the_way_may_be_links(tmp_path: Path) -> None:
    (tmp_path / "elsewhere" / "run").mkdir(parents=True)
    (tmp_path / "run").symlink_to("elsewhere/run")
    write_json(tmp_path / "run" / ".." / "beside.json", {})
    write_json(tmp_path / "run" / "metrics.json", {})
    assert sorted(os.listdir(tmp_path / "elsewhere")) == ["beside.json", "run"]
    (tmp_path / "dangling").symlink_to("made")
    write_json(tmp_path / "dangling" / "metrics.json", {})
    assert os.listdir(tmp_path / "made") == ["metrics.json"]


def test_links_that_lead_to_each_other(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(StorageError, match=r"cannot write .*/a: Too many levels of symbolic links"):
        write_bytes(tmp_path / "a", b"")
    with pytest.raises(StorageError, match=r"cannot write .*/a: Too many levels of symbolic links"):
        check_output_file(tmp_path / "a")
    assert (tmp_path / "a").is_symlink()


def test_a_link_to_a_folder_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    with pytest.raises(UsageError, match=r"the output .*/link is a folder; -o names a file"):
        check_output_file(tmp_path / "link")
    with pytest.raises(StorageError, match="Is a directory"):
        write_bytes(tmp_path / "link", b"")
    assert os.listdir(tmp_path / "folder") == []


# Permissions


@pytest.mark.parametrize("mode", [0o640, 0o600, 0o444, 0o4755, 0o200, 0o000, 0o666])
def test_a_file_that_is_replaced_hands_on_its_permissions(tmp_path: Path, mode: int) -> None:
    target = tmp_path / "file"
    target.write_bytes(b"old")
    target.chmod(mode)
    write_by_path(target)
    assert stat.S_IMODE(target.stat().st_mode) == mode
    assert target.stat().st_size == len(WHOLE)


def test_what_nobody_else_may_read_is_not_readable_meanwhile(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.touch()
    target.chmod(0o640)
    with atomic_path(target) as temporary:
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o600


def test_a_file_that_is_replaced_hands_on_its_owner(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root gives files away")
    target = tmp_path / "file"
    target.touch()
    os.chown(target, 12345, 23456)
    target.chmod(0o2640)
    write_bytes(target, b"new")
    facts = target.stat()
    assert (facts.st_uid, facts.st_gid, stat.S_IMODE(facts.st_mode)) == (12345, 23456, 0o2640)


# Pipes, devices, descriptors


@WAYS
def test_a_pipe_is_written_into(pipe: tuple[Path, list[bytes]], write: Callable[[Path], None]) -> None:
    path, got = pipe
    write(path)
    assert stat.S_ISFIFO(path.lstat().st_mode)
    assert os.listdir(path.parent) == ["pipe"]
    for _ in range(500):
        if got:
            break
        threading.Event().wait(0.01)
    assert got == [WHOLE]


def test_a_pipe_gets_each_piece_at_once(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with open_sink(tmp_path / "pipe") as write:
        write(b"one")
        assert os.read(reader, 100) == b"one"
        write(b"two")
        assert os.read(reader, 100) == b"two"
    os.close(reader)


@WAYS
def test_a_reader_that_left_is_no_fault_of_the_target(tmp_path: Path, write: Callable[[Path], None]) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    (tmp_path / "link").symlink_to("pipe")
    closer = threading.Timer(0.1, os.close, (reader,))
    closer.start()
    with pytest.raises(BrokenPipeError):
        write(tmp_path / "link")
    closer.join()


def _node(path: Path, minor: int) -> Path:
    """A memory device of our own."""
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, minor))
    except PermissionError:
        pytest.skip("only root makes devices")
    try:
        os.close(os.open(path, os.O_WRONLY))
    except OSError:
        pytest.skip("devices cannot be used on this file system")
    return path


@WAYS
def test_a_device_stays_a_device(tmp_path: Path, write: Callable[[Path], None]) -> None:
    null = _node(tmp_path / "null", 3)
    (tmp_path / "link").symlink_to(null)
    for path in (null, tmp_path / "link"):
        write(path)
    assert stat.S_ISCHR(null.lstat().st_mode)
    assert sorted(os.listdir(tmp_path)) == ["link", "null"]


@WAYS
def test_a_full_device_is_named_with_the_next_step(tmp_path: Path, write: Callable[[Path], None]) -> None:
    full = _node(tmp_path / "full", 7)
    with pytest.raises(StorageError, match=f"^cannot write {full}: No space left on device") as caught:
        write(full)
    assert caught.value.hint is not None


@WAYS
def test_a_terminal_is_written_into(tmp_path: Path, write: Callable[[Path], None]) -> None:
    controller, terminal = pty.openpty()
    seen: list[bytes] = []

    def read() -> None:
        while sum(map(len, seen)) < len(WHOLE) + 1:  # the line feed becomes two characters
            seen.append(os.read(controller, 1 << 16))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    (tmp_path / "link").symlink_to(os.ttyname(terminal))
    write(tmp_path / "link")
    reader.join(5)
    assert b"".join(seen) == WHOLE.replace(b"\n", b"\r\n")
    os.close(terminal)
    os.close(controller)


@pytest.mark.parametrize("name", ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
@pytest.mark.parametrize(
    "call", ["write_bytes(target, b'data')", "with atomic_path(target) as path: path.write_bytes(b'data')"]
)
def test_standard_output_is_written_where_it_stands(tmp_path: Path, name: str, call: str) -> None:
    """Opened anew, a file behind it would be written from its beginning, and renaming would take it away."""
    (tmp_path / "link").symlink_to(name)
    target = Path("-") if name == "-" else tmp_path / "link"
    code = f"from pathlib import Path\nfrom featcli.files import *\ntarget = Path({str(target)!r})\n{call}"
    with (tmp_path / "log").open("wb") as log:
        log.write(b"before ")
        log.flush()
        ran = subprocess.run(
            [sys.executable, "-c", code],
            stdout=log,
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        log.write(b" after")
    assert ran.returncode == 0
    assert (tmp_path / "log").read_bytes() == b"before data after"
    assert sorted(os.listdir(tmp_path)) == ["link", "log"]


def test_a_descriptor_is_written_into(tmp_path: Path) -> None:
    read, write = os.pipe()
    for path in (f"/dev/fd/{write}", f"/proc/self/fd/{write}", f"/proc/{os.getpid()}/fd/{write}"):
        write_bytes(Path(path), path.encode())
        assert os.read(read, 100) == path.encode()
    os.close(write)
    with pytest.raises(StorageError, match=f"^cannot write /dev/fd/{write}: Bad file descriptor"):
        write_bytes(Path(f"/dev/fd/{write}"), b"data")
    os.close(read)


def test_a_socket_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind("socket")
        with pytest.raises(StorageError, match=r"^cannot write socket: it is a socket\n") as caught:
            write_bytes(Path("socket"), b"")
        assert caught.value.hint == "Name a file, a pipe, or - for standard output."
        assert stat.S_ISSOCK(Path("socket").lstat().st_mode)


def test_a_disk_is_refused(tmp_path: Path) -> None:
    try:
        os.mknod(tmp_path / "disk", 0o600 | stat.S_IFBLK, os.makedev(259, 65535))
    except PermissionError:
        pytest.skip("only root makes devices")
    with pytest.raises(StorageError, match=r"cannot write .*/disk: it is a disk"):
        write_bytes(tmp_path / "disk", b"")
    assert stat.S_ISBLK((tmp_path / "disk").lstat().st_mode)


def test_which_place_is_what(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert (find_place(Path("-")).is_stdout, find_place(Path("-")).is_stream) == (True, True)
    assert (find_place(tmp_path / "pipe").is_stdout, find_place(tmp_path / "pipe").is_stream) == (False, True)
    assert find_place(tmp_path / "new").replaced is None
    assert not find_place(tmp_path / "new").is_stream
    assert find_place(Path("/proc/self/status")).is_stream, "nothing can be made or renamed there"


def test_only_files_and_links_to_them_are_removed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "file").touch()
    (tmp_path / "target").touch()
    (tmp_path / "link").symlink_to("target")
    for name in ("pipe", "file", "link", "absent"):
        remove_file(tmp_path / name)
    assert sorted(os.listdir(tmp_path)) == ["pipe", "target"]
