"""What an engine is: something that runs a backbone on tiles of decoded images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featcli.runtime import to_device


class Engine(Protocol):
    """Runs one backbone, whole or up to a stage.

    It always sees tiles of one shape, the last one padded: so the bits of a row depend neither on how many images come
    with it nor on which ones.
    """

    @property
    def name(self) -> str:
        """Part of the key of every row that it computes."""

    @property
    def tile(self) -> int:
        """Images in one pass."""

    @property
    def device(self) -> torch.device:
        """Where tiles are expected."""

    def features(self, tile: Tensor) -> Tensor:
        """From decoded images (tile, H, W, 3) uint8 to features (tile, D) float32."""

    def boundary(self, tile: Tensor, n_frozen: int) -> Tensor:
        """The output (tile, ...) of the first `n_frozen` stages, as the next stage takes it."""

    def provenance(self) -> dict[str, Any]:
        """What a reader of a stored row may want to know of how it was computed: path, versions."""


def run_tiled(engine: Engine, pixels: Sequence[NDArray[np.uint8]], compute: Callable[[Tensor], Tensor]) -> Tensor:
    """Computes on decoded images tile by tile.

    Args:
        engine: says how many images make a tile, and where it goes.
        pixels: N > 0 arrays (H, W, 3) uint8.
        compute: from (tile, H, W, 3) to (tile, ...), such as `engine.features`.

    Returns:
        (N, ...) on the engine's device.
    """
    size = engine.tile
    outputs = []
    for start in range(0, len(pixels), size):
        chunk = pixels[start : start + size]
        outputs.append(compute(padded_tile(chunk, size, engine.device))[: len(chunk)])
    return torch.cat(outputs)


def padded_tile(pixels: Sequence[NDArray[np.uint8]], size: int, device: torch.device) -> Tensor:
    """Decoded images on a device, padded with black.

    Args:
        pixels: 1 to `size` arrays (H, W, 3) uint8.
        size: images in a tile.
        device: where to.

    Returns:
        (size, H, W, 3) uint8.
    """
    on_gpu = device.type == "cuda"
    tile = torch.zeros((size, *pixels[0].shape), dtype=torch.uint8, pin_memory=on_gpu)
    array = tile.numpy()
    for index, image in enumerate(pixels):
        array[index] = image
    return to_device(tile, device)
