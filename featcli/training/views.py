"""Which variant of an image each epoch trains on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featcli.data.pixels.augmentation import Augmentation, draw_seed
from featcli.data.pixels.picture import Picture


@dataclass(frozen=True, slots=True)
class Views:
    """The variants of an image: one, it and its mirror image, `k` seeded ones, or a new one every epoch.

    Attributes:
        augmentation: makes them.
        k: how many, where the augmentation has no number of its own.
        seed: of the draws.
    """

    augmentation: Augmentation
    k: int | None
    seed: int

    @property
    def count(self) -> int | None:
        """How many variants there are; None for no end of them."""
        return {"none": 1, "flip": 2}.get(self.augmentation.kind, self.k)

    def choose(self, epoch: int, digest: bytes) -> int:
        """The variant of an image in an epoch, counted from 1."""
        if self.count is None:
            return epoch
        return draw_seed(self.seed, epoch, digest) % self.count

    def pixels(self, image: Image.Image | Picture, view: int, digest: bytes) -> NDArray[np.uint8]:
        """One variant of a picture, or of an upright RGB image: (crop, crop, 3) uint8.

        Raises:
            UnreadableImage: it is too elongated to be resized.
        """
        if self.augmentation.kind in ("none", "flip"):
            pixels = self.augmentation.preprocessing.pixels(image)
            return pixels[:, ::-1] if view else pixels
        return self.augmentation.pixels(image, draw_seed(self.seed, view, digest))
