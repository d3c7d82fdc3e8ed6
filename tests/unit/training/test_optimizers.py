from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from featcli.backbones.stages import Backbone
from featcli.backbones.weights import load_backbone
from featcli.events import ignore
from featcli.training.optimizers import make_optimizer, parameter_groups, set_learning_rate
from featcli.training.trainable import TrainableModel
from tests.unit.training.lab import recipe

CHOSEN = recipe(lr=0.1, weight_decay=0.05, layer_decay=0.5)


@pytest.fixture
def backbone() -> Backbone:
    return load_backbone("resnet18", "none", emit=ignore)


def groups_of(backbone: Backbone, frozen: int) -> tuple[TrainableModel, list[dict[str, Any]]]:
    trainee = TrainableModel(backbone, frozen, nn.Linear(512, 3), batch_norm="eval")
    return trainee, parameter_groups(trainee.stage_parameters(), trainee.head, CHOSEN)


@pytest.mark.parametrize("frozen", range(6))
def test_every_parameter_that_trains_is_in_one_group_and_no_frozen_one(backbone: Backbone, frozen: int) -> None:
    trainee, groups = groups_of(backbone, frozen)
    found = [parameter for group in groups for parameter in group["params"]]
    assert len({id(parameter) for parameter in found}) == len(found)
    trained = {name for stage in backbone.stages[frozen:] for name in stage.tensors}
    names = {id(parameter): name for name, parameter in backbone.network.named_parameters()}
    assert {names[id(item)] for item in found if id(item) in names} == {
        name for name, _ in backbone.network.named_parameters() if name in trained
    }
    assert {id(item) for item in found} == {id(item) for item in trainee.parameters() if item.requires_grad}
    assert {id(item) for item in trainee.head.parameters()} <= {id(item) for item in found}


def test_vectors_have_no_decay(backbone: Backbone) -> None:
    _, groups = groups_of(backbone, 2)
    for group in groups:
        vectors = {parameter.ndim <= 1 for parameter in group["params"]}
        assert vectors == {group["weight_decay"] == 0.0}
        assert group["weight_decay"] in (0.0, 0.05)


@pytest.mark.parametrize(
    ("name", "spared"),
    [
        ("convnext_tiny", "layer_scale"),
        ("swin_v2_t", "logit_scale"),
        ("swin_v2_t", "cpb_mlp.0.weight"),
        ("swin_t", "relative_position_bias_table"),
        ("vit_b_32", "encoder.pos_embedding"),
        ("vit_b_32", "class_token"),
        ("maxvit_t", "relative_position_bias_table"),
    ],
)
def test_scales_tokens_and_positions_have_no_decay(name: str, spared: str) -> None:
    backbone = load_backbone(name, "none", emit=ignore)
    model = TrainableModel(backbone, 0, nn.Linear(backbone.feature_size, 3), batch_norm="eval")
    groups = parameter_groups(
        model.stage_parameters(), model.head, CHOSEN, without_decay=model.parameters_without_decay()
    )
    decay_of = {id(item): group["weight_decay"] for group in groups for item in group["params"]}
    found = {key: item for key, item in backbone.network.named_parameters() if key.endswith(spared)}
    assert found
    assert any(item.ndim > 1 for item in found.values())
    assert {decay_of[id(item)] for item in found.values()} == {0.0}
    weights = [key for key, item in backbone.network.named_parameters() if decay_of[id(item)] == 0.05]
    assert len(weights) > 20


def test_each_stage_learns_slower_than_the_one_after_it(backbone: Backbone) -> None:
    _, groups = groups_of(backbone, 2)
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    parameters = dict(backbone.network.named_parameters())
    for distance, name in enumerate(["layer4", "layer3", "layer2"], start=1):
        found = {rates[id(item)] for key, item in parameters.items() if key.startswith(name)}
        assert found == {0.1 * 0.5**distance}
    assert [group["lr"] for group in groups[:2]] == [0.1, 0.1]
    assert all(group["initial_lr"] == group["lr"] for group in groups)


def test_rates_are_set_by_a_factor_of_the_full_ones(backbone: Backbone) -> None:
    _, groups = groups_of(backbone, 4)
    optimizer = make_optimizer(groups, CHOSEN)
    for factor in (0.5, 0.1, 1.0):
        set_learning_rate(optimizer, factor)
        assert [group["lr"] for group in optimizer.param_groups] == [
            group["initial_lr"] * factor for group in optimizer.param_groups
        ]


@pytest.mark.parametrize("kind", ["adamw", "sgd"])
def test_steps_are_those_of_torchs_plain_optimizers(kind: str) -> None:
    chosen = recipe(optimizer=kind, lr=0.1, weight_decay=0.05)
    ours, theirs = nn.Linear(4, 3), nn.Linear(4, 3)
    theirs.load_state_dict(ours.state_dict())
    optimizer = make_optimizer(parameter_groups([], ours, chosen), chosen)
    plain = [{"params": [theirs.weight], "weight_decay": 0.05}, {"params": [theirs.bias], "weight_decay": 0.0}]
    reference: torch.optim.Optimizer = (
        torch.optim.AdamW(plain, lr=0.1, foreach=False, fused=False)
        if kind == "adamw"
        else torch.optim.SGD(plain, lr=0.1, momentum=0.9, nesterov=True, foreach=False, fused=False)
    )
    random = torch.Generator().manual_seed(0)
    for _ in range(4):
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            mine.grad = torch.randn(mine.shape, generator=random)
            other.grad = mine.grad.clone()
        optimizer.step()
        reference.step()
        for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(mine, other, rtol=1e-6, atol=1e-7)
