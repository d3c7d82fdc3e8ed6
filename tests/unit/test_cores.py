"""How many cores are used: environment, quota, affinity, machine, in this order."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from featcli.cores import AFFINITY, MACHINE, QUOTA, Cores, cpu_quota, decide_cores, has_bf16, memory_limit

HAVE = len(os.sched_getaffinity(0))


def write(root: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def two(root: Path, quota: str) -> Path:
    """A machine with control groups of version 2."""
    return write(root, {"proc/self/cgroup": "0::/a\n", "sys/fs/cgroup/a/cpu.max": quota})


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({"OMP_NUM_THREADS": "3"}, Cores(3, "OMP_NUM_THREADS")),
        ({"OMP_NUM_THREADS": " 4,2 "}, Cores(4, "OMP_NUM_THREADS")),
        ({"OMP_NUM_THREADS": "64"}, Cores(64, "OMP_NUM_THREADS")),
        ({"MKL_NUM_THREADS": "5"}, Cores(5, "MKL_NUM_THREADS")),
        ({"MKL_NUM_THREADS": "5", "OMP_NUM_THREADS": "6"}, Cores(6, "OMP_NUM_THREADS")),
        ({"SLURM_CPUS_PER_TASK": "7"}, Cores(7, "SLURM_CPUS_PER_TASK")),
        ({"SLURM_CPUS_PER_TASK": "7", "OMP_NUM_THREADS": "1"}, Cores(1, "OMP_NUM_THREADS")),
        ({"OMP_NUM_THREADS": "0", "SLURM_CPUS_PER_TASK": "7"}, Cores(7, "SLURM_CPUS_PER_TASK", ("OMP_NUM_THREADS=0",))),
    ],
)
def test_the_environment_decides(environment: dict[str, str], expected: Cores, tmp_path: Path) -> None:
    assert decide_cores(environment, two(tmp_path, "50000 100000")) == expected


@pytest.mark.parametrize("value", ["abc", "0", "-2", "1.5", "2,x", ",", "4;2", "9999", "99999999999"])
def test_a_value_that_is_no_number_of_threads_is_ignored_and_named(value: str, tmp_path: Path) -> None:
    found = decide_cores({"OMP_NUM_THREADS": value}, tmp_path)
    assert (found.count, found.ignored) == (HAVE, (f"OMP_NUM_THREADS={value}",))


def test_an_empty_value_is_none(tmp_path: Path) -> None:
    assert decide_cores({"OMP_NUM_THREADS": ""}, tmp_path).ignored == ()


@pytest.mark.parametrize(("quota", "count"), [("50000 100000", 1), ("100000 100000", 1), ("1000 100000", 1)])
def test_a_quota_below_the_affinity_decides(
    quota: str, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert decide_cores({}, two(tmp_path, quota)) == Cores(count, QUOTA)


def test_a_part_of_a_core_is_rounded_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert decide_cores({}, two(tmp_path, "150000 100000")) == Cores(2, QUOTA)


def test_a_quota_above_the_affinity_decides_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(2)))
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    assert decide_cores({}, two(tmp_path, "1600000 100000")) == Cores(2, AFFINITY)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert decide_cores({}, tmp_path) == Cores(2, MACHINE)


ONE = "sys/fs/cgroup/cpu,cpuacct"


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        ({}, None),
        ({"proc/self/cgroup": "0::/\n"}, None),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"}, None),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "250000 100000\n"}, 2.5),
        # The narrowest of a group and those around it.
        (
            {
                "proc/self/cgroup": "0::/pod/box\n",
                "sys/fs/cgroup/pod/box/cpu.max": "max 100000\n",
                "sys/fs/cgroup/pod/cpu.max": "300000 100000\n",
                "sys/fs/cgroup/cpu.max": "800000 100000\n",
            },
            3.0,
        ),
        # The name is the host's, and the mount shows the container's group alone.
        ({"proc/self/cgroup": "0::/docker/abc\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}, 0.5),
        ({"proc/self/cgroup": "0::/../../elsewhere\n", "sys/fs/cgroup/cpu.max": "50000 100000\n"}, 0.5),
        # Version 1, alone and beside version 2.
        (
            {
                "proc/self/cgroup": "12:memory:/job\n4:cpu,cpuacct:/job\n",
                f"{ONE}/job/cpu.cfs_quota_us": "400000\n",
                f"{ONE}/job/cpu.cfs_period_us": "100000\n",
            },
            4.0,
        ),
        (
            {
                "proc/self/cgroup": "4:cpuacct,cpu:/docker/abc\n0::/x\n",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "150000\n",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "50000\n",
                "sys/fs/cgroup/unified/x/cgroup.procs": "1\n",
            },
            3.0,
        ),
        (
            {
                "proc/self/cgroup": "4:cpu,cpuacct:/\n",
                f"{ONE}/cpu.cfs_quota_us": "-1\n",
                f"{ONE}/cpu.cfs_period_us": "100000\n",
            },
            None,
        ),
        ({"proc/self/cgroup": "4:cpu,cpuacct:/\n", f"{ONE}/cpu.cfs_quota_us": "100000\n"}, None),
        ({"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "nonsense\n"}, None),
    ],
)
def test_the_quota_of_control_groups(files: dict[str, str], quota: float | None, tmp_path: Path) -> None:
    assert cpu_quota(write(tmp_path, files)) == quota


@pytest.mark.parametrize(
    ("files", "limit"),
    [
        ({"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/memory.max": "2147483648\n"}, 2**31),
        (
            {
                "proc/self/cgroup": "0::/a\n",
                "sys/fs/cgroup/a/memory.max": "max\n",
                "sys/fs/cgroup/memory.max": "1000\n",
            },
            1000,
        ),
        ({"proc/self/cgroup": "9:memory:/a\n", "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "500\n"}, 500),
        ({"proc/self/cgroup": "9:memory:/\n", "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{2**63 - 4096}\n"}, None),
        ({}, None),
    ],
)
def test_the_memory_of_control_groups(files: dict[str, str], limit: int | None, tmp_path: Path) -> None:
    assert memory_limit(write(tmp_path, files)) == limit


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("flags\t\t: fpu sse2 avx512f avx512_bf16 amx_tile\n", True),
        ("flags\t\t: fpu amx_bf16\n", True),
        ("Features\t: fp asimd bf16\n", True),
        ("flags\t\t: fpu sse2 avx2 avx512f\n", False),
        ("processor: 0\n", None),
        (None, None),
    ],
)
def test_bf16_is_told_by_the_processors_flags(tmp_path: Path, text: str | None, expected: bool | None) -> None:
    if text is not None:
        (tmp_path / "proc").mkdir()
        (tmp_path / "proc" / "cpuinfo").write_text(text)
    assert has_bf16(tmp_path) is expected
