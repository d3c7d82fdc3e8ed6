"""How a path that the user gives is written: what lies there decides, and only a regular file is ever replaced."""

from __future__ import annotations

import errno
import os
import re
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

from featcli.errors import StorageError, UsageError

STDOUT = Path("-")
_STDOUT_DESCRIPTOR = 1
_MOST_LINKS = 40  # as many as Linux follows
_KERNEL = ("/proc/", "/sys/")  # no file can be made or renamed there; some links there lead to what has no name


@dataclass(frozen=True, slots=True)
class Place:
    """Where the bytes for a path go.

    Attributes:
        path: with links followed.
        is_stream: whether it is written into as it is (a pipe, a device, an open descriptor); else a regular file, that
            is there or not, and is made beside and renamed.
        descriptor: the open descriptor that the path means, or None.
        replaced: what is known of the file that is there already, or None.
    """

    path: Path
    is_stream: bool = False
    descriptor: int | None = None
    replaced: os.stat_result | None = None

    @property
    def is_stdout(self) -> bool:
        """Whether it leads where the answers go."""
        return self.descriptor == _STDOUT_DESCRIPTOR

    @property
    def is_terminal(self) -> bool:
        """Whether somebody looks at it."""
        return self.descriptor is not None and os.isatty(self.descriptor)

    def open_stream(self) -> int:
        """A descriptor of the pipe or device, to be closed; a pipe without a reader is waited for.

        Raises:
            StorageError: standard output is closed.
            OSError: it cannot be opened.
        """
        if self.is_stdout and sys.stdout is None:
            raise StorageError("cannot write to standard output: it is closed")
        if self.descriptor is not None:
            return os.dup(self.descriptor)  # opened anew, a file behind it would be written from its beginning
        return os.open(self.path, os.O_WRONLY | os.O_NOCTTY)


def find_place(target: Path) -> Place:
    """Decides how a path is written.

    `-` is standard output; links are followed, also to what does not exist yet.

    Raises:
        StorageError: it is a socket or a disk.
        OSError: it is a folder, or cannot be looked at.
    """
    if target == STDOUT:
        return Place(target, is_stream=True, descriptor=_STDOUT_DESCRIPTOR)
    found = _follow(target)
    if isinstance(found, int):
        return Place(target, is_stream=True, descriptor=found)
    try:
        facts = found.stat()
    except FileNotFoundError:
        return Place(found)
    mode = facts.st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if stat.S_ISSOCK(mode) or stat.S_ISBLK(mode):
        what = "a socket" if stat.S_ISSOCK(mode) else "a disk"
        raise StorageError(f"cannot write {target}: it is {what}", "Name a file, a pipe, or - for standard output.")
    if not stat.S_ISREG(mode) or str(found).startswith(_KERNEL):
        return Place(found, is_stream=True)
    return Place(found, replaced=facts)


def check_output_folder(folder: Path) -> None:
    """Refuses standard output for what is a folder.

    Raises:
        UsageError: it is `-`.
    """
    if folder.name == STDOUT.name:
        raise UsageError("the output is a folder, which cannot go to standard output", "Name a folder with -o.")


def _follow(target: Path) -> Path | int:
    """The path behind all links; a number is a descriptor of this process: `/dev/stdout`, `/dev/fd/63`."""
    path = os.fspath(target)
    for _ in range(_MOST_LINKS):
        folder, name = os.path.split(path)
        folder = os.path.realpath(folder)
        if name.isdecimal() and re.fullmatch(rf"/dev/fd|/proc/{os.getpid()}(/task/\d+)?/fd", folder):
            return int(name)
        path = os.path.join(folder, name)
        if path.startswith(_KERNEL) or not os.path.islink(path):
            return Path(path)
        path = os.path.join(folder, os.readlink(path))
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
