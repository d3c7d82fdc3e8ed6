"""The plain engine: torch runs the modules as they are. What every other engine is compared with."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import torch
from torch import Tensor, nn

from featcli import __version__
from featcli.backbones.stages import Backbone
from featcli.features.store import PLAIN_ENGINE
from featcli.runtime import Runtime


class PlainTorch:
    """Eager torch.

    Args:
        backbone: moved to the runtime's device, its maps laid out with their channels last.
        runtime: where and how to compute.
    """

    name = PLAIN_ENGINE

    def __init__(self, backbone: Backbone, runtime: Runtime) -> None:
        backbone.network.to(runtime.device).to(memory_format=torch.channels_last)
        self._backbone = backbone
        self._runtime = runtime
        self.tile = runtime.tile
        self.device = runtime.device

    def features(self, tile: Tensor) -> Tensor:
        """From decoded images (tile, H, W, 3) uint8 to features (tile, D) float32."""
        with self._inference():
            return self._backbone.features(self._backbone.preprocessing.normalise(tile)).float()

    def boundary(self, tile: Tensor, n_frozen: int) -> Tensor:
        """The output (tile, ...) of the first `n_frozen` stages, in the runtime's precision."""
        with self._inference():
            return self._backbone.run(self._backbone.preprocessing.normalise(tile), 0, n_frozen)

    def provenance(self) -> dict[str, Any]:
        """The path, and the libraries' versions."""
        versions = {name: version(name) for name in ("torch", "torchvision", "pillow")} | {"featcli": __version__}
        return {"path": "plain", "versions": versions}

    @contextlib.contextmanager
    def _inference(self) -> Iterator[None]:
        """No gradients (but tensors that a training may read), the precision asked for, nothing in training mode."""
        with torch.no_grad(), self._runtime.autocast(), in_eval_mode(self._backbone.network):
            yield


@contextlib.contextmanager
def in_eval_mode(network: nn.Module) -> Iterator[None]:
    """Inside, every module is in eval mode; then all are as they were."""
    training = [module for module in network.modules() if module.training]
    network.eval()
    try:
        yield
    finally:
        for module in training:
            module.training = True
