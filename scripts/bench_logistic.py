"""Time `featcli.heads.logistic` against scikit-learn in the same run: `python scripts/bench_logistic.py [--quick]`."""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from featcli.heads.kind import LabelledRows
from featcli.heads.logistic import fit_logistic
from featcli.heads.logistic_path import solve_path

CS = [float(C) for C in np.logspace(-4, 2, 7)]
SHAPES = [(245, 1280, 2, 0.25), (1437, 1280, 10, 0.3), (2000, 1280, 10, 0.3), (10000, 512, 100, 0.5)]


def cnn_like(n: int, d: int, k: int, separation: float, seed: int = 0) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Features (n, d) as a network's pooled activations are: correlated, non-negative and skewed; and labels (n,)."""
    rng = np.random.default_rng(seed)
    rank = min(d, 64)
    labels = rng.integers(0, k, n)
    labels[:k] = np.arange(k)
    latent = (rng.normal(size=(k, rank)) * separation)[labels] + rng.normal(size=(n, rank))
    mixing = rng.normal(size=(rank, d)) * np.exp(-2.0 * np.arange(rank) / rank)[:, None] / np.sqrt(rank)
    features = np.maximum(latent @ mixing + 0.5 * rng.normal(size=(n, d)) - 0.5, 0.0)
    return (features * np.exp(0.5 * rng.normal(size=d))).astype(np.float32), labels


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def objective(
    scaled: NDArray[np.float64],
    labels: NDArray[np.int64],
    C: float,
    weight: NDArray[np.float64],
    bias: NDArray[np.float64],
) -> float:
    """Of weights (K, D), or (1, D) for two classes, and standardised features (N, D)."""
    logits = scaled @ weight.T + bias
    if len(weight) == 1:
        loss = np.logaddexp(0.0, np.where(labels == 1, -logits[:, 0], logits[:, 0])).sum()
    else:
        loss = (np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(labels)), labels]).sum()
    return float(C * loss + 0.5 * np.square(weight).sum())


def peer(features: NDArray[np.float32], labels: NDArray[np.int64], tol: float) -> list[float]:
    scaled = StandardScaler().fit_transform(features.astype(np.float64))
    models = (LogisticRegression(C=C, tol=tol, max_iter=20000).fit(scaled, labels) for C in CS)
    return [objective(scaled, labels, C, model.coef_, model.intercept_) for C, model in zip(CS, models, strict=True)]


def row(n: int, d: int, k: int, separation: float, repeats: int, tight: bool) -> str:
    features, labels = cnn_like(n, d, k, separation)
    folds = np.random.default_rng(1).permutation(n) % 5
    ours, theirs = float("inf"), float("inf")
    for _ in range(repeats):  # in turn, so that a busy machine slows both
        seconds, path = timed(lambda: solve_path(features, labels, k, CS))
        ours = min(ours, seconds)
        seconds, loose = timed(lambda: peer(features, labels, 1e-6))
        theirs = min(theirs, seconds)
    whole = min(
        timed(lambda: fit_logistic(LabelledRows(features, labels, k), Cs=CS, folds=folds))[0] for _ in range(repeats)
    )
    values = np.array([solution.objective for solution in path])
    worse = f"{max(values / loose - 1):.0e}"
    apart = f"{np.abs(values / peer(features, labels, 1e-10) - 1).max():.0e}" if tight else "-"
    shape = f"{n} x {d}, {k}"
    iterations = " ".join(str(solution.iterations) for solution in path)
    return (
        f"{shape:>16} {ours:8.3f} {theirs:8.3f} {theirs / ours:6.1f} {whole:8.3f} {worse:>8} {apart:>8}   {iterations}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave out the largest shape and the tight reference")
    parser.add_argument("--repeats", type=int, default=3, help="the best of so many is printed")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    print(
        "path: seconds for 7 values of C. whole: choose C in 5 folds and refit. worse: our objective against the peer's"
    )
    print("at tol 1e-6, at the C where we do worst. apart: largest relative difference from the peer at tol 1e-10.")
    print("        N x D, K     path     peer  ratio    whole    worse    apart   iterations for each C")
    for n, d, k, separation in SHAPES[:3] if arguments.quick else SHAPES:
        large = n >= 5000
        print(
            row(n, d, k, separation, 1 if large else arguments.repeats, not arguments.quick and not large), flush=True
        )


if __name__ == "__main__":
    main()
