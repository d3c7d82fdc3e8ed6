"""The generator behind every command that needs features: images in, features out, in order, nothing lost."""

from __future__ import annotations

import contextlib
import itertools
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcli.backbones.description import Described
from featcli.data.pixels.decoding import PIXEL_PIPELINE
from featcli.data.pixels.loading import load_pixels
from featcli.data.prefetch import ordered_batches
from featcli.data.readers.reader import ImageRef
from featcli.events import Emit, Progress
from featcli.features.engines.engine import Engine, EngineFailed, Pending, Pixels, forward, tiles_of
from featcli.features.store import FeatureStore, SegmentWriter, Space
from featcli.runtime import Runtime

_BLOCK = 4096  # images that are looked up at once


@dataclass(frozen=True, slots=True)
class FeatureRow:
    """What became of one image.

    Attributes:
        path: its name, as it was given.
        digest: sha256 of the bytes that were read; None where they could not be.
        feature: (D,) float32; None where `error` says why.
        error: the reason, or None.
        stored: whether the feature came from the store.
    """

    path: str
    digest: bytes | None
    feature: NDArray[np.float32] | None
    error: str | None = None
    stored: bool = False


@dataclass(frozen=True, slots=True)
class _Decoded:
    """A row that still waits for its forward pass: pixels (crop, crop, 3) uint8."""

    row: FeatureRow
    pixels: NDArray[np.uint8] | None


