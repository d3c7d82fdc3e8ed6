"""Augmentation of training images: one seed, one result, in whichever thread.

Every parameter (which box, mirrored or not, which operation, how strongly) is drawn here, from a generator made of the
image's own seed. The classes of `torchvision.transforms.v2` cannot be used: they draw from torch's global generator,
which the threads that decode images share, so that the result would depend on their timing. The pixels are worked on by
`torchvision.transforms.v2.functional` and Pillow, which draw nothing.

Sources:
    Random resized crop: Szegedy et al., Going deeper with convolutions, 2014, https://arxiv.org/abs/1409.4842
    TrivialAugment (wide): Mueller and Hutter, 2021, https://arxiv.org/abs/2103.10158
    Random erasing: Zhong et al., 2017, https://arxiv.org/abs/1708.04896
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.random import PCG64, Generator
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import InterpolationMode
from torchvision.transforms.functional import pil_modes_mapping
from torchvision.transforms.v2 import functional as F

from featcli.data.pixels.picture import Picture, as_picture
from featcli.data.pixels.preprocessing import Preprocessing

AUGMENTATIONS = ("none", "flip", "light", "strong")

CROP_SCALE = {"light": (0.5, 1.0), "strong": (0.25, 1.0)}  # of the image's area
CROP_RATIO = (3 / 4, 4 / 3)  # width to height
JITTER = 0.2  # `light` multiplies brightness, contrast and saturation by 0.8 to 1.2
ERASE_PROBABILITY = 0.25
ERASE_SCALE = (0.02, 0.33)  # of the crop's area
ERASE_RATIO = (0.3, 1 / 0.3)
_TRIES = 10

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels; right and bottom are the first ones outside


def _evenly(low: float, high: float) -> tuple[float, ...]:
    return tuple(torch.linspace(low, high, 31).tolist())  # in float32, as torchvision's: int() of them must be the same


# The operations of torchvision's TrivialAugmentWide: the 31 magnitudes (none where it has no strength), and whether the
# sign is drawn too.
TRIVIAL_AUGMENT: dict[str, tuple[tuple[float, ...], bool]] = {
    "Identity": ((), False),
    "ShearX": (_evenly(0.0, 0.99), True),
    "ShearY": (_evenly(0.0, 0.99), True),
    "TranslateX": (_evenly(0.0, 32.0), True),
    "TranslateY": (_evenly(0.0, 32.0), True),
    "Rotate": (_evenly(0.0, 135.0), True),
    "Brightness": (_evenly(0.0, 0.99), True),
    "Color": (_evenly(0.0, 0.99), True),
    "Contrast": (_evenly(0.0, 0.99), True),
    "Sharpness": (_evenly(0.0, 0.99), True),
    "Posterize": (tuple(float(round(8 - step / 5)) for step in range(31)), False),
    "Solarize": (_evenly(1.0, 0.0), False),
    "AutoContrast": ((), False),
    "Equalize": ((), False),
}


def draw_seed(seed: int, epoch: int, key: bytes) -> int:
    """The seed of one image's draw.

    Args:
        seed: of the run, 0 to 2**64 - 1.
        epoch: or the number of the view, 0 to 2**64 - 1.
        key: names the image: its digest.

    Returns:
        0 to 2**64 - 1.

    Raises:
        OverflowError: `seed` or `epoch` is out of range.
    """
    run = seed.to_bytes(8, "little") + epoch.to_bytes(8, "little")
    return int.from_bytes(hashlib.blake2b(key, digest_size=8, key=run).digest(), "little")


@dataclass(frozen=True, slots=True)
class Augmentation:
    """What happens to a training image between decoding and the batch.

    * `none` and `flip` draw nothing here: the preprocessing, as for validation, and its mirror image, are the variants
      that `featcli.training.views` makes of them.
    * `light`: a random box of half the image or more, resized to the crop; with `mirror`, mirrored for half of the
      seeds; brightness, contrast and saturation changed a little.
    * `strong`: a random box of a quarter or more; mirrored likewise; one operation of TrivialAugment;
      for a quarter of the seeds a rectangle is erased. What an operation or the erasing uncovers gets the mean colour.

    Attributes:
        kind: one of `AUGMENTATIONS`.
        preprocessing: its crop size, interpolation and mean colour are used.
        mirror: whether left and right may be exchanged; everything else is drawn alike with and without. `flip` does.

    Raises:
        ValueError: there is no such kind.
    """

    kind: str
    preprocessing: Preprocessing
    mirror: bool = True

    def __post_init__(self) -> None:
        if self.kind not in AUGMENTATIONS:
            raise ValueError(f"{self.kind!r} is none of the augmentations {', '.join(AUGMENTATIONS)}")

    def pixels(self, image: Image.Image | Picture, seed: int) -> NDArray[np.uint8]:
        """Augments a picture, or an upright RGB image, by `light` or `strong`; the same seed gives the same pixels.

        Args:
            image: is left alone.
            seed: 0 to 2**64 - 1, from `draw_seed`.

        Returns:
            (crop, crop, 3) uint8, contiguous.

        Raises:
            UnreadableImage: the image is as elongated as `Preprocessing.check_size` refuses, whatever the kind.
        """
        random = Generator(PCG64(seed))
        crop = self._random_crop(as_picture(image), random)
        return self._lightly(crop, random) if self.kind == "light" else self._strongly(crop, random)

    def _random_crop(self, picture: Picture, random: Generator) -> Image.Image:
        """A random box of the image, resized in one step and perhaps mirrored."""
        self.preprocessing.check_size(*picture.size)
        image = picture.upright()
        box = random_crop_box(random, image.width, image.height, CROP_SCALE[self.kind])
        size = (self.preprocessing.crop, self.preprocessing.crop)
        # The one pass of Pillow's filter sees neighbours just outside the box, which cropping first would cut off.
        crop = image.resize(size, pil_modes_mapping[self._interpolation], box=box)
        mirrored = _coin(random)  # drawn in any case: what is drawn after it stays the same
        return crop.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if mirrored and self.mirror else crop

    def _lightly(self, crop: Image.Image, random: Generator) -> NDArray[np.uint8]:
        """Brightness, contrast and saturation, in random order as torchvision's ColorJitter."""
        adjust = (F.adjust_brightness, F.adjust_contrast, F.adjust_saturation)
        factors = random.uniform(1 - JITTER, 1 + JITTER, len(adjust)).tolist()
        for index in random.permutation(len(adjust)):
            crop = adjust[index](crop, factors[index])
        return np.array(crop, dtype=np.uint8)

    def _strongly(self, crop: Image.Image, random: Generator) -> NDArray[np.uint8]:
        """TrivialAugment, then random erasing."""
        name, magnitude = draw_operation(random)
        changed = apply_operation(crop, name, magnitude, self._interpolation, self._mean_colour)
        pixels = np.array(changed, dtype=np.uint8)
        if random.random() < ERASE_PROBABILITY:
            erase(pixels, random, self._mean_colour)
        return pixels

    @property
    def _interpolation(self) -> InterpolationMode:
        return InterpolationMode(self.preprocessing.interpolation)

    @property
    def _mean_colour(self) -> list[int]:
        """What `normalise` brings near to 0."""
        return [min(max(round(255 * channel), 0), 255) for channel in self.preprocessing.mean]


