"""A head for thousands of classes: `python scripts/trial_many_classes.py`. Ten minutes.

First whole commands: classes of a few coloured squares each, as a random resnet18 sees them at 32 pixels; features are
stored before. Then whether C is the same chosen on 100 classes as on all.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from featcli.data.folds import stratified_folds
from featcli.heads import logistic
from featcli.heads.kind import LabelledRows
from featcli.heads.logistic import fit_logistic

FAST = [
    "backbone.name=resnet18",
    "backbone.weights=none",
    "backbone.preprocess.resize=32",
    "backbone.preprocess.crop=32",
]
GRID = [10.0**power for power in range(-4, 3)]


def write_squares(folder: Path, classes: int, images: int) -> None:
    rng = np.random.default_rng(0)
    for label in range(classes):
        base = rng.integers(0, 255, (4, 4, 3))
        (folder / f"s{label:05d}").mkdir(parents=True)
        for index in range(images):
            pixels = np.clip(base + rng.normal(0, 12, (4, 4, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).resize((16, 16), Image.Resampling.NEAREST).save(
                folder / f"s{label:05d}/{index}.png"
            )


def whole(classes: int, images: int) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_squares(folder / "d", classes, images)
        options = [part for option in [*FAST, f"data.root={folder / 'd'}"] for part in ("--set", option)]
        base = [sys.executable, "-m", "featcli"]
        store = ["--cache", str(folder / "store")]
        subprocess.run([*base, "extract", *options, *store, "-o", str(folder / "f.npz"), "-q"], check=True)
        start = last = time.perf_counter()
        silence, head = 0.0, ""
        command = [*base, "train-head", *options, *store, "-o", str(folder / "run")]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        assert process.stderr is not None
        for line in process.stderr:
            now = time.perf_counter()
            silence, last = max(silence, now - last), now
            head = line.strip() if line.startswith("head") else head
        _, status, usage = os.wait4(process.pid, 0)
        metrics = folder / "run" / "metrics.json"
        seconds = json.loads((folder / "run" / "timings.json").read_text())["head"]
        print(
            f"{classes} x {images}: {time.perf_counter() - start:.0f} s, of which the head {seconds:.0f} s; longest "
            f"silence {silence:.0f} s; {usage.ru_maxrss / 1e6:.1f} GB; metrics.json "
            f"{metrics.stat().st_size / 1e6:.1f} MB; exit {os.waitstatus_to_exitcode(status)}\n    {head}",
            flush=True,
        )


def choice(classes: int, images: int, spread: float) -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(classes), images)
    latent = rng.normal(size=(classes, 32))[labels] + spread * rng.normal(size=(len(labels), 32))
    mixed = latent @ rng.normal(size=(32, 256)) / 5.6 + 0.4 * rng.normal(size=(len(labels), 256))
    features = np.maximum(mixed - 0.3, 0.0).astype(np.float32)
    folds = stratified_folds([str(row) for row in range(len(labels))], labels.tolist(), folds=5, seed=0)
    found = []
    for most in (100, classes):
        logistic.MOST_CLASSES = most
        start = time.perf_counter()
        fitted = fit_logistic(LabelledRows(features, labels, classes), Cs=GRID, folds=folds, widen=True)
        found.append(f"C {fitted.C:g} on {fitted.selection_classes} ({time.perf_counter() - start:.0f} s)")
    print(f"{classes} x {images}, spread {spread:g}: {', '.join(found)}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave out 3000 classes")
    quick = parser.parse_args().quick
    whole(1000, 4)
    if not quick:
        whole(3000, 3)
    torch.set_num_threads(1)
    for spread in (0.5, 1.3, 2.5):
        choice(250, 6, spread)


if __name__ == "__main__":
    main()
