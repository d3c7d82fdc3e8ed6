from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from featcli.heads.linear import LinearHead
from featcli.heads.mlp import MlpHead
from featcli.predictor import predict_features
from featcli.tasks import Multiclass
from tests.unit.heads.lab import probabilities_of

SHAPES = [(2, 1, 7), (10, 512, 1280), (3, 100, 1281), (37, 13, 512)]  # K, H, D


def make(classes: int, hidden: int, width: int) -> MlpHead:
    rng = np.random.default_rng(classes)
    shapes = ((hidden, width), (hidden,), (classes, hidden), (classes,))
    return MlpHead(*(rng.normal(size=shape).astype(np.float32) for shape in shapes))


def features(rows: int, width: int) -> np.ndarray:
    return np.random.default_rng(rows).normal(size=(rows, width)).astype(np.float32)


def peer_of(head: MlpHead) -> torch.nn.Sequential:
    (hidden, width), classes = head.hidden_weight.shape, len(head.bias)
    peer = torch.nn.Sequential(torch.nn.Linear(width, hidden), torch.nn.ReLU(), torch.nn.Linear(hidden, classes))
    arrays = (head.hidden_weight, head.hidden_bias, head.weight, head.bias)
    peer.load_state_dict(dict(zip(peer.state_dict(), map(torch.from_numpy, arrays), strict=True)))
    return peer


@pytest.mark.parametrize(("classes", "hidden", "width"), SHAPES)
def test_it_is_linear_relu_linear_of_torch(classes: int, hidden: int, width: int) -> None:
    head, x = make(classes, hidden, width), features(300, width)
    with torch.no_grad():
        exact = peer_of(head).double()(torch.from_numpy(x).double())
        single = peer_of(head)(torch.from_numpy(x))
    logits, scale = head.logits(x), exact.abs().max().item()
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, exact.numpy(), rtol=0, atol=1e-6 * scale)
    np.testing.assert_allclose(logits, single.numpy(), rtol=0, atol=2e-6 * scale)
    np.testing.assert_allclose(probabilities_of(head, x), exact.softmax(1).numpy(), rtol=0, atol=1e-5 * scale)
    np.testing.assert_allclose(probabilities_of(head, x).sum(1), 1.0, rtol=0, atol=1e-14)


def test_a_small_one_by_hand() -> None:
    head = MlpHead(
        np.array([[1, 0], [0, 1], [-1, -1]], dtype=np.float32),
        np.array([0, -1, 2], dtype=np.float32),
        np.array([[1, 2, 3], [4, 5, 6]], dtype=np.float32),
        np.array([10, 20], dtype=np.float32),
    )
    # Hidden: (3, -3, 1) -> (3, 0, 1), and (-1, 4, -2) -> (0, 4, 0).
    x = np.array([[3, -2], [-1, 5]], dtype=np.float32)
    np.testing.assert_array_equal(head.logits(x), [[16, 38], [18, 40]])


@pytest.mark.parametrize("rows", [1, 7, 255, 256, 600])
@pytest.mark.parametrize(("classes", "hidden", "width"), SHAPES)
def test_a_rows_bits_depend_on_that_row_alone(classes: int, hidden: int, width: int, rows: int) -> None:
    head, x = make(classes, hidden, width), features(600, width)
    logits, probabilities = head.logits(x), probabilities_of(head, x)
    rng = np.random.default_rng(0)
    for _ in range(3):
        chosen = rng.permutation(600)[:rows]
        np.testing.assert_array_equal(head.logits(x[chosen]), logits[chosen])
        np.testing.assert_array_equal(probabilities_of(head, x[chosen]), probabilities[chosen])


def test_what_fills_the_rest_of_a_block_does_not_matter() -> None:
    head, x = make(10, 512, 1280), features(257, 1280)
    alone = head.logits(x[256:])  # padded with zeros; within x, with the rows of the block before
    np.testing.assert_array_equal(head.logits(x)[256:], alone)
    x[:256] = np.inf
    np.testing.assert_array_equal(head.logits(x)[256:], alone)
    x[:255], x[255] = 1e30, x[256]
    np.testing.assert_array_equal(head.logits(x)[255:], np.concatenate([alone, alone]))


def test_the_memory_layout_and_alignment_of_features_do_not_matter() -> None:
    head, x = make(10, 512, 1280), features(100, 1280)
    shifted = np.empty(100 * 1280 + 1, dtype=np.float32)[1:].reshape(100, 1280)
    shifted[:] = x
    np.testing.assert_array_equal(head.logits(shifted), head.logits(x))
    np.testing.assert_array_equal(head.logits(np.asfortranarray(x)), head.logits(x))


def test_neither_its_arrays_nor_the_features_are_changed() -> None:
    head, x = make(3, 5, 4), features(9, 4)
    before = [array.copy() for array in (*head.tensors().values(), x)]
    np.testing.assert_array_equal(head.logits(x), head.logits(x))
    for array, copy in zip((*head.tensors().values(), x), before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_a_hidden_layer_that_passes_positive_features_on_is_a_linear_head() -> None:
    linear = LinearHead(features(3, 6), features(1, 3)[0])
    head = MlpHead(np.eye(6, dtype=np.float32), np.zeros(6, dtype=np.float32), linear.weight, linear.bias)
    x = np.abs(features(50, 6))
    np.testing.assert_allclose(head.logits(x), linear.logits(x), rtol=1e-5, atol=1e-6)


def test_no_rows() -> None:
    assert make(3, 5, 4).logits(np.empty((0, 4), dtype=np.float32)).shape == (0, 3)
    assert probabilities_of(make(3, 5, 4), np.empty((0, 4), dtype=np.float32)).shape == (0, 3)


@pytest.mark.parametrize("shape", [(5, 3), (5,), (5, 4, 1)])
def test_features_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    head, wrong = make(3, 5, 4), np.zeros(shape, dtype=np.float32)
    with pytest.raises(ValueError, match=r"not \(N, 4\) float32"):
        head.logits(wrong)
    with pytest.raises(ValueError, match=r"not \(N, 4\) float32"):
        predict_features(head, Multiclass(("a", "b", "c")), wrong)


def test_features_of_another_type_are_refused() -> None:
    with pytest.raises(ValueError, match="float64, not"):
        make(3, 5, 4).logits(np.zeros((5, 4)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("hidden_weight", (6, 4)),
        ("hidden_weight", (5,)),
        ("hidden_weight", (5, 4, 1)),
        ("hidden_weight", ()),
        ("hidden_bias", (4,)),
        ("hidden_bias", (5, 1)),
        ("weight", (3, 4)),
        ("weight", (5, 3)),
        ("weight", (5,)),
        ("weight", ()),
        ("bias", (2,)),
        ("bias", (3, 1)),
        ("bias", ()),
    ],
)
def test_arrays_of_other_shapes_are_refused(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"are not \(H, D\), \(H,\), \(K, H\) and \(K,\)"):
        dataclasses.replace(make(3, 5, 4), **{name: np.zeros(shape, dtype=np.float32)})


@pytest.mark.parametrize("name", ["hidden_weight", "hidden_bias", "weight", "bias"])
def test_arrays_of_another_type_are_refused(name: str) -> None:
    head = make(3, 5, 4)
    with pytest.raises(ValueError, match=r"float64.* are not all float32"):
        dataclasses.replace(head, **{name: getattr(head, name).astype(np.float64)})
