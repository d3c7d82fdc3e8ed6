"""Decoding, under the name that scripts import: from the bytes of an image to its pixels, or a reason."""

from featcli.data.pixels.decoding import decode_rgb
from featcli.data.readers.reader import UnreadableImage

__all__ = ["UnreadableImage", "decode_rgb"]
