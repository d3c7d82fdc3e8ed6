"""From the bytes of an image to its pixels, or a reason: for programs that import featcli."""

from featcli.data.pixels.decoding import decode_rgb
from featcli.data.readers.reader import UnreadableImage

__all__ = ["UnreadableImage", "decode_rgb"]
