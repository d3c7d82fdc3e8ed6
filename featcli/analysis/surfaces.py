"""Images that show nothing, too little, or lie far outside the shape of the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np
from numpy.typing import NDArray

from featcli.analysis.suspects import Suspect

BLANK = 12  # grey levels between the darkest and the lightest parts, below which an image is of one colour
DARK = 40  # grey level that the lightest twentieth of an image does not reach
TINY = 4  # times smaller than the others: its shorter side
FEW_PIXELS = 32  # of the shorter side, below which an image is tiny where the others are no smaller than twice that
LONG = 3.0  # times longer than wide, or the other way round, where the others are not
COMMON = 0.2  # of all images: what so many are is how the set is, and no suspicion


@dataclass(frozen=True, slots=True)
class Surface:
    """What an image looks like from afar.

    Attributes:
        path: of the image.
        size: width and height in pixels.
        thumbnail: (h, w) grey.
    """

    path: str
    size: tuple[int, int]
    thumbnail: NDArray[np.uint8]


def find_odd_surfaces(surfaces: Sequence[Surface]) -> tuple[list[Suspect], list[str]]:
    """Blank, dark, tiny and odd-shaped images.

    Returns:
        The suspects, and a sentence for each kind that so many images are of that it is no suspicion.
    """
    if not surfaces:
        return [], []
    typical = median(min(surface.size) for surface in surfaces)
    ratio = median(max(surface.size) / max(1, min(surface.size)) for surface in surfaces)
    checks: dict[str, Callable[[Surface], Suspect | None]] = {
        "blank": _blank,
        "dark": _dark,
        "tiny": lambda surface: _tiny(surface, typical),
        "shape": lambda surface: _shape(surface) if ratio < LONG / 1.5 else None,
    }
    suspects: list[Suspect] = []
    common: list[str] = []
    for kind, check in checks.items():
        found = [suspect for surface in surfaces if (suspect := check(surface)) is not None]
        if len(found) > max(5, COMMON * len(surfaces)):
            common.append(f"{len(found)} of {len(surfaces)} images are {_ADJECTIVES[kind]}: so the set is")
        else:
            suspects += found
    return suspects, common


_ADJECTIVES = {"blank": "of one colour", "dark": "very dark", "tiny": "tiny", "shape": "three times as long as wide"}


def _blank(surface: Surface) -> Suspect | None:
    levels = int(surface.thumbnail.max()) - int(surface.thumbnail.min())
    if levels >= BLANK:
        return None
    return Suspect(
        surface.path, "blank", None, 1.0 - levels / 256, f"one colour: all of it within {levels + 1} grey levels"
    )


def _dark(surface: Surface) -> Suspect | None:
    if int(surface.thumbnail.max()) - int(surface.thumbnail.min()) < BLANK:
        return None
    values = np.sort(surface.thumbnail, axis=None)
    light = float(values[int(0.95 * (len(values) - 1))])
    if light >= DARK:
        return None
    return Suspect(
        surface.path, "dark", None, 1.0 - light / 256, f"95 % of it is darker than grey level {light:.0f} of 255"
    )


def _tiny(surface: Surface, typical: float) -> Suspect | None:
    shorter = min(surface.size)
    if shorter * TINY >= typical and not (shorter < FEW_PIXELS and typical >= 2 * FEW_PIXELS):
        return None
    width, height = surface.size
    why = f"{width} x {height} pixels, where the shorter side of most is about {typical:.0f}"
    return Suspect(surface.path, "tiny", None, max(0.0, 1.0 - shorter / typical), why)


def _shape(surface: Surface) -> Suspect | None:
    longer, shorter = max(surface.size), max(1, min(surface.size))
    if longer / shorter < LONG:
        return None
    width, height = surface.size
    why = f"{width} x {height} pixels: the middle, which is looked at, is {shorter / longer:.0%} of it"
    return Suspect(surface.path, "shape", None, 1.0 - shorter / longer, why)
