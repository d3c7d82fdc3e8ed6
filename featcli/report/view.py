"""From the values of a run to what its page shows, section by section."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from featcli.events import Emit
from featcli.report.confusion import MOST_SQUARE, MatrixRow, heat_map, matrix
from featcli.report.counting import ClassScores, Confused, class_scores, confused_pairs, worst_first
from featcli.report.feature_map import FeatureMap, draw_map
from featcli.report.gallery import Album, Group, Selection, Shot, reasons
from featcli.report.graphs import (
    Coverage,
    Detection,
    Figure,
    Reliability,
    coverage_of,
    detection,
    reliability_of,
    training_figures,
)
from featcli.report.markup import Html
from featcli.report.material import HELD_OUT, Material, Measured
from featcli.report.numbers import Numbers
from featcli.report.pictures import Thumbnail, unavailable
from featcli.report.sentences import Sentence, Situation, three_sentences
from featcli.text import columns

_PAIRS = 15
_LONG, _ROOM = 20, 70  # columns of a name, and of all names above a matrix
_NAMED = 5


@dataclass(frozen=True, slots=True)
class Headline:
    """The number that the page is about.

    Attributes:
        accuracy: in words.
        interval: in words; empty without one.
        n: images.
        words: which images.
        baseline: in words; empty without one.
        optimistic: why the number is; empty where it is not.
        others: further splits, in words.
    """

    accuracy: str
    interval: str
    n: int
    words: str
    baseline: str
    optimistic: str
    others: Sequence[str]


@dataclass(frozen=True, slots=True)
class ShownGroup:
    """Suspicious images of one kind: pairs or bursts of pictures, each with its reason; or names of classes."""

    group: Group
    entries: Sequence[tuple[Sequence[Shot], Sequence[str], str]]


@dataclass(frozen=True, slots=True)
class View:
    """Everything that the page of one run shows; what does not apply is None, empty, or a sentence.

    Attributes:
        id: prefix of its anchors.
        absences: sentences by section, of what is left out.
        picture_notes: how many pictures are missing or changed, and why.
        map_thumbnails: sources by key, of pictures that only the map shows.
    """

    id: str
    material: Material
    headline: Headline | None
    sentences: Sequence[Sentence]
    picture_notes: Sequence[str]
    mistakes: Sequence[Shot]
    hits: Sequence[Shot]
    n_mistakes: int
    matrix: Sequence[MatrixRow]
    heat: Html | None
    pairs: Sequence[Confused]
    n_pairs: int
    scores: Sequence[ClassScores]
    detection: Detection | None
    reliability: Reliability | None
    coverage: Coverage | None
    figures: Sequence[Figure]
    map: FeatureMap | None
    groups: Sequence[ShownGroup]
    absences: Mapping[str, str]
    map_thumbnails: Mapping[str, str]

    @property
    def is_tilted(self) -> bool:
        """Whether the names of the classes are too long to stand side by side above a matrix."""
        return len(self.matrix) > 3 and sum(min(columns(row.name), _LONG) for row in self.matrix) > _ROOM


def make_view(
    ident: str, material: Material, selection: Selection, pictures: Mapping[str, Thumbnail], emit: Emit
) -> View:
    """What the page of a run shows.

    Args:
        ident: prefix of its anchors.
        material: the run.
        selection: the images that are shown.
        pictures: their thumbnails, by path.
        emit: hears what takes long.
    """
    keys = {item.image.path: f"{ident}t{index}" for index, item in enumerate(selection.wanted)}
    measured = material.measured
    scores: list[ClassScores] = []
    pairs: list[Confused] = []
    rows: list[MatrixRow] = []
    heat = None
    if measured is not None:
        supports = supports_of(measured, material.classes)
        scores = scores_of(measured, material.classes)
        pairs = confused_pairs(measured.cells, supports)
        if not measured.cells:
            pass
        elif len(material.classes) <= MOST_SQUARE:
            rows = matrix(measured.cells, supports, material.classes)
        else:
            heat = heat_map(measured.cells, supports, material.classes)
    album = Album(material, pictures, keys)
    mistakes = album.shots(image.path for image in selection.mistakes)
    hits = album.shots(image.path for image in selection.hits)
    shown = [_shown(album, group) for group in selection.groups]
    drawn = None
    if not isinstance(material.cloud, str):
        whys = reasons(material.suspects)
        with_picture = {path: key for path, key in keys.items() if pictures[path].source}
        drawn = draw_map(material.cloud, material.classes, material.judged(), whys, with_picture, emit)
    return View(
        id=ident,
        material=material,
        headline=None if measured is None else _headline(measured, material),
        sentences=_sentences(material, scores, pairs),
        picture_notes=_picture_notes(pictures),
        mistakes=mistakes,
        hits=hits,
        n_mistakes=sum(pair.count for pair in pairs),
        matrix=rows,
        heat=heat,
        pairs=pairs[:_PAIRS],
        n_pairs=len(pairs),
        scores=worst_first(scores),
        detection=None if measured is None else detection(measured, material.classes),
        reliability=None if measured is None else reliability_of(measured, material.classes, material.head),
        coverage=None if measured is None else coverage_of(measured),
        figures=training_figures(material),
        map=drawn,
        groups=shown,
        absences=_absences(material),
        map_thumbnails={
            key: pictures[path].source for path, key in keys.items() if key not in album.shown and pictures[path].source
        },
    )


def supports_of(measured: Measured, classes: Sequence[str]) -> dict[str, int]:
    """How many images each class has, unreadable ones too."""
    stored = measured.numbers.part("per_class")
    if stored is not None:
        return {name: part.count("support") or 0 for name in classes if (part := stored.part(name)) is not None}
    counts = dict.fromkeys(classes, 0)
    for image in measured.images or ():
        counts[image.truth] = counts.get(image.truth, 0) + 1
    return counts


def scores_of(measured: Measured, classes: Sequence[str]) -> list[ClassScores]:
    """As the metrics have them, else counted; in the order of the classes."""
    stored = measured.numbers.part("per_class")
    if stored is None:
        return class_scores(measured.cells, supports_of(measured, classes), classes) if measured.cells else []
    found = []
    for name in classes:
        part = stored.part(name) or Numbers({}, "")
        precision, recall, f1 = (part.number(key) for key in ("precision", "recall", "f1"))
        found.append(ClassScores(name, precision, recall, f1, part.count("support") or 0))
    return found


def share_text(value: float | None) -> str:
    """`95.4 %`, or a dash."""
    return "-" if value is None else f"{100 * value:.1f} %"


def span_text(interval: Sequence[float] | None) -> str:
    """`90.9 % to 97.8 %`; empty without an interval."""
    return f"{share_text(interval[0])} to {share_text(interval[1])}" if interval else ""


def _shown(album: Album, group: Group) -> ShownGroup:
    entries = [
        ([] if group.is_of_classes else album.shots(paths), list(paths), why)
        for paths, why in zip(group.shown, group.whys, strict=True)
    ]
    return ShownGroup(group, entries)


def _headline(measured: Measured, material: Material) -> Headline:
    numbers = measured.numbers
    majority = majority_of(measured, material.classes)
    selected = numbers.part("selected")
    optimistic = ""
    if selected is not None:
        epochs = selected.count("epochs")
        optimistic = f"the best of epochs 0 to {epochs} on these images" if epochs is not None else "chosen on these"
    elif measured.split == HELD_OUT:
        optimistic = ""
    return Headline(
        share_text(numbers.number("accuracy")),
        span_text(numbers.pair("accuracy_ci95")),
        numbers.count("n") or len(measured.images or ()),
        measured.words,
        "" if majority is None else f"{share_text(majority[1])} by always naming {majority[0]}",
        optimistic,
        [_other_text(other) for other in (*material.others, *_held_out_too(measured, material))],
    )


def _held_out_too(measured: Measured, material: Material) -> list[Measured]:
    found = material.head.part("held_out")
    if found is None or measured.split == HELD_OUT:
        return []
    return [Measured(HELD_OUT, found, None, {})]


def _other_text(other: Measured) -> str:
    interval = span_text(other.numbers.pair("accuracy_ci95"))
    within = f" ({interval})" if interval else ""
    return f"{other.words}: {share_text(other.numbers.number('accuracy'))}{within}, {other.numbers.count('n')} images"


def majority_of(measured: Measured, classes: Sequence[str]) -> tuple[str, float] | None:
    """The largest class of the measured images and its share; None where that is not known."""
    supports = supports_of(measured, classes)
    whole = sum(supports.values())
    if not whole:
        return None
    largest = max(classes, key=lambda name: supports.get(name, 0))
    return largest, supports[largest] / whole


def _sentences(material: Material, scores: Sequence[ClassScores], pairs: Sequence[Confused]) -> list[Sentence]:
    measured = material.measured
    accuracy = None if measured is None else measured.numbers.number("accuracy")
    if measured is None or accuracy is None:
        return []
    numbers, head = measured.numbers, material.head
    majority = majority_of(measured, material.classes)
    counts: dict[str, int] = {}
    for suspect in material.suspects:
        counts[suspect.kind] = counts.get(suspect.kind, 0) + 1
    training = dict.fromkeys(material.classes, 0) if material.images else {}
    for image in material.images.values():
        if image.split == "train" and image.label in training:
            training[image.label] += 1
    held_out = head.part("held_out")
    situation = Situation(
        words=measured.words,
        n=numbers.count("n") or len(measured.images or ()),
        n_errors=numbers.count("n_errors") or 0,
        accuracy=accuracy,
        interval=numbers.pair("accuracy_ci95"),
        majority=None if majority is None else majority[1],
        largest="" if majority is None else majority[0],
        scores=scores,
        confused=pairs,
        selected=numbers.part("selected") is not None,
        train_accuracy=head.number("train_accuracy"),
        held_out=None if held_out is None else held_out.pair("accuracy_ci95"),
        ece=numbers.number("ece"),
        counts=counts,
        training=training,
        trainable=material.freeze_depth == "all",
    )
    return three_sentences(situation)


def _absences(material: Material) -> dict[str, str]:
    """Why a section is left out, where a reader would miss it."""
    said = {"measured": "", "images": "", "map": ""}
    measured = material.measured
    if measured is None:
        said["measured"] = (
            "No image was held out, so nothing is known of how good the model is: train it again with "
            "data.val_fraction above 0, or measure it with featcli evaluate RUN OTHER_PHOTOS."
        )
    elif measured.images is None:
        said["images"] = "The list of predictions cannot be read, so no image is shown."
    if isinstance(material.cloud, str):
        said["map"] = material.cloud
    return said


def _picture_notes(pictures: Mapping[str, Thumbnail]) -> list[str]:
    """What the reader must know of the pictures: how many are missing, and a few by name."""
    by_reason: dict[str, list[str]] = {}
    for path, reason in unavailable(pictures):
        by_reason.setdefault(reason, []).append(path)
    notes = []
    for reason, paths in sorted(by_reason.items()):
        more = f" and {len(paths) - _NAMED} more" if len(paths) > _NAMED else ""
        what = "image" if len(paths) == 1 else "images"
        notes.append(f"{len(paths)} of {len(pictures)} {what} ({reason}): {', '.join(paths[:_NAMED])}{more}")
    return notes
