"""torch.compile: for a GPU, where kernels are fused for one shape of tile; on a CPU it needs a C++ compiler."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from featcli.backbones.stages import Backbone
from featcli.features.engines.engine import Pending, Pixels
from featcli.features.engines.openvino import CannotConvert, first_line
from featcli.features.engines.plain import PlainTorch, read_back
from featcli.runtime import Runtime


class CompiledTorch:
    """The whole backbone compiled; prefixes of stages run as plain torch runs them.

    Args:
        backbone: moved to the runtime's device.
        runtime: where and how to compute.
    """

    name = "compile"

    def __init__(self, backbone: Backbone, runtime: Runtime) -> None:
        self._plain = PlainTorch(backbone, runtime)
        self._compiled = torch.compile(self._plain.from_tile, dynamic=False)
        self.tile = self._plain.tile
        self.depth = self._plain.depth

    def submit(self, pixels: Pixels) -> Pending:
        """As `PlainTorch.submit`; the first pass compiles.

        Raises:
            CannotConvert: it cannot be compiled here.
        """
        try:
            return read_back(self._plain.compute(self._compiled, pixels), len(pixels))
        except Exception as error:
            if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                raise
            raise CannotConvert(first_line(error)) from error

    def boundary(self, pixels: Pixels, n_frozen: int) -> Tensor:
        """As `PlainTorch.boundary`."""
        return self._plain.boundary(pixels, n_frozen)

    def provenance(self) -> dict[str, Any]:
        """The path, and the libraries' versions."""
        return self._plain.provenance() | {"path": self.name}
