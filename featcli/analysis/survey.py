"""What a data set is made of: formats, modes, sizes, copies, groups, balance, and what cannot be read and why."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from statistics import median
from typing import Any

from featcli.data.dataset import Dataset, Sample
from featcli.data.pixels.decoding import ImageFacts, bit_range, is_narrow
from featcli.data.pixels.loading import Loaded, load_facts
from featcli.data.prefetch import ordered_batches
from featcli.events import Emit, Progress

_BATCH = 64


@dataclass(frozen=True, slots=True)
class Copies:
    """Images with the same bytes.

    Attributes:
        samples: two or more, in the order of the data set.
        under: `classes` where their labels differ (one of them is wrong), else `splits` where their splits differ, else
            `one class`.
    """

    samples: tuple[Sample, ...]
    under: str


@dataclass(frozen=True, slots=True)
class Survey:
    """The report on a data set of N images.

    Attributes:
        data: the images.
        facts: N values in its order; None for what cannot be read.
        errors: row to reason.
        copies: sets of images with the same bytes.
    """

    data: Dataset
    facts: tuple[ImageFacts | None, ...]
    errors: dict[int, str]
    copies: tuple[Copies, ...]

    def tally(self, what: Callable[[ImageFacts], str]) -> Counter[str]:
        """How many of the readable images have each format, mode, ...; the most frequent first."""
        counts = Counter(what(facts) for facts in self.facts if facts is not None)
        return Counter(dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))))

    def with_mode(self, mode: str) -> list[Sample]:
        """The images of one mode."""
        pairs = zip(self.data.samples, self.facts, strict=True)
        return [sample for sample, facts in pairs if facts is not None and facts.mode == mode]

    def largest_grey(self) -> dict[int, int]:
        """The largest value of each 16-bit grey image, by its row."""
        rows = {row: facts.largest for row, facts in enumerate(self.facts) if facts is not None}
        return {row: largest for row, largest in rows.items() if largest is not None}

    def grey(self) -> dict[str, Any] | None:
        """Of 16-bit grey: how many, the images that use under a quarter of the range, and what they use; None: no such.

        `auto` is the range of the bits that the training images use, as `data.range: auto` takes it.
        """
        largest = self.largest_grey()
        narrow = {row: value for row, value in largest.items() if is_narrow(value)}
        train = [value for row, value in largest.items() if self.data.samples[row].split == "train"]
        if not largest:
            return None
        return {
            "images": len(largest),
            "narrow": [self.data.samples[row].path for row in narrow],
            "narrow_range": list(bit_range(max(narrow.values()))) if narrow else None,
            "auto": list(bit_range(max(train))) if train else None,
        }

    def sizes(self) -> dict[str, list[int]] | None:
        """The smallest, median and largest [width, height] in pixels, by area; None where nothing can be read."""
        sizes = sorted(
            ((facts.width, facts.height) for facts in self.facts if facts is not None),
            key=lambda size: (size[0] * size[1], size),
        )
        if not sizes:
            return None
        middle = [round(median(side)) for side in zip(*sizes, strict=True)]
        return {"smallest": list(sizes[0]), "median": middle, "largest": list(sizes[-1])}

    def groups(self) -> Counter[str]:
        """Images in each group, the largest first."""
        counts = Counter(sample.group for sample in self.data.samples if sample.group is not None)
        return Counter(dict(sorted(counts.items(), key=lambda item: (-item[1], item[0]))))

    def imbalance(self) -> float:
        """Images to train on of the largest class for one of the smallest."""
        counts = self.data.counts()["train"]
        return max(counts) / max(1, min(counts))

    def to_json(self) -> dict[str, Any]:
        """The report as plain values; paths in full."""
        samples, groups = self.data.samples, self.groups()
        return {
            "images": len(samples),
            "formats": dict(self.tally(lambda facts: facts.format)),
            "modes": dict(self.tally(lambda facts: facts.mode)),
            "sizes": self.sizes(),
            "grey_16_bit": self.grey(),
            "unreadable": [
                {"path": samples[row].path, "reason": reason} for row, reason in sorted(self.errors.items())
            ],
            "duplicates": [
                {
                    "under": item.under,
                    "images": [
                        {"path": sample.path, "class": self.data.classes[sample.label], "split": sample.split}
                        for sample in item.samples
                    ],
                }
                for item in self.copies
            ],
            "groups": {"count": len(groups), "largest": max(groups.values())} if groups else None,
            "imbalance": round(self.imbalance(), 2),
            "skipped": dict(self.data.ignored.counts),
        }


def survey(
    data: Dataset,
    *,
    known: AbstractSet[bytes] = frozenset(),
    check_size: Callable[[int, int], None],
    workers: int,
    emit: Emit,
) -> Survey:
    """Looks at every image: the header of those that are known to decode, all of the others and of 16-bit grey.

    Args:
        data: the images.
        known: sha256 of images that have been decoded before.
        check_size: raises UnreadableImage for a width and height that the preprocessing refuses.
        workers: threads that read and decode.
        emit: hears the progress.
    """

    def look(sample: Sample) -> Loaded[ImageFacts]:
        loaded = load_facts(sample.ref, decode=sample.digest not in known, check_size=check_size)
        if loaded.value is not None and loaded.value.is_16_bit and loaded.value.largest is None:
            return load_facts(sample.ref, decode=True, check_size=check_size)
        return loaded

    found: list[Loaded[ImageFacts]] = []
    emit(Progress("look", 0, len(data.samples)))
    for batch in ordered_batches(data.samples, look, workers=workers, size=_BATCH):
        found += batch
        emit(Progress("look", len(found), len(data.samples)))
    emit(Progress("look", len(found), len(data.samples), finished=True))
    return Survey(
        data,
        tuple(item.value for item in found),
        {row: item.error for row, item in enumerate(found) if item.error is not None},
        _copies(data.samples),
    )


def _copies(samples: Sequence[Sample]) -> tuple[Copies, ...]:
    """Sets of identical images: those under two classes first, then those on two sides of a split."""
    by_digest: dict[bytes, list[Sample]] = defaultdict(list)
    for sample in samples:
        if sample.digest is not None:
            by_digest[sample.digest].append(sample)
    found = [Copies(tuple(twins), _under(twins)) for twins in by_digest.values() if len(twins) > 1]
    return tuple(sorted(found, key=lambda item: ("classes", "splits", "one class").index(item.under)))


def _under(twins: Sequence[Sample]) -> str:
    if len({sample.label for sample in twins}) > 1:
        return "classes"
    return "splits" if len({sample.split for sample in twins}) > 1 else "one class"
