"""What a folder costs whose features are all stored: `scripts/bench_listing.py [--images 10000 100000] [--profile]`.

Makes so many distinct small JPEGs in ten classes, writes random features for them with the store's own writer, runs
`extract` once, which fills the memo of hashes, then times whole commands warm, process start included. `train-head`
has a single C, so its head is quick. `--profile` prints
where `extract` and a dry run spend their time instead.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from featcli.data.hashing import SETTLED_NS
from featcli.features.segments import Segment
from featcli.features.store import SegmentWriter

MODEL = ["--set", "backbone.name=mobilenet_v3_small", "--set", "backbone.weights=none"]
MODEL += ["--set", "backbone.preprocess={resize: 40, crop: 32}", "--set", "head.C=0.001"]
SEEDS = 20  # images whose features are computed, so that the place of the others is known


def jpeg(index: int, plain: bytes) -> bytes:
    """A JPEG of other bytes for each index: a comment of its own after the start marker."""
    text = b"%012d" % index
    return plain[:2] + b"\xff\xfe" + (len(text) + 2).to_bytes(2, "big") + text + plain[2:]


def write_images(root: Path, first: int, stop: int) -> list[bytes]:
    """Their hashes."""
    buffer = io.BytesIO()
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(np.repeat(np.repeat(pixels, 4, 0), 4, 1)).save(buffer, "JPEG", quality=50)
    digests = []
    for label in range(10):
        (root / f"class{label}").mkdir(parents=True, exist_ok=True)
    for index in range(first, stop):
        data = jpeg(index, buffer.getvalue())
        (root / f"class{index % 10}" / f"{index:07d}.jpg").write_bytes(data)
        digests.append(hashlib.sha256(data).digest())
    return digests


def command(*arguments: str | Path, profile: bool = False) -> tuple[float, float]:
    """Wall seconds of `featcli`, and those of the processor, which other work disturbs less."""
    start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
    python = [sys.executable, *(["-m", "cProfile", "-s", "cumulative"] if profile else []), "-m", "featcli"]
    done = subprocess.run([*python, *map(os.fspath, arguments)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    seconds, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if profile:
        print("\n".join(done.stdout.splitlines()[:90]))
    return seconds, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def measure(work: Path, count: int, *, profile: bool) -> None:
    photos, cache = work / "photos", work / "cache"
    data = ["--set", f"data.root={photos}", "--cache", os.fspath(cache), *MODEL]
    write_images(photos, 0, SEEDS)
    command("extract", *data, "-o", work / "x.npz")
    (segment,) = cache.rglob("*.safetensors")
    digests, random = write_images(photos, SEEDS, count), np.random.default_rng(0)
    width = Segment.open(segment, None).feature_size
    with SegmentWriter(segment.parent, width, "{}") as writer:
        for digest in digests:
            writer.add(digest, random.random(width, dtype=np.float32))
    time.sleep(SETTLED_NS / 1e9 + 0.1)  # younger files are not remembered
    extract = ["extract", *data, "-o", work / "x.npz"]
    first = command(*extract)
    print(f"{count} images: seconds, and of the processor", flush=True)
    print(f"  extract, nothing in the memo {first[0]:7.2f} {first[1]:7.2f}", flush=True)
    train = ["train-head", *data]
    if profile:
        command(*extract, profile=True)
        command(*train, "-o", work / "none", "--dry-run", profile=True)
        return
    for label, arguments in (
        ("extract -o x.npz", extract),
        ("train-head --dry-run", [*train, "-o", work / "none", "--dry-run"]),
        ("train-head", [*train, "-o", work / "run"]),
        ("check", ["check", *data]),
    ):
        wall, processor = (min(times) for times in zip(*(command(*arguments) for _ in range(2)), strict=True))
        print(f"  {label:28} {wall:7.2f} {processor:7.2f}", flush=True)
    print(f"  most memory of a command     {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024:7.0f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--images", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--profile", action="store_true", help="print where extract and a dry run spend their time")
    options = parser.parse_args()
    for count in options.images:
        with tempfile.TemporaryDirectory(prefix="featcli-bench-listing-") as name:
            measure(Path(name), count, profile=options.profile)


if __name__ == "__main__":
    main()
