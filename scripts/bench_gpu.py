"""Speed on a CUDA device, under two minutes: `scripts/bench_gpu.py [--images N]`. Random weights, no network.

Three tables: images per second of the forward pass on decoded pixels, in fp32 (TF32 off) and bf16, against a plain
eager loop on the same uint8 batches of 32 and 256 (ours pads to tiles and copies every tile from pinned memory; the
plain loop copies a stacked batch), with the lowest cosine to the plain loop's fp32 features; a whole `extract` of
generated 500 x 375 JPEGs with 16 workers, beside decoding alone; an epoch of `finetune` on the same images.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from featcli.backbones.weights import load_backbone
from featcli.events import ignore
from featcli.features.extraction import Extractor
from featcli.runtime import decide_runtime

NETWORKS = ("resnet18", "resnet50", "efficientnet_b0", "vit_b_16")
FORWARD_IMAGES = 1024
SECONDS = 0.7  # of each measurement, at least
WORKERS = 16
LIMIT = 100  # seconds after which no further row of the last table is begun


def images_per_second(work: Callable[[], Any], images: int) -> float:
    """Of work that ends with its result on the CPU; the first pass prepares kernels and is not counted."""
    work()
    start, passes = time.perf_counter(), 0
    while time.perf_counter() - start < SECONDS:
        work()
        passes += 1
    return images * passes / (time.perf_counter() - start)


def plain(backbone: Any, batches: Sequence[np.ndarray], precision: str, device: str) -> np.ndarray:
    """What a script would do: stack, copy, normalise, forward, back to the CPU at the end."""
    found = []
    with torch.inference_mode(), torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
        for batch in batches:
            images = backbone.preprocessing.normalise(torch.from_numpy(batch).to(device))
            found.append(backbone.network(images).float())
    return torch.cat(found).cpu().numpy()


def lowest_cosine(one: np.ndarray, other: np.ndarray) -> float:
    product = (one.astype(np.float64) * other).sum(1)
    return float((product / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)).min())


def forward_table(device: str, images: int, networks: Sequence[str]) -> None:
    stacked = np.random.default_rng(0).integers(0, 256, (images, 224, 224, 3), dtype=np.uint8)
    given = list(stacked)
    batches = {size: [stacked[i : i + size] for i in range(0, images, size)] for size in (32, 256)}
    print(f"{'forward, images/s':24} {'featcli':>9} {'plain 32':>9} {'plain 256':>9} {'ratio':>6}  lowest cosine")
    for name in networks:
        backbone = load_backbone(name, "none", preprocess={"resize": 256, "crop": 224}, emit=ignore)
        exact = None
        for precision in ("fp32", "bf16"):
            extractor = Extractor(backbone, decide_runtime(device, precision))
            exact = plain(backbone, batches[256], "fp32", device) if exact is None else exact
            cosine = lowest_cosine(extractor.forward(given), exact)
            ours = images_per_second(partial(extractor.forward, given), images)
            theirs = [
                images_per_second(partial(plain, backbone, batches[size], precision, device), images)
                for size in (32, 256)
            ]
            line = f"{name + ' ' + precision:24} {ours:9.0f} {theirs[0]:9.0f} {theirs[1]:9.0f}"
            print(f"{line} {ours / max(theirs):6.2f}  {cosine:.6f}", flush=True)


def make_photographs(folder: Path, count: int) -> None:
    """Two classes of JPEGs of 500 x 375 with the detail of a photograph, about 60 kB each."""

    def make(index: int) -> None:
        random = np.random.default_rng(index)
        coarse = random.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((500, 375), Image.Resampling.BICUBIC), dtype=np.int16)
        noisy = (smooth + random.integers(-12, 13, smooth.shape)).clip(0, 255).astype(np.uint8)
        path = folder / ("cats", "dogs")[index % 2] / f"{index:05d}.jpg"
        Image.fromarray(noisy).save(path, quality=85)

    for name in ("cats", "dogs"):
        (folder / name).mkdir(parents=True)
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(make, range(count)))


def decoding_per_second(folder: Path) -> float:
    """Of Pillow and resizing alone, with as many threads."""
    backbone = load_backbone("resnet18", "none", preprocess={"resize": 256, "crop": 224}, emit=ignore)

    def decode(path: Path) -> None:
        backbone.preprocessing.pixels(Image.open(io.BytesIO(path.read_bytes())).convert("RGB"))

    paths = sorted(folder.rglob("*.jpg"))
    start = time.perf_counter()
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(decode, paths))
    return len(paths) / (time.perf_counter() - start)


def command(*arguments: str | Path) -> float:
    """Seconds of `featcli ARGUMENTS` in this process: torch and the device are there already."""
    from featcli.cli import app

    said = io.StringIO()
    start = time.perf_counter()
    try:
        with (
            open(os.devnull, "w") as sink,
            contextlib.redirect_stdout(sink),
            contextlib.redirect_stderr(said),
        ):
            app([os.fspath(argument) for argument in arguments], prog_name="featcli")
    except SystemExit as stop:
        if stop.code:
            raise RuntimeError(f"{' '.join(map(str, arguments))} ended with {stop.code}: {said.getvalue()}") from stop
    return time.perf_counter() - start


def whole_commands(work: Path, device: str, images: int, started: float) -> None:
    photos = work / "photos"
    make_photographs(photos, images)
    decoding = decoding_per_second(photos)
    where = ("--device", device, "--workers", str(WORKERS), "-q")
    print(f"\n{'extract, images/s':24} {'featcli':>9} {'decoding':>9}  of {images} JPEGs, {WORKERS} threads")
    for name, precision in (("resnet18", "fp32"), ("resnet50", "fp32"), ("resnet50", "bf16")):
        settings = ("--set", f"backbone.name={name}", "--set", "backbone.weights=none", "--precision", precision)
        cache = ("--cache", work / f"cache-{name}-{precision}")
        seconds = command("extract", *settings, *cache, photos, "-o", work / "x.npz", *where)
        print(f"{name + ' ' + precision:24} {images / seconds:9.0f} {decoding:9.0f}", flush=True)
    print(f"\n{'finetune, resnet50':24} {'s':>9} {'images/s':>9}  one epoch more: training and validation")
    for label, augment, precision, depth in (
        ("light, from layer3, fp32", "light", "fp32", "layer2"),
        ("kept, from layer3, fp32", "none", "fp32", "layer2"),
        ("light, all, bf16", "light", "bf16", "none"),
    ):
        if time.perf_counter() - started > LIMIT:
            print(f"{label:24} left out: no time")
            continue
        seconds = epoch_seconds(work, photos, where, augment, precision, depth)
        print(f"{label:24} {seconds:9.2f} {images / seconds:9.0f}", flush=True)


def epoch_seconds(work: Path, photos: Path, where: Sequence[str], augment: str, precision: str, depth: str) -> float:
    """Of a second epoch: what a run of two takes longer than a run of one, by the runs' own clock of the training."""
    seconds = []
    for epochs in (1, 2):
        values = {
            "data.root": photos, "backbone.name": "resnet50", "backbone.weights": "none", "train.augment": augment,
            "backbone.freeze_depth": depth, "train.epochs": epochs, "train.batch_size": 64, "head.C": 1.0,
            "head.init": "random",
        }  # fmt: skip
        settings = [part for key, value in values.items() for part in ("--set", f"{key}={value}")]
        run = work / f"run-{augment}-{precision}-{depth}-{epochs}"
        cache = ("--cache", work / f"cache-resnet50-{precision}")
        command("finetune", *settings, "--precision", precision, *cache, "-o", run, *where)
        seconds.append(json.loads((run / "timings.json").read_text())["training"])
    return seconds[1] - seconds[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=2000, help="JPEGs for whole commands")
    parser.add_argument("--networks", nargs="*", default=NETWORKS, help="for the forward pass")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"), help="cpu: to try the script itself")
    chosen = parser.parse_args()
    if chosen.device == "cuda" and not torch.cuda.is_available():
        print("no CUDA device: nothing to measure")
        return
    start = time.perf_counter()
    card = torch.cuda.get_device_name(0) if chosen.device == "cuda" else "cpu"
    print(f"{card}, torch {torch.__version__}, {os.cpu_count()} cores\n")
    forward_table(chosen.device, min(FORWARD_IMAGES, chosen.images), chosen.networks)
    with tempfile.TemporaryDirectory(prefix="featcli-bench-") as folder:
        whole_commands(Path(folder), chosen.device, chosen.images, start)
    print(f"\n{time.perf_counter() - start:.0f} s in all")


if __name__ == "__main__":
    main()
