"""What is frozen stays bit for bit what it was; this module proves it."""

from __future__ import annotations

import torch

from featcli.backbones.stages import Backbone
from featcli.errors import BackboneOptionError, FrozenDriftError
from featcli.text import did_you_mean


def frozen_stages(backbone: Backbone, depth: str | int) -> int:
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


class FrozenWitness:
    """Remembers the tensors of the frozen stages, parameters and buffers, and compares them later.

    Args:
        backbone: whose tensors are remembered.
        depth: number of leading stages that are frozen; all of them by default.
    """

    def __init__(self, backbone: Backbone, depth: int | None = None) -> None:
        self._backbone = backbone
        self._names = [name for stage in backbone.stages[:depth] for name in stage.tensors]
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
                "Nothing was saved. Please report this: a frozen backbone must not move.",
            )
        return len(self._names)


def _same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    one = one.to(other.device)  # the network may have moved to its device meanwhile
    # Bytes, since NaN is unequal to itself and -0.0 equals 0.0.
    return torch.equal(one.contiguous().reshape(-1).view(torch.uint8), other.contiguous().reshape(-1).view(torch.uint8))
