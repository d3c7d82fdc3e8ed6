from __future__ import annotations

import pytest

from featcli.analysis.sides import sided_names


@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (("0", "1", "2", "3", "4"), "digits or letters ('0', '1', '2', ...)"),
        (("a", "b"), "digits or letters ('a', 'b')"),
        (("A", "B", "space"), "digits or letters ('A', 'B')"),
        (("zero", "one", "two"), "digits or letters ('zero', 'one', 'two')"),
        (("text", "no_text"), "text ('text', 'no_text')"),
        (("HandwrittenNote", "photo"), "text ('HandwrittenNote')"),
        (("digit_3", "digit 8"), "digits or letters ('digit_3', 'digit 8')"),
        (("left", "right"), "sides ('left', 'right')"),
        (("Straight", "TurnLeft", "turn right"), "sides ('TurnLeft', 'turn right')"),
        (("arrowleft", "arrowright", "none"), "sides ('arrowleft', 'arrowright')"),
        (("eye-L", "eye-R"), "sides ('eye-L', 'eye-R')"),
        (("east", "west", "north"), "sides ('east', 'west')"),
        (("screw cw", "screw ccw"), "sides ('screw cw', 'screw ccw')"),
        (("clockwise", "none"), "sides ('clockwise')"),
    ],
)
def test_names_of_characters_and_sides(classes: tuple[str, ...], said: str) -> None:
    assert sided_names(classes) == said


@pytest.mark.parametrize(
    "classes",
    [
        ("ants", "bees"),
        ("one", "two"),
        ("texture", "textile"),
        ("cleft lip", "bright", "upright", "leftovers"),
        ("L", "cat", "dog"),
        ("101", "102"),
        ("class_0", "class_1"),
        ("vitamin_e", "vitamin_k"),
        ("western", "eastern"),
        ("é?", "__"),
    ],
)
def test_other_names_say_nothing(classes: tuple[str, ...]) -> None:
    assert sided_names(classes) is None
