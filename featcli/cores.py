"""How many cores this process may use, and how much memory: what its user, its scheduler or its container allows."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

# As OpenMP and torch read them; a Slurm that does not confine its jobs still says what it has granted.
VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "SLURM_CPUS_PER_TASK")
QUOTA = "CPU quota of the control group"
AFFINITY = "affinity"
MACHINE = "cores of the machine"
_ALWAYS_ALLOWED = 64  # threads: as many as another machine may have had, whose result is to be repeated
_NO_LIMIT = 1 << 60  # version 1 of control groups writes a number near 2**63


@dataclass(frozen=True, slots=True)
class Cores:
    """The number of cores to use, at least 1, and where it comes from.

    Attributes:
        count: threads of torch's operators, and threads that read and decode images.
        source: one of `VARIABLES`, `QUOTA`, `AFFINITY` or `MACHINE`.
        ignored: variables whose value is not a number of threads that this machine can run, as `NAME=VALUE`.
    """

    count: int
    source: str
    ignored: tuple[str, ...] = ()

    @property
    def is_limited(self) -> bool:
        """Whether the environment or a quota decided, so that the number may surprise."""
        return self.source not in (AFFINITY, MACHINE)


def decide_cores(environment: Mapping[str, str] = os.environ, root: Path = Path("/")) -> Cores:
    """By the environment, else the CPU quota of the control groups, else affinity, else the machine.

    A quota larger than the affinity limits nothing. A broken number of cores is rounded up, so that a quota is used to
    its end.

    Args:
        environment: variables by name.
        root: of the file system that tells about control groups.
    """
    ignored: list[str] = []
    for name in VARIABLES:
        text = environment.get(name, "").strip()
        # A list is for nested levels, and the first number for the outermost: the only one that there is here.
        number = re.fullmatch(r"\+?(\d{1,9})(\s*,\s*\d+)*", text)
        if number is not None and 0 < int(number[1]) <= most_threads():
            return Cores(int(number[1]), name, tuple(ignored))
        if text:
            ignored.append(f"{name}={text}")
    found = _by_affinity()
    quota = cpu_quota(root)
    if quota is not None and math.ceil(quota) < found.count:
        found = Cores(max(1, math.ceil(quota)), QUOTA)
    return Cores(found.count, found.source, tuple(ignored))


def most_threads() -> int:
    """The largest number of threads that is taken: thousands that wait for each other bring a machine to a halt."""
    return max(_ALWAYS_ALLOWED, 4 * (os.cpu_count() or 1))


def has_bf16(root: Path = Path("/")) -> bool | None:
    """Whether this processor has instructions for bfloat16, without which it is slower than fp32; None: not known."""
    for line in _text(root / "proc/cpuinfo").splitlines():
        name, _, words = line.partition(":")
        if name.strip().lower() in ("flags", "features"):
            return bool({"avx512_bf16", "amx_bf16", "bf16"} & set(words.split()))
    return None


def _by_affinity() -> Cores:
    machine = os.cpu_count() or 1
    if not hasattr(os, "sched_getaffinity"):
        return Cores(machine, MACHINE)
    allowed = len(os.sched_getaffinity(0))
    return Cores(allowed, AFFINITY if allowed < machine else MACHINE)


def cpu_quota(root: Path = Path("/")) -> float | None:
    """The cores that the control groups of this process grant it, its own and those around; None without a limit."""
    quotas = []
    for folder in _groups(root, "cpu"):
        words = _words(folder / "cpu.max") or [
            *_words(folder / "cpu.cfs_quota_us"),
            *_words(folder / "cpu.cfs_period_us"),
        ]
        numbers = [int(word) for word in words if word.isdecimal()]  # without a quota: max, or -1
        if len(numbers) == 2 and min(numbers) > 0:
            quotas.append(numbers[0] / numbers[1])
    return min(quotas, default=None)


def memory_limit(root: Path = Path("/")) -> int | None:
    """The bytes that the control groups of this process grant it; None without a limit."""
    limits = []
    for folder in _groups(root, "memory"):
        for word in _words(folder / "memory.max") or _words(folder / "memory.limit_in_bytes"):
            if word.isdecimal() and int(word) < _NO_LIMIT:
                limits.append(int(word))
    return min(limits, default=None)


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """The folders of this process's control groups and of those around them, of both versions.

    In a container the groups' names may be the host's, which its mount does not show: there the mount itself is the
    container's group.
    """
    mount = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, name = rest.partition(":")
        if number == "0" and not controllers:
            tops = [mount, mount / "unified"]
        elif controller in controllers.split(","):
            tops = [mount / controllers, mount / controller]
        else:
            continue
        parts = [part for part in name.split("/") if part and part != ".."]
        for top in tops:
            for depth in range(len(parts), -1, -1):
                yield top.joinpath(*parts[:depth])


def _words(path: Path) -> list[str]:
    return _text(path).split()


def _text(path: Path) -> str:
    """A file's text; nothing where it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
