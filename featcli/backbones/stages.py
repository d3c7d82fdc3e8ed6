"""A backbone: a classification network without its last Linear, as an ordered list of stages.

Running the stages one after the other, then `pool`, gives the same bits as the network's own forward with its last
Linear replaced by Identity. So a prefix of stages can run apart from the rest: frozen, once, its output kept.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from featcli.backbones.description import Described
from featcli.backbones.layers import PENULTIMATE, Layer, pool_output
from featcli.data.pixels.preprocessing import Preprocessing

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
        linear: dotted name of the last Linear, which is not part of the backbone; None where there is none.
        feature_size: D, where `linear` is None; else it is the Linear's.
        dropped: leading parts of the names of tensors that files hold and the backbone does not: auxiliary heads.
        channels_last: whether the stages' maps are (B, H, W, C), not (B, C, H, W).
        class_token: whether the stages give tokens (B, N, D), of which the first is the class token.
    """

    stages: tuple[Stage, ...]
    pool: Forward
    linear: str | None
    feature_size: int | None = None
    dropped: tuple[str, ...] = ()
    channels_last: bool = False
    class_token: bool = False


Partitioner = Callable[[nn.Module], Partition]


@dataclass(frozen=True, slots=True)
class Backbone:
    """A network that turns normalised images into features.

    Attributes:
        name: as its provider has it: `resnet18`.
        network: the whole network; its last Linear is an Identity, so that calling it gives the features too.
        partition: how it divides.
        layer: where the features are taken.
        feature_size: D.
        preprocessing: that belongs to the weights.
        weights: in words, without a path: `DEFAULT`, `none (seed 0)`, `file`.
        weights_sha256: `canonical_sha256` of the network's tensors.
        arguments: of the builder, which the weights need and the tensors do not tell.
    """

    name: str
    network: nn.Module
    partition: Partition
    layer: Layer
    feature_size: int
    preprocessing: Preprocessing
    weights: str
    weights_sha256: str
    arguments: Mapping[str, Any]

    @property
    def stages(self) -> tuple[Stage, ...]:
        """From input to output; together they own every tensor of `network` exactly once."""
        return self.partition.stages

    def run(self, images: Tensor, start: int = 0, stop: int | None = None) -> Tensor:
        """Runs the stages [start, stop): `images` is the input of the first of them. No pooling."""
        for stage in self.stages[start:stop]:
            images = stage.forward(images)
        return images

    def features(self, images: Tensor) -> Tensor:
        """From normalised images (B, 3, H, W) to features (B, D), at `layer`."""
        return read_layer(self.partition, self.layer, images)

    @property
    def n_parameters(self) -> int:
        """Number of parameters (buffers not counted)."""
        return sum(parameter.numel() for parameter in self.network.parameters())


def whole(backbone: Described) -> Backbone:
    """A backbone that has its network, as whatever trains or exports needs it.

    Raises:
        TypeError: it is a description alone.
    """
    if not isinstance(backbone, Backbone):
        raise TypeError(f"of {backbone.name} there is a description and no network")
    return backbone


class Built(NamedTuple):
    """A network without its last Linear, how it divides, and the size of its features."""

    network: nn.Module
    partition: Partition
    feature_size: int


def chain(network: nn.Module, name: str, steps: Sequence[str | Forward], own: Sequence[str] = ()) -> Stage:
    """A stage that runs submodules of `network`, given by their dotted names, and functions, one after the other.

    Args:
        network: whose submodules they are.
        name: of the stage.
        steps: what runs. The stage owns the tensors of the submodules.
        own: dotted names of further tensors that it owns, which its functions use.
    """
    parts = [network.get_submodule(step) if isinstance(step, str) else step for step in steps]
    prefixes = tuple(f"{step}." for step in steps if isinstance(step, str))
    tensors = tuple(tensor for tensor in network.state_dict() if tensor.startswith(prefixes) or tensor in own)

    def forward(images: Tensor) -> Tensor:
        for part in parts:
            images = part(images)
        return images

    return Stage(name, tensors, forward)


def detach_linear(network: nn.Module, partition: Partition) -> int:
    """Replaces the last Linear, if there is one, by an Identity and returns the feature size.

    Raises:
        ValueError: there is no Linear of that name (an error in the family's table).
    """
    if partition.linear is None:
        if partition.feature_size is None:
            raise ValueError("a partition without a Linear must tell its feature size")
        return partition.feature_size
    last = network.get_submodule(partition.linear)
    if not isinstance(last, nn.Linear):
        raise ValueError(f"{partition.linear} is not a Linear")
    network.set_submodule(partition.linear, nn.Identity())
    return last.in_features


def read_layer(partition: Partition, layer: Layer, images: Tensor) -> Tensor:
    """Runs the stages as far as `layer` needs them and pools.

    Args:
        partition: of a network.
        layer: checked against its stages.
        images: normalised, (B, 3, H, W).

    Returns:
        (B, D) the vectors of all places, concatenated.
    """
    vectors: dict[str, Tensor] = {}
    output = images
    for stage in partition.stages:
        output = stage.forward(output)
        if stage.name in layer.places:
            # A clone, where a later stage may work in place on what this one gave.
            kept = output.clone()
            vectors[stage.name] = pool_output(
                kept, layer.pooling, channels_last=partition.channels_last, class_token=partition.class_token
            )
        if len(vectors) == len(layer.places):
            break
    else:
        vectors[PENULTIMATE] = partition.pool(output)
    return torch.cat([vectors[place] for place in layer.places], dim=1)


def assemble(
    name: str,
    built: Built,
    preprocessing: Preprocessing,
    weights: str,
    arguments: Mapping[str, Any] = MappingProxyType({}),
    layer: Layer = Layer(),  # noqa: B008  immutable
) -> Backbone:
    """Puts a network, without its last Linear, in eval mode, and checks that the stages own every tensor exactly once.

    Raises:
        BackboneOptionError: the layer does not exist.
        ValueError: the partition leaves a tensor out or counts one twice (an error in the family's table).
    """
    network, partition, feature_size = built
    owned = [tensor for stage in partition.stages for tensor in stage.tensors]
    state = network.state_dict()
    if sorted(owned) != sorted(state):
        wrong = sorted(set(owned) ^ set(state)) or sorted({tensor for tensor in owned if owned.count(tensor) > 1})
        raise ValueError(f"{name}: stages do not own each tensor once: {', '.join(wrong[:5])}")
    network = network.eval().requires_grad_(False)
    layer.check(name, [stage.name for stage in partition.stages])
    if layer != Layer():
        with torch.inference_mode():
            blank = torch.zeros(1, 3, preprocessing.crop, preprocessing.crop)
            feature_size = read_layer(partition, layer, blank).shape[1]
    return Backbone(
        name=name,
        network=network,
        partition=partition,
        layer=layer,
        feature_size=feature_size,
        preprocessing=preprocessing,
        weights=weights,
        weights_sha256=canonical_sha256(state),
        arguments=dict(arguments),
    )


def canonical_sha256(tensors: Mapping[str, Tensor]) -> str:
    """A hash of names, dtypes, shapes and bytes in sorted order: the same whatever file the tensors came in."""
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
