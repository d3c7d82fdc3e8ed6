"""What a trained model knows of its own limits: learned from images that its head did not learn from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcli.data.dataset import Sample
from featcli.evaluation.calibration import VALIDATION, Calibration
from featcli.evaluation.conformal import Scores
from featcli.evaluation.novelty import FEWEST, FEWEST_OWN, MOST_ROWS, SHARE, Novelty
from featcli.evaluation.trust import Trust
from featcli.evaluation.truth import Truth
from featcli.evaluation.words import interval_text
from featcli.events import Emit, Fact, Note
from featcli.features.extraction import FeatureTable
from featcli.heads.head import Head
from featcli.heads.kind import HeldOut
from featcli.sampling import evenly
from featcli.tasks import Task
from featcli.text import clipped
from featcli.workflow.measuring import group_names

FEWEST_HELD_OUT = 10  # images, below which no temperature is chosen
SURE = 0.9  # of another class: from here on a label is doubtful
_NAMED = 3
_WIDTH = 70


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a head says of images that it did not learn from, and what is true of them.

    Attributes:
        samples: M images.
        logits: (M, K) float64; minus infinity for a class that the head did not know.
        how: in words: `5 folds`, `each left out in turn`, `validation`.
    """

    samples: Sequence[Sample]
    logits: NDArray[np.float64]
    how: str

    @property
    def labels(self) -> NDArray[np.int64]:
        """(M,)."""
        return np.array([sample.label for sample in self.samples], dtype=np.int64)

    @property
    def groups(self) -> list[str] | None:
        """M names, or None where images are independent."""
        return group_names(self.samples)

    @property
    def is_validation(self) -> bool:
        """Whether these are the images that a training is measured on."""
        return self.how == VALIDATION


def held_out_evidence(held_out: HeldOut | None, samples: Sequence[Sample]) -> Evidence | None:
    """Of training images.

    Args:
        held_out: what heads say of some of the rows that were trained on.
        samples: that were trained on, in the order of the rows.
    """
    if held_out is None or not len(held_out.rows):
        return None
    return Evidence([samples[row] for row in held_out.rows], held_out.logits, held_out.how)


def validation_evidence(samples: Sequence[Sample], table: FeatureTable, head: Head) -> Evidence | None:
    """Of the readable images of val; None without any."""
    usable = table.readable
    rows = [row for row, sample in enumerate(samples) if sample.split == "val" and usable[row]]
    if not rows:
        return None
    logits = head.logits(table.features[rows]).astype(np.float64)
    return Evidence([samples[row] for row in rows], logits, VALIDATION)


def learn_trust(
    evidence: Evidence | None,
    task: Task,
    samples: Sequence[Sample],
    table: FeatureTable,
    emit: Emit,
    *,
    learned_features: bool,
) -> Trust:
    """The temperature, the scores of sets, and the distances from the training images; each is said.

    Args:
        evidence: from which the first two come; None where there is none.
        task: of the outputs, at temperature 1.
        samples: row i is row i of the table.
        table: features, of training images among others.
        emit: hears what was learned.
        learned_features: whether the backbone has learned from the training images; then what is near to them is told
            by those of val.
    """
    calibration, scores = None, None
    if evidence is not None and len(evidence.samples) >= FEWEST_HELD_OUT:
        calibration = Calibration.fit(evidence.logits, evidence.labels, evidence.how)
        probabilities = task.calibrated(calibration.temperature).link(evidence.logits)
        groups = Truth(evidence.labels, (), evidence.groups).group_numbers()
        scores = Scores.of(probabilities, evidence.labels, groups)
        temperature = f"temperature {calibration.temperature:.2f}"
        if evidence.is_validation:
            said = f"{temperature}, chosen on the {calibration.n} validation images: optimistic there"
        else:
            losses = f"{calibration.before:.3f} before, {calibration.after:.3f} after"
            said = f"{temperature}: log loss of held-out images {losses}"
        emit(Fact("confidence", said))
    elif len(task.names) > 1:
        emit(Note("confidence is not calibrated: too few images that the head did not learn from"))
    return Trust(calibration, scores, _novelty(samples, table, len(task.names), emit, learned_features))


def _novelty(
    samples: Sequence[Sample], table: FeatureTable, n_classes: int, emit: Emit, learned_features: bool
) -> Novelty | None:
    usable = table.readable
    train = [row for row, sample in enumerate(samples) if sample.split == "train" and usable[row]]
    train = [train[index] for index in evenly(len(train), MOST_ROWS)]
    labels = np.array([samples[row].label for row in train], dtype=np.int64)
    own, besides = None, ""
    if learned_features:
        besides = f" and {FEWEST_OWN} of validation"
        val = [row for row, sample in enumerate(samples) if sample.split == "val" and usable[row]]
        own = table.features[val]
    novelty = Novelty.fit(table.features[train], labels, n_classes, own)
    if novelty is None:
        there = f"{len(train)}" if own is None else f"{len(train)} and {len(own)}"
        emit(Note(f"novelty cannot be told: it takes {FEWEST} training images{besides} that differ; here are {there}"))
    else:
        rare = round(1 / (1 - SHARE))
        emit(Fact("strangers", f"novelty above 1: unlike the training images, or one in {rare} of their kind"))
    return novelty


