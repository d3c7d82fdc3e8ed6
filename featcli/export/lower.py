"""Smaller files of the same model: whole numbers of 8 bits, calibrated on images, and floats of 16."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcli.errors import EnvironmentFault
from featcli.export.onnx_graph import import_onnx, quietly
from featcli.exported import INPUT
from featcli.extras import import_onnxruntime

BACKBONE_MODULE = "network"  # of `PixelModel`
_QUANTISED = ("Conv", "MatMul", "Gemm")  # with what lies between them


def to_int8(body: bytes, images: Sequence[NDArray[np.uint8]]) -> bytes:
    """Weights for each channel and activations in 8 bits, by the ranges that images give; the head stays as it is.

    Args:
        body: an exported model that takes squares.
        images: decoded squares (side, side, 3) to calibrate on.

    Raises:
        EnvironmentFault: a library is missing.
    """
    onnx = import_onnx()
    import_onnxruntime()
    from onnxruntime import quantization

    model = onnx.load_model_from_string(body)
    with tempfile.TemporaryDirectory(prefix="featcli-") as folder, quietly():
        target = Path(folder, "int8.onnx")
        quantization.quantize_static(
            model,
            target,
            _Images(images),
            per_channel=True,
            reduce_range=not _has_int8(),
            activation_type=quantization.QuantType.QUInt8,
            weight_type=quantization.QuantType.QInt8,
            op_types_to_quantize=list(_QUANTISED),
            nodes_to_exclude=_beside_backbone(model),
        )
        found = onnx.load(target)
    found.producer_name, found.producer_version = model.producer_name, model.producer_version
    del found.metadata_props[:]
    return bytes(found.SerializeToString())


def to_fp16(body: bytes) -> bytes:
    """Weights and activations in floats of 16 bits; input and outputs stay as they are.

    Raises:
        EnvironmentFault: a library is missing.
    """
    onnx = import_onnx()
    import_onnxruntime()
    try:
        from onnxruntime.transformers.float16 import convert_float_to_float16
    except ImportError as error:
        raise EnvironmentFault("this onnxruntime cannot convert to fp16", "Install another version of it.") from error
    model = onnx.load_model_from_string(body)
    with quietly():
        found = convert_float_to_float16(model, keep_io_types=True)
    return bytes(found.SerializeToString())


def _has_int8() -> bool:
    """Whether sums of products of 8-bit numbers cannot overflow in this processor's 16-bit halves: it has VNNI."""
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False
    return "avx512_vnni" in flags or "avx_vnni" in flags or "asimddp" in flags


def _beside_backbone(model: Any) -> list[str]:
    """Names of the nodes that are no part of the backbone: they are small, and they decide."""
    return [node.name for node in model.graph.node if re.split("[./]", node.name)[0] != BACKBONE_MODULE]


class _Images:
    """Hands images over one at a time, as the calibration asks for them."""

    def __init__(self, images: Sequence[NDArray[np.uint8]]) -> None:
        self._images = images
        self._rest: Iterator[NDArray[np.uint8]] = iter(images)

    def get_next(self) -> dict[str, NDArray[np.uint8]] | None:
        image = next(self._rest, None)
        return None if image is None else {INPUT: image[None]}

    def __len__(self) -> int:
        return len(self._images)

    def set_range(self, start_index: int, end_index: int) -> None:
        self._rest = iter(self._images[start_index:end_index])

    def rewind(self) -> None:
        self._rest = iter(self._images)
