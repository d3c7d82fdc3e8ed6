"""The names of a backbone and its stages: a table vouches for them; of what it does not know, others are asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeAlias

from featcli.config.check import Given
from featcli.config.known_backbones import STAGES
from featcli.config.schema import Backbone
from featcli.config.sources import Problem
from featcli.errors import BackboneOptionError

# From a backbone's name, places of its features and freeze depth to what is wrong with them.
WrongNames: TypeAlias = Callable[[str, Sequence[str], str | int], Iterable[BackboneOptionError]]


def name_problems(given: Mapping[str, Given], ask: WrongNames) -> Iterator[Problem]:
    """What is wrong with the names that were given; `ask` is slow, and called where the table cannot tell."""
    default = Backbone()
    name, layer, depth = (
        given[key].value if key in given else getattr(default, key.removeprefix("backbone."))
        for key in ("backbone.name", "backbone.layer", "backbone.freeze_depth")
    )
    places = (layer,) if isinstance(layer, str) else layer
    if name is None or _known(name, places, depth):
        return
    for error in ask(name, places, depth):
        key = f"backbone.{error.option}"
        place = given[key].place
        yield Problem(place, place.message(error.message, key), key, error.hint)


def _known(name: str, places: Sequence[str], depth: str | int) -> bool:
    """Whether all of it is in the table. What is not may be right all the same, with a later torchvision."""
    stages = STAGES.get(name)
    if stages is None or not {*places} <= {*stages, "penultimate"}:
        return False
    return depth <= len(stages) if isinstance(depth, int) else depth in ("all", "none", *stages)
