"""Products of float32 matrices whose bits depend on nothing but the two vectors that meet in each number.

A library's product in floating point adds in an order of its own. With OpenBLAS's kernels for Haswell and Zen that
order, hence the last bits, depends on the place of a row among the others, also where all products have one shape. So
numbers are divided into integers that are small enough for every sum of their products to be exact: then no order, no
number of threads and no library can change a bit.

Source: Ozaki et al., "Error-free transformations of matrix multiplication by using fast routines of matrix
multiplication and its applications", Numerical Algorithms 59 (2012), 95-118. Here with a fixed point for each row, two
parts, and without the product of the two lower ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_EXACT = 53  # bits of an integer that float64 holds


@dataclass(frozen=True, slots=True)
class Parts:
    """N vectors of length D as `(high + low / 2**bits) * unit`, to about 40 bits of the largest number of each.

    Attributes:
        both: (N, 2 D) integers in float64, high beside low.
        unit: (N,) powers of two.
        bits: that each part has, as `bits_for` says.
    """

    both: NDArray[np.float64]
    unit: NDArray[np.float64]
    bits: int

    @classmethod
    def of(cls, vectors: NDArray[np.float32], *, swapped: bool = False) -> Parts:
        """Divides (N, D); `swapped` puts low before high, for the right side of a product.

        A vector with a number that is not finite gives a product that is not; the others are as without it.
        """
        width = vectors.shape[1]
        bits = bits_for(width)
        exponents = np.frexp(np.abs(vectors).max(axis=1, initial=0.0))[1]
        both = np.empty((len(vectors), 2 * width))
        high, low = both[:, :width], both[:, width:]
        if swapped:
            high, low = low, high
        with np.errstate(invalid="ignore"):
            scaled = vectors * np.ldexp(1.0, bits - exponents)[:, None]  # exact: at most 2**bits
            np.rint(scaled, out=high)
            scaled -= high
            np.rint(np.multiply(scaled, 2.0**bits, out=scaled), out=low)
        return cls(both, np.ldexp(1.0, exponents - bits), bits)


def bits_for(width: int) -> int:
    """How many bits two numbers may have, so that sums of so many products of them are exact."""
    return (_EXACT - (width - 1).bit_length()) // 2


def product(left: Parts, right: Parts) -> NDArray[np.float64]:
    """The product (M, N) of M vectors on the left and the N on the right, which were divided `swapped`.

    An error is below 2**-30 of the product of the two vectors' largest numbers for up to 10,000 numbers, where
    float32 makes one of 2**-24 with every addition.
    """
    width = left.both.shape[1] // 2
    with np.errstate(invalid="ignore"):
        crossed = left.both @ right.both.T  # high with low, and low with high
        found = left.both[:, :width] @ right.both[:, width:].T
        found += np.ldexp(crossed, -left.bits, out=crossed)
        found *= left.unit[:, None] * right.unit
    return found
