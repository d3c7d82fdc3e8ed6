"""A row's bits are those of its numbers, whatever adds them, and in whatever order."""

from __future__ import annotations

import math
import os
import subprocess
import sys

import numpy as np
import pytest
from numpy.typing import NDArray

from featcli.heads.linear import LinearHead
from featcli.heads.products import Parts, bits_for, product

SHAPES = [(1, 1), (1, 427), (2, 7), (2, 512), (16, 400), (37, 1281), (100, 1280)]  # K, D


def numbers(seed: int, *shape: int, spread: float = 1.0) -> NDArray[np.float32]:
    """Of magnitudes that differ, as features after a ReLU do."""
    rng = np.random.default_rng(seed)
    return (rng.normal(size=shape) * np.exp(spread * rng.normal(size=shape))).astype(np.float32)


@pytest.mark.parametrize(("classes", "width"), SHAPES)
def test_the_order_of_a_sum_changes_no_bit(classes: int, width: int) -> None:
    weight, bias, rows = numbers(1, classes, width), numbers(2, classes), numbers(3, 300, width)
    found = LinearHead(weight, bias).logits(rows)
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(width)
        assert LinearHead(weight[:, order], bias).logits(rows[:, order]).tobytes() == found.tobytes()
        np.testing.assert_array_equal(
            product(Parts.of(weight[:, order]), Parts.of(rows[:, order], swapped=True)),
            product(Parts.of(weight), Parts.of(rows, swapped=True)),
        )


@pytest.mark.parametrize(("classes", "width"), SHAPES)
def test_a_product_is_the_exact_one_to_far_beyond_float32(classes: int, width: int) -> None:
    weight, rows = numbers(4, classes, width, spread=3.0), numbers(5, 20, width, spread=3.0)
    rows[3] = 0
    rows[4] *= np.float32(1e-38)
    rows[5] *= np.float32(1e30)
    found = product(Parts.of(weight), Parts.of(rows, swapped=True))
    exact = [[math.fsum(w * x for w, x in zip(ws.tolist(), xs.tolist(), strict=True)) for xs in rows] for ws in weight]
    largest = np.abs(weight).max(1)[:, None].astype(np.float64) * np.abs(rows).max(1)
    assert (np.abs(found - exact) <= 2.0**-30 * largest).all()
    assert not found[:, 3].any()


@pytest.mark.parametrize("width", [1, 2, 3, 1280, 2048, 2049, 7392])
def test_the_largest_sum_that_can_be_is_a_whole_number_that_float64_holds(width: int) -> None:
    assert width * 2 ** (2 * bits_for(width)) <= 2**53 < width * 2 ** (2 * bits_for(width) + 3)
    ones = np.ones((1, width), dtype=np.float32)
    assert product(Parts.of(ones), Parts.of(ones, swapped=True)).item() == width
    parts = Parts.of(numbers(6, 9, width))
    assert np.abs(parts.both).max() <= 2**parts.bits
    assert (parts.both == np.rint(parts.both)).all()


def test_a_row_that_is_not_finite_spoils_no_other() -> None:
    head, rows = LinearHead(numbers(7, 3, 64), numbers(8, 3)), numbers(9, 5, 64)
    expected = head.logits(rows)
    rows[1, 5], rows[3] = np.nan, np.inf
    found = head.logits(rows)
    assert not np.isfinite(found[[1, 3]]).any()
    np.testing.assert_array_equal(found[[0, 2, 4]], expected[[0, 2, 4]])


_HASHED = """
import hashlib, numpy as np
from featcli.heads.linear import LinearHead
rng, found = np.random.default_rng(0), hashlib.sha256()
for classes, width in ((1, 427), (2, 512), (16, 512), (37, 400), (101, 1280)):
    head = LinearHead(*(rng.normal(size=shape).astype(np.float32) for shape in ((classes, width), (classes,))))
    found.update(head.logits(rng.normal(size=(300, width)).astype(np.float32)).tobytes())
print(found.hexdigest())
"""


@pytest.mark.slow
def test_neither_the_kind_of_processor_nor_the_number_of_threads_changes_a_bit() -> None:
    """With OpenBLAS's kernels for Haswell a product in float32 depends on where a row stands; numpy has them."""
    found = set()
    for kernels, threads in (("Nehalem", "1"), ("Haswell", "2"), ("", "3")):
        environment = os.environ | {"OPENBLAS_CORETYPE": kernels, "OPENBLAS_NUM_THREADS": threads}
        ran = subprocess.run(
            [sys.executable, "-c", _HASHED], capture_output=True, text=True, check=True, env=environment
        )
        found.add(ran.stdout)
    assert len(found) == 1
