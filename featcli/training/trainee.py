"""What is trained, as one module: the stages past the freeze depth and the head, from boundary tensors to logits."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from featcli.backbones.stages import Backbone

AUTO_BATCH_NORM = 32

_BATCH_NORMS = (nn.modules.batchnorm._BatchNorm,)


class Trainee(nn.Module):
    """The trainable end of a backbone with a head on it.

    Making it switches gradients on for the parameters past the boundary, and off for all others. `train()` keeps the
    modules of the frozen stages in eval mode, and BatchNorm too where it is to stay as pretrained.

    Args:
        backbone: with `start` frozen stages.
        start: number of frozen stages; with all of them, the input is the features.
        head: (B, D) features to (B, K) logits.
        batch_norm: `train` or `eval`, for the stages that train.
    """

    def __init__(self, backbone: Backbone, start: int, head: nn.Module, *, batch_norm: str) -> None:
        super().__init__()
        self.network = backbone.network
        self.head = head
        self._backbone = backbone
        self._start = start
        names = {name for stage in backbone.stages[start:] for name in stage.tensors}
        for name, parameter in self.network.named_parameters():
            parameter.requires_grad_(name in names)
        self._held = _held_in_eval(self.network, names, batch_norm)
        self._trained = names

    def forward(self, boundary: Tensor) -> Tensor:
        """From the boundary's (B, ...) to logits (B, K)."""
        if self._start == len(self._backbone.stages):
            features = boundary
        else:
            features = self._backbone.partition.pool(self._backbone.run(boundary, self._start))
        return _logits(self.head, features)

    def train(self, mode: bool = True) -> Trainee:
        """Training mode, but for what is frozen."""
        super().train(mode)
        for module in self._held:
            module.training = False
        return self

    def tensors(self) -> dict[str, Tensor]:
        """Everything that training may change, live: parameters and buffers past the boundary, and the head's."""
        found = {
            f"network.{name}": tensor for name, tensor in self.network.state_dict().items() if name in self._trained
        }
        return found | {f"head.{name}": tensor for name, tensor in self.head.state_dict().items()}

    def stage_parameters(self) -> list[list[nn.Parameter]]:
        """The parameters of each stage that trains, input to output."""
        parameters = dict(self.network.named_parameters())
        return [
            [parameters[name] for name in stage.tensors if name in parameters]
            for stage in self._backbone.stages[self._start :]
        ]


class HeadTrainee(nn.Module):
    """A head alone, from features to logits.

    Args:
        head: (B, D) to (B, K).
    """

    def __init__(self, head: nn.Module) -> None:
        super().__init__()
        self.head = head

    def forward(self, features: Tensor) -> Tensor:
        """Features (B, D) to logits (B, K)."""
        return _logits(self.head, features)

    def tensors(self) -> dict[str, Tensor]:
        """Everything that training may change, live."""
        return {f"head.{name}": tensor for name, tensor in self.head.state_dict().items()}


def _logits(head: nn.Module, features: Tensor) -> Tensor:
    """In float32 whatever the precision of the features, as the exported head computes them."""
    with torch.autocast(features.device.type, enabled=False):
        logits: Tensor = head(features.float())
    return logits


def _held_in_eval(network: nn.Module, trained: set[str], batch_norm: str) -> list[nn.Module]:
    """The modules that never leave eval mode: below what owns frozen tensors only, and BatchNorm if it is to stay."""
    tensors = list(network.state_dict())
    held = []

    def visit(module: nn.Module, prefix: str, frozen: bool) -> None:
        own = [name for name in tensors if name.startswith(prefix)]
        if own:  # a module without tensors, such as a dropout, is as what it lies in
            frozen = not any(name in trained for name in own)
        if frozen or (batch_norm == "eval" and isinstance(module, _BATCH_NORMS)):
            held.append(module)
        for name, child in module.named_children():
            visit(child, f"{prefix}{name}.", frozen)

    visit(network, "", False)
    return held


def batch_norm_mode(mode: str, batch_size: int, *, solved: bool) -> str:
    """`train` or `eval`, for BatchNorm of the stages that train.

    `auto` is `eval` where the head starts solved, since that head knows the features that the pretrained statistics
    give, and where a batch has fewer than `AUTO_BATCH_NORM` images, whose statistics are noise; else `train`.

    Args:
        mode: `auto`, `train` or `eval`.
        batch_size: of the smallest batch.
        solved: whether the head starts solved.
    """
    if mode != "auto":
        return mode
    return "eval" if solved or batch_size < AUTO_BATCH_NORM else "train"
