"""Which images are one photograph: found by their features, believed by their pixels.

Features propose pairs, since those of a photograph that was encoded again, shrunk, turned or cropped are each other's
nearest; so do 64 pixels in any orientation, for backbones to which a turned photograph is another one. A pair counts
where its pixels, laid over each other, correlate as no two images of its class do by chance: above what the best of all
pairs would reach were they like pairs drawn at random (Gaussian in Fisher's z), and far above what nearest neighbours
reach that are no copies. So sets whose images are alike by nature, such as digits, ask for more than photographs do,
and nobody has to give a number.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featcli.analysis.alignment import Alignments, Pictures
from featcli.analysis.neighbours import directions, nearest

Integers = NDArray[np.int64]

NEIGHBOURS, FEWER, MANY = 3, 1, 1_500  # of each image, by its features; fewer of many images
LEAST = 0.7  # correlation, below which two images are never one photograph
SURE = 0.99  # above which they always are
_LEAST_COARSE = 0.3  # at the coarse step
_COARSER = 1.0  # of many images, of which few overlap in part: how much less it is there, in Fisher's z
_PER_CLASS = 80  # pairs drawn at random, to see what chance gives, and as many of nearest neighbours
_MOST_DRAWN = 400  # of either, of all classes together
_FEWEST = 30  # of a class, below which all classes together stand for it
_TAIL = 5.0  # spreads beyond the middle of what nearest neighbours correlate like that are no duplicates
_MIXED_TAIL = 7.0  # of all classes together, some of which are more alike than others
_MORE = 24  # neighbours of what is in a burst
_ROUNDS = 4


@dataclass(frozen=True, slots=True)
class Pair:
    """Two images that are one photograph.

    Attributes:
        first: row of the image that comes first.
        second: row of the other.
        correlation: of their edges and texture, 0 to 1; 1 where their files are identical.
        how: in words: `identical files`, `turned by 90 degrees, ...`.
    """

    first: int
    second: int
    correlation: float
    how: str


def find_duplicates(
    features: NDArray[np.float32],
    labels: Integers,
    sides: Integers,
    pictures: Pictures,
    emit: Callable[[int, int], None] = lambda done, total: None,
) -> list[Pair]:
    """Pairs of images that are one photograph, each verified on its pixels.

    Of many copies of one photograph not all pairs are listed, but so many that they hang together.

    Args:
        features: (N, D), of images of different content.
        labels: (N,).
        sides: (N,) which split each image is in; neighbours on another side are looked for as well.
        pictures: of the N images.
        emit: hears how many of how many pairs were compared.
    """
    usable = np.flatnonzero(pictures.has_structure)
    if len(usable) < 2:
        return []
    scaled = directions(features[usable])
    places = np.arange(len(usable))
    neighbours, _ = nearest(scaled, scaled, NEIGHBOURS if len(usable) <= MANY else FEWER, own=places)
    bars = _Bars.of(pictures, usable, labels, neighbours[:, 0])
    found: dict[tuple[int, int], Pair] = {}
    proposed = {_ordered(int(place), int(other)) for place in places for other in neighbours[place]}
    proposed |= _across(scaled, sides[usable])
    alike = np.searchsorted(usable, pictures.most_alike(usable, usable, own=True))
    proposed |= {_ordered(int(place), int(other)) for place, other in zip(places, alike, strict=True)}
    tried: set[tuple[int, int]] = set()
    for _ in range(_ROUNDS):
        fresh = sorted(proposed - tried)
        if not fresh:
            break
        tried |= set(fresh)
        pairs = usable[np.array(fresh, dtype=np.int64)]
        verified = _verified(pairs, labels, pictures, bars, emit)
        if not verified:
            break
        found |= {(pair.first, pair.second): pair for pair in verified}
        proposed = _around_bursts(scaled, usable, found)
    return [found[key] for key in sorted(found)]


def _across(scaled: NDArray[np.float32], sides: Integers) -> set[tuple[int, int]]:
    """Pairs of places whose second is on another side of a split: the nearest there of each."""
    pairs: set[tuple[int, int]] = set()
    for side in np.unique(sides)[1:]:
        queries, among = np.flatnonzero(sides == side), np.flatnonzero(sides < side)
        rows, _ = nearest(scaled[queries], scaled[among], 2 if len(scaled) <= MANY else 1)
        pairs |= {
            _ordered(int(query), int(among[row])) for query, near in zip(queries, rows, strict=True) for row in near
        }
    return pairs


def _around_bursts(
    scaled: NDArray[np.float32], usable: Integers, found: Iterable[tuple[int, int]]
) -> set[tuple[int, int]]:
    """More pairs of what is in a burst: with its farther neighbours in none or another, and of whole bursts."""
    place_of = {int(row): place for place, row in enumerate(usable)}
    members = bursts((place_of[first], place_of[second]) for first, second in found)
    burst_of = {place: number for number, burst in enumerate(members) for place in burst}
    inside = np.array(sorted(burst_of), dtype=np.int64)
    near, _ = nearest(scaled[inside], scaled, _MORE, own=inside)
    pairs = {(int(place), int(other)) for place, row in zip(inside, near, strict=True) for other in row}
    # Of very many copies the nearest are in the same burst: one of each stands for it.
    heads = np.array([burst[0] for burst in members], dtype=np.int64)
    later = set(burst_of) - set(heads.tolist())
    among = np.array([place for place in range(len(scaled)) if place not in later], dtype=np.int64)
    near, _ = nearest(scaled[heads], scaled[among], NEIGHBOURS, own=np.searchsorted(among, heads))
    pairs |= {(int(head), int(among[other])) for head, row in zip(heads, near, strict=True) for other in row}
    return {_ordered(*pair) for pair in pairs if burst_of.get(pair[0]) != burst_of.get(pair[1], -1)}


def _ordered(one: int, other: int) -> tuple[int, int]:
    return (one, other) if one < other else (other, one)


def bursts(pairs: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Sets of rows that hang together by pairs, each ascending, by their first row."""
    parent: dict[int, int] = {}

    def root(row: int) -> int:
        while parent.setdefault(row, row) != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for first, second in pairs:
        one, other = sorted((root(first), root(second)))
        parent[other] = one
    members = defaultdict(list)
    for row in sorted(parent):
        members[root(row)].append(row)
    return [members[key] for key in sorted(members)]


