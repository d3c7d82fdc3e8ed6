"""Facts about this process, decided once: device, precision, threads. Importing torch takes seconds: it waits."""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from featcli.cores import Cores, decide_cores
from featcli.errors import EnvironmentFault

if TYPE_CHECKING:
    import torch

# Images in one forward pass, padded. On a CPU the bits of a row are the same for 4 to 32 images at once (measured),
# small tiles stay in cache, and a single image does not pay for 31 others.
CPU_TILE = 8
GPU_TILE = 32

_DTYPES = {"fp32": "float32", "bf16": "bfloat16", "fp16": "float16"}
_ROCM_DRIVER = "/dev/kfd"


class Device(str):
    """The name of a device, such as `cpu`, `cuda`, `cuda:1` or `mps`: torch takes it wherever it takes a device."""

    __slots__ = ()

    @property
    def type(self) -> str:
        """The kind, such as `cuda`."""
        return self.partition(":")[0]

    @property
    def index(self) -> int | None:  # type: ignore[override]  # as torch.device has it; nobody looks for letters here
        """Which of its kind; None for the usual one."""
        number = self.partition(":")[2]
        return int(number) if number else None


@dataclass(frozen=True, slots=True)
class Runtime:
    """Where and how to compute.

    Attributes:
        device: of the backbone.
        precision: `fp32`, `bf16` or `fp16`; part of every stored feature's key.
        threads: of torch's operators.
        workers: threads that read and decode images.
        tile: images in one forward pass; fixed per kind of device, so that no bit depends on the batch size.
        rank: of this process among those that work together, from 0.
        world_size: how many these are.
        limited_by: what gave threads or workers their number, where that is neither the call nor the machine: an
            environment variable or a quota.
    """

    device: Device
    precision: str
    threads: int
    workers: int
    tile: int
    rank: int = 0
    world_size: int = 1
    limited_by: str | None = None

    @property
    def is_main(self) -> bool:
        """Whether this process is the one that writes and talks."""
        return self.rank == 0

    @property
    def is_asynchronous(self) -> bool:
        """Whether the device works on while Python does, so that asking it for a number is waiting for it."""
        return self.device.type != "cpu"

    def prepare_torch(self) -> None:
        """Sets torch's global switches, before it computes: threads, no TF32, deterministic convolutions."""
        import torch

        torch.set_num_threads(self.threads)
        torch.set_float32_matmul_precision("highest")
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True

    def autocast(self) -> torch.autocast:
        """Lower precision where the config asks for it."""
        import torch

        dtype: torch.dtype = getattr(torch, _DTYPES[self.precision])
        return torch.autocast(self.device.type, dtype=dtype, enabled=dtype != torch.float32)

    def loss_scaler(self) -> torch.amp.GradScaler:
        """Scales the loss where gradients in half precision would underflow; elsewhere it does nothing."""
        import torch

        return torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")

    def free_memory(self) -> None:
        """Gives back what the allocator of a GPU keeps for later."""
        if self.device.type == "cuda":
            import torch

            torch.cuda.empty_cache()

    def stage(self, tensor: torch.Tensor) -> torch.Tensor:
        """A tensor of the CPU, ready to be copied to the device without waiting: in pinned memory for a GPU."""
        return tensor.pin_memory() if self.device.type == "cuda" else tensor

    def wait(self) -> None:
        """Waits until the device has done all that it was given: for whoever takes the time."""
        if self.device.type == "cuda":
            import torch

            torch.cuda.synchronize(self.device)

    def __str__(self) -> str:
        limited = f" ({self.limited_by})" if self.limited_by else ""
        return f"{self.device} {self.precision}, {self.threads} threads, {self.workers} decoding{limited}"


def to_device(tensor: torch.Tensor, device: torch.device | Device) -> torch.Tensor:
    """A tensor of the CPU on a device, without waiting for what a GPU was given before: copied from pinned memory.

    Pinned memory comes from torch's caching allocator, which waits for the copy before it reuses a block.
    """
    if device.type != "cuda":
        return tensor.to(device)
    pinned = tensor if tensor.is_pinned() else tensor.pin_memory()
    return pinned.to(device, non_blocking=True)


