"""From a model as one torch module to the bytes of an ONNX file; and a front for it that takes images of any size."""

from __future__ import annotations

import contextlib
import io
import logging
import re
import warnings
from collections.abc import Iterator
from typing import Any

import torch

from featcli import __version__
from featcli.data.pixels.preprocessing import Preprocessing
from featcli.errors import EnvironmentFault, UsageError
from featcli.exported import INPUT
from featcli.extras import ONNX_INSTALL
from featcli.features.engines.openvino import first_line
from featcli.whole_model import PixelModel

OPSET = 18  # the first whose Resize can antialias
RESIZES = {"bilinear": "linear", "bicubic": "cubic"}  # interpolations that it has, in its words
_CUBIC = -0.5  # the free parameter, as with Pillow
_FRONT = "whole_"  # before the names of the front's values
_LARGEST = (1 << 31) - (1 << 20)  # bytes of one file, by its format
_OPERATOR = re.compile(r"(?:aten|prims|torchvision|quantized)[.:]+\w+(?:\.\w+)?")
_SCOPES = "pkg.torch.onnx.name_scopes"  # of modules, from the outermost, and last the node itself
_QUOTED = re.compile(r"'([^']*)'")


def import_onnx() -> Any:
    """The packages onnx and onnxscript, of which the first is given.

    Raises:
        EnvironmentFault: one is not installed.
    """
    try:
        import onnx
        import onnx.compose
        import onnxscript  # noqa: F401  # torch's exporter needs it
    except ImportError as error:
        raise EnvironmentFault("an export to ONNX needs onnx and onnxscript", ONNX_INSTALL) from error
    return onnx


def onnx_bytes(module: PixelModel, side: int, name: str) -> bytes:
    """Exports a model with a batch of any size.

    Args:
        module: on the CPU, in eval mode.
        side: of the decoded squares that it takes, in pixels.
        name: of the backbone, for errors.

    Returns:
        A file without names and values of our own: input `pixels` (batch, side, side, 3) uint8, outputs by their names.

    Raises:
        EnvironmentFault: a library is missing.
        UsageError: torch cannot export it, with the operator where it says which.
    """
    onnx = import_onnx()
    example = torch.zeros((2, side, side, 3), dtype=torch.uint8)
    try:
        with quietly(), torch.inference_mode(False), torch.no_grad():
            program = torch.onnx.export(
                module,
                (example,),
                None,
                dynamo=True,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                input_names=[INPUT],
                output_names=module.names,
                opset_version=OPSET,
                verbose=False,
            )
        assert program is not None, "the exporter gives a program"
        program.model.producer_name, program.model.producer_version = "featcli", __version__
        model = program.model_proto
    except Exception as error:  # whatever an exporter raises
        raise _cannot(name, error) from error
    if model.ByteSize() > _LARGEST:
        raise UsageError(
            f"{name} cannot be one ONNX file: it has {model.ByteSize() / 1e9:.1f} GB, and the format ends at 2",
            "Take --format openvino or torch.",
        )
    if not model.graph.input[0].type.tensor_type.shape.dim[0].dim_param:
        raise UsageError(
            f"{name} cannot be exported to ONNX: torch's exporter fixes the number of images",
            "Take --format openvino or torch.",
        )
    _name_by_module(model)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _name_by_module(model: Any) -> None:
    """Names nodes by the modules that they come from, and drops what the exporter noted, source paths among it."""
    for node in model.graph.node:
        noted = {entry.key: entry.value for entry in node.metadata_props}
        scopes = [name for name in _QUOTED.findall(noted.get(_SCOPES, "")) if name]
        module = scopes[-2] if len(scopes) > 1 else ""
        node.name = f"{module}/{node.output[0]}"
        del node.metadata_props[:]
    for value in (*model.graph.input, *model.graph.output, *model.graph.value_info, *model.graph.initializer):
        del value.metadata_props[:]
    del model.graph.metadata_props[:]
    del model.metadata_props[:]


def with_front(body: bytes, preprocessing: Preprocessing) -> bytes:
    """Puts resizing and cropping before an exported model: images (batch, height, width, 3) of any size go in.

    Raises:
        UsageError: the interpolation has no form in ONNX.
    """
    onnx = import_onnx()
    front, network = _front(onnx, preprocessing), onnx.load_model_from_string(body)
    front.ir_version = network.ir_version
    merged = onnx.compose.merge_models(front, network, io_map=[(f"{_FRONT}squares", INPUT)])
    merged.producer_name, merged.producer_version = network.producer_name, network.producer_version
    merged.graph.input[0].name = INPUT  # the front's own name for it
    for node in merged.graph.node:
        for index, name in enumerate(node.input):
            if name == f"{_FRONT}{INPUT}":
                node.input[index] = INPUT
    onnx.checker.check_model(merged)
    return bytes(merged.SerializeToString())


