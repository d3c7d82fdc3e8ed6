"""Line charts as SVG: axes, lines, points with intervals; drawn in Python, coloured by the page's style sheet."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from featcli.report.markup import Html, escaped, joined, number, tag

WIDTH, HEIGHT = 420, 300
LEFT, RIGHT, TOP, BOTTOM = 56, 26, 12, 46
_TICKS = 5
_At: TypeAlias = Callable[[tuple[float, float]], tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Axis:
    """One direction of a chart.

    Attributes:
        label: what it shows.
        low: the value at its beginning.
        high: the value at its end.
        ticks: values and their texts.
    """

    label: str
    low: float
    high: float
    ticks: Sequence[tuple[float, str]]

    def share(self, value: float) -> float:
        """How far along the axis a value lies, from 0 to 1."""
        return (value - self.low) / (self.high - self.low)

    @classmethod
    def around(cls, label: str, values: Sequence[float], digits: int | None = None) -> Axis:
        """An axis with round ticks that holds all values."""
        low, high = min(values), max(values)
        if high - low < 1e-9:
            low, high = low - 0.05, high + 0.05
        step = _nice((high - low) / _TICKS)
        first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
        places = max(0, -math.floor(math.log10(step) + 1e-9)) if digits is None else digits
        ticks = [(index * step, f"{index * step:.{places}f}") for index in range(first, last + 1)]
        return cls(label, first * step, last * step, ticks)

    @classmethod
    def share_of(cls, label: str) -> Axis:
        """From 0 to 1, in per cent."""
        return cls(label, 0.0, 1.0, [(index / 5, f"{index * 20} %") for index in range(6)])


@dataclass(frozen=True, slots=True)
class Line:
    """A line, or points with intervals.

    Attributes:
        name: in the legend.
        points: x and y.
        style: its class in the style sheet: `a`, `b`, `aside`.
        titles: of the points, shown where one is pointed at; none for a line without marks.
        bars: (low, high) of y at each point; none for no intervals.
        joined: whether a line runs through the points.
    """

    name: str
    points: Sequence[tuple[float, float]]
    style: str = "a"
    titles: Sequence[str] = ()
    bars: Sequence[Sequence[float] | None] = field(default=())
    joined: bool = True


def line_chart(label: str, x: Axis, y: Axis, lines: Sequence[Line]) -> Html:
    """A chart with its legend.

    Args:
        label: what it shows, for those who do not see it.
        x: the horizontal axis.
        y: the vertical axis.
        lines: in the order in which they are drawn.
    """
    width, height = WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM

    def at(point: tuple[float, float]) -> tuple[float, float]:
        return LEFT + x.share(point[0]) * width, TOP + (1 - y.share(point[1])) * height

    drawn: list[Html] = []
    for value, text in y.ticks:
        row = at((x.low, value))[1]
        drawn.append(tag("line", class_="grid", x1=LEFT, x2=WIDTH - RIGHT, y1=row, y2=row))
        drawn.append(tag("text", text, class_="tick end", x=LEFT - 7, y=row + 4))
    for value, text in x.ticks:
        column = at((value, y.low))[0]
        drawn.append(tag("line", class_="grid", x1=column, x2=column, y1=TOP, y2=TOP + height))
        drawn.append(tag("text", text, class_="tick middle", x=column, y=TOP + height + 17))
    drawn.append(tag("text", x.label, class_="label middle", x=LEFT + width / 2, y=HEIGHT - 6))
    middle = f"translate(13 {number(TOP + height / 2)}) rotate(-90)"
    drawn.append(tag("text", y.label, class_="label middle", transform=middle))
    for line in lines:
        drawn += _drawn(line, at)
    picture = tag("svg", *drawn, viewBox=f"0 0 {WIDTH} {HEIGHT}", role="img", aria_label=label, class_="chart")
    keys = [tag("li", tag("span", "", class_=f"key {line.style}"), line.name) for line in lines if line.name]
    return joined(picture, tag("ul", *keys, class_="legend") if keys else "")


def _drawn(line: Line, at: _At) -> list[Html]:
    points = [at(point) for point in line.points]
    drawn = []
    if line.joined and len(points) > 1:
        path = "M" + "L".join(f"{number(px)} {number(py)}" for px, py in points)
        drawn.append(tag("path", class_=f"line {line.style}", d=path))
    for (px, _), (value, _), bar in zip(points, line.points, line.bars, strict=False):
        if bar is not None:
            ends = [at((value, end))[1] for end in bar]
            drawn.append(tag("line", class_=f"bar {line.style}", x1=px, x2=px, y1=ends[0], y2=ends[1]))
    for (px, py), title in zip(points, line.titles, strict=False):
        dot = f'<circle class="dot {escaped(line.style)}" cx="{number(px)}" cy="{number(py)}" r="4">'
        drawn.append(Html(f"{dot}{tag('title', title)}</circle>"))
    return drawn


def _nice(step: float) -> float:
    """1, 2 or 5 times a power of ten, not below the step."""
    power = 10.0 ** math.floor(math.log10(step))
    return next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= step - 1e-12 * power)
