"""Standard output: the answer that was asked for, and nothing else."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
from typing import Any

from featcli.errors import StorageError
from featcli.streams import discard_stdout


def to_json(value: Any) -> str:
    """Strict JSON, indented."""
    return json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False)


def terminal_width() -> int | None:
    """The columns of the terminal that standard output is; None where it is none."""
    if sys.stdout is None or not sys.stdout.isatty():
        return None
    return shutil.get_terminal_size().columns


def is_piped() -> bool:
    """Whether standard output is a pipe."""
    try:
        return sys.stdout is not None and stat.S_ISFIFO(os.fstat(sys.stdout.fileno()).st_mode)
    except (OSError, ValueError):
        return False


def say(text: str) -> None:
    """The answer, on stdout; names that are not UTF-8 keep their bytes."""
    write_stdout(text.encode("utf-8", "surrogateescape") + os.linesep.encode())


def write_stdout(data: bytes) -> None:
    """Writes and flushes bytes.

    Raises:
        BrokenPipeError: nobody reads any more.
        StorageError: it is closed, or the disk that it leads to is full.
    """
    if sys.stdout is None:
        raise StorageError("cannot write to standard output: it is closed")
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        discard_stdout()
        raise StorageError(f"cannot write to standard output: {error.strerror or error}") from error
