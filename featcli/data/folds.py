"""Folds for cross-validation, which images keep when others are added: places follow from a hash, as in a split."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from featcli.data.splits import hash_order, unit_contents

EVEN = 0.1  # of a fold's share: a fold that is ahead by less, once a unit has moved, keeps the unit
PASSES = 3


def stratified_folds(units: Sequence[str], labels: Sequence[int], *, folds: int, seed: int) -> NDArray[np.int64]:
    """Deals units to folds: those of a class, in the order of their hash, fill one fold after the other.

    Images that are added move the others only at the boundaries between two folds. Units of many images are moved on
    where that makes folds more even. No fold holds all units of a class: held out, it would be a class never seen. So a
    unit gets -1, always in the training part, where it is the only one of a class.

    A unit that holds several classes is dealt with the first of them.

    Args:
        units: of each image, N strings.
        labels: of each image, N class indices.
        folds: how many, at least 2.
        seed: of the order.

    Returns:
        (N,) the fold in which each image is held out.
    """
    dealt = _Deal(unit_contents(units, labels, lambda unit: hash_order(seed, f"fold:{unit}")), folds)
    dealt.even_out()
    dealt.leave_no_class_alone()
    return np.array([dealt.fold_of[unit] for unit in units], dtype=np.int64)


class _Deal:
    """Which unit is in which fold.

    Args:
        contents: images of each class, by unit, in the order in which they are dealt.
        folds: how many.
    """

    def __init__(self, contents: Mapping[str, Counter[int]], folds: int) -> None:
        self._folds = folds
        self._contents = contents
        self._totals: Counter[int] = Counter()
        self._units: dict[int, list[str]] = defaultdict(list)  # of each class
        for unit, content in self._contents.items():
            self._totals.update(content)
            for label in content:
                self._units[label].append(unit)
        self.fold_of: dict[str, int] = {}
        self._images: list[Counter[int]] = [Counter() for _ in range(folds)]
        self._sizes = [0] * folds
        passed: Counter[int] = Counter()
        dealt_with = Counter(dict.fromkeys(self._totals, 0))
        for content in self._contents.values():
            dealt_with[min(content)] += sum(content.values())
        for unit, content in self._contents.items():
            label, size = min(content), sum(content.values())
            middle = passed[label] + 0.5 * size
            passed[label] += size
            # Each class begins with another fold: classes of a few images would else leave the same folds empty.
            self._place(unit, (int(folds * middle / dealt_with[label]) + label) % folds)

    def even_out(self) -> None:
        """Moves units to folds that have less of their classes, where that wins enough."""
        for _ in range(PASSES):
            moved = False
            uneven = {label for label in self._units if self._is_uneven(label)}
            for unit, content in self._contents.items() if uneven else ():
                if uneven.isdisjoint(content):
                    continue
                here = self.fold_of[unit]
                gains = [self._gain(content, here, fold) if fold != here else 0.0 for fold in range(self._folds)]
                best = max(range(self._folds), key=lambda fold: gains[fold])
                if gains[best] > EVEN / self._folds:
                    self._move(unit, best)
                    moved = True
            if not moved:
                return

    def leave_no_class_alone(self) -> None:
        """Sees to it that every class has units in two folds at least, or in the training part always."""
        for units in self._units.values():
            if len(units) == 1:
                self._move(units[0], -1)
        for label in sorted(self._units, key=lambda label: (len(self._units[label]), label)):
            units = self._units[label]
            places = {self.fold_of[unit] for unit in units}
            if len(places) > 1 or places == {-1}:
                continue
            others = [fold for fold in range(self._folds) if fold not in places]
            for unit in reversed(units):
                free = [fold for fold in others if self._may_move(unit, fold)]
                if free:
                    self._move(unit, min(free, key=lambda fold: (self._images[fold][label], self._sizes[fold])))
                    break
            else:
                self._move(units[-1], -1)

    def _is_uneven(self, label: int) -> bool:
        """Whether a fold is ahead of another by enough for a unit to move."""
        counts = [images[label] for images in self._images]
        return (max(counts) - min(counts)) / self._totals[label] > EVEN / self._folds

    def _gain(self, content: Counter[int], here: int, there: int) -> float:
        """How far one fold stays ahead of the other after a move, as a share of the unit's classes; 0 is no gain."""
        shares = {label: count / self._totals[label] for label, count in content.items()}
        ahead = {
            label: (self._images[here][label] - self._images[there][label]) / self._totals[label] for label in content
        }
        return sum(share * (ahead[label] - share) for label, share in shares.items()) / sum(shares.values())

    def _may_move(self, unit: str, fold: int) -> bool:
        """Whether no other class of the unit would be in one fold alone after that."""
        return all(
            any(self.fold_of[other] != fold for other in self._units[label] if other != unit)
            for label in self._contents[unit]
        )

    def _place(self, unit: str, fold: int) -> None:
        self.fold_of[unit] = fold
        if fold >= 0:
            self._images[fold].update(self._contents[unit])
            self._sizes[fold] += sum(self._contents[unit].values())

    def _move(self, unit: str, fold: int) -> None:
        before = self.fold_of[unit]
        if before >= 0:
            self._images[before].subtract(self._contents[unit])
            self._sizes[before] -= sum(self._contents[unit].values())
        self._place(unit, fold)
