"""What a file is, by its first bytes: a table of what lies in folders of images without being one that is read.

Each kind has a name in words and the next step for a person who wanted an image. To add one, add a line.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable
from dataclasses import dataclass

HEAD_BYTES = 4096  # how much of a file `recognise` needs
_LFS = "run `git lfs pull` where it was cloned"
_UNPACK = "unpack it, and name its folder"
_CONVERT = "save it as PNG or JPEG"
RAW_STEP = "develop it to JPEG, PNG or TIFF: the picture inside is a preview"
_STILLS = "take stills: ffmpeg -i FILM still%04d.png"
_DRAW = "draw it as PNG"
_DOWNLOAD = "a failed download, probably: fetch it again"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of file.

    Attributes:
        words: with its article: `a PDF document`.
        step: what to do where an image was wanted.
        is_image: whether it holds a picture, in a format that is not read.
    """

    words: str
    step: str
    is_image: bool = False


def recognise(head: bytes) -> Kind | None:
    """What a file is whose first `HEAD_BYTES` bytes (or all) these are; None where no line of the table knows it."""
    for test, kind in _KINDS:
        if test(head):
            return kind
    return None


_ENOUGH = 8  # bytes, in which UTF-16 shows


def utf16_of(start: bytes) -> str | None:
    """Which UTF-16 a text is that begins so, by its mark or by a NUL in each letter; None for any other."""
    if start.startswith(codecs.BOM_UTF16_LE):
        return "utf-16-le"
    if start.startswith(codecs.BOM_UTF16_BE):
        return "utf-16-be"
    high, low = start[1:_ENOUGH:2], start[0:_ENOUGH:2]
    if len(start) < _ENOUGH or any(high) == any(low):
        return None
    return "utf-16-be" if any(high) else "utf-16-le"


def brands(head: bytes) -> tuple[bytes, ...]:
    """The brands of an ISO base media file, the major one first; none of other files.

    Source: ISO/IEC 14496-12, the box `ftyp`.
    """
    if head[4:8] != b"ftyp":
        return ()
    end = min(int.from_bytes(head[:4], "big"), len(head))
    return (head[8:12], *(head[at : at + 4] for at in range(16, end - 3, 4)))


_HEVC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
_HEIF = _HEVC | {b"mif1", b"msf1", b"mif2", b"miaf"}


def is_avif(head: bytes) -> bool:
    """Whether it is an AVIF image, which may have HEIF's general brand first."""
    return bool({b"avif", b"avis"} & set(brands(head))) and not is_hevc(head)


def is_hevc(head: bytes) -> bool:
    """Whether it says that its pictures are coded with HEVC, as those of phones are."""
    return bool(_HEVC & set(brands(head)))


def is_heif(head: bytes) -> bool:
    """Whether it is a HEIF image (HEIC and its relatives), AVIF apart."""
    found = brands(head)
    return bool(found) and (found[0] in _HEIF or is_hevc(head)) and not is_avif(head)


def _starts(*signatures: bytes, at: int = 0) -> Callable[[bytes], bool]:
    return lambda head: head[at:].startswith(signatures)


def _major(*known: bytes) -> Callable[[bytes], bool]:
    return lambda head: brands(head)[:1] != () and brands(head)[0].startswith(known)


def _riff(form: bytes) -> Callable[[bytes], bool]:
    return lambda head: head[:4] == b"RIFF" and head[8:12] == form


def _markup(*tags: bytes) -> Callable[[bytes], bool]:
    """Text that begins with `<` and has one of these tags near its beginning."""
    pattern = re.compile(rb"<(?:" + b"|".join(tags) + rb")[\s>/]", re.IGNORECASE)
    return lambda head: _text(head).startswith(b"<") and pattern.search(_text(head)) is not None