@dataclass(frozen=True, slots=True)
class HeldOutFacts:
    """How right heads are on training images that they did not learn from.

    Attributes:
        facts: for `metrics.json`.
        rows: of `training.csv`, the most doubtful label first.
        doubtful: those of them whose image is surely of another class by these heads.
    """

    facts: dict[str, Any]
    rows: list[list[Any]]
    doubtful: list[list[Any]]


def measure_held_out(evidence: Evidence, task: Task, trust: Trust) -> HeldOutFacts:
    """Accuracy and log loss of the evidence, and its images in the order of how doubtful their labels are."""
    calibrated = task.calibrated(trust.temperature)
    predictions = calibrated.link(evidence.logits)
    labels = evidence.labels
    values = task.evaluate(predictions, Truth(labels, (), evidence.groups))
    own = np.take_along_axis(predictions, labels[:, None], axis=1)[:, 0]
    order = np.argsort(own, kind="stable")
    rows = []
    for row in order.tolist():
        cells = calibrated.cells(predictions[row])
        sample = evidence.samples[row]
        true = calibrated.target_text(sample.label)
        rows.append([sample.path, true, cells["label"], cells["confidence"], round(float(own[row]), 6)])
    doubtful = [row for row in rows if row[1] != row[2] and row[3] >= SURE]
    facts = {
        "how": evidence.how,
        "n": len(labels),
        **{name: values[name] for name in ("accuracy", "accuracy_ci95", "interval", "n_groups", "log_loss", "ece")},
        "doubtful_labels": len(doubtful),
    }
    return HeldOutFacts(facts, rows, doubtful)


def describe_held_out(found: HeldOutFacts, emit: Emit) -> None:
    """Says how right heads are on what they did not learn from, and which labels they do not believe."""
    facts = found.facts
    emit(
        Fact(
            "held out",
            f"accuracy {facts['accuracy']:.3f} ({interval_text(facts)}), {facts['n']} images, {facts['how']}",
        )
    )
    for index, row in enumerate(found.doubtful[:_NAMED]):
        more = f" ({len(found.doubtful)} in training.csv)" if index == 0 and len(found.doubtful) > _NAMED else ""
        said = f": {clipped(row[1], 20)}? {clipped(row[2], 20)} {row[3]:.2f}{more}"
        emit(Fact("" if index else "doubtful", _end(row[0], _WIDTH - len(said)) + said))


def _end(path: str, width: int) -> str:
    """The end of a path, which tells most."""
    return path if len(path) <= width else "..." + path[3 - width :]


def repeat_folds(outcomes: Sequence[Evidence], task: Task, temperature: float) -> dict[str, Any]:
    """How much the accuracy of held-out images differs between deals of the folds.

    Args:
        outcomes: one for each deal.
        task: of the outputs.
        temperature: that they are divided by.

    Returns:
        `repeats`; of `accuracy`, `macro_f1`, `log_loss`, and of each class's `recall`, mean, std, min and max.
    """
    calibrated = task.calibrated(temperature)
    values = [
        calibrated.evaluate(calibrated.link(outcome.logits), Truth(outcome.labels, (), None)) for outcome in outcomes
    ]
    names = list(values[0]["per_class"])
    return {
        "repeats": len(values),
        **{name: _spread([value[name] for value in values]) for name in ("accuracy", "macro_f1", "log_loss")},
        "recall": {name: _spread([value["per_class"][name]["recall"] for value in values]) for name in names},
    }


def describe_repeats(found: Mapping[str, Any], emit: Emit) -> None:
    """Says how far the accuracy of held-out images varies with the deal of the folds."""
    accuracy = found["accuracy"]
    emit(
        Fact(
            "repeats",
            f"accuracy {accuracy['mean']:.3f} in the mean of {found['repeats']} deals of the folds, "
            f"{accuracy['min']:.3f} to {accuracy['max']:.3f}",
        )
    )


def _spread(values: Sequence[float | None]) -> Mapping[str, float | None]:
    """Mean, standard deviation, least and largest of what is defined."""
    known = [value for value in values if value is not None]
    if not known:
        return {"mean": None, "std": None, "min": None, "max": None}
    std = float(np.std(known, ddof=1)) if len(known) > 1 else None
    return {"mean": float(np.mean(known)), "std": std, "min": min(known), "max": max(known)}
