"""The feature store: immutable segments of (content hash, feature) in one folder per space.

A space is everything that a feature depends on besides the image: weights, preprocessing, layer, pixel policy,
precision, kind of device. A segment is one safetensors file, written whole and renamed into place, so that any number
of processes may read and write without a lock. A segment whose checksum turns out to be wrong is set aside and
recomputed.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcli.errors import StorageError
from featcli.events import Emit, Warn
from featcli.features.merging import SMALL_ROWS, merge_segments
from featcli.features.place import NO_CACHE
from featcli.features.segments import DAMAGE, DIGEST_BYTES, Segment, as_bytes, segment_paths, write_segment
from featcli.files import atomic_path, storage_errors, write_json

LAYOUT = "v1"
PLAIN_ENGINE = "torch"
_SEGMENT_ROWS = SMALL_ROWS  # so that a full segment is never merged
_SEGMENT_SECONDS = 20.0
ABANDONED_SECONDS = 24 * 3600.0  # a temporary file so old has no writer
_USED_SECONDS = 3600.0  # how exactly the last use of a space is known
USED_NAME = "used"


@dataclass(frozen=True, slots=True)
class Space:
    """What a stored feature depends on, besides the image's bytes.

    Attributes:
        backbone: name.
        weights_sha256: of its tensors.
        arguments: of its builder.
        preprocessing: as `Preprocessing.to_json` gives it.
        layer: where in the network the feature is taken.
        pixel_pipeline: version of the decoding and resizing policy.
        precision: `fp32`, `bf16`, `fp16`.
        device_type: `cpu`, `cuda`, `mps`.
        engine: what runs the model.
    """

    backbone: str
    weights_sha256: str
    arguments: dict[str, Any]
    preprocessing: dict[str, Any]
    layer: str
    pixel_pipeline: int
    precision: str
    device_type: str
    engine: str = PLAIN_ENGINE

    @property
    def key(self) -> str:
        """The name of its folder: 32 hex digits of a hash of all of it."""
        return hashlib.sha256(json.dumps(self.to_json(), sort_keys=True).encode()).hexdigest()[:32]

    def to_json(self) -> dict[str, Any]:
        """All of it in plain values; without the engine where that is plain torch, as when there was no other."""
        facts = asdict(self)
        facts["numerics"] = facts.pop("precision")  # its name in every key that was ever made
        if self.engine == PLAIN_ENGINE:
            del facts["engine"]
        return facts


class FeatureStore:
    """The stored features of one space.

    Args:
        cache: the folder that holds all spaces.
        space: the one to read and write.
        feature_size: D, the length of every feature.
        emit: hears of damaged segments.
        read_only: leave damaged segments where they are.
    """

    def __init__(self, cache: Path, space: Space, feature_size: int, emit: Emit, *, read_only: bool = False) -> None:
        self._cache = cache
        self._folder = space_folder(cache, space)
        self._space = space
        self._feature_size = feature_size
        self._emit = emit
        self._read_only = read_only
        self._segments: list[Segment] = []  # replaced, never changed: other threads may be going through it
        self._lock = threading.Lock()
        self._seen: set[str] = set()
        if not read_only:
            mark_used(self._folder)
        self.refresh()

    def refresh(self) -> None:
        """Opens the segments that were added since, by this process or another."""
        try:
            while self._open_new(segment_paths(self._folder)):
                pass  # a segment went away before it was opened: its rows may be in one that is not in that listing
        except OSError as error:
            self._emit(
                Warn(f"the feature store {self._folder} cannot be read ({error.strerror}); nothing in it is used")
            )

    def _open_new(self, listing: Sequence[Path]) -> bool:
        """Whether any segment was gone."""
        gone = False
        for path in listing:
            if path.name in self._seen:
                continue
            self._seen.add(path.name)  # those that are gone too: a listing that shows them for ever ends nowhere
            try:
                self._add(Segment.open(path, self._feature_size))
            except FileNotFoundError:
                gone = True
            except DAMAGE as error:
                self._report_damage(path, error)
        return gone

    def __len__(self) -> int:
        return sum(len(segment.keys) for segment in self._segments)

    def find(self, digests: Sequence[bytes]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Looks many images up at once; several threads may do so.

        Features are compared with their checksums when they are first used. A segment that turns out to be damaged is
        used no more, so that its rows are not found.

        Args:
            digests: M content hashes of 32 bytes.

        Returns:
            found (M,), and features (M, D) float32, zero where not found.
        """
        wanted = as_bytes(np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, DIGEST_BYTES))
        found = np.zeros(len(wanted), dtype=np.bool_)
        features = np.zeros((len(wanted), self._feature_size), dtype=np.float32)
        order = np.argsort(wanted, kind="stable")
        in_order = wanted[order]
        for segment in self._segments:
            if found.all():
                break
            hit, rows = segment.locate(in_order)
            new = ~found[order[hit]]
            places, rows = order[hit[new]], rows[new]
            try:
                features[places] = segment.take(rows)
            except DAMAGE as error:
                self._drop(segment, error)
            else:
                found[places] = True
        return found, features

    def count(self, digests: Sequence[bytes]) -> int:
        """How many of these images have a feature here, by the keys alone: no feature is read or checked."""
        wanted = np.sort(as_bytes(np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, DIGEST_BYTES)))
        found = np.zeros(len(wanted), dtype=np.bool_)
        for segment in self._segments:
            found[segment.locate(wanted)[0]] = True
        return int(np.count_nonzero(found))

    def get(self, digest: bytes) -> NDArray[np.float32] | None:
        """The feature of one image, (D,) float32, or None."""
        found, features = self.find([digest])
        return features[0] if found[0] else None

    def writer(self, provenance: Mapping[str, Any]) -> SegmentWriter:
        """A writer of new rows, to be used as a context manager.

        A store that this user may not write to, a colleague's or that of a home elsewhere, is read all the same: the
        first row that would be kept gives a warning, and none is.

        Args:
            provenance: what computes the rows, for a reader who wonders: path and versions.

        Raises:
            StorageError: the store's folder cannot be made, for another reason than permissions.
        """
        reason = self._refusal()
        if reason is not None:
            return _RefusedWriter(self._folder, self._feature_size, reason, self._emit)
        mark_used(self._folder)
        return SegmentWriter(self._folder, self._feature_size, json.dumps(provenance, sort_keys=True))

    def _refusal(self) -> str | None:
        """Why this user may not write here; None where that is allowed."""
        if NO_CACHE in self._folder.parents:
            return "there is no folder for a feature store: HOME is not set"
        described = self._folder / "space.json"
        try:
            if not os.path.isfile(described):
                write_json(described, self._space.to_json())
        except StorageError as error:
            number = getattr(error.__cause__, "errno", None)
            if number not in (errno.EACCES, errno.EPERM, errno.EROFS):
                raise
            return f"the feature store {self._cache} cannot be written ({os.strerror(number)})"
        if not os.access(self._folder, os.W_OK):
            return f"the feature store {self._cache} cannot be written"
        return None

    def _add(self, segment: Segment) -> None:
        with self._lock:
            self._segments = [*self._segments, segment]

    def _drop(self, segment: Segment, error: Exception) -> None:
        """Uses a segment no more; of the threads that find it damaged, one says so."""
        with self._lock:
            left = [other for other in self._segments if other is not segment]
            was_there = len(left) < len(self._segments)
            self._segments = left
        if was_there:
            self._report_damage(segment.path, error)

    def _report_damage(self, path: Path, error: Exception) -> None:
        fate = "left where it is" if self._read_only else _set_aside(path)
        self._emit(Warn(f"damaged segment in the feature store ({error}): {path}; {fate}, its features are recomputed"))


