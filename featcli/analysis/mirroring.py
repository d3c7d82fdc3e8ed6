"""Whether the classes of images survive mirroring, measured on the features of mirrored copies."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featcli.data.folds import stratified_folds
from featcli.data.pixels.loading import load_pixels
from featcli.data.prefetch import ordered_batches
from featcli.data.readers.reader import ImageRef
from featcli.data.splits import hash_order
from featcli.events import Emit, Progress, ignore
from featcli.features.extraction import Extractor
from featcli.heads.head import Head
from featcli.heads.kind import Choice, LabelledRows
from featcli.heads.registry import find_head
from featcli.tasks import Task

MIRRORED = 200  # images, the same number of each class as far as they go
FITTED = 2000  # images that a fold's head is fitted to, at most
FOLDS = 5
C = 0.1
MARGIN = 0.03  # of the accuracy, which mirroring may cost: of photographs it cost 0.015 at most
SIGNIFICANCE = 0.025  # of a one-sided sign test


@dataclass(frozen=True, slots=True)
class MirrorTrial:
    """Of held-out images, how many a head on the others recognises: as they are, and mirrored.

    Attributes:
        n: images.
        plain: recognised as they are.
        mirrored: recognised mirrored.
        lost: recognised as they are alone.
    """

    n: int
    plain: int
    mirrored: int
    lost: int

    @property
    def survives(self) -> bool:
        """Whether mirroring costs no more than the margin, or no more than chance explains."""
        gained = self.lost - (self.plain - self.mirrored)
        return self.plain - self.mirrored <= MARGIN * self.n or sign_test(self.lost, gained) >= SIGNIFICANCE

    def __str__(self) -> str:
        return (
            f"of {self.n} held-out training images a logistic head recognises {self.plain / self.n:.3f}, "
            f"mirrored {self.mirrored / self.n:.3f}"
        )


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """N images to learn from.

    Attributes:
        refs: the images with their hashes.
        features: (N, D) float32.
        labels: (N,) int64.
        units: N names of what folds must not divide.
    """

    refs: Sequence[ImageRef]
    features: NDArray[np.float32]
    labels: NDArray[np.int64]
    units: Sequence[str]


def try_mirroring(
    extractor: Extractor, images: LabelledImages, task: Task, *, seed: int, emit: Emit = ignore
) -> MirrorTrial | None:
    """Fits logistic heads on folds, and tries each on the held-out images and their mirror images.

    Which images are taken depends on their units, their classes and the seed alone.

    Args:
        extractor: of the features.
        images: to learn from; those that cannot be read any more are left out.
        task: of all classes.
        seed: of the choice and of the folds.
        emit: hears the progress.

    Returns:
        None where nothing can be held out: every class is one image, or one group.
    """
    pool = _in_turns(images.units, images.labels, seed)[:FITTED]
    _, labels = np.unique(images.labels[pool], return_inverse=True)
    features = images.features[pool]
    folds = stratified_folds([images.units[row] for row in pool], labels.tolist(), folds=FOLDS, seed=seed)
    tested = np.flatnonzero(folds[:MIRRORED] >= 0)
    copies, readable = _mirrored_features(extractor, [images.refs[pool[place]] for place in tested], emit)
    tested, copies = tested[readable], copies[readable]
    plain, mirrored = np.zeros(len(tested), dtype=np.bool_), np.zeros(len(tested), dtype=np.bool_)
    for fold in np.unique(folds[tested]):
        learned, held = folds != fold, folds[tested] == fold
        head = _fitted(features[learned], labels[learned])
        plain[held] = _recognised(head, features[tested[held]], labels[tested[held]], task)
        mirrored[held] = _recognised(head, copies[held], labels[tested[held]], task)
    if not len(tested):
        return None
    return MirrorTrial(len(tested), int(plain.sum()), int(mirrored.sum()), int((plain & ~mirrored).sum()))


def sign_test(losses: int, gains: int) -> float:
    """The probability of so many losses or more among that many changes, were a loss as likely as a gain."""
    n = losses + gains
    return float(sum(math.comb(n, count) for count in range(losses, n + 1)) / 2**n)


def _in_turns(units: Sequence[str], labels: NDArray[np.int64], seed: int) -> list[int]:
    """Rows in the order of their units' hashes, the first of each class before the second of any."""
    turn: dict[int, int] = defaultdict(int)
    places: list[tuple[int, int, int]] = []
    for row in sorted(range(len(units)), key=lambda row: (hash_order(seed, f"mirror:{units[row]}"), units[row])):
        label = int(labels[row])
        places.append((turn[label], len(places), row))
        turn[label] += 1
    return [row for *_, row in sorted(places)]


def _mirrored_features(
    extractor: Extractor, refs: Sequence[ImageRef], emit: Emit
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Features (N, D) of the mirror images, and (N,) which of them could be read, unchanged."""
    features = np.zeros((len(refs), extractor.backbone.feature_size), dtype=np.float32)
    readable = np.zeros(len(refs), dtype=np.bool_)

    def load(ref: ImageRef) -> NDArray[np.uint8] | None:
        wanted, preprocessing = ref.digest, extractor.backbone.preprocessing
        loaded = load_pixels(
            ref, preprocessing.pixels, lambda digest: digest == wanted, decoding=preprocessing.decoding
        )
        return loaded.value

    emit(Progress("mirror", 0, len(refs)))
    done = 0
    for batch in ordered_batches(refs, load, workers=extractor.runtime.workers, size=extractor.engine.tile):
        good = [done + place for place, pixels in enumerate(batch) if pixels is not None]
        if good:
            features[good] = extractor.forward([pixels[:, ::-1] for pixels in batch if pixels is not None])
            readable[good] = True
        done += len(batch)
        emit(Progress("mirror", done, len(refs)))
    emit(Progress("mirror", done, len(refs), finished=True))
    return features, readable & np.isfinite(features).all(axis=1)


def _fitted(features: NDArray[np.float32], labels: NDArray[np.int64]) -> Head:
    solve = find_head("logistic").solve
    assert solve is not None, "it is the solved one"
    rows = LabelledRows(features, labels, int(labels.max()) + 1)
    return solve(rows, Choice((C,), np.zeros(len(labels), dtype=np.int64)), ignore).head


def _recognised(head: Head, features: NDArray[np.float32], labels: NDArray[np.int64], task: Task) -> NDArray[np.bool_]:
    """(N,) which images get their own label."""
    predictions = task.link(head.logits(features))
    pairs = zip(predictions, labels, strict=True)
    return np.array([task.count_correct(row[None], np.array([label])) == 1 for row, label in pairs], dtype=np.bool_)
