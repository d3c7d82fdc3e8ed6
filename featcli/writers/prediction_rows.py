"""The rows of `predict` in each of their formats, written as whole lines."""

from __future__ import annotations

import io
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from featcli.errors import UsageError
from featcli.extras import import_pyarrow
from featcli.predictor import Row
from featcli.tasks import Task
from featcli.text import csv_text, printable
from featcli.writers.formats import choose_format

Write = Callable[[bytes], object]
TEXT_FORMATS = ("jsonl", "csv", "table")
_ENDINGS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".txt": "table", ".parquet": "parquet"}


class RowWriter(ABC):
    """Turns rows into bytes."""

    @abstractmethod
    def write(self, rows: Sequence[Row]) -> None:
        """Writes a batch of rows."""

    def close(self) -> None:  # noqa: B027  most formats need nothing
        """Writes what a format needs at the end."""


class _JsonLines(RowWriter):
    """One JSON object per line. Names that are not UTF-8 are escaped, so that the output always is."""

    def __init__(self, write: Write) -> None:
        self._write = write

    def write(self, rows: Sequence[Row]) -> None:
        self._write(b"".join(_json_line(row) for row in rows))


class _Csv(RowWriter):
    """`path`, the task's cells (`label,confidence`), `error`, then one column per output under `--probs`."""

    def __init__(self, write: Write, task: Task, probs: bool) -> None:
        self._write = write
        self._cells = ("path", *task.fields, "error")
        self._outputs = task.names if probs else ()
        write(csv_text([[*self._cells, *(f"p:{name}" for name in self._outputs)]]).encode("utf-8", "surrogateescape"))

    def write(self, rows: Sequence[Row]) -> None:
        table = []
        for row in rows:
            probs = row.get("probs") or {}
            table.append([*map(row.get, self._cells), *map(probs.get, self._outputs)])
        self._write(csv_text(table).encode("utf-8", "surrogateescape"))


class _Table(RowWriter):
    """For eyes: the task's cells and the path in columns."""

    def __init__(self, write: Write, task: Task) -> None:
        self._write = write
        self._fields = task.fields
        self._width = max(len("error"), *(len(printable(name)) for name in task.names))

    def write(self, rows: Sequence[Row]) -> None:
        self._write("".join(self._line(row) for row in rows).encode("utf-8", "replace"))

    def _line(self, row: Row) -> str:
        path = printable(row["path"])
        if row["error"] is not None:
            return f"{'error':{self._width}}   -    {path}: {row['error']}\n"
        return f"{' '.join(self._cell(row[name]) for name in self._fields)} {path}\n"

    def _cell(self, value: str | float) -> str:
        return f"{printable(value):{self._width}}" if isinstance(value, str) else f"{value:.3f}"


class _Parquet(RowWriter):
    """Columns path, the task's cells, error, and under `--probs` one per output. Needs pyarrow."""

    def __init__(self, write: Write, task: Task, probs: bool) -> None:
        pyarrow, parquet = import_pyarrow()
        self._cells = {"path": str, **task.fields, "error": str}
        self._outputs = task.names if probs else ()
        types = {str: pyarrow.string(), float: pyarrow.float64()}
        fields = [(name, types[kind]) for name, kind in self._cells.items()]
        self._schema = pyarrow.schema(fields + [(f"p:{name}", types[float]) for name in self._outputs])
        self._pyarrow = pyarrow
        self._sink = _Sink(write)
        self._writer = parquet.ParquetWriter(self._sink, self._schema)
        self._waiting: list[Row] = []

    def write(self, rows: Sequence[Row]) -> None:
        self._waiting += rows
        if len(self._waiting) >= 10_000:  # small row groups make large files
            self._flush()

    def close(self) -> None:
        self._flush()
        self._writer.close()

    def _flush(self) -> None:
        columns: dict[str, list[Any]] = {name: [row[name] for row in self._waiting] for name in self._cells}
        columns["path"] = [path.encode("utf-8", "replace").decode() for path in columns["path"]]
        for name in self._outputs:
            columns[f"p:{name}"] = [(row["probs"] or {}).get(name) for row in self._waiting]
        self._writer.write_table(self._pyarrow.table(columns, schema=self._schema))
        self._waiting = []


class _Sink(io.RawIOBase):
    """A file that only passes bytes on."""

    def __init__(self, write: Write) -> None:
        super().__init__()
        self._pass_on = write

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._pass_on(bytes(data))
        return len(data)


def row_format(output: Path, name: str | None) -> str:
    """The format of the rows: by name, else by the ending; JSON lines where there is none.

    Raises:
        UsageError: the ending is of no format, or the output is a folder.
        StorageError: nothing can be written there.
    """
    if name is None and output.suffix.lower() == ".json":
        raise UsageError(
            f"rows are no single JSON value, as '{output}' would be", "End it in .jsonl, or give --format jsonl."
        )
    return choose_format(output, name, _ENDINGS, otherwise="jsonl")


def open_writer(name: str, write: Write, task: Task, *, probs: bool) -> RowWriter:
    """The writer of a format: `jsonl`, `csv`, `table` or `parquet`."""
    if name == "csv":
        return _Csv(write, task, probs)
    if name == "table":
        return _Table(write, task)
    if name == "parquet":
        return _Parquet(write, task, probs)
    return _JsonLines(write)


def _json_line(row: Row) -> bytes:
    try:
        return json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(row, allow_nan=False).encode() + b"\n"
