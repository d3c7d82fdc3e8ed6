"""Whether a model was trained on the images that it is to be measured on; an image is known by its content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from featcli.data.dataset import Sample
from featcli.errors import CheckpointError, StorageError, UsageError
from featcli.events import Emit, Note, Warn
from featcli.metadata import CheckpointMetadata
from featcli.runs.folder import IMAGES_NAME, Run
from featcli.runs.images import training_digests


@dataclass(frozen=True, slots=True)
class Overlap:
    """What the images of an evaluation have in common with the training split of a run.

    Attributes:
        samples: the images to evaluate on.
        trained_on: how many of them were in the training split; None where that is not known.
        left_out: how many were left out since they were; None where none was to be.
    """

    samples: Sequence[Sample]
    trained_on: int | None
    left_out: int | None = None

    @property
    def lines(self) -> list[str]:
        """What the text of an evaluation says of it: nothing, where there is nothing to say."""
        if self.left_out is not None:
            return [f"left out           {self.left_out}  (in the training split of this run)"]
        if self.trained_on:
            many = f"{self.trained_on} of {len(self.samples)}"
            return [f"trained on         {many}  (so the accuracy says little about new images)"]
        return []

    def to_json(self) -> dict[str, Any]:
        """The counts by name."""
        left_out = {} if self.left_out is None else {"left_out": self.left_out}
        return {"trained_on": self.trained_on, **left_out}


def find_overlap(
    checkpoint: Path, metadata: CheckpointMetadata, samples: Sequence[Sample], *, unseen: bool, emit: Emit
) -> Overlap:
    """Compares images with the list of those that a run was made from, and says what they share.

    Args:
        checkpoint: the file in its run folder.
        metadata: what it says of itself.
        samples: to evaluate on.
        unseen: whether those that were trained on are left out.
        emit: hears of those that were trained on, or that it is not known which.

    Raises:
        UsageError: with `unseen`, there is no such list, or no image is left.
        CheckpointError: with `unseen`, the list is damaged.
        StorageError: with `unseen`, it cannot be read.
    """
    try:
        trained = training_digests(Run(checkpoint.parent), metadata)
    except (CheckpointError, StorageError) as error:
        if unseen:
            raise
        emit(Warn(f"{error.message}: whether these images were trained on is not known"))
        return Overlap(samples, None)
    if trained is None:
        unknown = f"whether these images were trained on is not known: there is no {IMAGES_NAME} beside {checkpoint}"
        if unseen:
            raise UsageError(f"--unseen: {unknown}", "Name the checkpoint in its run folder, or leave out --unseen.")
        emit(Note(unknown))
        return Overlap(samples, None)
    new = [sample for sample in samples if sample.digest not in trained]
    n, known = len(samples), len(samples) - len(new)
    said = f"{known} of {n} images were in the training split of this run"
    if not unseen:
        if known:
            emit(Warn(f"{said}: the accuracy says little about new ones; --unseen leaves them out"))
        return Overlap(samples, known)
    if not new:
        raise UsageError(
            f"--unseen: {said}: none is left to evaluate on", "Name a folder of images that are new to it."
        )
    emit(Note(f"{said}: left out"))
    return Overlap(new, 0, known)
