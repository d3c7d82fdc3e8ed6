"""Thumbnails, as the pipeline reads the images, taken when the page is made."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from featcli.data.pixels.decoding import Decoding, GreyRange
from featcli.data.pixels.loading import load_pixels
from featcli.data.pixels.picture import Picture
from featcli.data.prefetch import ordered_batches
from featcli.data.readers.files import file_ref
from featcli.events import Emit, Progress
from featcli.report.material import Listed

LARGE, SMALL = 160, 96  # pixels of the longer side
_QUALITY = {LARGE: 78, SMALL: 70}
_BATCH = 16
CHANGED = "changed since the run"


@dataclass(frozen=True, slots=True)
class Wanted:
    """An image that is to be shown, and how many pixels its longer side may have."""

    image: Listed
    side: int


@dataclass(frozen=True, slots=True)
class Thumbnail:
    """What became of an image.

    Attributes:
        source: a `data:` URL; empty where there is no picture.
        width: in pixels.
        height: in pixels.
        note: why there is none, or that the image changed; None where nothing is to be said.
    """

    source: str
    width: int
    height: int
    note: str | None = None


def take_pictures(
    wanted: Sequence[Wanted], grey_range: GreyRange | None, workers: int, budget: int, emit: Emit
) -> dict[str, Thumbnail]:
    """Thumbnails by path, as long as the budget lasts.

    Args:
        wanted: the most needed first; each path once.
        grey_range: of 16-bit grey, as the run reads it.
        workers: threads that decode.
        budget: characters that all pictures together may take.
        emit: hears how far it is.
    """
    found: dict[str, Thumbnail] = {}

    def load(item: Wanted) -> Thumbnail:
        return _take(item, grey_range)

    batches = ordered_batches(wanted, load, workers=workers, size=_BATCH)
    done = 0
    for batch in batches:
        for item, thumbnail in zip(wanted[done : done + len(batch)], batch, strict=True):
            budget -= len(thumbnail.source)
            found[item.image.path] = thumbnail if budget >= 0 else Thumbnail("", 0, 0, "left out for the page's size")
        done += len(batch)
        emit(Progress("thumbnails", done, len(wanted), finished=done == len(wanted)))
    return found


def unavailable(pictures: Mapping[str, Thumbnail]) -> list[tuple[str, str]]:
    """Paths that have no picture, or another image than the run's, each with the reason; in the order of the paths."""
    return [(path, picture.note) for path, picture in sorted(pictures.items()) if picture.note is not None]


def _take(item: Wanted, grey_range: GreyRange | None) -> Thumbnail:
    image = item.image
    decoding = Decoding(grey_range, least=2 * item.side)
    loaded = load_pixels(file_ref(image.place), lambda picture: _jpeg(picture, item.side), decoding=decoding)
    if loaded.value is None:
        return Thumbnail("", 0, 0, loaded.error)
    data, (width, height) = loaded.value
    changed = bool(image.sha256) and loaded.digest is not None and loaded.digest.hex() != image.sha256
    source = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
    return Thumbnail(source, width, height, CHANGED if changed else None)


def _jpeg(picture: Picture, side: int) -> tuple[bytes, tuple[int, int]]:
    upright = picture.upright()
    share = min(1.0, side / max(upright.size))
    size = (max(1, round(upright.width * share)), max(1, round(upright.height * share)))
    small = upright.resize(size, Image.Resampling.BOX, reducing_gap=None) if share < 1 else upright
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=_QUALITY[side], optimize=True)
    return buffer.getvalue(), size
