"""TIFF as Pillow has opened it, before its pixels are read: what lies in an unusual way, and what is no photograph."""

from __future__ import annotations

from PIL.TiffImagePlugin import (
    BITSPERSAMPLE,
    FILLORDER,
    PHOTOMETRIC_INTERPRETATION,
    PLANAR_CONFIGURATION,
    TILEWIDTH,
    TiffImageFile,
)

from featcli.data.readers.reader import UnreadableImage
from featcli.signatures import RAW_STEP

_NEW_SUBFILE_TYPE, _SUB_IFDS, _DNG_VERSION = 254, 330, 50706


def prepare_tiff(image: TiffImageFile) -> None:
    """Makes Pillow read the pixels that are meant; called before they are loaded.

    Raises:
        UnreadableImage: a camera's raw file, or planes apart of a kind for which Pillow would give wrong pixels.
    """
    _refuse_raw(image)
    if image.tag_v2.get(PLANAR_CONFIGURATION) == 2:
        _mend_planes(image)


def _refuse_raw(image: TiffImageFile) -> None:
    """Raw files of cameras are TIFF whose first page is a preview, often of 160 x 120 pixels.

    Source: TIFF 6.0 (NewSubfileType), the supplement on SubIFDs, Adobe's DNG.
    """
    tags = image.tag_v2
    is_preview = bool(tags.get(_NEW_SUBFILE_TYPE, 0) & 1) and _SUB_IFDS in tags
    fp = image.fp
    is_canon = False
    if fp is not None:
        place = fp.tell()
        fp.seek(8)
        is_canon = fp.read(2) == b"CR"
        fp.seek(place)
    if _DNG_VERSION in tags or is_preview or is_canon:
        kind = "DNG" if _DNG_VERSION in tags else "CR2" if is_canon else "NEF, ARW or the like"
        raise UnreadableImage(f"a camera's raw file ({kind}), which is not read: {RAW_STEP}")


def _mend_planes(image: TiffImageFile) -> None:
    """Says how the samples of a TIFF lie whose planes are apart: Pillow takes uncompressed ones for plain bytes.

    Called before the image is loaded, as only then its strips or tiles are known.

    Raises:
        UnreadableImage: Pillow would give wrong pixels for it.
    """
    bits = image.tag_v2.get(BITSPERSAMPLE, (1,))
    depth, plain = bits[0], image.tag_v2.get(FILLORDER, 1) == 1 and len(set(bits)) == 1
    if image.tile and image.tile[0].codec_name != "raw":
        known = image.mode in ("RGB", "RGBA", "CMYK") or len(image.getbands()) == 1
    elif image.mode in ("RGB", "RGBA"):
        known = plain and depth in (8, 16)
    else:
        white = image.mode != "L" or image.tag_v2.get(PHOTOMETRIC_INTERPRETATION) == 1
        known = plain and depth == 8 and white and image.mode in ("L", "P", "CMYK")
    if not known:
        raise UnreadableImage(
            f"TIFF of mode {image.mode}, {depth} bits a sample, with its planes apart is not read; "
            "save it with its planes together (PlanarConfiguration 1)"
        )
    suffix = {8: "", 16: ";16L" if image.tag_v2.prefix == b"II" else ";16B"}
    for index, part in enumerate(image.tile):
        if isinstance(part.args, tuple) and part.codec_name == "raw":
            letter, stride, turn = part.args
            wide = image.tag_v2.get(TILEWIDTH, image.width) * depth // 8  # of one plane, whatever the extra samples
            image.tile[index] = part._replace(args=(letter + suffix[depth], wide if stride else 0, turn))
