"""Images that are files: the first reader."""

from __future__ import annotations

import errno
import os
import stat
from typing import BinaryIO

from featcli.data.readers.reader import ImageRef, UnreadableImage

# Four channels of 16 bits for each of the most pixels that are decoded; a file with a hole in it may claim any size.
MAX_BYTES = 8 * 178_956_970


def read_file(path: str) -> bytes:
    """The bytes of a regular file.

    Raises:
        UnreadableImage: no such file, not a regular file (a pipe would block for ever), too large, or it cannot be
            read.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:  # not by `with open(descriptor)`: given a folder, open() raises and leaves the descriptor open
            status = os.fstat(descriptor)
            if stat.S_ISDIR(status.st_mode):
                raise UnreadableImage("is a folder")
            if not stat.S_ISREG(status.st_mode):
                raise UnreadableImage("not a regular file")
            if status.st_size > MAX_BYTES:
                raise UnreadableImage(f"{status.st_size} bytes are more than the limit of {MAX_BYTES}")
            with open(descriptor, "rb", closefd=False) as file:
                data = file.read()
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno == errno.ENXIO:  # a socket, which cannot even be opened
            raise UnreadableImage("not a regular file") from error
        raise UnreadableImage((error.strerror or str(error)).lower()) from error
    except ValueError as error:  # a NUL byte inside the name
        raise UnreadableImage("its name holds a NUL (-0 reads a list that NULs separate)") from error
    if not data:
        raise UnreadableImage("the file is empty")
    return data


class FileReader:
    """Files, by their paths."""

    def read(self, ref: ImageRef) -> bytes:
        """As `read_file`."""
        return read_file(ref.locator)

    def open(self, ref: ImageRef) -> BinaryIO:
        """The file, opened.

        Raises:
            UnreadableImage: it cannot be.
        """
        try:
            return open(ref.locator, "rb")
        except (OSError, ValueError) as error:
            raise UnreadableImage((getattr(error, "strerror", None) or str(error)).lower()) from error


FILES = FileReader()


def file_ref(path: str, digest: bytes | None = None) -> ImageRef:
    """A file as an image."""
    return ImageRef(path, path, FILES, digest)
