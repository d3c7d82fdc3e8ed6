"""All that is suspicious about a data set, by the features, the pixels and the labels of its images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from featcli.analysis.copies import Copies, find_copies, same_content
from featcli.analysis.doubts import (
    FAR,
    AlikeClasses,
    Doubts,
    find_alike_classes,
    find_doubts,
    find_outliers,
)
from featcli.analysis.duplicates import bursts
from featcli.analysis.surfaces import COMMON, Surface, find_odd_surfaces
from featcli.analysis.suspects import Suspect
from featcli.data.dataset import Dataset, Sample
from featcli.data.pixels.thumbnails import Seen


@dataclass(frozen=True, slots=True)
class Material:
    """What an audit looks at.

    Attributes:
        data: N images.
        features: (N, D).
        readable: (N,) which rows have features.
        seen: by row, the first image of each content from afar.
        compares: whether images are compared with one another; else only identical files are copies.
    """

    data: Dataset
    features: NDArray[np.float32]
    readable: NDArray[np.bool_]
    seen: Mapping[int, Seen]
    compares: bool = True


@dataclass(frozen=True, slots=True)
class Audit:
    """What was found.

    Attributes:
        suspects: in no particular order.
        copies: images that are one photograph.
        common: sentences on what so many images are that it is no suspicion.
    """

    suspects: list[Suspect]
    copies: Copies
    common: list[str] = field(default_factory=list)


def audit(material: Material, tick: Callable[[int, int], None]) -> Audit:
    """Looks for copies, wrong labels, classes that are alike, strangers, and images that show nothing.

    Args:
        material: the images.
        tick: hears how many of how many pairs of images were compared.
    """
    data = material.data
    thumbnails = {row: seen.thumbnail for row, seen in material.seen.items()}
    if material.compares:
        copies = find_copies(data, material.features, material.readable, thumbnails, tick)
    else:
        copies = Copies(data, tuple(same_content(data.samples)[1]))
    rows = np.flatnonzero(material.readable)
    labels = np.array([data.samples[row].label for row in rows], dtype=np.int64)
    present, dense = np.unique(labels, return_inverse=True)
    names = [data.classes[label] for label in present]
    features = material.features[rows]
    doubts = find_doubts(features, dense, len(present), _units(data.samples, rows, copies))
    suspects: list[Suspect] = []
    sentences: list[str] = []
    own: dict[int, float] = {}
    if doubts is not None:
        own = {int(row): float(value) for row, value in zip(rows, doubts.own, strict=True) if not np.isnan(value)}
        alike = find_alike_classes(doubts, dense)
        suspects += [_alike(pair, names) for pair in alike]
        labelled, said = _label_suspects(doubts, dense, alike, names, [data.samples[row].path for row in rows])
        suspects += labelled
        sentences += said
    suspects += copies.suspects(own)
    for place, deviations in find_outliers(features, dense, len(present)):
        why = f"unlike every class: {deviations:.1f} deviations farther than the others from the nearest"
        suspects.append(Suspect(data.samples[rows[place]].path, "outlier", None, 1.0 - FAR / (2.0 * deviations), why))
    surfaces = [Surface(data.samples[row].path, seen.size, seen.thumbnail) for row, seen in material.seen.items()]
    odd, common = find_odd_surfaces(surfaces)
    return Audit(suspects + odd, copies, sentences + common)


def _units(samples: Sequence[Sample], rows: NDArray[np.intp], copies: Copies) -> list[str]:
    """A name for each row: one for what must be held out together, groups and copies."""
    first: dict[str, int] = {}
    linked = [(pair.first, pair.second) for pair in copies.pairs]
    linked += [(first.setdefault(samples[row].unit, int(row)), int(row)) for row in rows]
    unit_of = {row: str(members[0]) for members in bursts(linked) for row in members}
    return [unit_of[int(row)] for row in rows]


def _alike(pair: AlikeClasses, names: Sequence[str]) -> Suspect:
    why = f"cannot be told apart: area under the curve {pair.area:.2f} on {pair.n} images (0.5 is chance)"
    return Suspect(names[pair.first], "classes", names[pair.second], min(1.0, 2.0 * (1.0 - pair.area)), why)


def _label_suspects(
    doubts: Doubts, labels: NDArray[np.int64], alike: Sequence[AlikeClasses], names: Sequence[str], paths: Sequence[str]
) -> tuple[list[Suspect], list[str]]:
    """Doubtful labels, but those between two classes that nothing tells apart; and a sentence where they are many."""
    hopeless = {frozenset((pair.first, pair.second)) for pair in alike}
    found, said = [], []
    rows = doubts.doubtful
    if len(rows) > max(5, COMMON * len(labels)):  # it is the heads that do not know, not the labels that are wrong
        sure = rows[doubts.other_probability[rows] >= 0.5]
        said = [
            f"of {len(labels)} labels {len(rows)} are less probable than another: these classes are hard to learn, and "
            f"only the {len(sure)} against which another class has a probability of a half are listed"
        ]
        rows = sure
    for row in rows.tolist():
        own, other = int(labels[row]), int(doubts.other[row])
        if frozenset((own, other)) not in hopeless:
            why = f"labelled {names[own]}; {names[other]} {doubts.other_probability[row]:.2f}, {names[own]} "
            why += f"{doubts.own[row]:.2f}, by heads that have not seen it"
            found.append(Suspect(paths[row], "label", None, float(doubts.scores[row]), why))
    return found, said
