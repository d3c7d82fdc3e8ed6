"""Time `featcli.heads.logistic` against scikit-learn in the same run: `python scripts/bench_logistic.py [--quick]`."""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from featcli.heads.basis import standardisation
from featcli.heads.kind import LabelledRows
from featcli.heads.logistic import fit_logistic
from featcli.heads.logistic_path import solve_path

CS = [float(C) for C in np.logspace(-4, 2, 7)]
SHAPES = [
    (245, 1280, 2, 0.25),
    (1437, 1280, 10, 0.3),
    (2000, 1280, 10, 0.3),
    (5000, 512, 10, 0.3),
    (10000, 512, 100, 0.5),
    (10000, 512, 100, 1.0),
]


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


def peer(scaled: NDArray[np.float64], labels: NDArray[np.int64], C: float, tol: float) -> float:
    """The objective that scikit-learn ends with."""
    model = LogisticRegression(C=C, tol=tol, max_iter=20000).fit(scaled, labels)
    return objective(scaled, labels, C, model.coef_, model.intercept_)


def row(n: int, d: int, k: int, separation: float, repeats: int, all_C: bool) -> str:
    features, labels = cnn_like(n, d, k, separation)
    folds, learned = np.random.default_rng(1).permutation(n) % 5, LabelledRows(features, labels, k)
    scaling = standardisation(features, np.arange(n))
    scaled = (features - scaling.mean.numpy()) / scaling.scale.numpy()
    whole, one, path_seconds, peer_seconds = (float("inf") for _ in range(4))
    for _ in range(repeats):  # in turn, so that a busy machine slows both
        seconds, fitted = timed(lambda: fit_logistic(learned, Cs=CS, folds=folds))
        whole, chosen = min(whole, seconds), fitted.C
        seconds, theirs = timed(partial(peer, scaled, labels, chosen, 1e-6))
        one = min(one, seconds)
    (ours,) = solve_path(features, labels, k, [chosen])
    more = ours.objective / theirs - 1
    text = f"{f'{n} x {d}, {k}':>16} {chosen:6g} {whole:8.3f} {one:8.3f} {whole / one:6.2f} {more:9.0e}"
    if not all_C:
        return text
    for _ in range(repeats):
        seconds, path = timed(lambda: solve_path(features, labels, k, CS))
        path_seconds = min(path_seconds, seconds)
        seconds, _ = timed(lambda: [peer(scaled, labels, C, 1e-6) for C in CS])
        peer_seconds = min(peer_seconds, seconds)
    apart = max(abs(solution.objective / peer(scaled, labels, solution.C, 1e-10) - 1) for solution in path)
    iterations = " ".join(str(solution.iterations) for solution in path)
    return (
        f"{text} {path_seconds:8.3f} {peer_seconds:8.3f} {peer_seconds / path_seconds:6.1f} {apart:8.0e}   {iterations}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="leave out the largest shape and the tight reference")
    parser.add_argument("--large", action="store_true", help="only the largest shapes")
    parser.add_argument("--repeats", type=int, default=3, help="the best of so many is printed")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore", ConvergenceWarning)
    print("whole: seconds to choose C from 7 in 5 folds and refit. one: of one fit of the peer at that C, tol 1e-6.")
    print("ratio: whole / one. more: our objective at that C against the peer's, relative.")
    print("path, peer: seconds for all 7 values of C. apart: largest relative difference from the peer at tol 1e-10.")
    print("        N x D, K      C    whole      one  ratio      more     path     peer  ratio    apart   iterations")
    for n, d, k, separation in SHAPES[:3] if arguments.quick else SHAPES[3:] if arguments.large else SHAPES:
        large = n >= 5000
        repeats = min(2, arguments.repeats) if large else arguments.repeats
        print(row(n, d, k, separation, repeats, not arguments.quick and not large), flush=True)


if __name__ == "__main__":
    main()
