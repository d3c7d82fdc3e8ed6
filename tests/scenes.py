"""Pictures with shapes and texture, as different from one another as photographs are."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter


def scene(seed: int, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """A picture of width and height: blurred noise, with forty shapes before it."""
    random = np.random.default_rng(seed)
    width, height = size
    noise = Image.fromarray(random.integers(0, 255, (height // 8, width // 8, 3), dtype=np.uint8).astype(np.uint8))
    image = noise.resize(size, Image.Resampling.BICUBIC).filter(ImageFilter.GaussianBlur(2))
    draw = ImageDraw.Draw(image)
    for _ in range(40):
        x, y = int(random.integers(0, width)), int(random.integers(0, height))
        w, h = (int(side) for side in random.integers(6, 60, 2))
        colour = tuple(int(value) for value in random.integers(0, 255, 3))
        (draw.ellipse if random.integers(2) else draw.rectangle)((x, y, x + w, y + h), fill=colour)
    return image


def grey(image: Image.Image, side: int = 64) -> NDArray[np.uint8]:
    """A thumbnail, by Pillow alone: its longer side has so many pixels."""
    factor = side / max(image.size)
    size = (round(image.width * factor), round(image.height * factor))
    return np.array(image.convert("L").resize(size, Image.Resampling.LANCZOS))