def _text(head: bytes) -> bytes:
    """Without a byte order mark and leading blanks; UTF-16 as bytes of 8 bits, for ASCII's sake."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        head = head[2:].replace(b"\0", b"")
    return head.removeprefix(b"\xef\xbb\xbf").lstrip()


def _is_text(head: bytes) -> bool:
    text = _text(head)
    try:
        words = text[: len(text) - 3].decode() if len(head) >= HEAD_BYTES else text.decode()
    except UnicodeDecodeError:
        return False
    return all(char.isprintable() or char in "\t\n\r\f" for char in words)


def _is_dicom(head: bytes) -> bool:
    return head[128:132] == b"DICM"


def _is_tar(head: bytes) -> bool:
    return head[257:262] == b"ustar"


def _is_zeros(head: bytes) -> bool:
    return len(head) > 1 and not head.strip(b"\0")


def _is_office(head: bytes) -> bool:
    return head.startswith(b"PK\x03\x04") and (b"[Content_Types].xml" in head or b"mimetypeapplication/vnd" in head)


def _image(words: str, step: str = _CONVERT) -> Kind:
    return Kind(words, step, is_image=True)


# The first line that holds decides: the particular before the general.
_KINDS: tuple[tuple[Callable[[bytes], bool], Kind], ...] = (
    (_starts(b"version https://git-lfs"), Kind("a Git LFS pointer", _LFS)),
    (_starts(b"\0\x05\x16\x07", b"\0\x05\x16\0"),
     Kind("a Mac's AppleDouble file (._NAME)", "delete it: NAME is beside it")),
    (_is_dicom, _image("a DICOM image", "export it as 16-bit PNG, with pydicom or dcm2pnm")),
    (is_avif, _image("an AVIF image", "this Pillow cannot read it: pip install -U pillow")),
    (is_heif, _image("a HEIC image", "pip install 'featcli[heif]' reads it")),
    (_major(b"crx "), _image("a camera's raw file (CR3)", RAW_STEP)),
    (_starts(b"II*\0", b"MM\0*"), _image("a TIFF image")),  # raw files that are TIFF: see `pixels.raw`
    (_starts(b"IIU\0", b"IIRO", b"IIRS", b"MMOR", b"FUJIFILMCCD-RAW", b"FOVb", b"\0MRM"),
     _image("a camera's raw file", RAW_STEP)),
    (_starts(b"II+\0", b"MM\0+"), _image("a BigTIFF image", "save it as plain TIFF or PNG")),
    (_starts(b"\xff\x0a", b"\0\0\0\x0cJXL \r\n\x87\n"), _image("a JPEG XL image", "djxl makes it PNG or JPEG")),
    (_starts(b"\0\0\0\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"), _image("a JPEG 2000 image")),
    (_starts(b"8BPS"), _image("a Photoshop document")),
    (_starts(b"%!PS", b"\xc5\xd0\xd3\xc6"), _image("a PostScript (EPS) drawing", _DRAW)),
    (_starts(b"v/1\x01", b"#?RADIANCE", b"#?RGBE"),
     _image("a picture of high dynamic range (EXR, HDR)", "map its tones to 8 bits")),
    (_starts(b"\0\0\x01\0"), _image("an icon (ICO)")),
    (_starts(b"\xd7\xcd\xc6\x9a", b"\1\0\t\0\0\3"), _image("a Windows metafile (WMF)", _DRAW)),
    (lambda head: head[40:44] == b" EMF", _image("a Windows metafile (EMF)", _DRAW)),
    (_starts(b"PF\n", b"Pf\n"), _image("a picture of floating-point pixels (PFM)", "save it as 8 or 16 bits")),
    (_starts(b"P7\n"), _image("a PAM image", "save it as PNG or PPM")),
    (_starts(b"gimp xcf"), _image("a GIMP document")),
    (_starts(b"AT&TFORM"), _image("a DjVu document")),
    (_starts(b"SIMPLE  ="), _image("a FITS image", "save it as 16-bit PNG or TIFF")),
    (_starts(b"\x5c\x01\0\0", b"n+1\0"), _image("a NIfTI volume", "save its slices as 16-bit PNG")),
    (_starts(b"\x0a\x05\x01\x08", b"\x0a\x05\x01\x01", b"\x0a\x03\x01\x08"), _image("a PCX image")),
    (_starts(b"\x01\xda\x00", b"\x01\xda\x01"), _image("an SGI image")),
    (_starts(b"DDS "), _image("a DDS texture")),
    (_starts(b"%PDF"), Kind("a PDF document", "export its pages as PNG or JPEG")),
    (_riff(b"AVI "), Kind("a film (AVI)", _STILLS)),
    (_major(b"qt  ", b"mp4", b"isom", b"iso", b"avc1", b"M4V", b"3gp", b"mmp4", b"dash", b"XAVC"),
     Kind("a film (MP4, MOV)", _STILLS)),
    (lambda head: head[4:8] in (b"moov", b"mdat", b"wide"), Kind("a film (MOV)", _STILLS)),
    (_starts(b"\x1a\x45\xdf\xa3"), Kind("a film (WebM, Matroska)", _STILLS)),
    (_starts(b"\0\0\x01\xba", b"\0\0\x01\xb3"), Kind("a film (MPEG)", _STILLS)),
    (_is_office, Kind("an office document", "export its pictures")),
    (_starts(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"),
     Kind("an office document, or Windows' Thumbs.db", "export its pictures, or delete it")),
    (_starts(b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08"), Kind("a ZIP archive", _UNPACK)),
    (_starts(b"\x1f\x8b"), Kind("a gzip archive", _UNPACK)),
    (_starts(b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"), Kind("a compressed file", _UNPACK)),
    (_starts(b"7z\xbc\xaf\x27\x1c"), Kind("a 7z archive", _UNPACK)),
    (_starts(b"Rar!\x1a\x07"), Kind("a RAR archive", _UNPACK)),
    (_is_tar, Kind("a tar archive", _UNPACK)),
    (_starts(b"\x93NUMPY"), Kind("a NumPy array (.npy)", "save its images as PNG")),
    (_starts(b"\x89HDF\r\n\x1a\n"), Kind("an HDF5 file", "save its images as PNG")),
    (_starts(b"MATLAB 5.0 MAT-file"), Kind("a MATLAB file", "save its images as PNG")),
    (_starts(b"SQLite format 3\0"), Kind("an SQLite database", "save its images as files")),
    (_starts(b"PAR1"), Kind("a Parquet table", "give it as data.manifest, or save its images as files")),
    (_starts(b"\x7fELF", b"MZ"), Kind("a program", "remove it")),
    (_markup(b"svg"), _image("an SVG drawing", _DRAW)),
    (_markup(b"!doctype html", b"html", b"head", b"body"), Kind("an HTML page", _DOWNLOAD)),
    (_starts(b"<?xml"), Kind("an XML document", _DOWNLOAD)),
    (_is_zeros, Kind("nothing but zeros", "the copy was not finished: copy it again")),
    (lambda head: _text(head)[:1] in (b"{", b"[") and _is_text(head), Kind("a JSON document", _DOWNLOAD)),
    (lambda head: len(head) > 1 and _is_text(head), Kind("a text file", "fetch the image again, or remove it")),
)  # fmt: skip
