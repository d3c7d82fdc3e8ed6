"""Files that are complete or absent: written beside their place, synced, then renamed; pipes are written into."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from featcli.errors import StorageError, UsageError
from featcli.outputs import Place, find_place

_PIECE = 1 << 20
WEIGHTS_ENDINGS = (".pth", ".pt", ".ckpt", ".bin", ".tar", ".th", ".safetensors")
# Of files that hold weights in a form that is not read: they are named for what they are.
_FOREIGN_ENDINGS = (
    ".onnx .h5 .hdf5 .keras .pb .tflite .msgpack .npz .npy .gguf .json .index .pkl .pickle .pyth .zip .gz .tgz"
).split()  # fmt: skip


def is_weights_file(weights: str) -> bool:
    """Whether a word for weights names a file, not a published entry or a package: by its ending, or its beginning."""
    path, _ = weights_place(weights)
    return not weights.startswith("package:") and (_has_ending(path) or path.startswith(("/", "./", "../", "~")))


def weights_place(weights: str) -> tuple[str, str | None]:
    """`FILE#KEY` as the file and the key, which is None where there is none; `run#3.pth` is a file alone."""
    path, _, key = weights.rpartition("#")
    is_name = weights.startswith("package:") or "/" in key or key.lower().endswith(WEIGHTS_ENDINGS)
    return (path, key) if path and key and not is_name else (weights, None)


def _has_ending(name: str) -> bool:
    return name.lower().endswith((*WEIGHTS_ENDINGS, *_FOREIGN_ENDINGS))


@contextlib.contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yields a path to write to; on success its content is at `target`.

    A regular file is written beside its place, synced and renamed: whatever happens, no half-written `target` is ever
    seen, and a failed attempt leaves nothing behind. What it replaces hands on its permissions and, where that is
    allowed, its owner. Links are followed. A pipe, a device or `-` (standard output) is opened at once, and gets the
    whole content at the end.

    Raises:
        StorageError: the folder cannot be made or written to, or the disk is full.
        BrokenPipeError: nobody reads the pipe any more.
    """
    with storage_errors(target):
        place = find_place(target)
    with _spooled(target, place) if place.is_stream else _beside(target, place) as temporary:
        yield temporary


@contextlib.contextmanager
def open_sink(target: Path) -> Iterator[Callable[[bytes], object]]:
    """Yields a function that takes bytes for `target`: as `atomic_path`, but a pipe or device gets them at once.

    Raises:
        StorageError: as `atomic_path` and, from the function, where the bytes cannot be written.
        BrokenPipeError: nobody reads the pipe any more.
    """
    with storage_errors(target):
        place = find_place(target)
    if place.is_stream:
        with _opened(target, place) as write:
            yield write
        return
    with _beside(target, place) as temporary:
        with storage_errors(target):
            file = temporary.open("wb")

        def write(data: bytes) -> None:
            with storage_errors(target):
                file.write(data)

        try:
            yield write
            with storage_errors(target):
                file.flush()
        finally:
            with contextlib.suppress(OSError):  # what could not be flushed was said
                file.close()


@contextlib.contextmanager
def release_readers(*targets: Path | None) -> Iterator[None]:
    """Where the block fails before it opens a pipe, whoever waits to read from it gets its end."""
    try:
        yield
    except BaseException:
        for target in filter(None, targets):
            with contextlib.suppress(OSError, StorageError):
                place = find_place(target)
                if place.path.is_fifo():
                    os.close(os.open(place.path, os.O_WRONLY | os.O_NONBLOCK))  # fails where nobody waits
        raise


def check_output_file(target: Path) -> Place:
    """Where a file that `-o` names will be written, found before any work.

    Raises:
        UsageError: it is a folder.
        StorageError: nothing can be written there.
    """
    try:
        with storage_errors(target):
            return find_place(target)
    except StorageError as error:
        if isinstance(error.__cause__, IsADirectoryError):
            raise UsageError(f"the output {target} is a folder; -o names a file") from error
        raise


