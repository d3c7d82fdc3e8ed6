"""Freezing: how many leading stages stay as they are, what holds them there, and the proof that it did.

A frozen stage has no gradient, is in no optimizer, and its BatchNorm, dropout and stochastic depth are in eval mode;
its parameters and buffers are the same bits before and after.
"""

from __future__ import annotations

from collections.abc import Set

import torch
from torch import nn

from featcli.backbones.stages import Backbone
from featcli.errors import BackboneOptionError, FrozenDriftError
from featcli.text import did_you_mean

AUTO_BATCH_NORM = 32
_BATCH_NORM = (nn.modules.batchnorm._BatchNorm,)


def count_frozen(backbone: Backbone, depth: str | int) -> int:
    """How many leading stages a freeze depth means.

    Args:
        backbone: whose stages are counted.
        depth: `all`, `none`, a number, or the name of the last frozen stage.

    Raises:
        BackboneOptionError: more stages than there are, or no stage of that name; the stages are listed.
    """
    names = [stage.name for stage in backbone.stages]
    if depth == "all":
        return len(names)
    if depth == "none":
        return 0
    if isinstance(depth, int) and 0 <= depth <= len(names):
        return depth
    if depth in names:
        return names.index(str(depth)) + 1
    raise BackboneOptionError(
        "freeze_depth",
        f"{backbone.name} has no freeze depth '{depth}'{did_you_mean(str(depth), names)}",
        f"Its {len(names)} stages, input to output: {', '.join(names)}; or all, none, 0 to {len(names)}.",
    )


class Freezing:
    """Holds the leading stages of a backbone where they are while the others train.

    Args:
        backbone: whose stages they are.
        n_frozen: how many.
        batch_norm: `train` or `eval`, for the BatchNorm of the stages that train.
    """

    def __init__(self, backbone: Backbone, n_frozen: int, *, batch_norm: str) -> None:
        self._network = backbone.network
        self.trained = frozenset(name for stage in backbone.stages[n_frozen:] for name in stage.tensors)
        self._held = _held_in_eval(self._network, self.trained, batch_norm)

    def stop_gradients(self) -> None:
        """Switches gradients on for the parameters that train, and off for all others of the backbone."""
        for name, parameter in self._network.named_parameters():
            parameter.requires_grad_(name in self.trained)

    def hold_in_eval(self) -> None:
        """Puts what is frozen back into eval mode, and BatchNorm where it is to stay as pretrained."""
        for module in self._held:
            module.training = False


def batch_norm_mode(mode: str, batch_size: int, *, solved: bool) -> str:
    """`train` or `eval`, for BatchNorm of the stages that train.

    `auto` is `eval` where the head starts solved, since that head knows the features that the pretrained statistics
    give, and where a batch has fewer than `AUTO_BATCH_NORM` images, whose statistics are noise; else `train`.

    Args:
        mode: `auto`, `train` or `eval`.
        batch_size: of a mini-batch, as configured.
        solved: whether the head starts solved.
    """
    if mode != "auto":
        return mode
    return "eval" if solved or batch_size < AUTO_BATCH_NORM else "train"


def _held_in_eval(network: nn.Module, trained: Set[str], batch_norm: str) -> list[nn.Module]:
    """The modules that never leave eval mode: below what owns frozen tensors only, and BatchNorm if it is to stay."""
    tensors = list(network.state_dict())
    held = []

    def visit(module: nn.Module, prefix: str, frozen: bool) -> None:
        own = [name for name in tensors if name.startswith(prefix)]
        if own:  # a module without tensors, such as a dropout, is as what it lies in
            frozen = not any(name in trained for name in own)
        if frozen or (batch_norm == "eval" and isinstance(module, _BATCH_NORM)):
            held.append(module)
        for name, child in module.named_children():
            visit(child, f"{prefix}{name}.", frozen)

    visit(network, "", False)
    return held


class FrozenCheck:
    """Remembers the tensors of the frozen stages, parameters and buffers, and compares them later.

    Args:
        backbone: whose tensors are remembered.
        n_frozen: number of leading stages that are frozen; all of them by default.
    """

    def __init__(self, backbone: Backbone, n_frozen: int | None = None) -> None:
        self._backbone = backbone
        self._names = [name for stage in backbone.stages[:n_frozen] for name in stage.tensors]
        state = backbone.network.state_dict()
        self._before = {name: state[name].clone() for name in self._names}

    def verify(self) -> int:
        """Compares every frozen tensor with its copy.

        Returns:
            How many tensors were compared.

        Raises:
            FrozenDriftError: one changed; all are named.
        """
        state = self._backbone.network.state_dict()
        moved = [name for name in self._names if not _same_bits(state[name], self._before[name])]
        if moved:
            shown = ", ".join(moved[:5]) + (f" and {len(moved) - 5} more" if len(moved) > 5 else "")
            raise FrozenDriftError(
                f"{len(moved)} of {len(self._names)} frozen tensors changed during the run: {shown}",
                "The run must not be trusted. Please report this: a frozen backbone must not move.",
            )
        return len(self._names)


def _same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    one = one.to(other.device)  # the network may have moved to its device meanwhile
    # Bytes, since NaN is unequal to itself and -0.0 equals 0.0.
    return torch.equal(one.contiguous().reshape(-1).view(torch.uint8), other.contiguous().reshape(-1).view(torch.uint8))
