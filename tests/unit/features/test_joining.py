"""Stores of other machines joined with the own one."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from featcli.commands.cache import merge
from featcli.errors import UsageError
from featcli.events import Event, Note, ignore
from featcli.features.joining import join_stores, key_of
from featcli.features.maintenance import list_spaces
from featcli.features.segments import Segment
from featcli.features.store import FeatureStore, space_folder
from tests.unit.features.lab import SPACE, WIDTH, digest, feature, segments
from tests.unit.features.test_maintenance import age, damage, fill, require_rows


def test_the_rows_of_others_are_here_bit_for_bit(tmp_path: Path) -> None:
    here, one, other = tmp_path / "here", tmp_path / "one", tmp_path / "other"
    fill(here, ["a"])
    fill(one, ["a", "b"])
    fill(one, ["c"])
    fill(other, ["c", "d"])
    before = {path: path.read_bytes() for store in (one, other) for path in segments(store)}
    joined = join_stores(here, [one, other], ignore)
    assert [(item.source, item.new, item.known, item.damaged) for item in joined] == [
        (one, 2, 1, ()),
        (other, 1, 1, ()),
    ]
    require_rows(here, ["a", "b", "c", "d"])
    assert len(FeatureStore(here, SPACE, WIDTH, ignore)) == 4  # each row once
    assert before == {path: path.read_bytes() for store in (one, other) for path in segments(store)}
    again = join_stores(here, [other, one], ignore)
    assert [item.new for item in again] == [0, 0]
    assert len(segments(here)) == 4


def test_a_store_that_is_not_there_yet_is_made(tmp_path: Path) -> None:
    fill(tmp_path / "one", ["a", "b"])
    join_stores(tmp_path / "new/store", [tmp_path / "one"], ignore)
    require_rows(tmp_path / "new/store", ["a", "b"])
    (space,) = list_spaces(tmp_path / "new/store")
    assert space.described == SPACE.to_json() and key_of(space.described) == SPACE.key


def test_age_and_provenance_stay(tmp_path: Path) -> None:
    with FeatureStore(tmp_path / "one", SPACE, WIDTH, ignore).writer({"path": "elsewhere"}) as writer:
        writer.add(digest("a"), feature("a"))
    (path,) = segments(tmp_path / "one")
    age(path, 1e6)
    join_stores(tmp_path / "here", [tmp_path / "one"], ignore)
    (copied,) = segments(tmp_path / "here")
    assert json.loads(Segment.open(copied, WIDTH).provenance) == {"path": "elsewhere"}
    assert abs(copied.stat().st_mtime - path.stat().st_mtime) < 1


def test_damage_is_named_and_left_out(tmp_path: Path) -> None:
    bad = fill(tmp_path / "one", ["a", "b"])
    fill(tmp_path / "one", ["c"])
    damage(bad)
    answer = merge(tmp_path / "here", [tmp_path / "one"], ignore)
    assert answer.failure is not None and answer.failure.exit_code == 3
    assert answer.text is not None
    assert f"corrupt  {bad}: its checksum is wrong" in answer.text.splitlines()
    require_rows(tmp_path / "here", ["c"])
    assert len(FeatureStore(tmp_path / "here", SPACE, WIDTH, ignore)) == 1


def test_damage_in_what_is_here_already_is_named_too(tmp_path: Path) -> None:
    fill(tmp_path / "here", ["a"])
    bad = fill(tmp_path / "one", ["a"])
    damage(bad)
    (item,) = join_stores(tmp_path / "here", [tmp_path / "one"], ignore)
    assert item.damaged == ((bad, "its checksum is wrong"),)
    require_rows(tmp_path / "here", ["a"])


def test_numbers_that_are_none_are_not_taken(tmp_path: Path) -> None:
    with FeatureStore(tmp_path / "one", SPACE, WIDTH, ignore).writer({}) as writer:
        writer.add(digest("a"), np.full(WIDTH, np.nan, np.float32))
    (item,) = join_stores(tmp_path / "here", [tmp_path / "one"], ignore)
    assert item.new == 0 and item.damaged[0][1] == "its features are not finite numbers"
    assert segments(tmp_path / "here") == []


@pytest.mark.parametrize("text", ["{}", "no json", '{"backbone": "resnet18"}'])
def test_what_nobody_knows_the_meaning_of_is_not_taken(tmp_path: Path, text: str) -> None:
    fill(tmp_path / "one", ["a"])
    (space_folder(tmp_path / "one", SPACE) / "space.json").write_text(text)
    (item,) = join_stores(tmp_path / "here", [tmp_path / "one"], ignore)
    assert item.new == 0 and "its description is missing or damaged" in item.damaged[0][1]
    assert not (tmp_path / "here/features").exists()


def test_spaces_stay_apart_and_that_is_said(tmp_path: Path) -> None:
    fill(tmp_path / "here", ["a"])
    other = replace(SPACE, precision="bf16")
    fill(tmp_path / "one", ["b"], other)
    said: list[Event] = []
    answer = merge(tmp_path / "here", [tmp_path / "one"], said.append)
    assert answer.failure is None
    notes = [event.text for event in said if isinstance(event, Note)]
    assert notes == [
        f"features of {SPACE.backbone} lie in 2 spaces here, which differ in precision: a head learns from one of them"
    ]
    require_rows(tmp_path / "here", ["a"])
    require_rows(tmp_path / "here", ["b"], other)


def test_what_is_no_store_or_the_own_one(tmp_path: Path) -> None:
    fill(tmp_path / "here", ["a"])
    (tmp_path / "empty").mkdir()
    for source in ("empty", "missing"):
        with pytest.raises(UsageError, match="holds no feature store"):
            merge(tmp_path / "here", [tmp_path / source], ignore)
    os.symlink(tmp_path / "here", tmp_path / "link")
    with pytest.raises(UsageError, match="is the store to merge into"):
        merge(tmp_path / "here", [tmp_path / "link"], ignore)
    with pytest.raises(UsageError, match="holds no feature store"):
        merge(tmp_path / "here", [tmp_path / "here/features"], ignore)


def test_many_small_segments_become_one(tmp_path: Path) -> None:
    stores = []
    for index in range(20):
        stores.append(tmp_path / f"store{index}")
        fill(stores[-1], [f"image{index}"])
    join_stores(tmp_path / "here", stores, ignore)
    require_rows(tmp_path / "here", [f"image{index}" for index in range(20)])
    assert len(segments(tmp_path / "here")) < 20
    shutil.rmtree(tmp_path / "here")
