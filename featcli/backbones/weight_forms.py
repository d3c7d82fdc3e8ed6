"""The state dicts that a file of weights holds, however a training script has wrapped them.

Wrappers add two things: entries around the state dict (`state_dict`, `model_ema`, `teacher`, ...) and words before each
name (`module.`, `_orig_mod.`, `encoder_q.`, ...). Both are only found here; which of them is meant, the network decides
that they must fit (`featcli.backbones.fitting`). So no list of wrappers is needed, and any nesting of them is read.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from featcli.backbones.architecture import State

_DEPTH = 6  # of entries within entries
_MOST_ITEMS = 64  # of a list that may hold state dicts
_FEWEST = 4  # tensors under a common beginning of names
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass(frozen=True, slots=True)
class StateDict:
    """Tensors of a file that may be those of one network.

    Attributes:
        entries: that lead to them, from the outside in: `("state_dict",)`.
        prefix: what all of their names began with in the file: `module.encoder_q.`.
        tensors: by name, without the prefix.
        beside: how many tensors of the same entry have another beginning.
    """

    entries: tuple[str, ...]
    prefix: str
    tensors: State
    beside: int = 0

    @property
    def key(self) -> str:
        """What names it in `FILE#KEY`: entries and prefix, joined by dots; empty for the file itself."""
        return ".".join([*self.entries, *filter(None, [self.prefix.removesuffix(".")])])


def state_dicts(held: Any) -> list[StateDict]:
    """All of a file's, those that hold others before them: each entry as it is, and below each beginning of its names.

    Args:
        held: containers and tensors, as `read_weights` gives them.
    """
    return [found for entries, tensors in _containers(held, ()) for found in _below(entries, tensors)]


def whole_entries(held: Sequence[StateDict]) -> list[StateDict]:
    """Those that are an entry of the file as it is, with no prefix taken off."""
    return [state for state in held if not state.prefix]


def _containers(value: Any, entries: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], State]]:
    if isinstance(value, list | tuple) and len(value) <= _MOST_ITEMS and entries:
        value = {str(index): item for index, item in enumerate(value) if isinstance(item, Mapping)}
    if not isinstance(value, Mapping) or len(entries) > _DEPTH:
        return
    named = {name: item for name, item in value.items() if isinstance(name, str)}
    tensors = {name: item.detach() for name, item in named.items() if isinstance(item, Tensor)}
    if tensors:
        yield entries, tensors
    for name, item in named.items():
        yield from _containers(item, (*entries, name))


def _below(entries: tuple[str, ...], tensors: State) -> Iterator[StateDict]:
    yield StateDict(entries, "", tensors)
    counts: Counter[str] = Counter()
    for name in tensors:
        parts = name.split(".")
        counts.update(".".join(parts[:depth]) + "." for depth in range(1, min(len(parts), _DEPTH)))
    for prefix, count in counts.items():
        if count >= _FEWEST:
            inside = {name.removeprefix(prefix): item for name, item in tensors.items() if name.startswith(prefix)}
            yield StateDict(entries, prefix, inside, len(tensors) - count)
