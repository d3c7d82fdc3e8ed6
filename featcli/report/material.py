"""What a page is made of: plain values of one run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from featcli.analysis.suspects import Suspect
from featcli.data.pixels.decoding import GreyRange
from featcli.report.numbers import Numbers

TEST, VAL, HELD_OUT = "test", "val", "held out"
SPLIT_WORDS = {TEST: "test", VAL: "validation", HELD_OUT: "held-out training"}


@dataclass(frozen=True, slots=True)
class Judged:
    """An image that a model was measured on.

    Attributes:
        path: as the run names it.
        truth: its class.
        label: the class that was predicted; empty where the image could not be read.
        confidence: of the prediction; 0 where there is none.
    """

    path: str
    truth: str
    label: str
    confidence: float

    @property
    def is_right(self) -> bool:
        """Whether truth and prediction agree."""
        return self.truth == self.label

    @property
    def is_mistake(self) -> bool:
        """Whether another class was predicted."""
        return self.label not in ("", self.truth)


@dataclass(frozen=True, slots=True)
class Measured:
    """The images that the page is about, and what is known of them.

    Attributes:
        split: TEST, VAL or HELD_OUT.
        numbers: of `metrics.json`.
        images: each of them; None where the list cannot be read.
        cells: how many images of a class (first) were taken for a class (second), where there are any.
    """

    split: str
    numbers: Numbers
    images: Sequence[Judged] | None
    cells: Mapping[tuple[str, str], int]

    @property
    def words(self) -> str:
        """Which images these are."""
        return SPLIT_WORDS[self.split]


@dataclass(frozen=True, slots=True)
class Listed:
    """An image of a run.

    Attributes:
        path: as the run names it.
        place: where it lies now.
        split: `train`, `val` or `test`.
        label: its class.
        sha256: of its bytes then; empty where it could not be read.
    """

    path: str
    place: str
    split: str
    label: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Cloud:
    """Features of some images.

    Attributes:
        images: N of them.
        features: (N, D) float32.
        total: how many images the run has; the others were left out evenly, or are not in the store.
        lost: of those that were chosen, how many are not in the store.
        left_out: mistakes and suspicious images for which there was no room.
    """

    images: Sequence[Listed]
    features: NDArray[np.float32]
    total: int
    lost: int
    left_out: int = 0


@dataclass(frozen=True, slots=True)
class Epoch:
    """A line of the log of a training: epoch 0 is the model as it came."""

    epoch: int
    loss: float | None
    accuracy: float | None
    log_loss: float | None
    best: bool


@dataclass(frozen=True, slots=True)
class Material:
    """One run.

    Attributes:
        name: of its folder.
        folder: where it lies.
        classes: in order.
        measured: None where no image was held out.
        others: further splits that were measured, not shown image by image.
        head: what `metrics.json` says of it.
        images: by path; empty where the run has no list of them.
        judged_training: training images, each as seen by a head that did not learn from it; None without any.
        cloud: features; a sentence where there is no map.
        suspects: suspicious images, the worst of each kind first.
        epochs: of a training by gradient descent.
        facts: of the checkpoint, by name.
        config: the lines of the resolved config.
        commands: that reproduce and check the run.
        problems: what of the run cannot be read, and what was left out for it.
        grey_range: of 16-bit grey, as the run reads it.
        freeze_depth: as its checkpoint has it.
        backbone: by name.
        looked: at what suspicious images were looked for, where that is not all; a sentence.
    """

    name: str
    folder: str
    classes: Sequence[str]
    measured: Measured | None
    others: Sequence[Measured]
    head: Numbers
    images: Mapping[str, Listed]
    judged_training: Sequence[Judged] | None
    cloud: Cloud | str
    suspects: Sequence[Suspect]
    epochs: Sequence[Epoch]
    facts: Mapping[str, str]
    config: Sequence[str]
    commands: Sequence[str]
    problems: Sequence[str] = field(default=())
    grey_range: GreyRange | None = None
    freeze_depth: str = "all"
    backbone: str = ""
    looked: str = ""

    def judged(self) -> dict[str, Judged]:
        """Every image that is known with a prediction, by path."""
        measured = () if self.measured is None else self.measured.images or ()
        found = {image.path: image for other in self.others for image in other.images or ()}
        return {image.path: image for image in self.judged_training or ()} | found | {i.path: i for i in measured}
