"""Images of val and test of which train has a copy: a quick look, at the pairs that are nearest by their features.

`featcli.analysis.copies` looks at all pairs; this is what a training can afford, whatever its size.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featcli.analysis.alignment import Pictures
from featcli.analysis.copies import IDENTICAL
from featcli.analysis.duplicates import Pair, chance_pairs, verify_pairs
from featcli.analysis.neighbours import directions, nearest
from featcli.data.dataset import Sample
from featcli.data.pixels.thumbnails import Thumbnail

MOST_COMPARED = 300  # pairs of images whose pixels are compared
FEW = 600  # images, up to which 64 pixels of all are compared too
_CHANCE = 60  # pairs of a class, to see what chance gives

Look = Callable[[Sequence[int]], Mapping[int, Thumbnail]]


@dataclass(frozen=True, slots=True)
class Leaks:
    """What train knows of val or test.

    Attributes:
        pairs: by row, a pair with a training image of the same photograph.
        distances: by row that could be read, the cosine distance to the nearest training image.
        compared: rows whose content or pixels were compared with those of train.
    """

    pairs: dict[int, Pair]
    distances: dict[int, float]
    compared: frozenset[int]


def find_leaks(
    samples: Sequence[Sample], features: NDArray[np.float32], readable: NDArray[np.bool_], split: str, look: Look
) -> Leaks:
    """Compares the images of val or test with the nearest training image of each.

    A split by itself: what is said of val must not depend on the test.

    Args:
        samples: N images.
        features: (N, D).
        readable: (N,) which rows have features.
        split: `val` or `test`; images of the other one are left aside.
        look: gives the thumbnails of rows, where they can be read.
    """
    rows = np.flatnonzero(readable & np.array([sample.split in ("train", split) for sample in samples], dtype=np.bool_))
    is_train: NDArray[np.bool_] = np.array([samples[row].split == "train" for row in rows.tolist()], dtype=np.bool_)
    train, held_out = rows[is_train], rows[~is_train]
    if not len(train) or not len(held_out):
        return Leaks({}, {}, frozenset())
    scaled = directions(features[rows])
    near, cosines = nearest(scaled[~is_train], scaled[is_train], 1)
    partners, cosines = train[near[:, 0]], cosines[:, 0]
    pairs = {}
    first: dict[bytes | None, int] = {}
    for row in train.tolist():
        first.setdefault(samples[row].digest, row)
    for row in held_out.tolist():
        if samples[row].digest in first:
            pairs[row] = Pair(first[samples[row].digest], row, 1.0, IDENTICAL)
    known = set(pairs)
    others = np.array([place for place, row in enumerate(held_out.tolist()) if row not in pairs], dtype=np.int64)
    others = others[np.argsort(-cosines[others], kind="stable")][:MOST_COMPARED]
    if len(others):
        asked = np.stack([partners[others], held_out[others]], 1)
        pairs |= {
            pair.second: pair
            for pair in sorted(_verified(asked, train, samples, look), key=lambda pair: pair.correlation)
        }
    compared = frozenset(known | set(held_out[others].tolist()))
    distances = {int(row): 1.0 - float(cosine) for row, cosine in zip(held_out, cosines, strict=True)}
    return Leaks(pairs, distances, compared)


def _verified(asked: NDArray[np.int64], train: NDArray[np.int64], samples: Sequence[Sample], look: Look) -> list[Pair]:
    """Which of the pairs (training image, held-out image) are one photograph."""
    labels = np.array([sample.label for sample in samples], dtype=np.int64)
    chance = chance_pairs(train, labels, _CHANCE)
    few = len(train) + len(asked) <= FEW
    wanted = np.unique(np.concatenate([asked.ravel(), chance.ravel(), train if few else train[:0]]))
    thumbnails = look(wanted.tolist())
    pictures = Pictures([thumbnails.get(int(row)) for row in wanted])
    shown = {int(row): place for place, row in enumerate(wanted)}
    if few:
        queries = np.unique(asked[:, 1])
        alike = wanted[pictures.most_alike(np.searchsorted(wanted, queries), np.searchsorted(wanted, train))]
        asked = np.unique(np.concatenate([asked, np.stack([alike, queries], 1)]), axis=0)

    def places(pairs: NDArray[np.int64]) -> NDArray[np.int64]:
        seen = [[shown[int(one)], shown[int(two)]] for one, two in pairs]
        kept = [pair for pair in seen if pictures.has_structure[pair].all()]
        return np.array(kept, dtype=np.int64).reshape(-1, 2)

    found = verify_pairs(places(asked), places(chance), len(train), pictures)
    # A training image comes first, as it was asked; rows need not ascend.
    of = {(shown[int(one)], shown[int(two)]): (int(one), int(two)) for one, two in asked}
    pairs = []
    for pair in found:
        one, two = of.get((pair.first, pair.second)) or of[pair.second, pair.first]
        pairs.append(Pair(one, two, pair.correlation, pair.how))
    return pairs
