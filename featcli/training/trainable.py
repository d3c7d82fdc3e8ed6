"""What is trained, as one module: the stages past the freeze depth and the head, from boundary tensors to outputs."""

from __future__ import annotations

import re

import torch
from torch import Tensor, nn

from featcli.backbones.stages import Backbone
from featcli.training.freezing import Freezing

# As the training recipes of ConvNeXt, ViT, Swin and MaxViT name them.
_WITHOUT_DECAY = re.compile(r"layer_scale|logit_scale|pos_embed|class_token|position_bias_table|cpb_mlp")


class TrainableModel(nn.Module):
    """The trainable end of a backbone with a head on it.

    Making it freezes what is to be frozen; `train()` keeps it so.

    Args:
        backbone: whose leading stages are frozen.
        n_frozen: how many; with all of them, the input is the features.
        head: (B, D) features to (B, K) logits.
        batch_norm: `train` or `eval`, for the stages that train.
    """

    def __init__(self, backbone: Backbone, n_frozen: int, head: nn.Module, *, batch_norm: str) -> None:
        super().__init__()
        self.network = backbone.network
        self.head = head
        self._backbone = backbone
        self._n_frozen = n_frozen
        self._freezing = Freezing(backbone, n_frozen, batch_norm=batch_norm)
        self._freezing.stop_gradients()

    def forward(self, boundary: Tensor) -> Tensor:
        """From the boundary's (B, ...) to logits (B, K)."""
        if self._n_frozen == len(self._backbone.stages):
            features = boundary
        else:
            features = self._backbone.partition.pool(self._backbone.run(boundary, self._n_frozen))
        return _logits(self.head, features)

    def train(self, mode: bool = True) -> TrainableModel:
        """Training mode, but for what is frozen."""
        super().train(mode)
        self._freezing.hold_in_eval()
        return self

    def tensors(self) -> dict[str, Tensor]:
        """Everything that training may change, live: parameters and buffers past the boundary, and the head's."""
        trained, state = self._freezing.trained, self.network.state_dict()
        found = {f"network.{name}": tensor for name, tensor in state.items() if name in trained}
        return found | {f"head.{name}": tensor for name, tensor in self.head.state_dict().items()}

    def parameters_without_decay(self) -> frozenset[nn.Parameter]:
        """What the field gives no weight decay although it is no vector: scales, tokens, embeddings of positions."""
        named = self.network.named_parameters()
        return frozenset(item for name, item in named if _WITHOUT_DECAY.search(name) is not None)

    def stage_parameters(self) -> list[list[nn.Parameter]]:
        """The parameters of each stage that trains, input to output."""
        parameters = dict(self.network.named_parameters())
        return [
            [parameters[name] for name in stage.tensors if name in parameters]
            for stage in self._backbone.stages[self._n_frozen :]
        ]


class TrainableHead(nn.Module):
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
