"""`featcli doctor --weights FILE`: what a file of weights holds, which backbones it fits, and how to use it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from featcli.backbones.fitting import Fit, distinct, fitting_backbones, named, nearest_backbone, require_plain
from featcli.backbones.weight_forms import StateDict
from featcli.backbones.weights import held_by
from featcli.errors import CheckpointError, WeightsError
from featcli.files import weights_place
from featcli.lines import lines_of
from featcli.metadata import read_metadata
from featcli.units import count_text
from featcli.workflow.answer import Answer

_NEXT = "`featcli models` lists the backbones; a network of another kind cannot be one."


@dataclass(frozen=True, slots=True)
class FittingBackbone:
    """A backbone that takes a state dict.

    Attributes:
        backbone: its name.
        head_classes: how many classes the last Linear in the file has; None where there is none.
        beside: how many tensors are left out.
        weights: the value of `backbone.weights` that means this state dict.
        problem: why it cannot be used all the same; None where it can.
    """

    backbone: str
    head_classes: int | None
    beside: int
    weights: str
    problem: str | None


@dataclass(frozen=True, slots=True)
class DescribedStateDict:
    """A state dict of a file.

    Attributes:
        key: of `FILE#KEY`; empty for the file itself.
        tensors: how many.
        values: in all of them.
        dtypes: how many tensors there are of each.
        fits: the backbones that take it.
        nearest: where none does, the one that it is most like, and how it differs; None where it is like none.
    """

    key: str
    tensors: int
    values: int
    dtypes: dict[str, int]
    fits: tuple[FittingBackbone, ...]
    nearest: str | None


def describe_weights(weights: str) -> Answer:
    """A file of weights, or `FILE#KEY`, as text and as one JSON value; it fails where nothing in it fits a backbone.

    Raises:
        WeightsError: the file is none of weights; the message says what it is.
    """
    word, key = weights_place(weights)
    path = Path(word)
    own = _checkpoint(path)
    if own is not None:
        facts: dict[str, Any] = {"file": word, "what": "a checkpoint of featcli", "backbone": own, "state_dicts": []}
        lines = [f"{word}: a checkpoint of featcli", f"  fits {own}", *_config(own, word)]
        return Answer.arranged(lines_of(lines), facts)
    held = held_by(path)
    described = _described(held, held if key is None else named(held, key, word), word)
    facts = {"file": word, "what": _what(path), "state_dicts": [asdict(state) for state in described]}
    usable = any(fit.problem is None for state in described for fit in state.fits)
    problems = [fit.problem for state in described for fit in state.fits if fit.problem is not None]
    why = f"{word}: {problems[0]}" if problems else f"nothing in {weights} can be the weights of a backbone"
    failure = None if usable else WeightsError(why, "Name others." if problems else _NEXT)
    lines = [f"{word}: {facts['what']}", *(line for state in described for line in _lines(state))]
    return Answer.arranged(lines_of(lines), facts, failure=failure)


def fitting_backbone(weights: str) -> str | None:
    """The one backbone that a file of weights, or `FILE#KEY`, fits; None where it is none or several.

    Raises:
        WeightsError: the file is none of weights.
    """
    facts = describe_weights(weights).facts
    fits = (fit for state in facts["state_dicts"] for fit in state["fits"] if fit["problem"] is None)
    names = {fit["backbone"] for fit in fits} | ({facts["backbone"]} if "backbone" in facts else set())
    return names.pop() if len(names) == 1 else None


def _described(held: list[StateDict], shown: list[StateDict], word: str) -> list[DescribedStateDict]:
    """Of those shown the entries in which nothing fits, and whatever fits, in the file's order.

    Which need a key to be told apart, all of the file decides.
    """
    found = [(state, fitting_backbones(state)) for state in held]
    of_name: dict[str, list[Fit]] = {}
    for _, fits in found:
        for name, fit in fits:
            of_name.setdefault(name, []).append(fit)
    ambiguous = {name for name, fits in of_name.items() if len(distinct(fits)) > 1}
    fitting_entries = {state.entries for state, fits in found if fits}
    among = set(map(id, shown))  # StateDict compares tensors
    whole = {state.entries: state for state in reversed(shown)}  # the first of each entry holds the others
    return [
        _description(
            state,
            fits,
            word,
            ambiguous,
            None if fits else _nearest([one for one in shown if one.entries == state.entries]),
        )
        for state, fits in found
        if id(state) in among and (fits or (state is whole[state.entries] and state.entries not in fitting_entries))
    ]


def _description(
    state: StateDict, fits: list[tuple[str, Fit]], word: str, ambiguous: set[str], nearest: str | None
) -> DescribedStateDict:
    dtypes = Counter(str(tensor.dtype).removeprefix("torch.") for tensor in state.tensors.values())
    return DescribedStateDict(
        key=state.key,
        tensors=len(state.tensors),
        values=sum(tensor.numel() for tensor in state.tensors.values()),
        dtypes=dict(dtypes.most_common()),
        fits=tuple(
            FittingBackbone(
                name,
                fit.head,
                fit.beside,
                f"{word}#{state.key}" if name in ambiguous and state.key else word,
                _problem(fit, word),
            )
            for name, fit in fits
        ),
        nearest=nearest,
    )


def _nearest(held: list[StateDict]) -> str | None:
    found = nearest_backbone(held)
    if found is None:
        return None
    name, state, misfit = found
    at = f" (as '{state.key}')" if state.prefix else ""
    return f"{name}{at}; tensors: {misfit.words}"


def _problem(fit: Fit, word: str) -> str | None:
    try:
        require_plain(fit, word)
    except WeightsError as error:
        return error.message.removeprefix(f"{word}: ")
    return None


def _checkpoint(path: Path) -> str | None:
    """The backbone of a checkpoint of featcli."""
    if path.suffix.lower() != ".safetensors" or not path.is_file():
        return None
    try:
        return read_metadata(path).backbone.name
    except CheckpointError:
        return None


def _what(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(9)
    if head[8:9] == b"{":
        return "safetensors"
    return "an archive of torch" if head.startswith(b"PK") else "a file of torch in its older format"


def _lines(state: DescribedStateDict) -> list[str]:
    dtypes = ", ".join(state.dtypes)
    lines = [
        "",
        state.key or "(the file itself)",
        f"  {count_text(state.tensors, 'tensor')}, {_size(state.values)} values, {dtypes}",
    ]
    if not state.fits:
        lines.append(f"  fits no backbone{'' if state.nearest is None else f'; nearest: {state.nearest}'}")
    for fit in state.fits:
        head = "without a head" if fit.head_classes is None else f"with a head of {fit.head_classes} classes"
        beside = f", {count_text(fit.beside, 'tensor')} beside it" if fit.beside else ""
        lines.append(f"  fits {fit.backbone}, {head}{beside}")
        lines += [f"  not usable: {fit.problem}"] if fit.problem else _config(fit.backbone, fit.weights)
    return lines


def _config(name: str, weights: str) -> list[str]:
    return [f"    backbone.name: {name}", f"    backbone.weights: {weights}"]


def _size(values: int) -> str:
    return f"{values / 1e6:.1f} M" if values >= 100_000 else f"{values:,}"
