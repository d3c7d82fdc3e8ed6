"""Looking at the whole feature store, checking it, and making room: what no single reader or writer sees.

All of it may run while others read and write. A segment that goes away meanwhile was merged into another, whose rows
are the same; a segment that is removed under a reader stays readable to it, and is recomputed by the next one.
"""

from __future__ import annotations

import contextlib
import json
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors
from numpy.typing import NDArray

from featcli.errors import StorageError
from featcli.features.segments import DAMAGE, Segment, as_bytes, segment_paths
from featcli.features.store import ABANDONED_SECONDS, LAYOUT, USED_NAME, remove_abandoned

_DESCRIBED = "space.json"


@dataclass(frozen=True, slots=True)
class StoredSegment:
    """One segment's file: its size in bytes, and when its rows were written (seconds since 1970)."""

    path: Path
    bytes: int
    written: float


@dataclass(frozen=True, slots=True)
class StoredSpace:
    """What lies in the folder of one space.

    Attributes:
        folder: named by the space's key.
        described: the space, as its `space.json` has it; empty where that is missing or damaged.
        segments: sorted by name.
        set_aside: damaged segments that readers moved out of the way.
        last_used: by a command that may write, to within an hour; seconds since 1970.
    """

    folder: Path
    described: dict[str, Any]
    segments: tuple[StoredSegment, ...]
    set_aside: tuple[Path, ...]
    last_used: float

    @property
    def bytes(self) -> int:
        """Of all segments."""
        return sum(segment.bytes for segment in self.segments)

    def count_images(self) -> int:
        """How many images have a feature here, each counted once; reads the keys alone."""
        keys = [_keys(segment.path) for segment in self.segments]
        return len(np.unique(np.concatenate(keys))) if keys else 0


@dataclass(frozen=True, slots=True)
class Verified:
    """How many segments were read from end to end, and which are damaged, with the reason."""

    checked: int
    corrupt: tuple[tuple[Path, str], ...]


@dataclass(frozen=True, slots=True)
class Removal:
    """What was removed from a space, and why; `described` as in `StoredSpace`."""

    folder: Path
    described: dict[str, Any]
    why: str
    files: int
    bytes: int


def list_spaces(cache: Path) -> list[StoredSpace]:
    """The spaces of a store, the one used last first; none where there is no store.

    Raises:
        StorageError: a folder cannot be listed.
    """
    spaces = [_look(folder) for folder in _space_folders(cache, (LAYOUT,))]
    return sorted(spaces, key=lambda space: (-space.last_used, space.folder.name))


def stored_keys(folder: Path) -> tuple[NDArray[np.bytes_], int | None]:
    """The keys of the rows in a space's folder, and the width of its features; None where there are none.

    Raises:
        StorageError: the folder cannot be listed.
    """
    found = []
    width = None
    for path in _segments_of(folder):
        with contextlib.suppress(*DAMAGE):
            segment = Segment.open(path, width)
            found.append(segment.keys)
            width = segment.feature_size
    return (np.concatenate(found) if found else as_bytes(np.empty((0, 32), dtype=np.uint8))), width


def verify_store(cache: Path) -> Verified:
    """Reads every segment and compares all of it with its checksums. Changes nothing.

    Raises:
        StorageError: a folder cannot be listed.
    """
    checked = 0
    corrupt: list[tuple[Path, str]] = []
    for folder in _space_folders(cache, (LAYOUT,)):
        for path, error in _check_segments(folder):
            checked += 1
            if error is not None:
                corrupt.append((path, error))
    return Verified(checked, tuple(corrupt))


def prune_store(
    cache: Path, *, older_than: float | None = None, unused: float | None = None, max_size: int | None = None
) -> list[Removal]:
    """Makes room. Without any rule it removes what is of no use: damaged segments, and what killed writers left.

    Args:
        cache: the folder that holds the store.
        older_than: seconds; removes segments whose rows were all written longer ago.
        unused: seconds; removes spaces that were last used longer ago.
        max_size: bytes; removes segments of the space used least recently, its oldest first, until no more are left.

    Raises:
        StorageError: something cannot be listed or removed.
    """
    now = time.time()
    spaces = list_spaces(cache)
    doomed: dict[Path, str] = {}
    for space in spaces:
        for segment in space.segments:
            if unused is not None and space.last_used < now - unused:
                doomed[segment.path] = "unused"
            elif older_than is not None and segment.written < now - older_than:
                doomed[segment.path] = "old"
    if max_size is not None:
        doomed |= dict.fromkeys(_beyond(spaces, set(doomed), max_size), "over the size")
    return [removal for space in spaces for removal in _prune_space(space, doomed, now)]


def clear_store(cache: Path) -> Removal:
    """Removes all features, of older layouts too, and nothing that featcli did not put there.

    Raises:
        StorageError: something cannot be listed or removed.
    """
    files = freed = 0
    folders = list(_space_folders(cache, None))
    for folder in folders:
        ours = [path for path in _listing(folder) if _is_ours(path)]
        segments = [path for path in ours if path.suffix == ".safetensors"]
        files += len(segments)
        freed += remove_files(ours)
    for empty in (*folders, *{folder.parent for folder in folders}, cache / "features"):
        with contextlib.suppress(OSError):  # holds something of the user's, or a writer is at work
            empty.rmdir()
    return Removal(cache / "features", {}, "all", files, freed)


