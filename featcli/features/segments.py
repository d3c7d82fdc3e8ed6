"""One file of a feature store: rows of (content hash, feature), as a safetensors file with checksums.

Tensors: `keys` (n, 32) uint8 and `features` (n, D) float32, in the order in which they were added, so that the rows
of one run lie together; `blocks` (b, 32) uint8, the sha256 of each block of rows. Metadata: `sha256`, of keys and
features, which is what readers of the first format check; `provenance`, what computed the rows; `block_rows`; and
`index_sha256`, of all of this but the features.

Opening reads all but the features. The rows of a block are compared with its checksum when one of them is first used in
a process. A segment of the first format has no block checksums, and is one block.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import safetensors
from numpy.typing import NDArray

DIGEST_BYTES = 32
DAMAGE = (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError)
_BLOCK_BYTES = 1 << 17  # about so many in a block: what one row costs that is used alone
_INDEX = "index_sha256"
_UNKNOWN = "0" * 64
_HEADER_SPACE = 8  # what a safetensors header's length is a multiple of


@dataclass(frozen=True, slots=True, eq=False)
class Segment:
    """One file of rows, any of which may be used by several threads at once.

    Attributes:
        path: of the file, which may be gone.
        keys: (n,) of 32 bytes, sorted.
        order: (n,) from the sorted place to the row.
        provenance: what computed the rows, as JSON.
    """

    path: Path
    keys: NDArray[np.bytes_]
    order: NDArray[np.int64]
    provenance: str
    _features: NDArray[np.float32]  # (n, D), mapped from the file: readable when that is removed, too
    _checksums: _Checksums
    _sound: NDArray[np.bool_]  # (b,) which blocks were found to be right
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @classmethod
    def open(cls, path: Path, feature_size: int | None) -> Segment:
        """Opens a file and checks all but its features: these are checked when they are used.

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
            blocks = file.get_tensor("blocks") if _INDEX in metadata else None
        features = _memory_mapped(path, "features")
        if keys.dtype != np.uint8 or keys.ndim != 2 or keys.shape[1] != DIGEST_BYTES:
            raise ValueError("its keys are not content hashes")
        if not len(keys) or features.ndim != 2 or features.shape != (len(keys), feature_size or features.shape[1]):
            raise ValueError(f"its features are {features.shape}, not {(len(keys), feature_size)}")
        checksums = _whole_checksum(metadata, keys) if blocks is None else _block_checksums(metadata, keys, blocks)
        values = as_bytes(keys)
        order = np.argsort(values, kind="stable")
        sound = np.zeros(len(checksums.expected), dtype=np.bool_)
        return cls(path, values[order], order, str(metadata.get("provenance", "")), features, checksums, sound)

    @property
    def feature_size(self) -> int:
        """D."""
        return int(self._features.shape[1])

    def keys_by_row(self) -> NDArray[np.bytes_]:
        """(n,) of 32 bytes, as they lie in the file."""
        keys = np.empty_like(self.keys)
        keys[self.order] = self.keys
        return keys

    def locate(self, wanted: NDArray[np.bytes_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Indices into `wanted`, which is sorted and as `as_bytes` gives it, that are here; and their rows."""
        if len(wanted) < len(self.keys):
            places = np.minimum(np.searchsorted(self.keys, wanted), len(self.keys) - 1)
            hit = np.flatnonzero(self.keys[places] == wanted)
            return hit, self.order[places[hit]]
        starts = np.searchsorted(wanted, self.keys)
        counts = np.searchsorted(wanted, self.keys, side="right") - starts
        before = np.cumsum(counts) - counts
        hit = np.repeat(starts - before, counts) + np.arange(counts.sum())
        return hit, np.repeat(self.order, counts)

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """The features of m rows, (m, D) float32, whose blocks were compared with their checksums.

        Raises:
            ValueError: one of these blocks is damaged.
        """
        used = np.zeros(len(self._sound), dtype=np.bool_)
        used[rows // self._checksums.block_rows] = True
        self._require(used)
        return self._features[rows]

    def verify(self) -> None:
        """Compares all that was not used yet with its checksums.

        Raises:
            ValueError: a block is damaged.
        """
        self._require(np.ones(len(self._sound), dtype=np.bool_))

    def _require(self, used: NDArray[np.bool_]) -> None:
        if not (used & ~self._sound).any():
            return
        with self._lock:  # else threads that start together would all hash the same blocks
            for block in np.flatnonzero(used & ~self._sound).tolist():
                if not self._checksums.hold(block, self._features):
                    raise ValueError("its checksum is wrong")
                self._sound[block] = True


@dataclass(frozen=True, slots=True, eq=False)
class _Checksums:
    """What the rows of a segment are compared with.

    Attributes:
        expected: (b, 32) uint8, the sha256 of each block.
        block_rows: rows in a block; the last may have fewer.
        keys: what is hashed before a block's rows: the keys in a segment of the first format, else nothing.
    """

    expected: NDArray[np.uint8]
    block_rows: int
    keys: NDArray[np.uint8]

    def hold(self, block: int, features: NDArray[np.float32]) -> bool:
        """Whether the rows of one block are those that were written."""
        digest = hashlib.sha256(self.keys.data)
        digest.update(features[block * self.block_rows : (block + 1) * self.block_rows].data)
        return digest.digest() == bytes(self.expected[block])


def _whole_checksum(metadata: Mapping[str, str], keys: NDArray[np.uint8]) -> _Checksums:
    """Of a segment of the first format."""
    try:
        expected = np.frombuffer(bytes.fromhex(metadata["sha256"]), dtype=np.uint8).reshape(1, DIGEST_BYTES)
    except (KeyError, ValueError):
        raise ValueError("its checksum is wrong") from None
    return _Checksums(expected, len(keys), keys)


def _block_checksums(metadata: Mapping[str, str], keys: NDArray[np.uint8], blocks: NDArray[np.uint8]) -> _Checksums:
    """Of a segment whose index is right.

    Raises:
        ValueError, KeyError: it is not.
    """
    if metadata[_INDEX] != _index_checksum(metadata, keys, blocks):
        raise ValueError("its checksum is wrong")
    block_rows = int(metadata["block_rows"])
    if block_rows < 1 or blocks.dtype != np.uint8 or blocks.shape != (-(-len(keys) // block_rows), DIGEST_BYTES):
        raise ValueError(f"its block checksums are {blocks.dtype} {blocks.shape}")
    return _Checksums(blocks, block_rows, keys[:0])


def _index_checksum(metadata: Mapping[str, str], keys: NDArray[np.uint8], blocks: NDArray[np.uint8]) -> str:
    digest = hashlib.sha256(np.ascontiguousarray(keys).data)
    digest.update(np.ascontiguousarray(blocks).data)
    others = {name: value for name, value in metadata.items() if name != _INDEX}
    digest.update(json.dumps(others, sort_keys=True).encode())
    return digest.hexdigest()


def write_segment(
    target: Path, keys: NDArray[np.uint8], parts: Iterable[NDArray[np.float32]], width: int, provenance: str
) -> None:
    """Writes a file of n rows, with one part of their features in memory at a time.

    Args:
        target: where to.
        keys: (n, 32), contiguous.
        parts: arrays (m, D) float32 that have n rows together.
        width: D.
        provenance: what computed the rows, as JSON.

    Raises:
        OSError: it cannot be written.
    """
    block_rows = max(1, _BLOCK_BYTES // (4 * width))
    blocks = np.zeros((-(-len(keys) // block_rows), DIGEST_BYTES), dtype=np.uint8)
    metadata = {"sha256": _UNKNOWN, "provenance": provenance, "block_rows": str(block_rows), _INDEX: _UNKNOWN}
    whole = hashlib.sha256(keys.data)
    with target.open("wb") as file:
        file.seek(len(_header(metadata, len(keys), len(blocks), width)) + keys.nbytes + blocks.nbytes)
        for index, rows in enumerate(_cut(parts, block_rows)):
            whole.update(rows.data)
            blocks[index] = np.frombuffer(hashlib.sha256(rows.data).digest(), dtype=np.uint8)
            file.write(rows.data)
        metadata["sha256"] = whole.hexdigest()
        metadata[_INDEX] = _index_checksum(metadata, keys, blocks)
        file.seek(0)
        for part in (_header(metadata, len(keys), len(blocks), width), keys.data, blocks.data):
            file.write(part)


def _cut(parts: Iterable[NDArray[np.float32]], count: int) -> Iterator[NDArray[np.float32]]:
    """The same rows in arrays of `count`; the last may have fewer."""
    rest: NDArray[np.float32] | None = None
    for part in parts:
        rows = part if rest is None else np.concatenate([rest, part])
        whole = len(rows) // count * count
        yield from (rows[start : start + count] for start in range(0, whole, count))
        rest = rows[whole:]
    if rest is not None and len(rest):
        yield rest


def _header(metadata: Mapping[str, str], rows: int, blocks: int, width: int) -> bytes:
    """The header of a safetensors file, with its length: keys (n, 32), blocks (b, 32), features (n, D)."""
    facts: dict[str, object] = {"__metadata__": metadata}
    end = 0
    for name, dtype, size, shape in (
        ("keys", "U8", 1, [rows, DIGEST_BYTES]),
        ("blocks", "U8", 1, [blocks, DIGEST_BYTES]),
        ("features", "F32", 4, [rows, width]),
    ):
        start, end = end, end + size * shape[0] * shape[1]
        facts[name] = {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(facts).encode()
    text += b" " * (-len(text) % _HEADER_SPACE)
    return len(text).to_bytes(8, "little") + text


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


def _memory_mapped(path: Path, tensor: str) -> NDArray[np.float32]:
    """One float32 tensor of a safetensors file whose header was checked, without reading it into memory."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        entry = json.loads(file.read(length))[tensor]
    if entry["dtype"] != "F32":
        raise ValueError(f"its {tensor} are {entry['dtype']}, not F32")
    offset = 8 + length + entry["data_offsets"][0]
    mapped = np.memmap(path, dtype="<f4", mode="r", offset=offset, shape=tuple(entry["shape"]))
    return mapped.view(np.ndarray)  # whose slices cost a third


def as_bytes(keys: NDArray[np.uint8]) -> NDArray[np.bytes_]:
    """(n, 32) uint8 as n sortable values; that numpy ignores trailing zeros is harmless, as all have 32 bytes."""
    return np.ascontiguousarray(keys).view(f"S{DIGEST_BYTES}").reshape(-1)
