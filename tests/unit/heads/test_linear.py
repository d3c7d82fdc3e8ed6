from __future__ import annotations

import numpy as np
import pytest

from featcli.heads.linear import LinearHead
from tests.unit.heads.lab import probabilities_of

SHAPES = [(2, 7), (10, 1280), (3, 1281), (37, 512)]


def make(classes: int, width: int) -> LinearHead:
    rng = np.random.default_rng(classes)
    return LinearHead(rng.normal(size=(classes, width)).astype(np.float32), rng.normal(size=classes).astype(np.float32))


def features(rows: int, width: int) -> np.ndarray:
    return np.random.default_rng(rows).normal(size=(rows, width)).astype(np.float32)


@pytest.mark.parametrize(("classes", "width"), SHAPES)
def test_logits_are_the_affine_map(classes: int, width: int) -> None:
    head, x = make(classes, width), features(300, width)
    expected = x.astype(np.float64) @ head.weight.T.astype(np.float64) + head.bias
    assert head.logits(x).dtype == np.float32
    np.testing.assert_allclose(head.logits(x), expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize("rows", [1, 7, 255, 256, 1000])
@pytest.mark.parametrize(("classes", "width"), SHAPES)
def test_a_rows_bits_depend_on_that_row_alone(classes: int, width: int, rows: int) -> None:
    head, x = make(classes, width), features(1000, width)
    logits, probabilities = head.logits(x), probabilities_of(head, x)
    rng = np.random.default_rng(0)
    for _ in range(5):
        chosen = rng.permutation(1000)[:rows]
        np.testing.assert_array_equal(head.logits(x[chosen]), logits[chosen])
        np.testing.assert_array_equal(probabilities_of(head, x[chosen]), probabilities[chosen])


def test_the_memory_layout_and_alignment_of_features_do_not_matter() -> None:
    head, x = make(10, 1280), features(100, 1280)
    shifted = np.empty(100 * 1280 + 1, dtype=np.float32)[1:].reshape(100, 1280)
    shifted[:] = x
    np.testing.assert_array_equal(head.logits(shifted), head.logits(x))
    np.testing.assert_array_equal(head.logits(np.asfortranarray(x)), head.logits(x))


def test_probabilities_survive_huge_logits() -> None:
    head = LinearHead(np.array([[1.0], [-1.0]], dtype=np.float32), np.zeros(2, dtype=np.float32))
    probabilities = probabilities_of(head, np.array([[1e30], [-1e30], [0.0]], dtype=np.float32))
    assert probabilities.dtype == np.float64
    np.testing.assert_array_equal(probabilities, [[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]])


def test_no_rows() -> None:
    assert make(3, 4).logits(np.empty((0, 4), dtype=np.float32)).shape == (0, 3)
    assert probabilities_of(make(3, 4), np.empty((0, 4), dtype=np.float32)).shape == (0, 3)


@pytest.mark.parametrize("shape", [(5, 3), (5,), (5, 4, 1)])
def test_features_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"not \(N, 4\) float32"):
        make(3, 4).logits(np.zeros(shape, dtype=np.float32))


def test_features_of_another_type_are_refused() -> None:
    with pytest.raises(ValueError, match="float64, not"):
        make(3, 4).logits(np.zeros((5, 4)))  # type: ignore[arg-type]


def test_arrays_that_are_no_head_are_refused() -> None:
    with pytest.raises(ValueError, match=r"not \(K, D\) and \(K,\)"):
        LinearHead(np.zeros((3, 4), dtype=np.float32), np.zeros(4, dtype=np.float32))
    with pytest.raises(ValueError, match="not float32"):
        LinearHead(np.zeros((3, 4)), np.zeros(3, dtype=np.float32))  # type: ignore[arg-type]
