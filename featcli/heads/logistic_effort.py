"""How long a logistic head would take, from a few iterations on random numbers of its shape."""

from __future__ import annotations

import time

import numpy as np
import torch

from featcli.heads.kind import Workload
from featcli.heads.lbfgs import CrossEntropy, Limits, PenalisedProblem, minimise
from featcli.heads.logistic_path import one_thread_if_small

MOST_CLASSES = 100  # that C is chosen on; the time grows with their square
ONE_ITERATIONS = 45  # of a fit with one C, on the way there too: 29 to 79 were seen
PATH_ITERATIONS = 20  # for each of several values of C: 11 to 32
TRIED = 8  # iterations
FEW, MORE = 32, 96  # rows of two trials at least: what does not grow with the rows is told apart
TRIED_SIZE = 10_000_000  # multiplications in one product of a trial


def estimate_seconds(work: Workload) -> float:
    """Seconds here for choosing C, if there are several, and the fit on all rows; within a factor of three or so."""
    seconds = ONE_ITERATIONS * _iteration_seconds(work.rows, work.features, work.classes)
    if work.Cs > 1:
        classes = min(work.classes, MOST_CLASSES)
        rows = work.rows * classes * (work.folds - 1) // (work.classes * work.folds)
        seconds += work.folds * work.Cs * PATH_ITERATIONS * _iteration_seconds(rows, work.features, classes)
    return seconds


def _iteration_seconds(rows: int, features: int, classes: int) -> float:
    """As measured on as many rows as that takes little time, and on a third of them, along the line through both."""
    width, outputs = min(rows, features) + 1, 1 if classes == 2 else classes
    most = max(2, min(rows, max(MORE, TRIED_SIZE // (width * outputs))))
    with one_thread_if_small(rows * min(rows, features) * classes):
        seconds = _tried_seconds(most, width, classes)
        if most == rows:
            return seconds
        fewer = max(2, min(FEW, most), most // 3)
        slope = max(0.0, seconds - _tried_seconds(fewer, width, classes)) / (most - fewer)
    return seconds + slope * (rows - most)


def _tried_seconds(rows: int, width: int, classes: int) -> float:
    generator = np.random.default_rng(0)
    values = torch.from_numpy(generator.normal(size=(rows, width)))
    problem = PenalisedProblem(values, CrossEntropy(generator.integers(0, classes, rows), classes, None))
    limits = Limits(1e-15, TRIED)
    minimise(problem, 1e-3, problem.zero(), limits=Limits(1e-15, 1), tick=_unheard)  # prepares kernels
    start = time.perf_counter()
    found = minimise(problem, 1e-3, problem.zero(), limits=limits, tick=_unheard)
    return (time.perf_counter() - start) / max(1, found.iterations)


def _unheard(share: float) -> None:
    """Nobody waits for a trial."""
