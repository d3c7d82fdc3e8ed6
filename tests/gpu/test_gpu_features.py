"""Features on the device: those of the CPU, in full precision, and the same bits whatever comes along."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from tests.gpu.device import DEVICE, ON_CUDA
from tests.gpu.lab import cosines, features, kept_examples, pixels, rows_that_differ, runtime, stage, trainee

NETWORKS = ("efficientnet_lite0", "resnet18", "mobilenet_v2", "vit_b_32", "swin_t")
N = 40  # more than one tile


@pytest.mark.parametrize("name", NETWORKS)
def test_fp32_features_are_those_of_the_cpu(name: str) -> None:
    given = pixels(N, 224)
    here, cpu = features(name, given), features(name, given, "cpu")
    error = np.linalg.norm(here - cpu, axis=1) / np.linalg.norm(cpu, axis=1)
    assert np.isfinite(here).all()
    assert cosines(here, cpu).min() >= 0.9999
    assert error.max() < 1e-4, "TF32 somewhere gives about 1e-3"


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("name", NETWORKS)
def test_features_of_lower_precision_are_near_those_of_fp32(name: str, precision: str) -> None:
    given = pixels(N, 224)
    exact, rough = features(name, given), features(name, given, precision=precision)
    assert np.isfinite(rough).all()
    assert cosines(rough, exact).min() >= {"bf16": 0.97, "fp16": 0.998}[precision]
    assert rows_that_differ(rough, exact), "the precision has no effect"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_row_has_the_same_bits_whatever_comes_with_it(name: str, precision: str) -> None:
    """Promise 9: neither the number of images, nor their order, nor which others there are."""
    given = pixels(N, 224)
    whole = features(name, given, precision=precision)
    found = {
        "again": rows_that_differ(features(name, given, precision=precision), whole),
        "in reverse order": rows_that_differ(features(name, given[::-1], precision=precision)[::-1], whole),
        "moved by three": rows_that_differ(features(name, given[3:], precision=precision), whole[3:]),
        "every fifth": rows_that_differ(features(name, given[::5], precision=precision), whole[::5]),
        "one alone": rows_that_differ(features(name, given[17:18], precision=precision), whole[17:18]),
        "without padding": rows_that_differ(features(name, given[:32], precision=precision), whole[:32]),
    }
    assert {how: said for how, said in found.items() if said} == {}


def test_a_product_of_matrices_is_in_full_precision() -> None:
    device = runtime().device
    one, other = (torch.rand(512, 512, generator=torch.Generator().manual_seed(seed)) for seed in (1, 2))
    exact = one.double() @ other.double()
    found = (one.to(device) @ other.to(device)).cpu().double()
    assert float(((found - exact) / exact).abs().max()) < 1e-5, "TF32 gives about 1e-3"


def test_a_convolution_is_in_full_precision() -> None:
    device = runtime().device
    given, weight = torch.rand(8, 64, 28, 28), torch.rand(64, 64, 3, 3)
    exact = F.conv2d(given.double(), weight.double())
    found = F.conv2d(given.to(device), weight.to(device)).cpu().double()
    assert float(((found - exact) / exact).abs().max()) < 1e-5, "TF32 gives about 1e-3"


class Copies:
    """Hears of every copy from the CPU to the device of more than 4 kB: whether it is pinned, and does not block."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.seen: list[tuple[bool, bool]] = []
        to, copy = torch.Tensor.to, torch.Tensor.copy_

        def heard_to(tensor: Any, *arguments: Any, **options: Any) -> Any:
            found = to(tensor, *arguments, **options)
            self._note(tensor, found, options.get("non_blocking", False))
            return found

        def heard_copy(target: Any, source: Any, non_blocking: bool = False) -> Any:
            self._note(source, target, non_blocking)
            return copy(target, source, non_blocking)

        monkeypatch.setattr(torch.Tensor, "to", heard_to)
        monkeypatch.setattr(torch.Tensor, "copy_", heard_copy)

    def _note(self, source: Any, target: Any, non_blocking: bool) -> None:
        if source.device.type == "cpu" and target.device.type == "cuda" and source.nbytes > 4096:
            self.seen.append((source.is_pinned(), bool(non_blocking)))


def test_pixels_are_copied_from_pinned_memory_without_waiting(
    monkeypatch: pytest.MonkeyPatch, needs_cuda: None
) -> None:
    features("resnet18", pixels(1, 224))  # the network is on the device from here on
    copies = Copies(monkeypatch)
    features("resnet18", pixels(N, 224))
    assert copies.seen == [(True, True)] * 2


def test_kept_boundary_tensors_are_copied_from_pinned_memory_without_waiting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, needs_cuda: None
) -> None:
    backbone, _ = trainee("resnet18", 4, 64)
    data = kept_examples(tmp_path / "photos", backbone, 4, 24, runtime())
    copies = Copies(monkeypatch)
    for _ in data.source.batches(1, [np.arange(8), np.arange(8, 16), np.arange(16, 24)]):
        pass
    assert copies.seen == [(True, True)] * 3


def test_a_staged_tile_is_copied_before_its_memory_is_used_again() -> None:
    chosen = runtime()
    if ON_CUDA:
        torch.cuda._sleep(100_000_000)  # the copies queue behind it, while the CPU goes on to fill further tiles
    tiles = [stage([np.full((64, 64, 3), value, np.uint8)] * 3, chosen) for value in range(1, 60)]
    for value, tile in enumerate(tiles, 1):
        assert tile.device.type == chosen.device.type
        assert tile.shape == (chosen.tile, 64, 64, 3)
        found = tile.cpu()
        assert (int(found[:3].min()), int(found[:3].max()), int(found[3:].max())) == (value, value, 0)


def test_kept_boundary_tensors_are_those_of_their_rows(tmp_path: Path) -> None:
    """However many batches are under way, each has the bits that it has alone."""
    backbone, _ = trainee("resnet18", 4, 64)
    data = kept_examples(tmp_path / "photos", backbone, 4, 24, runtime())
    batches = [np.arange(start, start + 4) for start in range(0, 24, 4)]
    together = [batch.cpu() for batch in list(data.source.batches(1, batches))]
    for rows, found in zip(batches, together, strict=True):
        (alone,) = data.source.batches(1, [rows])
        assert torch.equal(found, alone.cpu())
        assert alone.device.type == torch.device(DEVICE).type
