"""Preprocessing: one value that travels from the weights to extraction, the checkpoint and `predict`."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featcli.data.pixels.decoding import SIXTEEN_BITS, Decoding, GreyRange
from featcli.data.pixels.picture import Picture, as_picture
from featcli.data.pixels.resizing import INTERPOLATIONS, resize_and_crop, resized_size
from featcli.data.readers.reader import UnreadableImage

if TYPE_CHECKING:
    import torch
    from torch import Tensor

DECODES = ("exact", "scaled")
SCALED_FROM = 2  # times `resize`: as large, `scaled` leaves the shorter side
MAX_RESIZED_PIXELS = 100_000_000  # a 1 x 5000 image resized to 256 on its short side would be 256 x 1,280,000
MAX_SIDE = 10_000  # of a square of so many pixels


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """Decode, resize the shorter side, crop the centre, scale to [0, 1], subtract `mean`, divide by `std`.

    Attributes:
        resize: length of the shorter side after resizing, in pixels.
        crop: side of the central square, in pixels.
        interpolation: a key of `featcli.data.pixels.resizing.INTERPOLATIONS`, with antialiasing.
        mean: per channel (red, green, blue), of values in [0, 1].
        std: per channel.
        grey_range: of 16-bit grey, the values that become 0 and 255 when an image is decoded; None for 0 and 65535.
        decode: `exact`; or `scaled`, where a JPEG becomes no larger than is needed while it is decoded.
    """

    resize: int
    crop: int
    interpolation: str
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    grey_range: GreyRange | None = None
    decode: str = "exact"

    @property
    def decoding(self) -> Decoding:
        """How an image is decoded for it."""
        return Decoding(self.grey_range, SCALED_FROM * self.resize if self.decode == "scaled" else None)

    def pixels(
        self, image: Image.Image | Picture, out: NDArray[np.uint8] | None = None, *, resizer: str | None = None
    ) -> NDArray[np.uint8]:
        """Resizes and crops an RGB image as torchvision's `ImageClassification` preset does on a PIL image.

        Args:
            image: a picture, or an upright image of mode RGB.
            out: (crop, crop, 3) uint8 to write into, such as a row of a tile; None for a new array.
            resizer: `pillow` gives the preset's own pixels; `torch` and `numpy` differ from them by two levels at most,
                and not from one another. None takes one of the two.

        Returns:
            `out`, or (crop, crop, 3) uint8.

        Raises:
            UnreadableImage: the image is so elongated that the resized one would not fit in memory.
        """
        picture = as_picture(image)
        self.check_size(*picture.size)
        if out is None:
            out = np.empty((self.crop, self.crop, 3), dtype=np.uint8)
        resize_and_crop(picture, resized_size(picture.size, self.resize), self.interpolation, resizer, out)
        return out

    def check_size(self, width: int, height: int) -> None:
        """Refuses images that `pixels` cannot resize.

        Raises:
            UnreadableImage: the image is so elongated that the resized one would not fit in memory.
        """
        short, long = sorted((width, height))
        if self.resize * (self.resize * long // short) > MAX_RESIZED_PIXELS:
            raise UnreadableImage(f"{width} x {height} pixels are too elongated to be resized")

    def normalise(self, pixels: Tensor) -> Tensor:
        """Scales and normalises a batch of torch on its own device.

        Args:
            pixels: (B, crop, crop, 3) uint8.

        Returns:
            (B, 3, crop, crop) float32 in channels_last; the same bits as torchvision's preset.
        """
        images = pixels.permute(0, 3, 1, 2).float().div_(255)  # (B, 3, H, W), channels_last by its strides
        return images.sub_(_channels(self.mean, images.device)).div_(_channels(self.std, images.device))

    def to_json(self) -> dict[str, Any]:
        """Plain values, as a checkpoint and a stored feature's key keep them.

        `range` is left out where it is full, `decode` where it is exact.
        """
        facts = {
            "resize": self.resize,
            "crop": self.crop,
            "interpolation": self.interpolation,
            "mean": list(self.mean),
            "std": list(self.std),
        }
        if self.grey_range is not None:
            facts["range"] = list(self.grey_range)
        if self.decode != "exact":
            facts["decode"] = self.decode
        return facts

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Preprocessing:
        """The inverse of `to_json`.

        Raises:
            KeyError, TypeError, ValueError: it is not what `to_json` gives.
        """
        mean = tuple(float(channel) for channel in value["mean"])
        std = tuple(float(channel) for channel in value["std"])
        if len(mean) != 3 or len(std) != 3 or not all(map(math.isfinite, mean + std)) or min(std) <= 0:
            raise ValueError("mean and std need three finite channels, and std is positive")
        resize, crop = value["resize"], value["crop"]
        if not 1 <= resize <= MAX_SIDE or not 1 <= crop <= MAX_SIDE:
            raise ValueError(f"resize and crop lie in 1 to {MAX_SIDE}")
        interpolation, decode = value["interpolation"], value.get("decode", "exact")
        if interpolation not in INTERPOLATIONS or decode not in DECODES:
            raise ValueError(f"interpolation is one of {', '.join(INTERPOLATIONS)}, decode of {', '.join(DECODES)}")
        return cls(int(resize), int(crop), interpolation, mean, std, _range_from_json(value.get("range")), decode)

    def __str__(self) -> str:
        mean, std = (", ".join(f"{channel:g}" for channel in values) for values in (self.mean, self.std))
        grey = "" if self.grey_range is None else f", 16-bit grey {self.grey_range[0]} to {self.grey_range[1]}"
        scaled = "" if self.decode == "exact" else f", decoded {self.decode}"
        return f"resize {self.resize} {self.interpolation}, crop {self.crop}, mean ({mean}), std ({std}){grey}{scaled}"


@dataclass(frozen=True, slots=True)
class WholeImages(Preprocessing):
    """Decode alone: what follows is done by the model itself, which takes images of any size."""

    @classmethod
    def of(cls, preprocessing: Preprocessing) -> WholeImages:
        """The same values, of which only those of decoding are used."""
        return cls(**{field.name: getattr(preprocessing, field.name) for field in fields(preprocessing)})

    @property
    def decoding(self) -> Decoding:
        """Every pixel: others who use the model decode so."""
        return Decoding(self.grey_range)

    def pixels(
        self, image: Image.Image | Picture, out: NDArray[np.uint8] | None = None, *, resizer: str | None = None
    ) -> NDArray[np.uint8]:
        """An upright image (H, W, 3) uint8 as it was decoded.

        Raises:
            UnreadableImage: as that of `Preprocessing`.
        """
        picture = as_picture(image)
        self.check_size(*picture.size)
        return np.asarray(picture.upright())


def _range_from_json(value: Any) -> GreyRange | None:
    if value is None:
        return None
    low, high = value
    if type(low) is not int or type(high) is not int or not 0 <= low < high <= SIXTEEN_BITS:
        raise ValueError(f"a range lies in 0 to {SIXTEEN_BITS}, and its ends differ")
    return low, high


@functools.lru_cache(maxsize=64)
def _channels(values: tuple[float, float, float], device: torch.device) -> Tensor:
    """Three numbers as (1, 3, 1, 1) on a device; kept, since every copy to a GPU waits for all that was given to it."""
    import torch

    with torch.inference_mode(False):
        return torch.tensor(values, dtype=torch.float32, device=device).view(1, 3, 1, 1)
