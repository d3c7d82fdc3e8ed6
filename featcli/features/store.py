"""The feature store: immutable segments of (content hash, feature) in one folder per space.

A space is everything that a feature depends on besides the image: weights, preprocessing, layer, pixel policy,
precision, kind of device. A segment is one safetensors file, written whole and renamed into place, so that any number
of processes may read and write without a lock. A segment whose checksum is wrong is set aside and recomputed.

Small segments are merged when they are many. The merged one is in its place before those that it holds are removed,
and nobody removes a segment whose rows are not in one of its own: so at any moment every row is in some segment.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

from featcli import __version__
from featcli.errors import StorageError
from featcli.events import Emit, Warn
from featcli.files import atomic_path, storage_errors, write_json

LAYOUT = "v1"
DIGEST_BYTES = 32
_SEGMENT_ROWS = 8192
_SEGMENT_SECONDS = 20.0
_MANY_SEGMENTS = 16  # small ones, of fewer than _SEGMENT_ROWS rows; more are merged
_MERGED_ROWS = 65536  # about so many rows in a merged one
ABANDONED_SECONDS = 24 * 3600.0  # a temporary file so old has no writer
_USED_SECONDS = 3600.0  # how exactly the last use of a space is known
USED_NAME = "used"
DAMAGE = (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError)
_HEADER_SPACE = 8  # what a safetensors header's length is a multiple of


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
        numerics: `fp32`, `bf16`, `fp16`.
        device_type: `cpu`, `cuda`, `mps`.
    """

    backbone: str
    weights_sha256: str
    arguments: dict[str, Any]
    preprocessing: dict[str, Any]
    layer: str
    pixel_pipeline: int
    numerics: str
    device_type: str

    @property
    def key(self) -> str:
        """The name of its folder: 32 hex digits of a hash of all of it."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()[:32]


def default_cache() -> Path:
    """`FEATCLI_CACHE`, else `~/.cache/featcli`."""
    named = os.environ.get("FEATCLI_CACHE")
    return Path(named).expanduser().absolute() if named else Path.home() / ".cache" / "featcli"


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
        self._folder = space_folder(cache, space)
        self._space = space
        self._feature_size = feature_size
        self._emit = emit
        self._read_only = read_only
        self._segments: list[Segment] = []
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
                self._segments.append(Segment.open(path, self._feature_size))
            except FileNotFoundError:
                gone = True
            except DAMAGE as error:
                self._report_damage(path, error)
        return gone

    def __len__(self) -> int:
        return sum(len(segment.keys) for segment in self._segments)

    def find(self, digests: Sequence[bytes]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        """Looks many images up at once.

        Args:
            digests: M content hashes of 32 bytes.

        Returns:
            found (M,), and features (M, D) float32, zero where not found.
        """
        wanted = np.frombuffer(b"".join(digests), dtype=np.uint8).reshape(-1, DIGEST_BYTES)
        found = np.zeros(len(wanted), dtype=np.bool_)
        features = np.zeros((len(wanted), self._feature_size), dtype=np.float32)
        for segment in self._segments:
            missing = np.flatnonzero(~found)
            if not len(missing):
                break
            hit, rows = segment.locate(wanted[missing])
            features[missing[hit]] = segment.features[rows]
            found[missing[hit]] = True
        return found, features

    def get(self, digest: bytes) -> NDArray[np.float32] | None:
        """The feature of one image, (D,) float32, or None."""
        found, features = self.find([digest])
        return features[0] if found[0] else None

    def writer(self) -> SegmentWriter:
        """A writer of new rows, to be used as a context manager.

        Raises:
            StorageError: the store's folder cannot be made or written to.
        """
        described = self._folder / "space.json"
        if not described.is_file():
            write_json(described, asdict(self._space))
        elif not os.access(self._folder, os.W_OK):
            raise StorageError(f"cannot write to the feature store {self._folder}", "Choose another with --cache.")
        mark_used(self._folder)
        return SegmentWriter(self._folder, self._feature_size)

    def _report_damage(self, path: Path, error: Exception) -> None:
        fate = "left where it is" if self._read_only else _set_aside(path)
        self._emit(
            Warn(f"damaged segment in the feature store ({error}): {path}; {fate}, its features are computed anew")
        )


class SegmentWriter:
    """Collects rows and writes them as segments, now and then and at the end, also when the work is interrupted.

    At the end of work that was not interrupted it tidies up: it merges small segments, and removes the temporary files
    of writers that were killed.
    """

    def __init__(self, folder: Path, feature_size: int) -> None:
        self._folder = folder
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
        metadata = {"sha256": _checksum(keys, features), "provenance": _provenance()}
        with atomic_path(target) as temporary, storage_errors(target):
            temporary.write_bytes(safetensors.numpy.save({"keys": keys, "features": features}, metadata=metadata))
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


@dataclass(frozen=True, slots=True)
class Segment:
    """One file of rows.

    Attributes:
        keys: (n,) of 32 bytes, sorted.
        order: (n,) from the sorted place to the row of `features`.
        features: (n, D) float32, mapped from the file: readable when the file is removed, too.
        provenance: what computed the rows, as JSON.
    """

    keys: NDArray[np.bytes_]
    order: NDArray[np.int64]
    features: NDArray[np.float32]
    provenance: str

    @classmethod
    def open(cls, path: Path, feature_size: int | None) -> Segment:
        """Opens a file and checks all of it.

        Args:
            path: of the file.
            feature_size: D; None where any will do.

        Raises:
            FileNotFoundError: it is gone: merged or set aside by another process.
            OSError, ValueError, KeyError, TypeError, SafetensorError: it cannot be read, or is damaged.
        """
        with safetensors.safe_open(path, framework="numpy") as file:  # checks the header and the file's length
            metadata = file.metadata() or {}
            keys = file.get_tensor("keys")
        features = _memory_mapped(path, "features")
        if keys.dtype != np.uint8 or keys.ndim != 2 or keys.shape[1] != DIGEST_BYTES:
            raise ValueError("its keys are not content hashes")
        if not len(keys) or features.ndim != 2 or features.shape != (len(keys), feature_size or features.shape[1]):
            raise ValueError(f"its features are {features.shape}, not {(len(keys), feature_size)}")
        if metadata.get("sha256") != _checksum(keys, features):
            raise ValueError("its checksum is wrong")
        values = as_bytes(keys)
        order = np.argsort(values, kind="stable")
        return cls(values[order], order, features, str(metadata.get("provenance", "")))

    def locate(self, wanted: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Indices into `wanted` that are here, and their rows in `features`."""
        values = as_bytes(wanted)
        places = np.minimum(np.searchsorted(self.keys, values), len(self.keys) - 1)
        hit = np.flatnonzero(self.keys[places] == values)
        return hit, self.order[places[hit]]


