"""Splits of groups: whole groups, as near to the share as they allow, every class where it can be.

The order of the groups' hash decides first and is then repaired, so that images added later move few of the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from featcli.data.splits import hash_order, unit_contents

NEAR = 0.015  # of all images: a share that is so near is left as the hash has it
EVEN = 0.02  # of all images: what a change must win for the classes where the share is near
MOST_SWAPPED = 300  # groups, of one class each, among which one is exchanged for one: with more there is no need
MOST_PAIRED = 16  # groups among which pairs are exchanged

Content = Mapping[int, int]  # images of each class


def split_groups(
    units: Sequence[str], labels: Sequence[int], *, seed: int, val_fraction: float, test_fraction: float
) -> list[str]:
    """Assigns every image to `train`, `val` or `test`, groups undivided.

    Val, then test, takes the groups whose images come nearest to its share, of all images and of each class; a class
    that has two groups or more is in train and val, one that has three is in test too where there is a test split.

    Args:
        units: of each image, N names of groups; of an image without one, a name of its own.
        labels: of each image, N class indices.
        seed: of the order.
        val_fraction: share of the images, in [0, 1).
        test_fraction: share of the images, in [0, 1).
    """
    left = unit_contents(units, labels, lambda unit: hash_order(seed, unit))
    groups = Counter(label for content in left.values() for label in content)
    totals = dict(sorted(Counter(labels).items()))
    side = {}
    for name, fraction in (("val", val_fraction), ("test", test_fraction)):
        later = name == "val" and test_fraction > 0.0
        kept = {label: 2 if later and count >= 3 else 1 for label, count in groups.items()}
        taken = _Part(left, totals, fraction, kept).choose() if fraction > 0.0 else ()
        for unit in taken:
            side[unit] = name
            del left[unit]
    return [side.get(unit, "train") for unit in units]


class _Part:
    """What is taken of some groups.

    Args:
        contents: of each group, in the order of their hash.
        totals: images of each class, those included that are not among these groups.
        fraction: share of `totals` to take.
        kept: how many groups of each class must be left.
    """

    def __init__(
        self, contents: Mapping[str, Content], totals: Mapping[int, int], fraction: float, kept: Mapping[int, int]
    ) -> None:
        self._contents = contents
        self._sizes = {unit: sum(content.values()) for unit, content in contents.items()}
        self._n = sum(totals.values())
        self._targets = {label: fraction * count for label, count in totals.items()}
        self._target = fraction * self._n
        groups = Counter(label for content in contents.values() for label in content)
        self._spare = {label: count - kept[label] for label, count in groups.items()}  # groups that may be taken
        self._wanted = frozenset(label for label, spare in self._spare.items() if spare > 0)
        self._taken: dict[str, None] = {}  # in the order in which they came
        self._images: Counter[int] = Counter()
        self._groups: Counter[int] = Counter()
        self._count = 0  # images taken
        self._missing = len(self._wanted)  # classes of which no group is taken
        self._uneven = self._target  # images that classes have too many or too few

    def choose(self) -> list[str]:
        """The names of the groups that are taken."""
        for unit in self._contents:
            # Nearer to the share, class by class: so most groups follow from their own hash.
            if self._may_take((), (unit,)) and self._skew((), (unit,)) < self._skew((), ()):
                self._move((), (unit,))
        for label in sorted(self._wanted, key=lambda label: (self._spare[label], label)):
            if not self._groups[label]:
                able = [unit for unit in self._contents if label in self._contents[unit]]
                changes = [((), (unit,)) for unit in able if self._may_take((), (unit,))]
                if changes:
                    self._move(*min(changes, key=lambda change: self._cost(*change)))
        while (change := self._better()) is not None:
            self._move(*change)
        return list(self._taken)

    def _better(self) -> tuple[Sequence[str], Sequence[str]] | None:
        """The change that helps most, if one helps enough."""
        now = self._cost((), ())
        if now <= (0, 0.0, EVEN):
            return None
        allowed = ((change, self._cost(*change)) for change in self._changes() if self._may_take(*change))
        best, cost = min(allowed, key=lambda found: found[1], default=(None, now))
        helps = cost[:2] < now[:2] or (cost[:2] == now[:2] and cost[2] < now[2] - EVEN)
        return best if helps else None

    def _changes(self) -> Iterator[tuple[Sequence[str], Sequence[str]]]:
        """What may be given back, and taken for it: one group; one for one; among few, pairs too."""
        mine, others = list(self._taken), [unit for unit in self._contents if unit not in self._taken]
        yield from (((), (unit,)) for unit in others)
        yield from (((unit,), ()) for unit in mine)
        if sum(map(len, self._contents.values())) > MOST_SWAPPED:
            return
        yield from (((give,), (take,)) for give in mine for take in others)
        if len(self._contents) <= MOST_PAIRED:
            yield from (((give,), pair) for give in mine for pair in _pairs(others))
            yield from ((pair, (take,)) for pair in _pairs(mine) for take in others)
            yield from ((one, other) for one in _pairs(mine) for other in _pairs(others))

    def _may_take(self, give: Iterable[str], take: Iterable[str]) -> bool:
        """Whether enough groups of every class are left."""
        change: Counter[int] = Counter(label for unit in take for label in self._contents[unit])
        change.subtract(label for unit in give for label in self._contents[unit])
        return all(self._groups[label] + count <= self._spare[label] for label, count in change.items() if count > 0)

    def _move(self, give: Sequence[str], take: Sequence[str]) -> None:
        self._missing, _, skew = self._cost(give, take)
        self._uneven = skew * self._n
        for unit in give:
            del self._taken[unit]
            self._images.subtract(self._contents[unit])
            self._count -= self._sizes[unit]
            self._groups.subtract(self._contents[unit].keys())
        for unit in take:
            self._taken[unit] = None
            self._images.update(self._contents[unit])
            self._count += self._sizes[unit]
            self._groups.update(self._contents[unit].keys())

    def _cost(self, give: Sequence[str], take: Sequence[str]) -> tuple[int, float, float]:
        """After a change: classes that are missing, how far the share is off, and how uneven the classes are."""
        groups: Counter[int] = Counter(label for unit in take for label in self._contents[unit])
        groups.subtract(label for unit in give for label in self._contents[unit])
        missing = self._missing
        for label in self._wanted & groups.keys():
            before = self._groups[label]
            missing += (before + groups[label] <= 0) - (before <= 0)
        images = self._count + sum(self._sizes[unit] for unit in take) - sum(self._sizes[unit] for unit in give)
        off = max(0.0, abs(images - self._target) / self._n - NEAR)
        return missing, round(off, 9), self._skew(give, take)

    def _skew(self, give: Sequence[str], take: Sequence[str]) -> float:
        """Images that classes have too many or too few, as a share of all."""
        change: Counter[int] = Counter()
        for unit in take:
            change.update(self._contents[unit])
        for unit in give:
            change.subtract(self._contents[unit])
        skew = self._uneven
        for label, count in change.items():
            before, target = self._images[label], self._targets[label]
            skew += abs(before + count - target) - abs(before - target)
        return round(skew / self._n, 9)


def _pairs(units: Sequence[str]) -> Iterator[tuple[str, str]]:
    return ((one, other) for index, one in enumerate(units) for other in units[index + 1 :])
