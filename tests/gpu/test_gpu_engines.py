"""Engines on the device: results without waiting, and torch.compile behind the gate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from featcli.backbones.stages import whole
from featcli.errors import EnvironmentFault
from featcli.events import Event, Warn
from featcli.features.engines.choosing import Job, choose_engine
from featcli.features.engines.engine import forward, tiles_of
from featcli.features.engines.gate import LEAST_COSINE
from featcli.features.engines.models import ModelCache
from featcli.features.engines.plain import PlainTorch
from tests.gpu.device import DEVICE
from tests.gpu.lab import cosines, extractor, pixels, runtime

NAMES = ("resnet18", "efficientnet_lite0")


@pytest.mark.parametrize("name", NAMES)
def test_many_passes_under_way_give_the_rows_of_each_alone(name: str) -> None:
    """Tiles are copied on a stream of their own while others are computed: no pass may read another's pixels."""
    engine = extractor(name, DEVICE, "fp32").engine
    given = pixels(7 * engine.tile + 3, 224)
    pending = [engine.submit(tile) for tile in tiles_of(engine, given)]
    together = np.concatenate([wait() for wait in pending])
    alone = np.concatenate([engine.submit(tile)() for tile in tiles_of(engine, given)])
    np.testing.assert_array_equal(together, alone)
    late = [engine.submit(tile) for tile in tiles_of(engine, given)]
    backwards = [wait() for wait in reversed(late)]
    np.testing.assert_array_equal(np.concatenate(backwards[::-1]), alone)


@pytest.mark.usefixtures("needs_cuda")
def test_starting_a_pass_does_not_wait_for_it() -> None:
    engine = extractor("resnet18", DEVICE, "fp32").engine
    given = pixels(engine.tile, 224)
    engine.submit(given)()
    torch.cuda.synchronize()
    began, ended = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    began.record()
    waits = [engine.submit(given) for _ in range(20)]
    ended.record()
    assert not ended.query(), "twenty passes were over before the last was handed over"
    rows = [wait() for wait in waits]
    for row in rows[1:]:
        np.testing.assert_array_equal(row, rows[0])


@pytest.mark.usefixtures("needs_cuda")
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_compiled_backbone_agrees_with_plain_torch_or_is_not_used(precision: str, tmp_path: Path) -> None:
    backbone = whole(extractor("resnet18", DEVICE, "fp32").backbone)
    where, given = runtime(precision), pixels(40, 224)
    events: list[Event] = []
    job = Job(backbone, lambda: backbone, where, "compile", ModelCache(tmp_path), lambda: given[:8], 8, expected=1000)
    choice = choose_engine(job, events.append)
    assert choice.engine.name == "compile", [event for event in events if isinstance(event, Warn)]
    expected = forward(PlainTorch(backbone, runtime("fp32")), given)
    least = LEAST_COSINE if precision == "fp32" else 0.99
    assert cosines(forward(choice.engine, given), expected).min() >= least
    np.testing.assert_array_equal(forward(choice.engine, given[5:6]), forward(choice.engine, given)[5:6])


@pytest.mark.usefixtures("needs_cuda")
def test_openvino_is_of_the_cpu(tmp_path: Path) -> None:
    backbone = whole(extractor("resnet18", DEVICE, "fp32").backbone)
    job = Job(backbone, lambda: backbone, runtime(), "openvino", ModelCache(tmp_path), list, 0, expected=1000)
    with pytest.raises(EnvironmentFault, match="openvino runs on a CPU, not on cuda"):
        choose_engine(job, lambda event: None)
    job = Job(backbone, lambda: backbone, runtime(), "auto", ModelCache(tmp_path), list, 0, expected=1000)
    assert choose_engine(job, lambda event: None).engine.name == "torch"
