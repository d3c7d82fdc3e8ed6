"""Classes whose names say that a mirror image is something else: digits, letters, text, left and right."""

from __future__ import annotations

import re
from collections.abc import Sequence

_SIDED = (
    ("left", "right"),
    ("clockwise", "counterclockwise"),
    ("clockwise", "anticlockwise"),
    ("cw", "ccw"),
    ("east", "west"),
    ("l", "r"),
    ("e", "w"),
)
# One of these alone is enough: of the others there must be both, in two names that are equal but for them.
_ALONE = {"left", "right", "leftward", "rightward", "leftwards", "rightwards", "clockwise", "anticlockwise"}
_CHARACTERS = {"digit", "digits", "letter", "letters", "char", "character", "number"}
_DIGITS = {"zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"}
_TEXT = {"text", "word", "words", "handwriting", "handwritten", "printed", "captcha", "alphabet"}
_WORD = re.compile(r"[^\W\d_]+|\d+")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")


def sided_names(classes: Sequence[str]) -> str | None:
    """What the names of classes say that mirroring would change, in words; None where they say nothing.

    Characters are meant where more than half of the names are a single digit or letter, follow a word such as `digit`,
    or, with more than two classes, are digits in words. Text is meant by a word of a name. A side is meant by a word of
    a name (`turn_left`, `TurnLeft`, not `cleft`), or by two names that are equal but for it (`arrowleft` and
    `arrowright`).

    Returns:
        `digits or letters ('0', '1', '2', ...)`, `text ('handwritten')`, or `sides ('left', 'right')`.
    """
    words = {name: [word.lower() for word in _WORD.findall(_HUMP.sub(" ", name))] for name in classes}
    characters = [name for name in classes if _is_character(name, words[name])]
    if len(classes) > 2:  # `one` and `two` may be any two things
        characters += [name for name in classes if len(words[name]) == 1 and words[name][0] in _DIGITS]
    if len(characters) * 2 > len(classes):
        return f"digits or letters ({_named(characters)})"
    text = [name for name in classes if _TEXT & set(words[name])]
    if text:
        return f"text ({_named(text)})"
    sided = [name for name in classes if _ALONE & set(words[name]) or _has_opposite(name, words)]
    return f"sides ({_named(sided)})" if sided else None


def _is_character(name: str, words: Sequence[str]) -> bool:
    if len(name) == 1:
        return name.isalnum()
    return len(words) > 1 and len(words[-1]) == 1 and bool(_CHARACTERS & set(words[:-1]))


def _has_opposite(name: str, words: dict[str, list[str]]) -> bool:
    """Whether another class is this one with the other side."""
    others = {tuple(found) for other, found in words.items() if other != name}
    for pair in _SIDED:
        for side, opposite in (pair, pair[::-1]):
            turned = tuple(opposite if word == side else word for word in words[name])
            if side in words[name] and turned in others:
                return True
    lower = {other.lower() for other in words if other != name}
    return any(
        side in name.lower() and name.lower().replace(side, opposite) in lower
        for side, opposite in (("left", "right"), ("right", "left"))
    )


def _named(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names[:3]) + (", ..." if len(names) > 3 else "")
