"""What a large feature store costs to open and to use: `scripts/bench_store.py [--rows N] [--width D] [--slow]`.

Writes N rows of D features (a million of 512 by default, 2 GB) with the store's own writer to a temporary folder, then
measures in fresh processes: opening, and looking up 400 rows that lie apart, 400 that lie together, and all. With
`--slow` the rows come as from a slow network, in segments of 2000 that are merged.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from featcli.events import ignore
from featcli.features.merging import merge_segments
from featcli.features.store import FeatureStore, Space, space_folder

PROJECT = Path(__file__).resolve().parents[1]
SPACE = Space("synthetic", "00" * 32, {}, {}, "penultimate", 1, "fp32", "cpu")
SLOW_ROWS = 2000  # about what 20 s give at 100 images/s
TURNS = 3
USES = ("400 rows that lie apart", "400 that lie together", "all")


def digests(rows: Sequence[int]) -> list[bytes]:
    return [hashlib.sha256(b"%d" % row).digest() for row in rows]


def write_store(cache: Path, rows: int, width: int, *, slow: bool) -> float:
    """Wall seconds that the store took, without those that the synthetic features took."""
    random = np.random.default_rng(0)
    spent = 0.0
    writer = FeatureStore(cache, SPACE, width, ignore).writer({})
    for start in range(0, rows, SLOW_ROWS):
        part = range(start, min(start + SLOW_ROWS, rows))
        features, names = random.random((len(part), width), dtype=np.float32), digests(part)
        began = time.perf_counter()
        for name, feature in zip(names, features, strict=True):
            writer.add(name, feature)
        if slow:
            writer.flush()
        spent += time.perf_counter() - began
    began = time.perf_counter()
    writer.flush()
    merge_segments(space_folder(cache, SPACE), width)
    return spent + time.perf_counter() - began


def forget(cache: Path) -> None:
    """Asks the kernel to drop the files from its page cache."""
    for path in cache.rglob("*.safetensors"):
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def measure(cache: Path, rows: int, width: int, use: str) -> tuple[float, float]:
    """Seconds to open the store and to look rows up, in this process."""
    chosen = {
        USES[0]: range(0, rows, max(1, rows // 400)),
        USES[1]: range(rows // 2, min(rows // 2 + 400, rows)),
        USES[2]: range(rows),
    }
    wanted = digests(chosen[use])
    start = time.perf_counter()
    store = FeatureStore(cache, SPACE, width, ignore, read_only=True)
    opened = time.perf_counter()
    found, _ = store.find(wanted)
    assert found.all()
    return opened - start, time.perf_counter() - opened


def in_fresh_process(cache: Path, rows: int, width: int, use: str) -> tuple[float, float]:
    arguments = [str(cache), "--rows", str(rows), "--width", str(width), "--use", use]
    done = subprocess.run(
        [sys.executable, __file__, "--measure", *arguments],
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    opening, finding = json.loads(done.stdout)
    return opening, finding


def report(cache: Path, rows: int, width: int) -> None:
    print("                           opening      finding   (seconds; best of 3, page cache warm; cold in brackets)")
    for use in USES:
        forget(cache)
        cold = in_fresh_process(cache, rows, width, use)
        warm = [in_fresh_process(cache, rows, width, use) for _ in range(TURNS)]
        opening, finding = (min(times) for times in zip(*warm, strict=True))
        print(f"{use:24}  {opening:5.2f} ({cold[0]:.2f})  {finding:6.3f} ({cold[1]:.3f})", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--slow", action="store_true", help="segments of 2000 rows, merged at the end")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--use", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.rows, options.width, options.use)))
        return
    with tempfile.TemporaryDirectory(prefix="featcli-bench-store-") as name:
        seconds = write_store(Path(name), options.rows, options.width, slow=options.slow)
        files = list(Path(name).rglob("*.safetensors"))
        size = sum(path.stat().st_size for path in files) / 1e9
        shape = f"{options.rows} rows of {options.width}"
        print(f"{shape} in {len(files)} segments, {size:.2f} GB, written in {seconds:.1f} s")
        report(Path(name), options.rows, options.width)


if __name__ == "__main__":
    main()