def _coin(random: Generator) -> bool:
    return random.random() < 0.5


def random_box(
    random: Generator, width: int, height: int, scale: tuple[float, float], ratio: tuple[float, float]
) -> Box | None:
    """Draws a box inside a rectangle of `width` x `height` pixels.

    Its area is uniform in `scale`, as a share of the rectangle's; the logarithm of its ratio of width to height is
    uniform between those of `ratio`; both before its sides are rounded to pixels, and before boxes that do not fit are
    drawn again.

    Returns:
        None where none of ten boxes fits.
    """
    log_ratio = math.log(ratio[0]), math.log(ratio[1])
    for _ in range(_TRIES):
        area = width * height * random.uniform(*scale)
        aspect = math.exp(random.uniform(*log_ratio))
        across, down = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < across <= width and 0 < down <= height:
            left, top = int(random.integers(width - across + 1)), int(random.integers(height - down + 1))
            return left, top, left + across, top + down
    return None


def random_crop_box(random: Generator, width: int, height: int, scale: tuple[float, float]) -> Box:
    """A random box of an image; where none fits (it is elongated) the largest one of `CROP_RATIO`, in the middle."""
    box = random_box(random, width, height, scale, CROP_RATIO)
    if box is not None:
        return box
    across, down = min(width, round(height * CROP_RATIO[1])), min(height, round(width / CROP_RATIO[0]))
    left, top = (width - across) // 2, (height - down) // 2
    return left, top, left + across, top + down


