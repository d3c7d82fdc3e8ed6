"""Content hashes that need no reading: a disposable SQLite memo of what files hashed to, while they stay as they were.

A file counts as unchanged while its path, device, inode, size, mtime and ctime are the same. A change within the
granularity of a file system's clock leaves all of them as they are; so a hash taken less than `SETTLED_NS` after the
file's last change is not kept. Nothing depends on the memo: where it is locked, damaged or cannot be written, files
are hashed as if there were none.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
import stat
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from featcli.data.prefetch import ordered_batches
from featcli.data.readers.files import read_file
from featcli.data.readers.reader import UnreadableImage
from featcli.events import Emit, Progress

MEMO_NAME = "memo-v1.sqlite"
SETTLED_NS = 2_000_000_000
_LOCK_SECONDS = 2.0
_QUERY = 500  # paths in one query; old builds of SQLite take at most 999
_BATCH = 256
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR)  # the last: other tables or columns

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Hashed:
    """A file that was hashed.

    Attributes:
        path: as it was given.
        digest: sha256 of its bytes.
        stamp: what tells whether it has changed since; None where it changed too recently for that.
    """

    path: str
    digest: bytes
    stamp: bytes | None


def hash_file(path: str) -> Hashed:
    """Reads and hashes a file.

    Raises:
        UnreadableImage: as `read_file` does.
    """
    started = time.time_ns()
    before = _look(path)
    digest = hashlib.sha256(read_file(path)).digest()
    settled = before is not None and before == _look(path) and before.changed_ns + SETTLED_NS <= started
    return Hashed(path, digest, before.stamp if before is not None and settled else None)


def hash_files(
    paths: Sequence[str], *, memo: Path | None, workers: int, emit: Emit, keep: bool = True
) -> dict[str, bytes]:
    """The sha256 of many files: from the memo where they are unchanged, else read in parallel and remembered.

    Args:
        paths: N files.
        memo: its file; None for no memo.
        workers: threads that read.
        emit: hears the progress.
        keep: whether new hashes are remembered; a command that must write nothing only looks them up.

    Returns:
        path to digest, without the files that cannot be read.
    """
    emit(Progress("read", 0, len(paths), "files"))
    with HashMemo(memo) as known:
        digests = known.lookup(paths)
        missing = [path for path in paths if path not in digests]
        done = len(paths) - len(missing)
        for batch in ordered_batches(missing, _hash_or_none, workers=workers, size=_BATCH):
            hashed = [item for item in batch if item is not None]
            digests.update((item.path, item.digest) for item in hashed)
            if keep:
                known.remember(hashed)
            done += len(batch)
            emit(Progress("read", done, len(paths), "files"))
    emit(Progress("read", done, len(paths), "files", finished=True))
    return digests


class HashMemo:
    """The memo, to be used as a context manager. Any number of processes may have it open; none of it ever raises.

    At the first trouble that rebuilding does not cure, it gives up: it knows nothing and remembers nothing.

    Args:
        path: its file, made when there is something to remember; None for a memo that stays empty.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._connection: sqlite3.Connection | None = None

    def lookup(self, paths: Iterable[str]) -> dict[str, bytes]:
        """The digests of the files that are known and unchanged; looks at each file, and reads none."""
        if self._path is None or not os.path.exists(self._path):
            return {}
        stamps = {path: seen.stamp for path in paths if (seen := _look(path)) is not None}
        names = {os.fsencode(path): path for path in stamps}
        return self._attempt(lambda memo: _select(memo, names, stamps), {})

    def remember(self, items: Iterable[Hashed]) -> None:
        """Keeps what may be trusted later, all of it or nothing."""
        rows = [_row(item.path, item.stamp, item.digest) for item in items if item.stamp is not None]
        if rows:
            self._attempt(lambda memo: _insert(memo, rows), None)

    def __enter__(self) -> HashMemo:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _attempt(self, work: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
        """What `work` gives; on damage once more with a new file; else `otherwise`."""
        for last in (False, True):
            if self._path is None:
                break
            try:
                self._connection = self._connection or _connect(self._path)
                return work(self._connection)
            except (sqlite3.Error, OSError) as error:
                self._close()
                code = getattr(error, "sqlite_errorcode", None)
                if last or code is None or code & 0xFF not in _DAMAGED or not _remove(self._path):
                    self._path = None
        return otherwise

    def _close(self) -> None:
        if self._connection is not None:
            with contextlib.suppress(sqlite3.Error):
                self._connection.close()
            self._connection = None


def memo_files(memo: Path) -> list[Path]:
    """The memo's file and those that SQLite keeps beside it; whether or not they are there."""
    return [memo, memo.with_name(f"{memo.name}-wal"), memo.with_name(f"{memo.name}-shm")]


@dataclass(frozen=True, slots=True)
class _Seen:
    """A regular file as `stat` shows it."""

    stamp: bytes
    changed_ns: int


def _look(path: str) -> _Seen | None:
    try:
        facts = os.stat(path)  # of what a link leads to, as that is what is read
    except (OSError, ValueError):  # a NUL byte, or a surrogate that stands for no byte
        return None
    if not stat.S_ISREG(facts.st_mode):
        return None
    # As text: inodes and times need not fit into SQLite's 64 bits.
    numbers = (facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
    return _Seen(" ".join(map(str, numbers)).encode(), max(facts.st_mtime_ns, facts.st_ctime_ns))


def _hash_or_none(path: str) -> Hashed | None:
    try:
        return hash_file(path)
    except UnreadableImage:
        return None


def _connect(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=_LOCK_SECONDS, isolation_level=None)
    connection.text_factory = bytes  # there is no text, but in a damaged file, where decoding it would raise
    try:
        with contextlib.suppress(sqlite3.OperationalError):  # busy: another process is switching it over just now
            connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS files"
            " (path BLOB PRIMARY KEY, stamp BLOB, sha256 BLOB, guard BLOB) WITHOUT ROWID"
        )
    except BaseException:
        connection.close()
        raise
    return connection


def _select(memo: sqlite3.Connection, names: dict[bytes, str], stamps: dict[str, bytes]) -> dict[str, bytes]:
    known = {}
    encoded = list(names)
    for start in range(0, len(encoded), _QUERY):
        chunk = encoded[start : start + _QUERY]
        marks = ",".join("?" * len(chunk))
        for row in memo.execute(f"SELECT path, stamp, sha256, guard FROM files WHERE path IN ({marks})", chunk):
            path = names.get(row[0])
            if path is None or row[1] != stamps[path] or not isinstance(row[2], bytes):
                continue
            if row == _row(path, row[1], row[2]):
                known[path] = row[2]
    return known


def _insert(memo: sqlite3.Connection, rows: Sequence[tuple[bytes, bytes, bytes, bytes]]) -> None:
    memo.execute("BEGIN IMMEDIATE")
    try:
        memo.executemany("INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)", rows)
        memo.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            memo.execute("ROLLBACK")
        raise


def _row(path: str, stamp: bytes, digest: bytes) -> tuple[bytes, bytes, bytes, bytes]:
    """With a checksum of its own: SQLite does not notice a flipped bit inside a value, and a wrong hash is a lie."""
    name = os.fsencode(path)
    guard = hashlib.blake2b(b"\0".join((name, stamp, digest)), digest_size=8).digest()
    return name, stamp, digest, guard


def _remove(path: Path) -> bool:
    """Whether a damaged memo is gone. Processes that have it open go on with the unlinked file."""
    try:
        for file in memo_files(path):
            file.unlink(missing_ok=True)
    except OSError:
        return False
    return True
