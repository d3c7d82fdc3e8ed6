"""The map of a run's features: which images are on it, and the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from os.path import commonpath, relpath

from featcli.events import Emit, ignore
from featcli.report.markup import Html, number, tag
from featcli.report.material import Cloud, Judged, Listed
from featcli.report.projection import project
from featcli.sampling import evenly
from featcli.text import clipped, printable

WIDTH, HEIGHT, EDGE = 720, 520, 14
MOST_COLOURS = 8  # classes, above which colours tell right from wrong alone
_NAME = 60


@dataclass(frozen=True, slots=True)
class Choice:
    """Images that are drawn, and how many that were to be marked are not, for lack of room."""

    images: Sequence[Listed]
    left_out: int


@dataclass(frozen=True, slots=True)
class FeatureMap:
    """The picture and what is to be said of it.

    Attributes:
        picture: SVG.
        how: how places were found, in words.
        folder: that the paths of the picture are below.
        legend: the class in the style sheet, and what it is.
        drawn: how many images are on it.
    """

    picture: Html
    how: str
    folder: str
    legend: Sequence[tuple[str, str]]
    drawn: int


def choose_images(images: Sequence[Listed], marked: Sequence[str], most_ordinary: int, most_marked: int) -> Choice:
    """Which images go on the map: those to be marked, and an even selection of the rest.

    Args:
        images: of the run, those that could be read.
        marked: paths of mistakes and suspicious images, the most telling first.
        most_ordinary: of the others.
        most_marked: of these.
    """
    known = {image.path for image in images}
    wanted = list(dict.fromkeys(path for path in marked if path in known))
    kept = set(wanted[:most_marked])
    dropped = set(wanted[most_marked:])
    rest = [image for image in images if image.path not in kept and image.path not in dropped]
    chosen = {rest[index].path for index in evenly(len(rest), most_ordinary)}
    return Choice([image for image in images if image.path in kept or image.path in chosen], len(dropped))


def draw_map(
    cloud: Cloud,
    classes: Sequence[str],
    judged: Mapping[str, Judged],
    suspects: Mapping[str, str],
    pictured: Mapping[str, str],
    emit: Emit = ignore,
) -> FeatureMap:
    """The picture: a dot for each image, another shape for mistakes and for what is suspicious.

    Args:
        cloud: at least one image with its features.
        classes: of the run, in order.
        judged: predictions by path.
        suspects: why, by path.
        pictured: the key of its thumbnail, by path.
        emit: hears what takes long.
    """
    projection = project(cloud.features, emit)
    folder = _folder([image.path for image in cloud.images])
    by_class = len(classes) <= MOST_COLOURS
    colour = {name: f"c{index}" for index, name in enumerate(classes)}
    layers: dict[str, list[Html]] = {"hit": [], "suspect": [], "wrong": []}
    for image, (x, y) in zip(cloud.images, projection.places.tolist(), strict=True):
        left, top = EDGE + x * (WIDTH - 2 * EDGE), EDGE + (1 - y) * (HEIGHT - 2 * EDGE)
        seen = judged.get(image.path)
        wrong = seen is not None and seen.is_mistake
        tint = colour.get(image.label, "cx") if by_class else "wrong" if wrong else "cx"
        kind = "wrong" if wrong else "suspect" if image.path in suspects else "hit"
        title = tag("title", _title(image, seen, folder, suspects.get(image.path)))
        layers[kind].append(_mark(kind, left, top, tint, title, pictured.get(image.path)))
    drawn = [*layers["hit"], *layers["suspect"], *layers["wrong"]]
    said = f"{len(drawn)} images as dots: {projection.how}; {len(layers['wrong'])} mistakes are crosses"
    picture = tag(
        "svg",
        *drawn,
        viewBox=f"0 0 {WIDTH} {HEIGHT}",
        role="img",
        aria_label=said,
        class_="map",
    )
    keys = [(colour[name], name) for name in classes] if by_class else [("cx", "right, or not judged")]
    if layers["wrong"]:
        keys.append(("wrong", f"mistakes ({len(layers['wrong'])})"))
    if layers["suspect"]:
        keys.append(("suspect", f"suspicious ({len(layers['suspect'])})"))
    return FeatureMap(picture, projection.how, folder, keys, len(drawn))


def _mark(kind: str, x: float, y: float, tint: str, title: Html, key: str | None) -> Html:
    if kind == "hit":
        return tag("circle", title, class_=tint, cx=x, cy=y, r=2.5)
    half = 4.5
    if kind == "wrong":
        d = f"M{number(x - half)} {number(y - half)}l9 9m0-9l-9 9"
    else:
        d = f"M{number(x - half)} {number(y - half)}h9v9h-9z"
    return tag("path", title, class_=f"{kind} {tint}", d=d, data_t=key)


def _title(image: Listed, seen: Judged | None, folder: str, why: str | None) -> str:
    path = relpath(image.path, folder) if folder else image.path
    said = f"{path} ({image.split}): {clipped(image.label, _NAME)}"
    if seen is not None and seen.is_mistake:
        said += f", taken for {clipped(seen.label, _NAME)} with {seen.confidence:.2f}"
    return printable(f"{said}; {why}" if why else said)


def _folder(paths: Sequence[str]) -> str:
    """What all paths lie below; empty where they have nothing in common."""
    try:
        found = commonpath(paths)
    except ValueError:
        return ""
    return found if len(paths) > 1 else ""
