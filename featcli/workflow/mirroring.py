"""Whether a training mirrors its images, and why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featcli.analysis.mirroring import LabelledImages, try_mirroring
from featcli.analysis.sides import sided_names
from featcli.config import Train
from featcli.data.dataset import Dataset
from featcli.events import Emit, Warn
from featcli.features.extraction import Extractor, FeatureTable
from featcli.tasks import task_of
from featcli.workflow.session import Session


@dataclass(frozen=True, slots=True)
class Mirroring:
    """Whether left and right are exchanged in training images, and why in words."""

    mirror: bool
    reason: str

    def __str__(self) -> str:
        return f"{'yes' if self.mirror else 'no'}: {self.reason}"


def plan_mirroring(train: Train, classes: Sequence[str]) -> Mirroring | None:
    """What the options and the names of the classes say; None where the images are to be asked."""
    if train.augment in ("none", "flip"):
        return Mirroring(train.augment == "flip", f"train.augment is {train.augment}")
    if isinstance(train.mirror, bool):
        return Mirroring(train.mirror, f"train.mirror is {str(train.mirror).lower()}")
    named = sided_names(classes)
    if named is not None:
        return Mirroring(False, f"the classes are named after {named}; train.mirror: true mirrors all the same")
    return None


def warn_of_sides(mirroring: Mirroring | None, classes: Sequence[str], emit: Emit) -> None:
    """Says that images are mirrored whose classes are named after sides, where that was asked for."""
    named = sided_names(classes)
    if mirroring is not None and mirroring.mirror and named is not None:
        said = f"training mirrors images ({mirroring.reason}), and the classes are named after {named}"
        emit(Warn(f"{said}: an image may become one of another class"))


def decide_mirroring(
    session: Session, extractor: Extractor, data: Dataset, table: FeatureTable, rows: Sequence[int]
) -> Mirroring:
    """As `plan_mirroring`, or by a trial on the training images, which is the same whenever it is made.

    Args:
        session: the invocation.
        extractor: of the features.
        data: all images.
        table: their features.
        rows: of the training images that can be read.
    """
    config = session.loaded.config
    planned = plan_mirroring(config.train, data.classes)
    warn_of_sides(planned, data.classes, session.emit)
    if planned is not None:
        return planned
    samples = [data.samples[row] for row in rows]
    labels: NDArray[np.int64] = np.array([sample.label for sample in samples], dtype=np.int64)
    units = [sample.unit for sample in samples]
    images = LabelledImages([sample.ref for sample in samples], table.features[list(rows)], labels, units)
    trial = try_mirroring(extractor, images, task_of(data.classes), seed=config.seed, emit=session.emit)
    if trial is None:
        return Mirroring(True, "too few images to find out whether it changes the class; train.mirror: false does not")
    return Mirroring(trial.survives, str(trial))
