"""Standard input, output and error as this process got them: closed ones stay closed, and a log never ends the work."""

from __future__ import annotations

import io
import os
import sys
from typing import Any

_OUTPUT, _ERROR = 1, 2


def secure_streams() -> None:
    """Makes the three descriptors safe to work with, whatever the caller did to them.

    A closed one is taken by a stand-in: the next file that is opened would get its number, and whatever a library then
    says on standard error would go into that file. Reading the input, or writing the output, still fails.

    What cannot be written to standard error (a full disk, a reader that left) is lost, and nothing else.
    """
    for descriptor, flags in ((0, os.O_WRONLY), (_OUTPUT, os.O_RDONLY), (_ERROR, os.O_WRONLY)):
        if not _is_open(descriptor):
            _stand_in(descriptor, flags)
    told = sys.stderr
    sys.stderr = io.TextIOWrapper(
        _Log(told), encoding=told.encoding if told else "utf-8", errors="backslashreplace", line_buffering=True
    )


def discard_stdout() -> None:
    """Nothing of what standard output still holds can be written: the end of the process must not try again."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, _OUTPUT)
    os.close(null)


class _Log(io.BufferedIOBase):
    """Standard error, whose failures concern nobody.

    Args:
        replaced: is kept, since it would close the descriptor when it goes.
    """

    def __init__(self, replaced: Any) -> None:
        super().__init__()
        self._replaced = replaced

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return _ERROR

    def isatty(self) -> bool:
        return os.isatty(_ERROR)

    def write(self, data: Any) -> int:
        rest = memoryview(data)
        size = rest.nbytes
        try:
            while rest:
                rest = rest[os.write(_ERROR, rest) :]
        except OSError:
            pass
        return size


def _is_open(descriptor: int) -> bool:
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def _stand_in(descriptor: int, flags: int) -> None:
    """The null device under a number that is free, opened so that only what is not asked for works."""
    opened = os.open(os.devnull, flags)
    if opened != descriptor:
        os.dup2(opened, descriptor)
        os.close(opened)
    os.set_inheritable(descriptor, True)
