from __future__ import annotations

import numpy as np
import pytest

from featcli.heads.head import Head, head_from_tensors
from featcli.heads.linear import LinearHead
from featcli.heads.mlp import MlpHead


def array(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


LINEAR = LinearHead(array(3, 4), array(3))
MLP = MlpHead(array(5, 4), array(5), array(3, 5), array(3))


@pytest.mark.parametrize("head", [LINEAR, MLP], ids=["linear", "mlp"])
def test_a_head_is_made_of_its_tensors(head: Head) -> None:
    again = head_from_tensors(head.tensors(), 3, 4)
    assert type(again) is type(head)
    assert again.tensors().keys() == head.tensors().keys()
    for name, tensor in head.tensors().items():
        assert again.tensors()[name] is tensor


def test_the_names_are_those_that_files_have() -> None:
    assert list(LINEAR.tensors()) == ["weight", "bias"]
    assert list(MLP.tensors()) == ["hidden.weight", "hidden.bias", "weight", "bias"]


@pytest.mark.parametrize("head", [LINEAR, MLP], ids=["linear", "mlp"])
@pytest.mark.parametrize(("n_classes", "n_features"), [(2, 4), (4, 4), (3, 5), (4, 3), (3, 3)])
def test_another_number_of_classes_or_features_is_refused(head: Head, n_classes: int, n_features: int) -> None:
    message = f"^a head of 3 classes and 4 features, not of {n_classes} and {n_features}$"
    with pytest.raises(ValueError, match=message):
        head_from_tensors(head.tensors(), n_classes, n_features)


@pytest.mark.parametrize("names", [(), ("weight",), ("hidden.weight", "weight", "bias"), ("weight", "bias", "x")])
def test_tensors_that_are_no_head_are_refused(names: tuple[str, ...]) -> None:
    tensors = {name: MLP.tensors().get(name, array(1)) for name in names}
    with pytest.raises(ValueError, match=f"no head is made of {', '.join(sorted(names)) or 'nothing'}"):
        head_from_tensors(tensors, 3, 4)


def test_tensors_of_shapes_that_do_not_fit_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match=r"not \(K, D\) and \(K,\)"):
        head_from_tensors(LINEAR.tensors() | {"bias": array(4)}, 3, 4)
    with pytest.raises(ValueError, match=r"not \(H, D\), \(H,\)"):
        head_from_tensors(MLP.tensors() | {"weight": array(3, 4)}, 3, 4)
