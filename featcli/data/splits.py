"""Splits that images keep when others are added: places follow from a hash, not from a shuffle."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence


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


def unit_contents(units: Sequence[str], labels: Sequence[int], key: Callable[[str], bytes]) -> dict[str, Counter[int]]:
    """Images of each class in each unit.

    Classes ascend, so that sums of floating-point numbers over them do not depend on the order of the images.

    Args:
        units: of each image, N strings.
        labels: of each image, N class indices.
        key: from a unit to its place in the order.
    """
    found: dict[str, Counter[int]] = {}
    for unit, label in zip(units, labels, strict=True):
        found.setdefault(unit, Counter())[label] += 1
    return {unit: Counter(dict(sorted(found[unit].items()))) for unit in sorted(found, key=key)}


def hash_order(seed: int, unit: str) -> bytes:
    """The sort key of a unit: sha256 of the seed and the unit."""
    return hashlib.sha256(f"{seed}:{unit}".encode("utf-8", "surrogateescape")).digest()
