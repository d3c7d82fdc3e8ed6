"""A backbone: a classification network without its last Linear, as an ordered list of stages.

Running the stages one after the other, then `pool`, gives the same bits as the network's own forward with its last
Linear replaced by Identity. So a prefix of stages can run apart from the rest: frozen, once, its output kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from featcli.data.transforms import Preprocessing

Forward = Callable[[Tensor], Tensor]


@dataclass(frozen=True, slots=True)
class Stage:
    """One group of a backbone.

    Attributes:
        name: in the field's words: `stem`, `layer1`.
        tensors: names, in the network's state dict, of the parameters and buffers that this stage owns.
        forward: from the stage before (for the first: normalised images) to this stage's output.
    """

    name: str
    tensors: tuple[str, ...]
    forward: Forward


@dataclass(frozen=True, slots=True)
class Partition:
    """How a family of networks divides.

    Attributes:
        stages: from input to output.
        pool: from the last stage's output to (B, D) features.
        linear: dotted name of the last Linear, which is not part of the backbone.
    """

    stages: tuple[Stage, ...]
    pool: Forward
    linear: str


@dataclass(frozen=True, slots=True)
class Backbone:
    """A network that turns normalised images into features.

    Attributes:
        name: as in `torchvision.models`, or of featcli's own table.
        network: the whole network; its last Linear is an Identity, so that calling it gives the features too.
        stages: ordered; together they own every tensor of `network` exactly once.
        pool: from the last stage's output to (B, D).
        feature_size: D.
        preprocessing: that belongs to the weights.
        weights: in words, without a path: `DEFAULT`, `none (seed 0)`, `file`.
        weights_sha256: `canonical_sha256` of the network's tensors.
    """

    name: str
    network: nn.Module
    stages: tuple[Stage, ...]
    pool: Forward
    feature_size: int
    preprocessing: Preprocessing
    weights: str
    weights_sha256: str

    def run(self, images: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """Runs the stages [start, stop): `images` is the input of the first of them. No pooling."""
        for stage in self.stages[start:stop]:
            images = stage.forward(images)
        return images

    def features(self, images: Tensor) -> Tensor:
        """From normalised images (B, 3, H, W) to features (B, D)."""
        return self.pool(self.run(images))

    @property
    def n_parameters(self) -> int:
        """Number of parameters (buffers not counted)."""
        return sum(parameter.numel() for parameter in self.network.parameters())


def chain(network: nn.Module, name: str, modules: Sequence[str]) -> Stage:
    """A stage that runs submodules of `network`, given by their dotted names, one after the other."""
    parts = [network.get_submodule(module) for module in modules]
    prefixes = tuple(f"{module}." for module in modules)
    tensors = tuple(tensor for tensor in network.state_dict() if tensor.startswith(prefixes))

    def forward(images: Tensor) -> Tensor:
        for part in parts:
            images = part(images)
        return images

    return Stage(name, tensors, forward)


def detach_linear(network: nn.Module, linear: str) -> int:
    """Replaces the last Linear by an Identity and returns its number of inputs, the feature size.

    Raises:
        ValueError: there is no Linear of that name (an error in the family's table).
    """
    last = network.get_submodule(linear)
    if not isinstance(last, nn.Linear):
        raise ValueError(f"{linear} is not a Linear")
    network.set_submodule(linear, nn.Identity())
    return last.in_features


def assemble(
    name: str, network: nn.Module, partition: Partition, feature_size: int, preprocessing: Preprocessing, weights: str
) -> Backbone:
    """Puts a network, without its last Linear, in eval mode, and checks that the stages own every tensor exactly once.

    Raises:
        ValueError: the partition leaves a tensor out or counts one twice (an error in the family's table).
    """
    owned = [tensor for stage in partition.stages for tensor in stage.tensors]
    state = network.state_dict()
    if sorted(owned) != sorted(state):
        wrong = sorted(set(owned) ^ set(state)) or sorted({tensor for tensor in owned if owned.count(tensor) > 1})
        raise ValueError(f"{name}: stages do not own each tensor once: {', '.join(wrong[:5])}")
    return Backbone(
        name=name,
        network=network.eval().requires_grad_(False),
        stages=partition.stages,
        pool=partition.pool,
        feature_size=feature_size,
        preprocessing=preprocessing,
        weights=weights,
        weights_sha256=canonical_sha256(state),
    )


def canonical_sha256(tensors: Mapping[str, Tensor]) -> str:
    """A hash of names, dtypes, shapes and bytes in sorted order: the same whatever file the tensors came in."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
