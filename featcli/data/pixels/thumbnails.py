"""Small grey versions of images, to compare and to look for empty ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featcli.data.pixels.decoding import Decoding, GreyRange
from featcli.data.pixels.loading import load_pixels
from featcli.data.pixels.picture import Picture
from featcli.data.prefetch import ordered_batches
from featcli.data.readers.reader import ImageRef

THUMBNAIL = 64  # pixels of the longer side, at most
_LEAST = 4
_BATCH = 32

Thumbnail = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Seen:
    """An image from afar.

    Attributes:
        size: width and height of the upright image as the file has it, in pixels.
        thumbnail: (h, w) uint8.
    """

    size: tuple[int, int]
    thumbnail: Thumbnail


def grey_thumbnail(picture: Picture) -> Thumbnail:
    """(h, w) uint8, upright; no side is longer than `THUMBNAIL`, and no image is enlarged."""
    image = picture.upright().convert("L")
    factor = min(1.0, THUMBNAIL / max(image.size))
    size = (max(_LEAST, round(image.width * factor)), max(_LEAST, round(image.height * factor)))
    if size != image.size:
        image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    return np.array(image)


def load_thumbnails(
    refs: Sequence[ImageRef], *, grey_range: GreyRange | None, workers: int, tick: Callable[[int], None]
) -> list[Seen | None]:
    """Thumbnails of images, in their order; None for what cannot be read.

    Args:
        refs: the images.
        grey_range: as `Decoding` has it.
        workers: threads that read and decode.
        tick: hears how many are done.
    """
    decoding = Decoding(grey_range, least=THUMBNAIL)

    def load(ref: ImageRef) -> Seen | None:
        return load_pixels(ref, lambda picture: Seen(picture.size, grey_thumbnail(picture)), decoding=decoding).value

    found: list[Seen | None] = []
    for batch in ordered_batches(refs, load, workers=workers, size=_BATCH):
        found += batch
        tick(len(found))
    return found
