"""A moving average of the weights."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


class MovingAverage:
    """An exponential moving average of the tensors that train, in the precision that they have.

    Early on the average is younger than its decay asks: in step t the decay is at most (1 + t) / (10 + t), so that it
    forgets where training began. (The form that TensorFlow's ExponentialMovingAverage uses.)

    Args:
        tensors: the live ones; the average begins as their copy.
        decay: from 0 to 1.
    """

    def __init__(self, tensors: Mapping[str, Tensor], decay: float) -> None:
        self._live = dict(tensors)
        self._decay = decay
        self.tensors = {name: tensor.detach().clone() for name, tensor in tensors.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Takes in the live tensors after step `step`, counted from 0. Counters are copied."""
        decay = min(self._decay, (1 + step) / (10 + step))
        floats = [name for name, tensor in self._live.items() if tensor.is_floating_point()]
        torch._foreach_lerp_([self.tensors[name] for name in floats], [self._live[name] for name in floats], 1 - decay)
        for name in self._live.keys() - set(floats):
            self.tensors[name].copy_(self._live[name])
