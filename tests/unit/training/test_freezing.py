from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from featcli.backbones.stages import Backbone
from featcli.backbones.weights import load_backbone
from featcli.errors import BackboneOptionError, FrozenDriftError
from featcli.events import ignore
from featcli.training.freezing import FrozenCheck, count_frozen


@pytest.fixture(scope="module")
def resnet() -> Backbone:
    return load_backbone("resnet18", "none", emit=ignore)


@pytest.fixture(autouse=True)
def _unchanged(resnet: Backbone) -> object:
    state = copy.deepcopy(resnet.network.state_dict())
    yield
    resnet.network.load_state_dict(state)


@pytest.mark.parametrize(
    ("depth", "expected"),
    [("all", 5), ("none", 0), (0, 0), (1, 1), (4, 4), (5, 5), ("stem", 1), ("layer1", 2), ("layer4", 5)],
)
def test_every_form_of_a_freeze_depth(resnet: Backbone, depth: str | int, expected: int) -> None:
    assert count_frozen(resnet, depth) == expected


@pytest.mark.parametrize("depth", [6, -1, 10**9, "layer5", "", "2", "ALL", "fc", "stem "])
def test_a_depth_that_does_not_exist_lists_those_that_do(resnet: Backbone, depth: str | int) -> None:
    with pytest.raises(BackboneOptionError, match=f"resnet18 has no freeze depth '{depth}'") as caught:
        count_frozen(resnet, depth)
    assert caught.value.option == "freeze_depth"
    assert caught.value.exit_code == 2
    hint = "Its 5 stages, input to output: stem, layer1, layer2, layer3, layer4; or all, none, 0 to 5."
    assert caught.value.hint == hint


def test_the_nearest_stage_is_named(resnet: Backbone) -> None:
    with pytest.raises(BackboneOptionError, match="did you mean 'layer"):
        count_frozen(resnet, "layer5")


def test_what_did_not_move_is_counted(resnet: Backbone) -> None:
    assert FrozenCheck(resnet).verify() == len(resnet.network.state_dict()) == 120
    assert FrozenCheck(resnet, 1).verify() == 6
    assert FrozenCheck(resnet, 0).verify() == 0


MOVES = {
    "a parameter by one bit": ("conv1.weight", lambda t: t.view(torch.int32)[0, 0, 0, 0].bitwise_xor_(1)),
    "a running mean": ("layer3.0.bn1.running_mean", lambda t: t[7].add_(1e-6)),
    "a running variance": ("layer4.1.bn2.running_var", lambda t: t.mul_(0.999)),
    "a batch counter": ("bn1.num_batches_tracked", lambda t: t.add_(1)),
    "to NaN": ("layer1.0.conv1.weight", lambda t: t[0].fill_(float("nan"))),
    "to minus zero": ("layer2.0.bn1.bias", lambda t: t.copy_(-torch.zeros_like(t))),
    "to infinity": ("layer2.0.bn1.weight", lambda t: t[0].fill_(float("inf"))),
}


@pytest.mark.parametrize("move", MOVES)
def test_any_move_is_noticed_and_named(resnet: Backbone, move: str) -> None:
    name, change = MOVES[move]
    witness = FrozenCheck(resnet)
    change(resnet.network.state_dict()[name])
    with pytest.raises(FrozenDriftError, match=f"1 of 120 frozen tensors changed during the run: {name}\n") as caught:
        witness.verify()
    assert caught.value.hint == "The run must not be trusted. Please report this: a frozen backbone must not move."


def test_nan_that_was_there_before_is_no_drift(resnet: Backbone) -> None:
    resnet.network.state_dict()["conv1.weight"].fill_(float("nan"))
    assert FrozenCheck(resnet).verify() == 120


def test_a_forward_pass_in_train_mode_moves_buffers_and_is_noticed(resnet: Backbone) -> None:
    witness = FrozenCheck(resnet)
    resnet.network.train()
    resnet.features(torch.randn(2, 3, 64, 64))
    resnet.network.eval()
    with pytest.raises(FrozenDriftError, match=r"60 of 120 .*: bn1\.running_mean, .* and 55 more"):
        witness.verify()


def test_a_new_shape_or_type_is_drift(resnet: Backbone) -> None:
    witness = FrozenCheck(resnet)
    kept = resnet.network.bn1.running_mean
    try:
        resnet.network.bn1.running_mean = kept.double()
        with pytest.raises(FrozenDriftError, match=r"bn1\.running_mean"):
            witness.verify()
    finally:
        resnet.network.bn1.running_mean = kept


def test_memory_layout_is_not_drift(resnet: Backbone) -> None:
    witness = FrozenCheck(resnet)
    resnet.network.to(memory_format=torch.channels_last)
    assert witness.verify() == 120


@settings(max_examples=30, deadline=None)
@given(depth=st.integers(0, 5), data=st.data())
def test_only_the_frozen_stages_are_watched(resnet: Backbone, depth: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, 4))
    name = data.draw(st.sampled_from(resnet.stages[index].tensors))
    tensor = resnet.network.state_dict()[name]
    witness = FrozenCheck(resnet, depth)
    tensor.add_(1)
    if index < depth:
        with pytest.raises(FrozenDriftError, match=name):
            witness.verify()
    else:
        assert witness.verify() == sum(len(stage.tensors) for stage in resnet.stages[:depth])
