"""A decoded image: its pixels as the file has them, and how they are to be turned.

Turning is put off until the image is small: of a photograph of 12 megapixels it takes longer than decoding.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Turn = Image.Transpose

# By what makes an image upright: whether rows become columns, after columns and rows are mirrored.
_STEPS: dict[Turn | None, tuple[bool, bool, bool]] = {
    None: (False, False, False),
    Turn.FLIP_LEFT_RIGHT: (False, True, False),
    Turn.ROTATE_180: (False, True, True),
    Turn.FLIP_TOP_BOTTOM: (False, False, True),
    Turn.TRANSPOSE: (True, False, False),
    Turn.ROTATE_270: (True, False, True),
    Turn.TRANSVERSE: (True, True, True),
    Turn.ROTATE_90: (True, True, False),
}


@dataclass(frozen=True, slots=True)
class Window:
    """A part of an image, in pixels: the first column and row, and how many of each."""

    left: int
    top: int
    width: int
    height: int

    def of(self, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A view of that part of (H, W, 3)."""
        return pixels[self.top : self.top + self.height, self.left : self.left + self.width]


@dataclass(frozen=True, slots=True)
class Picture:
    """An RGB image that may lie on its side.

    Attributes:
        stored: the pixels as the file has them: of mode RGB, or (H, W, 3) uint8, whichever its decoder gives; they may
            be fewer than the file's (`data.decode: scaled`).
        size: width and height of the upright image as the file has it, in pixels.
        turn: what makes it upright; None for nothing.
    """

    stored: Image.Image | NDArray[np.uint8]
    size: tuple[int, int]
    turn: Turn | None = None

    def upright(self) -> Image.Image:
        """The image as it is meant to be seen, of mode RGB."""
        image = self.stored if isinstance(self.stored, Image.Image) else Image.fromarray(self.stored)
        return image if self.turn is None else image.transpose(self.turn)

    def array(self) -> NDArray[np.uint8]:
        """The stored pixels: (H, W, 3), contiguous and writable."""
        return np.array(self.stored, dtype=np.uint8) if isinstance(self.stored, Image.Image) else self.stored


def as_picture(image: Image.Image | Picture) -> Picture:
    """An upright image of mode RGB as a picture; a picture as it is."""
    return image if isinstance(image, Picture) else Picture(image, image.size)


def stored_size(size: tuple[int, int], turn: Turn | None) -> tuple[int, int]:
    """Width and height as stored, of an image that is so large when it is upright; and the other way round."""
    return (size[1], size[0]) if _STEPS[turn][0] else size


def stored_window(window: Window, size: tuple[int, int], turn: Turn | None) -> Window:
    """Where a window of the upright image lies in the stored one.

    Args:
        window: of the upright image.
        size: width and height of the stored image.
        turn: what makes it upright.
    """
    swapped, mirrored_x, mirrored_y = _STEPS[turn]
    left, top, width, height = window.left, window.top, window.width, window.height
    if swapped:
        left, top, width, height = top, left, height, width
    if mirrored_x:
        left = size[0] - left - width
    if mirrored_y:
        top = size[1] - top - height
    return Window(left, top, width, height)


def turned(pixels: NDArray[np.uint8], turn: Turn | None) -> NDArray[np.uint8]:
    """A view (H, W, 3) of stored pixels that is upright."""
    swapped, mirrored_x, mirrored_y = _STEPS[turn]
    pixels = pixels[:: -1 if mirrored_y else 1, :: -1 if mirrored_x else 1]
    return pixels.swapaxes(0, 1) if swapped else pixels
