"""An exported file as an engine: by ONNX Runtime, without torch."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featcli import __version__
from featcli.errors import CheckpointError, EnvironmentFault
from featcli.exported import INPUT, ExportedModel
from featcli.extras import import_onnxruntime
from featcli.features.engines.engine import Pending, Pixels
from featcli.features.engines.openvino import first_line
from featcli.features.extraction import Extractor
from featcli.runtime import Runtime

if TYPE_CHECKING:
    from torch import Tensor

ONNX_ENGINE = "onnxruntime"
_WAITING = 2  # images for each that is computed, so that nobody is without work


class ExportedFile:
    """Runs an ONNX file, one image at a time: so an image's bits depend on itself alone, whatever its size.

    Of many images each core computes one, and none waits for another; of a few all cores share each.

    Args:
        path: of the file.
        outputs: those that are wanted, by name, and how many numbers each gives for an image.
        runtime: of a CPU.
        few: whether there are fewer images than cores.

    Raises:
        EnvironmentFault: ONNX Runtime is not installed.
        CheckpointError: it cannot read the file.
    """

    name = ONNX_ENGINE
    tile = 1

    def __init__(self, path: Path, outputs: Mapping[str, int], runtime: Runtime, *, few: bool) -> None:
        self._outputs = dict(outputs)
        at_once = 1 if few else runtime.threads
        self.depth = at_once * _WAITING
        self._session = open_session(path, runtime.threads if few else 1)
        self._pool = ThreadPoolExecutor(at_once, thread_name_prefix="onnxruntime")

    def submit(self, pixels: Pixels) -> Pending:
        """Starts on one image (H, W, 3) uint8, and gives what waits for its outputs beside each other, (1, D)."""
        return self._pool.submit(self._run, np.ascontiguousarray(pixels[0])).result

    def boundary(self, pixels: Pixels, n_frozen: int) -> Tensor:
        """There is none: an exported file gives its outputs, and is not trained any further.

        Raises:
            EnvironmentFault: always.
        """
        raise EnvironmentFault("an exported file cannot be trained further", "Take the checkpoint.")

    def provenance(self) -> dict[str, Any]:
        """The path, and the libraries' versions."""
        from importlib.metadata import version

        versions = {"onnxruntime": import_onnxruntime().__version__, "pillow": version("pillow")}
        return {"path": self.name, "versions": versions | {"featcli": __version__}}

    def _run(self, image: NDArray[np.uint8]) -> NDArray[np.float32]:
        try:
            found = self._session.run(list(self._outputs), {INPUT: image[None]})
        except Exception as error:  # whatever ONNX Runtime raises
            raise EnvironmentFault(f"onnxruntime failed: {first_line(error)}") from error
        return np.concatenate([output.reshape(1, -1).astype(np.float32, copy=False) for output in found], axis=1)


def exported_extractor(model: ExportedModel, runtime: Runtime, count: int | None) -> Extractor:
    """What gives the outputs of an exported file for images.

    Args:
        model: the file.
        runtime: of a CPU.
        count: of images; None where that is not known.

    Raises:
        EnvironmentFault: ONNX Runtime is not installed.
        CheckpointError: it cannot read the file.
    """
    few = count is not None and count < runtime.threads
    engine = ExportedFile(model.path, model.outputs, runtime, few=few)
    return Extractor(model.backbone, runtime, engine)


def open_session(path: Path, threads: int) -> Any:
    """A session of ONNX Runtime on the CPU.

    Args:
        path: of the file.
        threads: that share the work on one image.

    Raises:
        EnvironmentFault: ONNX Runtime is not installed.
        CheckpointError: it cannot read the file.
    """
    runtime = import_onnxruntime()
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4  # what is wrong is said by us
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # threads that decode share the cores
    with contextlib.suppress(AttributeError):
        runtime.disable_telemetry_events()
    try:
        name = os.fspath(path)
        is_text = name == name.encode("utf-8", "replace").decode()  # another name reaches no library in C++
        model = name if is_text else path.read_bytes()
        return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # whatever ONNX Runtime raises
        raise CheckpointError(f"{path} cannot be run: {first_line(error)}") from error
