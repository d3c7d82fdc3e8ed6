"""Features as the solver wants them: standardised in float64, and rotated so that their second moments are diagonal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from featcli.errors import DatasetError
from featcli.heads.kind import FloatArray

RowIndices: TypeAlias = NDArray[np.intp]

DOUBLE_ROWS = 8192  # rows that are in memory as float64 copies at any time


@dataclass(frozen=True, slots=True)
class Standardisation:
    """What a feature is shifted and divided by: its mean and its scale, both (D,) float64.

    The scale is `sqrt(std ** 2 + s ** 2)`, where s is the mean of the standard deviations of all features that vary; it
    is 1 where a feature is constant. With the standard deviation alone, a feature that is all but dead in training
    (zero for all rows but one) would lie thousands of deviations out for an image that uses it, and decide alone.
    """

    mean: Tensor
    scale: Tensor

    def apply(self, block: Tensor) -> Tensor:
        """Standardise a float64 block (B, D) in place."""
        return block.sub_(self.mean).div_(self.scale)

    def to_raw(self, weights: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
        """Weights (R, D) and bias (R,) for standardised features, turned into those for raw features."""
        raw = weights / self.scale
        return raw, bias - raw @ self.mean


@dataclass(frozen=True, slots=True)
class RotatedFeatures:
    """Standardised features in a basis of theirs.

    Args:
        values: (N, P) float32 or float64, the coordinates and a last column of ones.
        back: matrices whose product, (P - 1, D) with orthonormal rows, is the basis; multiplied out for weights alone.
        standardisation: of the raw features.
    """

    values: Tensor
    back: tuple[Tensor, ...]
    standardisation: Standardisation

    def unrotate(self, weights: Tensor) -> tuple[Tensor, Tensor]:
        """Weights (R, P), turned into weights (R, D) and bias (R,) for standardised features, float64."""
        weights = weights.double()
        standardised = weights[:, :-1]
        for factor in self.back:
            standardised = standardised @ factor
        return standardised, weights[:, -1]


def standardisation(features: FloatArray, rows: RowIndices) -> Standardisation:
    """Of the rows named, features (N, D): two passes, so that large means cost no digits.

    Raises:
        DatasetError: a feature is infinite or not a number.
    """
    width = features.shape[1]
    total, squares = torch.zeros(width, dtype=torch.float64), torch.zeros(width, dtype=torch.float64)
    low, high = torch.full_like(total, float("inf")), torch.full_like(total, -float("inf"))
    for block in blocks(features, rows):
        total += block.sum(0)
        low, high = torch.minimum(low, block.amin(0)), torch.maximum(high, block.amax(0))
    if not torch.isfinite(total).all():
        raise DatasetError("some features are infinite or not a number: no head can be fitted to them")
    constant = low == high
    mean = torch.where(constant, low, total / len(rows))
    for block in blocks(features, rows):
        squares += block.sub_(mean).square_().sum(0)
    variance = squares / len(rows)
    typical = variance[~constant].sqrt().sum() / (~constant).sum().clamp_min(1)
    return Standardisation(mean, torch.where(constant, 1.0, (variance + typical.square()).sqrt()))


def eigenbasis(features: FloatArray, rows: RowIndices, scaling: Standardisation) -> Tensor:
    """(D, D) float64, in which the standardised rows' second moments are diagonal but for rounding in float32.

    In float32 it takes less than half the time. Which basis the solver works in does not move the minimum as long as
    the basis is orthonormal: it is to a few 1e-6, and the objective at the solution is off by the square of that.
    """
    gram = torch.zeros(features.shape[1], features.shape[1])
    for block in blocks(features, rows):
        single = scaling.apply(block).float()
        gram += single.T @ single
    vectors: Tensor = torch.linalg.eigh(gram)[1]
    return vectors.double()


def rotate(
    features: FloatArray, rows: RowIndices, scaling: Standardisation, basis: Tensor, dtype: torch.dtype = torch.float64
) -> RotatedFeatures:
    """The rows named, standardised in float64, in the given basis as `dtype`."""
    values = torch.ones(len(rows), basis.shape[1] + 1, dtype=dtype)
    typed, start = basis.to(dtype), 0
    for block in blocks(features, rows):
        torch.mm(scaling.apply(block).to(dtype), typed, out=values[start : start + len(block), :-1])
        start += len(block)
    return RotatedFeatures(values, (basis.T,), scaling)


def row_space(
    features: FloatArray, rows: RowIndices, scaling: Standardisation, dtype: torch.dtype = torch.float64
) -> RotatedFeatures:
    """The rows named, fewer than features, standardised, in the N-dimensional space that they span.

    Under an L2 penalty the solution lies in that space, so nothing is lost. Directions with a variance below rounding
    are dropped.
    """
    values = torch.cat([scaling.apply(block) for block in blocks(features, rows)])  # (N, D)
    squares, left = torch.linalg.eigh(values @ values.T)
    keep = squares > len(rows) * 1e-15 * squares[-1].clamp_min(1e-300)
    singular, left = squares[keep].sqrt(), left[:, keep]
    ones = torch.ones(len(rows), 1, dtype=torch.float64)
    return RotatedFeatures(torch.cat([left * singular, ones], 1).to(dtype), ((left / singular).T, values), scaling)


def blocks(features: FloatArray, rows: RowIndices, *, most: int | None = None) -> Iterator[Tensor]:
    """Float64 copies of the rows named, at most `DOUBLE_ROWS` (and `most`) at a time."""
    size = min(DOUBLE_ROWS, most or DOUBLE_ROWS)
    for start in range(0, len(rows), size):
        yield torch.from_numpy(features[rows[start : start + size]].astype(np.float64, copy=False))
