"""From bytes to upright RGB pixels: the one place where this policy is written down.

* The content decides the format, never the ending; only those of `IMAGE_FORMATS` are opened (none runs code). What is
  something else is named for what it is (`featcli.signatures`); so is a camera's raw file, whose picture is a preview.
* EXIF orientation is applied. An EXIF block that cannot be read counts as none.
* 16-bit grey is scaled to 8 bits (65535 becomes 255; of 12-bit TIFF, 4095; of PNM, the largest value that it names),
  not clipped; a TIFF in which 0 is white is inverted. Given a range, 16-bit grey (not 12-bit TIFF and PNM of another
  largest value, which say what they use) is clipped to that and its ends become 0 and 255. Of 16-bit colour Pillow
  keeps the high bytes: no range applies. Floating-point pixels have none: an error.
* Transparency is composited on white. Palettes, grey, CMYK and the rest go through Pillow's conversion.
* Of an animation, the first frame. Texts and colour profiles are not used, whatever their size.
* A TIFF whose planes are apart is read where Pillow reads it rightly, or can be told how; else it is an error.
* Truncated files and images of more than `MAX_PIXELS` pixels are errors, as is JPEG whose data is garbled. Pillow
  is silent about some of them: see `featcli.data.pixels.jpeg` and `featcli.data.pixels.png`.
* JPEG is decoded by `featcli.data.pixels.jpeg` where that reads it, else by Pillow; the pixels are the same.

`PIXEL_PIPELINE` is part of every stored feature's key: a change of this policy, or of the resizing in
`featcli.data.pixels.preprocessing`, raises it.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError, features
from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    PHOTOMETRIC_INTERPRETATION,
    TiffImageFile,
)

from featcli.data.pixels.heif import HAS_HEIF, HEIF_ENDINGS, INSTALL, open_heif
from featcli.data.pixels.jpeg import SCALES, decode_jpeg
from featcli.data.pixels.picture import Picture, Turn, stored_size
from featcli.data.pixels.png import is_png, require_whole, without_words
from featcli.data.pixels.pnm import PNM_ENDINGS, PnmHeader, is_pnm, read_header, read_pixels
from featcli.data.pixels.tiff import prepare_tiff
from featcli.data.readers.reader import UnreadableImage
from featcli.signatures import HEAD_BYTES, is_heif, is_hevc, recognise

PIXEL_PIPELINE = 5
MAX_PIXELS = 178_956_970  # half a gigabyte of RGB, where Pillow too stops by default
_PILLOWS = tuple(
    name for name in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "AVIF") if name != "AVIF" or features.check("avif")
)
IMAGE_FORMATS = (*_PILLOWS, "PNM", *(("HEIF",) if HAS_HEIF else ()))
EXTENSIONS = frozenset(
    (".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff", *PNM_ENDINGS)
    + ((".avif",) if "AVIF" in IMAGE_FORMATS else ())
    + (HEIF_ENDINGS if HAS_HEIF else ())
)
UNREAD_ENDINGS = {} if HAS_HEIF else dict.fromkeys(HEIF_ENDINGS, f"{INSTALL} reads them")
BACKGROUND = (255, 255, 255)
SIXTEEN_BITS = 65535
GreyRange = tuple[int, int]  # the values that become 0 and 255
_TWELVE_BITS = 4095
_BAND_PIXELS = 1 << 20
_JPEGS = ("JPEG", "MPO")

# Our own check replaces Pillow's, whose warning between one and two times its limit reaches nobody here.
Image.MAX_IMAGE_PIXELS = None


@dataclass(frozen=True, slots=True)
class Decoding:
    """How images are decoded.

    Attributes:
        grey_range: of 16-bit grey, the values that become 0 and 255; None for 0 and 65535.
        least: of a JPEG, the shorter side in pixels that is enough: it becomes a half, a quarter or an eighth as large
            while it is decoded, if that leaves so many; None for all pixels.
    """

    grey_range: GreyRange | None = None
    least: int | None = None

    def scale(self, size: tuple[int, int]) -> int:
        """1, or by what the sides of a JPEG of this width and height are divided."""
        if self.least is None:
            return 1
        return next((scale for scale in SCALES if min(size) >= scale * self.least), 1)


EXACT = Decoding()


def decode_rgb(data: bytes, grey_range: GreyRange | None = None) -> Image.Image:
    """Decodes the bytes of one image file to an upright image of mode RGB.

    Args:
        data: the file.
        grey_range: of 16-bit grey, the values that become 0 and 255; None for 0 and 65535.

    Raises:
        UnreadableImage: unknown format, damaged or truncated data, too many pixels, no defined range.
    """
    return decode_picture(data, Decoding(grey_range)).upright()


def decode_picture(data: bytes, decoding: Decoding = EXACT) -> Picture:
    """The same without turning it, and scaled where that is asked for.

    Raises:
        UnreadableImage: as `decode_rgb` does.
    """
    with _opened(io.BytesIO(data)) as image:
        size = image.size
        stored: Image.Image | NDArray[np.uint8] | None = None
        if image.format in _JPEGS:
            stored = _decode_jpeg(image, data, decoding.scale(size))
        if stored is None:
            _scale_transparency(image)
            _load(image, data)
            stored = _to_rgb(image, decoding.grey_range)
        turn = _turn(image)
        return Picture(stored, stored_size(size, turn), turn)


def _load(image: Image.Image, data: bytes) -> None:
    image.load()
    if is_png(data):
        require_whole(data, image)


def _decode_jpeg(image: Image.Image, data: bytes, scale: int) -> NDArray[np.uint8] | None:
    """The pixels of a JPEG that Pillow has opened; None where Pillow is to load it, scaled."""
    pixels = decode_jpeg(data, image.size, scale)
    if pixels is None and scale > 1:
        image.draft(None, (image.width // scale, image.height // scale))
    return pixels


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What an image file holds, before any conversion.

    Attributes:
        format: as Pillow names it: `JPEG`, `PNG`, ...
        mode: of its pixels, as Pillow names it: `RGB`, `L`, `P`, `CMYK`, `I;16`, ...
        width: in pixels, as stored (before EXIF orientation).
        height: likewise.
        levels: the largest value that its grey pixels can have: 65535, 4095 (12-bit TIFF) or 255.
        largest: the largest value that they have; None unless it is 16-bit grey and was decoded.
    """

    format: str
    mode: str
    width: int
    height: int
    levels: int = 255
    largest: int | None = None

    @property
    def is_16_bit(self) -> bool:
        """Whether it is grey with 16 bits, of which a camera may use fewer."""
        return self.levels == SIXTEEN_BITS


