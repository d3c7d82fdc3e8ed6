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
_LARGE_PIXELS = 1 << 26  # below, speed counts: torch takes 12 ms for 24 megapixels
_BAND_PIXELS = 1 << 22
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
    width, height = stored_size(size, picture.turn)
    part = stored_window(window, (width, height), picture.turn)
    if max(picture.size[0] * picture.size[1], width * height) > _LARGE_PIXELS:
        swapped = (width, height) != size
        return turned(
            _window_alone(picture.stored, (width, height), interpolation, part, down_first=swapped), picture.turn
        )
    pixels = picture.array()
    steps = [(height, width)]
    if (width, height) != size:  # across the upright image comes first, as if it had been turned before
        steps.insert(0, (height, pixels.shape[1]))
    resized = (_by_torch if by_torch else _by_numpy)(pixels, steps, interpolation)
    return turned(part.of(resized), picture.turn)


def _window_alone(
    stored: Image.Image | NDArray[np.uint8],
    size: tuple[int, int],
    interpolation: str,
    window: Window,
    *,
    down_first: bool,
) -> NDArray[np.uint8]:
    """Computes a window of a large image, or of one that becomes large, in memory that does not grow with either.

    Args:
        stored: mode RGB, or (H, W, 3).
        size: width and height of the resized image.
        interpolation: as `resize_and_crop` takes it.
        window: of the resized image.
        down_first: whether the height changes before the width.

    Returns:
        (H', W', 3), the same bits as those of the window of the whole.
    """
    columns = slice(window.left, window.left + window.width)
    rows = slice(window.top, window.top + window.height)
    before = stored.size if isinstance(stored, Image.Image) else stored.shape[1::-1]
    if down_first:
        steps, along = (size[1], rows, size[0], columns), 0
    else:
        steps, along = (size[0], columns, size[1], rows), 1
    # The first step is taken in bands that lie along it; what is left of it is narrow.
    count = max(1, _BAND_PIXELS // before[1 - along])
    bands = []
    for start in range(0, before[along], count):
        box = (0, start, before[0], min(start + count, before[1]))
        if along == 0:
            box = (start, 0, min(start + count, before[0]), before[1])
        band = _part_of(stored, box)
        bands.append(resize_across(band if along == 1 else band.transpose(1, 0, 2), steps[0], interpolation, steps[1]))
    across = np.concatenate(bands)
    found = resize_across(across.transpose(1, 0, 2), steps[2], interpolation, steps[3])
    return found if along == 0 else found.transpose(1, 0, 2)


def _part_of(stored: Image.Image | NDArray[np.uint8], box: tuple[int, int, int, int]) -> NDArray[np.uint8]:
    if isinstance(stored, Image.Image):
        return np.asarray(stored.crop(box))
    return stored[box[1] : box[3], box[0] : box[2]]


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
        pixels = resize_across(pixels, width, interpolation)
        pixels = resize_across(pixels.transpose(1, 0, 2), height, interpolation).transpose(1, 0, 2)
    return pixels