def ask_later(flag: torch.Tensor) -> Callable[[], bool]:
    """Whether a tensor of one boolean is true, asked now: the answer waits for nothing that is queued later."""
    if flag.device.type != "cuda":
        return lambda: bool(flag)
    import torch

    answer = torch.empty((), dtype=torch.bool, pin_memory=True)
    answer.copy_(flag, non_blocking=True)
    copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
    copied.record()

    def wait() -> bool:
        copied.synchronize()
        return bool(answer)

    return wait


def decide_runtime(
    device: str = "auto",
    precision: str = "fp32",
    *,
    threads: int | None = None,
    workers: int | None = None,
    cores: Cores | None = None,
    defer_torch: bool = False,
) -> Runtime:
    """Chooses the device, and prepares torch for it.

    Args:
        device: as the config names it.
        precision: as the config names it.
        threads: of torch's operators; None for the cores.
        workers: threads that read and decode images; None for the cores.
        cores: to use; None for what `decide_cores` finds.
        defer_torch: leave `Runtime.prepare_torch` to whoever computes with torch; on a CPU torch is not even imported.

    Raises:
        EnvironmentFault: the device is not there, or cannot compute in this precision.
    """
    chosen = _device(device)
    if precision == "fp16" and chosen.type == "cpu":
        raise EnvironmentFault("precision fp16 needs a GPU", "Use --precision bf16 or fp32 on a CPU.")
    if precision == "bf16" and chosen.type == "cuda" and not _has_bf16():
        raise EnvironmentFault(f"precision bf16 is not supported by {chosen}", "Use --precision fp16 or fp32.")
    cores = cores or decide_cores()
    limited_by = cores.source if cores.is_limited and not (threads and workers) else None
    threads = threads or cores.count
    _keep_freed_memory()
    tile = CPU_TILE if chosen.type == "cpu" else GPU_TILE
    runtime = Runtime(chosen, precision, threads, workers or cores.count, tile, limited_by=limited_by)
    if not defer_torch:
        runtime.prepare_torch()
    return runtime


def _keep_freed_memory() -> None:
    """Tells glibc to keep freed blocks of up to a gigabyte for the next layer, instead of handing them back.

    Activations of the same sizes come and go with every tile; returned to the kernel each time, zeroing their pages
    took half of the backbone's processor time (docs/decisions.md). Elsewhere than on glibc nothing happens.
    """
    trim_threshold, mmap_threshold, gigabyte = -1, -3, 1 << 30  # of <malloc.h>
    with contextlib.suppress(OSError, AttributeError, TypeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(trim_threshold, gigabyte)
        mallopt(mmap_threshold, gigabyte)


def _device(name: str) -> Device:
    if name == "cpu" or (name == "auto" and not _accelerator_is_possible()):
        return Device("cpu")
    import torch

    cuda = torch.cuda.device_count() if torch.cuda.is_available() else 0
    mps = torch.backends.mps.is_available()
    if name == "auto":
        return Device("cuda" if cuda else "mps" if mps else "cpu")
    there = ["cpu", *(["mps"] if mps else []), *(f"cuda:{index}" for index in range(cuda))]
    device = Device(name)
    if (device.type == "cuda" and (device.index or 0) >= cuda) or (device.type == "mps" and not mps):
        raise EnvironmentFault(f"device '{name}' is not available", f"This machine has: {', '.join(there)}.")
    return device


def _accelerator_is_possible() -> bool:
    """Whether torch may find one: a machine without a driver needs no torch to know that it has none."""
    if "torch" in sys.modules or sys.platform == "darwin" or os.path.exists(_ROCM_DRIVER):
        return True
    try:
        ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    except OSError:
        return False
    return True


def _has_bf16() -> bool:
    import torch

    return bool(torch.cuda.is_bf16_supported())
