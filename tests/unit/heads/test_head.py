from __future__ import annotations

import numpy as np
import pytest

from featcli.config.kinds import HEAD_KINDS
from featcli.heads.head import Head
from featcli.heads.linear import LinearHead
from featcli.heads.mlp import MlpHead
from featcli.heads.registry import find_head, head_from_tensors, kinds_of


def array(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


LINEAR = LinearHead(array(3, 4), array(3))
MLP = MlpHead(array(5, 4), array(5), array(3, 5), array(3))
HEADS = [("logistic", LINEAR), ("linear", LINEAR), ("mlp", MLP)]


@pytest.mark.parametrize(("kind", "head"), HEADS)
def test_a_head_is_made_of_its_tensors(kind: str, head: Head) -> None:
    again = head_from_tensors(kind, head.tensors(), 3, 4)
    assert type(again) is type(head)
    assert again.tensors().keys() == head.tensors().keys()
    for name, tensor in head.tensors().items():
        assert again.tensors()[name] is tensor


def test_the_names_are_those_that_files_have() -> None:
    assert list(LINEAR.tensors()) == ["weight", "bias"]
    assert list(MLP.tensors()) == ["hidden.weight", "hidden.bias", "weight", "bias"]


@pytest.mark.parametrize(("kind", "head"), HEADS)
@pytest.mark.parametrize(("n_classes", "n_features"), [(2, 4), (4, 4), (3, 5), (4, 3), (3, 3)])
def test_another_number_of_classes_or_features_is_refused(
    kind: str, head: Head, n_classes: int, n_features: int
) -> None:
    message = f"^a head of 3 classes and 4 features, not of {n_classes} and {n_features}$"
    with pytest.raises(ValueError, match=message):
        head_from_tensors(kind, head.tensors(), n_classes, n_features)


@pytest.mark.parametrize("names", [(), ("weight",), ("hidden.weight", "weight", "bias"), ("weight", "bias", "x")])
def test_tensors_that_are_no_head_are_refused(names: tuple[str, ...]) -> None:
    tensors = {name: MLP.tensors().get(name, array(1)) for name in names}
    for kind in HEAD_KINDS:
        if set(names) != set(find_head(kind).tensors):
            with pytest.raises(ValueError, match=f"no {kind} head is made of {', '.join(sorted(names)) or 'nothing'}"):
                head_from_tensors(kind, tensors, 3, 4)
    assert kinds_of(tensors) == []


def test_tensors_of_shapes_that_do_not_fit_each_other_are_refused() -> None:
    with pytest.raises(ValueError, match=r"not \(K, D\) and \(K,\)"):
        head_from_tensors("linear", LINEAR.tensors() | {"bias": array(4)}, 3, 4)
    with pytest.raises(ValueError, match=r"not \(H, D\), \(H,\)"):
        head_from_tensors("mlp", MLP.tensors() | {"weight": array(3, 4)}, 3, 4)


def test_the_kinds_of_an_array_are_those_that_have_its_names() -> None:
    assert kinds_of(LINEAR.tensors()) == ["logistic", "linear"]
    assert kinds_of(MLP.tensors()) == ["mlp"]


@pytest.mark.parametrize("kind", HEAD_KINDS)
def test_every_kind_can_be_fitted_or_trained(kind: str) -> None:
    found = find_head(kind)
    assert found.solve is not None or found.gradient is not None
    assert found.gradient is None or find_head(found.gradient.kind).tensors == found.tensors
