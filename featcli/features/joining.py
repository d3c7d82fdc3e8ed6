"""Stores of other machines joined with the own one: their rows, checked, without the images that they are of."""

from __future__ import annotations

import hashlib
import json
import os
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcli.events import Emit, Progress
from featcli.features.maintenance import StoredSpace, list_spaces, stored_keys
from featcli.features.merging import merge_segments
from featcli.features.segments import DAMAGE, DIGEST_BYTES, Segment, write_segment
from featcli.features.store import LAYOUT, mark_used
from featcli.files import atomic_path, storage_errors, write_json

_TOGETHER = 4096  # rows of features in memory


@dataclass(frozen=True, slots=True)
class Joined:
    """What became of one space of another store.

    Attributes:
        source: the other store.
        space: the name of its folder, there and here.
        described: what its features depend on.
        new: images whose features came from it.
        known: those whose features were here, or in an earlier segment, already.
        damaged: segments whose rows were left out, each with the reason.
    """

    source: Path
    space: str
    described: dict[str, Any]
    new: int
    known: int
    damaged: tuple[tuple[Path, str], ...]


def join_stores(cache: Path, sources: Sequence[Path], emit: Emit) -> list[Joined]:
    """Copies what other stores know into a space of the same key each; nothing of theirs is changed.

    All bytes are compared with their checksums on the way, and a row that is here already is left as it is. Others may
    read and write both meanwhile, and it may be interrupted and repeated.

    Args:
        cache: the folder of the own store.
        sources: folders of others.
        emit: hears the progress, in segments.

    Raises:
        StorageError: something cannot be read or written.
    """
    found = [(source, space) for source in sources for space in list_spaces(source)]
    total, done = sum(len(space.segments) for _, space in found), 0
    joined = []
    for source, space in found:
        emit(Progress("merge", done, total, "segments"))
        joined.append(_join(cache, source, space))
        done += len(space.segments)
    emit(Progress("merge", total, total, "segments", finished=True))
    return joined


def _join(cache: Path, source: Path, space: StoredSpace) -> Joined:
    key = space.folder.name
    if key_of(space.described) != key:
        reason = "its description is missing or damaged, so that nobody knows what it depends on"
        return Joined(source, key, space.described, 0, 0, ((space.folder, reason),))
    target = cache / "features" / LAYOUT / key
    known, width = _known(target)
    damaged: list[tuple[Path, str]] = []
    new = old = 0
    for stored in space.segments:
        try:
            segment = Segment.open(stored.path, width)
            segment.verify()
            width = segment.feature_size
            wanted = _new_rows(segment, known)
            if len(wanted):
                _copy(segment, wanted, target, space.described, stored.written)
        except DAMAGE as error:
            damaged.append((stored.path, str(error)))
            continue
        keys = segment.keys_by_row()
        known = np.union1d(known, keys)
        new, old = new + len(wanted), old + len(keys) - len(wanted)
    if new and width is not None:
        mark_used(target)
        merge_segments(target, width)
    return Joined(source, key, space.described, new, old, tuple(damaged))


def key_of(described: dict[str, Any]) -> str:
    """The name of the folder of a space, from its description."""
    return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:32]


def _known(folder: Path) -> tuple[NDArray[np.bytes_], int | None]:
    """The keys that are here, sorted; and D, where there is a sound segment."""
    keys, width = stored_keys(folder)
    return np.unique(keys), width


def _new_rows(segment: Segment, known: NDArray[np.bytes_]) -> NDArray[np.int64]:
    """The rows of a segment that are not known, each key once, in their order."""
    keys = segment.keys_by_row()
    _, first = np.unique(keys, return_index=True)
    first.sort()
    return first[~np.isin(keys[first], known)]


def _copy(segment: Segment, rows: NDArray[np.int64], folder: Path, described: dict[str, Any], written: float) -> None:
    """Writes rows as a segment of their own, with their provenance and their age."""
    if not (folder / "space.json").is_file():
        write_json(folder / "space.json", described)
    keys = np.ascontiguousarray(segment.keys_by_row()[rows]).view(np.uint8).reshape(-1, DIGEST_BYTES)
    target = folder / f"{secrets.token_hex(16)}.safetensors"
    with atomic_path(target) as temporary, storage_errors(target):
        write_segment(temporary, keys, _parts(segment, rows), segment.feature_size, segment.provenance)
        os.utime(temporary, (written, written))


def _parts(segment: Segment, rows: NDArray[np.int64]) -> Iterator[NDArray[np.float32]]:
    for start in range(0, len(rows), _TOGETHER):
        part = segment.take(rows[start : start + _TOGETHER])
        if not np.isfinite(part).all():
            raise ValueError("its features are not finite numbers")
        yield part
