"""Whether label smoothing harms where classes are weighed: `scripts/trial_smoothing.py [--pairs N]`.

Two digits of MNIST (in the folder that FEATCLI_SHARED names), 200 images of one and 4 of the other to train on, 100 of
each to validate on, EfficientNet-Lite0, `head.class_weight: balanced`. Each head by gradient descent, and `finetune` of
the last stage, with label smoothing 0 and 0.1: the balanced accuracy of the epoch that is kept and of the last one.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from tests.photographs import SHARED, missing

PAIRS = ((3, 8), (4, 9), (1, 7), (0, 6))
COUNTS = {"train": (200, 4), "val": (100, 100)}
WAYS = {
    "linear": ("train-head", "head.kind=linear"),
    "mlp": ("train-head", "head.kind=mlp"),
    "finetune, last stage": ("finetune", "backbone.freeze_depth=stage7", "train.augment=none"),
}


def copy_pair(source: Path, root: Path, pair: tuple[int, int]) -> None:
    """The first images of two digits, in two splits."""
    for place, digit in enumerate(pair):
        images = iter(sorted((source / str(digit)).iterdir()))
        for split, counts in COUNTS.items():
            folder = root / split / f"digit-{digit}"
            folder.mkdir(parents=True)
            for _ in range(counts[place]):
                shutil.copy(next(images), folder)


def run(root: Path, output: Path, cache: Path, command: str, *settings: str) -> tuple[float, float]:
    """The balanced accuracy on validation of the epoch that is kept, and of the last."""
    options = [f"data.root={root}", "backbone.name=efficientnet_lite0", "head.class_weight=balanced", *settings]
    flags = [part for option in options for part in ("--set", option)]
    place = ["-o", str(output), "--cache", str(cache)]
    ran = subprocess.run(
        [sys.executable, "-m", "featcli", command, *flags, *place],
        capture_output=True,
        text=True,
        cwd=Path(__file__).resolve().parents[1],
    )
    if ran.returncode:
        raise SystemExit(ran.stderr)
    log = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    last = [entry for entry in log if entry["event"] == "epoch"][-1]["val_accuracy"]  # both classes have as many images
    return json.loads((output / "metrics.json").read_text())["val"]["balanced_accuracy"], last


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=len(PAIRS), metavar="N", help="how many pairs of digits")
    pairs = PAIRS[: parser.parse_args().pairs]
    source = SHARED / "data" / "mnist5k"
    if said := missing(source):
        raise SystemExit(said)
    columns = ("training", "digits", "kept, without", "kept, smoothed", "last, without", "last, smoothed")
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}", flush=True)
    with tempfile.TemporaryDirectory(prefix="trial-smoothing-") as folder:
        cache = Path(os.environ.get("FEATCLI_CACHE", f"{folder}/store"))
        found: dict[str, list[list[float]]] = {way: [] for way in WAYS}
        for pair in pairs:
            root = Path(folder, "-".join(map(str, pair)))
            copy_pair(source, root, pair)
            for way, (command, *settings) in WAYS.items():
                results = []
                for smoothing in ("0.0", "0.1"):
                    output = Path(folder, f"{root.name}-{command}-{len(found[way])}-{way[:3]}-{smoothing}")
                    results.append(run(root, output, cache, command, *settings, f"train.label_smoothing={smoothing}"))
                cells = [result[place] for place in (0, 1) for result in results]
                found[way].append(cells)
                print(f"| {way} | {pair[0]}, {pair[1]} | {' | '.join(f'{cell:.3f}' for cell in cells)} |", flush=True)
        for way, rows in found.items():
            means = " | ".join(f"**{mean:.3f}**" for mean in np.mean(rows, axis=0))
            print(f"| {way} | mean | {means} |", flush=True)


if __name__ == "__main__":
    main()
