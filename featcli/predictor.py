"""What predicts: a backbone, a head and a task, from images or stored features to predictions and rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from featcli.backbones.stages import Backbone, whole
from featcli.checkpoint import Checkpoint
from featcli.features.extraction import Extractor, FeatureRow
from featcli.heads.blocks import InBlocks, apply_in_blocks
from featcli.heads.head import Head
from featcli.runtime import Runtime
from featcli.tasks import Task, task_of
from featcli.tasks.task import rounded

Row = dict[str, Any]


class Predictor:
    """The one way from features to predictions: of `predict`, `evaluate`, parity, and the metrics of a training.

    Args:
        extractor: of the backbone.
        head: on its features.
        task: what the head's outputs mean.
    """

    def __init__(self, extractor: Extractor, head: Head, task: Task) -> None:
        self.extractor = extractor
        self.head = head
        self.task = task

    @classmethod
    def of(cls, checkpoint: Checkpoint, extractor: Extractor) -> Predictor:
        """The predictor that a checkpoint holds, with an extractor of its backbone."""
        return cls(
            extractor,
            checkpoint.head,
            task_of(checkpoint.metadata.classes, checkpoint.metadata.positive),
        )

    def predictions(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """From features (N, D) float32 to predictions (N, K); a row's bits depend on that row alone.

        Raises:
            ValueError: features of another width or type.
        """
        return predict_features(self.head, self.task, features)

    def rows(self, batch: Sequence[FeatureRow], *, top: int, outputs: bool) -> list[Row]:
        """The rows of `predict`, one for each image, in their order; an image that cannot be read has its error.

        Args:
            batch: images with their features.
            top: how many outputs a row lists.
            outputs: whether a row has every output too, as `probs`.
        """
        features = [row.feature for row in batch if row.feature is not None]
        found = iter(self.predictions(np.stack(features)) if features else ())
        return [self._row(row, None if row.feature is None else next(found), top, outputs) for row in batch]

    def module(self) -> nn.Module:
        """The whole model, from decoded images to predictions, as one module."""
        return PixelModel(whole(self.extractor.backbone), self.head, self.task, self.extractor.runtime)

    def _row(self, row: FeatureRow, prediction: NDArray[np.float64] | None, top: int, outputs: bool) -> Row:
        cells = {"path": row.path, **self.task.cells(prediction, top), "error": row.error}
        if outputs:
            pairs = None if prediction is None else zip(self.task.names, map(rounded, prediction), strict=True)
            cells["probs"] = None if pairs is None else dict(pairs)
        return cells


def predict_features(head: Head, task: Task, features: NDArray[np.float32]) -> NDArray[np.float64]:
    """As `Predictor.predictions`, of a head alone."""
    return np.asarray(apply_in_blocks(head.columns(), features, task.link), dtype=np.float64)


class PixelModel(nn.Module):
    """From decoded images (B, H, W, 3) uint8 to predictions (B, K) float64: normalisation, backbone, head and link.

    On a CPU its bits are those of extraction and head one after the other, given the tiles that extraction makes.

    Args:
        backbone: on its device; without gradients.
        head: on its features.
        task: its link follows.
        runtime: of the backbone: device and precision.
    """

    def __init__(self, backbone: Backbone, head: Head, task: Task, runtime: Runtime) -> None:
        super().__init__()
        self.network = backbone.network
        self.head = InBlocks(head.columns(), task.link).to(runtime.device)
        self._backbone, self._runtime = backbone, runtime
        self.eval()

    def forward(self, images: Tensor) -> Tensor:
        """Decoded images (B, H, W, 3) uint8 to predictions (B, K) float64."""
        with self._runtime.autocast():
            features = self._backbone.features(self._backbone.preprocessing.normalise(images))
        with torch.autocast(images.device.type, enabled=False):
            predictions: Tensor = self.head(features.float())
        return predictions
