"""The plain engine: torch runs the modules as they are. What every other engine is compared with."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from featcli import __version__
from featcli.backbones.stages import Backbone
from featcli.features.engines.engine import Pending, Pixels, fill_tile
from featcli.features.store import PLAIN_ENGINE
from featcli.runtime import Runtime

_GPU_DEPTH = 3  # one tile is copied, one computed, one read back


class PlainTorch:
    """Eager torch.

    On a GPU nothing waits: a tile is copied from pinned memory on a stream of its own, and its features are copied back
    behind the pass; only whoever asks for them waits.

    Args:
        backbone: moved to the runtime's device, its maps laid out with their channels last.
        runtime: where and how to compute.
    """

    name = PLAIN_ENGINE

    def __init__(self, backbone: Backbone, runtime: Runtime) -> None:
        backbone.network.to(runtime.device).to(memory_format=torch.channels_last)
        self._backbone = backbone
        self._runtime = runtime
        self._copies: torch.cuda.Stream | None = None
        self.tile = runtime.tile
        self.depth = _GPU_DEPTH if runtime.is_asynchronous else 1

    def submit(self, pixels: Pixels) -> Pending:
        """Starts a pass over 1 to `tile` decoded images, and gives what waits for their features (n, D) float32."""
        return read_back(self.compute(self.from_tile, pixels), len(pixels))

    def boundary(self, pixels: Pixels, n_frozen: int) -> Tensor:
        """The output (n, ...) of the first `n_frozen` stages, in the runtime's precision."""
        backbone = self._backbone
        # Not inference tensors: a training may read them.
        with torch.no_grad(), self._computing():
            images = backbone.preprocessing.normalise(self._on_device(pixels))
            return backbone.run(images, 0, n_frozen)[: len(pixels)]

    def provenance(self) -> dict[str, Any]:
        """The path, and the libraries' versions."""
        versions = {name: version(name) for name in ("torch", "torchvision", "pillow")} | {"featcli": __version__}
        return {"path": "plain", "versions": versions}

    def compute(self, compute: Callable[[Tensor], Tensor], pixels: Pixels) -> Tensor:
        """What a function such as `from_tile` gives for a tile of decoded images, float32, on the device."""
        with torch.inference_mode(), self._computing():
            return compute(self._on_device(pixels)).float()

    def from_tile(self, tile: Tensor) -> Tensor:
        """From decoded images (tile, H, W, 3) uint8 on the device to features (tile, D)."""
        return self._backbone.features(self._backbone.preprocessing.normalise(tile))

    @contextlib.contextmanager
    def _computing(self) -> Iterator[None]:
        """The precision asked for, nothing in training mode."""
        with self._runtime.autocast(), in_eval_mode(self._backbone.network):
            yield

    def _on_device(self, pixels: Pixels) -> Tensor:
        """A tile (tile, H, W, 3) uint8 on the device, ready for what is computed next."""
        is_cuda = self._runtime.device.type == "cuda"
        tile = torch.empty((self.tile, *pixels[0].shape), dtype=torch.uint8, pin_memory=is_cuda)
        fill_tile(tile.numpy(), pixels)
        if not is_cuda:
            return tile.to(self._runtime.device)
        with torch.cuda.device(self._runtime.device):
            self._copies = self._copies or torch.cuda.Stream()  # type: ignore[no-untyped-call]
            computing = torch.cuda.current_stream()
            with torch.cuda.stream(self._copies):
                copied = tile.to(self._runtime.device, non_blocking=True)
            computing.wait_stream(self._copies)
            copied.record_stream(computing)  # its memory is not reused before the pass is over
        return copied


def read_back(features: Tensor, count: int) -> Pending:
    """What waits for the first rows of features (tile, D), and for nothing that a device was given after them."""
    if features.device.type != "cuda":
        rows = np.asarray(features.cpu().numpy()[:count])
        return lambda: rows
    host = torch.empty(features.shape, dtype=features.dtype, pin_memory=True)
    host.copy_(features, non_blocking=True)
    copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
    copied.record()

    def wait() -> NDArray[np.float32]:
        copied.synchronize()
        return np.array(host.numpy()[:count])

    return wait


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
