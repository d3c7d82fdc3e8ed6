"""The gate: an engine is used where its features, on real images, are those of plain torch."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from featcli.backbones.stages import Backbone
from featcli.features.engines.engine import Engine, Pixels, forward
from featcli.features.engines.models import Agreement
from featcli.features.engines.plain import PlainTorch
from featcli.runtime import Runtime

LEAST_COSINE = 0.9999  # of every image's fp32 features to those of plain torch
MOST_LENGTH = 1e-3  # largest relative difference of their lengths, which a cosine does not see
LEAST_COSINE_ROUNDED = 0.99  # of bf16: real weights were seen at 0.994 to 0.9999; below lies no rounding
MOST_LENGTH_ROUNDED = 0.05
_TIMES = 3
_NOTICED = 0.01  # seconds for a tile: below, nobody waits, and noise decides
SLOWER = 1.5  # an engine that takes so many times as long as plain torch is not used


def examine(
    engine: Engine, backbone: Backbone, runtime: Runtime, pixels: Pixels
) -> tuple[Agreement, NDArray[np.float32]]:
    """Compares an engine with plain torch.

    Args:
        engine: of the backbone.
        backbone: whose modules plain torch runs.
        runtime: of both.
        pixels: n > 0 decoded real images.

    Returns:
        How they agree, and the features (2, n, D) float32 by plain torch in fp32 and by the engine.
    """
    _, expected = _timed(PlainTorch(backbone, replace(runtime, precision="fp32")), pixels)
    _, found = _timed(engine, pixels)
    plain = PlainTorch(backbone, runtime)
    several = (list(pixels) * engine.depth * engine.tile)[: engine.depth * engine.tile]
    seconds = plain_seconds = float("inf")
    for _ in range(_TIMES):  # the first passes prepared kernels
        seconds = min(seconds, _timed(engine, several)[0])
        plain_seconds = min(plain_seconds, _timed(plain, pixels)[0])
        if seconds < plain_seconds:
            break
    cosine, length = compare(expected, found)
    return Agreement(len(pixels), cosine, length, seconds, plain_seconds), np.stack([expected, found])


def compare(expected: NDArray[np.float32], found: NDArray[np.float32]) -> tuple[float, float]:
    """The lowest cosine, and the largest relative difference in length, of rows (n, ...) with those expected.

    Numbers that are not finite have cosine -1.
    """
    rows = [np.asarray(values, dtype=np.float64).reshape(len(values), -1) for values in (expected, found)]
    if not all(np.isfinite(values).all() for values in rows):
        return -1.0, float("inf")
    lengths = [np.maximum(np.sqrt((values**2).sum(1)), 1e-30) for values in rows]
    cosines = (rows[0] * rows[1]).sum(1) / lengths[0] / lengths[1]
    is_zero = (lengths[0] <= 1e-30) & (lengths[1] <= 1e-30)
    return float(np.where(is_zero, 1.0, cosines).min()), float(np.abs(lengths[1] / lengths[0] - 1).max())


def boundaries_agree(plain: Tensor, found: NDArray[np.float32], precision: str) -> bool:
    """Whether an engine's output (n, ...) of some stages is that of plain torch in the same precision."""
    least = LEAST_COSINE if precision == "fp32" else LEAST_COSINE_ROUNDED
    return compare(plain.float().cpu().numpy(), found)[0] >= least


def refusal(agreement: Agreement, precision: str) -> str | None:
    """Why an engine is not used; None where it is."""
    exact = precision == "fp32"
    least, most = (LEAST_COSINE, MOST_LENGTH) if exact else (LEAST_COSINE_ROUNDED, MOST_LENGTH_ROUNDED)
    if not agreement.cosine >= least:
        return f"{agreement}, and {least:g} is asked for"
    if not agreement.length <= most:
        return f"the lengths of its features differ by {agreement.length:.2%} from plain fp32"
    slower = agreement.seconds - agreement.plain_seconds
    if agreement.seconds > SLOWER * agreement.plain_seconds and slower > _NOTICED:
        return f"it takes {agreement.seconds / agreement.plain_seconds:.1f} times as long as plain torch here"
    return None


def _timed(engine: Engine, pixels: Pixels) -> tuple[float, NDArray[np.float32]]:
    """Seconds for a tile, and the features."""
    start = time.perf_counter()
    features = forward(engine, pixels)
    return (time.perf_counter() - start) / len(pixels) * engine.tile, features
