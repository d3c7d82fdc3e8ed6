"""What reaches validation when groups are split: `python scripts/trial_splits.py [--drawings N]`. A minute.

The first table: drawings of groups, a fifth asked for. The share of splits in which a class that has two groups is not
in validation, by version 1 of the rule and by version 2; the mean share; and how much further from a fifth version 2 is
than the nearest that whole groups reach which cover every class, found by trying all subsets. The second: how many
images change their split, and their fold, when a tenth is added in new groups.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from featcli.data.folds import stratified_folds
from featcli.data.group_splits import split_groups
from featcli.data.splits import split_by_hash

SHARE = 0.2


def patients(rng: random.Random, count: int, classes: int, largest: int, mixed: bool) -> tuple[list[str], list[int]]:
    """Units and labels: patients of one class each, or with images of any."""
    units, labels = [], []
    for patient in range(count):
        own = rng.randrange(classes)
        for _ in range(rng.randint(1, largest)):
            units.append(f"p{patient}")
            labels.append(rng.randrange(classes) if mixed else own)
    return units, labels


def missing(units: Sequence[str], labels: Sequence[int], splits: Sequence[str]) -> bool:
    """Whether a class with two groups is not in validation."""
    groups: dict[int, set[str]] = {}
    for unit, label in zip(units, labels, strict=True):
        groups.setdefault(label, set()).add(unit)
    seen = Counter(label for label, split in zip(labels, splits, strict=True) if split == "val")
    return any(len(members) > 1 and not seen[label] for label, members in groups.items())


def nearest(units: Sequence[str], labels: Sequence[int]) -> float | None:
    """How near to the share whole groups come that cover every class; None where none do."""
    names = sorted(set(units))
    counts = np.zeros((len(names), max(labels) + 1), dtype=np.int64)
    np.add.at(counts, (np.searchsorted(names, units), labels), 1)
    chosen = (np.arange(2 ** len(names))[:, None] >> np.arange(len(names))) & 1
    inside, of_class = chosen @ (counts > 0), (counts > 0).sum(0)
    covers = ((inside >= np.minimum(1, np.maximum(of_class - 1, 0))) & (inside <= np.maximum(of_class - 1, 0))).all(1)
    if not covers.any():
        return None
    return float(np.abs((chosen @ counts)[covers].sum(1) / len(units) - SHARE).min())


def coverage(drawings: int) -> None:
    print("groups, classes, images        missing: 1      2   share: 1      2   further than the nearest, mean  most")
    for count, classes, largest, mixed in (
        (12, 3, 60, False), (12, 3, 60, True), (4, 2, 25, False), (8, 3, 60, False), (14, 4, 30, False)
    ):  # fmt: skip
        lacks, shares, further = {1: 0, 2: 0}, {1: 0.0, 2: 0.0}, []
        for drawing in range(drawings):
            units, labels = patients(random.Random(drawing), count, classes, largest, mixed)
            for version, split in ((1, split_by_hash), (2, split_groups)):
                found = split(units, labels, seed=drawing, val_fraction=SHARE, test_fraction=0.0)
                lacks[version] += missing(units, labels, found)
                shares[version] += found.count("val") / len(found) / drawings
            best = nearest(units, labels)
            if best is not None:
                further.append(abs(found.count("val") / len(found) - SHARE) - best)
        what = f"{count}, {classes}, 1 to {largest} each{', mixed' if mixed else ''}"
        print(
            f"{what:30} {lacks[1] / drawings:10.0%} {lacks[2] / drawings:6.0%} {shares[1]:10.1%} {shares[2]:6.1%} "
            f"{np.mean(further):30.2%} {max(further):5.2%}"
        )


def stability(drawings: int) -> None:
    print("groups, images each   moved to another split: 1      2   to another fold")
    for count, largest in ((12, 60), (40, 30), (200, 20), (2000, 5), (2000, 1)):
        moved: dict[str, list[float]] = {"1": [], "2": [], "folds": []}
        for drawing in range(drawings if count < 1000 else 3):
            rng = random.Random(drawing)
            units, labels = patients(rng, count + count // 10, 3, largest, False)
            old = units.index(f"p{count}")
            for name, place in _PLACES.items():
                before, after = place(units[:old], labels[:old], drawing), place(units, labels, drawing)
                moved[name].append(sum(one != other for one, other in zip(before, after, strict=False)) / old)
        what = f"{count}, 1 to {largest}" if largest > 1 else f"{count} single images"
        print(f"{what:20} {np.mean(moved['1']):25.1%} {np.mean(moved['2']):6.1%} {np.mean(moved['folds']):17.1%}")


_PLACES: dict[str, Callable[[list[str], list[int], int], Sequence[object]]] = {
    "1": lambda units, labels, seed: split_by_hash(units, labels, seed=seed, val_fraction=SHARE, test_fraction=0.0),
    "2": lambda units, labels, seed: split_groups(units, labels, seed=seed, val_fraction=SHARE, test_fraction=0.0),
    "folds": lambda units, labels, seed: stratified_folds(units, labels, folds=5, seed=seed).tolist(),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--drawings", type=int, default=300)
    drawings = parser.parse_args().drawings
    coverage(drawings)
    stability(min(drawings, 40))


if __name__ == "__main__":
    main()
