"""Networks without storage, and giving them their tensors."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from featcli.backbones.architecture import Architecture
from featcli.backbones.stages import Built, detach_linear
from featcli.errors import WeightsError


class _EmptyTensors(TorchFunctionMode):
    """Parameters and buffers get no storage, while numbers that a constructor computes with stay numbers.

    `torch.device("meta")` would take those too: RegNet reads its widths from a tensor. What has no storage is given no
    random numbers either: torch would load its compiler for that, which takes as long as all else of torch.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func in (Tensor.normal_, Tensor.uniform_) and args[0].is_meta:
            return args[0]
        if func in (torch.empty, torch.zeros, torch.ones) and kwargs.get("device") is None:
            kwargs = {**kwargs, "device": "meta"}
        return func(*args, **kwargs)


def build_network(architecture: Architecture, arguments: Mapping[str, Any], seed: int | None) -> Built:
    """Builds a network without its last Linear.

    Args:
        architecture: what to build.
        arguments: for its builder, as the weights ask for.
        seed: of random weights; None for a network without storage, that `fill` must follow.
    """
    if seed is None:
        with _EmptyTensors():
            network = architecture.build(**arguments)
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = architecture.build(**arguments)
    partition = architecture.partition(network)
    return Built(network, partition, detach_linear(network, partition))


def fill(network: nn.Module, given: Mapping[str, Tensor], what: str) -> None:
    """Gives a network built without storage its tensors, floats as float32.

    Raises:
        WeightsError: tensors are missing, unexpected, or of another shape; the message begins "the weights of `what`".
    """
    wanted = network.state_dict()
    misfit = compare(wanted, given)
    if misfit.words:
        raise WeightsError(
            f"the weights of {what}; tensors: {misfit.words}",
            "Are they of another architecture? Check backbone.name and backbone.weights.",
        )
    given = {**{name: torch.zeros((), dtype=torch.int64) for name in wanted if _is_counter(name)}, **given}
    # The network's own metadata goes along: MNASNet refuses a state without its version, which few containers keep.
    state: OrderedDict[str, Tensor] = OrderedDict()
    state._metadata = wanted._metadata  # type: ignore[attr-defined]
    for name, tensor in wanted.items():
        # A copy of its own: views of a file are not aligned as torch's tensors are, and give other last bits.
        state[name] = given[name].to(tensor.dtype, copy=True).contiguous()
    network.load_state_dict(state, assign=True)


@dataclass(frozen=True, slots=True)
class Misfit:
    """How tensors differ from those that a network wants; all empty where they fit.

    Attributes:
        missing: names that are wanted and not given, the counters of batches apart, which older files lack.
        unexpected: names that are given and not wanted.
        shapes: names that are both, with another shape.
        words: all of that for a person; empty where there is nothing.
    """

    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    shapes: tuple[str, ...]
    words: str


def compare(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> Misfit:
    """Compares names and shapes."""
    missing = tuple(name for name in wanted if name not in given and not _is_counter(name))
    unexpected = tuple(name for name in given if name not in wanted)
    shapes = tuple(name for name in wanted if name in given and given[name].shape != wanted[name].shape)
    differing = [f"{name} is {_shape(given[name])}, not {_shape(wanted[name])}" for name in shapes[:4]]
    problems = [
        f"{count} {kind} ({', '.join(found[:3])}{', ...' if count > 3 else ''})"
        for kind, count, found in (
            ("missing", len(missing), missing),
            ("unexpected", len(unexpected), unexpected),
            ("of another shape", len(shapes), differing),
        )
        if count
    ]
    return Misfit(missing, unexpected, shapes, "; ".join(problems))


def _is_counter(name: str) -> bool:
    return name.endswith("num_batches_tracked")


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a scalar"
