"""Few large segments instead of many small ones.

The merged one is in its place before those that it holds are removed, and nobody removes a segment whose rows are not
in one of its own: so at any moment every row is in some segment.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import safetensors

from featcli.errors import StorageError
from featcli.features.segments import DAMAGE, DIGEST_BYTES, Segment, segment_paths, write_segment
from featcli.files import atomic_path, storage_errors

SMALL_ROWS = 8192  # a segment of fewer rows is small
_MANY_SEGMENTS = 16  # small ones; more are merged
_MERGED_ROWS = 65536  # about so many rows in a merged one


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
        small = [path for path, size in sizes.items() if size < SMALL_ROWS * row_bytes]
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
            segment = Segment.open(path, feature_size)
            segment.verify()  # damage must not get a fresh checksum
            sources[path] = segment
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
    """Copies the rows in their order, one segment in memory at a time."""
    keys = np.concatenate([segment.keys_by_row() for segment in segments])
    _, first = np.unique(keys, return_index=True)
    first.sort()  # segment by segment
    starts = np.cumsum([0, *(len(segment.keys) for segment in segments)])[:-1]
    rows = np.split(first, np.searchsorted(first, starts[1:]))
    parts = (segment.take(own - start) for segment, own, start in zip(segments, rows, starts, strict=True))
    kept = keys[first].view(np.uint8).reshape(-1, DIGEST_BYTES)
    write_segment(target, kept, parts, segments[0].feature_size, segments[0].provenance)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
