from __future__ import annotations

import os

import pytest
import torch

from featcli.cores import AFFINITY, Cores
from featcli.errors import EnvironmentFault
from featcli.runtime import CPU_TILE, Device, decide_runtime

pytestmark = pytest.mark.usefixtures("threads_are_kept")


def test_a_cpu_as_asked() -> None:
    runtime = decide_runtime("cpu", "fp32", threads=1, workers=3)
    assert (runtime.device.type, runtime.precision, runtime.threads, runtime.workers) == ("cpu", "fp32", 1, 3)
    assert runtime.tile == CPU_TILE
    assert torch.get_num_threads() == 1
    assert str(runtime) == "cpu fp32, 1 threads, 3 decoding"


def test_by_default_every_core_that_this_process_may_use() -> None:
    cores = Cores(len(os.sched_getaffinity(0)), AFFINITY)
    runtime = decide_runtime("cpu", cores=cores)
    assert (runtime.threads, runtime.workers) == (cores.count, cores.count)
    assert str(runtime) == f"cpu fp32, {cores.count} threads, {cores.count} decoding"


def test_what_limits_the_cores_is_said_where_it_does() -> None:
    cores = Cores(1, "OMP_NUM_THREADS")
    assert str(decide_runtime("cpu", cores=cores)) == "cpu fp32, 1 threads, 1 decoding (OMP_NUM_THREADS)"
    assert str(decide_runtime("cpu", workers=3, cores=cores)) == "cpu fp32, 1 threads, 3 decoding (OMP_NUM_THREADS)"
    assert str(decide_runtime("cpu", threads=2, workers=3, cores=cores)) == "cpu fp32, 2 threads, 3 decoding"


def test_fp32_means_fp32() -> None:
    decide_runtime("cpu")
    assert torch.get_float32_matmul_precision() == "highest"
    assert not torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.deterministic


def test_torchs_switches_wait_where_that_is_asked() -> None:
    torch.set_num_threads(2)
    torch.backends.cudnn.deterministic = False
    runtime = decide_runtime("cpu", threads=1, defer_torch=True)
    assert torch.get_num_threads() == 2
    runtime.prepare_torch()
    runtime.prepare_torch()
    assert torch.get_num_threads() == 1
    assert torch.backends.cudnn.deterministic


@pytest.mark.parametrize("name", ["cpu", "cuda", "cuda:1", "mps", "meta", "cuda:12"])
def test_a_device_is_what_torch_makes_of_its_name(name: str) -> None:
    device, theirs = Device(name), torch.device(name)
    assert (device.type, device.index, str(device), f"{device}") == (theirs.type, theirs.index, name, str(theirs))
    assert torch.device(device) == theirs


@pytest.mark.parametrize("name", ["cpu", "meta"])
def test_torch_takes_a_device_wherever_it_takes_its_own(name: str) -> None:
    device = Device(name)
    linear = torch.nn.Linear(2, 2).to(device)
    assert linear.weight.device == torch.device(name)
    for made in (torch.zeros(2, device=device), torch.tensor([1.0], device=device), torch.ones(1).to(device)):
        assert made.device == torch.device(name)
    assert torch.ones(1).to(device, non_blocking=True).device.type == device.type
    if name == "cpu":
        assert torch.Generator(device).device == torch.device(name)


def test_what_torch_finds_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert decide_runtime("auto").device == "cuda"
    assert decide_runtime("cuda:1").device.index == 1
    with pytest.raises(EnvironmentFault, match="device 'cuda:2' is not available"):
        decide_runtime("cuda:2")


def test_fp16_needs_a_gpu() -> None:
    with pytest.raises(EnvironmentFault, match="precision fp16 needs a GPU") as caught:
        decide_runtime("cpu", "fp16")
    assert caught.value.exit_code == 4
    assert caught.value.hint == "Use --precision bf16 or fp32 on a CPU."


def test_a_device_that_is_not_there_is_told_with_those_that_are() -> None:
    with pytest.raises(EnvironmentFault, match="device 'cuda:7' is not available") as caught:
        decide_runtime("cuda:7")
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("This machine has: cpu")


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)])
def test_autocast_has_the_precision_asked_for(precision: str, dtype: torch.dtype) -> None:
    linear = torch.nn.Linear(4, 4)
    with decide_runtime("cpu", precision, threads=1).autocast():
        out = linear(torch.ones(1, 4))
    assert out.dtype == dtype
    assert linear(torch.ones(1, 4)).dtype == torch.float32
