"""What changed between two lists of images, case by case and for shuffled mixtures."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from featcli.runs.folder import RunImage
from featcli.runs.images import Changes, compare_images


def images(count: int) -> list[RunImage]:
    return [RunImage(f"/data/cat/{index}.jpg", "train", "cat", f"{index:064x}") for index in range(count)]


@pytest.mark.parametrize(
    ("change", "counted"),
    [
        ({}, {}),
        ({"path": "/data/cat/new.jpg"}, {"renamed": 1}),
        ({"sha256": "f" * 64}, {"edited": 1}),
        ({"sha256": ""}, {"edited": 1}),
        ({"label": "dog"}, {"relabelled": 1}),
        ({"path": "/data/dog/0.jpg", "label": "dog"}, {"relabelled": 1}),
        ({"path": "/data/dog/0.jpg", "label": "dog", "split": "val"}, {"relabelled": 1, "resplit": 1}),
        ({"split": "val"}, {"resplit": 1}),
        ({"path": "/data/cat/new.jpg", "sha256": "f" * 64}, {"added": 1, "removed": 1}),
    ],
)
def test_one_change(change: dict[str, str], counted: dict[str, int]) -> None:
    before = images(5)
    assert compare_images(before, [replace(before[0], **change), *before[1:]]) == Changes(**counted)


def test_many_changes_in_any_order() -> None:
    before = images(100)
    now = [
        *(replace(image, path=f"/data/moved/{row}.jpg") for row, image in enumerate(before[:10])),
        *(replace(image, sha256=f"{1000 + row:064x}") for row, image in enumerate(before[10:17])),
        *before[20:],
        *(RunImage(f"/data/dog/{row}.jpg", "train", "dog", f"{5000 + row:064x}") for row in range(4)),
    ]
    random.Random(0).shuffle(now)
    changes = compare_images(before, now)
    assert changes == Changes(added=4, removed=3, renamed=10, edited=7)
    assert str(changes) == "4 added, 3 removed, 10 renamed, 7 edited"


def test_a_copy_is_added_and_a_removed_copy_is_removed() -> None:
    before = images(3)
    copied = [*before, replace(before[0], path="/data/cat/copy.jpg")]
    assert compare_images(before, copied) == Changes(added=1)
    assert compare_images(copied, before) == Changes(removed=1)
    assert str(compare_images(before, before)) == "no image changed"


def test_images_that_cannot_be_read_are_not_taken_for_copies_of_each_other() -> None:
    before = [replace(image, sha256="") for image in images(2)]
    now = [replace(image, path=f"{image.path}.moved") for image in before]
    assert compare_images(before, now) == Changes(added=2, removed=2)
