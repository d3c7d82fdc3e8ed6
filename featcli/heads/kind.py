"""What a kind of head is: made of stored arrays, and fitted by a solver or trained by gradient descent."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from featcli.events import Emit
from featcli.heads.head import Head

if TYPE_CHECKING:
    from torch import nn

ClassWeight: TypeAlias = Literal["none", "balanced"]
FloatArray: TypeAlias = NDArray[np.float32] | NDArray[np.float64]
Arrays: TypeAlias = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class LabelledRows:
    """What a head is fitted to.

    Attributes:
        features: (N, D) float32 or float64.
        labels: (N,) 0 ... n_classes - 1, each at least once.
        n_classes: K, at least 2.
        class_weight: `balanced` weighs a sample by N / (K * its class's count).
    """

    features: FloatArray
    labels: NDArray[np.integer]
    n_classes: int
    class_weight: ClassWeight = "none"


@dataclass(frozen=True, slots=True)
class Choice:
    """What a solver may choose from, by cross-validation on the rows that it is given.

    Attributes:
        Cs: factors of the summed loss, in any order.
        folds: (N,) the fold in which a row is held out; -1 for a row that is always trained on.
        widen: whether values beyond the smallest and largest may be tried where these are chosen.
        units: (N,) numbers; rows of one unit are held out together. None where no held-out logits are wanted.
    """

    Cs: Sequence[float]
    folds: NDArray[np.integer]
    widen: bool = False
    units: NDArray[np.integer] | None = None


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What heads say of training rows that they did not learn from.

    Attributes:
        rows: (M,) which rows, ascending.
        logits: (M, K) float64; minus infinity for a class that the head did not know.
        how: in words: `5 folds`, `each left out in turn`.
    """

    rows: NDArray[np.int64]
    logits: NDArray[np.float64]
    how: str


@dataclass(frozen=True, slots=True)
class Workload:
    """How large a problem a solver is to have.

    Attributes:
        rows: to fit.
        features: D.
        classes: K.
        Cs: how many values there are to choose from.
        folds: of the cross-validation that chooses.
    """

    rows: int
    features: int
    classes: int
    Cs: int = 1
    folds: int = 2


@dataclass(frozen=True, slots=True)
class Solved:
    """A head that a solver found.

    Attributes:
        head: for raw features.
        C: given, or chosen; None where the kind has none.
        text: what a person is told of it: the kind, and what was chosen.
        facts: what `metrics.json` has besides kind, C and class weight.
        log: lines of `metrics.jsonl`.
        held_out: what heads say that were solved the same way without a part of the rows; None where there are none.
    """

    head: Head
    C: float | None
    text: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    log: Sequence[dict[str, Any]] = ()
    held_out: HeldOut | None = None


Solve: TypeAlias = Callable[[LabelledRows, Choice, Emit], Solved]
HoldOut: TypeAlias = Callable[[LabelledRows, float, NDArray[np.integer], Emit], HeldOut | None]


@dataclass(frozen=True, slots=True)
class NewHead:
    """Options of a head that is to be trained by gradient descent.

    Attributes:
        hidden: width of an mlp's hidden layer.
        dropout: probability that an input of the last layer is dropped in training.
        seed: of the random numbers that it begins with.
    """

    hidden: int = 1
    dropout: float = 0.0
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Gradient:
    """How a kind is trained by gradient descent.

    Attributes:
        kind: under which what was trained is stored.
        build: a module (B, D) to (B, K) with random numbers from torch's generator; of D features and K classes.
        export: from the trained module to the head that predicts.
        starts_from: the kind whose solution it may start from; None where it always starts random.
        start: takes that solution over.
    """

    kind: str
    build: Callable[[NewHead, int, int], nn.Module]
    export: Callable[[nn.Module], Head]
    starts_from: str | None = None
    start: Callable[[nn.Module, Head], None] = lambda module, solved: None


@dataclass(frozen=True, slots=True)
class HeadKind:
    """One kind of head.

    Attributes:
        tensors: names of the arrays that it is made of.
        load: from these arrays to the head; raises ValueError where their shapes or types do not fit.
        solve: finds it; None where it is trained by gradient descent alone.
        gradient: trains it, alone or with stages of the backbone; None where that is impossible.
        seconds: estimates how long `solve` would take here; None where that is not known.
        hold_out: what heads of one C say of the rows of each fold (N,) that they did not learn from; None where the
            kind has no such head.
    """

    tensors: tuple[str, ...]
    load: Callable[[Arrays], Head]
    solve: Solve | None = None
    gradient: Gradient | None = None
    seconds: Callable[[Workload], float] | None = None
    hold_out: HoldOut | None = None
