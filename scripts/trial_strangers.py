"""Who is told from a stranger how well: `python scripts/trial_strangers.py FOLDER_OF_FEATURES`.

The folder has a file `BACKBONE-DATASET.npz` for each of several data sets, as `featcli extract` writes them of folders
of class folders. Each data set in turn is the own one: 70 % of its images are learned from, the others and all images
of the other data sets are scored. Printed are, for each backbone, the share of strangers that is not told at a
threshold which 95 % of the own held-out images pass (FPR at 95 % TPR), its mean and its worst over pairs and draws.
Images whose name begins with a group, `group_...`, are drawn as groups with --grouped DATASET.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from featcli.data.folds import stratified_folds
from featcli.evaluation import novelty
from featcli.evaluation.novelty import Novelty
from featcli.heads.kind import LabelledRows
from featcli.heads.logistic import fit_logistic

Features = NDArray[np.float32]
Score = Callable[[Features], NDArray[np.float64]]
NEIGHBOURS = (1, 5, 10)
SHRINKAGES = (0.1, 0.3, 0.5, 0.7, 0.9)


def scores(features: Features, labels: NDArray[np.int64]) -> dict[str, Score]:
    """By name, what is larger for what is stranger."""
    k = int(labels.max()) + 1
    found: dict[str, Score] = {}
    for shrinkage in SHRINKAGES:
        with mock.patch.object(novelty, "SHRINKAGE", shrinkage):
            fitted = Novelty.fit(features, labels, k)
        assert fitted is not None
        found[f"novelty, shrinkage {shrinkage}"] = fitted.distances
    scaled = features / np.linalg.norm(features, axis=1, keepdims=True)

    def nearest(count: int) -> Score:
        def score(new: Features) -> NDArray[np.float64]:
            similar = (new / np.linalg.norm(new, axis=1, keepdims=True)) @ scaled.T
            return -np.partition(similar, -count, axis=1)[:, -count].astype(np.float64)

        return score

    for count in NEIGHBOURS:
        found[f"neighbour {count}"] = nearest(count)
    folds = stratified_folds([str(row) for row in range(len(labels))], labels.tolist(), folds=5, seed=0)
    rows = LabelledRows(features, labels, k)
    head = fit_logistic(rows, Cs=[10.0**power for power in range(-4, 3)], folds=folds).head

    def least_sure(new: Features) -> NDArray[np.float64]:
        logits = head.logits(new).astype(np.float64)
        logits -= logits.max(axis=1, keepdims=True)
        return np.asarray(-1.0 / np.exp(logits).sum(axis=1))

    found["probability"] = least_sure
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--grouped", nargs="*", default=["textures"])
    parser.add_argument("--strangers", nargs="*", default=["strangers"], help="data sets that are never the own one")
    options = parser.parse_args()
    files = sorted(options.folder.glob("*.npz"))
    for backbone in sorted({path.stem.rsplit("-", 1)[0] for path in files}):
        sets: dict[str, tuple[Features, NDArray[np.int64], list[str]]] = {}
        for path in files:
            if path.stem.rsplit("-", 1)[0] == backbone:
                file = np.load(path)
                parts = [str(name).split("/") for name in file["paths"]]
                labels = np.unique([part[-2] for part in parts], return_inverse=True)[1].astype(np.int64)
                groups = [f"{part[-2]}/{part[-1].split('_')[0]}" for part in parts]
                sets[path.stem.rsplit("-", 1)[1]] = file["features"], labels, groups
        missed: dict[str, list[float]] = {}
        for name, (features, labels, groups) in sets.items():
            if name in options.strangers:
                continue
            for draw in range(options.draws):
                rng = np.random.default_rng(draw)
                held_out = rng.random(len(labels)) < 0.3
                if name in options.grouped:
                    held_out = np.isin(groups, sorted(set(groups))[draw::4])
                for method, score in scores(features[~held_out], labels[~held_out]).items():
                    threshold = np.quantile(score(features[held_out]), 0.95)
                    for other, (strange, _, _) in sets.items():
                        if other != name:
                            missed.setdefault(method, []).append(float((score(strange) <= threshold).mean()))
        print(backbone)
        for method, shares in missed.items():
            print(f"  {method:24} mean {np.mean(shares):.4f}, worst {max(shares):.3f}", flush=True)


if __name__ == "__main__":
    main()
