"""A whole model, from pixels to predictions, as one torch module: for what exports or compiles it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from featcli.backbones.stages import Backbone
from featcli.heads.head import Head
from featcli.heads.modules import HeadModule
from featcli.runtime import Runtime
from featcli.tasks import Task


class PixelModel(nn.Module):
    """From decoded images (B, H, W, 3) uint8 to predictions (B, K) float64: normalisation, backbone, head and link.

    Its predictions are within 1e-6 of those of extraction and head one after the other, whose head adds exactly.

    Args:
        backbone: on its device; without gradients.
        head: on its features.
        task: its link follows.
        runtime: of the backbone: device and precision.
    """

    def __init__(self, backbone: Backbone, head: Head, task: Task, runtime: Runtime) -> None:
        super().__init__()
        self.network = backbone.network
        self.head = HeadModule(head.layers(), task.link).to(runtime.device)
        self._backbone, self._runtime = backbone, runtime
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Decoded images (B, H, W, 3) uint8 to predictions (B, K) float64."""
        with self._runtime.autocast():
            features = self._backbone.features(self._backbone.preprocessing.normalise(images))
        with torch.autocast(images.device.type, enabled=False):
            predictions: Tensor = self.head(features.float())
        return predictions
