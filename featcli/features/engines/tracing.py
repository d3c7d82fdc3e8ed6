"""A backbone as one traced torch module, from decoded images to what is wanted of it: what converters read."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from featcli.backbones.stages import Backbone
from featcli.features.engines.plain import in_eval_mode


class _FromPixels(nn.Module):
    """Decoded images (B, H, W, 3) uint8 to features (B, D), or to the output of the first stages; normalisation inside.

    Args:
        backbone: runs as it is.
        n_frozen: stages to run; None for the features.
    """

    def __init__(self, backbone: Backbone, n_frozen: int | None) -> None:
        super().__init__()
        self.network = backbone.network
        self.register_buffer("mean", torch.tensor(backbone.preprocessing.mean).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(backbone.preprocessing.std).view(1, 3, 1, 1))
        self._backbone, self._n_frozen = backbone, n_frozen

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, H, W, 3) uint8 to (B, ...) float32."""
        images = pixels.permute(0, 3, 1, 2).to(torch.float32) / 255
        images = (images - self.get_buffer("mean")) / self.get_buffer("std")
        if self._n_frozen is None:
            return self._backbone.features(images)
        return self._backbone.run(images, 0, self._n_frozen)


def traced(backbone: Backbone, tile: int, n_frozen: int | None) -> tuple[Any, Tensor]:
    """A traced module and an example of its input, black images (tile, crop, crop, 3) uint8.

    Args:
        backbone: on the CPU.
        tile: images in one pass.
        n_frozen: stages to run; None for the features.
    """
    side = backbone.preprocessing.crop
    example = torch.zeros((tile, side, side, 3), dtype=torch.uint8)
    with torch.no_grad(), in_eval_mode(backbone.network):
        module = _FromPixels(backbone, n_frozen).eval()
        return torch.jit.trace(module, example, check_trace=False), example  # type: ignore[no-untyped-call]
