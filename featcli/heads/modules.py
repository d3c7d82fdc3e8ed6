"""Heads as torch modules: what is trained, and what a model as one module ends with."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from featcli.heads.blocks import AffineLayers


class HeadModule(nn.Module):
    """Features (N, D) to outputs (N, K).

    Args:
        layers: of a head; they are copied.
    """

    def __init__(self, layers: AffineLayers) -> None:
        super().__init__()
        for index, (weight, bias) in enumerate(layers.layers):
            self.register_buffer(f"weight{index}", torch.tensor(weight))
            self.register_buffer(f"bias{index}", torch.tensor(bias))
        self._n_layers = len(layers.layers)

    def forward(self, features: Tensor) -> Tensor:
        """(N, D) float32 to (N, K) float32."""
        for index in range(self._n_layers):
            given = features.relu() if index > 0 else features
            features = nn.functional.linear(given, self.get_buffer(f"weight{index}"), self.get_buffer(f"bias{index}"))
        return features


def linear_arrays(module: nn.Module) -> list[NDArray[np.float32]]:
    """Weight and bias of every Linear in a trained module, in order, as copies in float32."""
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    tensors = [tensor for layer in layers for tensor in (layer.weight, layer.bias)]
    return [np.array(tensor.detach().cpu().numpy(), dtype=np.float32) for tensor in tensors]
