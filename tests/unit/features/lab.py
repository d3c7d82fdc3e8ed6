"""What the tests of the feature store share: a space, rows that are known by their names, and processes."""

from __future__ import annotations

import hashlib
import multiprocessing
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np

from featcli.features.store import Space

WIDTH = 5
SPACE = Space(
    backbone="resnet18",
    weights_sha256="00" * 32,
    arguments={},
    preprocessing={"resize": 256, "crop": 224, "interpolation": "bilinear", "mean": [0.5] * 3, "std": [0.5] * 3},
    layer="penultimate",
    pixel_pipeline=1,
    precision="fp32",
    device_type="cpu",
)


def digest(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def feature(name: str, width: int = WIDTH) -> np.ndarray:
    seed = int.from_bytes(digest(name)[:4], "big")
    return np.random.default_rng(seed).normal(size=width).astype(np.float32)


def segments(cache: Path) -> list[Path]:
    return sorted(cache.rglob("*.safetensors"))


def in_child(work: Callable[[], object]) -> BaseProcess:
    """Runs `work` in a process of its own; forked, which spares it the imports."""
    process = multiprocessing.get_context("fork").Process(target=work)
    process.start()
    return process


def ended(process: BaseProcess) -> int | None:
    process.join(60)
    return process.exitcode
