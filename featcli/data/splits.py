"""Splits that images keep when others are added, and folds: places follow from a hash, not from a shuffle."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray


def split_by_hash(
    units: Sequence[str], labels: Sequence[int], *, seed: int, val_fraction: float, test_fraction: float
) -> list[str]:
    """Assigns every image to `train`, `val` or `test`.

    Units (identical content, or a group) are taken in the order of sha256(seed + unit) and fill val, then test, up to
    round(n x fraction) images of each class; a unit is never divided, one that no longer fits goes on to the next
    split, and every class keeps at least one image in train. Images added later leave the others where they were, but
    for a few at the boundary.

    Args:
        units: of each image, N strings.
        labels: of each image, N class indices.
        seed: of the order.
        val_fraction: share of each class's images, in [0, 1).
        test_fraction: share of each class's images, in [0, 1).
    """
    members = defaultdict(list)
    for index, unit in enumerate(units):
        members[unit].append(index)
    sizes = Counter(labels)
    room = {}
    for name, fraction in (("val", val_fraction), ("test", test_fraction)):
        room[name] = {label: round(size * fraction) for label, size in sizes.items()}
    spare = {label: size - 1 for label, size in sizes.items()}  # one stays in train
    splits = ["train"] * len(units)
    for unit in sorted(members, key=lambda unit: hash_order(seed, unit)):
        need = Counter(labels[index] for index in members[unit])
        for name in ("val", "test"):
            if all(room[name][label] >= count and spare[label] >= count for label, count in need.items()):
                for label, count in need.items():
                    room[name][label] -= count
                    spare[label] -= count
                for index in members[unit]:
                    splits[index] = name
                break
    return splits


def stratified_folds(units: Sequence[str], labels: Sequence[int], *, folds: int, seed: int) -> NDArray[np.int64]:
    """Deals units to folds, class by class, in the order of their hash; each to the fold that has least of its classes.

    No fold holds all units of a class: held out, it would be a class never seen. So a unit gets -1, always in the
    training part, where it is the only one of a class.

    A unit that holds several classes is dealt with the first of them.

    Returns:
        (N,) the fold in which each image is held out.
    """
    contents: dict[str, dict[int, int]] = defaultdict(dict)
    for unit, label in zip(units, labels, strict=True):
        contents[unit][label] = contents[unit].get(label, 0) + 1
    dealer = _Dealer(contents.values(), folds)
    fold_of: dict[str, int] = {}
    for unit in sorted(contents, key=lambda unit: (min(contents[unit]), hash_order(seed, f"fold:{unit}"))):
        fold_of[unit] = dealer.place(contents[unit])
    return np.array([fold_of[unit] for unit in units], dtype=np.int64)


class _Dealer:
    """Gives units to folds, one after the other.

    Args:
        contents: images of each class, for every unit that will be given.
        folds: how many.
    """

    def __init__(self, contents: Iterable[dict[int, int]], folds: int) -> None:
        self._total: Counter[int] = Counter()  # images of a class
        self._waiting: Counter[int] = Counter()  # units of a class
        for content in contents:
            self._total.update(content)
            self._waiting.update(content.keys())
        self._images: list[Counter[int]] = [Counter() for _ in range(folds)]
        self._sizes = [0] * folds
        self._folds_of: dict[int, set[int]] = defaultdict(set)  # where units of a class have gone, -1 included

    def place(self, content: dict[int, int]) -> int:
        """The fold of a unit with these images."""
        for label in content:
            self._waiting[label] -= 1
        # The last unit of a class must not join all others of it in one fold.
        closing = [self._folds_of[label] for label in content if not self._waiting[label]]
        free = [fold for fold in range(len(self._sizes)) if all(taken - {fold} for taken in closing)]
        fold = min(free, key=lambda fold: self._load(fold, content), default=-1)
        for label, count in content.items():
            self._folds_of[label].add(fold)
            if fold >= 0:
                self._images[fold][label] += count
                self._sizes[fold] += count
        return fold

    def _load(self, fold: int, content: dict[int, int]) -> tuple[float, int, int]:
        """How much a fold has of a unit's classes, as shares of them, weighted by what the unit brings."""
        images = self._images[fold]
        if len(content) == 1:
            (label,) = content
            return images[label], self._sizes[fold], fold
        load = math.fsum(images[label] * count / self._total[label] for label, count in content.items())
        return load, self._sizes[fold], fold


def hash_order(seed: int, unit: str) -> bytes:
    """The sort key of a unit: sha256 of the seed and the unit."""
    return hashlib.sha256(f"{seed}:{unit}".encode("utf-8", "surrogateescape")).digest()
