from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featcli.data.groups import groups_of, joined_groups
from featcli.data.naming.source import DataOptionError


def test_the_group_is_what_the_expression_finds_in_the_path() -> None:
    names = ["train/cats/p1_a.jpg", "val/cats/p1_b.jpg", "train/dogs/p12_a.jpg"]
    assert groups_of(names, r"([^/]+)_") == ["p1", "p1", "p12"]
    assert groups_of(names, r"^[^/]+/([^/]+)/") == ["cats", "cats", "dogs"]
    assert groups_of(["été/é_1.jpg", "x/\udcff_1.jpg"], r"/(.)_") == ["é", "\udcff"]


def test_images_without_a_group_are_named_and_counted() -> None:
    names = [f"cats/{index}.jpg" for index in range(7)] + ["cats/p1_a.jpg"]
    with pytest.raises(DataOptionError) as error:
        groups_of(names, r"([^/]*)_")
    assert error.value.option == "group"
    assert error.value.message == (
        "'([^/]*)_' finds no group in 7 of 8 images: cats/0.jpg, cats/1.jpg, cats/2.jpg, cats/3.jpg, cats/4.jpg and 2"
        " more"
    )
    assert error.value.hint == (
        "It is searched in the path as shown here. Widen it, or leave those images out with data.exclude."
    )
    with pytest.raises(DataOptionError, match=r"finds no group in 1 of 1 images: cats/_x\.jpg\n"):
        groups_of(["cats/_x.jpg"], r"([^/]*)_")
    with pytest.raises(DataOptionError, match=r"finds no group in 1 of 2 images: ab\n"):
        groups_of(["abc", "ab"], r"ab(c)?")


def test_an_expression_that_python_warns_of_is_used_quietly() -> None:
    assert groups_of(["[1"], "([[a1]+)") == ["[1"]


def test_groups_without_a_common_image_stay_apart() -> None:
    assert joined_groups(["b", "a", "b", None], [b"1", b"2", b"3", b"4"]) == ["b", "a", "b", None]


def test_groups_that_share_an_image_are_one_unit_through_others_too() -> None:
    groups = ["d", "c", "c", "b", "b", "a", "z"]
    digests = [b"1", b"1", b"2", b"2", b"3", b"3", b"9"]
    assert joined_groups(groups, digests) == ["a"] * 6 + ["z"]


def test_an_image_without_a_group_follows_its_twin() -> None:
    assert joined_groups([None, "p", None, None], [b"1", b"1", b"2", None]) == ["p", "p", None, None]


def test_unreadable_images_join_nothing() -> None:
    assert joined_groups(["a", "b", None], [None, None, None]) == ["a", "b", None]


images = st.lists(st.tuples(st.none() | st.sampled_from("abcdefgh"), st.none() | st.sampled_from([b"1", b"2", b"3"])))


@given(images=images, order=st.randoms())
def test_units_are_the_connected_parts(images: list[tuple[str | None, bytes | None]], order: object) -> None:
    """Against the definition: two images belong together iff a chain of common groups and contents leads between."""
    units = joined_groups([group for group, _ in images], [digest for _, digest in images])
    part = list(range(len(images)))
    for _ in images:
        for i, j in itertools.combinations(range(len(images)), 2):
            same_group = images[i][0] is not None and images[i][0] == images[j][0]
            same_content = images[i][1] is not None and images[i][1] == images[j][1]
            if same_group or same_content:
                part[i] = part[j] = min(part[i], part[j])
    for i in range(len(images)):
        named = sorted(group for (group, _), own in zip(images, part, strict=True) if own == part[i] and group)
        assert units[i] == (named[0] if named else None)
