"""What predicts: a backbone, a head and a task, from images or stored features to predictions and rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from featcli.checkpoint import StoredModel
from featcli.evaluation.calibration import VALIDATION
from featcli.evaluation.conformal import SetRule
from featcli.evaluation.novelty import Novelty
from featcli.evaluation.trust import NOTHING, Trust
from featcli.evaluation.truth import Truth
from featcli.exported import LOGITS, NOVELTY, PREDICTIONS, Model, split_columns
from featcli.features.extraction import Extractor, FeatureRow
from featcli.heads.blocks import AffineLayers, apply_in_blocks
from featcli.heads.head import Head
from featcli.tasks import Task, task_of
from featcli.tasks.task import rounded

Row = dict[str, Any]
NOVELTY_DECIMALS = 4  # more than it can tell, and few enough that rounding in a batch never shows
Because = Callable[[NDArray[np.float32], int], dict[str, Any] | None]  # why a feature (D,) has the logit of a class


@dataclass(frozen=True, slots=True)
class RowOptions:
    """What the rows of `predict` hold besides what they always do.

    Attributes:
        top: how many outputs a row lists.
        probs: whether a row has every output, as `probs`.
        coverage: how often the `set` of an image is to hold the true class; None for rows without sets.
        sets: which classes belong to it; None where that is not known.
        abstain_below: the confidence below which a row has no label, and is `abstained`; None for rows without.
        because: explains the logit of the predicted class; None for rows without.
    """

    top: int = 5
    probs: bool = False
    coverage: float | None = None
    sets: SetRule | None = None
    abstain_below: float | None = None
    because: Because | None = None


class Outputs(Protocol):
    """What is said of images by the rows that their extractor gives, float32; bits depend on the own row alone."""

    @property
    def knows_strangers(self) -> bool:
        """Whether there are novelties."""

    def predictions(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(N, K), what the task's link gives."""

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, K), what the task's link takes."""

    def novelty(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(N,) above 1 for strangers; nan where nothing is known of that."""


class HeadOutputs:
    """Those of a head on features.

    Args:
        head: on the features.
        task: with the temperature of its predictions.
        novelty: distances from the training images; None where they are not known.
    """

    def __init__(self, head: Head, task: Task, novelty: Novelty | None) -> None:
        self.logits = head.logits
        self.knows_strangers = novelty is not None
        self._layers, self._task, self._novelty = head.layers(), task, novelty

    def predictions(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(N, K) of features (N, D). Raises ValueError where they are of another width or type."""
        return _predict(self._layers, self._task, features)

    def novelty(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(N,) of features (N, D)."""
        return np.full(len(features), np.nan) if self._novelty is None else self._novelty.of(features)


class ExportedOutputs:
    """Those of an exported file, which lie beside each other.

    Args:
        outputs: by name, how many numbers each gives.
    """

    def __init__(self, outputs: Mapping[str, int]) -> None:
        self.knows_strangers = NOVELTY in outputs
        self._outputs = outputs

    def predictions(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(N, K) as the file gives them."""
        return split_columns(features, self._outputs)[PREDICTIONS].astype(np.float64)

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, K) as the file gives them."""
        return split_columns(features, self._outputs)[LOGITS]

    def novelty(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """(N,) as the file gives them."""
        if not self.knows_strangers:
            return np.full(len(features), np.nan)
        return split_columns(features, self._outputs)[NOVELTY][:, 0].astype(np.float64)


class Predictor:
    """The one way from features to predictions: of `predict`, `evaluate`, parity, and the metrics of a training.

    Args:
        extractor: gives a row for each image: features, or what an exported model gives.
        task: what predictions mean, with their temperature.
        outputs: from an extractor's rows to predictions.
        trust: what the model knows of its limits.
    """

    def __init__(self, extractor: Extractor, task: Task, outputs: Outputs, trust: Trust) -> None:
        self.extractor = extractor
        self.task = task
        self.outputs = outputs
        self.trust = trust

    @classmethod
    def with_head(cls, extractor: Extractor, head: Head, task: Task, trust: Trust = NOTHING) -> Predictor:
        """The predictor of a head on the features of an extractor; the temperature is that of `trust`."""
        task = task if trust.calibration is None else task.calibrated(trust.temperature)
        return cls(extractor, task, HeadOutputs(head, task, trust.novelty), trust)

    @classmethod
    def of(cls, model: Model, extractor: Extractor, task: Task | None = None) -> Predictor:
        """The predictor that a checkpoint or an exported file holds.

        Args:
            model: read.
            extractor: of its backbone, or of the file.
            task: of its classes; None for that of the model.
        """
        task = task or task_of(model.metadata.classes, model.metadata.positive)
        if isinstance(model, StoredModel):
            return cls.with_head(extractor, model.head, task, model.trust)
        return cls(extractor, task.calibrated(model.trust.temperature), ExportedOutputs(model.outputs), model.trust)

    def predictions(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """From an extractor's rows (N, D) float32 to predictions (N, K); a row's bits depend on that row alone.

        Raises:
            ValueError: rows of another width or type.
        """
        return self.outputs.predictions(features)

    def measure(
        self,
        features: NDArray[np.float32],
        predictions: NDArray[np.float64],
        truth: Truth,
        *,
        validation: bool = False,
    ) -> dict[str, Any]:
        """Every metric of a split: the task's, what the temperature changed, and how many are strangers.

        Args:
            features: (N, D) of the images that were read.
            predictions: (N, K) of these.
            truth: what is true of them, and of those that could not be read.
            validation: whether these are the images that a training was validated on.
        """
        values = self.task.evaluate(predictions, truth)
        if len(features):
            values |= self.task.silence(predictions, truth.targets, self.trust.scores)
        if self.trust.calibration is not None and len(features):
            values["calibration"] = self.task.calibration(
                self.outputs.logits(features),
                truth.targets,
                chosen_here=validation and self.trust.calibration.how == VALIDATION,
            )
        if self.outputs.knows_strangers and len(features):
            values["strangers"] = float(np.mean(self.outputs.novelty(features) > 1.0))
        return values

    def rows(self, batch: Sequence[FeatureRow], options: RowOptions) -> list[Row]:
        """The rows of `predict`, one for each image, in their order; an image that cannot be read has its error.

        Args:
            batch: images with their features.
            options: of the rows.
        """
        readable = [row.feature for row in batch if row.feature is not None]
        if not readable:
            return [self._row(row, None, None, options) for row in batch]
        features = np.stack(readable)
        predictions = self.predictions(features)
        found = zip(predictions, self.outputs.novelty(features).tolist(), strict=True)
        rows = []
        for row in batch:
            prediction, novelty = next(found) if row.feature is not None else (None, None)
            rows.append(self._row(row, prediction, novelty, options))
        return rows

    def _row(
        self, row: FeatureRow, prediction: NDArray[np.float64] | None, novelty: float | None, options: RowOptions
    ) -> Row:
        cells = {"path": row.path, **self.task.cells(prediction, options.top)}
        cells["novelty"] = None if novelty is None or np.isnan(novelty) else round(novelty, NOVELTY_DECIMALS)
        if options.coverage is not None:
            cells["set"] = None if prediction is None else self._set(prediction, options.sets)
        if options.because is not None:
            cells["because"] = None
            if row.feature is not None and prediction is not None:
                cells["because"] = options.because(row.feature, self.task.names.index(cells["label"]))
        if options.abstain_below is not None:
            cells["abstained"] = prediction is not None and cells["confidence"] < options.abstain_below
            if cells["abstained"]:
                cells["label"] = None
        cells["error"] = row.error
        if options.probs:
            pairs = None if prediction is None else zip(self.task.names, map(rounded, prediction), strict=True)
            cells["probs"] = None if pairs is None else dict(pairs)
        return cells

    def _set(self, prediction: NDArray[np.float64], rule: SetRule | None) -> list[str] | None:
        """The classes that belong to it, the most probable first."""
        if rule is None:
            return None
        members = rule.members(prediction[None])[0]
        order = np.argsort(-prediction, kind="stable")
        return [self.task.names[index] for index in order if members[index]]


def predict_features(head: Head, task: Task, features: NDArray[np.float32]) -> NDArray[np.float64]:
    """As `Predictor.predictions`, of a head alone."""
    return _predict(head.layers(), task, features)


def _predict(layers: AffineLayers, task: Task, features: NDArray[np.float32]) -> NDArray[np.float64]:
    return np.asarray(apply_in_blocks(layers, features, task.link), dtype=np.float64)
