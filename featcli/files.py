"""Files that are complete or absent: written beside their place, synced, then renamed."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from featcli.errors import StorageError

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
    """Yields a path beside `target` to write to; on success it is synced and renamed to `target`.

    Whatever happens, no half-written `target` is ever seen, and a failed attempt leaves nothing behind.

    Raises:
        StorageError: the folder cannot be made or written to, or the disk is full.
    """
    shown = os.fsdecode(os.fsencode(target.name)[:100])  # bytes: that is what file systems limit, to 255
    temporary = target.with_name(f".{shown}.{secrets.token_hex(6)}.tmp")
    with storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    try:
        yield temporary
        with storage_errors(target):
            _sync(temporary)
            os.replace(temporary, target)
            _sync(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_bytes(target: Path, data: bytes) -> None:
    """Writes `data` to `target`, complete or not at all.

    Raises:
        StorageError: it cannot be written.
    """
    with atomic_path(target) as temporary, storage_errors(target):
        temporary.write_bytes(data)


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
    """Turns an `OSError` of the block into a `StorageError` that names `target`, with the next step if there is one."""
    try:
        yield
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


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
