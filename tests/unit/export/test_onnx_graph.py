"""What torch's exporter cannot do is said with the operator and the way out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from featcli.errors import UsageError
from featcli.export.onnx_graph import onnx_bytes


class Unknown(nn.Module):
    """With an operator that ONNX has not."""

    names = ("probabilities",)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        return (torch.special.i1e(pixels.float().flatten(1)),)


class Fixed(nn.Module):
    """Whose number of images is that of the example."""

    names = ("probabilities",)

    def forward(self, pixels: Tensor) -> tuple[Tensor, ...]:
        return (pixels.float().flatten(1)[: len(pixels)] + torch.arange(len(pixels)).float()[:, None],)


def test_an_operator_that_cannot_be_exported() -> None:
    with pytest.raises(UsageError, match="net cannot be exported to ONNX: torch's exporter stops at") as caught:
        onnx_bytes(Unknown().eval(), 4, "net")  # type: ignore[arg-type]
    assert "i1e" in caught.value.message
    assert caught.value.hint == "Take --format openvino or torch."


def test_a_batch_that_is_fixed_is_no_file() -> None:
    with pytest.raises(UsageError, match="net cannot be exported to ONNX"):
        onnx_bytes(Fixed().eval(), 4, "net")  # type: ignore[arg-type]