class Extractor:
    """A backbone with what runs it, ready to turn images into features.

    Args:
        backbone: whose features are wanted; its description is enough.
        runtime: where and how to compute.
        engine: runs the backbone; plain torch where None, for a whole backbone.
        engine_facts: which engine and why, for the facts of a run.
        rescue: plain torch, where the engine is another and fails in the middle; None where that ends the work.
    """

    def __init__(
        self,
        backbone: Described,
        runtime: Runtime,
        engine: Engine | None = None,
        engine_facts: Mapping[str, Any] | None = None,
        rescue: Callable[[str], Engine] | None = None,
    ) -> None:
        self._rescue = rescue
        self.is_rescued = False  # from then on, rows may be of plain torch, and are not to be stored
        self.engine = engine or _plain(backbone, runtime)
        self.engine_facts = dict(engine_facts or {"name": self.engine.name})
        self.backbone = backbone
        self.runtime = runtime
        self.space = space_of(backbone, runtime.precision, runtime.device.type, self.engine.name)

    def forward(self, pixels: Pixels) -> NDArray[np.float32]:
        """Features of decoded images.

        Args:
            pixels: N > 0 arrays (crop, crop, 3) uint8.

        Returns:
            (N, D) float32.
        """
        return forward(self.engine, pixels)

    def stream(
        self,
        refs: Iterable[ImageRef],
        *,
        batch_size: int,
        store: FeatureStore | None = None,
        idle_timeout: float | None = None,
    ) -> Iterator[list[FeatureRow]]:
        """Yields one row per image, in their order, in batches.

        Files are read, hashed and decoded in threads while the network runs. Memory is bounded by the batch.

        Args:
            refs: read lazily; may block. Of an image whose hash is known and stored nothing is read.
            batch_size: rows per batch, rounded up to whole tiles.
            store: where a feature that is known already is taken from; never written to.
            idle_timeout: yield what there is when `refs` gives nothing new for so many seconds.
        """
        size = -(-batch_size // self.engine.tile) * self.engine.tile
        if store is None:
            yield from self._computed(refs, store, size, idle_timeout)
            return
        for is_known, images in itertools.groupby(refs, lambda ref: ref.digest is not None):
            if not is_known:
                yield from self._computed(images, store, size, idle_timeout)
                continue
            # Of images that are known, many are looked up at once, and only those that are not stored go to threads.
            while block := list(itertools.islice(images, _BLOCK)):
                yield from _in_batches(self._looked_up(block, store, size), size)

    def _looked_up(self, block: Sequence[ImageRef], store: FeatureStore, size: int) -> Iterator[FeatureRow]:
        """Rows of images whose hashes are known."""
        found, features = store.find([ref.digest for ref in block if ref.digest is not None])
        missing = [ref for ref, is_stored in zip(block, found, strict=True) if not is_stored]
        with contextlib.closing(self._computed(missing, store, size, None)) as batches:
            computed = itertools.chain.from_iterable(batches)
            for ref, is_stored, feature in zip(block, found, features, strict=True):
                yield FeatureRow(ref.name, ref.digest, feature, stored=True) if is_stored else next(computed)

    def _computed(
        self, refs: Iterable[ImageRef], store: FeatureStore | None, size: int, idle_timeout: float | None
    ) -> Generator[list[FeatureRow]]:
        """Rows of images that are read, hashed and decoded in threads while the model runs."""

        def load(ref: ImageRef) -> _Decoded:
            return self._load(ref, store)

        running: deque[Callable[[], list[FeatureRow]]] = deque()
        loaded = ordered_batches(refs, load, workers=self.runtime.workers, size=size, idle_timeout=idle_timeout)
        with contextlib.closing(loaded):
            for batch in loaded:
                if batch:
                    running.append(self._start(batch))
                # With the next batch in its hands, the engine does not wait for whoever takes the rows of this one.
                most = 1 if self.engine.depth > 1 and len(batch) == size else 0
                while len(running) > most:
                    yield running.popleft()()
        while running:
            yield running.popleft()()

    def _load(self, ref: ImageRef, store: FeatureStore | None) -> _Decoded:
        known = store.get(ref.digest) if store is not None and ref.digest is not None else None
        if known is not None:
            return _Decoded(FeatureRow(ref.name, ref.digest, known, stored=True), None)

        def is_new(digest: bytes) -> bool:
            nonlocal known
            known = store.get(digest) if store is not None else None
            return known is None

        preprocessing = self.backbone.preprocessing
        loaded = load_pixels(ref, preprocessing.pixels, is_new, decoding=preprocessing.decoding)
        row = FeatureRow(ref.name, loaded.digest, known, loaded.error, stored=known is not None)
        return _Decoded(row, loaded.value)

    def _start(self, batch: Sequence[_Decoded]) -> Callable[[], list[FeatureRow]]:
        """Hands the rows that wait for the model to the engine, and gives what waits for them; the others stay."""
        rows = [item.row for item in batch]
        places = [index for index, item in enumerate(batch) if item.pixels is not None]
        names = [rows[place].path for place in places]
        pixels = [item.pixels for item in batch if item.pixels is not None]
        pending = [
            self._submit(tile, names[index * self.engine.tile])
            for index, tile in enumerate(tiles_of(self.engine, pixels))
        ]

        def finish() -> list[FeatureRow]:
            features = (feature for wait in pending for feature in wait())
            for place, feature in zip(places, features, strict=True):
                rows[place] = _with_feature(rows[place], feature)
            return rows

        return finish

    def _submit(self, tile: Pixels, name: str) -> Pending:
        """As the engine's; by plain torch where that fails, which is said with the name of the tile's first image."""
        try:
            pending = self.engine.submit(tile)
        except EngineFailed as error:
            return self._rescued(tile, name, error)

        def wait() -> NDArray[np.float32]:
            try:
                return pending()
            except EngineFailed as error:
                return self._rescued(tile, name, error)()

        return wait

    def _rescued(self, tile: Pixels, name: str, error: EngineFailed) -> Pending:
        if self._rescue is None:
            raise error
        self.is_rescued = True
        features = forward(self._rescue(f"{error}, with {name} and the images after it"), tile)
        return lambda: features


def _in_batches(rows: Iterator[FeatureRow], size: int) -> Iterator[list[FeatureRow]]:
    while batch := list(itertools.islice(rows, size)):
        yield batch


def space_of(backbone: Described, precision: str, device_type: str, engine: str) -> Space:
    """Where in a store the features lie that an engine of that name computes."""
    return Space(
        backbone=backbone.name,
        weights_sha256=backbone.weights_sha256,
        arguments=dict(backbone.arguments),
        preprocessing=backbone.preprocessing.to_json(),
        layer=str(backbone.layer),
        pixel_pipeline=PIXEL_PIPELINE,
        precision=precision,
        device_type=device_type,
        engine=engine,
    )


def _plain(backbone: Described, runtime: Runtime) -> Engine:
    from featcli.backbones.stages import whole
    from featcli.features.engines.plain import PlainTorch

    return PlainTorch(whole(backbone), runtime)


def _with_feature(row: FeatureRow, feature: NDArray[np.float32]) -> FeatureRow:
    if not np.isfinite(feature).all():
        return replace(row, error="its features are not finite numbers")
    return replace(row, feature=feature)


@dataclass(frozen=True, slots=True)
class FeatureTable:
    """Features of a list of images; row i is image i.

    Attributes:
        features: (N, D) float32; rows of unreadable images are zero.
        errors: index of an unreadable image to the reason.
        computed: how many rows were computed now; the others were stored, or unreadable.
    """

    features: NDArray[np.float32]
    errors: dict[int, str]
    computed: int

    @property
    def readable(self) -> NDArray[np.bool_]:
        """(N,) which rows hold a feature."""
        mask = np.ones(len(self.features), dtype=np.bool_)
        mask[list(self.errors)] = False
        return mask


def compute_table(
    extractor: Extractor,
    refs: Sequence[ImageRef],
    *,
    store: FeatureStore,
    writer: SegmentWriter | None,
    batch_size: int,
    emit: Emit,
) -> FeatureTable:
    """Features of many images: stored ones are looked up at once, only the rest is read and computed.

    Args:
        extractor: of the store's space.
        refs: N images with their hashes; one whose bytes changed since it was listed is an error.
        store: looked up.
        writer: new features are added to it as they come; None keeps the store as it is.
        batch_size: images per batch.
        emit: hears the progress.
    """
    features = np.zeros((len(refs), extractor.backbone.feature_size), dtype=np.float32)
    written = np.zeros(len(refs), dtype=np.bool_)
    errors: dict[int, str] = {}
    known = [index for index, ref in enumerate(refs) if ref.digest is not None]
    found, stored = store.find([ref.digest for ref in refs if ref.digest is not None])
    hits = np.asarray(known, dtype=np.int64)[found]
    features[hits] = stored[found]
    written[hits] = True

    todo = np.flatnonzero(~written).tolist()
    emit(Progress("features", 0, len(todo)))
    done = 0
    for batch in extractor.stream((refs[index] for index in todo), batch_size=batch_size):
        for index, row in zip(todo[done : done + len(batch)], batch, strict=True):
            if row.feature is None:
                errors[index] = row.error or "unreadable"
            elif row.digest is None or row.digest != refs[index].digest:
                errors[index] = "changed while it was being read"
            else:
                features[index] = row.feature
                if writer is not None and not extractor.is_rescued:
                    writer.add(row.digest, row.feature)
            written[index] = True
        done += len(batch)
        emit(Progress("features", done, len(todo)))
    emit(Progress("features", done, len(todo), finished=True))
    assert written.all(), "every row is written exactly once"
    return FeatureTable(features, errors, computed=len(todo) - len(errors))
