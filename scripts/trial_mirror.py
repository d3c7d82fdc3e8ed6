"""Whether `train.mirror: auto` decides well: `scripts/trial_mirror.py [--only WORD] [--features-only] [--runs N]`.

For each data set and backbone: the accuracy of held-out images and of their mirror images, and what follows. Data sets
are photographs of ants and bees, the digits of scikit-learn and of MNIST, textures (from the folder that FEATCLI_SHARED
names), and arrows that are drawn here, pointing left and right, or up and down. Small subsets, seeds 0 to N - 1, show
how far chance moves the decision. Then arrows are fine-tuned with mirroring on, off and decided.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np
from PIL import Image, ImageDraw

from tests.photographs import SHARED, require_photographs

SIDE = 64
SIZES = (24, 80)  # training images of a small subset
LARGEST = 800


def draw_arrows(root: Path, names: tuple[str, str], *, count: int) -> Path:
    """Arrows of random place, size, colour and background; a class points one way, the other the opposite way."""
    turn = names != ("left", "right")
    for label, name in enumerate(names):
        folder = root / name
        folder.mkdir(parents=True)
        for index in range(count):
            random = np.random.default_rng([label, index, 7])
            pixels = random.integers(60, 200, 3) + random.normal(0, 12, (SIDE, SIDE, 3))
            image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
            length, x, y = random.uniform(14, 26), *random.uniform(26, SIDE - 26, 2)
            sign = 1 if label else -1
            points = [(-1, -0.18), (0.2, -0.18), (0.2, -0.5), (1, 0), (0.2, 0.5), (0.2, 0.18), (-1, 0.18)]
            placed = [(x + sign * length * a, y + length * b) for a, b in points]
            colour = tuple(int(value) for value in random.integers(0, 256, 3))
            ImageDraw.Draw(image).polygon([(b, a) if turn else (a, b) for a, b in placed], fill=colour)
            image.save(folder / f"{index:03d}.png")
    return root


def save_digits(root: Path) -> Path:
    """scikit-learn's 1797 handwritten digits, 8 x 8, enlarged to 64 x 64."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    for index, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        folder = root / f"n{label}"
        folder.mkdir(parents=True, exist_ok=True)
        image = Image.fromarray((pixels * 255 / 16).astype(np.uint8))
        image.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(folder / f"{index:04d}.png")
    return root


def measure(root: Path, backbone: str, weights: str, runs: int, cache: Path) -> list[dict[str, Any]]:
    """The trial on all training images, and on small subsets of them."""
    from featcli.analysis.mirroring import LabelledImages, try_mirroring
    from featcli.backbones.weights import load_backbone
    from featcli.data.dataset import open_dataset
    from featcli.data.naming.source import DataSource
    from featcli.events import ignore
    from featcli.features.extraction import Extractor, compute_table
    from featcli.features.store import FeatureStore
    from featcli.runtime import decide_runtime
    from featcli.tasks import task_of

    data = open_dataset(DataSource(root=root, val_fraction=0.2), seed=0, workers=2, emit=ignore)
    runtime = decide_runtime("cpu", "fp32")
    extractor = Extractor(load_backbone(backbone, weights, emit=ignore), runtime)
    store = FeatureStore(cache, extractor.space, extractor.backbone.feature_size, ignore)
    train = [sample for sample in data.samples if sample.split == "train"]
    sizes = [(min(len(train), LARGEST), 0)] + [
        (size, seed) for size in SIZES if size < len(train) for seed in range(runs)
    ]
    chosen = np.random.default_rng(0).permutation(len(train))[:LARGEST]
    train = [train[row] for row in sorted(chosen)]
    with store.writer(extractor.engine.provenance()) as writer:
        refs = [sample.ref for sample in train]
        table = compute_table(extractor, refs, store=store, writer=writer, batch_size=32, emit=ignore)
    usable = np.flatnonzero(table.readable)
    labels = np.array([sample.label for sample in train], dtype=np.int64)
    found = []
    for size, seed in sizes:
        rows = np.random.default_rng(seed).permutation(usable)[:size]
        images = LabelledImages(
            [refs[row] for row in rows], table.features[rows], labels[rows], [train[row].unit for row in rows]
        )
        trial = try_mirroring(extractor, images, task_of(data.classes), seed=seed)
        assert trial is not None
        found.append(
            {
                "images": size,
                "tested": trial.n,
                "plain": trial.plain / trial.n,
                "mirrored": trial.mirrored / trial.n,
                "mirror": trial.survives,
            }
        )
    return found


