"""HEIF (the HEIC of phones), by pillow-heif where that is installed: the extra `heif`.

libheif turns and mirrors as the file's own boxes say; an EXIF orientation beside them is a copy, as the format's
definition has it, and pillow-heif takes it away. Of several images, the primary one. Deeper ones become 8 bits.
"""

from __future__ import annotations

import importlib.util
from typing import BinaryIO

from PIL import Image

from featcli.data.readers.reader import UnreadableImage

HEIF_ENDINGS = (".heic", ".heif", ".hif")
INSTALL = "pip install 'featcli[heif]'"
HAS_HEIF = importlib.util.find_spec("pillow_heif") is not None


def open_heif(file: BinaryIO) -> Image.Image:
    """Opens a HEIF image; nothing is registered with Pillow.

    Raises:
        UnreadableImage: pillow-heif is broken.
        SyntaxError: libheif cannot read the file.
    """
    try:
        from pillow_heif import HeifImageFile
    except ImportError as error:
        raise UnreadableImage(f"a HEIC image, and pillow-heif is broken: {error}; install it again") from error
    image: Image.Image = HeifImageFile(file)  # type: ignore[no-untyped-call]
    return image