def draw_operation(random: Generator) -> tuple[str, float]:
    """Draws one operation of `TRIVIAL_AUGMENT` and its magnitude, 0 where it has none."""
    names = tuple(TRIVIAL_AUGMENT)
    name = names[int(random.integers(len(names)))]
    magnitudes, signed = TRIVIAL_AUGMENT[name]
    if not magnitudes:
        return name, 0.0
    magnitude = magnitudes[int(random.integers(len(magnitudes)))]
    return name, -magnitude if signed and _coin(random) else magnitude


def apply_operation(
    image: Image.Image, name: str, magnitude: float, interpolation: InterpolationMode, fill: list[int]
) -> Image.Image:
    """Applies an operation as torchvision's TrivialAugmentWide does.

    Args:
        image: RGB.
        name: a key of `TRIVIAL_AUGMENT`.
        magnitude: with its sign.
        interpolation: of the geometric operations.
        fill: the colour that they uncover: three values of 0 to 255.
    """
    changed: Image.Image
    match name:
        case "ShearX" | "ShearY" | "TranslateX" | "TranslateY":
            changed = F.affine(
                image, angle=0.0, scale=1.0, interpolation=interpolation, fill=fill, **_affine(name, magnitude)
            )
        case "Rotate":
            changed = F.rotate(image, magnitude, interpolation=interpolation, fill=fill)
        case "Brightness":
            changed = F.adjust_brightness(image, 1.0 + magnitude)
        case "Color":
            changed = F.adjust_saturation(image, 1.0 + magnitude)
        case "Contrast":
            changed = F.adjust_contrast(image, 1.0 + magnitude)
        case "Sharpness":
            changed = F.adjust_sharpness(image, 1.0 + magnitude)
        case "Posterize":
            changed = F.posterize(image, int(magnitude))
        case "Solarize":
            changed = F.solarize(image, 255.0 * magnitude)
        case "AutoContrast":
            changed = F.autocontrast(image)
        case "Equalize":
            changed = F.equalize(image)
        case _:
            assert name == "Identity", name
            changed = image
    return changed


def _affine(name: str, magnitude: float) -> dict[str, Any]:
    """What `F.affine` takes: a shear about the top left corner, or a translation by whole pixels."""
    if name.startswith("Shear"):
        degrees = math.degrees(math.atan(magnitude))  # which F.affine turns back: x moves by magnitude * y
        shear = [degrees, 0.0] if name == "ShearX" else [0.0, degrees]
        return {"translate": [0, 0], "shear": shear, "center": [0, 0]}
    pixels = int(magnitude)
    return {"translate": [pixels, 0] if name == "TranslateX" else [0, pixels], "shear": [0.0, 0.0]}


def erase(pixels: NDArray[np.uint8], random: Generator, colour: list[int]) -> None:
    """Fills a random rectangle of `pixels`, (H, W, 3), in place; a crop too small to hold one stays as it is."""
    height, width, _ = pixels.shape
    box = random_box(random, width, height, ERASE_SCALE, ERASE_RATIO)
    if box is not None:
        left, top, right, bottom = box
        pixels[top:bottom, left:right] = colour
