"""An image as it is named, and where its bytes come from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO, Protocol


class UnreadableImage(Exception):
    """An image that cannot become pixels; the message is the reason, fit for a row."""


class Reader(Protocol):
    """A place that images lie in: folders of files; an archive, a table."""

    def read(self, ref: ImageRef) -> bytes:
        """All bytes of an image, never none.

        Raises:
            UnreadableImage: they cannot be had.
        """

    def open(self, ref: ImageRef) -> BinaryIO:
        """The same bytes to be read in part, for a look at the header.

        Raises:
            UnreadableImage: they cannot be had.
        """


@dataclass(frozen=True, slots=True)
class ImageRef:
    """One image, before anything of it is read.

    Attributes:
        name: what the user knows it by: a path as it was given.
        locator: what its reader finds it by; a file's is its path.
        reader: gives its bytes.
        digest: sha256 of its bytes as they were when it was listed; None where that is not known.
    """

    name: str
    locator: str
    reader: Reader
    digest: bytes | None = None
