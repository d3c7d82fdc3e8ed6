"""YAML values that know where they stand, and what a plain word in YAML means here.

YAML 1.1, and with it PyYAML 6, reads `1e-3` as a text, `on` as true, `01:30` as 90 and `010` as 8. Here a plain scalar
is null, a boolean (true, false), a decimal number, or the text that it is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, TypeAlias

from featcli.config.words import quoted, shortened

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]{0,299})", re.ASCII)  # bounded: Python refuses to convert 4,300 digits
_FLOAT = re.compile(r"[-+]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)", re.ASCII)
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]+")


@dataclass(frozen=True, slots=True, order=True)
class Mark:
    """A position, counted from 1."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value, and its text as written."""

    value: str | float | int | bool | None
    text: str
    at: Mark


@dataclass(frozen=True, slots=True)
class Items:
    """A list."""

    nodes: tuple[Node, ...]
    at: Mark


@dataclass(frozen=True, slots=True)
class Entry:
    """One `key: value`."""

    key: str
    at: Mark
    node: Node


@dataclass(frozen=True, slots=True)
class Pairs:
    """A mapping; equal keys are all there, and reported."""

    entries: tuple[Entry, ...]
    at: Mark


@dataclass(frozen=True, slots=True)
class Refused:
    """Something that was reported already: no further message about it."""

    at: Mark


Node: TypeAlias = Scalar | Items | Pairs | Refused


def scalar(text: str) -> str | float | int | bool | None:
    """The value of a plain (unquoted) scalar."""
    if text in _NULLS:
        return None
    if text in _BOOLEANS:
        return _BOOLEANS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _FLOAT.fullmatch(text) and not _LEADING_ZERO.fullmatch(text):
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


def plain(node: Node) -> Any:
    """The Python value of a node; lists become tuples."""
    match node:
        case Scalar(value=value):
            return value
        case Items(nodes=nodes):
            return tuple(plain(item) for item in nodes)
        case Pairs(entries=entries):
            return {entry.key: plain(entry.node) for entry in entries}
    return None


def has_refused(node: Node) -> bool:
    """Whether something in this value was reported already."""
    match node:
        case Items(nodes=nodes):
            return any(map(has_refused, nodes))
        case Pairs(entries=entries):
            return any(has_refused(entry.node) for entry in entries)
    return isinstance(node, Refused)


def shown(node: Node) -> str:
    """A value as a message shows it: texts in quotes, the rest as written."""
    match node:
        case Scalar(value=str(text)):
            return quoted(text)
        case Scalar(text=text):
            return shortened(text) if text else "nothing"
        case Items(nodes=nodes):
            return shortened(f"[{', '.join(map(shown, nodes))}]")
        case Pairs(entries=entries):
            return shortened(f"{{{', '.join(f'{entry.key}: {shown(entry.node)}' for entry in entries)}}}")
    return "nothing"
