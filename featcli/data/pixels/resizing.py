"""Resizing the shorter side and cropping the centre, as torchvision's preset does on a PIL image.

Of the resizers, `torch` has the filters of Pillow in vector instructions, for 8-bit pixels whose channels lie together:
a fifth of Pillow's time, and pixels that differ by a level here and there, as its weights have 16 bits. `numpy` gives
the same bits without torch, for a few images; where none is named, it is taken unless torch is imported already.
`pillow` gives the preset's own pixels.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featcli.data.pixels.antialiasing import FILTERS, resize_across
from featcli.data.pixels.picture import Picture, Window, stored_size, stored_window, turned

INTERPOLATIONS = {  # torchvision's names
    "nearest": Image.Resampling.NEAREST,
    "nearest-exact": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "box": Image.Resampling.BOX,
    "hamming": Image.Resampling.HAMMING,
    "lanczos": Image.Resampling.LANCZOS,
}
RESIZERS = ("torch", "numpy", "pillow")
_OF_TORCH = tuple(FILTERS)  # with its antialiasing; the others are Pillow's


def resized_size(size: tuple[int, int], shorter: int) -> tuple[int, int]:
    """Width and height after the shorter side has become `shorter` pixels: the longer one is rounded down."""
    width, height = size
    if width <= height:
        return shorter, int(shorter * height / width)
    return int(shorter * width / height), shorter


def resize_and_crop(
    picture: Picture, size: tuple[int, int], interpolation: str, resizer: str | None, out: NDArray[np.uint8]
) -> None:
    """Writes the centre of the resized image.

    Args:
        picture: the image.
        size: width and height of the resized upright image, in pixels.
        interpolation: a key of `INTERPOLATIONS`.
        resizer: one of `RESIZERS`; None for `torch`, or `numpy` where torch is not imported.
        out: (crop, crop, 3); where the resized image is smaller, black is around it.
    """
    crop = out.shape[0]
    (left, width, before), (top, height, above) = (_centre(side, crop) for side in size)
    window = Window(left, top, width, height)
    if resizer != "pillow" and interpolation in _OF_TORCH:
        by_torch = resizer == "torch" or (resizer is None and "torch" in sys.modules)
        part = _resized(picture, size, interpolation, window, by_torch=by_torch)
    else:
        part = _by_pillow(picture.upright(), size, interpolation, window)
    if min(width, height) < crop:
        out[:] = 0
    out[above : above + height, before : before + width] = part


def _centre(side: int, crop: int) -> tuple[int, int, int]:
    """Of one axis: the first pixel that is kept, how many are, and how many black ones are before them."""
    if side < crop:
        return 0, side, (crop - side) // 2
    return round((side - crop) / 2), crop, 0  # a half to the even number, as torchvision's center_crop


def _by_pillow(image: Image.Image, size: tuple[int, int], interpolation: str, window: Window) -> NDArray[np.uint8]:
    # Given only the window's box of the source, Pillow takes half of the time, but goes down before it goes across
    # for some sizes: of bicubic, which overshoots between the two, pixels change by 5 levels.
    return window.of(np.asarray(image if image.size == size else image.resize(size, INTERPOLATIONS[interpolation])))


def _resized(
    picture: Picture, size: tuple[int, int], interpolation: str, window: Window, *, by_torch: bool
) -> NDArray[np.uint8]:
    """A view of the window: resized as it is stored, and turned then."""
    pixels = picture.array()
    width, height = stored_size(size, picture.turn)
    steps = [(height, width)]
    if (width, height) != size:  # across the upright image comes first, as if it had been turned before
        steps.insert(0, (height, pixels.shape[1]))
    resized = (_by_torch if by_torch else _by_numpy)(pixels, steps, interpolation)
    return turned(stored_window(window, (width, height), picture.turn).of(resized), picture.turn)


def _by_torch(pixels: NDArray[np.uint8], steps: Sequence[tuple[int, int]], interpolation: str) -> NDArray[np.uint8]:
    """Resizes (H, W, 3) to each (height, width) in turn."""
    import torch
    from torch.nn.functional import interpolate

    # (1, 3, H, W), its channels last by its strides: that of the batch too, else torch takes the channels apart.
    image = torch.from_numpy(pixels).unsqueeze(0).permute(0, 3, 1, 2)
    for step in steps:
        if image.shape[2:] != step:
            image = interpolate(image, size=step, mode=interpolation, antialias=True)
    return np.asarray(image[0].permute(1, 2, 0).numpy())


def _by_numpy(pixels: NDArray[np.uint8], steps: Sequence[tuple[int, int]], interpolation: str) -> NDArray[np.uint8]:
    """The same bits."""
    for height, width in steps:
        if pixels.shape[1] != width:
            pixels = resize_across(pixels, width, interpolation)
        if pixels.shape[0] != height:
            pixels = resize_across(pixels.transpose(1, 0, 2), height, interpolation).transpose(1, 0, 2)
    return pixels
