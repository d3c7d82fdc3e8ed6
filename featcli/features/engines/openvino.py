"""OpenVINO on a CPU: the model converted from the torch module itself, compiled for this processor, and kept.

What it computes was measured to be the same bits for any number of threads and streams, and for any place in a tile.
Neither importing this module nor running a model that is kept needs torch.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import sys
import threading
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from featcli import __version__
from featcli.backbones.description import Described
from featcli.features.engines.engine import EngineFailed, Pending, Pixels, fill_tile
from featcli.features.engines.models import KeptModel, ModelCache
from featcli.runtime import Runtime

if TYPE_CHECKING:
    from torch import Tensor

    from featcli.backbones.stages import Backbone
    from featcli.features.engines.plain import PlainTorch

OPENVINO_ENGINE = "openvino"
INSTALL = "pip install 'featcli[fast]'"
TILE = 8
_REQUESTS_PER_STREAM = 2
_HANGS_MS = 600_000  # a pass over a tile takes seconds at most
_MOST_STREAMS = 8  # each holds the activations of a tile
_HINTS = {"fp32": "f32", "bf16": "bf16"}
_TELEMETRY = "openvino_telemetry"
_CONVERTER = "openvino.tools.ovc"


class CannotConvert(Exception):
    """OpenVINO does not take a model; the message is its reason."""


def first_line(error: Exception) -> str:
    """Why, in a line: libraries add the places in their own source."""
    lines = str(error).strip().splitlines()
    return (lines or [type(error).__name__])[0][:200]


def openvino_version() -> str | None:
    """Of the installed package; None where there is none. Imports nothing of it."""
    if importlib.util.find_spec("openvino") is None:
        return None
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("openvino")
    except PackageNotFoundError:
        return None


def import_openvino() -> Any:
    """The package, without its telemetry, which would ask the network, and without its converter, which takes long.

    Raises:
        ImportError: it is broken.
    """
    with _blocked(_TELEMETRY, _CONVERTER):
        import openvino
    return openvino


def without_telemetry() -> contextlib.AbstractContextManager[None]:
    """Inside, its converter can be imported, and its telemetry cannot."""
    return _blocked(_TELEMETRY)


@contextlib.contextmanager
def _blocked(*names: str) -> Iterator[None]:
    """Inside, modules of these names cannot be imported (an entry of None says so); those that were, stay."""
    missing = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(missing))  # type: ignore[arg-type]
    try:
        yield
    finally:
        for name in missing:
            if sys.modules.get(name) is None:
                sys.modules.pop(name, None)


def describe_model(backbone: Described, precision: str, n_frozen: int | None = None) -> dict[str, Any]:
    """All that a compiled model depends on, in plain values: its key in a `ModelCache`.

    Args:
        backbone: whose features it gives.
        precision: `fp32` or `bf16`.
        n_frozen: of the stages whose output it gives; None for the features.
    """
    preprocessing = backbone.preprocessing
    return {
        "engine": OPENVINO_ENGINE,
        "version": openvino_version(),
        "featcli": __version__,
        "processor": _processor(),
        "backbone": backbone.name,
        "weights_sha256": backbone.weights_sha256,
        "arguments": dict(backbone.arguments),
        "layer": str(backbone.layer) if n_frozen is None else f"the first {n_frozen} stages",
        "crop": preprocessing.crop,
        "mean": list(preprocessing.mean),
        "std": list(preprocessing.std),
        "precision": precision,
        "tile": TILE,
    }


def _processor() -> str:
    """What computes, as OpenVINO names it: agreement and speed are those of one processor."""
    return str(import_openvino().Core().get_property("CPU", "FULL_DEVICE_NAME"))


def convert(backbone: Backbone, precision: str, n_frozen: int | None = None) -> bytes:
    """Traces a backbone, converts and compiles it.

    Args:
        backbone: its network is on the CPU; it is left as it is.
        precision: `fp32` or `bf16`.
        n_frozen: stages to run; None for the features.

    Returns:
        The compiled model, from decoded images (`TILE`, crop, crop, 3) uint8 to (`TILE`, ...) float32.

    Raises:
        CannotConvert: torch cannot trace it, or OpenVINO knows an operator not.
    """
    openvino = import_openvino()
    from featcli.features.engines.tracing import traced

    side = backbone.preprocessing.crop
    with _blocked(_TELEMETRY), _quietly():
        try:
            from openvino.tools.ovc import convert_model

            module, example = traced(backbone, TILE, n_frozen)
            model = convert_model(module, example_input=example, input=[(TILE, side, side, 3)])
            compiled = openvino.Core().compile_model(model, "CPU", _options(precision, 1))
            return bytes(compiled.export_model().getvalue())
        except Exception as error:  # whatever a tracer, a converter or a compiler raises
            raise CannotConvert(first_line(error)) from error


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without the warnings of tracing: its outcome is compared with the model itself."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)


def _options(precision: str, threads: int) -> dict[str, Any]:
    streams = max(1, min(threads, _MOST_STREAMS))
    return {
        "INFERENCE_PRECISION_HINT": _HINTS[precision],
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": streams,
        "ENABLE_CPU_PINNING": False,  # threads that decode share the cores
    }


class OpenVino:
    """A compiled model, several tiles at a time: a stream of its own for each, whose threads never wait for others'.

    Args:
        backbone: whose features are wanted.
        runtime: of a CPU.
        models: where compiled models are kept.
        load: the backbone with its network, where a model must be compiled after all.
    """

    name = OPENVINO_ENGINE
    tile = TILE

    def __init__(self, backbone: Described, runtime: Runtime, models: ModelCache, load: Callable[[], Backbone]) -> None:
        self._backbone = backbone
        self._runtime = runtime
        self._models = models
        self._load = load
        self._streams = max(1, min(runtime.threads, _MOST_STREAMS))
        self.depth = _REQUESTS_PER_STREAM * self._streams
        self.exported: bytes | None = None
        self._compiled: dict[int | None, _Requests] = {}
        self._agreed: dict[int, bool] = {}
        self._lock = threading.Lock()

    def submit(self, pixels: Pixels) -> Pending:
        """Starts a pass over 1 to `tile` decoded images, and gives what waits for their features (n, D) float32."""
        return self._start(pixels, None)

    def take(self, data: bytes) -> None:
        """Runs a model that was just converted; `exported` is its bytes, to be kept where it passes the gate."""
        self._compiled[None] = self._import(data)
        self.exported = data

    def boundary(self, pixels: Pixels, n_frozen: int) -> Tensor:
        """The output (n, ...) of the first `n_frozen` stages, in the runtime's precision.

        The first real images are compared with plain torch, which goes on where they differ, or nothing can be
        converted. Black images, of which shapes are learned, show nothing and are not compared.
        """
        import torch

        if self._agrees(pixels, n_frozen):
            output = torch.from_numpy(self._start(pixels, n_frozen)())
            return output.to(torch.bfloat16) if self._runtime.precision == "bf16" else output
        return self._plain().boundary(pixels, n_frozen)

    def _agrees(self, pixels: Pixels, n_frozen: int) -> bool:
        if n_frozen not in self._agreed:
            from featcli.features.engines.gate import boundaries_agree

            try:
                found = self._start(pixels, n_frozen)()
            except (CannotConvert, RuntimeError):
                self._agreed[n_frozen] = False
            else:
                if not any(image.any() for image in pixels):
                    return True
                plain = self._plain().boundary(pixels, n_frozen)
                self._agreed[n_frozen] = boundaries_agree(plain, found, self._runtime.precision)
        return self._agreed[n_frozen]

    def _plain(self) -> PlainTorch:
        from featcli.features.engines.plain import PlainTorch

        return PlainTorch(self._load(), self._runtime)

    def provenance(self) -> dict[str, Any]:
        """The path, and the libraries' versions."""
        from importlib.metadata import version

        versions = {name: version(name) for name in ("openvino", "pillow")} | {"featcli": __version__}
        return {"path": OPENVINO_ENGINE, "versions": versions}

    def _start(self, pixels: Pixels, n_frozen: int | None) -> Pending:
        tile = np.empty((TILE, *pixels[0].shape), dtype=np.uint8)
        fill_tile(tile, pixels)
        wait = self._requests(n_frozen).start(tile)
        return lambda: wait()[: len(pixels)]

    def _requests(self, n_frozen: int | None) -> _Requests:
        with self._lock:
            if n_frozen not in self._compiled:
                self._compiled[n_frozen] = self._open(n_frozen)
            return self._compiled[n_frozen]

    def _open(self, n_frozen: int | None) -> _Requests:
        """From the cache; where what lies there is of no use, made anew."""
        described = describe_model(self._backbone, self._runtime.precision, n_frozen)
        key = self._models.key(described)
        data = self._models.load(key)
        if data is not None:
            with contextlib.suppress(RuntimeError):  # of another build of the same version
                return self._import(data)
            self._models.forget(key)
        data = convert(self._load(), self._runtime.precision, n_frozen)
        if n_frozen is not None:  # features are kept when they have passed the gate
            self._models.keep(key, described, KeptModel(None), data)
        return self._import(data)

    def _import(self, data: bytes) -> _Requests:
        options = _options(self._runtime.precision, self._runtime.threads)
        return _Requests(import_openvino().Core().import_model(data, "CPU", options), self._streams)


