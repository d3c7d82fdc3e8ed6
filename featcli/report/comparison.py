"""Several runs side by side: their numbers, what differs in their configs, and how they do on the same images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from featcli.evaluation.paired import paired_difference
from featcli.report.material import Judged, Material
from featcli.report.view import scores_of, share_text, span_text
from featcli.text import clipped, first_few

MOST_CLASSES = 200  # whose recalls are listed
_NAME = 40


@dataclass(frozen=True, slots=True)
class Column:
    """One run in the table: its name, its numbers in words, and what keeps them from being compared."""

    name: str
    folder: str
    accuracy: str
    interval: str
    n: str
    of: str
    log_loss: str
    ece: str
    backbone: str
    head: str
    frozen: str


@dataclass(frozen=True, slots=True)
class Pair:
    """Two runs on the images that both held out."""

    first: str
    second: str
    n: int
    difference: str
    interval: str
    p: str
    only_first: int
    only_second: int
    verdict: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Runs side by side.

    Attributes:
        columns: one for each run.
        options: keys of the configs that differ, with the value of each run.
        pairs: of runs that held out the same images, some of them.
        recalls: a class, and its recall in each run.
        n_classes: how many there are in all.
        warnings: what is not comparable.
    """

    columns: Sequence[Column]
    options: Sequence[tuple[str, Sequence[str]]]
    pairs: Sequence[Pair]
    recalls: Sequence[tuple[str, Sequence[str]]]
    n_classes: int
    warnings: Sequence[str]


def compare(
    materials: Sequence[Material],
    options: Sequence[tuple[str, Sequence[str]]],
    held_out: Sequence[Mapping[str, Judged] | None],
) -> Comparison:
    """Runs side by side.

    Args:
        materials: two or more.
        options: keys of the configs that differ, with the value of each run.
        held_out: of each run, what it says of the images that it held out, by their content; None where not known.
    """
    names = unique_names(materials)
    recalls, n_classes = _recalls(materials)
    pairs, warnings = _pairs(names, held_out)
    return Comparison(
        [_column(name, material) for name, material in zip(names, materials, strict=True)],
        options,
        pairs,
        recalls,
        n_classes,
        [*_class_warnings(names, materials), *_split_warnings(names, materials), *warnings],
    )


def unique_names(materials: Sequence[Material]) -> list[str]:
    """The names of the folders, or as much of their paths as tells them apart."""
    names = [material.name for material in materials]
    return [
        name if names.count(name) == 1 else material.folder for name, material in zip(names, materials, strict=True)
    ]


def _column(name: str, material: Material) -> Column:
    measured = material.measured
    numbers = None if measured is None else measured.numbers

    def decimal(key: str) -> str:
        value = None if numbers is None else numbers.number(key)
        return "-" if value is None else f"{value:.3f}"

    of = "-" if measured is None else measured.words
    if numbers is not None and numbers.part("selected") is not None:
        of += ", optimistic"
    return Column(
        name,
        material.folder,
        "-" if numbers is None else share_text(numbers.number("accuracy")),
        "-" if numbers is None else span_text(numbers.pair("accuracy_ci95")) or "-",
        "-" if measured is None else str(measured.numbers.count("n") or len(measured.images or ())),
        of,
        decimal("log_loss"),
        decimal("ece"),
        material.backbone,
        material.facts.get("head", material.head.text("kind") or "-"),
        material.facts.get("frozen", material.freeze_depth),
    )


def _pairs(names: Sequence[str], held_out: Sequence[Mapping[str, Judged] | None]) -> tuple[list[Pair], list[str]]:
    pairs, warnings = [], []
    for one, other in combinations(range(len(names)), 2):
        first, second = held_out[one], held_out[other]
        between = f"{clipped(names[one], _NAME)} and {clipped(names[other], _NAME)}"
        if first is None or second is None:
            warnings.append(
                f"{between} are not compared image by image: one has no list of predictions that can be read."
            )
            continue
        shared = [key for key in first if key in second]
        if not shared:
            warnings.append(f"{between} held out no image in common: their accuracies are of different images.")
            continue
        if len(shared) < max(len(first), len(second)):
            alone = len(first) - len(shared), len(second) - len(shared)
            warnings.append(
                f"{between} held out {len(shared)} images in common; {alone[0]} and {alone[1]} more are of one alone, "
                "and count in its accuracy."
            )
        right = [np.array([said[key].is_right for key in shared], dtype=bool) for said in (first, second)]
        found = paired_difference(right[0], right[1])
        assert found is not None, "there are images"
        low, high = found["ci95"]
        verdict = "no difference is shown"
        if low > 0 or high < 0:
            verdict = f"{clipped(names[other if low > 0 else one], _NAME)} is better"
        pairs.append(
            Pair(
                names[one],
                names[other],
                len(shared),
                f"{100 * found['difference']:+.1f} points",
                f"{100 * low:+.1f} to {100 * high:+.1f}",
                f"{found['p']:.3f}",
                found["only_first"],
                found["only_second"],
                verdict,
            )
        )
    return pairs, warnings


def _recalls(materials: Sequence[Material]) -> tuple[list[tuple[str, list[str]]], int]:
    """Every class with its recall in each run; of many, those that differ most."""
    known: list[dict[str, float | None]] = []
    for material in materials:
        scores = [] if material.measured is None else scores_of(material.measured, material.classes)
        known.append({score.name: score.recall for score in scores})
    classes = list(dict.fromkeys(name for recalls in known for name in recalls))

    def spread(name: str) -> float:
        values = [value for recalls in known if (value := recalls.get(name)) is not None]
        return max(values) - min(values) if values else 0.0

    chosen = sorted(classes, key=lambda name: -spread(name))[:MOST_CLASSES]
    return [(name, [share_text(recalls.get(name)) for recalls in known]) for name in chosen], len(classes)


def _class_warnings(names: Sequence[str], materials: Sequence[Material]) -> list[str]:
    first = set(materials[0].classes)
    said = []
    for name, material in zip(names[1:], materials[1:], strict=True):
        alone = [sorted(first - set(material.classes)), sorted(set(material.classes) - first)]
        parts = [
            f"of {clipped(owner, _NAME)} alone: {first_few([clipped(item, _NAME) for item in found])}"
            for owner, found in zip((names[0], name), alone, strict=True)
            if found
        ]
        if parts:
            said.append(f"The classes differ, so accuracies are of different questions; {'; '.join(parts)}.")
    return said


def _split_warnings(names: Sequence[str], materials: Sequence[Material]) -> list[str]:
    of = [None if material.measured is None else material.measured.words for material in materials]
    if len(set(of)) <= 1:
        return []
    listed = "; ".join(f"{clipped(name, _NAME)}: {words or 'none'}" for name, words in zip(names, of, strict=True))
    return [f"The accuracies are of different kinds of images ({listed})."]
