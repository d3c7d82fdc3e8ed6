from __future__ import annotations

import torch

from featcli.heads import logistic_effort as effort
from featcli.heads.kind import Workload
from featcli.heads.logistic_effort import estimate_seconds
from featcli.heads.registry import find_head


def test_more_work_takes_longer(monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(effort, "_iteration_seconds", lambda rows, features, classes: rows * classes * 1e-6)
    one = estimate_seconds(Workload(1000, 512, 10))
    assert one == effort.ONE_ITERATIONS * 0.01
    chosen = estimate_seconds(Workload(1000, 512, 10, Cs=7, folds=5))
    assert chosen == one + 35 * effort.PATH_ITERATIONS * 0.008
    # Beyond a hundred classes C is chosen on a hundred of them, and a tenth of the rows.
    many = Workload(10_000, 512, 1000, Cs=7, folds=5)
    assert estimate_seconds(many) == effort.ONE_ITERATIONS * 10.0 + 35 * effort.PATH_ITERATIONS * 0.08


def test_a_small_problem_is_measured_in_no_time_and_leaves_the_threads_alone() -> None:
    threads = torch.get_num_threads()
    assert 0.0 < estimate_seconds(Workload(50, 20, 2, Cs=7, folds=5)) < 10.0
    assert estimate_seconds(Workload(2, 20, 2)) > 0.0
    assert torch.get_num_threads() == threads


def test_the_logistic_head_can_say_how_long_it_takes() -> None:
    assert find_head("logistic").seconds is estimate_seconds
