"""What every head can do, whatever it was trained by."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from featcli.heads.blocks import AffineLayers


class Head(Protocol):
    """Features (N, D) float32 to K classes; a row's bits depend on that row alone."""

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, K) float32. Raises ValueError where features are of another width or type."""

    def layers(self) -> AffineLayers:
        """The affine maps that it is, which know its widths."""

    def tensors(self) -> dict[str, NDArray[np.float32]]:
        """All that the head is made of, by name: what its kind is loaded from."""
