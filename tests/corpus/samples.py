"""What the images of the corpus are made of, and what a format's definition makes of samples: never by featcli."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]


def noise(*shape: int, seed: int = 0, top: int = 256) -> NDArray[Any]:
    kind = np.uint8 if top <= 256 else np.uint16
    return np.random.default_rng(seed).integers(0, top, shape).astype(kind)


def blocks(*shape: int, seed: int = 0) -> Pixels:
    """Squares of 16 x 16 of one colour, which JPEG keeps."""
    return np.repeat(np.repeat(noise(*shape, seed=seed), 16, axis=0), 16, axis=1)


def levels(values: NDArray[Any]) -> Pixels:
    return np.asarray(np.clip(np.round(values), 0, 255), dtype=np.uint8)


def grey_rgb(grey: NDArray[Any]) -> Pixels:
    return np.repeat(grey[..., None], 3, axis=2).astype(np.uint8)


def on_white(rgb: NDArray[Any], alpha: NDArray[Any]) -> Pixels:
    """Over a white ground, alpha from 0 to 255."""
    share = alpha[..., None] / 255
    return levels(rgb * share + 255 * (1 - share))


def eight_bits(values: NDArray[Any], bits: int) -> Pixels:
    """The largest value of so many bits becomes 255."""
    return levels(values.astype(np.float64) * 255 / (2**bits - 1))


def from_inks(inks: NDArray[Any]) -> Pixels:
    """Cyan, magenta, yellow, each darkened by black: (255 - C)(255 - K) / 255."""
    parts = 255 - inks.astype(np.float64)
    return levels(parts[..., :3] * parts[..., 3:] / 255)


def from_ycc(ycc: NDArray[Any]) -> Pixels:
    """Source: JFIF 1.02."""
    y, cb, cr = (ycc[..., index].astype(np.float64) - (0, 128, 128)[index] for index in range(3))
    return levels(np.stack([y + 1.402 * cr, y - 0.344136 * cb - 0.714136 * cr, y + 1.772 * cb], axis=2))


def to_ycc(rgb: NDArray[Any]) -> Pixels:
    """The inverse of `from_ycc`."""
    weights = np.array([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
    return levels(rgb @ weights.T + (0, 128, 128))


def from_lab(lightness: NDArray[Any], a: NDArray[Any], b: NDArray[Any]) -> Pixels:
    """CIE L*a*b* under D50 to sRGB.

    Source: CIE 15, IEC 61966-2-1, with Bradford's adaptation from D50 in the matrix (Lindbloom).
    """
    y = (lightness + 16) / 116
    xyz = np.stack([y + a / 500, y, y - b / 200], axis=2)
    xyz = np.where(xyz > 6 / 29, xyz**3, (xyz - 4 / 29) * 3 * (6 / 29) ** 2) * (0.96422, 1, 0.82521)
    matrix = [
        [3.1338561, -1.6168667, -0.4906146],
        [-0.9787684, 1.9161415, 0.0334540],
        [0.0719453, -0.2289914, 1.4052427],
    ]
    linear = np.clip(xyz @ np.array(matrix).T, 0, 1)
    return levels(255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055))


def stored(upright: Pixels, orientation: int) -> Pixels:
    """How a camera stores an upright picture: which side of the scene its row 0 and column 0 are.

    Source: EXIF 2.3, tag 0x0112.
    """
    turned = upright.transpose(1, 0, 2)
    return {
        1: upright,  # top, left
        2: upright[:, ::-1],  # top, right
        3: upright[::-1, ::-1],  # bottom, right
        4: upright[::-1],  # bottom, left
        5: turned,  # left, top
        6: turned[::-1],  # right, top
        7: turned[::-1, ::-1],  # right, bottom
        8: turned[:, ::-1],  # left, bottom
    }[orientation]


RGB = noise(13, 17, 3)
GREY = noise(13, 17, seed=1)
ALPHA = noise(13, 17, seed=2)
SCENE = blocks(3, 4, 3, seed=3)  # 48 x 64
GREY_SCENE = blocks(3, 4, seed=4)
INKS = blocks(3, 4, 4, seed=5)
PALETTE = noise(256, 3, seed=6)
SIXTEEN = noise(13, 17, seed=7, top=65536)


def encode(pixels: NDArray[Any] | Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(np.ascontiguousarray(pixels))
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def paletted(indices: Pixels, palette: Pixels = PALETTE) -> Image.Image:
    image = Image.fromarray(indices)
    image.putpalette(palette.tobytes())
    return image


def orientation_of(value: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def packed(samples: NDArray[Any], bits: int) -> list[bytes]:
    """Rows of samples (H, W[, C]) of so many bits, most significant first."""
    if bits >= 8:
        return [row.astype(f">u{bits // 8}").tobytes() for row in samples]
    each = samples[..., None] >> np.arange(bits - 1, -1, -1) & 1
    return [np.packbits(row.astype(np.uint8)).tobytes() for row in each.reshape(len(samples), -1)]


def patched(data: bytes, at: int, value: bytes) -> bytes:
    return data[:at] + value + data[at + len(value) :]
