"""Whether a checkpoint still predicts what was validated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featcli.data.dataset import Sample, fingerprint
from featcli.errors import ConditionFailed
from featcli.events import Emit, Note
from featcli.features.extraction import Extractor
from featcli.features.store import PLAIN_ENGINE
from featcli.metadata import CheckpointMetadata
from featcli.runs.folder import PREDICTIONS_NAME, Run
from featcli.tasks import Task

MAX_DIFFERING_SHARE = 0.005  # of the labels, between kinds of devices or precisions


@dataclass(frozen=True, slots=True)
class Measured:
    """What a model says of labelled images.

    Attributes:
        task: what it was trained for.
        samples: N images.
        rows: (M,) those that can be read.
        predictions: (M, K) of these.
    """

    task: Task
    samples: Sequence[Sample]
    rows: NDArray[np.int64]
    predictions: NDArray[np.float64]

    @property
    def targets(self) -> NDArray[np.int64]:
        """(M,) what is true of `rows`."""
        return np.array([self.samples[row].label for row in self.rows.tolist()], dtype=np.int64)

    def cells(self) -> dict[tuple[str, str], int]:
        """How many images of a class were taken for a class."""
        labels = (self.task.cells(prediction)["label"] for prediction in self.predictions)
        return Counter(zip(map(self.task.target_text, self.targets.tolist()), labels, strict=True))


def check_parity(
    path: Path, metadata: CheckpointMetadata, measured: Measured, extractor: Extractor, emit: Emit
) -> ConditionFailed | None:
    """Compares with what a checkpoint stores: exactly by the same engine on the same kind of device, else by label.

    Args:
        path: of the checkpoint.
        metadata: what it stores.
        measured: the validation images.
        extractor: whose features they were predicted from.
        emit: hears that parity holds.

    Returns:
        Why it does not hold, or None.
    """
    stored, samples = metadata.validation, measured.samples
    if fingerprint(samples) != stored.fingerprint:
        return ConditionFailed(
            f"parity cannot be shown: these {len(samples)} images are not the {stored.n} that were validated on",
            "Images or labels were added, removed or changed since.",
        )
    correct = measured.task.count_correct(measured.predictions, measured.targets)
    said = f"{correct} of {len(samples)} correct, {stored.correct} of {stored.n} in the checkpoint"
    runtime = extractor.runtime
    here = _words(runtime.device.type, runtime.precision, extractor.engine.name)
    there = _words(metadata.device_type, metadata.precision, metadata.engine)
    if here == there:
        if correct != stored.correct:
            return ConditionFailed(f"parity does not hold: {said}")
        emit(Note(f"parity holds: {said}"))
        return None
    differing, basis = _differing_labels(path, measured, abs(correct - stored.correct))
    allowed = MAX_DIFFERING_SHARE * len(samples)
    said = f"{said}; {differing} labels differ ({basis}) between {there} and {here}, {allowed:g} may"
    if differing > allowed:
        return ConditionFailed(f"parity does not hold: {said}")
    emit(Note(f"parity holds: {said}"))
    return None


def _words(device_type: str, precision: str, engine: str) -> str:
    return " ".join([device_type, precision, *([] if engine == PLAIN_ENGINE else [engine])])


def _differing_labels(path: Path, measured: Measured, at_least: int) -> tuple[int, str]:
    """Against `predictions.csv` beside the checkpoint; without it, the difference of the counts is all there is."""
    rows = Run(path.parent).read_predictions()
    if rows is None:
        return at_least, f"at least; {PREDICTIONS_NAME} is missing"
    told = {row["path"]: row["label"] for row in rows}
    cells = map(measured.task.cells, measured.predictions)
    now = {row: cell["label"] for row, cell in zip(measured.rows.tolist(), cells, strict=True)}
    differing = sum(told.get(sample.path, "") != now.get(row, "") for row, sample in enumerate(measured.samples))
    return differing, PREDICTIONS_NAME
