"""Coordinates of charts, the heat map and the map, beside numpy."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from featcli.report.charts import BOTTOM, HEIGHT, LEFT, RIGHT, TOP, WIDTH, Axis, Line, line_chart
from featcli.report.confusion import LEVELS, heat_map, level, matrix
from featcli.report.feature_map import EDGE as MAP_EDGE
from featcli.report.feature_map import HEIGHT as MAP_HEIGHT
from featcli.report.feature_map import WIDTH as MAP_WIDTH
from featcli.report.feature_map import choose_images, draw_map
from featcli.report.material import Cloud, Judged, Listed
from featcli.report.projection import project


def parsed(markup: str) -> ElementTree.Element:
    return ElementTree.fromstring(f"<all>{markup}</all>")


def test_lines_and_points_lie_where_their_values_are() -> None:
    points = [(0.0, 0.1), (0.25, 0.5), (1.0, 0.9)]
    chart = line_chart(
        "a", Axis.share_of("x"), Axis.share_of("y"), [Line("name", points, "a", ["one", "two", "three"])]
    )
    tree = parsed(chart)
    path = next(item for item in tree.iter("path")).attrib["d"]
    found = np.array([float(number) for number in re.findall(r"[\d.]+", path)]).reshape(-1, 2)
    x, y = np.array(points).T
    expected = np.stack(
        [np.interp(x, [0, 1], [LEFT, WIDTH - RIGHT]), np.interp(y, [0, 1], [HEIGHT - BOTTOM, TOP])], axis=1
    )
    assert found == pytest.approx(expected, abs=0.06)
    dots = [(float(dot.attrib["cx"]), float(dot.attrib["cy"])) for dot in tree.iter("circle")]
    assert np.array(dots) == pytest.approx(expected, abs=0.06)
    assert [title.text for title in tree.iter("title")] == ["one", "two", "three"]
    assert [item.tail for item in tree.iter("span")] == ["name"]


@pytest.mark.parametrize("values", [(0.0, 1.0), (0.93, 0.971), (0.123, 0.1231), (5.0, 5.0), (0.0, 4711.0), (-3.0, 2.0)])
def test_an_axis_holds_its_values_and_has_round_ticks(values: tuple[float, float]) -> None:
    axis = Axis.around("", values)
    assert axis.low - 1e-9 <= min(values) and max(values) <= axis.high + 1e-9
    ticks = [value for value, _ in axis.ticks]
    assert 2 <= len(ticks) <= 9
    assert ticks[0] == pytest.approx(axis.low) and ticks[-1] == pytest.approx(axis.high)
    assert [float(text) for _, text in axis.ticks] == pytest.approx(ticks, abs=1e-9), "the texts are not rounded"
    first = np.diff(ticks)[0]
    assert first / 10 ** np.floor(np.log10(first) + 1e-9) == pytest.approx(1) or first > 0


def test_shades_tell_shares() -> None:
    assert [level(part, 100) for part in (0, 1, 4, 25, 100)] == [0, 1, 2, 4, LEVELS]
    assert level(3, 0) == 0
    [row, _] = matrix({("a", "a"): 3, ("a", "b"): 1}, {"a": 4}, ["a", "b"])
    assert [(cell.count, cell.style) for cell in row.cells] == [(3, "hit s7"), (1, "miss s4")]


def test_a_heat_map_has_every_cell_in_its_place() -> None:
    classes = [f"{index:02}" for index in range(40)]
    cells = {(name, name): 5 for name in classes} | {("07", "31"): 2, ("12", "13"): 1}
    tree = parsed(heat_map(cells, dict.fromkeys(classes, 7), classes))
    squares = [
        (int(column), int(row))
        for path in tree.iter("path")
        for column, row in re.findall(r"M(\d+) (\d+)", path.attrib["d"])
    ]
    assert len(squares) == len(set(squares)) == 42
    off = [square for square in squares if square[0] != square[1]]
    assert {abs(column - row) for column, row in off} == {1}, "what is confused is side by side"
    titles = [title.text for title in tree.iter("title")]
    assert titles == ["07 taken for 31: 2 of 7", "12 taken for 13: 1 of 7"]
    touch = next(item for item in tree.iter("rect") if item.attrib["class"] == "touch").attrib
    middle = [float(touch[name]) + float(touch["width"]) / 2 for name in ("x", "y")]
    assert any(middle == pytest.approx([16 * (column + 0.5), 16 * (row + 0.5)], abs=0.1) for column, row in off)


def listed(n: int) -> list[Listed]:
    return [Listed(f"/d/{index:05}.png", f"/d/{index:05}.png", "train", "ab"[index % 2], "00") for index in range(n)]


def test_the_map_marks_mistakes_and_suspects_where_they_lie() -> None:
    images = listed(30)
    features = np.random.default_rng(0).normal(size=(30, 6)).astype(np.float32)
    judged = {images[4].path: Judged(images[4].path, "a", "b", 0.75)}
    found = draw_map(
        Cloud(images, features, 30, 0), ["a", "b"], judged, {images[7].path: "odd"}, {images[4].path: "k4"}
    )
    tree = parsed(found.picture)
    places = project(features).places
    dots = np.array([[float(dot.attrib[name]) for name in ("cx", "cy")] for dot in tree.iter("circle")])
    rest = [index for index in range(30) if index not in (4, 7)]
    x = np.interp(places[rest, 0], [0, 1], [MAP_EDGE, MAP_WIDTH - MAP_EDGE])
    y = np.interp(places[rest, 1], [0, 1], [MAP_HEIGHT - MAP_EDGE, MAP_EDGE])
    assert dots == pytest.approx(np.stack([x, y], axis=1), abs=0.06)
    suspect, wrong = tree.iter("path")
    assert (suspect.attrib["class"], wrong.attrib["class"]) == ("suspect c1", "wrong c0")
    assert wrong.attrib["data-t"] == "k4" and "data-t" not in suspect.attrib
    assert wrong.find("title").text == "00004.png (train): a, taken for b with 0.75"
    assert suspect.find("title").text == "00007.png (train): b; odd"
    start = [float(number) for number in re.findall(r"[\d.]+", wrong.attrib["d"])[:2]]
    middle = np.interp(places[4, 0], [0, 1], [MAP_EDGE, MAP_WIDTH - MAP_EDGE])
    assert start[0] + 4.5 == pytest.approx(middle, abs=0.11)


def test_of_many_images_the_map_has_all_marks_and_an_even_selection() -> None:
    images = listed(10_000)
    marked = [images[index].path for index in (3, 9_999, 5_000)]
    choice = choose_images(images, [*marked, "/gone.png"], 4_000, 2)
    paths = [image.path for image in choice.images]
    assert len(paths) == 4_002 and set(marked[:2]) <= set(paths) and marked[2] not in paths
    assert choice.left_out == 1
    assert paths == sorted(paths)
    chosen = np.array([int(path[3:8]) for path in paths])
    assert np.histogram(chosen, bins=10, range=(0, 10_000))[0] == pytest.approx(400, abs=3)


def test_a_map_of_ten_thousand_images_is_small() -> None:
    images = [Listed(f"/data/set/train/class-{i % 10}/{i:010}.jpg", "", "train", "c", "00") for i in range(4_000)]
    features = np.random.default_rng(0).normal(size=(4_000, 16)).astype(np.float32)
    found = draw_map(Cloud(images, features, 10_000, 0), ["c", "d"], {}, {}, {})
    assert len(found.picture) < 600_000
