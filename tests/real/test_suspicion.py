"""Copies planted among real photographs, overlapping tiles, and the placeholder that slipped into ants and bees."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image, ImageEnhance

from tests.cli.lab import read_csv
from tests.photographs import SHARED, missing
from tests.process import ForkServer

pytestmark = [pytest.mark.real, pytest.mark.slow]

CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "again": lambda image: image,
    "half": lambda image: image.resize((image.width // 2, image.height // 2), Image.Resampling.LANCZOS),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "turned": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
    "cropped": lambda image: image.crop(
        (image.width // 20, image.height // 20, image.width - image.width // 20, image.height - image.height // 20)
    ),
}


def plant(data: Path, count: int) -> dict[str, str]:
    """Adds so many copies, each change in turn; from the name of a copy to that of its original."""
    draw = random.Random(7)
    originals = draw.sample(sorted(path for path in data.rglob("*.jpg")), count)
    planted = {}
    for number, original in enumerate(originals):
        name = list(CHANGES)[number % len(CHANGES)]
        copy = data / draw.choice(("train", "val")) / original.parent.name / f"{name}-{number}.jpg"
        with Image.open(original) as image:
            CHANGES[name](image.convert("RGB")).save(copy, quality=draw.choice((60, 75, 90)))
        planted[copy.name] = original.name
    return planted


def test_planted_copies_among_photographs(server: ForkServer, hymenoptera: Path, tmp_path: Path) -> None:
    """At least 95 of 100 are found, and of 400 photographs at most two pairs are no copies."""
    data = tmp_path / "data"
    shutil.copytree(hymenoptera, data)
    planted = plant(data, 100)
    done = server.run("check", data, "--deep", "--cache", tmp_path / "cache", cwd=tmp_path, timeout=600)
    assert done.code == 0, done.stderr
    rows = read_csv(tmp_path / "issues.csv")
    pairs = {
        frozenset((Path(row["path"]).name, Path(row["partner"]).name))
        for row in rows
        if row["kind"] in ("leak", "conflict", "duplicate")
    }
    truth = {frozenset(pair) for pair in planted.items()}
    assert len(pairs & truth) >= 95
    assert len(pairs - truth) <= 2
    outliers = [Path(row["path"]).name for row in rows if row["kind"] == "outlier"]
    assert "imageNotFound.gif" in outliers


def test_overlapping_tiles_are_bursts(server: ForkServer, tmp_path: Path) -> None:
    """Of 300 tiles, a row each at most. Three quarters of the grass hold some of the same blades: one burst."""
    tiles = SHARED / "data" / "textures"
    if said := missing(tiles):
        pytest.skip(said)
    done = server.run("check", tiles, "--deep", "--json", "--cache", tmp_path / "cache", cwd=tmp_path, timeout=600)
    assert done.code == 0, done.stderr
    rows = [row for row in read_csv(tmp_path / "issues.csv") if row["kind"] in ("leak", "duplicate", "conflict")]
    assert 220 <= len(rows) <= 300
    pieces = {(Path(row["path"]).parent.name, Path(row["path"]).name[:8]) for row in rows}
    assert len(pieces) == 12
    for row in rows:
        one, other = (Path(row[name]) for name in ("path", "partner"))
        assert one.parent.name == other.parent.name
        assert one.name[:8] == other.name[:8] or one.parent.name == "grass"
