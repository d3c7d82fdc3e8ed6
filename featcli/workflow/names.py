"""What is wrong with the names of a backbone and its stages, found without weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial

from featcli.backbones.architecture import Architecture
from featcli.backbones.building import build_network
from featcli.backbones.layers import Layer
from featcli.backbones.registry import find_architecture
from featcli.backbones.stages import Backbone
from featcli.errors import BackboneOptionError
from featcli.training.freezing import count_frozen


def wrong_names(name: str, places: Sequence[str], depth: str | int) -> Iterator[BackboneOptionError]:
    """Finds what opening a backbone would find, all at once.

    Args:
        name: of the backbone.
        places: where features are taken: `penultimate`, or names of stages.
        depth: how much is frozen: `all`, `none`, a number, or the name of the last frozen stage.
    """
    try:
        backbone = _without_weights(find_architecture(name))
    except BackboneOptionError as error:
        yield error
        return
    stages = [stage.name for stage in backbone.stages]
    for check in (partial(Layer(tuple(places)).check, name, stages), partial(count_frozen, backbone, depth)):
        try:
            check()
        except BackboneOptionError as error:
            yield error


def _without_weights(architecture: Architecture) -> Backbone:
    """Names and shapes alone: its tensors have no storage."""
    entry = architecture.default
    network, partition, size = build_network(architecture, entry.arguments, None)
    return Backbone(architecture.name, network, partition, Layer(), size, entry.preprocessing, "", "", entry.arguments)
