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
from featcli.lines import pad, table_row, wrapped
from featcli.predictor import Row, RowOptions
from featcli.tasks import Task
from featcli.text import clipped, columns, csv_text, printable
from featcli.writers.formats import choose_format

Write = Callable[[bytes], object]
TEXT_FORMATS = ("jsonl", "csv", "table")
_ENDINGS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".csv": "csv", ".txt": "table", ".parquet": "parquet"}
_GAP = 2
_SHORTEST_PATH = 20


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
    """`path`, the task's cells (`label,confidence`), what was asked for, `error`; one column per output for `--probs`.

    A set, and why, are JSON in their cell.
    """

    def __init__(self, write: Write, task: Task, options: RowOptions) -> None:
        self._write = write
        self._cells = ("path", *task.fields, *extra_cells(options), "error")
        self._outputs = task.names if options.probs else ()
        write(csv_text([[*self._cells, *(f"p:{name}" for name in self._outputs)]]).encode("utf-8", "surrogateescape"))

    def write(self, rows: Sequence[Row]) -> None:
        table = []
        for row in rows:
            probs = row.get("probs") or {}
            table.append([*(_plain(row.get(name)) for name in self._cells), *map(probs.get, self._outputs)])
        self._write(csv_text(table).encode("utf-8", "surrogateescape"))


class _Table(RowWriter):
    """For eyes: the task's cells in columns, then the path and what is wrong with it; what was asked for below it."""

    def __init__(self, write: Write, task: Task, width: int | None) -> None:
        self._write = write
        fields = {**task.fields, "novelty": float}
        self._fields = list(fields)
        self._right = [kind is float for kind in fields.values()]
        names = [printable(name) for name in task.names]
        longest = max(map(columns, names)) if width is None else min(max(map(columns, names)), width // 4)
        self._widths = [len(name) if kind is float else max(len(name), longest) for name, kind in fields.items()]
        self._width = width
        self._beside = sum(self._widths) + _GAP * len(self._widths)  # columns before the path
        self._heading: list[str] | None = self._fields

    def write(self, rows: Sequence[Row]) -> None:
        lines = []
        if self._heading is not None:
            lines.append(table_row(self._heading, self._widths, self._right) + " " * _GAP + "path")
            self._heading = None
        for row in rows:
            lines += self._lines(row)
        self._write("".join(f"{line}\n" for line in lines).encode("utf-8", "replace"))

    def _lines(self, row: Row) -> list[str]:
        path = printable(row["path"])
        if self._width is not None:
            colon = row["error"] is not None
            path = clipped(path, max(self._width - self._beside - colon, _SHORTEST_PATH))
        cells = pad(table_row([_cell(row[name]) for name in self._fields], self._widths, self._right), self._beside)
        if row["error"] is not None:
            path += f": {printable(row['error'])}"
        first, *more = self._beside_cells(path)
        lines = [cells + first.strip(), *more]
        if row.get("set") is not None:
            lines += self._beside_cells("set: " + (", ".join(map(self._name, row["set"])) or "(empty)"))
        if row.get("because"):
            for word in ("for", "against"):
                for pull in row["because"][word]:
                    lines += self._beside_cells(f"{word} {pull['pull']:+.3f}: {printable(pull['path'])}")
        if row.get("probs"):
            lines += self._beside_cells(", ".join(f"{self._name(name)} {p:.3f}" for name, p in row["probs"].items()))
        return lines

    def _name(self, name: str) -> str:
        """With room for its probability beside it."""
        return printable(name) if self._width is None else clipped(name, max(self._width - self._beside - 7, _GAP))

    def _beside_cells(self, text: str) -> list[str]:
        line = " " * self._beside + text
        return [line] if self._width is None else wrapped(line, self._width, self._beside)


class _Parquet(RowWriter):
    """Columns path, the task's cells, what was asked for, error, and under `--probs` one per output. Needs pyarrow."""

    def __init__(self, write: Write, task: Task, options: RowOptions) -> None:
        pyarrow, parquet = import_pyarrow()
        self._cells = {"path": str, **task.fields, **extra_cells(options), "error": str}
        self._outputs = task.names if options.probs else ()
        types = {str: pyarrow.string(), float: pyarrow.float64(), bool: pyarrow.bool_()}
        types[list] = pyarrow.list_(pyarrow.string())
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
        columns: dict[str, list[Any]] = {
            name: [row[name] if kind is not str else _plain(row[name]) for row in self._waiting]
            for name, kind in self._cells.items()
        }
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


def open_writer(name: str, write: Write, task: Task, options: RowOptions, *, width: int | None = None) -> RowWriter:
    """The writer of a format: `jsonl`, `csv`, `table` (in so many columns of a terminal) or `parquet`."""
    if name == "csv":
        return _Csv(write, task, options)
    if name == "table":
        return _Table(write, task, width)
    if name == "parquet":
        return _Parquet(write, task, options)
    return _JsonLines(write)


def extra_cells(options: RowOptions) -> dict[str, type]:
    """The cells of a row beside path, those of the task, and the error: `str`, `float`, `bool` or `list`, by name."""
    cells: dict[str, type] = {"novelty": float}
    if options.coverage is not None:
        cells["set"] = list
    if options.because is not None:
        cells["because"] = str
    if options.abstain_below is not None:
        cells["abstained"] = bool
    return cells


def _plain(value: Any) -> Any:
    """As one cell of a table: what has parts as JSON, yes and no as JSON has them."""
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict | bool) else value


def _cell(value: str | float | None) -> str:
    return "-" if value is None else printable(value) if isinstance(value, str) else f"{value:.3f}"


def _json_line(row: Row) -> bytes:
    try:
        return json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(row, allow_nan=False).encode() + b"\n"
