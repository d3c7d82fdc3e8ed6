"""The three sentences that matter: generated from the numbers, chosen by one rule.

Every sentence that holds has a weight; the verdict comes first, then the two of the largest weight. A weight says how
far the sentence changes what an owner should do next: first what makes the number wrong (leaks), then what makes the
model wrong (classes that are never recognised, training images learned by heart), then what makes the number vague.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from featcli.report.counting import ClassScores, Confused
from featcli.text import clipped, first_few

WIDE = 0.04  # half an interval, from which more images are the first thing to get
GAP = 0.1  # of training accuracy above that of held-out images
POOR_ECE = 0.1
FEW = 20  # training images of a class
ENOUGH = 0.995  # accuracy, from which there is little left to gain
_NAME = 40


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known of a run; None where it is not.

    Attributes:
        words: which images were measured: `validation`, `test`, `held-out training`.
        n: how many.
        n_errors: of them, those that could not be read.
        accuracy: of the n images.
        interval: of it, 95 %.
        majority: the accuracy of always naming `largest`.
        largest: the largest class.
        scores: of each class.
        confused: the most frequent mistakes, the first first.
        selected: whether the epoch was chosen on these images.
        train_accuracy: on images that it learned from.
        held_out: the interval of the accuracy of training images by heads that did not learn from them.
        ece: calibration error.
        counts: suspicious images by kind.
        training: training images by class.
        trainable: whether stages of the backbone are left that could be trained.
    """

    words: str
    n: int
    n_errors: int
    accuracy: float
    interval: tuple[float, float] | None
    majority: float | None
    largest: str
    scores: Sequence[ClassScores]
    confused: Sequence[Confused]
    selected: bool
    train_accuracy: float | None
    held_out: tuple[float, float] | None
    ece: float | None
    counts: dict[str, int]
    training: dict[str, int]
    trainable: bool


@dataclass(frozen=True, slots=True)
class Sentence:
    """Something that holds: what it is about, how much it matters, and the words."""

    kind: str
    weight: float
    text: str


def three_sentences(situation: Situation) -> list[Sentence]:
    """The verdict, and the two that matter most; of equal weights the one that was found first."""
    others = sorted(_others(situation), key=lambda sentence: -sentence.weight)
    return [_verdict(situation), *others[:2]]


def _verdict(found: Situation) -> Sentence:
    interval = f" (95 % interval {_span(found.interval)})" if found.interval else ""
    start = f"It is right on {_per_cent(found.accuracy)} of {found.n} {found.words} images{interval}"
    if found.majority is None or found.majority >= 1:
        return Sentence("verdict", 100, f"{start}; there is no baseline to compare with.")
    named = f"always naming the largest class, {clipped(found.largest, _NAME)}, gives {_per_cent(found.majority)}"
    low, high = found.interval or (found.accuracy, found.accuracy)
    if high < found.majority or found.accuracy < found.majority:
        return Sentence("below", 100, f"{start}, which is worse than doing nothing: {named}.")
    if low <= found.majority:
        said = "so it is not shown that it has learned anything: the interval reaches down to that"
        return Sentence("unproven", 100, f"{start}; {named}, {said}.")
    least = f"{100 * (low - found.majority):.1f} points"
    return Sentence("better", 100, f"{start}; {named}, so it is better by at least {least}.")


def _others(found: Situation) -> list[Sentence]:
    return [
        *_of_suspects(found),
        *_of_classes(found),
        *_of_numbers(found),
        *_of_what_is_left(found),
    ]


def _of_suspects(found: Situation) -> list[Sentence]:
    said = []
    leaks, conflicts, labels = (found.counts.get(kind, 0) for kind in ("leak", "conflict", "label"))
    if leaks:
        text = (
            f"{_images(leaks)} on two sides of the split, so the accuracy is too good to be true: remove one of each "
            "pair (they are below) and train again."
        )
        said.append(Sentence("leaks", 95, text))
    if conflicts:
        text = f"{_images(conflicts)} under two classes: decide which (they are below) and train again."
        said.append(Sentence("conflicts", 85, text))
    if labels:
        are = "label is" if labels == 1 else "labels are"
        share = labels / max(sum(found.training.values()), 1)
        text = (
            f"{labels} {are} doubtful: heads that had not seen the images find another class more probable. "
            "Look at them below, correct what is wrong, and train again."
        )
        said.append(Sentence("labels", 50 + min(30.0, 1000 * share), text))
    return said


