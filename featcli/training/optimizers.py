"""Optimizers over what trains: which parameters, at which rate, with which decay."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Any

import torch
from torch import nn

from featcli.training.recipe import Recipe

MOMENTUM = 0.9


def parameter_groups(
    stages: Sequence[Sequence[nn.Parameter]],
    head: nn.Module,
    recipe: Recipe,
    *,
    without_decay: Set[nn.Parameter] = frozenset(),
) -> list[dict[str, Any]]:
    """Groups for an optimizer: the head at `lr`, each stage before it slower by `layer_decay`.

    Vectors (norms, biases) have no weight decay, nor has what is named. Layer-wise decay of the learning rate: Howard
    and Ruder, 2018 (arXiv 1801.06146); its form here as in Clark et al., 2020 (arXiv 2003.10555).

    Args:
        stages: the parameters of each stage that trains, input to output.
        head: on top of them.
        recipe: rates and decay.
        without_decay: parameters of the stages that are no weights, whatever their shape.
    """

    def decays(item: nn.Parameter) -> bool:
        return item.ndim > 1 and item not in without_decay

    members = [list(stage) for stage in stages] + [list(head.parameters())]
    groups = []
    for distance, parameters in enumerate(reversed(members)):
        for decay, chosen in (
            (recipe.weight_decay, [item for item in parameters if decays(item)]),
            (0.0, [item for item in parameters if not decays(item)]),
        ):
            if chosen:
                scale = recipe.lr * recipe.layer_decay**distance
                groups.append({"params": chosen, "weight_decay": decay, "lr": scale, "initial_lr": scale})
    return groups


def make_optimizer(groups: list[dict[str, Any]], recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW, or SGD with Nesterov momentum, in their fused form."""
    if recipe.optimizer == "sgd":
        sgd = torch.optim.SGD(groups, momentum=MOMENTUM, nesterov=True, fused=True)
        # Left to the first step, momentum is whatever lies in memory where loss scaling skips that step (torch 2.14).
        for group in sgd.param_groups:
            for parameter in group["params"]:
                sgd.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
        return sgd
    return torch.optim.AdamW(groups, fused=True)


def set_learning_rate(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Sets every group to `factor` of its full rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor
