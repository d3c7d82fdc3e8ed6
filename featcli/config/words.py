"""What an option accepts, in words, and values as a message shows them."""

from __future__ import annotations

import re
import types
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from featcli.text import listing, meant, near

_LONGEST = 60


@dataclass(frozen=True, slots=True)
class Words:
    """Beside a type that does not speak for itself: what is accepted, in words.

    Args:
        text: completes "expected ...".
        choices: the fixed words among what is accepted, for suggestions.
        synonyms: words of other tools, each with its name here.
    """

    text: str
    choices: tuple[str, ...] = ()
    synonyms: tuple[tuple[str, str], ...] = ()


def expected(option: FieldInfo) -> str:
    """Completes "expected ..." for an option: `auto or an integer of at least 1`."""
    return listing(list(dict.fromkeys(_alternatives(option.annotation, option.metadata))))


def choices(option: FieldInfo) -> tuple[str, ...]:
    """The fixed words that an option accepts."""
    return tuple(_choices(option.annotation, option.metadata))


def accepts(option: FieldInfo, kind: type) -> bool:
    """Whether values of a type are among what an option accepts."""
    return any(member is kind for member, _ in _walk(option.annotation, option.metadata))


def suggestion(word: str, option: FieldInfo) -> str:
    """`; did you mean 'balanced'?` for a word that is nearly a choice, else an empty string."""
    members = _walk(option.annotation, option.metadata)
    words = [item for _, beside in members for item in beside if isinstance(item, Words)]
    synonyms = dict(pair for item in words for pair in item.synonyms)
    return meant(near(synonyms.get(word.lower(), word), choices(option)))


def nested(option: FieldInfo) -> type[BaseModel] | None:
    """The model that an option is, or may be: a section, or the mapping of `backbone.preprocess`."""
    for annotation, _ in _walk(option.annotation, option.metadata):
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            return annotation
    return None


def quoted(text: str) -> str:
    """A text in quotes, on one line, not too long."""
    return repr(text) if len(text) <= _LONGEST else repr(text[: _LONGEST - 3]) + "..."


def shortened(text: str) -> str:
    """A text as it is, but on one line and not too long."""
    line = text if text.isprintable() else repr(text)[1:-1]
    return line if len(line) <= _LONGEST else line[: _LONGEST - 3] + "..."


def _walk(annotation: Any, metadata: Sequence[Any]) -> Iterator[tuple[Any, list[Any]]]:
    """The members of a union, one level deep, each with what stands beside it in its `Annotated`."""
    beside = [one for item in metadata for one in (item.metadata if isinstance(item, FieldInfo) else [item])]
    if get_origin(annotation) is Annotated:
        inner, *more = get_args(annotation)
        yield from _walk(inner, [*more, *beside])
    elif get_origin(annotation) in (Union, types.UnionType):
        for member in get_args(annotation):
            yield from _walk(member, beside)
    else:
        yield annotation, beside


def _choices(annotation: Any, metadata: Sequence[Any]) -> Iterator[str]:
    for member, beside in _walk(annotation, metadata):
        words = [item for item in beside if isinstance(item, Words)]
        if words:
            yield from words[0].choices
        elif get_origin(member) is Literal:
            yield from get_args(member)


def _alternatives(annotation: Any, metadata: Sequence[Any]) -> Iterator[str]:
    for member, beside in _walk(annotation, metadata):
        words = [item.text for item in beside if isinstance(item, Words)]
        if words:
            yield words[0]
        elif get_origin(member) is Literal:
            yield from get_args(member)
        elif get_origin(member) is tuple:
            yield _list(get_args(member))
        elif isinstance(member, type) and issubclass(member, BaseModel):
            yield f"a mapping ({', '.join(member.model_fields)})"
        else:
            yield _simple(member, beside)


def _list(members: tuple[Any, ...]) -> str:
    noun = re.sub(r"^an? (number|integer|string)", r"\1s", next(_alternatives(members[0], [])))
    return f"a list of {noun}" if members[-1] is Ellipsis else f"a list of {len(members)} {noun}"


def _simple(member: Any, beside: Sequence[Any]) -> str:
    if member is int:
        return _number("an integer", beside, step=1)
    if member is float:
        return _number("a number", beside, step=0)
    return {bool: "true or false", str: "a string", Path: "a path", type(None): "null"}[member]


def _number(noun: str, beside: Sequence[Any], step: int) -> str:
    bounds = {name: getattr(item, name) for item in beside for name in ("gt", "ge", "lt", "le") if hasattr(item, name)}
    match bounds:
        case {"gt": low, "lt": high}:
            return f"{noun} between {low} and {high}"
        case {"ge": low, "lt": high}:
            return f"{noun} from {low} to {high - 1}" if step else f"{noun} in [{low}, {high})"
        case {"ge": low, "le": high}:
            return f"{noun} from {low} to {high}"
        case {"ge": low}:
            return f"{noun} of at least {low}"
        case {"gt": low}:
            return f"{noun} above {low}"
    return noun