def finetune(root: Path, output: Path, mirror: str, cache: Path, backbone: list[str]) -> dict[str, Any]:
    """The validation accuracies of a fine-tuning: of the solved head, the best and the last epoch."""
    command = [
        sys.executable, "-m", "featcli", "finetune", *backbone, "--set", f"data.root={root}", "-o", str(output),
        "--set", f"train.mirror={mirror}", "--set", "backbone.freeze_depth=stage5", "--cache", str(cache),
        "--set", "train.epochs=6", "--json",
    ]  # fmt: skip
    ran = subprocess.run(command, capture_output=True, text=True, cwd=Path(__file__).resolve().parents[1])
    if ran.returncode:
        raise SystemExit(ran.stderr)
    epochs = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    accuracies = [entry["val_accuracy"] for entry in epochs if "val_accuracy" in entry]
    decided = json.loads((output / "metrics.json").read_text())["head"]["mirror"]
    return {"mirror": decided, "head": accuracies[0], "best": max(accuracies), "last": accuracies[-1]}


def print_head(*columns: str) -> None:
    """The first two lines of a table."""
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features-only", action="store_true", help="no fine-tuning")
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="subsets of each size")
    parser.add_argument("--only", default="", metavar="WORD", help="data sets of such a name; arrows are fine-tuned")
    arguments = parser.parse_args()
    photographs = require_photographs()
    with tempfile.TemporaryDirectory(prefix="trial-mirror-") as folder:
        place, cache = Path(folder), Path(os.environ.get("FEATCLI_CACHE", f"{folder}/store"))
        arrows = draw_arrows(place / "arrows", ("left", "right"), count=100)
        data = {
            "ants and bees": photographs,
            "textures": SHARED / "data" / "textures",
            "digits (scikit-learn)": save_digits(place / "digits"),
            "digits (MNIST)": SHARED / "data" / "mnist5k",
            "arrows left, right": arrows,
            "arrows up, down": draw_arrows(place / "upright", ("down", "up"), count=100),
        }
        backbones = {
            "efficientnet_lite0": "DEFAULT",
            "mobilenet_v2": str(SHARED / "weights" / "mobilenet_v2.safetensors"),
        }
        print_head("data set", "backbone", "training images", "tested", "plain", "mirrored", "mirrors")
        for name, root in data.items():
            if arguments.only not in name:
                continue
            for backbone, weights in backbones.items():
                found = measure(root, backbone, weights, arguments.runs, cache)
                for size in dict.fromkeys(entry["images"] for entry in found):
                    same = [entry for entry in found if entry["images"] == size]
                    plain, mirrored = (np.mean([entry[key] for entry in same]) for key in ("plain", "mirrored"))
                    yes = sum(entry["mirror"] for entry in same)
                    print(
                        f"| {name} | {backbone} | {size} | {same[0]['tested']} | {plain:.3f} | {mirrored:.3f} "
                        f"| {yes} of {len(same)} |",
                        flush=True,
                    )
        if arguments.features_only:
            return
        # By neutral names, so that it is the measurement that decides.
        (arrows / "left").rename(arrows / "one")
        (arrows / "right").rename(arrows / "two")
        print()
        print_head("arrows, fine-tuned", "train.mirror", "mirrors", "solved head", "best epoch", "last epoch")
        for backbone, weights in backbones.items():
            flags = ["--set", f"backbone.name={backbone}", "--set", f"backbone.weights={weights}"]
            for mirror in ("true", "false", "auto"):
                run = finetune(arrows, place / f"{backbone}-{mirror}", mirror, cache, flags)
                accuracies = " | ".join(f"{run[key]:.3f}" for key in ("head", "best", "last"))
                print(f"| {backbone} | {mirror} | {run['mirror']} | {accuracies} |", flush=True)


if __name__ == "__main__":
    main()
