"""What many images cost besides the network: `scripts/bench_data.py [--images N]`.

Makes N small images (10,000 by default), then measures listing and hashing them cold and warm, `check` on them, and
`train-head` after ten were added; and how many of 500 images change their split when 50 are added.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--images", type=int, default=10_000)
    count = parser.parse_args().images
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