def space_folder(cache: Path, space: Space) -> Path:
    """Where the segments of a space lie."""
    return cache / "features" / LAYOUT / space.key


def segment_paths(folder: Path) -> list[Path]:
    """The segments in a folder, sorted; none where there is no such folder.

    It lists until two listings agree. One alone, made while segments are merged, may have passed the merged one's
    place before it came and the others' places after they went; two that agree show each row at least once.

    Raises:
        OSError: it cannot be listed.
    """
    before: list[Path] | None = None
    while True:
        try:
            listing = sorted(path for path in folder.iterdir() if path.suffix == ".safetensors")
        except (FileNotFoundError, NotADirectoryError):
            return []
        if listing == before:
            return listing
        before = listing


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


def merge_segments(folder: Path, feature_size: int) -> None:
    """Merges the small segments of a space, where they are many; rows that several hold are kept once.

    Rows of different provenance stay apart. That it does not work out (a full disk, a damaged segment, which stays for
    the next reader to report) does no harm: it is tried again another day.

    Args:
        folder: of the space.
        feature_size: D.
    """
    row_bytes = DIGEST_BYTES + 4 * feature_size
    with contextlib.suppress(OSError, StorageError):
        sizes = {path: _size(path) for path in segment_paths(folder)}
        small = [path for path, size in sizes.items() if size < _SEGMENT_ROWS * row_bytes]
        if len(small) <= _MANY_SEGMENTS:
            return
        for paths in _by_provenance(small):
            if len(paths) > _MANY_SEGMENTS:
                for portion in _portions(paths, sizes, _MERGED_ROWS * row_bytes):
                    _merge(folder, portion, feature_size)


def _by_provenance(paths: Sequence[Path]) -> list[list[Path]]:
    alike: dict[str, list[Path]] = defaultdict(list)
    for path in paths:
        with contextlib.suppress(*DAMAGE), safetensors.safe_open(path, framework="numpy") as file:
            alike[(file.metadata() or {})["provenance"]].append(path)
    return list(alike.values())


