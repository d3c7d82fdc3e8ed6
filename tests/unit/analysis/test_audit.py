"""Everything that is suspicious about a data set, together."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from featcli.analysis.audit import Audit, Material, audit
from featcli.data.dataset import Dataset, Sample
from featcli.data.pixels.thumbnails import Seen
from tests.scenes import grey, scene


def audited(
    features: NDArray[np.float32],
    labels: list[int],
    *,
    n_classes: int = 2,
    compares: bool = True,
    groups: dict[int, str] | None = None,
) -> Audit:
    """An audit of fifty scenes, and the same again, with these features and labels, all of train."""
    samples = tuple(
        Sample(
            f"{row}.png",
            label,
            "train",
            hashlib.sha256(bytes([row % 256, row // 256])).digest(),
            (groups or {}).get(row),
        )
        for row, label in enumerate(labels)
    )
    data = Dataset(Path("/d"), tuple(f"c{label}" for label in range(n_classes)), samples, {})
    seen = {row: Seen((320, 240), grey(scene(row % 50 if compares else 0))) for row in range(len(labels))}
    return audit(Material(data, features, np.ones(len(labels), bool), seen, compares), lambda done, total: None)


def two_classes(count: int) -> tuple[NDArray[np.float32], list[int]]:
    labels = [row % 2 for row in range(count)]
    features = np.random.default_rng(0).standard_normal((count, 16)).astype(np.float32)
    features[np.arange(count), labels] += 12.0
    return features, labels


def kinds(found: Audit) -> set[tuple[str, str]]:
    return {(suspect.kind, suspect.path) for suspect in found.suspects}


def test_a_wrong_label_and_a_stranger() -> None:
    features, labels = two_classes(50)
    labels[6] = 1
    features[20] = 12.0 * np.eye(16)[5]
    found = kinds(audited(features, labels))
    assert found - {("label", "20.png")} == {("label", "6.png"), ("outlier", "20.png")}


def test_labels_that_nothing_explains_are_not_all_wrong() -> None:
    features = np.random.default_rng(0).standard_normal((200, 16)).astype(np.float32)
    found = audited(features, [row % 20 for row in range(200)], n_classes=20, compares=False)
    assert sum(suspect.kind == "label" for suspect in found.suspects) < 40


def test_where_very_many_labels_are_doubted_only_the_surest_are_listed() -> None:
    """And a sentence says that the classes may be hard to learn."""
    features, labels = two_classes(200)
    features += np.random.default_rng(1).standard_normal(features.shape).astype(np.float32)
    for row in range(0, 200, 3):
        labels[row] = 1 - labels[row]
    found = audited(features, labels, compares=False)
    (said,) = found.common
    assert said.startswith("of 200 labels ") and "these classes are hard to learn" in said
    assert all(suspect.score >= 0.5 for suspect in found.suspects if suspect.kind == "label")


@pytest.mark.parametrize(("count", "wrong"), [(24, 5), (60, 9)])
def test_of_few_doubted_labels_or_less_than_a_fifth_nothing_more_is_said(count: int, wrong: int) -> None:
    features, labels = two_classes(count)
    features[:, 2:] *= 0.3  # so that few images are enough to learn from
    for row in range(wrong):
        labels[row] = 1 - labels[row]
    found = audited(features, labels, compares=False)
    assert {("label", f"{row}.png") for row in range(wrong)} <= kinds(found)
    assert not [said for said in found.common if "labels" in said]


def test_a_copy_under_another_class_is_the_less_probable_label() -> None:
    features, labels = two_classes(52)
    features[50] = features[0] + 0.01
    labels[50] = 1  # the scene of row 0, whose features are of class 0
    features[51], labels[51] = features[1] + 0.01, 1
    found = audited(features, labels)
    pairs = {(suspect.kind, suspect.path, suspect.partner) for suspect in found.suspects if suspect.partner}
    assert pairs == {("conflict", "50.png", "0.png"), ("duplicate", "51.png", "1.png")}


@pytest.mark.parametrize("grouped", [False, True])
def test_copies_and_groups_with_a_wrong_label_do_not_vouch_for_each_other(grouped: bool) -> None:
    """What only they have in common would tell heads that learned from one of them the label of the others."""
    features, labels = two_classes(60)
    alike = range(4, 16, 2) if grouped else [4, 54]
    for row in alike:
        features[row], labels[row] = features[4], 1
        features[row, 9] = 24.0
    found = audited(features, labels, compares=not grouped, groups=dict.fromkeys(alike, "g") if grouped else None)
    assert {suspect.path for suspect in found.suspects if suspect.kind == "label"} == {f"{row}.png" for row in alike}


def test_labels_of_two_classes_that_cannot_be_told_apart_are_not_doubted() -> None:
    features, labels = two_classes(60)
    labels = [0 if label == 0 else 1 + row // 2 % 2 for row, label in enumerate(labels)]
    labels[0] = 1
    found = audited(features, labels, n_classes=3, compares=False)
    said = {(suspect.kind, suspect.path) for suspect in found.suspects if suspect.kind in ("label", "classes")}
    assert said == {("classes", "c1"), ("label", "0.png")}


def test_images_are_not_compared_where_that_is_not_asked_for() -> None:
    features, labels = two_classes(52)
    features[50] = features[0]
    assert audited(features, labels, compares=False).copies.pairs == ()


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_next_to_nothing(count: int) -> None:
    features, labels = two_classes(count)
    assert audited(features, labels).suspects == []