def inspect_image(file: BinaryIO, *, decode: bool) -> ImageFacts:
    """Reads what an image file holds.

    Args:
        file: its bytes; without `decode` the header alone is read.
        decode: whether to decode it too, as quickly as its format allows, so that whatever `decode_rgb` would refuse is
            refused here too.

    Raises:
        UnreadableImage: as `decode_rgb` does.
    """
    if decode and not isinstance(file, io.BytesIO):
        file = io.BytesIO(file.read())
    head = file.read(HEAD_BYTES)
    file.seek(0)
    if is_pnm(head) and not decode:
        header = _pnm_header(head if len(head) < HEAD_BYTES else file.read())
        levels = SIXTEEN_BITS if header.mode == "I;16" else 255
        return ImageFacts("PNM", header.mode, header.width, header.height, levels)
    with _opened(file) as image:
        facts = ImageFacts(image.format or "", image.mode, *image.size, _levels(image))
        if decode and isinstance(file, io.BytesIO):
            if image.format in _JPEGS:  # all of the data is read, an eighth of the rows and columns are made
                if _decode_jpeg(image, file.getvalue(), SCALES[0]) is not None:
                    return facts
            _load(image, file.getvalue())
            if image.mode[0] in "IFP":
                _to_rgb(image)
            if facts.is_16_bit:
                return replace(facts, largest=int(np.asarray(image).max()))
        return facts


