"""A case of the corpus: a strange file, and the pixels or the reason that it must give."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from featcli.data.pixels.decoding import EXTENSIONS, decode_rgb
from featcli.data.readers.files import read_file
from featcli.data.readers.reader import UnreadableImage
from tests.corpus.samples import Pixels

DAMAGED = r"damaged image: "
HEADER = r"damaged image: its \w+ header is incomplete, or of a kind that is not supported$"
UNKNOWN = r"not an image of a known format \("
TOO_LARGE = r"\d+ x \d+ pixels are more than the limit of 178956970$"
Content = bytes | Callable[[bytes], None]


@dataclass(frozen=True, kw_only=True)
class Strange:
    """A strange file and what it must give: pixels or an error.

    Attributes:
        about: what is strange about it; unique.
        content: its bytes, or what makes it at a path.
        pixels: (H, W, 3), upright; None where it is an error.
        tolerance: largest difference from `pixels`, in levels of 255: nonzero for lossy formats and rounding.
        error: regular expression for the reason, from its start; of `predict` alone where there are pixels too.
        name: of the file, as bytes; empty for `about` with `.jpg`.
    """

    about: str
    content: Content
    pixels: Pixels | None = None
    tolerance: int = 0
    error: str | None = None
    name: bytes = b""

    @property
    def file(self) -> bytes:
        """The name of the file."""
        return self.name or self.about.replace(" ", "_").encode() + b".jpg"

    @property
    def is_walked(self) -> bool:
        """Whether a walk of the folder yields it."""
        return os.path.splitext(os.fsdecode(self.file))[1].lower() in EXTENSIONS and not self.file.startswith(b".")

    def write(self, folder: Path) -> None:
        """Makes it in a folder."""
        path = os.fsencode(folder) + b"/" + self.file
        if isinstance(self.content, bytes):
            Path(os.fsdecode(path)).write_bytes(self.content)
        else:
            self.content(path)

    def verdict(self, folder: Path) -> str | None:
        """What is wrong with the pixels or the error that featcli gives for it in this folder; None if nothing is."""
        try:
            image = decode_rgb(read_file(os.path.join(folder, os.fsdecode(self.file))))
        except UnreadableImage as error:
            if self.pixels is not None:
                return f"has pixels, but: {error}"
            return None if re.match(self.error or "", str(error)) else f"reason: {error}"
        if self.pixels is None:
            return "decoded, but is an error"
        return compare(image, self.pixels, self.tolerance)


def compare(image: Image.Image, expected: Pixels, tolerance: int) -> str | None:
    """What differs, in bands of rows: some images are large."""
    height, width, _ = expected.shape
    if (image.mode, image.size) != ("RGB", (width, height)):
        return f"{image.mode} {image.size} instead of RGB {(width, height)}"
    for top in range(0, height, 256):
        band = expected[top : top + 256]
        found = np.asarray(image.crop((0, top, width, top + len(band))))
        if not np.array_equal(found, band):
            worst = int(np.abs(found.astype(np.int16) - band).max())
            if worst > tolerance:
                return f"pixels differ by {worst}"
    return None


def good(
    about: str, content: Content, pixels: Pixels, tolerance: int = 0, *, error: str | None = None, name: bytes = b""
) -> Strange:
    return Strange(about=about, content=content, pixels=pixels, tolerance=tolerance, error=error, name=name)


def bad(about: str, content: Content, error: str = DAMAGED) -> Strange:
    return Strange(about=about, content=content, error=error)


def later(make: Callable[[], bytes]) -> Callable[[bytes], None]:
    """Content that takes long to make."""

    def write(path: bytes) -> None:
        Path(os.fsdecode(path)).write_bytes(make())

    return write