@dataclass(frozen=True, slots=True)
class _Bars:
    """The correlation from which two images of a class are one photograph."""

    of_class: dict[int, float]
    of_all: float

    @classmethod
    def of(cls, pictures: Pictures, usable: Integers, labels: Integers, nearest_place: Integers) -> _Bars:
        """By pairs that are drawn within each class: at random, and of an image and its nearest neighbour."""
        rng = np.random.default_rng(0)
        own = labels[usable]
        by_class = [np.flatnonzero(own == label) for label in np.unique(own)]
        by_class = [places for places in by_class if len(places) > 1]
        share = max(2, min(_PER_CLASS, _MOST_DRAWN // max(1, len(by_class))))
        drawn, near, origin = [], [], []
        for places in by_class[:_MOST_DRAWN]:
            first = rng.integers(0, len(places), share)
            second = (first + rng.integers(1, len(places), share)) % len(places)
            drawn.append(np.stack([places[first], places[second]], 1))
            near.append(np.stack([places[first], nearest_place[places[first]]], 1))
            origin += [int(own[places[0]])] * share
        if not drawn:
            return cls({}, LEAST)
        laid = pictures.align(usable[np.concatenate(drawn + near)]).correlation
        chance, closest = np.split(np.arctanh(laid.clip(0.0, 0.999).astype(np.float64)), 2)
        classes, sizes = np.array(origin), np.bincount(own)
        least = _within(chance, classes), _within(closest, classes)
        return cls(
            {
                label: _bar(chance[classes == label], closest[classes == label], int(sizes[label]), least)
                for label in np.unique(classes).tolist()
                if (classes == label).sum() >= _FEWEST
            },
            _bar(chance, closest, len(usable), tail=_MIXED_TAIL),
        )

    def for_pairs(self, pairs: Integers, labels: Integers) -> NDArray[np.float64]:
        """(P,) the bar of each pair: the higher of its two classes'."""
        each = np.vectorize(lambda label: self.of_class.get(label, self.of_all), otypes=[float])(labels[pairs])
        bars: NDArray[np.float64] = each.max(axis=1)
        return bars


def chance_pairs(rows: Integers, labels: Integers, count: int) -> Integers:
    """(P, 2) pairs drawn at random, each within one class; none where no class has two images.

    Args:
        rows: to draw from.
        labels: by row.
        count: how many pairs.
    """
    rng = np.random.default_rng(0)
    by_class = [rows[labels[rows] == label] for label in np.unique(labels[rows])]
    by_class = [members for members in by_class if len(members) > 1]
    drawn = []
    for place in rng.integers(0, len(by_class), count) if by_class else ():
        members = by_class[place]
        first = int(rng.integers(0, len(members)))
        second = (first + int(rng.integers(1, len(members)))) % len(members)
        drawn.append((members[first], members[second]))
    return np.array(drawn, dtype=np.int64).reshape(-1, 2)


def verify_pairs(pairs: Integers, chance: Integers, count: int, pictures: Pictures) -> list[Pair]:
    """Which of the pairs (P, 2), the nearest of their images, are one photograph.

    Args:
        pairs: nearest neighbours, duplicates among them.
        chance: (Q, 2), drawn at random.
        count: images that these were drawn from.
        pictures: of the rows.
    """
    if not len(pairs):
        return []
    laid = pictures.align(np.concatenate([chance, pairs]))
    z = np.arctanh(laid.correlation.clip(0.0, 0.999).astype(np.float64))
    bar = _bar(z[: len(chance)], z[len(chance) :], count) if len(chance) else LEAST
    return _believed(pairs, laid.of(slice(len(chance), None)), np.full(len(pairs), bar))


def _bar(
    chance: NDArray[np.float64],
    closest: NDArray[np.float64],
    count: int,
    least: tuple[float, float] = (0.0, 0.0),
    tail: float = _TAIL,
) -> float:
    """What the best of all pairs of so many images reaches that are no duplicates.

    Args:
        chance: correlations of random pairs, in Fisher's z.
        closest: of nearest neighbours, duplicates among them.
        count: images.
        least: spreads of the two that are known from other classes, since a few pairs may be alike by chance.
        tail: how many spreads of nearest neighbours.
    """
    highest = _beyond(chance, math.sqrt(2.0 * math.log(max(2.0, count * (count - 1) / 2))), least[0])
    ordinary = closest[closest < highest]
    if len(ordinary) >= len(closest) / 4:  # else nearly all have duplicates, and say nothing of those without
        highest = max(highest, _beyond(ordinary, tail, min(least[1], least[0])))
    return min(max(LEAST, math.tanh(highest)), SURE)


def _beyond(z: NDArray[np.float64], spreads: float, least: float) -> float:
    middle = float(np.median(z))
    return middle + spreads * max(least, _spread(z - middle))


def _within(z: NDArray[np.float64], classes: NDArray[np.int64]) -> float:
    """The spread of z about the middle of each class."""
    middles = {label: float(np.median(z[classes == label])) for label in np.unique(classes).tolist()}
    return _spread(z - np.array([middles[label] for label in classes.tolist()]))


def _spread(centred: NDArray[np.float64]) -> float:
    """As the standard deviation of a Gaussian, whatever a few of them are."""
    return 1.4826 * float(np.median(np.abs(centred)))


def _verified(
    pairs: Integers, labels: Integers, pictures: Pictures, bars: _Bars, emit: Callable[[int, int], None]
) -> list[Pair]:
    least = bars.for_pairs(pairs, labels)
    found: list[Pair] = []
    size = 1024
    order = np.argsort(least, kind="stable")  # so that the lowest bar of a chunk is nearly that of each pair
    for start in range(0, len(pairs), size):
        chunk = order[start : start + size]
        lowest = float(least[chunk].min())
        coarse = math.tanh(math.atanh(lowest) - _COARSER) if len(labels) > MANY else _LEAST_COARSE
        laid = pictures.align(pairs[chunk], least=lowest, least_coarse=max(_LEAST_COARSE, coarse))
        found += _believed(pairs[chunk], laid, least[chunk])
        emit(min(start + size, len(pairs)), len(pairs))
    return found


def _believed(pairs: Integers, laid: Alignments, bars: NDArray[np.float64]) -> list[Pair]:
    found = []
    for place in np.flatnonzero(laid.correlation >= _required(bars, laid.overlap)).tolist():
        first, second = sorted(pairs[place].tolist())
        found.append(Pair(first, second, round(float(laid.correlation[place]), 4), _how(laid, place)))
    return found


def _required(bars: NDArray[np.float64], overlap: NDArray[np.float32]) -> NDArray[np.float64]:
    """Bars of pairs that overlap in part: chance goes further with fewer pixels."""
    z = np.arctanh(bars) / np.sqrt(np.maximum(overlap.astype(np.float64), 0.01))
    required: NDArray[np.float64] = np.minimum(np.tanh(z), np.maximum(bars, SURE))
    return required


_TURNS = (
    "",
    "turned by 90 degrees",
    "turned by 180 degrees",
    "turned by 90 degrees",
    "mirrored",
    "turned by 90 degrees and mirrored",
    "mirrored upside down",
    "turned by 90 degrees and mirrored",
)


def _how(laid: Alignments, place: int) -> str:
    said: Sequence[str] = (
        _TURNS[laid.orientation[place]],
        f"overlapping by {laid.overlap[place]:.0%}" if laid.overlap[place] < 0.9 else "",
        "cropped" if laid.overlap[place] >= 0.9 and abs(math.log(laid.scale[place])) > 0.03 else "",
        f"correlation {laid.correlation[place]:.2f}",
    )
    return ", ".join(part for part in said if part)
