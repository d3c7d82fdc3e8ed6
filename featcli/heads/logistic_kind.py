"""The logistic head as a kind: a linear head, whose solver is loaded when it is needed, since it needs torch."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from featcli.events import Emit
from featcli.heads import linear
from featcli.heads.kind import Choice, HeadKind, HeldOut, LabelledRows, Solved, Workload


def solve(rows: LabelledRows, choice: Choice, emit: Emit) -> Solved:
    """As `featcli.heads.logistic.solve`."""
    from featcli.heads import logistic

    return logistic.solve(rows, choice, emit)


def seconds(work: Workload) -> float:
    """As `featcli.heads.logistic_effort.estimate_seconds`."""
    from featcli.heads.logistic_effort import estimate_seconds

    return estimate_seconds(work)


def hold_out(rows: LabelledRows, C: float, folds: NDArray[np.integer], emit: Emit) -> HeldOut | None:
    """As `featcli.heads.logistic.hold_out`."""
    from featcli.heads import logistic

    return logistic.hold_out(rows, C, folds, emit)


KIND = HeadKind(linear.KIND.tensors, linear.load, solve, linear.GRADIENT, seconds, hold_out)
