"""The rows of `predict` in each of their formats, written as whole lines."""

from __future__ import annotations

import csv
import io
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcli.extras import import_pyarrow
from featcli.text import printable

Row = dict[str, Any]
Write = Callable[[bytes], object]


def prediction_row(
    path: str,
    probabilities: NDArray[np.float64] | None,
    error: str | None,
    classes: Sequence[str],
    *,
    top: int,
    probs: bool,
) -> Row:
    """One row, as DESIGN fixes it; with `probs` also every class's probability.

    Args:
        path: as it was given.
        probabilities: (K,), or None where `error` says why.
        error: the reason, or None.
        classes: K names.
        top: how many classes `top` lists.
        probs: whether to add `probs`, from class name to probability.
    """
    row: Row = {"path": path, "label": None, "confidence": None, "top": [], "error": error}
    if probs:
        row["probs"] = None
    if probabilities is None:
        return row
    order = np.argsort(-probabilities, kind="stable")[:top]
    rounded = [round(float(value), 6) for value in probabilities]
    row["label"], row["confidence"] = classes[order[0]], rounded[order[0]]
    row["top"] = [[classes[index], rounded[index]] for index in order]
    if probs:
        row["probs"] = dict(zip(classes, rounded, strict=True))
    return row


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
    """`path,label,confidence,error`, then one column per class under `--probs`."""

    def __init__(self, write: Write, classes: Sequence[str], probs: bool) -> None:
        self._write = write
        self._classes = list(classes) if probs else []
        write(self._text([["path", "label", "confidence", "error", *(f"p:{name}" for name in self._classes)]]))

    def write(self, rows: Sequence[Row]) -> None:
        table = []
        for row in rows:
            probs = row.get("probs") or {}
            table.append([row["path"], row["label"], row["confidence"], row["error"], *map(probs.get, self._classes)])
        self._write(self._text(table))

    @staticmethod
    def _text(table: Sequence[Sequence[Any]]) -> bytes:
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows(table)
        return text.getvalue().encode("utf-8", "surrogateescape")


class _Table(RowWriter):
    """For eyes: label, confidence and path in columns."""

    def __init__(self, write: Write, classes: Sequence[str]) -> None:
        self._write = write
        self._width = max(len("error"), *(len(printable(name)) for name in classes))

    def write(self, rows: Sequence[Row]) -> None:
        self._write("".join(self._line(row) for row in rows).encode("utf-8", "replace"))

    def _line(self, row: Row) -> str:
        path = printable(row["path"])
        if row["error"] is not None:
            return f"{'error':{self._width}}   -    {path}: {row['error']}\n"
        return f"{printable(row['label']):{self._width}} {row['confidence']:.3f} {path}\n"


class _Parquet(RowWriter):
    """Columns path, label, confidence, error, and under `--probs` one per class. Needs pyarrow."""

    def __init__(self, write: Write, classes: Sequence[str], probs: bool) -> None:
        pyarrow, parquet = import_pyarrow()
        self._classes = list(classes) if probs else []
        text, number = pyarrow.string(), pyarrow.float64()
        fields = [("path", text), ("label", text), ("confidence", number), ("error", text)]
        self._schema = pyarrow.schema(fields + [(f"p:{name}", number) for name in self._classes])
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
            name: [row[name] for row in self._waiting] for name in ("path", "label", "confidence", "error")
        }
        columns["path"] = [path.encode("utf-8", "replace").decode() for path in columns["path"]]
        for name in self._classes:
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


def open_writer(name: str, write: Write, classes: Sequence[str], *, probs: bool) -> RowWriter:
    """The writer of a format: `jsonl`, `csv`, `table` or `parquet`."""
    if name == "csv":
        return _Csv(write, classes, probs)
    if name == "table":
        return _Table(write, classes)
    if name == "parquet":
        return _Parquet(write, classes, probs)
    return _JsonLines(write)


def _json_line(row: Row) -> bytes:
    try:
        return json.dumps(row, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    except UnicodeEncodeError:
        return json.dumps(row, allow_nan=False).encode() + b"\n"
