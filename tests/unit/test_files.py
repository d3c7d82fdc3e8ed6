from __future__ import annotations

import errno
import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from featcli.errors import StorageError
from featcli.files import atomic_path, sha256_of_file, storage_errors, write_bytes, write_json, write_text


def test_what_was_written_is_there_and_nothing_else(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "er" / "file.bin"
    write_bytes(target, b"one")
    assert target.read_bytes() == b"one"
    write_bytes(target, b"two")
    assert target.read_bytes() == b"two"
    assert os.listdir(target.parent) == ["file.bin"]


def test_the_target_is_the_old_file_until_the_end(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("old")
    with atomic_path(target) as temporary:
        assert temporary.parent == target.parent, "renaming is atomic within one file system alone"
        assert temporary.name.startswith(".")
        temporary.write_text("new")
        assert target.read_text() == "old"
    assert target.read_text() == "new"


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt, SystemExit, OSError])
def test_an_exception_leaves_the_old_file_and_no_temporary_one(tmp_path: Path, error: type[BaseException]) -> None:
    target = tmp_path / "file"
    target.write_text("old")
    with pytest.raises(error), atomic_path(target) as temporary:
        temporary.write_text("half")
        raise error
    assert target.read_text() == "old"
    assert os.listdir(tmp_path) == ["file"]
    with pytest.raises(error), atomic_path(tmp_path / "new") as temporary:
        raise error
    assert os.listdir(tmp_path) == ["file"]


KILLED = """
import os, signal, sys
from pathlib import Path
from featcli.files import atomic_path
with atomic_path(Path(sys.argv[1])) as temporary:
    with temporary.open("wb") as file:
        file.write(b"half")
        file.flush()
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "file"
    target.write_text("old")
    process = subprocess.run([sys.executable, "-c", KILLED, str(target)], check=False, capture_output=True)
    assert process.returncode == -signal.SIGKILL, process.stderr
    assert target.read_text() == "old"
    (left,) = set(os.listdir(tmp_path)) - {"file"}
    assert left.startswith(".file.")
    assert left.endswith(".tmp")
    write_text(target, "new")
    assert target.read_text() == "new"


REPEATED = """
import sys
from pathlib import Path
from featcli.files import write_bytes
for number in range(10**9):
    write_bytes(Path(sys.argv[1]), str(number).encode() * 50_000)
    if number == 0:
        print("going", flush=True)
"""


def test_a_kill_at_any_moment_leaves_a_whole_file(tmp_path: Path) -> None:
    target = tmp_path / "file"
    for wait in (0.0, 0.01, 0.017, 0.03):
        process = subprocess.Popen([sys.executable, "-c", REPEATED, str(target)], stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        assert process.stdout.readline() == "going\n"
        time.sleep(wait)
        process.kill()
        process.communicate()
        data = target.read_bytes()
        number = data[: len(data) // 50_000]
        assert data == number * 50_000
        int(number)


# Permissions


@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664), (0o000, 0o666)])
def test_permissions_are_the_umasks(tmp_path: Path, mask: int, mode: int) -> None:
    before = os.umask(mask)
    try:
        write_bytes(tmp_path / "file", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


# Names


@pytest.mark.parametrize(
    "name", ["a" * 255, "写" * 85, "🐈" * 63, "\udcff" * 255, "-", "new\nline", "a b", ".hidden", "x.safetensors"]
)
def test_every_name_that_the_file_system_takes(tmp_path: Path, name: str) -> None:
    write_bytes(tmp_path / name, b"data")
    assert os.listdir(tmp_path) == [name]
    assert (tmp_path / name).read_bytes() == b"data"


# Errors


def test_a_file_in_the_way_of_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    target = tmp_path / "file" / "below" / "x"
    with pytest.raises(StorageError) as caught:
        write_bytes(target, b"")
    assert caught.value.message == f"cannot write {target}: Not a directory"
    assert caught.value.hint is not None
    assert "-o (results) or --cache (features)" in caught.value.hint
    assert caught.value.exit_code == 4
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_in_the_place_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    with pytest.raises(StorageError, match=r"cannot write .*/target: Is a directory"):
        write_bytes(tmp_path / "target", b"")
    assert os.listdir(tmp_path) == ["target"]


def test_a_name_that_is_too_long(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="File name too long"):
        write_bytes(tmp_path / ("x" * 300), b"")
    assert os.listdir(tmp_path) == []


def test_a_folder_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o555)
    if os.access(tmp_path, os.W_OK):
        tmp_path.chmod(0o755)
        pytest.skip("root writes everywhere")
    try:
        with pytest.raises(StorageError, match="Permission denied"):
            write_bytes(tmp_path / "file", b"")
    finally:
        tmp_path.chmod(0o755)


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "file"
    write_bytes(target, b"old")
    # In a process of its own: the limit would hold for the output of the tests too.
    code = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from featcli.errors import StorageError\n"
        "from featcli.files import write_bytes\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (4096, -1))\n"
        "try:\n"
        "    write_bytes(Path(sys.argv[1]), bytes(5000))\n"
        "except StorageError as error:\n"
        "    print(error.message)\n"
    )
    ran = subprocess.run([sys.executable, "-c", code, str(target)], capture_output=True, text=True, check=True)
    assert ran.stdout == f"cannot write {target}: File too large\n"
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["file"]


def test_no_space_left_tells_what_to_do() -> None:
    with (
        pytest.raises(StorageError, match="cannot write /x: No space left on device") as caught,
        storage_errors(Path("/x")),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert caught.value.hint == "Free some space, or choose another place with -o (results) or --cache (features)."


def test_what_cannot_be_read_is_said_to_be_read() -> None:
    with (
        pytest.raises(StorageError, match=r"^cannot read /x: Permission denied$"),
        storage_errors(Path("/x"), doing="read"),
    ):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


def test_other_errors_pass_through_storage_errors() -> None:
    with pytest.raises(ValueError, match=r"^mine$"), storage_errors(Path("/x")):
        raise ValueError("mine")


# Formats


def test_json_is_strict_and_keeps_its_order(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"z": 1, "a": ["é", None, 0.1]})
    assert path.read_text("utf-8") == '{\n  "z": 1,\n  "a": [\n    "é",\n    null,\n    0.1\n  ]\n}\n'
    assert list(json.loads(path.read_text())) == ["z", "a"]
    with pytest.raises(ValueError, match="Out of range float"):
        write_json(path, {"x": float("nan")})
    assert json.loads(path.read_text())["z"] == 1


def test_file_names_that_are_not_utf8_keep_their_bytes(tmp_path: Path) -> None:
    write_text(tmp_path / "x", os.fsdecode(b"\xff\xfe.jpg"))
    assert (tmp_path / "x").read_bytes() == b"\xff\xfe.jpg"


def test_sha256_of_a_file(tmp_path: Path) -> None:
    data = bytes(range(256)) * 5000
    (tmp_path / "x").write_bytes(data)
    assert sha256_of_file(tmp_path / "x") == hashlib.sha256(data).hexdigest()
