"""What predicts: a backbone, a head and a task, from images or stored features to predictions and rows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featcli.checkpoint import Checkpoint
from featcli.features.extraction import Extractor, FeatureRow
from featcli.heads.blocks import AffineLayers, apply_in_blocks
from featcli.heads.head import Head
from featcli.tasks import Task, task_of
from featcli.tasks.task import rounded

if TYPE_CHECKING:
    from torch import nn

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
        self._layers = head.layers()

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
        return _predict(self._layers, self.task, features)

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
        from featcli.backbones.stages import whole
        from featcli.whole_model import PixelModel

        return PixelModel(whole(self.extractor.backbone), self.head, self.task, self.extractor.runtime)

    def _row(self, row: FeatureRow, prediction: NDArray[np.float64] | None, top: int, outputs: bool) -> Row:
        cells = {"path": row.path, **self.task.cells(prediction, top), "error": row.error}
        if outputs:
            pairs = None if prediction is None else zip(self.task.names, map(rounded, prediction), strict=True)
            cells["probs"] = None if pairs is None else dict(pairs)
        return cells


def predict_features(head: Head, task: Task, features: NDArray[np.float32]) -> NDArray[np.float64]:
    """As `Predictor.predictions`, of a head alone."""
    return _predict(head.layers(), task, features)


def _predict(layers: AffineLayers, task: Task, features: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(apply_in_blocks(layers, features, task.link), dtype=np.float64)
