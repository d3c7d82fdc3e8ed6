"""The feature store: immutable segments of (content hash, feature) in one folder per space.

A space is everything that a feature depends on besides the image: weights, preprocessing, layer, pixel policy,
precision, kind of device. A segment is one safetensors file, written whole and renamed into place, so that any number
of processes may read and write without a lock. A segment whose checksum is wrong is set aside and recomputed.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import time
from collections.abc import Sequence
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
        self._folder = cache / "features" / LAYOUT / space.key
        self._space = space
        self._feature_size = feature_size
        self._emit = emit
        self._read_only = read_only
        self._segments: list[_Segment] = []
        self._seen: set[str] = set()
        self.refresh()

    def refresh(self) -> None:
        """Opens the segments that were added since, by this process or another."""
        try:
            listing = sorted(path for path in self._folder.iterdir() if path.suffix == ".safetensors")
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            self._emit(
                Warn(f"the feature store {self._folder} cannot be read ({error.strerror}); nothing in it is used")
            )
            return
        for path in listing:
            if path.name not in self._seen:
                self._seen.add(path.name)
                segment = self._open(path)
                if segment is not None:
                    self._segments.append(segment)

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
        return SegmentWriter(self._folder, self._feature_size)

    def _open(self, path: Path) -> _Segment | None:
        try:
            return _Segment.open(path, self._feature_size)
        except FileNotFoundError:
            return None  # another process set it aside or merged it between the listing and now
        except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
            fate = "left where it is" if self._read_only else _set_aside(path)
            self._emit(
                Warn(f"damaged segment in the feature store ({error}): {path}; {fate}, its features are computed anew")
            )
            return None


class SegmentWriter:
    """Collects rows and writes them as segments, now and then and at the end, also when the work is interrupted."""

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


@dataclass(frozen=True, slots=True)
class _Segment:
    """One file: keys (n, 32), sorted by their bytes; `order` leads from the sorted place to the row of `features`."""

    keys: NDArray[np.bytes_]
    order: NDArray[np.int64]
    features: NDArray[np.float32]

    @classmethod
    def open(cls, path: Path, feature_size: int) -> _Segment:
        with safetensors.safe_open(path, framework="numpy") as file:  # checks the header and the file's length
            metadata = file.metadata() or {}
            keys = file.get_tensor("keys")
        features = _memory_mapped(path, "features")
        if keys.dtype != np.uint8 or keys.ndim != 2 or keys.shape[1] != DIGEST_BYTES:
            raise ValueError("its keys are not content hashes")
        if not len(keys) or features.shape != (len(keys), feature_size):
            raise ValueError(f"its features are {features.shape}, not {(len(keys), feature_size)}")
        if metadata.get("sha256") != _checksum(keys, features):
            raise ValueError("its checksum is wrong")
        as_bytes = _as_bytes(keys)
        order = np.argsort(as_bytes, kind="stable")
        return cls(as_bytes[order], order, features)

    def locate(self, wanted: NDArray[np.uint8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Indices into `wanted` that are here, and their rows in `features`."""
        values = _as_bytes(wanted)
        places = np.minimum(np.searchsorted(self.keys, values), len(self.keys) - 1)
        hit = np.flatnonzero(self.keys[places] == values)
        return hit, self.order[places[hit]]


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


def _as_bytes(keys: NDArray[np.uint8]) -> NDArray[np.bytes_]:
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
