"""From the arguments of `predict` and `extract` to images, lazily, in order."""

from __future__ import annotations

import contextlib
import glob
import itertools
import os
import threading
from collections.abc import Iterator, Sequence

from featcli.data.naming.folders import Ignored, walk_images
from featcli.data.readers.files import file_ref
from featcli.data.readers.reader import ImageRef
from featcli.errors import FeatcliError, UsageError

STDIN = "-"
NEWLINE = b"\n"
_PATIENCE = 0.2  # seconds for a number that is known at the start


def expand(
    arguments: Sequence[str], ignored: Ignored, *, separator: bytes = b"\n", stdin: int = 0
) -> Iterator[ImageRef]:
    """Yields every image that the arguments mean.

    A file that is named is yielded whatever it is, also when it does not exist: it becomes a row. A folder yields the
    images below it in sorted order. A pattern that the shell left alone (`'photos/*.jpg'`) is expanded and sorted.
    `-` reads paths from standard input as they arrive.

    Args:
        arguments: files, folders, patterns, or `-`.
        ignored: counts what folders hold besides images.
        separator: between paths on standard input: a line feed, or NUL.
        stdin: the file descriptor to read `-` from.

    Raises:
        UsageError: a pattern that matches nothing.
    """
    # All patterns first: one that matches nothing is found before any row is written.
    for name in [name for argument in arguments for name in _matches(argument)]:
        if name == STDIN:
            yield from map(file_ref, _read_paths(stdin, separator))
        elif os.path.isdir(name):
            yield from map(file_ref, walk_images(name, ignored))
        else:
            yield file_ref(name)


class Total:
    """How many images the arguments mean, counted beside the work: the first row need not wait for a long walk.

    Args:
        arguments: as of `expand`; of `-` the number is never known.
        most: of which no more are used.
    """

    def __init__(self, arguments: Sequence[str], most: int | None = None) -> None:
        self._arguments, self._most = arguments, most
        self._number: int | None = None
        if STDIN not in arguments:
            counting = threading.Thread(target=self._count, daemon=True)
            counting.start()
            counting.join(_PATIENCE)

    def __call__(self) -> int | None:
        """The number, once it is known."""
        return self._number

    def _count(self) -> None:
        with contextlib.suppress(FeatcliError, OSError):  # the work meets it too, and says so
            self._number = sum(1 for _ in itertools.islice(expand(self._arguments, Ignored()), self._most))


def _matches(argument: str) -> list[str]:
    """The argument itself, unless it is a pattern."""
    if argument == STDIN or os.path.lexists(argument) or not glob.has_magic(argument):
        return [argument]
    matches = sorted(glob.glob(argument, recursive=True))
    if not matches:
        raise UsageError(f"the pattern '{argument}' matches nothing")
    return matches


def _read_paths(descriptor: int, separator: bytes) -> Iterator[str]:
    """Paths from a pipe, each as soon as it is whole; bytes that are not UTF-8 survive.

    Reads the descriptor itself: a buffered file would be locked by this thread while the interpreter shuts down.
    """
    rest = b""
    while chunk := _read(descriptor):
        *whole, rest = (rest + chunk).split(separator)
        yield from (_path(name, separator) for name in whole if name)
    if rest:
        yield _path(rest, separator)


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 16)
    except OSError as error:
        raise UsageError(f"standard input cannot be read: {error.strerror}") from error


def _path(name: bytes, separator: bytes) -> str:
    return os.fsdecode(name.removesuffix(b"\r") if separator == b"\n" else name)