def grey_values(data: bytes) -> NDArray[Any] | None:
    """The values (H, W) of 16-bit grey as the file has them, 0 to 65535; None of any other image.

    Raises:
        UnreadableImage: as `decode_rgb` does.
    """
    with _opened(io.BytesIO(data)) as image:
        if _levels(image) != SIXTEEN_BITS:
            return None
        _load(image, data)
        values = np.asarray(image)
        _check_values(values, SIXTEEN_BITS)
        return values


def bit_range(largest: int) -> GreyRange:
    """0 to the largest value of the fewest bits that cameras have (8, 10, 12, 14 or 16) and that hold `largest`."""
    return 0, next(2**bits - 1 for bits in (8, 10, 12, 14, 16) if largest < 2**bits)


def is_narrow(largest: int) -> bool:
    """Whether 16-bit grey of this largest value uses under a quarter of its range, so that it is dark."""
    return 4 * largest < SIXTEEN_BITS


@contextlib.contextmanager
def _opened(file: BinaryIO) -> Iterator[Image.Image]:
    """Opens an image of a known format and size; whatever goes wrong with it inside becomes a reason."""
    try:
        with _open(file) as image:
            _require_size(*image.size)
            if isinstance(image, TiffImageFile):
                prepare_tiff(image)
            yield image
    except UnidentifiedImageError as error:
        raise UnreadableImage(_unidentified(file)) from error
    except MemoryError as error:
        raise UnreadableImage("not enough memory to decode it") from error
    except UnreadableImage:
        raise
    except Exception as error:  # Pillow's plugins raise whatever a damaged file leads them to
        reason = str(error) or type(error).__name__
        raise UnreadableImage(f"damaged image: {reason[:1].lower()}{reason[1:]}") from error


def _open(file: BinaryIO) -> Image.Image:
    head = file.read(HEAD_BYTES)
    file.seek(0)
    if is_pnm(head):
        data = file.read()
        return read_pixels(data, _pnm_header(data))
    if HAS_HEIF and is_hevc(head):
        return open_heif(file)
    if is_png(head) and isinstance(file, io.BytesIO):  # all of it is here
        file = io.BytesIO(without_words(file.getvalue()))
    try:
        return Image.open(file, formats=_PILLOWS)
    except UnidentifiedImageError:
        if HAS_HEIF and is_heif(head):
            file.seek(0)
            return open_heif(file)
        raise
    except ValueError:  # of a PNG's header alone, with a text or profile before its pixels that is too large
        if not is_png(head) or isinstance(file, io.BytesIO):
            raise
        file.seek(0)
        return Image.open(io.BytesIO(without_words(file.read())), formats=_PILLOWS)


def _pnm_header(data: bytes) -> PnmHeader:
    header = read_header(data)
    _require_size(header.width, header.height)
    return header


def _require_size(width: int, height: int) -> None:
    if width * height > MAX_PIXELS:
        raise UnreadableImage(f"{width} x {height} pixels are more than the limit of {MAX_PIXELS}")


def _unidentified(file: BinaryIO) -> str:
    """Why Pillow could not open a file: the format is none of ours, or what follows its first bytes is damaged."""
    file.seek(0)
    head = file.read(HEAD_BYTES)
    kind = recognise(head)
    for name in _PILLOWS if not is_heif(head) else ():
        accepts = Image.OPEN[name][1]
        if accepts is not None and accepts(head[:16]):
            return f"damaged image: its {name} header is incomplete, or of a kind that is not supported"
    if kind is not None:
        return f"{kind.words}, {'which is not read' if kind.is_image else 'not an image'}: {kind.step}"
    return f"not an image of a known format ({', '.join(IMAGE_FORMATS)})"


