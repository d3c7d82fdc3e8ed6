"""The map's coordinates beside numpy's singular values."""

from __future__ import annotations

import sys
import types

import numpy as np
import pytest

from featcli.report.projection import principal_components, project


@pytest.mark.parametrize(("n", "width"), [(300, 64), (20, 200), (3, 5), (2, 8)])
def test_principal_components_are_those_of_a_full_decomposition(n: int, width: int) -> None:
    random = np.random.default_rng(n)
    features = random.normal(size=(n, width)) * np.linspace(4, 0.5, width)
    features[:, 0] += np.where(np.arange(n) < n / 2, 15, -15)
    places, shares = principal_components(features)
    centred = features - features.mean(axis=0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    for column in range(min(2, n - 1)):
        expected = left[:, column] * sizes[column]
        error = min(np.abs(places[:, column] - sign * expected).max() for sign in (1, -1))
        assert error < 0.05 * np.abs(expected).max()
        assert shares[column] == pytest.approx(sizes[column] ** 2 / (sizes**2).sum(), rel=1e-2)
        assert places[:, column].max() >= -places[:, column].min()


def test_a_map_lies_in_its_frame_and_is_the_same_each_time() -> None:
    features = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
    first, again = project(features), project(features)
    assert (first.places == again.places).all()
    assert first.places.min() == 0 and first.places.max() == 1
    assert "principal components" in first.how


def test_images_that_are_all_alike_lie_in_the_middle() -> None:
    assert (project(np.ones((5, 3), dtype=np.float32)).places == 0.5).all()
    assert project(np.ones((1, 3), dtype=np.float32)).places.tolist() == [[0.5, 0.5]]


def test_umap_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for the library, which no extra brings: it is asked for two dimensions, from a fixed seed."""
    asked = {}

    class Stand:
        def __init__(self, **options: object) -> None:
            asked.update(options)

        def fit_transform(self, features: np.ndarray) -> np.ndarray:
            return features[:, :2]

    monkeypatch.setitem(sys.modules, "umap", types.SimpleNamespace(UMAP=Stand))
    features = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32)
    found = project(features)
    assert "UMAP" in found.how
    assert (asked["n_components"], asked["random_state"]) == (2, 0)
    assert np.corrcoef(found.places[:, 0], features[:, 0])[0, 1] == pytest.approx(1)
    assert "principal components" in project(features[:20]).how, "of so few images there are no neighbourhoods"
