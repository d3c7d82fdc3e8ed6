"""The table of predictions: it fits the terminal, and a pipe gets names and paths whole."""

from __future__ import annotations

from typing import Any

import pytest

from featcli.predictor import RowOptions
from featcli.tasks.multiclass import Multiclass
from featcli.text import columns
from featcli.writers.prediction_rows import open_writer

NAMES = ["a" * 60, "b" * 60, "猫" * 30]
PATH = "photos/" + "deep/" * 20 + "01.png"


def table(width: int | None, *, probs: bool = False) -> list[str]:
    rows: list[dict[str, Any]] = [
        {"path": PATH, "label": NAMES[0], "confidence": 0.5, "novelty": 1.25, "error": None},
        {"path": PATH, "label": None, "confidence": None, "novelty": None, "error": "the file is empty, in many words"},
    ]
    if probs:
        rows[0]["probs"], rows[1]["probs"] = dict.fromkeys(NAMES, 1 / 3), None
    parts: list[bytes] = []
    writer = open_writer("table", parts.append, Multiclass(NAMES), RowOptions(probs=probs), width=width)
    for row in rows:
        writer.write([row])
    return b"".join(parts).decode().splitlines()


@pytest.mark.parametrize("probs", [False, True])
@pytest.mark.parametrize("width", [60, 80, 81, 120])
def test_every_line_fits(width: int, probs: bool) -> None:
    lines = table(width, probs=probs)
    assert max(map(columns, lines)) <= width
    assert lines[0].split() == ["label", "confidence", "novelty", "path"]
    assert lines[1].endswith("/01.png")
    assert " ".join(" ".join(lines).split()).endswith("/01.png: the file is empty, in many words")


def test_nothing_is_shortened_in_a_pipe() -> None:
    lines = table(None, probs=True)
    assert lines == [
        f"{'label':60}  confidence  novelty  path",
        f"{NAMES[0]:60}       0.500    1.250  {PATH}",
        f"{'':83}{', '.join(f'{name} 0.333' for name in NAMES)}",
        f"{'-':60}           -        -  {PATH}: the file is empty, in many words",
    ]
