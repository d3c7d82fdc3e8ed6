"""What many images cost besides the network: `scripts/bench_data.py [--images N | --pixels FOLDER]`.

Makes N small images (10,000 by default), then measures listing and hashing them cold and warm, `check` on them, and
`train-head` after ten were added; and how many of 500 images change their split when 50 are added.

With `--pixels`: from the bytes of photographs (60 JPEGs below the folder, and two of 12 megapixels made of them, one as
a phone stores it, on its side) to the crop, on one core: the ways to decode and to resize, in turns, the best of five.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from featcli.data.dataset import open_dataset
from featcli.data.hashing import MEMO_NAME, SETTLED_NS
from featcli.data.naming.source import DataSource
from featcli.events import ignore

MODEL = ["--set", "backbone.name=mobilenet_v3_small", "--set", "backbone.weights=none"]
MODEL += ["--set", "backbone.preprocess={resize: 40, crop: 32}", "--set", "head.C=1.0"]


def write_images(root: Path, count: int, first: int = 0) -> None:
    """Noise of 32 x 32 in ten classes, as JPEG."""
    for index in range(first, first + count):
        folder = root / f"class{index % 10}"
        folder.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(index).integers(0, 256, (32, 32, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{index:07d}.jpg")


def listing(root: Path, memo: Path | None) -> float:
    start = time.perf_counter()
    open_dataset(DataSource(root=root, val_fraction=0.2), seed=0, workers=2, emit=ignore, memo=memo)
    return time.perf_counter() - start


def command(*arguments: str | Path) -> tuple[float, str]:
    """Wall seconds and stdout of `featcli`."""
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-m", "featcli", *map(os.fspath, arguments)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    return time.perf_counter() - start, done.stdout


def changed_splits(old: int, new: int, seed: int) -> int:
    """How many of `old` units change their split when `new` are added; two classes."""
    from featcli.data.splits import split_by_hash

    rng = random.Random(seed)
    units = [f"{rng.getrandbits(256):064x}" for _ in range(old + new)]
    labels = [index % 2 for index in range(old + new)]
    before, after = (
        split_by_hash(units[:count], labels[:count], seed=0, val_fraction=0.2, test_fraction=0.0)
        for count in (old, old + new)
    )
    return sum(one != other for one, other in zip(before, after[:old], strict=True))


PREPROCESSING = {"resize": 256, "crop": 224, "mean": [0.5] * 3, "std": [0.5] * 3}


def compare(ways: dict[str, Callable[[bytes], object]], files: Sequence[bytes]) -> None:
    """Prints images a second of processor time of each way, and how many times that is of the first."""
    seconds = dict.fromkeys(ways, float("inf"))
    for _ in range(5):
        for name, way in ways.items():
            start = time.process_time()
            for data in files:
                way(data)
            seconds[name] = min(seconds[name], time.process_time() - start)
    for name, taken in seconds.items():
        print(f"  {name:38} {len(files) / taken:8.1f} images/s  {next(iter(seconds.values())) / taken:5.2f}")


def pixels_of(folder: Path) -> None:
    import simplejpeg
    import torch
    from torchvision import transforms as T

    from featcli.data.pixels.decoding import decode_picture
    from featcli.data.pixels.preprocessing import Preprocessing

    torch.set_num_threads(1)
    files = [path.read_bytes() for path in sorted(folder.rglob("*.jpg"))[:60]]
    large = []
    for index, orientation in enumerate((1, 6)):
        mosaic = Image.new("RGB", (4000, 3000))
        for tile in range(64):
            with Image.open(io.BytesIO(files[(index + tile) % len(files)])) as image:
                mosaic.paste(image.convert("RGB").resize((500, 375)), (tile % 8 * 500, tile // 8 * 375))
        exif, file = Image.Exif(), io.BytesIO()
        exif[0x0112] = orientation
        mosaic.save(file, "JPEG", quality=90, exif=exif)
        large.append(file.getvalue())

    def by_pillow(data: bytes) -> Image.Image:
        with Image.open(io.BytesIO(data)) as image:
            return ImageOps.exif_transpose(image).convert("RGB")

    for name, group in {
        "photographs": files,
        "12 megapixels": large[:1],
        "12 megapixels, on the side": large[1:],
    }.items():
        print(f"{name}, decoded")
        compare({"Pillow": by_pillow, "simplejpeg": simplejpeg.decode_jpeg, "featcli": decode_picture}, group)
        for interpolation in ("bilinear", "bicubic"):
            plain = Preprocessing.from_json(PREPROCESSING | {"interpolation": interpolation})
            scaled = replace(plain, decode="scaled")
            preset = T.Compose([T.Resize(256, T.InterpolationMode(interpolation)), T.CenterCrop(224), T.ToTensor()])
            ways: dict[str, Callable[[bytes], object]] = {
                "Pillow, Resize, CenterCrop, ToTensor": lambda data, preset=preset: preset(by_pillow(data)),
                "featcli, Pillow's resize": lambda data, own=plain: own.pixels(decode_picture(data), resizer="pillow"),
                "featcli": lambda data, own=plain: own.pixels(decode_picture(data)),
                "featcli, scaled": lambda data, own=scaled: own.pixels(decode_picture(data, own.decoding)),
            }
            print(f"{name}, decoded and resized, {interpolation}")
            compare(ways, group)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--pixels", type=Path, help="a folder of JPEGs: compare ways to decode and resize them")
    arguments = parser.parse_args()
    if arguments.pixels is not None:
        pixels_of(arguments.pixels)
        return
    count = arguments.images
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        write_images(work / "photos", count)
        time.sleep(SETTLED_NS / 1e9 + 0.1)  # younger files are not remembered
        data = ["--set", f"data.root={work / 'photos'}", "--cache", work / "cache", *MODEL]
        (work / "cache").mkdir()
        print(
            f"list, hash and split {count} images, cold  {listing(work / 'photos', work / 'cache' / MEMO_NAME):7.2f} s"
        )
        warm = min(listing(work / "photos", work / "cache" / MEMO_NAME) for _ in range(3))
        print(f"again, warm from the memo            {warm:7.2f} s  (under 1)")
        print(f"check, nothing stored                {command('check', *data)[0]:7.2f} s")
        train = ["train-head", *data, "-o", work / "run", "--json"]
        print(f"train-head, nothing stored           {command(*train)[0]:7.2f} s")
        print(f"check, all stored                    {command('check', *data)[0]:7.2f} s")
        again = command(*train)[0]
        extract = ["extract", *data, "-o", work / "x.npz"]
        same = command(*extract)[0]
        write_images(work / "photos", 10, first=count)
        ten = command(*extract)[0]
        empty = command("extract", work / "photos" / "class0" / "0000000.jpg", *data[2:], "-o", work / "y.npz")[0]
        print(f"train-head again, nothing new        {again:7.2f} s")
        print(f"extract: one image {empty:.2f} s, all stored {same:.2f} s, ten added {ten:.2f} s:")
        print(f"  ten of {count + 10}, beyond starting up     {ten - empty:7.2f} s  (under 2)")
        _, text = command(*train)
        print(f"  computed since: {json.loads(text)['features']['computed']}; changes: {json.loads(text)['changes']}")
    moved = [changed_splits(500, 50, seed) for seed in range(100)]
    print(
        f"old images that change their split, 50 added to 500: mean {np.mean(moved):.1f}, most {max(moved)}  (under 10)"
    )


if __name__ == "__main__":
    main()
