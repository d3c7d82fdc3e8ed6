"""What makes an image suspicious, as one value that tables and pages are made of."""

from __future__ import annotations

from dataclasses import dataclass

# The kinds, in the order in which an owner looks at them.
KINDS = (
    "leak",  # the same photograph on two sides of a split
    "conflict",  # the same photograph under two classes
    "duplicate",  # the same photograph twice
    "label",  # probably another class
    "classes",  # two classes that cannot be told apart
    "outlier",  # unlike every class
    "blank",  # of one colour
    "dark",
    "tiny",
    "shape",  # far from square, so that its ends are cropped away
)


@dataclass(frozen=True, slots=True)
class Suspect:
    """One line of `issues.csv`.

    Attributes:
        path: the image; of `classes` the name of a class.
        kind: one of KINDS.
        partner: the other image of a pair, or the other class; None where there is none.
        score: how strong the suspicion is, from 0 to 1.
        why: a sentence fragment for a person, such as `turned by 90 degrees, correlation 0.98`.
    """

    path: str
    kind: str
    partner: str | None
    score: float
    why: str
