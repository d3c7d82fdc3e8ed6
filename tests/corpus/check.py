"""featcli on the corpus: a row for each file in order, bounded memory, no hang, nothing touched."""

from __future__ import annotations

import hashlib
import json
import os
import re
import stat
import subprocess
import sys
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.corpus.case import Strange
from tests.corpus.samples import encode, noise
from tests.corpus.whole import corpus, write_corpus

PROJECT = Path(__file__).resolve().parents[2]
MODEL = {"name": "efficientnet_lite0", "weights": "none", "preprocess": "{resize: 40, crop: 32}"}
MAX_SECONDS = 120  # of one process
MAX_MEMORY = 1_600_000_000  # bytes, of one process


@dataclass(frozen=True)
class Finished:
    """A process that has ended."""

    code: int
    stdout: bytes
    stderr: str
    seconds: float
    memory: int  # bytes, at most


def run(work: Path, *arguments: str | Path, stdin: bytes = b"") -> Finished:
    """Runs `featcli ARGUMENTS` in a folder, killed when it takes too long."""
    (work / "stdin").write_bytes(stdin)
    command = [sys.executable, "-m", "featcli", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(PROJECT), "FEATCLI_CACHE": str(work / "cache")}
    started = time.monotonic()
    with (
        (work / "stdin").open("rb") as source,
        (work / "stdout").open("wb") as out,
        (work / "stderr").open("wb") as err,
    ):
        process = subprocess.Popen(command, cwd=work / "corpus", env=environment, stdin=source, stdout=out, stderr=err)
        while not (ended := os.wait4(process.pid, os.WNOHANG))[0]:
            if time.monotonic() > started + MAX_SECONDS:
                process.kill()
            time.sleep(0.02)
    _, status, usage = ended
    process.returncode = os.waitstatus_to_exitcode(status)
    unit = 1 if sys.platform == "darwin" else 1024
    return Finished(
        process.returncode,
        (work / "stdout").read_bytes(),
        (work / "stderr").read_text("utf-8", "backslashreplace"),
        time.monotonic() - started,
        usage.ru_maxrss * unit,
    )


def snapshot(folder: Path) -> dict[str, tuple[object, ...]]:
    """Mode, size, time of change and content of everything in a folder."""
    found: dict[str, tuple[object, ...]] = {}
    for name in sorted(os.listdir(folder)):
        path = folder / name
        status = path.lstat()
        content = ""
        if stat.S_ISLNK(status.st_mode):
            content = os.readlink(path)
        elif stat.S_ISREG(status.st_mode) and status.st_size < 1 << 30 and os.access(path, os.R_OK):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        found[name] = (status.st_mode, status.st_size, status.st_mtime_ns, content)
    return found


