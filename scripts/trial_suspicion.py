"""Whether suspicions can be believed.

`python scripts/trial_suspicion.py copies FOLDER` adds a hundred changed copies to a folder of images, so many times,
and counts how many `check --deep` finds, and how many pairs are none. `python scripts/trial_suspicion.py labels
FEATURES.npz...` (as `featcli extract FOLDER -o FEATURES.npz` writes them) flips labels, and compares the average
precision of their ranking with what cleanlab makes of the same heads' probabilities, the best of three methods.
"""

from __future__ import annotations

import argparse
import csv
import random
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
from cleanlab.rank import get_label_quality_scores
from PIL import Image, ImageEnhance
from sklearn.metrics import average_precision_score

from featcli.analysis.doubts import find_doubts


def cropped(image: Image.Image, share: float) -> Image.Image:
    x, y = round(image.width * share / 2), round(image.height * share / 2)
    return image.crop((x, y, image.width - x, image.height - y))


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "encoded again": lambda image: image,
    "half": lambda image: image.resize((max(1, image.width // 2), max(1, image.height // 2)), Image.Resampling.LANCZOS),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "turned": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "brighter": lambda image: ImageEnhance.Brightness(image).enhance(1.3),
    "cropped": lambda image: cropped(image, 0.1),
}
METHODS = ("self_confidence", "normalized_margin", "confidence_weighted_entropy")


def plant(data: Path, count: int, seed: int) -> set[frozenset[str]]:
    """Adds copies beside the originals, each change in turn; pairs of names."""
    draw = random.Random(seed)
    images = sorted(path for path in data.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    pairs = set()
    for number, original in enumerate(draw.sample(images, count)):
        change = list(CHANGES)[number % len(CHANGES)]
        copy = original.with_name(f"{change.replace(' ', '-')}-{number}.jpg")
        with Image.open(original) as image:
            CHANGES[change](image.convert("RGB")).save(copy, quality=draw.choice((60, 75, 90)))
        pairs.add(frozenset((str(original), str(copy))))
    return pairs


def copies(folder: Path, draws: int, backbone: str | None) -> None:
    print("| draw | planted | found | no copies | missed |\n|---|---|---|---|---|")
    for seed in range(draws):
        with tempfile.TemporaryDirectory() as place:
            data = Path(place) / "data"
            shutil.copytree(folder, data)
            planted = plant(data, 100, seed)
            command = [sys.executable, "-m", "featcli", "check", str(data), "--deep", "-o", f"{place}/issues.csv"]
            command += ["--cache", f"{place}/cache", "-q"]
            if backbone is not None:
                command += ["--backbone", backbone.split("=")[0]]
                command += ["--set", f"backbone.weights={backbone.split('=')[1]}"] if "=" in backbone else []
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL, cwd=place)
            with open(f"{place}/issues.csv", newline="") as file:
                rows = [row for row in csv.DictReader(file) if row["kind"] in ("leak", "conflict", "duplicate")]
            found = {frozenset((row["path"], row["partner"])) for row in rows}
            missed = sorted(max(Path(path).name for path in pair if "-" in path) for pair in planted - found)
            print(
                f"| {seed} | 100 | {len(planted & found)} | {len(found - planted)} | {' '.join(missed[:4])} |",
                flush=True,
            )


def labels(files: list[Path], draws: int) -> None:
    print("| features | flipped | ours | cleanlab, its best | listed | flipped that are listed |")
    print("|---|---|---|---|---|---|")
    for path in files:
        file = np.load(path)
        names = [str(name).split("/")[-2] for name in file["paths"]]
        features, truth = file["features"], np.unique(names, return_inverse=True)[1].astype(np.int64)
        n, k = len(truth), int(truth.max()) + 1
        for rate in (0.05, 0.1):
            scores = []
            for seed in range(draws):
                rng = np.random.default_rng(seed)
                given, flipped = truth.copy(), rng.permutation(n)[: round(rate * n)]
                given[flipped] = (given[flipped] + rng.integers(1, k, len(flipped))) % k
                wrong = np.isin(np.arange(n), flipped)
                doubts = find_doubts(features, given, k, [str(row) for row in range(n)])
                assert doubts is not None
                theirs = [
                    average_precision_score(wrong, 1 - get_label_quality_scores(given, doubts.first, method=method))
                    for method in METHODS
                ]
                listed = doubts.doubtful
                ours = average_precision_score(wrong, doubts.scores)
                scores.append([ours, *theirs, len(listed) / n, np.isin(flipped, listed).mean()])
            ours, *others, listed_share, recall = np.mean(scores, axis=0)
            cells = [f"{path.stem} ({n})", f"{rate:.0%}", *(f"{value:.4f}" for value in (ours, max(others)))]
            cells += [f"{value:.3f}" for value in (listed_share, recall)]
            print(f"| {' | '.join(cells)} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("copies", "labels"))
    parser.add_argument("paths", nargs="+", type=Path)
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--backbone", help="of copies: NAME or NAME=WEIGHTS")
    arguments = parser.parse_args()
    if arguments.what == "copies":
        for folder in arguments.paths:
            copies(folder.resolve(), arguments.draws, arguments.backbone)
    else:
        labels(arguments.paths, arguments.draws)


if __name__ == "__main__":
    main()
