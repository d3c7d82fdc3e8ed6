"""Digests of what the commands give on real photographs: proof that a change of structure changes no result.

    python scripts/digests.py --write    # before the first move
    python scripts/digests.py            # after each move: exit 1 where anything differs

Ants and bees go through extract, train-head, finetune (kept, recomputed, killed and resumed), predict and evaluate,
with the packaged EfficientNet-Lite0 and with MobileNetV2 from a file. Of every run it takes the sha256 of the
checkpoint, features, predictions, metrics without times, standard output, and standard error without progress.
The digests are those of one processor, torch and number of threads; on another machine write your own first.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import platform
import re
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.photographs import PHOTOGRAPHS, SHARED, require_photographs
from tests.process import ForkServer, Running

RECORD = Path(__file__).with_suffix(".json")
BACKBONES = {
    "lite0": ("backbone.name=efficientnet_lite0", "backbone.freeze_depth=stage6"),
    "mobilenet": (
        "backbone.name=mobilenet_v2",
        "backbone.weights=mobilenet_v2.safetensors",
        "backbone.freeze_depth=stage6",
    ),
}
SHORT = ("train.epochs=2", "train.batch_size=16", "train.lr=1e-3")
TRAININGS = {"kept": ("train.augment=flip",), "recomputed": ("data.limit=40", "train.augment=light")}
RUN_FILES = ("checkpoint.safetensors", "config.yaml", "images.csv", "metrics.jsonl", "predictions.csv")
PROGRESS = re.compile(r"^\S+ +[0-9]+(/[0-9]+)? (images|files|%)(, .*)?\n", re.MULTILINE)
SECONDS = re.compile(r"about [0-9.]+ (s|min|h) here|estimated_seconds\": [0-9.]+")


class Place:
    """A working folder, with the photographs and weights linked into it."""

    def __init__(self, folder: Path, server: ForkServer) -> None:
        self.folder, self._server = folder, server
        (folder / "photos").symlink_to(PHOTOGRAPHS)
        (folder / "mobilenet_v2.safetensors").symlink_to(SHARED / "weights" / "mobilenet_v2.safetensors")
        (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff")

    def start(self, *arguments: str) -> Running:
        """Starts a command."""
        return self._server.start(*arguments, cwd=self.folder, env={"FEATCLI_CACHE": str(self.folder / "cache")})

    def run(self, *arguments: str, code: int = 0) -> dict[str, str]:
        """Runs a command to its end; the digests of both streams."""
        done = self.start(*arguments).wait(600)
        if done.code != code:
            raise SystemExit(f"featcli {' '.join(arguments)}: exit {done.code}\n{done.stderr}")
        said = PROGRESS.sub("", self._clean(done.stderr.encode()))
        return {"stdout": sha256(self._clean(done.stdout).encode()), "stderr": sha256(said.encode())}

    def run_folder(self, name: str) -> dict[str, str]:
        """The digests of a run's files."""
        folder = self.folder / name
        found = {file: sha256(self._clean((folder / file).read_bytes()).encode()) for file in RUN_FILES[1:]}
        metrics = json.loads((folder / "metrics.json").read_bytes())
        found["metrics.json"] = sha256(json.dumps(metrics).encode())
        return {RUN_FILES[0]: sha256((folder / RUN_FILES[0]).read_bytes())} | found

    def _clean(self, data: bytes) -> str:
        text = data.decode("utf-8", "surrogateescape").replace(f"{self.folder}{os.sep}", "")
        return SECONDS.sub("", text.replace(str(self.folder), "."))


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()[:24]


def settings(*values: str) -> list[str]:
    return [argument for value in values for argument in ("--set", value)]


def features(path: Path) -> str:
    """Of the arrays, since an archive holds times."""
    with np.load(path, allow_pickle=False) as arrays:
        digest = hashlib.sha256()
        for name in sorted(arrays):
            if name not in ("paths", "errors"):  # they begin with the folder
                digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode() + arrays[name].tobytes())
    return digest.hexdigest()[:24]


