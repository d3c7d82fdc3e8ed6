"""An exported file on images, in a process of its own that has no torch: what it predicts, and how fast.

The process is `python -m featcli.export.trial`: it reads a job as JSON, says how far it is on standard output, and
leaves an answer in a file. It takes images through the same decoding as `predict`, and the network from the file alone.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcli.data.pixels.loading import load_pixels
from featcli.data.pixels.preprocessing import Preprocessing, WholeImages
from featcli.data.readers.files import file_ref
from featcli.errors import EnvironmentFault, FeatcliError
from featcli.events import Emit, Progress
from featcli.export.formats import Run, open_file
from featcli.features.engines.openvino import first_line

_ROUNDS, _TIMED = 5, 16  # of the comparison of speed, and images in each
_ANSWER = "answer.json"
_ARRAY = "predictions.npy"


@dataclass(frozen=True, slots=True)
class Trial:
    """What a file predicts.

    Attributes:
        predictions: (N, K) float64, a row for each image; of what could not be read, zeros.
        errors: index of such an image to the reason.
        had_torch: whether the process imported torch.
        speed: how many times as fast as the other file it is, where there is one.
    """

    predictions: NDArray[np.float64]
    errors: Mapping[int, str]
    had_torch: bool
    speed: float | None


@dataclass(frozen=True, slots=True)
class Job:
    """What is to be tried.

    Attributes:
        file: to run.
        format: of it.
        paths: of images.
        preprocessing: of the checkpoint.
        whole: whether the file resizes and crops itself.
        threads: to use.
        other: a file of the same format whose speed is compared, or None.
    """

    file: Path
    format: str
    paths: Sequence[str]
    preprocessing: Preprocessing
    whole: bool
    threads: int
    other: Path | None = None

    def to_json(self) -> dict[str, Any]:
        """As the other process reads it."""
        return {
            "file": str(self.file),
            "format": self.format,
            "paths": list(self.paths),
            "preprocessing": self.preprocessing.to_json(),
            "whole": self.whole,
            "threads": self.threads,
            "other": None if self.other is None else str(self.other),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Job:
        """The inverse of `to_json`."""
        other = value["other"]
        return cls(
            Path(value["file"]),
            value["format"],
            value["paths"],
            Preprocessing.from_json(value["preprocessing"]),
            value["whole"],
            value["threads"],
            None if other is None else Path(other),
        )


def run_trial(job: Job, n_outputs: int, emit: Emit) -> Trial:
    """Runs a file in a process of its own.

    Args:
        job: what is to be tried.
        n_outputs: K.
        emit: hears the progress.

    Raises:
        EnvironmentFault: the file cannot be run, or not by this process.
    """
    package = str(Path(__file__).resolve().parents[2])
    search = os.pathsep.join([package, *filter(None, [os.environ.get("PYTHONPATH")])])
    with tempfile.TemporaryDirectory(prefix="featcli-") as folder:
        process = subprocess.Popen(
            [sys.executable, "-m", "featcli.export.trial", folder],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="surrogateescape",
            env=os.environ | {"PYTHONPATH": search, "PYTHONIOENCODING": "utf-8:surrogateescape"},
        )
        try:
            assert process.stdin is not None and process.stdout is not None and process.stderr is not None
            process.stdin.write(json.dumps(job.to_json()))
            process.stdin.close()
            emit(Progress("check", 0, len(job.paths)))
            for line in process.stdout:
                emit(Progress("check", int(line), len(job.paths)))
            said = process.stderr.read()
            code = process.wait()
        finally:
            process.kill()
            process.wait()
        if code != 0:
            lines = said.strip().splitlines() or [f"it ended with code {code}"]
            raise EnvironmentFault(f"the exported file cannot be run: {lines[-1][:300]}")
        emit(Progress("check", len(job.paths), len(job.paths), finished=True))
        answer = json.loads(Path(folder, _ANSWER).read_text(encoding="utf-8"))
        predictions = np.load(Path(folder, _ARRAY), allow_pickle=False)
    errors = {int(index): reason for index, reason in answer["errors"].items()}
    if len(errors) == len(job.paths):
        predictions = np.zeros((len(job.paths), n_outputs))
    if predictions.shape != (len(job.paths), n_outputs):
        raise EnvironmentFault(f"the exported file gives {predictions.shape[1:]} numbers for an image, not {n_outputs}")
    return Trial(predictions, errors, answer["had_torch"], answer["speed"])


def _main(folder: Path) -> int:
    """The other process."""
    job = Job.from_json(json.loads(sys.stdin.read()))
    preprocessing = WholeImages.of(job.preprocessing) if job.whole else job.preprocessing
    try:
        run, at_once = open_file(job.file, job.format, job.threads)
        rows, errors, timed = _predicted(job, run, at_once, preprocessing)
        speed = None
        if job.other is not None and timed:
            other, _ = open_file(job.other, job.format, job.threads)
            speed = _times_as_fast(run, other, timed)
    except FeatcliError as error:
        print(error.message, file=sys.stderr)
        return 1
    except Exception as error:  # whatever a runtime raises reaches whoever reads the last line
        print(first_line(error), file=sys.stderr)
        return 1
    np.save(Path(folder, _ARRAY), np.stack(rows) if rows else np.zeros((0, 0)), allow_pickle=False)
    answer = {"errors": errors, "had_torch": "torch" in sys.modules, "speed": speed}
    Path(folder, _ANSWER).write_text(json.dumps(answer), encoding="utf-8")
    return 0


def _predicted(
    job: Job, run: Run, at_once: int, preprocessing: Preprocessing
) -> tuple[list[NDArray[np.float64]], dict[int, str], list[NDArray[np.uint8]]]:
    """Predictions, reasons of what could not be read, and the first pixels."""

    def predict(path: str) -> tuple[NDArray[np.float64] | None, str, NDArray[np.uint8] | None]:
        loaded = load_pixels(file_ref(path), preprocessing.pixels, decoding=preprocessing.decoding)
        if loaded.value is None:
            return None, loaded.error or "unreadable", None
        pixels = np.ascontiguousarray(loaded.value)
        return run(pixels), "", pixels

    rows: list[NDArray[np.float64] | None] = []
    errors: dict[int, str] = {}
    timed: list[NDArray[np.uint8]] = []
    with ThreadPoolExecutor(max(at_once, job.threads)) as pool:
        for chunk in _chunks(job.paths, 4 * job.threads):
            for prediction, error, pixels in pool.map(predict, chunk):
                if pixels is not None and len(timed) < _TIMED:
                    timed.append(pixels)
                if prediction is None:
                    errors[len(rows)] = error
                rows.append(prediction)
            print(len(rows), flush=True)
    width = next((len(row) for row in rows if row is not None), 0)
    return [np.zeros(width) if row is None else row for row in rows], errors, timed


def _chunks(items: Iterable[str], size: int) -> Iterator[list[str]]:
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk


def _times_as_fast(run: Run, other: Run, images: Sequence[NDArray[np.uint8]]) -> float:
    """The median of the ratios of rounds, in each of which both begin in turn."""
    ratios = []
    for turn in range(_ROUNDS + 1):
        took = {}
        for one in (run, other) if turn % 2 else (other, run):
            start = time.perf_counter()
            for image in images:
                one(image)
            took[one] = time.perf_counter() - start
        if turn:  # the first warms up
            ratios.append(took[other] / took[run])
    return median(ratios)


if __name__ == "__main__":
    sys.exit(_main(Path(sys.argv[1])))
