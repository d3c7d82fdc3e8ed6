"""What holds for every backbone in the table."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision import models

from featcli.backbones.building import build_network
from featcli.backbones.catalogue import cards
from featcli.backbones.registry import find_architecture, names
from featcli.backbones.stages import Backbone, Built, assemble
from featcli.backbones.weights import load_backbone
from featcli.config.known_backbones import FEATURE_SIZES, STAGES
from featcli.events import ignore

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

NUMERIC = ["resnet18", "resnext50_32x4d", "efficientnet_lite0"]


@pytest.mark.parametrize("name", names())
def test_stages_own_every_tensor_exactly_once_and_lead_to_the_features(name: str) -> None:
    architecture = find_architecture(name)
    arguments = architecture.default.arguments
    network, partition, feature_size = build_network(architecture, arguments, None)
    owned = Counter(tensor for stage in partition.stages for tensor in stage.tensors)
    assert set(owned.values()) == {1}
    assert owned.keys() == network.state_dict().keys()
    assert all(tensor.is_meta for tensor in network.parameters())
    stage_names = [stage.name for stage in partition.stages]
    assert len(set(stage_names)) == len(stage_names)
    assert not {"all", "none", "penultimate"} & set(stage_names)
    assert not any(stage.isdigit() for stage in stage_names)
    assert (STAGES[name], FEATURE_SIZES[name]) == (tuple(stage_names), feature_size), "run make docs"

    side = architecture.fixed_size(arguments) or 224
    images = torch.empty(2, 3, side, side, device="meta")
    network.to("meta").eval()
    for stage in partition.stages:
        images = stage.forward(images)
    assert partition.pool(images).shape == (2, feature_size)


def test_what_no_stage_owns_is_the_last_linear_alone() -> None:
    whole = models.resnet18(weights=None).state_dict()
    _, partition, feature_size = build_network(find_architecture("resnet18"), {}, None)
    owned = {tensor for stage in partition.stages for tensor in stage.tensors}
    assert whole.keys() - owned == {"fc.weight", "fc.bias"}
    assert whole["fc.weight"].shape == (1000, feature_size)


def test_what_is_known_without_torch_is_what_there_is() -> None:
    assert list(STAGES) == list(FEATURE_SIZES) == names(), "run make docs"
    assert {card.name: card.features for card in cards()} == FEATURE_SIZES


@pytest.mark.parametrize("name", names())
def test_every_entry_has_a_hash_and_preprocessing_of_its_own(name: str) -> None:
    architecture = find_architecture(name)
    assert architecture.name == name
    for key, entry in architecture.entries.items():
        assert entry.name == key
        assert len(entry.hash_prefix) >= 8
        int(entry.hash_prefix, 16)
        assert f"-{entry.hash_prefix}.pth" in entry.location
    if name == "efficientnet_lite0":
        return
    enum = models.get_model_weights(name)
    assert next(iter(architecture.entries)) == enum["DEFAULT"].name
    assert set(architecture.entries) == {weights.name for weights in enum}
    for weights in enum:
        preset, found = weights.transforms(), architecture.entries[weights.name].preprocessing
        assert [found.resize, found.crop] == [*preset.resize_size, *preset.crop_size]
        assert found.interpolation == preset.interpolation.value
        assert (found.mean, found.std) == (tuple(preset.mean), tuple(preset.std))


def test_the_table_holds_what_it_promises() -> None:
    assert set(NUMERIC) <= set(names())
    assert names() == sorted(set(names()))


@pytest.fixture(scope="module", params=NUMERIC)
def backbone(request: pytest.FixtureRequest) -> Backbone:
    return load_backbone(request.param, "none", seed=1, emit=ignore)


def images_for(size: int, batch: int = 1) -> torch.Tensor:
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(size))


@pytest.mark.parametrize("size", [64, 97])
def test_composition_is_the_networks_forward_bit_for_bit(backbone: Backbone, size: int) -> None:
    images = images_for(size, batch=2)
    with torch.no_grad():
        found = backbone.features(images)
        assert torch.equal(found, backbone.network(images))
    assert found.shape == (2, backbone.feature_size)
    assert found.std() > 0


def test_the_network_is_torchvisions_without_its_linear(backbone: Backbone) -> None:
    if backbone.name == "efficientnet_lite0":
        pytest.skip("not torchvision's; compared with its own reference elsewhere")
    reference = models.get_model(backbone.name, weights=None)
    reference.fc = nn.Identity()
    reference.load_state_dict(backbone.network.state_dict())
    images = images_for(64, batch=2)
    with torch.no_grad():
        assert torch.equal(backbone.features(images), reference.eval()(images))


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_a_prefix_and_its_suffix_are_the_whole(backbone: Backbone, data: st.DataObject) -> None:
    last = len(backbone.stages)
    cut = data.draw(st.integers(0, last))
    again = data.draw(st.integers(cut, last))
    images = images_for(64)
    with torch.no_grad():
        boundary = backbone.run(images, 0, cut)
        middle = backbone.run(boundary, cut, again)
        whole = backbone.partition.pool(backbone.run(middle, again))
        assert torch.equal(whole, backbone.features(images))
        assert torch.equal(boundary, images) == (cut == 0)


def test_the_first_stages_do_not_touch_later_tensors(backbone: Backbone) -> None:
    """A stage computes with the tensors that it owns: changing those of later stages changes nothing before them."""
    images = images_for(64)
    state = {name: tensor.clone() for name, tensor in backbone.network.state_dict().items()}
    try:
        with torch.no_grad():
            for index in range(1, len(backbone.stages)):
                before = backbone.run(images, 0, index)
                after_stage = backbone.run(before, index, index + 1)
                for tensor in backbone.stages[index].tensors:
                    if backbone.network.state_dict()[tensor].is_floating_point():
                        backbone.network.state_dict()[tensor].add_(0.5)
                assert torch.equal(backbone.run(images, 0, index), before)
                assert not torch.equal(backbone.run(before, index, index + 1), after_stage)
    finally:
        backbone.network.load_state_dict(state)


@pytest.mark.parametrize("fault", ["left out", "counted twice"])
def test_a_faulty_partition_is_refused(fault: str) -> None:
    architecture = find_architecture("resnet18")
    network, partition, size = build_network(architecture, {}, 0)
    stages = partition.stages[:-1] if fault == "left out" else (*partition.stages, partition.stages[0])
    faulty = dataclasses.replace(partition, stages=stages)
    expected = r"layer4\.0" if fault == "left out" else r"bn1\.bias"
    with pytest.raises(ValueError, match=f"resnet18: stages do not own each tensor once: {expected}"):
        assemble("resnet18", Built(network, faulty, size), architecture.default.preprocessing, "none")
