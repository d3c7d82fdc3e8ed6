"""Compares what a source gives with the schema, value by value, and says what is wrong in the words of the schema."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from featcli.config.aliases import ALIASES
from featcli.config.nodes import Entry, Mark, Node, Pairs, Refused, Scalar, has_refused, plain, shown
from featcli.config.schema import Config
from featcli.config.sources import Place, Problem, Source
from featcli.config.words import choices, expected, nested, quoted, suggestion
from featcli.text import listing, meant, near


@dataclass(frozen=True, slots=True)
class Given:
    """A valid value and where it was given."""

    key: str
    value: Any
    place: Place


def check(source: Source) -> Iterator[Given | Problem]:
    """What a source gives: each of its values that is valid, and a problem for each that is not."""
    yield from source.problems
    if source.content is not None:
        yield from _Check(source).section(source.content, Config, "")


@cache
def sections_of() -> dict[str, tuple[str, ...]]:
    """The sections that know each name: {"folds": ("head",), "seed": ("",), ...}."""
    found: dict[str, tuple[str, ...]] = {}
    for section, name, _ in options(Config):
        found[name] = (*found.get(name, ()), section)
    return found


def options(model: type[BaseModel], section: str = "") -> Iterator[tuple[str, str, FieldInfo]]:
    """Every section, option and key of a mapping, outer before inner: (where it belongs, name, description)."""
    for name, option in model.model_fields.items():
        yield section, name, option
        inner = nested(option)
        if inner is not None:
            yield from options(inner, _dotted(section, name))


def is_section(option: FieldInfo) -> bool:
    """Whether an option is a group of options, rather than one whose value may be a mapping."""
    return nested(option) is option.annotation


@dataclass(frozen=True, slots=True)
class _Check:
    source: Source

    def section(self, pairs: Pairs, model: type[BaseModel], path: str) -> Iterator[Given | Problem]:
        for entry in pairs.entries:
            option = model.model_fields.get(entry.key)
            key = _dotted(path, entry.key)
            if option is None:
                yield self._problem(entry.at, _unknown(entry.key, path, model))
                continue
            inner = nested(option)
            if inner is not None and isinstance(entry.node, Pairs):
                if not entry.node.entries and not is_section(option):
                    yield Given(key, {}, self.source.place(entry.node.at))
                yield from self.section(entry.node, inner, key)
            elif inner is not None and is_section(option):
                yield from self._not_a_section(entry.node, inner, key)
            else:
                yield from self._value(entry, option, model, key)

    def _value(self, entry: Entry, option: FieldInfo, model: type[BaseModel], key: str) -> Iterator[Given | Problem]:
        node = entry.node
        if has_refused(node):
            return
        try:
            value = _validated(model, entry.key, plain(node))
        except ValidationError as error:
            reasons = [item["msg"] for item in error.errors(include_url=False) if item["type"] == "reason"]
            yield self._problem(node.at, reasons[0] if reasons else _not_accepted(entry, option, model), key)
        else:
            yield Given(key, value, self.source.place(node.at))

    def _not_a_section(self, node: Node, inner: type[BaseModel], key: str) -> Iterator[Problem]:
        if isinstance(node, Refused) or (isinstance(node, Scalar) and not node.text and node.value is None):
            return  # `head:` with every key commented out
        names = listing(list(inner.model_fields), "and")
        yield self._problem(node.at, f"expected a section with {names}, got {shown(node)}", key)

    def _problem(self, at: Mark, text: str, key: str = "") -> Problem:
        place = self.source.place(at)
        return Problem(place, place.message(text, key), key)


def _validated(model: type[BaseModel], name: str, value: Any) -> Any:
    """One value by the schema, apart from the others: those of its section have defaults."""
    return getattr(model.model_validate({name: value}), name)


def _not_accepted(entry: Entry, option: FieldInfo, model: type[BaseModel]) -> str:
    def accepts(value: Any) -> bool:
        try:
            _validated(model, entry.key, value)
        except ValidationError:
            return False
        return True

    hint = ""
    if isinstance(entry.node, Scalar):
        word = entry.node.value
        hint = (suggestion(word, option) if isinstance(word, str) else "") or _correction(entry.node, option, accepts)
    return f"expected {expected(option)}, got {shown(entry.node)}{hint}"


def _correction(node: Scalar, option: FieldInfo, accepts: Callable[[Any], bool]) -> str:
    """What was probably meant by a value of the wrong type, where that would be accepted."""
    match node.value:
        case None if "none" in choices(option):
            return "; write none"
        case str(text):
            number = _number_in(text)
            return f"; write {number}" if number is not None and accepts(number) else ""
        case float(number) if number.is_integer() and accepts(int(number)):
            return f"; write {int(number)}"
        case bool() | int() | float() if not choices(option) and accepts(node.text):
            return f"; write {node.text!r}, in quotes"
    return ""


def _number_in(text: str) -> int | float | None:
    """The number that a text holds by Python's rules, which take `1_000`, `010` and ` 5 `."""
    for convert in (int, float):
        try:
            return convert(text)
        except ValueError:
            continue
    return None


def _unknown(name: str, path: str, model: type[BaseModel]) -> str:
    return f"unknown key {quoted(_dotted(path, name))}{_instead(name, path, model)}"


def _instead(name: str, path: str, model: type[BaseModel]) -> str:
    known = sections_of()
    section, _, leaf = name.rpartition(".")
    if section and section in known.get(leaf, ()):
        return f"; in a file, write {leaf!r} under {section!r}"
    if name in known:
        places = [repr(place) for place in known[name] if place]
        return f"; {name!r} belongs " + (f"under {listing(places)}" if places else "at the top level")
    here = near(name, list(model.model_fields))
    ours = ALIASES.get(name.lower().rpartition(".")[2].replace("-", "_"))
    if ours is not None and not here:
        return f"; here it is {ours!r}"
    if here:
        return meant(here)
    elsewhere = near(name, [other for other, sections in known.items() if "" not in sections])
    if elsewhere:
        return meant([_dotted(section, other) for other in elsewhere for section in known[other]])
    return f"; {repr(path) if path else 'the top level'} has {listing(list(model.model_fields), 'and')}"


def _dotted(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name
