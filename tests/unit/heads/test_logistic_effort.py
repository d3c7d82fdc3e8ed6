from __future__ import annotations

import time

import numpy as np
import torch

from featcli.heads.kind import Workload
from featcli.heads.logistic_effort import estimate_seconds
from featcli.heads.logistic_path import solve_path
from featcli.heads.registry import find_head


def test_the_estimate_is_of_the_size_of_the_work() -> None:
    # Wide bounds: other work goes on where tests run. A trial that is scaled wrongly is off by a hundred times.
    rng = np.random.default_rng(0)
    labels = np.arange(1200) % 60
    features = (rng.normal(size=(60, 128))[labels] + rng.normal(size=(1200, 128))).astype(np.float32)
    start = time.process_time()
    solve_path(features, labels, 60, [1.0])
    spent = time.process_time() - start
    assert spent / 20 < estimate_seconds(Workload(1200, 128, 60)) < 20 * spent
    few = estimate_seconds(Workload(1200, 128, 60, Cs=2, folds=5))
    assert estimate_seconds(Workload(1200, 128, 60, Cs=40, folds=5)) > 3 * few


def test_a_small_problem_is_measured_in_no_time_and_leaves_the_threads_alone() -> None:
    threads = torch.get_num_threads()
    assert 0.0 < estimate_seconds(Workload(50, 20, 2, Cs=7, folds=5)) < 10.0
    assert estimate_seconds(Workload(2, 20, 2)) > 0.0
    assert torch.get_num_threads() == threads


def test_the_logistic_head_can_say_how_long_it_takes() -> None:
    seconds = find_head("logistic").seconds
    assert seconds is not None
    assert 0.0 < seconds(Workload(50, 20, 2, Cs=7, folds=5)) < 10.0
