"""Confusion that can be read: a table of few classes, a heat map of many."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from featcli.report.counting import Cells, seriated
from featcli.report.markup import Html, joined, number, tag
from featcli.text import clipped

MOST_SQUARE = 20  # classes, up to which each cell is a number
MOST_NAMED = 400  # cells of a heat map that say what they are
LEVELS = 8
_SIDE = 640
_SEEN = 2.5  # units of the picture, below which a cell cannot be seen
_NAME = 40


@dataclass(frozen=True, slots=True)
class MatrixCell:
    """A cell of the table: its number, and the class of the style sheet that colours it."""

    count: int
    style: str


@dataclass(frozen=True, slots=True)
class MatrixRow:
    """A true class: its cells by predicted class, and how many images it has."""

    name: str
    cells: Sequence[MatrixCell]
    support: int


def matrix(cells: Cells, supports: Mapping[str, int], classes: Sequence[str]) -> list[MatrixRow]:
    """A table of few classes: shades are shares of the true class."""
    rows = []
    for truth in classes:
        whole = supports.get(truth, 0)
        row = []
        for label in classes:
            count = cells.get((truth, label), 0)
            kind = "hit" if truth == label else "miss"
            row.append(MatrixCell(count, f"{kind} s{level(count, whole)}" if count else ""))
        rows.append(MatrixRow(truth, row, whole))
    return rows


def level(part: float, whole: float) -> int:
    """1 ... LEVELS for a share above 0, in equal steps of its square root, so that small shares are seen; else 0."""
    if part <= 0 or whole <= 0:
        return 0
    return min(LEVELS, max(1, math.ceil(math.sqrt(part / whole) * LEVELS)))


def heat_map(cells: Cells, supports: Mapping[str, int], classes: Sequence[str]) -> Html:
    """Many classes: a picture whose rows and columns are in an order where confused classes are near each other.

    Cells of one shade are one path; the most frequent mistakes have titles.
    """
    ordered = seriated(classes, cells)
    place = {name: index for index, name in enumerate(ordered)}
    size = _SIDE / len(ordered)
    side = number(max(1.0, _SEEN / size), 2)
    paths: dict[str, list[str]] = defaultdict(list)
    for (truth, label), count in sorted(cells.items(), key=lambda item: (place[item[0][0]], place[item[0][1]])):
        kind = "hit" if truth == label else "miss"
        style = f"{kind} s{level(count, supports.get(truth, 0))}"
        paths[style].append(f"M{place[label]} {place[truth]}h{side}v{side}h-{side}z")
    drawn: list[Html] = [
        tag("rect", class_="ground", width=_SIDE, height=_SIDE),
        tag(
            "g",
            *(tag("path", class_=style, d="".join(paths[style])) for style in sorted(paths)),
            transform=f"scale({number(size, 5)})",
        ),
    ]
    mistakes = Counter({pair: count for pair, count in cells.items() if pair[0] != pair[1]})
    named = sorted(mistakes.items(), key=lambda item: (-item[1], place[item[0][0]], place[item[0][1]]))[:MOST_NAMED]
    reach = max(size, 5.0)  # a cell of a pixel cannot be pointed at
    for (truth, label), count in named:
        middle_x, middle_y = (place[label] + 0.5) * size, (place[truth] + 0.5) * size
        said = f"{clipped(truth, _NAME)} taken for {clipped(label, _NAME)}: {count} of {supports.get(truth, 0)}"
        drawn.append(
            tag(
                "rect",
                tag("title", said),
                class_="touch",
                x=middle_x - reach / 2,
                y=middle_y - reach / 2,
                width=reach,
                height=reach,
            )
        )
    wrong = sum(mistakes.values())
    said = (
        f"Confusion of {len(ordered)} classes as a heat map: {wrong} mistakes in {len(mistakes)} cells off the diagonal"
    )
    picture = tag("svg", *drawn, viewBox=f"0 0 {_SIDE} {_SIDE}", role="img", aria_label=said, class_="heat")
    return joined(picture)
