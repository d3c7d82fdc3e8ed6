"""From the arguments of `predict` and `extract` to images, lazily, in order."""

from __future__ import annotations

import codecs
import contextlib
import glob
import itertools
import os
import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import BinaryIO

from featcli.data.naming.finding import Finder, is_odd, near_file
from featcli.data.naming.folders import Ignored, walk_images
from featcli.data.readers.files import FILES, FileReader, file_ref
from featcli.data.readers.reader import ImageRef, UnreadableImage
from featcli.errors import FeatcliError, UsageError
from featcli.signatures import utf16_of
from featcli.text import nfc

STDIN = "-"
NEWLINE = b"\n"
_PATIENCE = 0.2  # seconds for a number that is known at the start


def expand(
    arguments: Sequence[str], ignored: Ignored, *, separator: bytes = b"\n", stdin: int = 0
) -> Iterator[ImageRef]:
    """Yields every image that the arguments mean.

    A file that is named is yielded whatever it is, also when it does not exist: it becomes a row. A folder yields the
    images below it in sorted order; one that cannot be listed becomes a row. A pattern that the shell left alone
    (`'photos/*.jpg'`) is expanded and sorted. `-` reads paths from standard input as they arrive.

    Args:
        arguments: files, folders, patterns, or `-`.
        ignored: counts what folders hold besides images.
        separator: between paths on standard input: a line feed, or NUL.
        stdin: the file descriptor to read `-` from.

    Raises:
        UsageError: a pattern with a `*` that matches nothing.
    """
    finder = Finder()
    # All patterns first: one that matches nothing is found before any row is written.
    for name in [name for argument in arguments for name in _matches(argument)]:
        if name == STDIN:
            yield from (_named(path, finder) for path in _read_paths(stdin, separator))
        elif os.path.isdir(found := finder.find(name)):
            yield from map(file_ref, walk_images(found, ignored, lambda folder, _: [folder]))
        else:
            yield _named(name, finder)


@dataclass(frozen=True, slots=True)
class _MissingFile:
    """Reads a file that was not there, and names the one that was probably meant."""

    meant: str
    files: FileReader = FILES

    def read(self, ref: ImageRef) -> bytes:
        try:
            return self.files.read(ref)
        except UnreadableImage as error:
            raise UnreadableImage(f"{error}; did you mean {self.meant}?") from error

    def open(self, ref: ImageRef) -> BinaryIO:
        return self.files.open(ref)


def _named(path: str, finder: Finder) -> ImageRef:
    """An image that is named, under the name that was given."""
    ref = replace(file_ref(path), locator=finder.find(path))
    if "\n" in path and not os.path.lexists(ref.locator):
        return replace(ref, reader=_MissingFile("one path on each line, without -0"))
    if is_odd(path) and not os.path.lexists(ref.locator):
        meant = near_file(path)
        return ref if meant is None else replace(ref, reader=_MissingFile(meant))
    return ref


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
    """The argument itself, unless it is a pattern that matches something.

    Names of photographs hold brackets and question marks: only a `*` is surely meant as a pattern.
    """
    if argument == STDIN or os.path.lexists(argument) or not glob.has_magic(argument):
        return [argument]
    matches: list[str] = []
    for spelling in dict.fromkeys((argument, nfc(argument))):
        literal, pattern = _literal_start(spelling)
        matches = matches or sorted(glob.glob(glob.escape(literal) + pattern, recursive=True))
    if not matches and "*" in pattern:
        raise UsageError(f"the pattern '{argument}' matches nothing")
    return matches or [argument]


def _literal_start(pattern: str) -> tuple[str, str]:
    """A pattern in two: the folders that exist as they are written, brackets and all, and the rest."""
    end = 0
    while (slash := pattern.find("/", end)) >= 0 and os.path.isdir(pattern[: slash + 1]):
        end = slash + 1
    return pattern[:end], pattern[end:]


def _read_paths(descriptor: int, separator: bytes) -> Iterator[str]:
    """Paths from a pipe, each as soon as it is whole; bytes that are not UTF-8 survive.

    Reads the descriptor itself: a buffered file would be locked by this thread while the interpreter shuts down.
    """
    is_lines = separator == b"\n"
    chunks: Iterable[bytes] = iter(lambda: _read(descriptor), b"")
    rest = b""
    for chunk in _as_utf8(chunks) if is_lines else chunks:
        *whole, rest = (rest + chunk).split(separator)
        yield from filter(None, (_path(name, is_lines=is_lines) for name in whole))
    if path := _path(rest, is_lines=is_lines):
        yield path


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 16)
    except OSError as error:
        raise UsageError(f"standard input cannot be read: {error.strerror}") from error


def _as_utf8(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same text in UTF-8 where it is UTF-16, as PowerShell writes it: with a mark, or with a NUL in each letter."""
    chunks = iter(chunks)
    first = next(chunks, b"")
    if first in (codecs.BOM_UTF16_LE[:1], codecs.BOM_UTF16_BE[:1]):
        first += next(chunks, b"")
    encoding = utf16_of(first)
    if encoding is None:
        yield first
        yield from chunks
        return
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    yield decoder.decode(first).removeprefix("\ufeff").encode()
    for chunk in chunks:
        yield decoder.decode(chunk).encode()
    yield decoder.decode(b"", final=True).encode()


def _path(name: bytes, *, is_lines: bool) -> str:
    """A path from its bytes; of a line without its CR, and the mark that lists from Windows begin with."""
    return os.fsdecode(name.removesuffix(b"\r").removeprefix(codecs.BOM_UTF8) if is_lines else name)
