"""Not images: what somebody renamed to .jpg; and images under another format's ending."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

from tests.corpus.case import DAMAGED, UNKNOWN, Strange, bad, good
from tests.corpus.samples import (
    RGB,
    encode,
    noise,
)


def foreign() -> Iterator[Strange]:
    """What somebody renamed to .jpg."""
    contents: dict[str, tuple[bytes, str]] = {
        "eps": (
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(x) (w) file\nshowpage\n%%EOF\n",
            "a PostScript \\(EPS\\) drawing, which is not read: ",
        ),
        "pdf": (encode(RGB, "PDF"), "a PDF document, not an image: export its pages"),
        "ico": (encode(RGB, "ICO"), "an icon"),
        "tga": (encode(RGB, "TGA"), UNKNOWN),
        "pcx": (encode(RGB, "PCX"), "a PCX image, which is not read: save it as PNG or JPEG"),
        "sgi": (encode(RGB, "SGI"), "an SGI image"),
        "dds": (encode(RGB, "DDS"), "a DDS texture"),
        "jpeg 2000": (encode(RGB, "JPEG2000"), "a JPEG 2000 image, which is not read"),
        "jpeg 2000 codestream": (encode(RGB, "JPEG2000", no_jp2=True), "a JPEG 2000 image"),
        "jpeg xl": (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(99), "a JPEG XL image, which is not read: djxl"),
        "jpeg xl codestream": (b"\xff\x0a" + noise(99).tobytes(), "a JPEG XL image"),
        "psd": (b"8BPS\0\1" + bytes(6) + struct.pack(">HIIHH", 3, 13, 17, 8, 3) + bytes(999), "a Photoshop document"),
        "exr": (b"v/1\x01\2\0\0\0" + bytes(99), "a picture of high dynamic range"),
        "hdr": (b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 1 +X 1\n" + bytes(4), "a picture of high dynamic range"),
        "wmf": (b"\xd7\xcd\xc6\x9a" + bytes(99), "a Windows metafile"),
        "emf": (b"\1\0\0\0" + bytes(36) + b" EMF" + bytes(99), "a Windows metafile"),
        "pfm": (b"Pf\n2 1\n-1.0\n" + bytes(8), "a picture of floating-point pixels"),
        "pam": (b"P7\nWIDTH 1\n", "a PAM image"),
        "fits": (b"SIMPLE  =                    T" + bytes(99), "a FITS image"),
        "svg": (
            b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'><rect width='9' height='9'/></svg>",
            "an SVG drawing, which is not read: draw it as PNG",
        ),
        "bare svg": (b"\xef\xbb\xbf <SVG width='1'/>", "an SVG drawing"),
        "html": (
            b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
            "an HTML page, not an image: a failed download",
        ),
        "html of utf 16": ("\ufeff<html><body></body></html>".encode("utf-16-le"), "an HTML page"),
        "xml": (b"<?xml version='1.0'?><annotation/>", "an XML document"),
        "text": (b"a note that somebody renamed\n", "a text file, not an image"),
        "utf 16 text": ("\ufeffa note".encode("utf-16-le"), "a text file"),
        "json": (b'{"label": "cat"}', "a JSON document"),
        "zip": (
            b"PK\x03\x04\x14\0\0\0\0\0" + bytes(20) + b"x.jpg" + encode(RGB),
            "a ZIP archive, not an image: unpack",
        ),
        "docx": (b"PK\x03\x04\x14\0\6\0\0\0" + bytes(20) + b"[Content_Types].xml", "an office document"),
        "doc": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(99), "an office document"),
        "tar": (b"x.jpg".ljust(257, b"\0") + b"ustar\x0000" + bytes(247) + encode(RGB), "a tar archive"),
        "gzip": (b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + zlib.compress(encode(RGB))[2:], "a gzip archive"),
        "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(99), "a 7z archive"),
        "rar": (b"Rar!\x1a\x07\x01\0" + bytes(99), "a RAR archive"),
        "mp4": (b"\0\0\0\x18ftypisom\0\0\2\0isomiso2" + bytes(99), "a film \\(MP4, MOV\\), not an image: take stills"),
        "mov": (b"\0\0\0\x14ftypqt  \0\0\2\0qt  " + bytes(99), "a film"),
        "avi": (b"RIFF\xff\0\0\0AVI LIST" + bytes(99), "a film \\(AVI\\)"),
        "webm": (b"\x1a\x45\xdf\xa3\x9f" + bytes(99), "a film \\(WebM"),
        "cr3": (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom" + bytes(99), "a camera's raw file \\(CR3\\)"),
        "raf": (b"FUJIFILMCCD-RAW 0201" + bytes(99), "a camera's raw file, which is not read: develop it"),
        "pickle": (b"cos\nsystem\n(S'touch owned'\ntR.", "a text file"),
        "script": (b"#!/bin/sh\ntouch owned\n", "a text file"),
        "program": (b"\x7fELF\x02\x01\x01" + bytes(99), "a program"),
        "numpy": (b"\x93NUMPY\x01\0v\0{'descr': '|u1', 'shape': (9,), }" + bytes(99), "a NumPy array"),
        "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(99), "an HDF5 file"),
        "parquet": (b"PAR1" + bytes(99), "a Parquet table"),
        "dicom": (bytes(128) + b"DICM" + bytes(99), "a DICOM image, which is not read: export it"),
        "apple double": (b"\0\x05\x16\x07\0\x02\0\0Mac OS X        " + bytes(99), "a Mac's AppleDouble file"),
        "git lfs pointer": (
            b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345\n",
            "a Git LFS pointer, not an image: run `git lfs pull`",
        ),
        "one byte": (b"\xff", UNKNOWN),
        "zeros": (bytes(5000), "nothing but zeros, not an image: the copy was not finished"),
        "ones": (b"\xff" * 5000, UNKNOWN),
        "random bytes": (noise(5000, seed=14).tobytes(), UNKNOWN),
        "text that begins with BM": (b"BMW, a photograph\n", DAMAGED),
        "text that begins with GIF89a": (b"GIF89a is a format\n", DAMAGED),
        "text that begins with II": (b"II, the second\n", "a text file"),
    }
    for about, (data, reason) in contents.items():
        yield bad(f"renamed {about}", data, reason)
    yield bad("empty", b"", "the file is empty$")
    for ending, data in (
        ("jpg", encode(RGB)),
        ("png", encode(RGB, "BMP")),
        ("TIFF", encode(RGB, "WEBP", lossless=True)),
    ):
        yield good(f"wrong ending {ending}", data, RGB, name=b"wrong." + ending.encode())
    yield good("no ending", encode(RGB), RGB, name=b"no_ending")
    yield from raws()


def raws() -> Iterator[Strange]:
    """TIFF whose first page is a preview of what the camera saw."""
    preview = encode(RGB, "TIFF", tiffinfo={254: 1, 330: 8})
    yield bad("nef", preview, r"a camera's raw file \(NEF, ARW or the like\), which is not read: develop it")
    yield bad("dng", encode(RGB, "TIFF", tiffinfo={50706: b"\1\4\0\0"}), r"a camera's raw file \(DNG\)")
    whole = encode(RGB, "TIFF")
    header = whole[:4] + struct.pack("<I", int.from_bytes(whole[4:8], "little"))
    assert whole[8:10] != b"CR"
    yield good("tiff of a reduced page alone", encode(RGB, "TIFF", tiffinfo={254: 1}), RGB)
    yield bad("cr2", header + b"CR\2\0" + whole[12:], r"a camera's raw file \(CR2\)|damaged image: ")
