"""The tensors between the last frozen and the first trainable stage: computed, and kept on disk for every epoch."""

from __future__ import annotations

import contextlib
import math
import os
import tempfile
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featcli.backbones.stages import whole
from featcli.data.pixels.loading import load_pixels
from featcli.data.prefetch import ordered_batches
from featcli.data.readers.reader import ImageRef
from featcli.errors import UnreadableDataError
from featcli.events import Emit, Progress
from featcli.features.engines.engine import Pixels, tiles_of
from featcli.features.extraction import Extractor
from featcli.files import storage_errors
from featcli.runtime import Runtime, to_device

if TYPE_CHECKING:  # what makes views needs torchvision, and training on features has none
    from featcli.training.views import Views

Rows = NDArray[np.int64]

_RESTORE = "Nothing was learned from it. Restore the file, and continue with --resume."


class FrozenPrefix:
    """The frozen stages, from decoded images to the boundary.

    The model sees one padded shape, as in extraction: so a row has the same bits whatever comes with it, now or from
    the disk.

    Args:
        extractor: of the backbone.
        n_frozen: number of frozen stages. With none the boundary is the decoded image; with all, the features.
    """

    def __init__(self, extractor: Extractor, n_frozen: int) -> None:
        self._extractor = extractor
        self._backbone = whole(extractor.backbone)
        self._n_frozen = n_frozen

    def encode(self, pixels: Pixels) -> Tensor:
        """What is kept of N > 0 images: (N, ...) on the device, maps with their channels last."""
        device = self._extractor.runtime.device
        if self._n_frozen == 0:
            return to_device(torch.from_numpy(np.stack(pixels)), device)
        if self._n_frozen == len(self._backbone.stages):
            return to_device(torch.from_numpy(self._extractor.forward(pixels)), device)
        engine = self._extractor.engine
        tiles = [engine.boundary(tile, self._n_frozen) for tile in tiles_of(engine, pixels)]
        return torch.cat([tile.permute(0, 2, 3, 1) if self._is_map(tile) else tile for tile in tiles]).contiguous()

    def inputs(self, kept: Tensor) -> Tensor:
        """What the trainable part reads, from what `encode` gave."""
        if self._n_frozen == 0:
            return self._backbone.preprocessing.normalise(kept)
        return kept.permute(0, 3, 1, 2) if self._is_map(kept) else kept

    def _is_map(self, tensor: Tensor) -> bool:
        """Whether a boundary tensor is (B, C, H, W), not tokens, and not a map that has its channels last already."""
        return tensor.ndim == 4 and not self._backbone.partition.channels_last


class Examples:
    """Images on one side of a boundary, read batch by batch.

    Args:
        refs: N images with their hashes.
        views: which variant of each an epoch reads.
        prefix: the frozen stages.
        runtime: how many threads decode.
    """

    def __init__(self, refs: Sequence[ImageRef], views: Views, prefix: FrozenPrefix, runtime: Runtime) -> None:
        self._refs = refs
        self._views = views
        self._prefix = prefix
        self._runtime = runtime

    def __len__(self) -> int:
        return len(self._refs)

    def names(self, rows: Rows) -> list[str]:
        """The paths of some rows."""
        return [self._refs[row].name for row in rows]

    def batches(self, epoch: int, batches: Sequence[Rows]) -> Iterator[Tensor]:
        """The inputs (B, ...) of each batch, on the device.

        Raises:
            UnreadableDataError: an image that could be read before cannot any more, or has changed.
        """
        wanted = [(row, self._views.choose(epoch, _digest(self._refs[row]))) for rows in batches for row in rows]
        with contextlib.closing(self._decoded(wanted)) as decoded:
            for rows in batches:
                pixels = [next(decoded) for _ in rows]
                yield self._prefix.inputs(self._prefix.encode(pixels))

    def _decoded(self, wanted: Sequence[tuple[int, int]]) -> Generator[NDArray[np.uint8]]:
        """The pixels of rows and views, in order; decoded in threads, ahead of their use."""
        loader = ordered_batches(wanted, self._decode, workers=self._runtime.workers, size=self._runtime.tile)
        with contextlib.closing(loader) as batches:
            for batch in batches:
                yield from batch

    def _decode(self, wanted: tuple[int, int]) -> NDArray[np.uint8]:
        row, view = wanted
        ref = self._refs[row]
        digest = _digest(ref)
        loaded = load_pixels(
            ref,
            lambda image: self._views.pixels(image, view, digest),
            wanted=digest.__eq__,
            decoding=self._views.augmentation.preprocessing.decoding,
        )
        if loaded.error is not None:
            raise UnreadableDataError(
                f"{ref.name} could be read at the start of the run, and cannot now: {loaded.error}", _RESTORE
            )
        if loaded.value is None:
            raise UnreadableDataError(f"{ref.name} has changed since the start of the run", _RESTORE)
        return loaded.value


