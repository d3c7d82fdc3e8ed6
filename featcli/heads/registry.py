"""Finding a kind of head by its name."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from featcli.config.kinds import HEAD_KINDS
from featcli.heads.head import Head
from featcli.heads.kind import Arrays, Gradient, HeadKind, NewHead

if TYPE_CHECKING:
    from torch import nn


def find_head(name: str) -> HeadKind:
    """The kind of that name, by the table of `featcli.config.kinds` alone.

    Raises:
        KeyError: there is none.
    """
    kind: HeadKind = importlib.import_module(HEAD_KINDS[name]).KIND
    return kind


def kinds_of(tensors: Arrays) -> list[str]:
    """The kinds that are made of arrays of these names."""
    return [name for name in HEAD_KINDS if set(find_head(name).tensors) == tensors.keys()]


def head_from_tensors(kind: str, tensors: Arrays, n_classes: int, n_features: int) -> Head:
    """The head whose `tensors()` these are.

    Raises:
        KeyError: there is no such kind.
        ValueError: they are no head of that kind, or of another number of classes or features.
    """
    found = find_head(kind)
    if tensors.keys() != set(found.tensors):
        raise ValueError(f"no {kind} head is made of {', '.join(sorted(tensors)) or 'nothing'}")
    head = found.load(tensors)
    layers = head.layers()
    if (layers.n_outputs, layers.n_features) != (n_classes, n_features):
        raise ValueError(
            f"a head of {layers.n_outputs} classes and {layers.n_features} features, "
            f"not of {n_classes} and {n_features}"
        )
    return head


def build_head(gradient: Gradient, new: NewHead, n_features: int, n_classes: int, solved: Head | None) -> nn.Module:
    """A head to train, from a solved one or from seeded random numbers; torch's own generator is left as it was.

    Args:
        gradient: how its kind is trained.
        new: its options.
        n_features: D.
        n_classes: K.
        solved: what it starts from; None for the random numbers.
    """
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(new.seed)
        module = gradient.build(new, n_features, n_classes)
    if solved is not None:
        gradient.start(module, solved)
    return module
