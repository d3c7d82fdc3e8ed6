"""How long an epoch takes, and how much memory, against the tutorial's loop: `scripts/bench_finetune.py [PHOTOS]`.

PHOTOS holds train/ and val/ (by default the ants and bees in the folder that FEATCLI_SHARED names). The network is
resnet18 with random weights, frozen through layer3, at 224 pixels, in batches of 64. The peer is the loop of PyTorch's
transfer-learning tutorial: DataLoader with one process per core, PIL, eager fp32, gradients of the frozen part off,
training and validation in each epoch. Ours are whole commands: features, solved head, boundary tensors, epochs with
validation, checkpoint. Each runs in a process of its own; the order turns from round to round; medians are shown.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.photographs import PHOTOGRAPHS, require_photographs

BATCH = 64
EPOCHS = 10
OURS = {
    "recomputed, fp32": ["train.augment=light"],
    "boundary kept, fp32": ["train.augment=flip"],
    "boundary kept, bf16": ["train.augment=flip", "precision=bf16"],
    "all of the model, fp32": ["train.augment=light", "backbone.freeze_depth=none", "train.epochs=2"],
}


def tutorial(photos: Path, epochs: int) -> dict[str, Any]:
    """The tutorial's loop, a few epochs of it."""
    import torch
    from torch import nn
    from torchvision import datasets, models, transforms

    normalise = transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    vary = [transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip()]
    plain = [transforms.Resize(256), transforms.CenterCrop(224)]
    loaders = {
        split: torch.utils.data.DataLoader(
            datasets.ImageFolder(photos / split, transforms.Compose([*steps, transforms.ToTensor(), normalise])),
            batch_size=BATCH,
            shuffle=split == "train",
            num_workers=os.cpu_count() or 1,
        )
        for split, steps in (("train", vary), ("val", plain))
    }
    model = models.resnet18(weights=None)
    for parameter in model.parameters():
        parameter.requires_grad = False
    for parameter in model.layer4.parameters():
        parameter.requires_grad = True
    model.fc = nn.Linear(512, 2)
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.001, momentum=0.9)
    criterion = nn.CrossEntropyLoss()
    seconds = []
    for _ in range(epochs):
        start = time.perf_counter()
        for split, loader in loaders.items():
            model.train(split == "train")
            for inputs, labels in loader:
                optimizer.zero_grad()
                with torch.set_grad_enabled(split == "train"):
                    loss = criterion(model(inputs), labels)
                    if split == "train":
                        loss.backward()
                        optimizer.step()
        seconds.append(time.perf_counter() - start)
    return {"epochs": seconds, "ten": statistics.median(seconds) * EPOCHS}


def ours(photos: Path, settings: list[str]) -> dict[str, Any]:
    """`finetune`, with the time at which each epoch was reported."""
    from featcli.commands.finetune import finetune
    from featcli.config import load_config
    from featcli.events import EpochEnd, Event
    from featcli.workflow.session import Session

    start = time.perf_counter()
    reported: list[float] = []

    def emit(event: Event) -> None:
        if isinstance(event, EpochEnd):
            reported.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as work:
        common = [
            f"data.root={photos}", "backbone.name=resnet18", "backbone.weights=none", "backbone.freeze_depth=layer3",
            f"train.batch_size={BATCH}", f"train.epochs={EPOCHS}", "head.C=1.0", f"output={work}/run",
        ]  # fmt: skip
        finetune(Session(load_config(None, [*common, *settings], {}), Path(work, "cache"), emit))
    epochs = [after - before for before, after in itertools.pairwise(reported)]
    return {"epochs": epochs, "ten": time.perf_counter() - start if len(epochs) == EPOCHS else None}


def measure(name: str, photos: Path) -> dict[str, Any]:
    """One of them in a process of its own."""
    environment = {**os.environ, "OMP_WAIT_POLICY": "passive"} if name in OURS else None
    done = subprocess.run(
        [sys.executable, __file__, str(photos), "--worker", name], capture_output=True, text=True, env=environment
    )
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("photos", nargs="?", type=Path, default=PHOTOGRAPHS)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    photos = require_photographs(arguments.photos)
    if arguments.worker:
        name = arguments.worker
        found = ours(photos, OURS[name]) if name in OURS else tutorial(photos, 3)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        print(json.dumps(found | {"megabytes": memory}))
        return
    names = ["tutorial", *OURS]
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for index in range(arguments.rounds):
        for name in names[::-1] if index % 2 else names:
            rounds[name].append(measure(name, photos))
    steady = {name: statistics.median(s for item in rounds[name] for s in item["epochs"][1:]) for name in names}
    ten = {name: statistics.median(item["ten"] or 0 for item in rounds[name]) for name in names}
    print(f"{'':24} {'epoch, s':>9} {'ratio':>6} {'10 epochs, s':>13} {'ratio':>6} {'peak MB':>8}")
    for name in names:
        memory = max(item["megabytes"] for item in rounds[name])
        whole = f"{ten[name]:13.1f} {ten['tutorial'] / ten[name]:6.2f}" if ten[name] else f"{'':20}"
        print(f"{name:24} {steady[name]:9.2f} {steady['tutorial'] / steady[name]:6.2f} {whole} {memory:8.0f}")


if __name__ == "__main__":
    main()
