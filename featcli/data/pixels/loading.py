"""The one way from an image that is named to its pixels, or to one reason why there are none."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from numpy.typing import NDArray

from featcli.data.pixels.decoding import EXACT, Decoding, ImageFacts, decode_picture, grey_values, inspect_image
from featcli.data.pixels.picture import Picture
from featcli.data.readers.reader import ImageRef, UnreadableImage

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Loaded(Generic[T]):
    """What became of an image.

    Attributes:
        digest: sha256 of the bytes that were read; None where none were, or not all.
        value: what was made of the image; None where `error` says why, or where it was not wanted.
        error: the reason, fit for a row.
    """

    digest: bytes | None
    value: T | None
    error: str | None = None


def _always(digest: bytes) -> bool:
    return True


def load_pixels(
    ref: ImageRef,
    convert: Callable[[Picture], T],
    wanted: Callable[[bytes], bool] = _always,
    *,
    decoding: Decoding = EXACT,
) -> Loaded[T]:
    """Reads, hashes and decodes an image; never raises for a bad one.

    Args:
        ref: the image.
        convert: from a picture to what is needed, such as `Preprocessing.pixels`; may raise UnreadableImage.
        wanted: by its hash, whether the image is to be decoded at all.
        decoding: `Preprocessing.decoding`.
    """
    digest = None
    try:
        data = ref.reader.read(ref)
        digest = hashlib.sha256(data).digest()
        return Loaded(digest, convert(decode_picture(data, decoding)) if wanted(digest) else None)
    except UnreadableImage as error:
        return Loaded(digest, None, str(error))


def load_facts(
    ref: ImageRef, *, decode: bool, check_size: Callable[[int, int], None] = lambda width, height: None
) -> Loaded[ImageFacts]:
    """Reads what an image holds; never raises for a bad one.

    Args:
        ref: the image.
        decode: whether all of it is decoded, to find damage; else its header alone is read.
        check_size: raises UnreadableImage for a width and height, in pixels, that cannot be used.
    """
    try:
        with io.BytesIO(ref.reader.read(ref)) if decode else ref.reader.open(ref) as file:
            facts = inspect_image(file, decode=decode)
        if decode:
            check_size(facts.width, facts.height)
        return Loaded(None, facts)
    except UnreadableImage as error:
        return Loaded(None, None, str(error))
    except OSError as error:  # of a disk, in the middle of a header
        return Loaded(None, None, (error.strerror or str(error)).lower())


def load_depth(ref: ImageRef) -> ImageFacts | None:
    """As `load_facts` by the header, but 16-bit grey is decoded, for its largest value; None of what is damaged."""
    facts = load_facts(ref, decode=False).value
    return load_facts(ref, decode=True).value if facts is not None and facts.is_16_bit else facts


def load_grey(ref: ImageRef) -> NDArray[Any] | None:
    """The values (H, W) of 16-bit grey, as the file has them; None of any other image, and of one that is damaged."""
    try:
        return grey_values(ref.reader.read(ref))
    except UnreadableImage:
        return None