def _of_classes(found: Situation) -> list[Sentence]:
    said = []
    known = [score for score in found.scores if score.recall is not None]
    never = [score for score in known if score.recall == 0]
    if never:
        names = first_few([clipped(score.name, _NAME) for score in never])
        text = f"Never recognised: {names}. Look at their images, and add more of them."
        said.append(Sentence("never", 90, text))
    few = sorted((count, name) for name, count in found.training.items() if count < FEW)
    if few:
        names = first_few([f"{clipped(name, _NAME)} ({count})" for count, name in few])
        text = f"Few images to learn from: {names}. Add some before anything else is tried."
        said.append(Sentence("few", 48, text))
    below = min((score for score in known if score.recall), key=_by_recall, default=None)
    if below is not None and below.recall is not None and below.recall < 1:
        text = f"The weakest class is {clipped(below.name, _NAME)}, found in {_per_cent(below.recall)} of its "
        text += "image" if below.support == 1 else f"{below.support} images"
        if found.confused:
            first = found.confused[0]
            pair = f"{clipped(first.truth, _NAME)} taken for {clipped(first.label, _NAME)}"
            text += f"; the most frequent mistake is {pair} ({first.count} of {first.support})"
        said.append(Sentence("weakest", 40 + (10 if found.accuracy - below.recall > GAP else 0), f"{text}."))
    return said


def _by_recall(score: ClassScores) -> tuple[float, int]:
    return score.recall or 0.0, -score.support


def _of_numbers(found: Situation) -> list[Sentence]:
    said = []
    if found.n_errors:
        text = f"{found.n_errors} of {found.n} images could not be read and count as wrong: featcli check names them."
        said.append(Sentence("errors", 80, text))
    if found.selected:
        text = (
            "The epoch was chosen on these images, so the accuracy is optimistic: hold a test split out, by a folder "
            "test or --set data.test_fraction=0.2."
        )
        said.append(Sentence("selected", 70, text))
    low, high = found.interval or (0.0, 1.0)
    if found.held_out is not None and found.words != "held-out training":
        if found.held_out[0] > high:
            text = (
                f"Training images that are held out are easier ({_span(found.held_out)}) than the {found.words} "
                "images: these are of another kind (camera, place, time?), and so may be what comes later."
            )
            said.append(Sentence("harder", 75, text))
        elif found.held_out[1] < low:
            text = (
                f"Training images that are held out did worse ({_span(found.held_out)}) than the {found.words} images: "
                "either these are easier, or every training image is still missed; more of them would help."
            )
            said.append(Sentence("easier", 52, text))
    trained = found.train_accuracy
    if trained is not None and trained - found.accuracy > GAP and trained > high:
        text = (
            f"It is right on {_per_cent(trained)} of what it learned from, far more than of other images: more "
            "training images, or a smaller head.C, would help most."
        )
        said.append(Sentence("gap", 60, text))
    if found.interval is not None and (high - low) / 2 > WIDE:
        text = (
            f"{found.n} images leave the accuracy uncertain by {100 * (high - low):.0f} points: four times as many "
            "would halve that."
        )
        said.append(Sentence("wide", 45 + 50 * (high - low), text))
    if found.ece is not None and found.ece > POOR_ECE and found.n >= 100:
        text = (
            f"Its confidence is off by {_per_cent(found.ece)} on average: do not act on a threshold before more "
            "images are held out for calibration."
        )
        said.append(Sentence("calibration", 55, text))
    return said


def _of_what_is_left(found: Situation) -> list[Sentence]:
    said = []
    if found.trainable and found.accuracy < ENOUGH:
        text = "Fine-tuning may gain something: the stages of the backbone are as they were pretrained."
        said.append(Sentence("tune", 20, text))
    if found.accuracy == 1:
        text = "No mistake was made on these images: try it on harder ones, with featcli evaluate RUN OTHER_PHOTOS."
        said.append(Sentence("perfect", 30, text))
    text = "New images show whether it keeps its word: featcli evaluate RUN OTHER_PHOTOS --unseen."
    said.append(Sentence("next", 10, text))
    text = "featcli predict says novelty above 1 of what is unlike the training images: such answers mean nothing."
    said.append(Sentence("novelty", 5, text))
    return said


def _images(count: int) -> str:
    return "One photograph is" if count == 1 else f"{count} photographs are"


def _per_cent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _span(interval: tuple[float, float]) -> str:
    return f"{_per_cent(interval[0])} to {_per_cent(interval[1])}"
