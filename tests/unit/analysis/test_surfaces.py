"""Images that show nothing, or lie far outside the others."""

from __future__ import annotations

import numpy as np
import pytest

from featcli.analysis.surfaces import Surface, find_odd_surfaces
from tests.scenes import grey, scene

GOOD = [Surface(f"good{seed}", (320, 240), grey(scene(seed))) for seed in range(40)]


def kinds(*odd: Surface) -> list[tuple[str, str]]:
    return [(suspect.path, suspect.kind) for suspect in find_odd_surfaces([*GOOD, *odd])[0]]


def flat(level: int, dot: int = 0) -> np.ndarray:
    image = np.full((48, 64), level, np.uint8)
    image[20:28, 20:28] = level + dot
    return image


@pytest.mark.parametrize(
    ("surface", "kind"),
    [
        (Surface("x", (320, 240), flat(255)), "blank"),
        (Surface("x", (320, 240), flat(0)), "blank"),
        (Surface("x", (320, 240), flat(128, 5)), "blank"),
        (Surface("x", (320, 240), (grey(scene(3)) // 10).astype(np.uint8)), "dark"),
        (Surface("x", (40, 30), grey(scene(3))), "tiny"),
        (Surface("x", (1000, 200), grey(scene(3))), "shape"),
        (Surface("x", (200, 1000), grey(scene(3))), "shape"),
    ],
)
def test_odd_images(surface: Surface, kind: str) -> None:
    assert kinds(surface) == [("x", kind)]


@pytest.mark.parametrize(
    "surface",
    [
        Surface("x", (320, 240), flat(240, -200)),  # a dot on paper
        Surface("x", (160, 120), grey(scene(3))),
        Surface("x", (640, 240), grey(scene(3))),
        Surface("x", (320, 240), (grey(scene(3)) // 3).astype(np.uint8)),
    ],
)
def test_images_that_are_fine(surface: Surface) -> None:
    assert kinds(surface) == []


def test_what_so_many_are_is_said_once() -> None:
    dark = [Surface(f"dark{seed}", (320, 240), (grey(scene(seed)) // 10).astype(np.uint8)) for seed in range(30)]
    suspects, common = find_odd_surfaces([*GOOD, *dark])
    assert (suspects, common) == ([], ["30 of 70 images are very dark: so the set is"])


@pytest.mark.parametrize(("dark", "others", "is_said"), [(12, 48, False), (13, 47, True), (5, 10, False), (6, 9, True)])
def test_so_many_are_a_fifth_of_the_images_and_more_than_five(dark: int, others: int, is_said: bool) -> None:
    odd = [Surface(f"dark{seed}", (320, 240), (grey(scene(seed)) // 10).astype(np.uint8)) for seed in range(dark)]
    good = [Surface(f"good{seed}", (320, 240), GOOD[seed % len(GOOD)].thumbnail) for seed in range(others)]
    suspects, common = find_odd_surfaces([*good, *odd])
    assert (len(suspects), len(common)) == ((0, 1) if is_said else (dark, 0))


def test_small_images_among_small_ones_are_not_tiny() -> None:
    assert find_odd_surfaces([Surface("x", (28, 28), grey(scene(0), 28)) for _ in range(20)]) == ([], [])
    assert find_odd_surfaces([]) == ([], [])