_TURNS = {
    2: Turn.FLIP_LEFT_RIGHT,
    3: Turn.ROTATE_180,
    4: Turn.FLIP_TOP_BOTTOM,
    5: Turn.TRANSPOSE,
    6: Turn.ROTATE_270,
    7: Turn.TRANSVERSE,
    8: Turn.ROTATE_90,
}


def _turn(image: Image.Image) -> Turn | None:
    """What makes a decoded image upright. `ImageOps.exif_transpose` gives up where any other tag is broken."""
    try:
        return _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # a broken EXIF block says nothing about the pixels, which are decoded already
        return None


def _scale_transparency(image: Image.Image) -> None:
    """Brings a PNG's transparent grey or colour to 8 bits, as the pixels will be; Pillow leaves it at the file's depth.

    Called before the image is loaded, as only then the depth is known. Of 16-bit colour Pillow keeps the high bytes.
    """
    transparent = image.info.get("transparency")
    if image.format != "PNG" or transparent is None or not isinstance(image, ImageFile.ImageFile):
        return
    depth = image.tile[0].args if image.tile else None
    if depth in ("L;2", "L;4"):  # higher bits have no meaning, by the format's definition
        image.info["transparency"] = transparent % 4 * 85 if depth == "L;2" else transparent % 16 * 17
    elif depth == "RGB;16B":
        image.info["transparency"] = tuple(value >> 8 for value in transparent)


def _to_rgb(image: Image.Image, grey_range: GreyRange | None = None) -> Image.Image:
    if image.mode.startswith("I"):
        image = _from_16_bit(image, grey_range)
    elif image.mode == "F":
        raise UnreadableImage("floating-point pixels have no defined range; save them as 8 or 16 bits")
    elif image.mode == "P" and image.palette is None:
        raise UnreadableImage("damaged image: it has no palette")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        canvas = Image.new("RGBA", rgba.size, (*BACKGROUND, 255))
        return Image.alpha_composite(canvas, rgba).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _levels(image: Image.Image) -> int:
    """As `ImageFacts.levels`."""
    if not image.mode.startswith("I"):
        return 255
    is_12_bit = isinstance(image, TiffImageFile) and image.tag_v2.get(BITSPERSAMPLE) == (12,)
    return _TWELVE_BITS if is_12_bit else SIXTEEN_BITS


def _check_values(values: NDArray[Any], full: int) -> None:
    if values.min() < 0 or values.max() > full:
        raise UnreadableImage(
            f"pixels outside 0 to {full} have no defined range; save them as 8 bits, or as 16 bits without a sign"
        )


def _from_16_bit(image: Image.Image, grey_range: GreyRange | None) -> Image.Image:
    """Modes I;16, I;16B and I, Pillow's containers for 12-bit and 16-bit grey, to L: the largest value becomes 255.

    In bands of rows: the wider numbers of the arithmetic would take many times the image's memory.
    """
    full = _levels(image)
    low, high = grey_range if grey_range is not None and full == SIXTEEN_BITS else (0, full)
    values = np.asarray(image)
    grey = np.empty(values.shape, dtype=np.uint8)
    rows = 1 + _BAND_PIXELS // image.width
    for top in range(0, image.height, rows):
        band = values[top : top + rows].astype(np.int64)
        _check_values(band, full)
        grey[top : top + rows] = ((band.clip(low, high) - low) * 255 + (high - low) // 2) // (high - low)
        if (transparent := image.info.get("transparency")) is not None:
            grey[top : top + rows][band == transparent] = 255  # white, the background
    if isinstance(image, TiffImageFile) and image.tag_v2.get(PHOTOMETRIC_INTERPRETATION) == 0:
        np.subtract(255, grey, out=grey)  # 0 is white: Pillow itself inverts up to 8 bits
    return Image.fromarray(grey)
