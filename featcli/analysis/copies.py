"""Images of a data set that are one photograph, as suspicions: leaks, conflicts, duplicates; and as bursts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featcli.analysis.alignment import Pictures
from featcli.analysis.duplicates import Pair, bursts, find_duplicates
from featcli.analysis.suspects import Suspect
from featcli.data.dataset import SPLITS, Dataset, Sample
from featcli.data.pixels.thumbnails import Thumbnail

IDENTICAL = "identical files"


@dataclass(frozen=True, slots=True)
class Copies:
    """Which images of a data set are one photograph.

    Attributes:
        data: N images.
        pairs: by row, the first before the second; so many that all copies of a photograph hang together.
    """

    data: Dataset
    pairs: tuple[Pair, ...]

    @property
    def bursts(self) -> list[list[int]]:
        """Sets of rows that hang together, each ascending."""
        return bursts((pair.first, pair.second) for pair in self.pairs)

    def leaks(self) -> dict[int, Pair]:
        """Rows of val and test with a copy in train (of test, in val too), each with the surest pair that shows it."""
        found: dict[int, Pair] = {}
        for pair in sorted(self.pairs, key=lambda pair: -pair.correlation):
            earlier, later = self._by_split(pair)
            if earlier is not None:
                kept = found.get(later)
                if kept is None or (
                    self._split(kept, later) != "train" and self.data.samples[earlier].split == "train"
                ):
                    found[later] = pair
        return found

    def suspects(self, own: Mapping[int, float]) -> list[Suspect]:
        """What is suspicious about them: at most one leak, one conflict or one duplicate for each image.

        Args:
            own: by row, the probability of its label by heads that have not seen it, where that is known: of two
                labels the less probable one is doubted.
        """
        samples = self.data.samples
        found = []
        numbered = self.bursts
        burst_of = {row: number for number, burst in enumerate(numbered) for row in burst}

        def suspect(kind: str, row: int, pair: Pair, more: str = "") -> Suspect:
            other = pair.second if row == pair.first else pair.first
            size = len(numbered[burst_of[row]])
            burst = f"; burst {burst_of[row] + 1} of {size} images" if size > 2 else ""
            return Suspect(samples[row].path, kind, samples[other].path, pair.correlation, f"{pair.how}{more}{burst}")

        leaks = self.leaks()
        for row, pair in leaks.items():
            other = samples[pair.second if row == pair.first else pair.first]
            found.append(suspect("leak", row, pair, f"; in {other.split} and {samples[row].split}"))
        conflicts: dict[int, Pair] = {}
        for pair in sorted(self.pairs, key=lambda pair: -pair.correlation):
            if samples[pair.first].label != samples[pair.second].label:
                doubted = pair.first if own.get(pair.first, 1.0) < own.get(pair.second, 1.0) else pair.second
                conflicts.setdefault(doubted, pair)
        for row, pair in conflicts.items():
            names = " and ".join(self.data.classes[samples[end].label] for end in (pair.first, pair.second))
            found.append(suspect("conflict", row, pair, f"; under {names}"))
        done = set(leaks) | set(conflicts)
        found += [suspect("duplicate", row, pair) for row, pair in self._trees().items() if row not in done]
        return found

    def _by_split(self, pair: Pair) -> tuple[int | None, int]:
        """The row of the earlier split and that of the later one; None where they are of one split."""
        first, second = (SPLITS.index(self.data.samples[row].split) for row in (pair.first, pair.second))
        if first == second:
            return None, pair.second
        return (pair.first, pair.second) if first < second else (pair.second, pair.first)

    def _split(self, pair: Pair, row: int) -> str:
        """The split of the image that a pair has besides a row."""
        return self.data.samples[pair.second if row == pair.first else pair.first].split

    def _trees(self) -> dict[int, Pair]:
        """Of each burst all images but the first, each with a pair that leads towards that one."""
        beside: dict[int, list[Pair]] = defaultdict(list)
        for pair in self.pairs:
            beside[pair.first].append(pair)
            beside[pair.second].append(pair)
        found: dict[int, Pair] = {}
        for burst in self.bursts:
            waiting = [burst[0]]
            seen = {burst[0]}
            for row in waiting:
                for pair in sorted(beside[row], key=lambda pair: -pair.correlation):
                    other = pair.second if row == pair.first else pair.first
                    if other not in seen:
                        seen.add(other)
                        found[other] = pair
                        waiting.append(other)
        return found


def find_copies(
    data: Dataset,
    features: NDArray[np.float32],
    readable: NDArray[np.bool_],
    thumbnails: Mapping[int, Thumbnail],
    tick: Callable[[int, int], None],
) -> Copies:
    """Identical files by their content, all else by features and pixels.

    Args:
        data: N images.
        features: (N, D).
        readable: (N,) which rows have features.
        thumbnails: by row, of the first image of each content.
        tick: hears how many of how many pairs were compared.
    """
    firsts, identical = same_content(data.samples)
    rows = np.array([row for row in firsts if readable[row] and row in thumbnails], dtype=np.int64)
    labels = np.array([sample.label for sample in data.samples], dtype=np.int64)
    sides = np.array([SPLITS.index(sample.split) for sample in data.samples], dtype=np.int64)
    pictures = Pictures([thumbnails[int(row)] for row in rows])
    found = find_duplicates(features[rows], labels[rows], sides[rows], pictures, tick)
    pairs = identical + [
        Pair(int(rows[pair.first]), int(rows[pair.second]), pair.correlation, pair.how) for pair in found
    ]
    return Copies(data, tuple(sorted(pairs, key=lambda pair: (pair.first, pair.second))))


def same_content(samples: Sequence[Sample]) -> tuple[list[int], list[Pair]]:
    """The rows whose content was not there before, and the others, each in a pair with its first; all that were read.

    An image is also paired with its first in each other split and class, so that no leak or conflict is missed.
    """
    first: dict[bytes, int] = {}
    nearest: dict[tuple[bytes, str, int], int] = {}
    sides: dict[bytes, list[int]] = defaultdict(list)
    firsts, pairs = [], []
    for row, sample in enumerate(samples):
        if sample.digest is None:
            continue
        place = (sample.digest, sample.split, sample.label)
        if sample.digest not in first:
            first[sample.digest] = row
            firsts.append(row)
        else:
            others = {first[sample.digest], *([] if place in nearest else sides[sample.digest])}
            pairs += [Pair(other, row, 1.0, IDENTICAL) for other in sorted(others)]
        if place not in nearest:
            nearest[place] = row
            sides[sample.digest].append(row)
    return firsts, pairs
