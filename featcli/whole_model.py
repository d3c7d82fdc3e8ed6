"""A whole model, from pixels to predictions, as one torch module: what is exported."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from featcli.backbones.stages import Backbone
from featcli.evaluation.novelty import Novelty
from featcli.exported import FEATURES, LOGITS, NOVELTY, PREDICTIONS
from featcli.heads.head import Head
from featcli.heads.modules import HeadModule
from featcli.tasks import Task


class PixelModel(nn.Module):
    """From decoded images (B, H, W, 3) uint8 to predictions: normalisation, backbone, head and link, all in float32.

    Its outputs are named by `names`: predictions (B, K), logits (B, K), where it is known the novelty (B,), and where
    they are asked for the features (B, D). Predictions are within 1e-6 of those of extraction and head one after the
    other, whose head adds exactly.

    Args:
        backbone: on the CPU; without gradients.
        head: on its features.
        task: its link follows, with its temperature.
        novelty: distances from the training images, or None.
        features: whether they are an output too.
    """

    def __init__(
        self, backbone: Backbone, head: Head, task: Task, novelty: Novelty | None = None, *, features: bool = False
    ) -> None:
        super().__init__()
        self.network = backbone.network
        self.head = HeadModule(head.layers())
        self.novelty = None if novelty is None else NoveltyModule(novelty)
        preprocessing = backbone.preprocessing
        mean, std = (np.array(values, dtype=np.float64) for values in (preprocessing.mean, preprocessing.std))
        for name, values in (("scale", 1 / (255 * std)), ("shift", -mean / std)):
            self.register_buffer(name, torch.tensor(values, dtype=torch.float32).view(1, 3, 1, 1))
        self._backbone, self._task, self._with_features = backbone, task, features
        self.eval()

    @property
    def names(self) -> list[str]:
        """Of the outputs, in order."""
        strangers = [] if self.novelty is None else [NOVELTY]
        return [PREDICTIONS, LOGITS, *strangers, *([FEATURES] if self._with_features else [])]

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        """Decoded images (B, H, W, 3) uint8 to the outputs, float32."""
        images = pixels.permute(0, 3, 1, 2).to(torch.float32) * self.get_buffer("scale") + self.get_buffer("shift")
        features = self._backbone.features(images)
        logits = self.head(features)
        found = [self._task.link(logits, 1, wide=False), logits]
        if self.novelty is not None:
            found.append(self.novelty(features))
        return (*found, features) if self._with_features else tuple(found)


class NoveltyModule(nn.Module):
    """As `Novelty.of`, which tells more, in float32: features (B, D) to novelties (B,).

    Args:
        novelty: distances from the training images.
    """

    def __init__(self, novelty: Novelty) -> None:
        super().__init__()
        known = ~np.isnan(novelty.means).any(axis=1)
        means, axes = novelty.means[known].astype(np.float64), novelty.directions.astype(np.float64)
        # Distances from the middle of the means are the same, and small numbers lose less.
        middle = means.mean(axis=0)
        means = means - middle
        precisions = novelty.precisions.astype(np.float64) / novelty.threshold
        centres, extra, last = means @ axes.T, precisions[:-1] - precisions[-1], precisions[-1]
        # The squared distance from a mean is a sum of the feature's own terms, products with the mean, and its own.
        own = last * (means**2).sum(axis=1) + (centres**2 * extra).sum(axis=1)
        arrays = {"middle": middle, "axes": axes, "extra": extra, "last": last, "means": means}
        arrays |= {"centres": centres * extra, "own": own}
        for name, array in arrays.items():
            self.register_buffer(name, torch.tensor(array, dtype=torch.float32))

    def forward(self, features: Tensor) -> Tensor:
        """(B, D) to (B,)."""
        held = {name: self.get_buffer(name) for name in self._buffers}
        scaled = features / features.square().sum(1, keepdim=True).sqrt().clamp_min(1e-12) - held["middle"]
        inside = scaled @ held["axes"].T
        alone = held["last"] * scaled.square().sum(1) + (inside.square() * held["extra"]).sum(1)
        products = held["last"] * (scaled @ held["means"].T) + inside @ held["centres"].T
        distances = alone.unsqueeze(1) - 2 * products + held["own"]
        return distances.clamp_min(0).amin(1)