class CachedExamples(Examples):
    """The same, computed once and kept in a file that has no name: whatever happens, it is gone when the process is.

    Args:
        refs: N images with their hashes.
        views: a finite number of variants.
        prefix: the frozen stages.
        runtime: how many threads decode.
        folder: where the file lies.
        emit: hears the progress of the first pass.

    Raises:
        StorageError: the disk is full.
        UnreadableDataError: as `batches` does.
    """

    def __init__(
        self,
        refs: Sequence[ImageRef],
        views: Views,
        prefix: FrozenPrefix,
        runtime: Runtime,
        *,
        folder: Path,
        emit: Emit,
    ) -> None:
        super().__init__(refs, views, prefix, runtime)
        assert views.count is not None, "only a finite number of views can be kept"
        self._kept = self._fill(folder, views.count, emit)

    def batches(self, epoch: int, batches: Sequence[Rows]) -> Iterator[Tensor]:
        """As `Examples.batches`; rows are read from the file one batch ahead."""
        count = self._views.count or 1

        def read(rows: Rows) -> Tensor:
            places = [int(row) * count + self._views.choose(epoch, _digest(self._refs[row])) for row in rows]
            return self._runtime.stage(self._kept[torch.tensor(places)])

        with contextlib.closing(ordered_batches(batches, read, workers=1, size=1)) as loader:
            for (gathered,) in loader:
                yield self._prefix.inputs(to_device(gathered, self._runtime.device))

    def _fill(self, folder: Path, count: int, emit: Emit) -> Tensor:
        wanted = [(row, view) for row in range(len(self._refs)) for view in range(count)]
        emit(Progress("boundary", 0, len(wanted)))
        kept: Tensor | None = None
        done = 0
        with contextlib.closing(self._decoded(wanted)) as decoded:
            while done < len(wanted):
                pixels = [next(decoded) for _ in range(min(self._runtime.tile, len(wanted) - done))]
                encoded = self._prefix.encode(pixels).cpu()
                if kept is None:
                    kept = _nameless_tensor(folder, (len(wanted), *encoded.shape[1:]), encoded.dtype)
                kept[done : done + len(pixels)] = encoded
                done += len(pixels)
                emit(Progress("boundary", done, len(wanted)))
        emit(Progress("boundary", done, len(wanted), finished=True))
        return torch.empty(0) if kept is None else kept


class FeatureExamples:
    """Features that are in memory already.

    Args:
        features: (N, D) float32.
        paths: N names, for messages.
        runtime: where to.
    """

    def __init__(self, features: NDArray[np.float32], paths: Sequence[str], runtime: Runtime) -> None:
        self._features = torch.from_numpy(features).to(runtime.device)
        self._paths = paths

    def __len__(self) -> int:
        return len(self._paths)

    def names(self, rows: Rows) -> list[str]:
        """The paths of some rows."""
        return [self._paths[row] for row in rows]

    def batches(self, epoch: int, batches: Sequence[Rows]) -> Iterator[Tensor]:
        """The features (B, D) of each batch, on the device."""
        for rows in batches:
            yield self._features[to_device(torch.from_numpy(rows), self._features.device)]


def _digest(ref: ImageRef) -> bytes:
    assert ref.digest is not None, "what is trained on was hashed when it was listed"
    return ref.digest


def _nameless_tensor(folder: Path, shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    """A tensor in a file that is deleted at once and lives as long as the tensor; its space is reserved first.

    Raises:
        StorageError: there is not enough.
    """
    size = math.prod(shape) * dtype.itemsize
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(prefix=".boundary-", dir=folder)
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(descriptor, 0, size)
            storage = torch.UntypedStorage.from_file(name, True, size)
        finally:
            os.close(descriptor)
            os.unlink(name)
    return torch.tensor([], dtype=dtype).set_(storage).view(*shape)  # type: ignore[arg-type]