def write_bytes(target: Path, data: bytes) -> None:
    """Writes `data` to `target`, complete or not at all.

    Raises:
        StorageError: it cannot be written.
        BrokenPipeError: it is a pipe that nobody reads any more.
    """
    with open_sink(target) as write:
        write(data)


def remove_file(target: Path) -> None:
    """Takes a file of ours away where there is one, or the link to it; a device or pipe of that name stays.

    Raises:
        StorageError: it cannot be removed.
    """
    with storage_errors(target):
        if target.is_file():
            target.unlink(missing_ok=True)


def write_text(target: Path, text: str) -> None:
    """Writes `text` as UTF-8, complete or not at all; file names that are not UTF-8 keep their bytes."""
    write_bytes(target, text.encode("utf-8", "surrogateescape"))


def write_json(target: Path, value: Any) -> None:
    """Writes strict JSON (no NaN), indented, keys in the order given."""
    write_text(target, json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False) + "\n")


def sha256_of_file(path: Path) -> str:
    """The sha256 of a file's bytes, in hex.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextlib.contextmanager
def storage_errors(target: Path, *, doing: Literal["write", "read"] = "write") -> Iterator[None]:
    """Turns an `OSError` of the block into a `StorageError` that names `target`, with the next step if there is one.

    That a reader left (`BrokenPipeError`) is no fault of the target: it passes.
    """
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        step = _next_step(error.errno) if doing == "write" else None
        raise StorageError(f"cannot {doing} {target}: {reason}", step) from error


def _next_step(number: int | None) -> str | None:
    if number in (errno.ENOSPC, errno.EDQUOT):
        return "Free some space, or choose another place with -o (results) or --cache (features)."
    if number in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST):
        return "Choose a place that can be written to, with -o (results) or --cache (features)."
    return None


@contextlib.contextmanager
def _beside(target: Path, place: Place) -> Iterator[Path]:
    """A new file beside a regular one, which it replaces on success."""
    final, replaced = place.path, place.replaced
    shown = os.fsdecode(os.fsencode(final.name)[:100])  # bytes: that is what file systems limit, to 255
    temporary = final.with_name(f".{shown}.{secrets.token_hex(6)}.tmp")
    with storage_errors(target):
        final.parent.mkdir(parents=True, exist_ok=True)
        # Nobody may read meanwhile what they may not read in the end.
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666 if replaced is None else 0o600))
    try:
        yield temporary
        with storage_errors(target):
            _sync(temporary)
            if replaced is not None:
                _hand_on(replaced, temporary)
            os.replace(temporary, final)
            _sync(final.parent)
    finally:
        temporary.unlink(missing_ok=True)


def _hand_on(replaced: os.stat_result, path: Path) -> None:
    """Gives a new file the owner, the group and the permissions of the old one, as far as this user may."""
    here = path.stat()
    if (here.st_uid, here.st_gid) != (replaced.st_uid, replaced.st_gid):
        for owner in (replaced.st_uid, -1):  # the group alone is given away more freely
            with contextlib.suppress(OSError):
                os.chown(path, owner, replaced.st_gid)
                break
    with contextlib.suppress(OSError):  # some file systems know no permissions
        path.chmod(stat.S_IMODE(replaced.st_mode))


@contextlib.contextmanager
def _opened(target: Path, place: Place) -> Iterator[Callable[[bytes], None]]:
    """A pipe or device; the function writes all of its bytes, at once."""
    with storage_errors(target):
        descriptor = place.open_stream()

    def write(data: bytes) -> None:
        rest = memoryview(data)
        with storage_errors(target):
            while rest:
                rest = rest[os.write(descriptor, rest) :]

    try:
        yield write
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _spooled(target: Path, place: Place) -> Iterator[Path]:
    """A temporary file for formats that need to seek, whose content then goes into a pipe or device."""
    with _opened(target, place) as write:
        with storage_errors(target):
            folder = tempfile.TemporaryDirectory(prefix="featcli-", ignore_cleanup_errors=True)
        with folder as name:
            spool = Path(name, "spool")
            spool.touch()
            yield spool
            with spool.open("rb") as file:
                while piece := file.read(_PIECE):
                    write(piece)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
