"""How long a logistic head would take, from a few iterations on random numbers of its shape."""

from __future__ import annotations

import time

import numpy as np
import torch

from featcli.heads.kind import Workload
from featcli.heads.lbfgs import CrossEntropy, Limits, PenalisedProblem, minimise
from featcli.heads.logistic_path import one_thread_if_small

MOST_CLASSES = 100  # that C is chosen on; the time grows with their square
ONE_ITERATIONS = 60  # of a fit with one C, on the way there too: 29 to 79 were seen
PATH_ITERATIONS = 25  # for each of several values of C: 11 to 32
TRIED = 4
TRIED_SIZE = 20_000_000  # multiplications in one product of the trial


def estimate_seconds(work: Workload) -> float:
    """Seconds here for choosing C, if there are several, and the fit on all rows; within a factor of two or so."""
    seconds = ONE_ITERATIONS * _iteration_seconds(work.rows, work.features, work.classes)
    if work.Cs > 1:
        classes = min(work.classes, MOST_CLASSES)
        rows = work.rows * classes * (work.folds - 1) // (work.classes * work.folds)
        seconds += work.folds * work.Cs * PATH_ITERATIONS * _iteration_seconds(rows, work.features, classes)
    return seconds


def _iteration_seconds(rows: int, features: int, classes: int) -> float:
    width, outputs = min(rows, features) + 1, 1 if classes == 2 else classes
    some = max(2, min(rows, TRIED_SIZE // (width * outputs)))
    generator = np.random.default_rng(0)
    values = torch.from_numpy(generator.normal(size=(some, width)))
    labels = generator.integers(0, classes, some)
    with one_thread_if_small(rows * min(rows, features) * classes):
        problem = PenalisedProblem(values, CrossEntropy(labels, classes, None))
        start = time.perf_counter()
        found = minimise(
            problem, 1.0, problem.zero(), previous=None, limits=Limits(1e-12, TRIED), tick=lambda share: None
        )
        seconds = time.perf_counter() - start
    return seconds / max(1, found.iterations) * rows / some
