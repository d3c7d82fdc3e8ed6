"""A training that is killed again and again ends in the same bytes: `scripts/kill_finetune.py [--kills 20] [PHOTOS]`.

The truth is a run that nothing disturbs. Another one is killed with SIGKILL at random moments and goes on with
`--resume` after each. Whenever it comes to its end, checkpoint, log and predictions must be the truth's, byte for byte;
then it starts over, until there were enough kills. PHOTOS is a folder of classes; without it small images are made.
Takes two minutes on two cores; exits 1 on a difference.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

PROJECT = Path(__file__).resolve().parents[1]
COMPARED = ("checkpoint.safetensors", "metrics.jsonl", "predictions.csv")
# A third of the runs to be killed save after every step: much is being written when the kill comes.
COMMAND = (
    "from featcli.training import loop\n"
    "loop.SAVE_SHARE, loop.MID_EPOCH_SECONDS = {share}, {seconds}\n"
    "from featcli.__main__ import main\n"
    "main()\n"
)
SETTINGS = (
    "backbone.name=efficientnet_lite0", "backbone.weights=none", "backbone.preprocess={resize: 40, crop: 32}",
    "backbone.freeze_depth=4", "head.init=random", "head.dropout=0.2", "train.epochs=20", "train.batch_size=8",
    "train.augment=flip", "train.monitor=log_loss", "train.mixup=0.2", "train.ema=0.9", "train.batch_norm=train",
)  # fmt: skip


class Kills:
    """The folder of the work, and the command."""

    def __init__(self, work: Path, photos: Path, seed: int) -> None:
        self.work, self.photos = work, photos
        self.random = random.Random(seed)

    def start(self, output: str, *extra: str, often: bool = False) -> subprocess.Popen[str]:
        """Starts `featcli finetune`, which saves after every step or when a user's would."""
        code = COMMAND.format(share=1e9 if often else 0.05, seconds=0.0 if often else 300.0)
        settings = [part for item in (*SETTINGS, f"data.root={self.photos}") for part in ("--set", item)]
        return subprocess.Popen(
            [
                sys.executable,
                "-c",
                code,
                "finetune",
                *settings,
                "-o",
                output,
                "--cache",
                f"cache-{output}",
                "--threads",
                "1",
                *extra,
            ],
            cwd=self.work,
            env={**os.environ, "PYTHONPATH": str(PROJECT)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def undisturbed(self) -> float:
        """Runs to the end; gives the seconds that it takes."""
        started = time.monotonic()
        self.end(self.start("truth"))
        return time.monotonic() - started

    def kill(self, number: int, seconds: float) -> bool:
        """Kills a run at a random moment and says where it was; False where it had ended before."""
        process = self.start("killed", "--resume", often=self.random.random() < 1 / 3)
        moment = self.random.uniform(0, seconds)
        try:
            _, said = process.communicate(timeout=moment)
        except subprocess.TimeoutExpired:
            process.kill()
            _, said = process.communicate()
        if process.returncode not in (0, -signal.SIGKILL):
            sys.exit(said)
        killed = process.returncode != 0
        print(f"{number:4}  {moment:6.2f} s  {'killed' if killed else 'ended'}  {place(said.splitlines())}", flush=True)
        return killed

    def end(self, process: subprocess.Popen[str]) -> None:
        """Waits for a run that has to end well."""
        _, said = process.communicate()
        if process.returncode != 0:
            sys.exit(said)

    def differences(self) -> int:
        """Compares a run that ended with the truth, file by file, and removes it; gives the number that differ."""
        differ = 0
        for name in COMPARED:
            one, other = ((self.work / output / name).read_bytes() for output in ("truth", "killed"))
            print(f"      {'ok  ' if one == other else 'FAIL'}  {name}  {len(one)} bytes", flush=True)
            differ += one != other
        shutil.rmtree(self.work / "killed")
        return differ


def place(lines: list[str]) -> str:
    """What a run said last, in brief."""
    return f"after: {' '.join(lines[-1].split())[:80]}" if lines else "before it said anything"


def make_images(folder: Path) -> Path:
    for label, name in enumerate(("cats", "dogs")):
        (folder / name).mkdir(parents=True)
        for index in range(40):
            pixels = np.random.default_rng([label, index]).integers(0, 90, (36, 44, 3))
            pixels[..., label] += 120
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"{index:02d}.png")
    return folder


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("photos", nargs="?", type=Path, help="a folder of classes")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="featcli-kill-") as folder:
        work = Path(folder)
        photos = arguments.photos.resolve() if arguments.photos else make_images(work / "photos")
        kills = Kills(work, photos, arguments.seed)
        seconds = kills.undisturbed()
        print(f"undisturbed: {seconds:.1f} s", flush=True)
        killed = differ = 0
        while killed < arguments.kills:
            if kills.kill(killed + 1, seconds):
                killed += 1
            else:
                differ += kills.differences()
        kills.end(kills.start("killed", "--resume"))
        differ += kills.differences()
    print(f"{differ} files differ")
    return int(differ > 0)


if __name__ == "__main__":
    sys.exit(main())