def _portions(paths: Sequence[Path], sizes: dict[Path, int], most: int) -> Iterator[list[Path]]:
    """Cuts a list where the sizes add up to `most`."""
    portion: list[Path] = []
    total = 0
    for path in paths:
        portion.append(path)
        total += sizes[path]
        if total >= most:
            yield portion
            portion, total = [], 0
    yield portion


def _merge(folder: Path, paths: Sequence[Path], feature_size: int) -> None:
    """Writes one segment with the rows of those of `paths` that are sound, then removes these."""
    sources: dict[Path, Segment] = {}
    newest = 0.0
    for path in paths:
        with contextlib.suppress(*DAMAGE):
            sources[path] = Segment.open(path, feature_size)
            newest = max(newest, path.stat().st_mtime)
    if len(sources) < 2:
        return
    target = folder / f"{secrets.token_hex(16)}.safetensors"
    with atomic_path(target) as temporary, storage_errors(target):
        _write_merged(temporary, list(sources.values()))
        os.utime(temporary, (newest, newest))  # the age of the rows, not of the file
    for path in sources:
        path.unlink(missing_ok=True)  # may be gone: another process merges too


def _write_merged(target: Path, segments: Sequence[Segment]) -> None:
    """Copies row by row, one segment in memory at a time; the checksum is filled in at the end."""
    keys = np.concatenate([segment.keys for segment in segments])
    owner = np.repeat(np.arange(len(segments)), [len(segment.keys) for segment in segments])
    row = np.concatenate([segment.order for segment in segments])
    _, first = np.unique(keys, return_index=True)
    first.sort()  # segment by segment
    keys, owner, row = keys[first], owner[first], row[first]
    unknown = "0" * 64
    header = _header(keys, segments[0], unknown)
    digest = hashlib.sha256(keys.data)
    with target.open("r+b") as file:
        file.write(header)
        file.write(keys.data)
        for index, segment in enumerate(segments):
            features = np.ascontiguousarray(segment.features[row[owner == index]])
            digest.update(features.data)
            file.write(features.data)
        file.seek(header.index(unknown.encode()))
        file.write(digest.hexdigest().encode())


def _header(keys: NDArray[np.bytes_], like: Segment, checksum: str) -> bytes:
    """The header of a safetensors file, with its length: keys (n, 32), then features (n, D)."""
    n, width = len(keys), like.features.shape[1]
    split, end = n * DIGEST_BYTES, n * (DIGEST_BYTES + 4 * width)
    facts = {
        "__metadata__": {"sha256": checksum, "provenance": like.provenance},
        "keys": {"dtype": "U8", "shape": [n, DIGEST_BYTES], "data_offsets": [0, split]},
        "features": {"dtype": "F32", "shape": [n, width], "data_offsets": [split, end]},
    }
    text = json.dumps(facts).encode()
    text += b" " * (-len(text) % _HEADER_SPACE)
    return len(text).to_bytes(8, "little") + text


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _set_aside(path: Path) -> str:
    aside = path.with_suffix(f".corrupt-{secrets.token_hex(4)}")
    try:
        path.rename(aside)
    except OSError as error:
        return f"cannot be moved away ({error.strerror})"
    return f"set aside as {aside.name}"


def _memory_mapped(path: Path, tensor: str) -> NDArray[np.float32]:
    """One float32 tensor of a safetensors file whose header was checked, without reading it into memory."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(length))[tensor]
    if entry["dtype"] != "F32":
        raise ValueError(f"its {tensor} are {entry['dtype']}, not F32")
    offset = 8 + length + entry["data_offsets"][0]
    return np.memmap(path, dtype="<f4", mode="r", offset=offset, shape=tuple(entry["shape"]))


def as_bytes(keys: NDArray[np.uint8]) -> NDArray[np.bytes_]:
    """(n, 32) uint8 as n sortable values; that numpy ignores trailing zeros is harmless, as all have 32 bytes."""
    return np.ascontiguousarray(keys).view(f"S{DIGEST_BYTES}").reshape(-1)


def _checksum(keys: NDArray[np.uint8], features: NDArray[np.float32]) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(keys).data)
    digest.update(np.ascontiguousarray(features).data)
    return digest.hexdigest()


def _provenance() -> str:
    """What computed the rows of a segment, for a reader who wonders."""
    versions = {name: version(name) for name in ("torch", "torchvision", "pillow")} | {"featcli": __version__}
    return json.dumps({"path": "plain", "versions": versions}, sort_keys=True)