def kill_and_resume(place: Place, arguments: list[str], run: str) -> None:
    """Kills a training as soon as it has saved a snapshot, and lets another process finish it."""
    running = place.start("finetune", *arguments, "-o", run)
    while not (place.folder / run / "last.safetensors").is_file():
        time.sleep(0.02)
    running.kill()
    if running.wait().code != -signal.SIGKILL:
        raise SystemExit("the training ended before it could be killed")
    place.run("finetune", *arguments, "-o", run, "--resume")


def digests(place: Place) -> Iterator[tuple[str, Any]]:
    """Every result, by name."""
    for name, backbone in BACKBONES.items():
        base = settings("data.root=photos", *backbone)
        yield f"{name} check", place.run("check", "--for", "finetune", *base, *settings(*SHORT))
        yield f"{name} extract", place.run("extract", *base, "-o", "f.npz") | {"npz": features(place.folder / "f.npz")}
        yield (
            f"{name} extract csv",
            place.run("extract", *base, "-o", "f.csv", "--limit", "4")
            | {"csv": sha256(place._clean((place.folder / "f.csv").read_bytes()).encode())},
        )
        head = place.run("train-head", *base, "-o", f"{name}-head")
        yield f"{name} train-head", head | place.run_folder(f"{name}-head")
        mlp = settings("head.kind=mlp", "head.hidden=32", "train.epochs=3", "train.mixup=0.2", "train.ema=0.9")
        yield f"{name} mlp", place.run("train-head", *base, *mlp, "-o", f"{name}-mlp") | place.run_folder(f"{name}-mlp")
        for kind, training in TRAININGS.items():
            arguments = [*base, *settings(*SHORT, *training)]
            run = f"{name}-{kind}"
            yield f"{name} finetune {kind}", place.run("finetune", *arguments, "-o", run) | place.run_folder(run)
        kill_and_resume(place, arguments, f"{name}-killed")
        yield f"{name} finetune killed and resumed", place.run_folder(f"{name}-killed")
        for run in (f"{name}-head", f"{name}-kept", f"{name}-mlp"):
            yield f"{run} evaluate", place.run("evaluate", run, "--parity")
            yield f"{run} evaluate json", place.run("evaluate", run, "photos", "--json")
            yield f"{run} info", place.run("info", run)
        for options in (["--probs"], ["--format", "csv", "--probs"], ["--format", "table"], ["--top", "1"]):
            paths = ["photos/val", "broken.jpg", "missing.jpg"]
            yield f"{name} predict {' '.join(options)}", place.run("predict", f"{name}-head", *paths, *options, code=3)


def machine() -> dict[str, str]:
    """What the bits depend on."""
    capability = torch.backends.cpu.get_cpu_capability()
    return {"processor": platform.machine(), "vectors": capability, "torch": torch.__version__, "threads": "2"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help=f"record the digests in {RECORD.name}")
    parser.add_argument(
        "--streams", action="store_true", help="with --write: where only those of stdout and stderr differ"
    )
    options = parser.parse_args()
    require_photographs()
    recorded = json.loads(RECORD.read_text()) if RECORD.is_file() else {"machine": {}, "digests": {}}
    if not options.write and recorded["machine"] != machine():
        raise SystemExit(f"recorded on {recorded['machine']}, and this is {machine()}: write your own with --write")
    with tempfile.TemporaryDirectory(prefix="featcli-digests-") as folder, ForkServer() as server:
        found = dict(digests(Place(Path(folder).resolve(), server)))
    changed = [
        f"{name}: {part}"
        for name in found
        for part in found[name]
        if found[name][part] != recorded["digests"].get(name, {}).get(part)
    ]
    print("\n".join(changed) or f"{sum(map(len, found.values()))} digests, all as recorded")
    results = [line for line in changed if not line.endswith(("stdout", "stderr"))]
    if options.write and not (options.streams and results):
        RECORD.write_text(json.dumps({"machine": machine(), "digests": found}, indent=1) + "\n")
    elif changed:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
