"""How often 95 % intervals of an accuracy hold the true one, where the images of a group are alike.

Groups have accuracies of their own, drawn from a beta distribution whose spread is the correlation within groups. For
each setting: the coverage and mean width of the interval over images (Wilson), of the one over groups that featcli
gives, and of the percentile bootstrap over groups. Coverage should be 0.95. For docs/decisions.md.

    python scripts/trial_intervals.py [--trials 2000] [--bootstrap 400]
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from featcli.evaluation.intervals import design_effect, equal_groups, student_quantile, wilson_interval

Counts = NDArray[np.int64]


def main() -> None:
    """Prints one row for each setting."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=2000)
    parser.add_argument("--bootstrap", type=int, default=400, help="resamples of a bootstrap; 0 leaves it out")
    arguments = parser.parse_args()
    print("groups  sizes    accuracy  correlation   images          groups          bootstrap")
    for n_groups, sizes, accuracy, correlation in settings():
        random = np.random.default_rng(0)
        found = [trial(random, sizes, accuracy, correlation, arguments.bootstrap) for _ in range(arguments.trials)]
        cells = []
        for bounds in np.array(found).transpose(1, 0, 2):  # (3, trials, 2)
            inside = (bounds[:, 0] <= accuracy) & (accuracy <= bounds[:, 1])
            cells.append(f"{inside.mean():.3f} ({(bounds[:, 1] - bounds[:, 0]).mean():.3f})")
        shape = f"{sizes.min()}" if sizes.min() == sizes.max() else f"{sizes.min()}-{sizes.max()}"
        print(f"{n_groups:6d}  {shape:7}  {accuracy:8.2f}  {correlation:11.1f}   " + "   ".join(cells), flush=True)


def settings() -> Iterator[tuple[int, Counts, float, float]]:
    """Groups, their sizes, accuracy, correlation: one thing varied at a time, then the corners."""
    for n_groups in (10, 15, 20, 40, 100):
        for correlation in (0.0, 0.1, 0.3, 0.5):
            yield n_groups, np.full(n_groups, 20), 0.85, correlation
    for accuracy in (0.6, 0.95, 0.99):
        for correlation in (0.0, 0.1, 0.3, 0.5):
            yield 20, np.full(20, 20), accuracy, correlation
    for n_groups in (20, 40):
        uneven = np.geomspace(2, 80, n_groups).astype(np.int64)
        for accuracy in (0.85, 0.95):
            for correlation in (0.0, 0.3):
                yield n_groups, uneven, accuracy, correlation
    for correlation in (0.1, 0.3):
        yield 36, np.repeat([100, 5], [6, 30]), 0.85, correlation
    for n_groups, accuracy in ((100, 0.99), (10, 0.95)):
        yield n_groups, np.full(n_groups, 20), accuracy, 0.3


def trial(
    random: np.random.Generator, sizes: Counts, accuracy: float, correlation: float, resamples: int
) -> list[list[float]]:
    """The three intervals of one draw."""
    spread = (1 - correlation) / correlation if correlation else np.inf
    shares = random.beta(accuracy * spread, (1 - accuracy) * spread, len(sizes)) if correlation else accuracy
    counts = random.binomial(sizes, shares)
    n, count = int(sizes.sum()), int(counts.sum())
    effective = n / design_effect(sizes, counts)
    over_groups = wilson_interval(count / n * effective, effective, student_quantile(equal_groups(sizes) - 1))
    over_images = wilson_interval(count, n)
    assert over_images is not None and over_groups is not None
    return [over_images, over_groups, bootstrap(random, sizes, counts, resamples)]


def bootstrap(random: np.random.Generator, sizes: Counts, counts: Counts, resamples: int) -> list[float]:
    """The 2.5 % and 97.5 % quantiles of the accuracy of as many groups, drawn with replacement."""
    if resamples == 0:
        return [np.nan, np.nan]
    drawn = random.integers(0, len(sizes), (resamples, len(sizes)))
    low, high = np.quantile(counts[drawn].sum(1) / sizes[drawn].sum(1), (0.025, 0.975))
    return [float(low), float(high)]


if __name__ == "__main__":
    main()
