"""What a folder and a manifest have in common once they are read: images by name of class and split."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

# Words, in lower case, that mean a split: names of folders, and cells of a manifest.
SPLIT_NAMES = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val",
    "test": "test", "testing": "test", "eval": "test", "evaluation": "test",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class ListedImage:
    """One image that is named or found, before anything is read.

    Attributes:
        path: absolute.
        label: the name of its class, in NFC.
        split: `train`, `val` or `test`; `train` where the user made no splits.
        group: of the manifest's column; None where there is none.
        line: of the manifest, from 1; 0 for a folder's.
        sha256: of its bytes as the manifest has it, for a file that is not here; None where it says nothing.
    """

    path: str
    label: str
    split: str
    group: str | None = None
    line: int = 0
    sha256: bytes | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """The images of a folder or a manifest.

    Attributes:
        classes: names sorted by code point, from train.
        entries: in the order of the folder or manifest.
        splits: those that the user made; `train` alone where there are none.
        excluded: how many images were left out.
    """

    classes: tuple[str, ...]
    entries: tuple[ListedImage, ...]
    splits: frozenset[str]
    excluded: int


Keep: TypeAlias = Callable[[Sequence[ListedImage]], list[ListedImage]]
"""Takes the images that were found and gives those that are not excluded."""