def require_front(preprocessing: Preprocessing) -> None:
    """Refuses a preprocessing that ONNX has no operators for.

    Raises:
        UsageError: with the reason.
    """
    if preprocessing.interpolation not in RESIZES:
        raise UsageError(
            f"--form whole: ONNX has no antialiased resize by '{preprocessing.interpolation}'",
            "Take --form exact, and resize outside of the file.",
        )


def _front(onnx: Any, preprocessing: Preprocessing) -> Any:
    """Resizes the shorter side and crops the centre, with a border of black where the crop is larger, as we do."""
    require_front(preprocessing)
    helper, types = onnx.helper, onnx.TensorProto
    nodes: list[Any] = []
    constants: list[Any] = []

    def constant(name: str, *values: int) -> str:
        constants.append(helper.make_tensor(f"{_FRONT}{name}", types.INT64, [len(values)], list(values)))
        return f"{_FRONT}{name}"

    def add(operator: str, inputs: list[str], name: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(operator, inputs, [f"{_FRONT}{name}"], **attributes))
        return f"{_FRONT}{name}"

    zero, two = constant("zero", 0), constant("two", 2)
    crop, resize = constant("crop", preprocessing.crop), constant("resize", preprocessing.resize)
    pixels = f"{_FRONT}{INPUT}"
    shape = add("Shape", [pixels], "shape")
    batch, *sides = (
        add("Gather", [shape, constant(f"place{place}", place)], f"side{place}", axis=0) for place in (0, 1, 2)
    )
    shorter = add("Min", sides, "shorter")
    # The longer side is rounded down; the shorter is what it should be.
    new = [
        add("Div", [add("Mul", [side, resize], f"product{index}"), shorter], f"new{index}")
        for index, side in enumerate(sides)
    ]
    sizes = add("Concat", [batch, constant("three", 3), *new], "sizes", axis=0)
    planes = add("Transpose", [pixels], "planes", perm=[0, 3, 1, 2])
    resized = add(
        "Resize",
        [planes, "", "", sizes],
        "resized",
        mode=RESIZES[preprocessing.interpolation],
        antialias=1,
        cubic_coeff_a=_CUBIC,
        exclude_outside=1,
    )
    starts, ends, before, after = [], [], [], []
    for index, side in enumerate(new):
        over = add("Max", [add("Sub", [side, crop], f"over{index}"), zero], f"rest{index}")
        half, odd = add("Div", [over, two], f"half{index}"), add("Mod", [over, two], f"odd{index}")
        # A half goes to the even number, as torchvision's centre crop has it.
        up = add("Mul", [odd, add("Mod", [half, two], f"half_odd{index}")], f"up{index}")
        starts.append(add("Add", [half, up], f"start{index}"))
        ends.append(add("Add", [starts[-1], crop], f"end{index}"))
        lack = add("Max", [add("Sub", [crop, side], f"lack{index}"), zero], f"black{index}")
        before.append(add("Div", [lack, two], f"before{index}"))
        after.append(add("Sub", [lack, before[-1]], f"after{index}"))
    axes = constant("axes", 2, 3)
    start, end = add("Concat", starts, "starts", axis=0), add("Concat", ends, "ends", axis=0)
    square = add("Slice", [resized, start, end, axes], "square")
    if preprocessing.crop > preprocessing.resize:
        none = constant("none", 0, 0)
        square = add("Pad", [square, add("Concat", [none, *before, none, *after], "pads", axis=0)], "padded")
    add("Transpose", [square], "squares", perm=[0, 2, 3, 1])
    needed = {name for node in nodes for name in node.input}
    crop_side = preprocessing.crop
    graph = helper.make_graph(
        [node for node in nodes if node.output[0] in needed or node.output[0] == f"{_FRONT}squares"],
        "front",
        [helper.make_tensor_value_info(pixels, types.UINT8, ["batch", "height", "width", 3])],
        [helper.make_tensor_value_info(f"{_FRONT}squares", types.UINT8, ["batch", crop_side, crop_side, 3])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])


@contextlib.contextmanager
def quietly() -> Iterator[None]:
    """Without what an exporter says on either stream: its outcome is compared with the model itself."""
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def _cannot(name: str, error: BaseException) -> UsageError:
    """What an exporter stumbled over, by the operator's name where any error of the chain has it."""
    found, inner = None, error
    for _ in range(10):
        found = found or _OPERATOR.search(str(inner))
        deeper = inner.__cause__ or inner.__context__
        if deeper is None:
            break
        inner = deeper
    what = f"operator {found[0]}" if found else first_line(inner)  # type: ignore[arg-type]
    return UsageError(
        f"{name} cannot be exported to ONNX: torch's exporter stops at {what}", "Take --format openvino or torch."
    )