class Check:
    """A folder for the work, the corpus in it, and what was found wrong."""

    def __init__(self, work: Path) -> None:
        self.work = work
        self.folder = work / "corpus"
        self.folder.mkdir(parents=True)
        self.files = corpus()
        write_corpus(self.folder, self.files)
        self.failures = 0

    def expect(self, what: str, wrong: Sequence[str], detail: object = "") -> None:
        """Prints one line of the table, and each failure."""
        print(f"{'FAIL' if wrong else 'ok  '}  {what}  {detail}".rstrip(), flush=True)
        for line in wrong:
            print(f"        {line!a}")
        self.failures += len(wrong)

    def ended(self, what: str, process: Finished, code: int) -> None:
        """The exit code, the memory and what a process says."""
        wrong = [f"exit code {process.code}: {process.stderr[-500:]}"] if process.code != code else []
        wrong += [f"took {process.memory} bytes"] if process.memory > MAX_MEMORY else []
        noise = re.compile(r"Traceback|Warning|TIFF\w+:|libpng|Exception|^\w+Error", re.MULTILINE)
        wrong += [f"says: {process.stderr[-500:]}"] if noise.search(process.stderr) else []
        self.expect(what, wrong, f"exit {process.code}, {process.seconds:.1f} s, at most {process.memory >> 20} MiB")

    def pixels(self) -> None:
        """What featcli makes of each file, in this process."""
        started = time.monotonic()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Pillow's, as the command line does
            found = [(item, item.verdict(self.folder)) for item in self.files]
        wrong = [f"{item.about}: {verdict}" for item, verdict in found if verdict is not None]
        self.expect("pixels and reasons", wrong, f"{len(found)} files, {time.monotonic() - started:.1f} s")

    def predict(self) -> None:
        """All of the names on standard input, whatever they are."""
        train = self.work / "train"
        for label in (0, 1):
            (train / f"class{label}").mkdir(parents=True)
            for index in range(4):
                (train / f"class{label}" / f"{index}.png").write_bytes(encode(noise(40, 40, 3, seed=9 * label + index)))
        settings = [*model_settings(), "--set", "head.C=1.0", "--set", f"data.root={train}"]
        self.ended("train-head", run(self.work, "train-head", *settings, "-o", self.work / "run"), 0)
        fed = b"".join(item.file + b"\0" for item in self.files)
        done = run(self.work, "predict", self.work / "run", "-0", "-", stdin=fed)
        self.ended("predict", done, 3)
        self.expect("rows of predict", wrong_rows(self.files, done.stdout), f"{len(self.files)} files")

    def extract(self) -> None:
        """The folder, walked."""
        walked = sorted((item for item in self.files if item.is_walked), key=lambda item: os.fsdecode(item.file))
        output = self.work / "x.npz"
        self.ended("extract", run(self.work, "extract", self.folder, *model_settings(), "-o", output), 3)
        with np.load(output, allow_pickle=False) as found:
            paths, errors, rows = found["paths"].tolist(), dict(found["errors"].tolist()), found["features"]
        good = [item for item in walked if item.error is None]
        bad = {os.path.join(self.folder, os.fsdecode(item.file)): item for item in walked if item.error is not None}
        named = [os.path.join(self.folder, os.fsdecode(item.file)) for item in good]
        wrong = [] if paths == named else [f"rows: {sorted({*paths} ^ {*named})[:9]}, or their order"]
        wrong += [] if list(errors) == list(bad) else [f"errors: {sorted({*errors} ^ {*bad})[:9]}, or their order"]
        wrong += [f"{path}: {errors[path]}" for path in errors if path in bad and not matches(bad[path], errors[path])]
        wrong += [] if np.isfinite(rows).all() else ["features that are not finite"]
        self.expect("rows of extract", wrong, f"{len(paths)} features, {len(errors)} errors")
        if not wrong:
            self.rows_are_their_files(good, rows)

    def rows_are_their_files(self, good: Sequence[Strange], rows: NDArray[np.float32]) -> None:
        """Row i is file i: the expected pixels, saved plainly, give the same bits."""
        twins = self.work / "twins"
        twins.mkdir()
        chosen = [
            (index, item.about, item.pixels)
            for index, item in enumerate(good)
            if item.pixels is not None and item.tolerance == 0 and item.pixels.size < 1 << 20
        ]
        for index, _, pixels in chosen:
            (twins / f"{index:04d}.png").write_bytes(encode(pixels))
        output = self.work / "twins.npz"
        done = run(self.work, "extract", twins, *model_settings(), "-o", output, "--cache", self.work / "other")
        self.ended("extract of plain twins", done, 0)
        with np.load(output, allow_pickle=False) as found:
            twin_rows = found["features"]
        wrong = [
            f"{about}: not the features of its pixels"
            for (index, about, _), twin in zip(chosen, twin_rows, strict=True)
            if rows[index].tobytes() != twin.tobytes()
        ]
        self.expect("features are those of the pixels", wrong, f"{len(chosen)} lossless files, bit for bit")


def model_settings() -> list[str]:
    return [part for name, value in MODEL.items() for part in ("--set", f"backbone.{name}={value}")]


def matches(item: Strange, reason: str) -> bool:
    return item.error is not None and re.match(item.error, reason) is not None


def wrong_rows(files: Sequence[Strange], stdout: bytes) -> list[str]:
    """What is wrong with the rows of `predict`: one per file, in order, an error where one is expected."""
    rows = [json.loads(line) for line in stdout.split(b"\n") if line]
    if [os.fsencode(row["path"]) for row in rows] != [item.file for item in files]:
        return [f"{len(rows)} rows, not one per file in order"]
    wrong = []
    for item, row in zip(files, rows, strict=True):
        if item.error is None and (row["error"] is not None or row["label"] is None):
            wrong.append(f"{item.about}: {row['error']}")
        elif item.error is not None and not (row["label"] is None and matches(item, row["error"] or "")):
            wrong.append(f"{item.about}: label {row['label']}, error {row['error']}")
    return wrong
