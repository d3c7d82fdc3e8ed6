"""Arithmetic on images with truth and prediction: confusions, classes, the order in which they are shown."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from featcli.report.material import Judged

Cells = Mapping[tuple[str, str], int]


@dataclass(frozen=True, slots=True)
class ClassScores:
    """One class; None where there is nothing to divide by."""

    name: str
    precision: float | None
    recall: float | None
    f1: float | None
    support: int


@dataclass(frozen=True, slots=True)
class Confused:
    """A mistake that was made: how many images of a class were taken for another, of how many."""

    truth: str
    label: str
    count: int
    support: int


def count_cells(images: Iterable[Judged]) -> Counter[tuple[str, str]]:
    """How many images of a class were taken for a class; of those that could be read."""
    return Counter((image.truth, image.label) for image in images if image.label)


def class_scores(cells: Cells, supports: Mapping[str, int], classes: Sequence[str]) -> list[ClassScores]:
    """Precision, recall and F1 of each class, in the order of the classes.

    Args:
        cells: images by true and predicted class.
        supports: images by true class, unreadable ones too.
        classes: all of them.
    """
    predicted: Counter[str] = Counter()
    for (_, label), count in cells.items():
        predicted[label] += count
    found = []
    for name in classes:
        hits, support, named = cells.get((name, name), 0), supports.get(name, 0), predicted[name]
        found.append(
            ClassScores(
                name,
                _ratio(hits, named),
                _ratio(hits, support),
                _ratio(2 * hits, support + named),
                support,
            )
        )
    return found


def worst_first(scores: Iterable[ClassScores]) -> list[ClassScores]:
    """The lowest recall first, of equals the class with more images; classes without images last."""
    return sorted(scores, key=lambda item: (item.recall is None, item.recall or 0.0, -item.support))


def confused_pairs(cells: Cells, supports: Mapping[str, int]) -> list[Confused]:
    """The mistakes by how often they were made, of equals in the class with fewer images; ties by name."""
    found = [
        Confused(truth, label, count, supports.get(truth, 0))
        for (truth, label), count in cells.items()
        if truth != label
    ]
    return sorted(found, key=lambda pair: (-pair.count, pair.support, pair.truth, pair.label))


def surest_mistakes(images: Iterable[Judged], most: int) -> list[Judged]:
    """Mistakes, the most confident first; ties by path."""
    wrong = [image for image in images if image.is_mistake]
    return sorted(wrong, key=lambda image: (-image.confidence, image.path))[:most]


def least_sure_hits(images: Iterable[Judged], most: int) -> list[Judged]:
    """What was right, the least confident first; ties by path."""
    right = [image for image in images if image.is_right]
    return sorted(right, key=lambda image: (image.confidence, image.path))[:most]


def seriated(classes: Sequence[str], cells: Cells) -> list[str]:
    """The classes such that those that are confused lie near each other.

    The most frequent confusions join chains of classes end to end, each chain turned so that the two classes come as
    near as they can; what was never confused keeps its order, at the end.

    Args:
        classes: in their order.
        cells: images by true and predicted class.
    """
    place = {name: index for index, name in enumerate(classes)}
    weights: dict[tuple[int, int], int] = defaultdict(int)
    for (truth, label), count in cells.items():
        one, other = sorted((place[truth], place[label]))
        if one != other:
            weights[one, other] += count
    chains: dict[int, list[int]] = {index: [index] for index in range(len(classes))}
    chain_of = dict(enumerate(range(len(classes))))
    for (one, other), _ in sorted(weights.items(), key=lambda item: (-item[1], item[0])):
        first, second = chain_of[one], chain_of[other]
        if first == second:
            continue
        left, right = chains[first], chains.pop(second)
        if left.index(one) < len(left) / 2 - 0.5:
            left.reverse()
        if right.index(other) > len(right) / 2 - 0.5:
            right.reverse()
        left += right
        for index in right:
            chain_of[index] = first
    ordered = sorted(chains.values(), key=lambda chain: (len(chain) == 1, min(chain)))
    return [classes[index] for chain in ordered for index in chain]


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None