class _Pass:
    """One pass over a tile: running, then over."""

    def __init__(self, request: Any, tile: NDArray[np.uint8]) -> None:
        self.request = request
        self._tile = tile  # read by the request, without a copy, until the pass is over
        self.output: NDArray[np.float32] | None = None
        self.error: Exception | None = None


class _Requests:
    """The requests of a compiled model: two for each stream, so that one waits while the other runs."""

    def __init__(self, compiled: Any, streams: int) -> None:
        self._compiled = compiled  # outlives its requests
        self._free = [compiled.create_infer_request() for _ in range(_REQUESTS_PER_STREAM * streams)]
        self._running: deque[_Pass] = deque()
        self._lock = threading.Lock()

    def start(self, tile: NDArray[np.uint8]) -> Callable[[], NDArray[np.float32]]:
        """Starts a pass over a tile, which nobody may change before it is over, and gives what waits for the output.

        Where no request is free, it waits for the oldest.
        """
        with self._lock:
            if not self._free:
                self._finish_oldest()
            if not self._free:
                raise EngineFailed("openvino hangs")
            request = self._free.pop()
            started = _Pass(request, tile)
            try:
                request.start_async({0: tile}, share_inputs=True)
            except Exception as error:
                self._free.append(request)
                raise EngineFailed(f"openvino failed: {first_line(error)}") from error
            self._running.append(started)

        def wait() -> NDArray[np.float32]:
            with self._lock:
                while started.output is None and started.error is None:
                    self._finish_oldest()
            if started.error is not None:
                raise started.error
            assert started.output is not None
            return started.output

        return wait

    def _finish_oldest(self) -> None:
        oldest = self._running.popleft()
        try:
            if not oldest.request.wait_for(_HANGS_MS):
                oldest.error = EngineFailed(f"openvino gave nothing for {_HANGS_MS // 1000} s")
                return  # the request is never used again
            oldest.output = np.array(oldest.request.get_output_tensor(0).data, dtype=np.float32)
        except Exception as error:  # whatever OpenVINO raises reaches who asks for this pass
            oldest.error = EngineFailed(f"openvino failed: {first_line(error)}")
        self._free.append(oldest.request)
