"""How fast this machine decodes photographs and runs a backbone, and which of the two limits: `doctor --bench`."""

from __future__ import annotations

import dataclasses
import io
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image

from featcli.backbones.stages import Backbone
from featcli.backbones.weights import load_backbone
from featcli.cores import has_bf16
from featcli.data.pixels.loading import load_pixels
from featcli.data.prefetch import ordered_batches
from featcli.data.readers.reader import ImageRef
from featcli.events import ignore
from featcli.features.engines.choosing import unfit
from featcli.features.engines.engine import Engine, Pixels, forward
from featcli.features.engines.models import ModelCache
from featcli.features.engines.openvino import OPENVINO_ENGINE, CannotConvert, OpenVino
from featcli.features.engines.plain import PlainTorch
from featcli.features.extraction import Extractor
from featcli.lines import lines_of
from featcli.runtime import Runtime, decide_runtime
from featcli.workflow.answer import Answer

_SIZE = (500, 375)  # width and height of the photographs
_PHOTOGRAPHS = 16  # different ones
_SECONDS = 2.0  # of each measurement
_BATCH = 32
_LIMITING = 0.8  # of the two, one limits where it is so much slower


class _Memory:
    """Photographs of random blots, as JPEG in memory."""

    def __init__(self) -> None:
        self._files = []
        for index in range(_PHOTOGRAPHS):
            random = np.random.default_rng(index)
            coarse = Image.fromarray(random.integers(0, 256, (24, 32, 3), dtype=np.uint8)).resize(_SIZE)
            noisy = np.asarray(coarse, dtype=np.int16) + random.integers(-20, 21, (*_SIZE[::-1], 3), dtype=np.int16)
            file = io.BytesIO()
            Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(file, "JPEG", quality=90)
            self._files.append(file.getvalue())

    def read(self, ref: ImageRef) -> bytes:
        return self._files[int(ref.locator) % _PHOTOGRAPHS]

    def open(self, ref: ImageRef) -> BinaryIO:
        return io.BytesIO(self.read(ref))

    def refs(self) -> Iterator[ImageRef]:
        """For as long as the measurement lasts."""
        end, index = time.perf_counter() + _SECONDS, 0
        while time.perf_counter() < end:
            yield ImageRef(str(index), str(index), self)
            index += 1


def measure_speed(name: str) -> Answer:
    """Images per second of decoding, of the model by each engine, and of both together.

    Args:
        name: of a backbone, with random weights.

    Raises:
        BackboneOptionError: there is none of that name.
    """
    runtime = decide_runtime()
    backbone = load_backbone(name, "none", emit=ignore)
    memory = _Memory()
    one, all_cores = (_decoding(memory, backbone, workers) for workers in (1, runtime.workers))
    pixels = [backbone.preprocessing.pixels(Image.open(io.BytesIO(memory.read(ref)))) for ref in _some(memory)]
    rates = {}
    with tempfile.TemporaryDirectory() as folder:
        engines = dict(_engines(backbone, runtime, Path(folder)))
        for words, (engine, where) in engines.items():
            try:
                rates[words] = _model(engine, where, pixels)
            except CannotConvert:
                continue
        exact = {words: rate for words, rate in rates.items() if words.endswith("fp32")}
        best = max(exact, key=lambda words: exact[words])
        engine, where = engines[best]
        together = _together(memory, Extractor(backbone, where, engine))
    model = exact[best]
    # On a CPU decoding and the model share the cores; a GPU is beside them.
    ceiling = min(all_cores, model) if runtime.is_asynchronous else 1 / (1 / all_cores + 1 / model)
    facts = {
        "backbone": name,
        "device": str(runtime),
        "decode_one_core": round(one, 1),
        "decode": round(all_cores, 1),
        "model": {words: round(rate, 1) for words, rate in rates.items()},
        "together": round(together, 1),
        "ceiling": round(ceiling, 1),
        "limits": _limiting(all_cores, model),
    }
    return Answer.arranged(lines_of(_lines(facts, best)), facts)


def _some(memory: _Memory) -> Iterator[ImageRef]:
    return (ImageRef(str(index), str(index), memory) for index in range(_BATCH))


def _engines(backbone: Backbone, runtime: Runtime, folder: Path) -> Iterable[tuple[str, tuple[Engine, Runtime]]]:
    yield f"torch {runtime.precision}", (PlainTorch(backbone, runtime), runtime)
    if unfit(OPENVINO_ENGINE, runtime) is None:
        for precision in ("fp32", "bf16") if has_bf16() else ("fp32",):
            where = dataclasses.replace(runtime, precision=precision)
            yield f"openvino {precision}", (OpenVino(backbone, where, ModelCache(folder), lambda: backbone), where)


def _decoding(memory: _Memory, backbone: Backbone, workers: int) -> float:
    start, done = time.perf_counter(), 0
    preprocessing = backbone.preprocessing

    def work(ref: ImageRef) -> object:
        return load_pixels(ref, preprocessing.pixels, decoding=preprocessing.decoding)

    for batch in ordered_batches(memory.refs(), work, workers=workers, size=_BATCH):
        done += len(batch)
    return done / (time.perf_counter() - start)


def _model(engine: Engine, runtime: Runtime, pixels: Pixels) -> float:
    forward(engine, pixels)  # the first pass prepares kernels
    start, done = time.perf_counter(), 0
    while time.perf_counter() - start < _SECONDS:
        forward(engine, pixels)
        done += len(pixels)
    runtime.wait()
    return done / (time.perf_counter() - start)


def _together(memory: _Memory, extractor: Extractor) -> float:
    start, done = time.perf_counter(), 0
    for batch in extractor.stream(memory.refs(), batch_size=_BATCH):
        done += len(batch)
    return done / (time.perf_counter() - start)


def _limiting(decode: float, model: float) -> str:
    if decode < _LIMITING * model:
        return "decoding"
    return "the model" if model < _LIMITING * decode else "both"


def _lines(facts: dict[str, Any], best: str) -> list[str]:
    model = ", ".join(f"{rate:g} by {words}" for words, rate in facts["model"].items())
    share = facts["together"] / facts["ceiling"]
    return [
        f"bench         {facts['backbone']} with random weights, JPEG of {_SIZE[0]} x {_SIZE[1]}, images per second",
        f"device        {facts['device']}",
        f"decoding      {facts['decode_one_core']:g} on one core, {facts['decode']:g} on all",
        f"model         {model}",
        f"together      {facts['together']:g} by {best}, {share:.0%} of what the two allow ({facts['ceiling']:g})",
        f"limits        {facts['limits']}",
    ]
