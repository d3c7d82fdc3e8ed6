"""What a model knows of its own limits: its temperature, when a set is large enough, and who is a stranger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from featcli.evaluation.calibration import Calibration
from featcli.evaluation.conformal import Scores
from featcli.evaluation.novelty import SHARE, Novelty

_SETS = "sets."
_NOVELTY = "novelty."


@dataclass(frozen=True, slots=True)
class Trust:
    """What goes with a head; each part may be missing, where there was nothing to learn it from.

    Args:
        calibration: the temperature of the logits.
        scores: of images that the head did not learn from: for sets of a chosen coverage.
        novelty: distances from the training images.
    """

    calibration: Calibration | None = None
    scores: Scores | None = None
    novelty: Novelty | None = None

    @property
    def temperature(self) -> float:
        """That logits are divided by; 1 where none was chosen."""
        return 1.0 if self.calibration is None else self.calibration.temperature

    def arrays(self) -> dict[str, NDArray[Any]]:
        """By name, as a checkpoint has them."""
        found: dict[str, NDArray[Any]] = {}
        if self.scores is not None:
            found |= {f"{_SETS}{name}": array for name, array in self.scores.arrays().items()}
        if self.novelty is not None:
            found |= {f"{_NOVELTY}{name}": array for name, array in self.novelty.arrays().items()}
        return found

    def to_json(self) -> dict[str, Any]:
        """What a checkpoint's description has of it, besides `calibration` and the arrays."""
        novelty = None if self.novelty is None else {"share": SHARE, "threshold": self.novelty.threshold}
        return {"novelty": novelty}

    @classmethod
    def from_parts(
        cls,
        calibration: Mapping[str, Any] | None,
        facts: Mapping[str, Any],
        arrays: Mapping[str, NDArray[Any]],
        n_classes: int,
    ) -> Trust:
        """From what a checkpoint has.

        Raises:
            KeyError: a part is missing.
            TypeError: a part is of another kind.
            ValueError: the parts do not fit together.
        """
        sets = _with(arrays, _SETS)
        distances = _with(arrays, _NOVELTY)
        return cls(
            None if calibration is None else Calibration.from_json(calibration),
            Scores.from_arrays(sets, n_classes) if sets else None,
            Novelty.from_arrays(distances, float(facts["novelty"]["threshold"])) if distances else None,
        )


NOTHING = Trust()


def _with(arrays: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
