"""How each family of networks divides into stages, in the field's words, and where its last Linear is."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import nn

from featcli.backbones.stages import Partition, chain

Partitioner = Callable[[nn.Module], Partition]


def resnet(network: nn.Module) -> Partition:
    """ResNet, ResNeXt, Wide ResNet: the stem and four layers."""
    stem = chain(network, "stem", ["conv1", "bn1", "relu", "maxpool"])
    layers = [chain(network, name, [name]) for name in ("layer1", "layer2", "layer3", "layer4")]
    return Partition((stem, *layers), _pool(network), "fc")


def efficientnet(network: nn.Module) -> Partition:
    """EfficientNet: the stem, one stage per run of equal blocks, the last 1x1 convolution."""
    children = [name for name, _ in network.get_submodule("features").named_children()]
    names = ["stem", *(f"stage{index}" for index in range(1, len(children) - 1)), "top"]
    stages = [chain(network, name, [f"features.{child}"]) for name, child in zip(names, children, strict=True)]
    return Partition(tuple(stages), _pool(network), "classifier.1")


# By the module that a torchvision builder is defined in.
TORCHVISION: Mapping[str, Partitioner] = {"torchvision.models.resnet": resnet}


def _pool(network: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    avgpool = network.get_submodule("avgpool")
    return lambda images: torch.flatten(avgpool(images), 1)
