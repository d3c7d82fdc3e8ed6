"""One run at a time in a folder: a lock that ends with the process that holds it, however that ends."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from featcli.errors import UsageError
from featcli.events import Emit, Warn
from featcli.files import storage_errors

if sys.platform != "win32":
    import fcntl

LOCK_NAME = ".lock"
_TRIES = 4  # a folder or file that goes away meanwhile, or somebody who only looks whether it is held
_PAUSE = 0.05  # seconds
_held: set[int] = set()


@contextlib.contextmanager
def only_run_in(folder: Path, emit: Emit) -> Iterator[None]:
    """Makes a folder and holds its lock; afterwards folders that were made here and are empty are gone again.

    The lock is the kernel's, on a file that tells who holds it: where the process is killed it is free, and a file that
    is left means nothing. A child that is forked does not hold it.

    Args:
        folder: of a run.
        emit: hears where the file system has no locks; then two runs at once are not noticed.

    Raises:
        UsageError: another run holds it.
        StorageError: the folder cannot be made or written to.
    """
    made: list[Path] = []
    lock = None
    try:
        lock = _take(folder, made, emit)
        yield
    finally:
        with contextlib.suppress(OSError):
            (folder / LOCK_NAME).unlink(missing_ok=True) if lock is not None else None
        if lock is not None:
            _held.discard(lock)
            os.close(lock)
        for path in reversed(made):
            with contextlib.suppress(OSError):  # it holds something
                path.rmdir()


def require_free(folder: Path) -> None:
    """Checks that no run holds a folder; changes nothing.

    Raises:
        UsageError: one does.
    """
    if sys.platform == "win32":
        return
    try:
        descriptor = os.open(folder / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        raise _busy(folder, descriptor) from None
    except OSError:
        return  # no locks here
    finally:
        os.close(descriptor)


def _take(folder: Path, made: list[Path], emit: Emit) -> int | None:
    """The descriptor that holds the lock; None where there are no locks."""
    for left in range(_TRIES - 1, -1, -1):
        with storage_errors(folder):
            try:
                _make(folder, made)
                descriptor = _open(folder)
            except FileNotFoundError:  # a run that ended has just removed the folder
                if not left:
                    raise
                continue
        _held.add(descriptor)
        try:
            if _lock(descriptor, folder, emit) and _is_at(descriptor, folder):
                with contextlib.suppress(OSError):
                    os.ftruncate(descriptor, 0)
                    os.pwrite(descriptor, f"{os.getpid()} {socket.gethostname()}\n".encode(), 0)
                return descriptor
        except BlockingIOError:
            if not left:
                busy = _busy(folder, descriptor)
                _close(descriptor)
                raise busy from None
            time.sleep(_PAUSE)
        except _NoLocks:
            _close(descriptor)
            with contextlib.suppress(OSError):
                (folder / LOCK_NAME).unlink()
            return None
        _close(descriptor)
    raise _busy(folder, None)


class _NoLocks(Exception):
    """The file system has none."""


def _lock(descriptor: int, folder: Path, emit: Emit) -> bool:
    if sys.platform == "win32":
        raise _NoLocks
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise
    except OSError as error:
        emit(
            Warn(
                f"the file system of {folder} has no locks ({error.strerror}): "
                "a second run into it at the same time would not be noticed"
            )
        )
        raise _NoLocks from error
    return True


def _make(folder: Path, made: list[Path]) -> None:
    """Makes a folder and those around it that are missing, and notes which."""
    folder = Path(os.path.realpath(folder))  # a link may lead to what does not exist yet
    missing = [path for path in (folder, *folder.parents) if not os.path.lexists(path)]
    for path in reversed(missing):
        with contextlib.suppress(FileExistsError):  # another run was faster
            path.mkdir()
            if path not in made:
                made.append(path)
    folder.mkdir(exist_ok=True)


def _open(folder: Path) -> int:
    path = folder / LOCK_NAME
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except PermissionError:
        # The file of a colleague's run that was killed, in a folder that is shared.
        if not (os.path.lexists(path) and os.access(folder, os.W_OK)):
            raise
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _is_at(descriptor: int, folder: Path) -> bool:
    """Whether the file that is locked is the one that others would lock: its last holder removes it."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(folder / LOCK_NAME))
    except OSError:
        return False


def _busy(folder: Path, descriptor: int | None) -> UsageError:
    who = ""
    with contextlib.suppress(OSError, ValueError):
        pid, host = os.pread(descriptor if descriptor is not None else -1, 300, 0).decode("ascii", "replace").split()
        who = f", process {int(pid)} on {'this machine' if host == socket.gethostname() else host}"
    return UsageError(
        f"the output {folder} is being written by another run{who}",
        "Wait until it has ended, or choose another folder with -o.",
    )


def _close(descriptor: int) -> None:
    _held.discard(descriptor)
    os.close(descriptor)


def _forget() -> None:
    """In a forked child, which would keep the lock of a parent that is killed."""
    while _held:
        with contextlib.suppress(OSError):
            os.close(_held.pop())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
