"""One file of a feature store: rows of (content hash, feature), as a safetensors file with a checksum.

Keys (n, 32) uint8 and features (n, D) float32, in the order in which they were added; the metadata hold the sha256 of
both, and what computed them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy
from numpy.typing import NDArray

DIGEST_BYTES = 32
DAMAGE = (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError)
_HEADER_SPACE = 8  # what a safetensors header's length is a multiple of


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


def write_segment(target: Path, keys: NDArray[np.uint8], features: NDArray[np.float32], provenance: str) -> None:
    """Writes keys (n, 32) and features (n, D) to a file.

    Raises:
        OSError: it cannot be written.
    """
    metadata = {"sha256": _checksum(keys, features), "provenance": provenance}
    target.write_bytes(safetensors.numpy.save({"keys": keys, "features": features}, metadata=metadata))


def write_merged(target: Path, segments: Sequence[Segment]) -> None:
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
