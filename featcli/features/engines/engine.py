"""What an engine is: something that runs a backbone on tiles of decoded images."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

Pixels: TypeAlias = Sequence[NDArray[np.uint8]]  # arrays (H, W, 3) of one shape
Pending: TypeAlias = Callable[[], NDArray[np.float32]]  # waits for features (n, D), and gives them


class EngineFailed(Exception):
    """An engine that worked gives nothing for a tile; the message is its reason."""


class Engine(Protocol):
    """Runs one backbone, whole or up to a stage.

    The model always sees tiles of one shape, the last one padded: so the bits of a row depend neither on how many
    images come with it nor on which ones.
    """

    @property
    def name(self) -> str:
        """Part of the key of every row that it computes."""

    @property
    def tile(self) -> int:
        """Images in one pass."""

    @property
    def depth(self) -> int:
        """Tiles to hand over before the first is waited for, so that the engine is never without work."""

    def submit(self, pixels: Pixels) -> Pending:
        """Starts a pass over 1 to `tile` decoded images (H, W, 3) uint8, and gives what waits for their features.

        Raises:
            EngineFailed: from either.
        """

    def boundary(self, pixels: Pixels, n_frozen: int) -> Tensor:
        """The output (n, ...) of the first `n_frozen` stages for n = 1 to `tile` images, as the next stage takes it."""

    def provenance(self) -> dict[str, Any]:
        """What a reader of a stored row may want to know of how it was computed: path, versions."""


def forward(engine: Engine, pixels: Pixels) -> NDArray[np.float32]:
    """Features (N, D) float32 of N > 0 decoded images, tile by tile."""
    pending: deque[Pending] = deque()
    done = []
    for tile in tiles_of(engine, pixels):
        pending.append(engine.submit(tile))
        if len(pending) >= engine.depth:
            done.append(pending.popleft()())
    done.extend(wait() for wait in pending)
    return np.concatenate(done)


def tiles_of(engine: Engine, pixels: Pixels) -> list[Pixels]:
    """Decoded images in the pieces that an engine takes."""
    return [pixels[start : start + engine.tile] for start in range(0, len(pixels), engine.tile)]


def fill_tile(tile: NDArray[np.uint8], pixels: Pixels) -> None:
    """Writes n decoded images into the first places of a tile (size, H, W, 3); what follows them is black."""
    for index, image in enumerate(pixels):
        tile[index] = image
    tile[len(pixels) :] = 0