class SegmentWriter:
    """Collects rows and writes them as segments, now and then and at the end, also when the work is interrupted.

    At the end of work that was not interrupted it tidies up: it merges small segments, and removes the temporary files
    of writers that were killed.
    """

    def __init__(self, folder: Path, feature_size: int, provenance: str) -> None:
        self._folder = folder
        self._provenance = provenance
        self._feature_size = feature_size
        self._keys: list[bytes] = []
        self._rows: list[NDArray[np.float32]] = []
        self._since = time.monotonic()

    def add(self, digest: bytes, feature: NDArray[np.float32]) -> None:
        """Adds one row, a copy; feature (D,) float32.

        Raises:
            ValueError: a digest or a feature that no reader would accept.
            StorageError: a segment became due and cannot be written.
        """
        if len(digest) != DIGEST_BYTES or feature.shape != (self._feature_size,) or feature.dtype != np.float32:
            raise ValueError(
                f"a row is {DIGEST_BYTES} bytes and float32 ({self._feature_size},), "
                f"not {len(digest)} bytes and {feature.dtype} {feature.shape}"
            )
        self._keys.append(digest)
        self._rows.append(feature.copy())
        if len(self._keys) >= _SEGMENT_ROWS or time.monotonic() - self._since > _SEGMENT_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Writes what was collected as one segment, synced and renamed into place.

        Raises:
            StorageError: it cannot be written.
        """
        self._since = time.monotonic()
        if not self._keys:
            return
        keys = np.frombuffer(b"".join(self._keys), dtype=np.uint8).reshape(-1, DIGEST_BYTES)
        features = np.stack(self._rows)
        target = self._folder / f"{secrets.token_hex(16)}.safetensors"
        with atomic_path(target) as temporary, storage_errors(target):
            write_segment(temporary, keys, [features], self._feature_size, self._provenance)
        self._keys, self._rows = [], []

    def __enter__(self) -> SegmentWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not isinstance(error, StorageError):  # after a full disk, a second attempt would hide the first message
            self.flush()
        if error is None:
            remove_abandoned(self._folder)
            merge_segments(self._folder, self._feature_size)


class _RefusedWriter(SegmentWriter):
    """Takes rows where none can be written; says so at the first."""

    def __init__(self, folder: Path, feature_size: int, reason: str, emit: Emit) -> None:
        super().__init__(folder, feature_size, "")
        self._reason: str | None = reason
        self._emit = emit

    def add(self, digest: bytes, feature: NDArray[np.float32]) -> None:
        """Keeps nothing."""
        if self._reason is not None:
            self._emit(
                Warn(f"{self._reason}; features are computed and not kept: --cache or FEATCLI_CACHE names another")
            )
            self._reason = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


def space_folder(cache: Path, space: Space) -> Path:
    """Where the segments of a space lie."""
    return cache / "features" / LAYOUT / space.key


def mark_used(folder: Path) -> None:
    """Notes that a space is in use, at most once an hour; where that is impossible, nothing is noted."""
    mark = folder / USED_NAME
    with contextlib.suppress(OSError):
        if not mark.exists() or abs(time.time() - mark.stat().st_mtime) > _USED_SECONDS:
            mark.touch()


def remove_abandoned(folder: Path) -> list[int]:
    """Removes the temporary files of writers that were killed long ago; gives their sizes in bytes."""
    freed = []
    with contextlib.suppress(OSError):
        for path in folder.iterdir():
            if path.name.startswith(".") and path.suffix == ".tmp":
                with contextlib.suppress(OSError):
                    facts = path.stat()
                    if time.time() - facts.st_mtime > ABANDONED_SECONDS:
                        path.unlink()
                        freed.append(facts.st_size)
    return freed


def _set_aside(path: Path) -> str:
    aside = path.with_suffix(f".corrupt-{secrets.token_hex(4)}")
    try:
        path.rename(aside)
    except OSError as error:
        return f"cannot be moved away ({error.strerror})"
    return f"set aside as {aside.name}"
