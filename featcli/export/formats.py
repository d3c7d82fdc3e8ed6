"""The formats of exported files: how each is made, and how each is run by whoever has the file alone."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from featcli.errors import EnvironmentFault, UsageError
from featcli.exported import INPUT, PREDICTIONS
from featcli.features.engines.exported import open_session
from featcli.features.engines.openvino import INSTALL, first_line, import_openvino, openvino_version

if TYPE_CHECKING:
    from featcli.whole_model import PixelModel

ONNX, OPENVINO, TORCH = FORMATS = ("onnx", "openvino", "torch")
ENDINGS = {".onnx": ONNX, ".xml": OPENVINO, ".pt2": TORCH}
_FACTS_FILE = "featcli.json"  # in a file of torch
_FACTS_SECTION = "featcli"  # of an OpenVINO model's runtime information

Run: TypeAlias = Callable[[NDArray[np.uint8]], NDArray[np.float64]]  # an image (H, W, 3) to its predictions (K,)


def openvino_files(module: PixelModel, side: int, name: str, facts: Mapping[str, str]) -> dict[str, bytes]:
    """An OpenVINO model with a batch of any size, by the endings of its files: `.xml` and, beside it, `.bin`.

    Args:
        module: on the CPU, in eval mode.
        side: of the decoded squares that it takes, in pixels.
        name: of the backbone, for errors.
        facts: names and values that go into it.

    Raises:
        EnvironmentFault: OpenVINO is not installed.
        UsageError: it cannot convert the model.
    """
    if openvino_version() is None:
        raise EnvironmentFault("an export to OpenVINO needs openvino", f"Install it: {INSTALL}")
    openvino = import_openvino()
    import torch

    from featcli.export.onnx_graph import quietly
    from featcli.features.engines.openvino import without_telemetry

    with without_telemetry(), quietly(), tempfile.TemporaryDirectory(prefix="featcli-") as folder, torch.no_grad():
        try:
            from openvino.tools.ovc import convert_model

            example = torch.zeros((2, side, side, 3), dtype=torch.uint8)
            traced = torch.jit.trace(module, example, check_trace=False)  # type: ignore[no-untyped-call]
            model = convert_model(traced, example_input=example, input=[(-1, side, side, 3)])
        except Exception as error:  # whatever a tracer or a converter raises
            raise UsageError(
                f"{name} cannot be exported to OpenVINO: {first_line(error)}", "Take --format onnx or torch."
            ) from error
        model.inputs[0].get_tensor().set_names({INPUT})
        for output, output_name in zip(model.outputs, module.names, strict=True):
            output.get_tensor().set_names({output_name})
        for key, value in facts.items():
            model.set_rt_info(value, [_FACTS_SECTION, key])
        target = Path(folder, "model.xml")
        openvino.save_model(model, target, compress_to_fp16=False)
        return {ending: target.with_suffix(ending).read_bytes() for ending in (".bin", ".xml")}


def torch_file(module: PixelModel, side: int, name: str, facts: str) -> bytes:
    """An exported program of torch with a batch of any size, as `torch.export.load` reads it; the facts are in it.

    Raises:
        UsageError: torch cannot export the model.
    """
    import torch

    from featcli.export.onnx_graph import quietly

    with quietly(), tempfile.TemporaryDirectory(prefix="featcli-") as folder, torch.no_grad():
        example = torch.zeros((2, side, side, 3), dtype=torch.uint8)
        try:
            program = torch.export.export(module, (example,), dynamic_shapes=({0: torch.export.Dim("batch")},))
        except Exception as error:  # whatever an exporter raises
            raise UsageError(
                f"{name} cannot be exported by torch: {first_line(error)}", "Take --format onnx or openvino."
            ) from error
        target = Path(folder, "model.pt2")
        torch.export.save(program, target, extra_files={_FACTS_FILE: facts})
        return target.read_bytes()


def open_file(path: Path, format: str, threads: int) -> tuple[Run, int]:
    """What runs an exported file, of featcli only what opens a session, and how many images it takes at once.

    Args:
        path: of the file.
        format: one of `FORMATS`.
        threads: to use in all.
    """
    if format == ONNX:
        session = open_session(path, 1)

        def run(image: NDArray[np.uint8]) -> NDArray[np.float64]:
            return np.asarray(session.run([PREDICTIONS], {INPUT: image[None]})[0][0], dtype=np.float64)

        return run, threads
    opened = _open_openvino(path, threads) if format == OPENVINO else _open_torch(path, threads)
    lock = threading.Lock()  # the cores share each image

    def run_alone(image: NDArray[np.uint8]) -> NDArray[np.float64]:
        with lock:
            return opened(image)

    return run_alone, 1


def _open_openvino(path: Path, threads: int) -> Run:
    options = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    core: Any = import_openvino().Core()
    compiled = core.compile_model(path, "CPU", options)
    return lambda image: np.array(compiled({INPUT: image[None]})[PREDICTIONS][0], dtype=np.float64)


def _open_torch(path: Path, threads: int) -> Run:
    import torch

    torch.set_num_threads(threads)
    module = torch.export.load(path).module()

    def run(image: NDArray[np.uint8]) -> NDArray[np.float64]:
        with torch.no_grad():
            return np.array(module(torch.from_numpy(image[None].copy()))[0][0].numpy(), dtype=np.float64)

    return run
