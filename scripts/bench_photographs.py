"""The JPEGs that `bench_speed.py` reads, made from a folder of photographs."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageOps


def small_photographs(photos: Path, folder: Path, count: int) -> list[Path]:
    """Different JPEGs of about 500 x 375: the photographs in mixed order, then again with less of their border."""
    sources = sorted(photos.rglob("*.jpg"))
    random.Random(0).shuffle(sources)
    (folder / "set").mkdir(parents=True, exist_ok=True)
    made = []
    for index in range(count):
        border, place = divmod(index, len(sources))
        path = folder / "set" / f"{index:05d}-{sources[place].parent.name}.jpg"
        if not path.exists():
            with Image.open(sources[place]) as image:
                ImageOps.crop(image.convert("RGB"), border).save(path, quality=90)
        made.append(path)
    return made


def large_photographs(small: Sequence[Path], folder: Path, count: int) -> list[Path]:
    """JPEGs of 4000 x 3000: sixteen photographs each, twice as large as they are."""
    (folder / "set").mkdir(parents=True, exist_ok=True)
    made = [folder / "set" / f"{index:05d}.jpg" for index in range(count)]
    for index, path in enumerate(made):
        if path.exists():
            continue
        mosaic = Image.new("RGB", (4000, 3000))
        for place in range(16):
            with Image.open(small[(16 * index + place) % len(small)]) as image:
                piece = ImageOps.fit(image, (500, 375)).resize((1000, 750), Image.Resampling.BICUBIC)
            mosaic.paste(piece, (place % 4 * 1000, place // 4 * 750))
        mosaic.save(path, quality=90)
    return made


def warm_of(photos: Sequence[Path]) -> list[Path]:
    """The first photographs in a folder of their own, for whoever takes folders."""
    whole = photos[0].parents[1]
    folder = whole.with_name(f"{whole.name}-warm") / "set"
    folder.mkdir(parents=True, exist_ok=True)
    for path in photos[:32]:
        if not (folder / path.name).exists():
            (folder / path.name).hardlink_to(path)
    return sorted(folder.iterdir())
