"""Rows meet a head's weights in blocks of one fixed shape, so that a row's bits depend on that row alone.

Neither how many rows come with it nor its place matters: every product has one shape, operands at aligned addresses,
and rows as the product's columns. (With rows as rows, MKL's result was seen to depend on the place within the block.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

BLOCK_ROWS = 256  # the one shape in which rows meet the weights

Affine: TypeAlias = tuple[NDArray[np.float32], NDArray[np.float32]]  # weight (M, D) and bias (M,)
Link: TypeAlias = Callable[[Tensor, int], Tensor]  # from outputs, and the dimension that they lie along


class AffineLayers(nn.Module):
    """Affine maps, one after the other, with a ReLU between two; a row is a column: (D, B) to (K, B).

    Args:
        layers: from input to output; the first takes D numbers, the last gives K.
    """

    def __init__(self, layers: Sequence[Affine]) -> None:
        super().__init__()
        self.n_features = layers[0][0].shape[1]
        self.n_outputs = len(layers[-1][1])
        for index, (weight, bias) in enumerate(layers):
            self.register_buffer(f"weight{index}", torch.tensor(weight))  # copies: torch aligns
            self.register_buffer(f"bias{index}", torch.tensor(bias)[:, None])
        self._n_layers = len(layers)

    def forward(self, columns: Tensor) -> Tensor:
        """Features (D, B) to outputs (K, B), float32."""
        for index in range(self._n_layers):
            weight, bias = self.get_buffer(f"weight{index}"), self.get_buffer(f"bias{index}")
            columns = torch.mm(weight, columns.relu_() if index > 0 else columns).add_(bias)
        return columns


class InBlocks(nn.Module):
    """Features (N, D) to outputs (N, K), `BLOCK_ROWS` rows at a time, the last block padded with zeros.

    Args:
        columns: (D, `BLOCK_ROWS`) to (K, `BLOCK_ROWS`), a row in each column.
        link: what follows, such as a task's; on the padded block too, since how ten numbers are added was seen to
            depend on the shape that they are in.
    """

    def __init__(self, columns: nn.Module, link: Link | None = None) -> None:
        super().__init__()
        self.columns = columns
        self._link = link

    def forward(self, features: Tensor) -> Tensor:
        """(N, D) float32 to (N, K)."""
        found = [self._block(features[start : start + BLOCK_ROWS]) for start in range(0, len(features), BLOCK_ROWS)]
        return torch.cat(found) if found else self._block(features)

    def _block(self, rows: Tensor) -> Tensor:
        padded = rows.new_zeros(BLOCK_ROWS, rows.shape[1])
        padded[: len(rows)] = rows
        outputs: Tensor = self.columns(padded.T)  # (K, BLOCK_ROWS)
        if self._link is not None:
            outputs = self._link(outputs, 0)
        return outputs.T[: len(rows)]


def apply_in_blocks(
    columns: AffineLayers, features: NDArray[np.float32], link: Link | None = None
) -> NDArray[np.floating]:
    """Applies a head to stored features.

    Args:
        columns: of the head.
        features: (N, D) float32.
        link: as in `InBlocks`.

    Returns:
        (N, K), float32 without a link.

    Raises:
        ValueError: features of another width or type.
    """
    width = columns.n_features
    if features.ndim != 2 or features.shape[1] != width or features.dtype != np.float32:
        raise ValueError(f"features are {features.shape} {features.dtype}, not (N, {width}) float32")
    in_blocks = InBlocks(columns, link)
    outputs: NDArray[np.floating] | None = None
    with torch.inference_mode():
        for start in range(0, max(1, len(features)), BLOCK_ROWS):
            block = in_blocks(torch.tensor(features[start : start + BLOCK_ROWS])).numpy()
            if outputs is None:
                outputs = np.empty((len(features), block.shape[1]), dtype=block.dtype)
            outputs[start : start + len(block)] = block
    assert outputs is not None, "even no rows are one block"
    return outputs


def linear_arrays(module: nn.Module) -> list[NDArray[np.float32]]:
    """Weight and bias of every Linear in a trained module, in order, as copies in float32."""
    layers = [layer for layer in module.modules() if isinstance(layer, nn.Linear)]
    tensors = [tensor for layer in layers for tensor in (layer.weight, layer.bias)]
    return [np.array(tensor.detach().cpu().numpy(), dtype=np.float32) for tensor in tensors]
