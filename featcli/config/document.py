"""YAML into nodes, and nothing else: no tags, no aliases, no equal keys, nothing so deep or long that it hurts.

PyYAML's scanner and parser do the reading; its resolver and constructor are not used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import yaml
from yaml.events import AliasEvent, MappingEndEvent, MappingStartEvent, ScalarEvent, SequenceEndEvent, StreamEndEvent

from featcli.config.nodes import Entry, Items, Mark, Node, Pairs, Refused, Scalar, scalar, shown
from featcli.config.words import quoted, shortened

_DEEPEST = 20
_MOST_VALUES = 2_000  # some 50 times a full config; PyYAML takes a second for 10,000


@dataclass(frozen=True, slots=True)
class Document:
    """What was read: the root (None: nothing there, or not YAML), and what is wrong with it, as (position, text)."""

    root: Node | None
    problems: tuple[tuple[Mark, str], ...]


def parse(data: bytes | str, within: str = "") -> Document:
    """Reads one YAML document; never raises.

    Args:
        data: the document, in UTF-8 where it is bytes.
        within: the dotted key that it is the value of, for messages.
    """
    text = _decoded(data)
    if isinstance(text, Document):
        return text
    loader: _Loader | None = None
    try:
        loader = _Loader(text)
        root = loader.document(within)
    except yaml.reader.ReaderError as error:  # of the loader's making: the whole text is looked at first
        return _broken(_mark_at(text, error.position), f"a character that YAML does not allow (U+{_code(error):04X})")
    except yaml.MarkedYAMLError as error:
        problem = (_mark(error.problem_mark or error.context_mark), _said(error))
        return Document(None, (*(loader.problems if loader else ()), problem))
    except (ValueError, OverflowError):  # PyYAML converts `"\UFFFFFFFF"` and `%YAML 1.999...` without looking
        return _broken(_mark(loader.get_mark() if loader else None), "not valid YAML: no such number or character")
    return Document(root, tuple(loader.problems))


class _Loader(yaml.SafeLoader):
    """Takes PyYAML's events and builds nodes; constructs no objects, so that there is nothing to be tricked into."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.problems: list[tuple[Mark, str]] = []
        self._values = 0

    def document(self, within: str) -> Node | None:
        """The one document of the stream, or None where it is empty."""
        self._next()  # the stream's start
        if self.check_event(StreamEndEvent):
            return None
        self._next()  # the document's start
        root = self._node(within, 0)
        self._next()  # the document's end
        if not self.check_event(StreamEndEvent):
            raise _Limit("one document is expected, a second begins here", self._next().start_mark)
        return root

    def _next(self) -> Any:
        take: Callable[[], Any] = self.get_event  # untyped in the stubs
        return take()

    def _node(self, path: str, depth: int) -> Node:
        event = self._next()
        at = _mark(event.start_mark)
        self._count(event, depth)
        if isinstance(event, AliasEvent):
            self.problems.append(
                (at, f"aliases (*{shortened(str(event.anchor))}) are not supported; write the value out")
            )
            return Refused(at)
        node: Node
        if isinstance(event, ScalarEvent):
            node = Scalar(scalar(event.value) if event.implicit[0] else event.value, event.value, at)
        elif isinstance(event, MappingStartEvent):
            node = Pairs(tuple(self._entries(path, depth)), at)
        else:
            node = Items(tuple(self._items(path, depth)), at)
        if event.tag is not None:
            tag = shortened(event.tag.replace("tag:yaml.org,2002:", "!!"))
            self.problems.append((at, f"tags ({tag}) are not supported; write the value without it"))
            return Refused(at)
        return node

    def _items(self, path: str, depth: int) -> Iterator[Node]:
        while not self.check_event(SequenceEndEvent):
            yield self._node(path, depth + 1)
        self._next()

    def _entries(self, path: str, depth: int) -> Iterator[Entry]:
        first: dict[str, Mark] = {}
        while not self.check_event(MappingEndEvent):
            key = self._node(path, depth + 1)
            name = key.text if isinstance(key, Scalar) else ""
            dotted = f"{path}.{name}" if path else name
            node = self._node(dotted, depth + 1)
            if not isinstance(key, Scalar):
                if not isinstance(key, Refused):
                    self.problems.append((key.at, f"a key must be a word, got {shown(key)}"))
                continue
            if name in first:
                self.problems.append((key.at, f"key {quoted(dotted)} is given twice, first at {first[name]}"))
            first.setdefault(name, key.at)
            yield Entry(name, key.at, node)
        self._next()

    def _count(self, event: Any, depth: int) -> None:
        """Stops at what no config needs before it costs time, memory or the interpreter's stack."""
        self._values += 1
        if depth > _DEEPEST:
            raise _Limit(f"nested deeper than {_DEEPEST} levels", event.start_mark)
        if self._values > _MOST_VALUES:
            raise _Limit(f"more than {_MOST_VALUES} keys and values are not a config", event.start_mark)


class _Limit(yaml.MarkedYAMLError):
    """Well-formed YAML that goes further than a config may."""

    def __init__(self, problem: str, mark: Any) -> None:
        super().__init__(problem=problem, problem_mark=mark)


def _decoded(data: bytes | str) -> str | Document:
    if isinstance(data, str):
        return data
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8")
        utf16 = data.startswith((b"\xff\xfe", b"\xfe\xff"))
        what = "UTF-16, not UTF-8; save it as UTF-8" if utf16 else f"not UTF-8 text (byte 0x{data[error.start]:02x})"
        return _broken(_mark_at(before, len(before)), what)


def _broken(at: Mark, text: str) -> Document:
    return Document(None, ((at, text),))


def _mark(mark: Any) -> Mark:
    return Mark(mark.line + 1, mark.column + 1) if mark is not None else Mark(1, 1)


def _mark_at(text: str, index: int) -> Mark:
    before = text[:index].replace("\r\n", "\n").replace("\r", "\n")
    return Mark(before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1)


def _code(error: yaml.reader.ReaderError) -> int:
    return error.character if isinstance(error.character, int) else ord(error.character)


def _said(error: yaml.MarkedYAMLError) -> str:
    """PyYAML's problem in one line."""
    problem = " ".join(str(error.problem or error.context or "unreadable").split())
    if isinstance(error, _Limit):
        return problem
    if r"'\t'" in problem:
        return "not valid YAML: a tab; indent with spaces"
    if "escape" in problem:
        return (
            r"not valid YAML: in double quotes, \ begins an escape; write '...' in single quotes, or / for \ in a path"
        )
    context = " ".join(str(error.context or "").split()) if error.problem else ""
    started = f" {context} (from {_mark(error.context_mark)})" if context and error.context_mark else f" {context}"
    return f"not valid YAML: {problem}{started.rstrip()}"
