"""Two processes extract the same images into one store at once, and one of them is killed: `scripts/stress_store.py`.

The truth is a run alone, with a store of its own: every row must equal it bit for bit. Segments are written every tenth
of a second instead of every 20 s, so that there is much to write, to merge and to kill. Takes about a minute on two
cores; exits 1 where anything is wrong.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from featcli.events import Event
from featcli.features.maintenance import list_spaces, verify_store
from featcli.features.store import FeatureStore, Space

PROJECT = Path(__file__).resolve().parents[1]
SEGMENT_SECONDS = 0.1
MOST_SEGMENTS = 17  # 16 small ones that need no merging, and a merged one
KILL_AFTER = 4  # segments
COMMAND = (
    "import featcli.features.store as store\n"
    f"store._SEGMENT_SECONDS = {SEGMENT_SECONDS}\n"
    "from featcli.__main__ import main\n"
    "main()\n"
)
MODEL = {"name": "efficientnet_lite0", "weights": "none", "preprocess": "{resize: 40, crop: 32}"}


class Stress:
    """Images, the truth about them, and what was found wrong."""

    def __init__(self, work: Path, count: int) -> None:
        self.work = work
        self.paths = make_images(work / "photos", count)
        self.failures = 0

    def start(self, cache: str, output: str) -> subprocess.Popen[str]:
        """Starts `featcli extract photos`."""
        settings = [part for name, value in MODEL.items() for part in ("--set", f"backbone.{name}={value}")]
        arguments = ["extract", "photos", *settings, "-o", output, "--cache", cache, "--threads", "1", "--workers", "1"]
        return subprocess.Popen(
            [sys.executable, "-c", COMMAND, *arguments],
            cwd=self.work,
            env={**os.environ, "PYTHONPATH": str(PROJECT)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def expect(self, what: str, holds: bool, detail: object = "") -> None:
        """Prints one line of the table."""
        print(f"{'ok  ' if holds else 'FAIL'}  {what}  {detail}".rstrip(), flush=True)
        self.failures += not holds

    def finish(self, what: str, process: subprocess.Popen[str]) -> str:
        """Waits for a run that has to end well; gives what it says of its features."""
        _, said = process.communicate(timeout=600)
        features = re.search(r"^features +(.*from the store.*)$", said, re.MULTILINE)
        self.expect(f"{what} ends with 0", process.returncode == 0, features[1] if features else said[-500:])
        return features[1] if features else ""

    def expect_equal(self, what: str, output: str) -> None:
        """Same paths, and the same bits in each row."""
        truth, found = (np.load(self.work / name, allow_pickle=False) for name in ("truth.npz", output))
        same = np.array_equal(truth["paths"], found["paths"]) and (
            truth["features"].tobytes() == found["features"].tobytes()
        )
        self.expect(f"{what} equals the run alone", same, f"{found['features'].shape}")

    def expect_stored(self, cache: str, *, all_rows: bool, kills: int = 0) -> None:
        """The store is sound, and what it holds is right, looked up by our own hashes."""
        checked = verify_store(self.work / cache)
        self.expect(f"{cache}: every segment is sound", not checked.corrupt, f"{checked.checked} segments")
        (described,) = list_spaces(self.work / cache)
        truth = np.load(self.work / "truth.npz", allow_pickle=False)["features"]
        events: list[Event] = []
        store = FeatureStore(
            self.work / cache, Space(**described.described), truth.shape[1], events.append, read_only=True
        )
        found, rows = store.find([hashlib.sha256(path.read_bytes()).digest() for path in self.paths])
        right = not events and rows[found].tobytes() == truth[found].tobytes()
        self.expect(
            f"{cache}: {'no row lost' if all_rows else 'rows are right'}",
            right and (found.all() if all_rows else found.any()),
            f"{found.sum()} of {len(found)} images, {len(store)} rows",
        )
        if all_rows:
            temporary = len(list((self.work / cache).rglob("*.tmp")))
            self.expect(f"{cache}: small segments are merged", checked.checked <= MOST_SEGMENTS)
            self.expect(f"{cache}: at most a killed writer's temporary file", temporary <= kills, temporary)


def make_images(folder: Path, count: int) -> list[Path]:
    folder.mkdir()
    random = np.random.default_rng(0)
    paths = [folder / f"{index:05d}.png" for index in range(count)]
    for path in paths:
        Image.fromarray(random.integers(0, 256, (40, 44, 3), dtype=np.uint8)).save(path)
    return paths


def both_at_once(stress: Stress) -> None:
    started = time.monotonic()
    one, two = stress.start("together", "one.npz"), stress.start("together", "two.npz")
    stress.finish("one of two at once", one)
    stress.finish("the other", two)
    print(f"      two at once took {time.monotonic() - started:.1f} s")
    stress.expect_equal("one of two at once", "one.npz")
    stress.expect_equal("the other", "two.npz")
    stress.expect_stored("together", all_rows=True)


def one_killed(stress: Stress) -> None:
    victim, other = stress.start("killed", "victim.npz"), stress.start("killed", "other.npz")
    while len(list((stress.work / "killed").rglob("*.safetensors"))) < KILL_AFTER:
        if victim.poll() is not None:
            break
        time.sleep(0.005)
    victim.send_signal(signal.SIGKILL)
    victim.communicate(timeout=60)
    stress.expect("one is killed in the middle", victim.returncode == -signal.SIGKILL, victim.returncode)
    stress.expect("it has written nothing to its place", not (stress.work / "victim.npz").exists())
    stress.expect("the other still runs", other.poll() is None)
    stress.expect_stored("killed", all_rows=False)
    stress.finish("the other", other)
    stress.expect_equal("the other", "other.npz")
    said = stress.finish("the next run", stress.start("killed", "victim.npz"))
    stress.expect("it computes nothing", said.startswith("0 computed"), said)
    stress.expect_equal("the next run", "victim.npz")
    stress.expect_stored("killed", all_rows=True, kills=1)


def killed_alone(stress: Stress) -> None:
    """No other process to finish the work: the next run takes what is there and computes the rest."""
    victim = stress.start("alone", "late.npz")
    while len(list((stress.work / "alone").rglob("*.safetensors"))) < KILL_AFTER and victim.poll() is None:
        time.sleep(0.005)
    victim.send_signal(signal.SIGKILL)
    victim.communicate(timeout=60)
    stress.expect("a run alone is killed", victim.returncode == -signal.SIGKILL, victim.returncode)
    said = stress.finish("the next run", stress.start("alone", "late.npz"))
    stored = re.search(r"(\d+) from the store", said)
    stress.expect("it uses what was stored", stored is not None and int(stored[1]) >= KILL_AFTER, said)
    stress.expect_equal("the next run", "late.npz")
    stress.expect_stored("alone", all_rows=True, kills=1)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=2000)
    with tempfile.TemporaryDirectory(prefix="featcli-stress-") as folder:
        stress = Stress(Path(folder), parser.parse_args().images)
        started = time.monotonic()
        stress.finish("a run alone", stress.start("truth", "truth.npz"))
        print(f"      a run alone took {time.monotonic() - started:.1f} s")
        for part in (both_at_once, one_killed, killed_alone):
            part(stress)
    print(f"{stress.failures} failures")
    return int(stress.failures > 0)


if __name__ == "__main__":
    sys.exit(main())
