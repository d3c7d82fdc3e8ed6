"""What is true of the images that a model is measured on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Truth:
    """The targets of the images of a split, and which of these images are not independent.

    Attributes:
        targets: (N,) of the images that were read; (N, ...) for other tasks than classes.
        lost: of the M images that could not be read.
        groups: N + M names, those of the images that were read first; None where images are independent.
    """

    targets: npt.NDArray[Any]
    lost: Sequence[Any] = ()
    groups: Sequence[str] | None = None

    def group_numbers(self) -> npt.NDArray[np.int64] | None:
        """(N + M,) the groups as integers, counted in the order in which they come."""
        if self.groups is None:
            return None
        number: dict[str, int] = {}
        return np.array([number.setdefault(name, len(number)) for name in self.groups], dtype=np.int64)
