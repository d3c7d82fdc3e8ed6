"""Suspicious images: kinds in their order, bursts, caps; pictures taken as the pipeline reads images."""

from __future__ import annotations

import base64
import hashlib
import io
from pathlib import Path

import numpy as np
from PIL import Image

from featcli.analysis.suspects import KINDS, Suspect
from featcli.events import Event, Progress
from featcli.report.gallery import Limits, select
from featcli.report.material import Listed, Material
from featcli.report.numbers import Numbers
from featcli.report.pictures import LARGE, SMALL, Wanted, take_pictures


def material(suspects: list[Suspect]) -> Material:
    return Material(
        name="run", folder="/run", classes=["a", "b"], measured=None, others=[], head=Numbers({}, ""), images={},
        judged_training=None, cloud="", suspects=suspects, epochs=[], facts={}, config=[], commands=[],
    )  # fmt: skip


def test_kinds_in_their_order_the_strongest_first_and_not_too_many() -> None:
    found = [
        Suspect(f"{kind}{index}", kind, "other", index / 20, kind) for kind in reversed(KINDS) for index in range(14)
    ]
    groups = select(material(found), Limits()).groups
    assert [group.kind for group in groups] == list(KINDS)
    leaks = groups[0]
    assert (leaks.total, len(leaks.shown), leaks.shown[0]) == (14, 12, ["leak13", "other"])
    wanted = [item.image.path for item in select(material(found), Limits()).wanted]
    assert len(wanted) == len(set(wanted)) and not [path for path in wanted if path.startswith("classes")]


def test_duplicates_are_bursts_however_they_are_paired() -> None:
    pairs = [("a", "b"), ("c", "d"), ("e", "f"), ("b", "c"), ("g", "g2")]
    suspects = [
        Suspect(one, "duplicate", other, 1.0 - index / 10, f"why {index}") for index, (one, other) in enumerate(pairs)
    ]
    [group] = select(material(suspects), Limits()).groups
    assert group.shown == [["a", "b", "c", "d"], ["e", "f"], ["g", "g2"]]
    assert group.whys == ["why 0", "why 2", "why 4"]
    many = [Suspect("00", "duplicate", f"{index:02}", 1.0, "same") for index in range(1, 30)]
    [group] = select(material(many), Limits()).groups
    assert (len(group.shown[0]), group.whys) == (8, ["same (the first 8 of 30 images)"])


def jpeg(path: Path, size: tuple[int, int], orientation: int = 1) -> Listed:
    """Its left half is red; `orientation` is that of Exif."""
    pixels = np.zeros((size[1], size[0], 3), dtype=np.uint8)
    pixels[:, : size[0] // 2] = (255, 0, 0)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(pixels).save(path, quality=95, exif=exif)
    return Listed(str(path), str(path), "val", "a", hashlib.sha256(path.read_bytes()).hexdigest())


def opened(source: str) -> Image.Image:
    assert source.startswith("data:image/jpeg;base64,")
    return Image.open(io.BytesIO(base64.b64decode(source.split(",")[1])))


def test_pictures_are_upright_and_small(tmp_path: Path) -> None:
    lying = jpeg(tmp_path / "lying.jpg", (1200, 600), orientation=6)  # to be turned to the right: red comes on top
    small = jpeg(tmp_path / "small.jpg", (30, 20))
    heard: list[Event] = []
    found = take_pictures([Wanted(lying, LARGE), Wanted(small, SMALL)], None, 2, 1_000_000, heard.append)
    picture = found[lying.path]
    assert (picture.width, picture.height, picture.note) == (80, 160, None)
    pixels = np.asarray(opened(picture.source).convert("RGB"))
    assert pixels.shape == (160, 80, 3)
    assert pixels[10:60, :, 0].min() > 200 and pixels[100:150].max() < 60
    assert (found[small.path].width, found[small.path].height) == (30, 20), "never enlarged"
    assert heard[-1] == Progress("thumbnails", 2, 2, finished=True)


def test_what_is_gone_changed_or_broken_is_said(tmp_path: Path) -> None:
    gone = Listed("gone", str(tmp_path / "gone.jpg"), "val", "a", "0" * 64)
    changed = jpeg(tmp_path / "changed.jpg", (60, 60))
    jpeg(tmp_path / "changed.jpg", (61, 60))
    (tmp_path / "broken.jpg").write_bytes(b"no image")
    broken = Listed("broken", str(tmp_path / "broken.jpg"), "val", "a", "")
    wanted = [Wanted(item, LARGE) for item in (gone, changed, broken)]
    found = take_pictures(wanted, None, 1, 1_000_000, lambda event: None)
    assert (found["gone"].source, found["gone"].note) == ("", "no such file or directory")
    assert found[changed.path].note == "changed since the run" and found[changed.path].width == 61
    assert found["broken"].source == "" and found["broken"].note


def test_the_page_has_room_for_so_many_bytes(tmp_path: Path) -> None:
    listed = [jpeg(tmp_path / f"{index}.jpg", (200, 200)) for index in range(5)]
    wanted = [Wanted(item, LARGE) for item in listed]
    whole = take_pictures(wanted, None, 2, 1_000_000, lambda event: None)
    one = len(next(iter(whole.values())).source)
    few = take_pictures(wanted, None, 2, 3 * one, lambda event: None)
    assert [bool(few[item.path].source) for item in listed] == [True, True, True, False, False]
    assert few[listed[4].path].note == "left out for the page's size"
