"""Whether confidence, sets and held-out numbers can be believed: `python scripts/trial_trust.py FEATURES.npz...`.

Each file is what `featcli extract FOLDER -o FEATURES.npz` writes of a folder of class folders. Of each, images are
drawn into a part that is learned from and a part that is measured, many times. Columns: the mean change of the measured
log loss by the temperature, the largest in nine of ten repeats, and how often sets of 0.9 hold the truth, over all
classes and for the class where that is farthest from 0.9 in the mean of the repeats.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featcli.data.folds import stratified_folds
from featcli.evaluation.calibration import SOLVED_SPREAD, fit_temperature, mean_log_loss
from featcli.evaluation.conformal import Scores
from featcli.heads.kind import LabelledRows
from featcli.heads.logistic import fit_logistic
from featcli.tasks.multiclass import softmax

GRID = [10.0**power for power in range(-4, 3)]


def read(path: Path) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    file = np.load(path)
    names = [str(name).split("/")[-2] for name in file["paths"]]
    return file["features"], np.unique(names, return_inverse=True)[1].astype(np.int64)


def one(
    features: NDArray[np.float32], labels: NDArray[np.int64], n: int, seed: int
) -> tuple[dict[str, float], NDArray[np.float64]]:
    """What was measured, and the coverage of each class."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(labels))
    train, rest = order[:n], order[n:]
    units, k = [str(row) for row in train], int(labels.max()) + 1
    folds = stratified_folds(units, labels[train].tolist(), folds=5, seed=seed)
    rows = LabelledRows(features[train], labels[train], k)
    fitted = fit_logistic(rows, Cs=GRID, folds=folds, widen=True, units=np.arange(n))
    assert fitted.held_out is not None
    own = labels[train][fitted.held_out.rows]
    temperature = fit_temperature(fitted.held_out.logits, own, SOLVED_SPREAD)
    logits = fitted.head.logits(features[rest]).astype(np.float64)
    members = Scores.of(softmax(fitted.held_out.logits / temperature, 1), own).rule(0.9)
    held = members.members(softmax(logits / temperature, 1))
    before, after = mean_log_loss(logits, labels[rest]), mean_log_loss(logits / temperature, labels[rest])
    holds = held[np.arange(len(rest)), labels[rest]]
    by_class = np.array([holds[labels[rest] == label].mean() for label in range(k)])
    found = {
        "before": before,
        "change": after - before,
        "temperature": temperature,
        "coverage": float(holds.mean()),
        "size": float(held.sum(axis=1).mean()),
        "held out": float((fitted.held_out.logits.argmax(1) == own).mean()),
        "accuracy": float((logits.argmax(1) == labels[rest]).mean()),
        "by class": float(members.by_class),
    }
    return found, by_class


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--images", type=int, nargs="+", default=[100, 240])
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    for path in options.files:
        features, labels = read(path)
        for n in options.images:
            if n > 0.8 * len(labels) or n < 5 * (labels.max() + 1):
                continue
            measured = [one(features, labels, n, seed) for seed in range(options.repeats)]
            found = [row for row, _ in measured]
            by_class = np.array([shares for _, shares in measured])
            means = by_class.mean(axis=0)
            farthest = int(np.abs(means - 0.9).argmax())
            spread = by_class[:, farthest].std(ddof=1) / np.sqrt(len(found))
            columns = {name: np.array([row[name] for row in found]) for name in found[0]}
            change = np.sort(columns["change"])
            error = columns["coverage"].std(ddof=1) / np.sqrt(len(found))
            print(
                f"{path.stem:32} n {n:4}  T {columns['temperature'].mean():.2f}"
                f"  log loss {columns['before'].mean():.3f}"
                f"  change {change.mean():+.4f}, of 9 in 10 at most {change[int(np.ceil(0.9 * len(change))) - 1]:+.4f}"
                f"  coverage {columns['coverage'].mean():.3f} (error {error:.4f}), size {columns['size'].mean():.2f}"
                f", a class {means[farthest]:.3f} (error {spread:.4f}; own thresholds {columns['by class'].mean():.0%})"
                f"  accuracy {columns['accuracy'].mean():.3f}, held out {columns['held out'].mean():.3f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
