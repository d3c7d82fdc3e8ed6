"""What features are divided by, and which C is chosen: `python scripts/trial_standardisation.py`. Eight minutes.

Each row is one way, on 20 drawings of 2 classes with 20 images each, and on some larger and unequal ones: log loss and
accuracy on held-out images, how many predictions are above 0.999, and how many of these are wrong.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from trial_sets import BACKBONES, SETS, Drawing, draw, load

from featcli.heads import logistic_folds, logistic_path
from featcli.heads.basis import RowIndices, Standardisation, standardisation
from featcli.heads.kind import FloatArray
from featcli.heads.logistic import Candidate, Selection, fit_logistic

GRID = [10.0**power for power in range(-4, 3)]
Combine = Callable[[Tensor, Tensor], Tensor]  # from the standard deviations, and those of the features that vary

SCALES: dict[str, Combine] = {
    "std": lambda std, live: std,
    "at least 5 % of the median": lambda std, live: torch.maximum(std, 0.05 * live.median()),
    "at least half the median": lambda std, live: torch.maximum(std, 0.5 * live.median()),
    "with half the median": lambda std, live: torch.hypot(std, 0.5 * live.median()),
    "with the median": lambda std, live: torch.hypot(std, live.median()),
    "with half the mean": lambda std, live: torch.hypot(std, 0.5 * live.mean()),
    "with the mean": lambda std, live: torch.hypot(std, live.mean()),
    "with the quadratic mean": lambda std, live: torch.hypot(std, live.square().mean().sqrt()),
    "all alike": lambda std, live: live.mean().expand_as(std),
}
CHOICES = {"least loss": 0.0, "one nat": 1.0, "two nats": 2.0}


def scaled(combine: Combine) -> Callable[[FloatArray, RowIndices], Standardisation]:
    """A standardisation that divides by something else."""

    def standardise(features: FloatArray, rows: RowIndices) -> Standardisation:
        block = torch.from_numpy(features[rows].astype(np.float64))
        std = block.std(0, correction=0)
        varies = block.amax(0) > block.amin(0)
        mean = standardisation(features, rows).mean
        return Standardisation(mean, torch.where(varies, combine(std, std[varies]), 1.0))

    return standardise


def choose(evidence: float) -> Callable[[Sequence[Candidate], int], Selection]:
    """A choice that wants more, or less, for a larger C."""

    def of(candidates: Sequence[Candidate], rows: int) -> Selection:
        ascending = tuple(sorted(candidates, key=lambda candidate: candidate.C))
        best = min(candidate.log_loss for candidate in ascending)
        return Selection(next(one.C for one in ascending if one.log_loss <= best + evidence / rows), ascending, rows)

    return of


def measure(drawings: Sequence[Drawing], scale: str, evidence: float, widen: bool) -> NDArray[np.float64]:
    logistic_folds.standardisation = logistic_path.standardisation = scaled(SCALES[scale])  # type: ignore[attr-defined]
    Selection.of = staticmethod(choose(evidence))  # type: ignore[assignment,method-assign]
    found = []
    for drawing in drawings:
        fitted = fit_logistic(drawing.train, Cs=GRID, folds=drawing.folds, widen=widen)
        found.append([*drawing.measure(fitted.head), np.log10(fitted.C)])
    return np.array(found)


def line(what: str, found: NDArray[np.float64], first: NDArray[np.float64]) -> str:
    loss, accuracy, balanced = found[:, :3].mean(0)
    sure, wrong = found[:, 3].sum(), found[:, 4].sum()
    return (
        f"  {what:40} {loss:7.4f} {loss / first[:, 0].mean():6.2f} {accuracy:8.4f} {balanced:8.4f} "
        f"{sure:7.0f} {wrong:5.0f} {100 * wrong / max(sure, 1):6.2f} %  10^{found[:, 5].mean():+.1f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="only the first and the last way")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    ways = [("std", "least loss", False), ("with the mean", "one nat", True)]
    if not arguments.quick:
        ways[1:1] = [(scale, "least loss", False) for scale in SCALES if scale != "std"]
        ways += [("with the mean", "least loss", True), ("with the mean", "two nats", True)]
    heading = f"{'log loss':>9}  ratio accuracy balanced  >0.999 wrong"
    pooled: dict[tuple[str, str, bool], list[NDArray[np.float64]]] = defaultdict(list)
    cases: list[tuple[str, tuple[int, ...], int]] = [(name, (20, 20), 20) for name in SETS[:3]]
    cases += [("textures", (10, 10, 10), 8), ("digits", (20,) * 10, 4), ("ants and bees", (80, 80), 6)]
    cases += [("digits", (95, 5), 12), ("ants and bees", (80, 6), 12)]
    for name, sizes, count in cases:
        for backbone in BACKBONES:
            drawings = list(draw(load(name, backbone), sizes, drawings=count))
            print(f"{name}, {' + '.join(map(str, sizes))} images, {backbone}{heading:>55}")
            first = None
            for scale, choice, widen in ways:
                found = measure(drawings, scale, CHOICES[choice], widen)
                first = found if first is None else first
                print(line(f"{scale}, {choice}{', wider' if widen else ''}", found, first), flush=True)
                if sizes == (20, 20):
                    pooled[scale, choice, widen].append(found)
    print(f"all of 20 + 20 images{heading:>55}")
    before = np.concatenate(pooled[ways[0]])
    for (scale, choice, widen), found_in in pooled.items():
        print(line(f"{scale}, {choice}{', wider' if widen else ''}", np.concatenate(found_in), before))


if __name__ == "__main__":
    main()