def remove_files(paths: Iterable[Path]) -> int:
    """Removes files that may be gone already; gives the bytes that were freed.

    Raises:
        StorageError: a file cannot be removed.
    """
    freed = 0
    for path in paths:
        try:
            size = path.stat().st_size
            path.unlink()
            freed += size
        except FileNotFoundError:
            continue
        except OSError as error:
            raise StorageError(f"cannot remove {path}: {error.strerror or error}") from error
    return freed


def _space_folders(cache: Path, layouts: Sequence[str] | None) -> Iterator[Path]:
    """Folders that are named as spaces are, in these layouts, or in all."""
    for layout in _listing(cache / "features"):
        if re.fullmatch(r"v[0-9]+", layout.name) and (layouts is None or layout.name in layouts):
            for folder in _listing(layout):
                if re.fullmatch(r"[0-9a-f]{32}", folder.name) and folder.is_dir():
                    yield folder


def _listing(folder: Path) -> list[Path]:
    """What is in a folder, sorted; nothing where there is no such folder."""
    try:
        return sorted(folder.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise StorageError(f"cannot read {folder}: {error.strerror or error}") from error


def _is_ours(path: Path) -> bool:
    return (
        path.suffix == ".safetensors"
        or path.suffix.startswith(".corrupt-")
        or (path.name.startswith(".") and path.suffix == ".tmp")
        or path.name in (_DESCRIBED, USED_NAME)
    )


def _look(folder: Path) -> StoredSpace:
    segments = []
    for path in _segments_of(folder):
        with contextlib.suppress(FileNotFoundError):
            facts = path.stat()
            segments.append(StoredSegment(path, facts.st_size, facts.st_mtime))
    used = [segment.written for segment in segments]
    for name in (USED_NAME, _DESCRIBED):
        with contextlib.suppress(OSError):
            used.append((folder / name).stat().st_mtime)
    set_aside = tuple(path for path in _listing(folder) if path.suffix.startswith(".corrupt-"))
    return StoredSpace(folder, _described(folder), tuple(segments), set_aside, max(used, default=0.0))


def _segments_of(folder: Path) -> list[Path]:
    try:
        return segment_paths(folder)
    except OSError as error:
        raise StorageError(f"cannot read {folder}: {error.strerror or error}") from error


def _described(folder: Path) -> dict[str, Any]:
    try:
        value = json.loads((folder / _DESCRIBED).read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _keys(path: Path) -> NDArray[np.bytes_]:
    """The keys of a segment, none where it cannot be read."""
    with contextlib.suppress(*DAMAGE), safetensors.safe_open(path, framework="numpy") as file:
        return as_bytes(file.get_tensor("keys"))
    return as_bytes(np.empty((0, 32), dtype=np.uint8))


def _check_segments(folder: Path) -> Iterator[tuple[Path, str | None]]:
    """Each segment with what is wrong with it; lists again where one went away, as readers do."""
    seen: set[Path] = set()
    gone = True
    while gone:
        gone = False
        for path in _segments_of(folder):
            if path in seen:
                continue
            seen.add(path)
            try:
                Segment.open(path, None).verify()
            except FileNotFoundError:
                gone = True
            except DAMAGE as error:
                yield path, str(error)
            else:
                yield path, None


def _beyond(spaces: Sequence[StoredSpace], doomed: set[Path], max_size: int) -> list[Path]:
    """What has to go, besides `doomed`, for the rest to have at most `max_size` bytes."""
    left = [(space.last_used, seg.written, seg) for space in spaces for seg in space.segments if seg.path not in doomed]
    total = sum(segment.bytes for _, _, segment in left)
    beyond = []
    for _, _, segment in sorted(left, key=lambda item: item[:2]):
        if total <= max_size:
            break
        beyond.append(segment.path)
        total -= segment.bytes
    return beyond


def _prune_space(space: StoredSpace, doomed: dict[Path, str], now: float) -> Iterator[Removal]:
    """Removes from one space; when no segment is left, its description and its folder go too."""
    if abandoned := remove_abandoned(space.folder):
        yield Removal(space.folder, space.described, "left by a killed writer", len(abandoned), sum(abandoned))
    if space.set_aside:
        freed = remove_files(space.set_aside)
        yield Removal(space.folder, space.described, "damaged", len(space.set_aside), freed)
    for why in ("unused", "old", "over the size"):
        chosen = [segment.path for segment in space.segments if doomed.get(segment.path) == why]
        if chosen:
            yield Removal(space.folder, space.described, why, len(chosen), remove_files(chosen))
    emptied = bool(space.segments) and all(segment.path in doomed for segment in space.segments)
    # A space without segments may be one whose first writer is at work.
    forgotten = not space.segments and space.last_used < now - ABANDONED_SECONDS
    if (emptied or forgotten) and not _segments_of(space.folder):
        remove_files([space.folder / _DESCRIBED, space.folder / USED_NAME])
        with contextlib.suppress(OSError):
            space.folder.rmdir()
