"""One class for each image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, overload

import numpy as np
from numpy.typing import NDArray

from featcli.evaluation import metrics
from featcli.evaluation.abstaining import coverage_curve, set_metrics
from featcli.evaluation.calibration import cross_fitted_temperatures, mean_log_loss, refinement, reliability
from featcli.evaluation.conformal import Scores
from featcli.evaluation.truth import Truth
from featcli.tasks.task import Criterion, Floats, Targets, rounded
from featcli.tasks.verdict import doubts, verdict_lines

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Multiclass:
    """One of K classes for each image: probabilities by softmax, learned by cross-entropy, decided by the largest.

    Attributes:
        names: of the classes, in the order of the outputs.
        positive: of two classes the one that is to be found, or None.
        temperature: logits are divided by it before they become probabilities.
    """

    names: tuple[str, ...]
    positive: str | None = None
    temperature: float = 1.0
    fields: ClassVar[Mapping[str, type]] = {"label": str, "confidence": float}
    logged: ClassVar[tuple[str, ...]] = ("accuracy", "macro_f1", "log_loss")
    shown: ClassVar[tuple[str, ...]] = ("accuracy", "log_loss")

    @overload
    def link(self, outputs: NDArray[np.floating], dim: int = 1) -> Floats: ...
    @overload
    def link(self, outputs: Tensor, dim: int = 1, *, wide: bool = True) -> Tensor: ...
    def link(self, outputs: Any, dim: int = 1, *, wide: bool = True) -> Any:
        """From logits to probabilities, which sum to one along `dim`, float64; unless `wide`, as the logits are."""
        if isinstance(outputs, np.ndarray):
            return softmax(outputs if self.temperature == 1.0 else outputs / np.float64(self.temperature), dim)
        return ((outputs.double() if wide else outputs) / self.temperature).softmax(dim)

    def calibrated(self, temperature: float) -> Multiclass:
        """The same with logits that are divided by a temperature, 1 being as they are."""
        return replace(self, temperature=temperature)

    def calibration(self, outputs: NDArray[np.floating], targets: Targets, *, chosen_here: bool) -> dict[str, Any]:
        """`log_loss` and `ece` before and after the temperature, `refinement`, and bins of a reliability diagram."""
        logits = outputs.astype(np.float64)
        scaled = logits / (cross_fitted_temperatures(logits, targets) if chosen_here else self.temperature)
        plain, after = softmax(logits, 1), softmax(scaled, 1)
        predicted = decide(after)
        return {
            "temperature": self.temperature,
            "log_loss_before": mean_log_loss(logits, targets),
            "log_loss_after": mean_log_loss(scaled, targets),
            "ece_before": metrics.expected_calibration_error(plain, targets, predicted),
            "ece_after": metrics.expected_calibration_error(after, targets, predicted),
            "refinement": refinement(logits, targets),
            "reliability": reliability(after, targets, predicted),
        }

    def silence(self, predictions: Floats, targets: Targets, scores: Scores | None) -> dict[str, Any]:
        """`coverage_curve`, accuracy on the surest images, and `sets`, how often they hold the true class."""
        predicted = decide(predictions)
        confidence = np.take_along_axis(predictions, predicted[:, None], axis=1)[:, 0]
        return {
            "coverage_curve": coverage_curve(confidence, predicted == targets),
            "sets": None if scores is None else set_metrics(scores, predictions, targets),
        }

    def criterion(self, *, class_weights: Tensor | None, label_smoothing: float) -> Criterion:
        """Cross-entropy (nats), summed over examples; an example's whole loss is weighed by the weight of its class.

        torch's own `weight` weighs the smoothed part of a target by the class that receives it: with balanced weights,
        from 19 : 1 on, the loss of a common example would be smallest where it is called rare. Here its minimum lies at
        a probability of 1 - s + s / K, for smoothing s, whatever the weights.

        Args:
            class_weights: (K,) of each class's examples; their mean over the training examples is one.
            label_smoothing: share s of each target that is spread over all K classes.
        """
        from torch.nn import functional as F

        def loss(logits: Tensor, labels: Tensor) -> Tensor:
            if class_weights is None:
                return F.cross_entropy(logits, labels, reduction="sum", label_smoothing=label_smoothing)
            losses = F.cross_entropy(logits, labels, reduction="none", label_smoothing=label_smoothing)
            return losses @ class_weights[labels]

        return loss

    def class_weights(self, targets: Targets) -> tuple[float, ...]:
        """Such that all classes weigh the same in a sum over the examples; the mean over these is one."""
        return balanced_weights(targets, len(self.names))

    def strata(self, targets: Targets) -> NDArray[np.int64]:
        """The classes."""
        return targets

    def evaluate(self, predictions: Floats, truth: Truth) -> dict[str, Any]:
        """As the function of the same name, with the names of the classes."""
        return evaluate(predictions, truth, self.names, positive=self.positive)

    def improves(self, metric: str, value: float, best: float) -> bool:
        """Whether a value is better: a smaller log loss, more of anything else."""
        return value < best if metric == "log_loss" else value > best

    def count_correct(self, predictions: Floats, targets: Targets) -> int:
        """How many of N images are predicted right: what `evaluate --parity` compares."""
        return correct_count(predictions, targets)

    def cells(self, prediction: Floats | None, top: int = 1) -> dict[str, Any]:
        """`label` and `confidence`, the most probable class and its probability; of equals, the first class.

        And `top`: so many pairs of class and probability, the most probable first.
        """
        if prediction is None:
            return {"label": None, "confidence": None, "top": []}
        order = np.argsort(-prediction, kind="stable")[:top]
        pairs = [[self.names[index], rounded(prediction[index])] for index in order]
        return {"label": pairs[0][0], "confidence": pairs[0][1], "top": pairs}

    def target_text(self, target: int) -> str:
        """The name of a class."""
        return self.names[target]

    def describe(self, values: Mapping[str, Any]) -> list[str]:
        """Accuracy beside that of always naming the largest class, the weakest class, the most frequent mistake."""
        return verdict_lines(values)

    def doubts(self, values: Mapping[str, Any]) -> list[str]:
        """An accuracy below that of always naming the largest class; classes that are never recognised."""
        return doubts(values)


def softmax(logits: NDArray[np.floating], dim: int) -> Floats:
    """Exponentials by their sum along `dim`, float64; not a number where a logit is not finite."""
    with np.errstate(invalid="ignore"):
        shares: Floats = logits - logits.max(axis=dim, keepdims=True).astype(np.float64)
    np.exp(shares, out=shares)
    shares /= shares.sum(axis=dim, keepdims=True)
    return shares


def correct_count(probabilities: Floats, labels: Targets) -> int:
    """How many of N images are predicted right.

    Args:
        probabilities: (N, K) float64.
        labels: (N,) indices of the true classes.
    """
    return int(np.count_nonzero(decide(probabilities) == labels))


def decide(probabilities: NDArray[np.floating]) -> NDArray[np.int64]:
    """The most probable class of each row, of equals the first: probabilities or logits (N, K) -> (N,)."""
    return np.asarray(probabilities.argmax(axis=1), dtype=np.int64)


def evaluate(
    probabilities: Floats, truth: Truth, classes: Sequence[str], *, positive: str | None = None
) -> dict[str, Any]:
    """Every metric of a split, the most probable class being the prediction: as `metrics.evaluate`, which says all."""
    return metrics.evaluate(probabilities, truth, classes, decide=decide, positive=positive)


def balanced_weights(labels: Sequence[int] | Targets, n_classes: int) -> tuple[float, ...]:
    """A weight for each class, such that all weigh the same in a sum over the examples; the mean over these is one."""
    counts = np.bincount(np.asarray(labels, dtype=np.int64), minlength=n_classes)
    return tuple(float(value) for value in counts.sum() / (n_classes * np.maximum(counts, 1)))
