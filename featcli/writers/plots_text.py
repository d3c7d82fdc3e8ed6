"""Plots of characters: how each class fared, and what was taken for what, as a person sees them on a terminal.

Bars and shades are Unicode blocks; `featcli.text.writable` replaces them where a stream cannot write them.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from featcli.events import ClassResults
from featcli.lines import laid_out, pad
from featcli.report.counting import Cells, Confused, confused_pairs
from featcli.text import SHADES, clipped, columns, printable

MOST_BARS = 30  # classes that have a bar
MOST_SQUARE = 12  # classes, up to which each pair has a cell
MOST_PAIRS = 10
_EIGHTHS = "▏▎▍▌▋▊▉█"
_LONGEST_BAR = 40
_BAR = 20  # columns of a bar off a terminal
_SHORTEST_BAR = 5
_FEWEST = 8  # columns of a class's name
_SHORT_NAME = 5  # columns of a name beside a matrix
# From how many columns of a terminal on a number is shown, and how wide it is.
_NUMBERS = (("precision", 60, 9), ("recall", 0, 6), ("f1", 40, 5), ("support", 33, 6))


def bar(share: float, width: int) -> str:
    """A bar of at most so many columns, in eighths: empty for 0 alone, full for 1 alone."""
    most = 8 * width
    eighths = round(share * most)
    if 0 < share < 1:
        eighths = min(max(eighths, 1), most - 1)
    full, rest = divmod(eighths, 8)
    return "█" * full + (_EIGHTHS[rest - 1] if rest else "")


def class_bars(per_class: Mapping[str, Mapping[str, Any]], width: int | None) -> list[str]:
    """A line for each class that has images, the lowest recall first: its numbers, and its recall as a bar.

    Args:
        per_class: `recall`, `f1`, `support` and perhaps `precision` by the name of the class.
        width: of the terminal, in columns; None where names are not to be shortened.
    """
    known = [(name, scores) for name, scores in per_class.items() if scores["recall"] is not None]
    known.sort(key=lambda item: (item[1]["recall"], -item[1]["support"]))
    if not known:
        return []
    shown = known[:MOST_BARS]
    offered = {key for _, scores in shown for key in scores}
    chosen = [
        (key, size) for key, least, size in _NUMBERS if key in offered and (width is None or width >= max(least, 1))
    ]
    numbers = sum(size + 2 for _, size in chosen)
    first = max(len("class"), *(columns(printable(name)) for name, _ in shown))
    length = _BAR
    if width is not None:
        first = min(first, max(_FEWEST, width - numbers - 2 - _SHORTEST_BAR * 2))
        length = min(_LONGEST_BAR, width - first - numbers - 2)
    titles = {"support": "images"}
    heading = pad("class", first) + "".join(f"  {titles.get(key, key):>{size}}" for key, size in chosen)
    lines = [f"{heading}  {'recall, 0 to 1' if length >= len('recall, 0 to 1') else ''}".rstrip()]
    for name, scores in shown:
        cells = "".join(f"  {_number(scores[key]):>{size}}" for key, size in chosen)
        drawn = bar(scores["recall"], length) if length >= _SHORTEST_BAR else ""
        lines.append(f"{_named(name, first, width)}{cells}  {drawn}".rstrip())
    counted = [part for line in _counted(len(per_class), len(known)) for part in laid_out(line, width).split("\n")]
    return [*counted, *lines]


def _counted(n: int, known: int) -> list[str]:
    """Which classes have no line, in words."""
    said = []
    if known > MOST_BARS:
        said.append(f"the {MOST_BARS} classes of the lowest recall; {known - MOST_BARS} more are not shown")
    if n > known:
        said.append(f"without images: {n - known} of {n} classes")
    return said


def _number(value: float | int | None) -> str:
    if value is None:
        return "-"
    return str(value) if isinstance(value, int) else f"{value:.3f}"


def _named(name: str, room: int, width: int | None) -> str:
    return pad(printable(name) if width is None else clipped(name, room), room)


def confusion_plot(
    classes: Sequence[str], confusion: Sequence[Sequence[int]] | None, confused: Sequence[Confused], width: int | None
) -> list[str]:
    """The matrix of few classes where it fits, else the most frequent mistakes.

    Args:
        classes: in order.
        confusion: rows true, columns predicted; None of so many classes that nobody counted all cells.
        confused: the mistakes, the most frequent first.
        width: of the terminal, in columns; None where names are not to be shortened.
    """
    if confusion is not None and len(classes) <= MOST_SQUARE:
        lines = confusion_matrix(classes, confusion, width)
        if lines is not None:
            return lines
        said = f"the matrix of {len(classes)} classes takes a wider terminal"
        return [*laid_out(said, width).split("\n"), *confused_bars(confused, width)]
    return confused_bars(confused, width)


def confusion_matrix(classes: Sequence[str], confusion: Sequence[Sequence[int]], width: int | None) -> list[str] | None:
    """Counts with a shade for their share of the row, `[ ]` around what is right; None where it does not fit.

    Above the columns, letters stand for names that would be too short to be told apart.
    """
    names, k = [printable(name) for name in classes], len(classes)
    longest = max(map(columns, names))
    cell = max(len(str(count)) for row in confusion for count in row) + 3
    shaded, first, room = True, longest, longest + 1
    if width is not None:
        least = min(longest, _SHORT_NAME)
        shaded = min(longest, _FEWEST) + 3 + k * cell <= width  # a name that can be read is worth more than a shade
        cell -= not shaded
        if least + 1 + k * cell > width:
            return None
        first = min(longest, max(least, width - 1 - k * max(cell, min(longest, _FEWEST) + 1)))
        room = (width - first - 1) // k
    column, titles = max(cell, min(longest + 1, room)), names
    if column - 1 < min(longest, _FEWEST):
        titles, column = list(string.ascii_lowercase[:k]), cell
        names = [f"{letter} {name}" for letter, name in zip(titles, names, strict=True)]
        first = longest + 2 if width is None else min(longest + 2, width - 1 - k * cell)
    heading = "".join(pad(clipped(title, column - 1), 1 - column) + " " for title in titles)
    said = "confusion: rows true, columns predicted; [ ] right" + ("; shade: share of the row" if shaded else "")
    lines = [*laid_out(said, width).split("\n"), f"{' ' * first} {heading}".rstrip()]
    for row, name in enumerate(names):
        whole = sum(confusion[row])
        cells = (
            _cell(count, count / whole if whole else 0.0, row == index, shaded)
            for index, count in enumerate(confusion[row])
        )
        lines.append((_named(name, first, width) + " " + "".join(pad(text, -column) for text in cells)).rstrip())
    return lines


def _cell(count: int, share: float, right: bool, shaded: bool) -> str:
    shade = SHADES[min(3, int(share * 4))] if count and shaded else " " if shaded else ""
    return f"[{count}{shade}]" if right else f"{count or '.'}{shade} "


def confused_bars(confused: Sequence[Confused], width: int | None) -> list[str]:
    """The most frequent mistakes, each with a bar; the longest is that of the most frequent."""
    if not confused:
        return ["no image was taken for another class"]
    shown = confused[:MOST_PAIRS]
    counts = [f"{pair.count} of {pair.support}" for pair in shown]
    numbers = max(map(len, counts))
    firsts, seconds = (max(columns(printable(name)) for name in names) for names in _sides(shown))
    length = _BAR
    if width is not None:
        room = max(2 * _FEWEST, width - len(" -> ") - numbers - 4 - 2 * _SHORTEST_BAR)
        firsts = min(firsts, max(room // 2, room - seconds))
        seconds = min(seconds, room - firsts)
        length = min(_LONGEST_BAR, width - firsts - seconds - len(" -> ") - numbers - 4)
    lines = laid_out("most confused, true -> predicted", width).split("\n")
    for pair, count in zip(shown, counts, strict=True):
        drawn = bar(pair.count / shown[0].count, length) if length >= _SHORTEST_BAR else ""
        pairing = f"{_named(pair.truth, firsts, width)} -> {_named(pair.label, seconds, width)}"
        lines.append(f"{pairing}  {count:>{numbers}}  {drawn}".rstrip())
    more = len(confused) - len(shown)
    return [*lines, f"and {more} more {'pair' if more == 1 else 'pairs'}"] if more else lines


def _sides(pairs: Sequence[Confused]) -> tuple[list[str], list[str]]:
    return [pair.truth for pair in pairs], [pair.label for pair in pairs]


def results_lines(results: ClassResults, width: int | None) -> list[str]:
    """How each class of a split fared: bars, then the matrix or the most frequent mistakes."""
    confused = [Confused(*pair) for pair in results.confused]
    bars = class_bars(results.per_class, width)
    plot = confusion_plot(list(results.per_class), results.confusion, confused, width)
    return [f"classes of {results.split}", *bars, *plot]


def confused_of(metrics: Mapping[str, Any], count: Callable[[], Cells] | None = None) -> list[Confused]:
    """The mistakes of a split, the most frequent first.

    Args:
        metrics: of the split.
        count: gives the images by true and predicted class, where the metrics do not have the matrix; without it the
            most frequent mistake is all that is known.
    """
    names, square = metrics["classes"], metrics["confusion"]
    cells: Cells
    if square is not None:
        rows = enumerate(square)
        cells = {(names[row], names[column]): n for row, line in rows for column, n in enumerate(line) if n}
    elif count is not None:
        cells = count()
    else:
        first = metrics["most_confused"]
        cells = {} if first is None else {(first["true"], first["predicted"]): first["count"]}
    return confused_pairs(cells, {name: scores["support"] for name, scores in metrics["per_class"].items()})
