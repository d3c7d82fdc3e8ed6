"""What a task is: what is learned from labelled images, and what is said of new ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Protocol, overload

import numpy as np
from numpy.typing import NDArray

from featcli.evaluation.conformal import Scores
from featcli.evaluation.truth import Truth

if TYPE_CHECKING:
    from torch import Tensor

Floats = NDArray[np.float64]
Targets = NDArray[Any]  # (N,) or (N, ...), int64 where they are classes
Criterion = Callable[["Tensor", "Tensor"], "Tensor"]


class Task(Protocol):
    """One kind of target: classes, of which an image has one; others are a file each.

    A model gives K outputs for an image; the link turns them into the prediction, K numbers that mean something.
    """

    @property
    def names(self) -> tuple[str, ...]:
        """Of the K outputs, in order."""

    @property
    def fields(self) -> Mapping[str, type]:
        """The cells of a row, `str` or `float`, by name: `label`, `confidence`."""

    @property
    def logged(self) -> tuple[str, ...]:
        """The metrics that a log has for each epoch."""

    @property
    def shown(self) -> tuple[str, ...]:
        """Those of them that are shown while a training goes on."""

    @overload
    def link(self, outputs: NDArray[np.floating], dim: int = 1) -> Floats: ...
    @overload
    def link(self, outputs: Tensor, dim: int = 1, *, wide: bool = True) -> Tensor: ...
    def link(self, outputs: Any, dim: int = 1, *, wide: bool = True) -> Any:
        """From outputs, K of them along `dim`, to predictions of the same shape, float64.

        Of an array, which is what heads give, and of a tensor: in training, and in a model as one module, whose
        predictions are of the type of its outputs (`wide` is False), as what runs it may have no float64.
        """

    def calibrated(self, temperature: float) -> Task:
        """The same task, whose link divides outputs by a temperature first."""

    def calibration(self, outputs: NDArray[np.floating], targets: Targets, *, chosen_here: bool) -> dict[str, Any]:
        """What the task's temperature changes on images: their log loss and calibration error before and after.

        Args:
            outputs: (N, K), as heads give them.
            targets: (N,).
            chosen_here: whether it was chosen on these images: then each fifth is measured with that of the others.
        """

    def silence(self, predictions: Floats, targets: Targets, scores: Scores | None) -> dict[str, Any]:
        """What keeping silent is worth: metrics by name, of N predictions; and of sets, where there are scores."""

    def criterion(self, *, class_weights: Tensor | None, label_smoothing: float) -> Criterion:
        """The loss that training by gradient minimises: of outputs (B, K) and targets (B,), summed over examples."""

    def class_weights(self, targets: Targets) -> tuple[float, ...]:
        """What makes everything that is to be told apart weigh the same in the loss, with a mean of one."""

    def strata(self, targets: Targets) -> NDArray[np.int64]:
        """(N,) what splits and folds hold equal shares of."""

    def evaluate(self, predictions: Floats, truth: Truth) -> dict[str, Any]:
        """Every metric of a split, in plain values.

        Args:
            predictions: (N, K) of the images that were read.
            truth: what is true of them, and of those that could not be read.
        """

    def improves(self, metric: str, value: float, best: float) -> bool:
        """Whether a value of a metric is better than the best so far."""

    def count_correct(self, predictions: Floats, targets: Targets) -> int:
        """How many of N predictions are right."""

    def cells(self, prediction: Floats | None, top: int = 1) -> dict[str, Any]:
        """What a row says of an image.

        Args:
            prediction: (K,), or None where there is none.
            top: how many outputs are listed.

        Returns:
            A value for each name in `fields`, None where there is no prediction; and what only JSON can hold.
        """

    def target_text(self, target: Any) -> str:
        """A target as a table shows it."""

    def describe(self, values: Mapping[str, Any]) -> list[str]:
        """A few lines of at most 70 columns on the metrics of a split; none where nothing was measured."""

    def doubts(self, values: Mapping[str, Any]) -> list[str]:
        """What in the metrics of a split should keep a user from trusting the model, in words."""


def rounded(value: Any) -> float:
    """A number as rows have it: with six decimals."""
    return round(float(value), 6)
