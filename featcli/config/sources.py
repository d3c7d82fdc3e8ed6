"""Where options come from: a file, `--set`, flags. Each becomes a mapping of nodes that can name its places."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from featcli.config.nodes import Entry, Items, Mark, Node, Pairs, Refused, Scalar, shown
from featcli.config.words import shortened
from featcli.text import meant, near

_LARGEST = 1_000_000
_START = Mark(1, 1)
_FILE = 0  # the rank of the config file; those of the command line follow


@dataclass(frozen=True, slots=True)
class Place:
    """Where a value was given.

    Args:
        where: `cats.yaml:7:9`, `--set`, `--device`.
        prefix: begins a message about it; as `where`, but a `--set` is there in full.
        order: sorts messages as the user reads: the file from top to bottom, then the command line from left to right.
        folder: what relative paths are relative to.
        key: the key that the prefix names already.
    """

    where: str
    prefix: str
    order: tuple[int, Mark]
    folder: str
    key: str = ""

    @property
    def in_file(self) -> bool:
        """Whether it is in the config file, and not on the command line."""
        return self.order[0] == _FILE

    def message(self, text: str, key: str = "") -> str:
        """One line: the place, the key unless the place says it, the text."""
        return ": ".join(filter(None, [self.prefix, key if key != self.key else "", text]))


@dataclass(frozen=True, slots=True)
class Problem:
    """One line of an error, its place, the option whose value is wrong (none: something else is), and the next step."""

    place: Place
    text: str
    key: str = ""
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """One source of options: its content (None: nothing, or nothing that can be used), and how to name its places."""

    rank: int
    where: str
    prefix: str
    folder: str
    key: str = ""
    content: Pairs | None = None
    problems: tuple[Problem, ...] = ()
    in_file: bool = False

    def place(self, at: Mark) -> Place:
        """The place of a position within this source."""
        if self.in_file:
            return Place(f"{self.where}:{at}", f"{self.prefix}:{at}", (self.rank, at), self.folder)
        return Place(self.where, self.prefix, (self.rank, at), self.folder, self.key)

    def holding(self, content: Pairs | None, problems: tuple[tuple[Mark, str], ...] = ()) -> Source:
        """The same source with what was read from it."""
        found = tuple(Problem(self.place(at), self.place(at).message(text)) for at, text in problems)
        return Source(self.rank, self.where, self.prefix, self.folder, self.key, content, found, self.in_file)


def from_file(name: str, cwd: str) -> Source:
    """Reads a config file; what is wrong with it is among the source's problems."""
    folder = os.path.normpath(os.path.join(cwd, os.path.dirname(name)))
    source = Source(_FILE, name, name, folder, in_file=True)
    data = _read(name)
    if isinstance(data, str):
        place = Place(name, name, (0, _START), folder)
        return Source(0, name, name, folder, problems=(Problem(place, place.message(data)),), in_file=True)
    from featcli.config.document import parse  # PyYAML takes a while, and many calls have no file

    document = parse(data)
    match document.root:
        case Pairs() as content:
            return source.holding(content, document.problems)
        case None | Refused() | Scalar(value=None):
            return source.holding(None, document.problems)
        case other:
            what = f"expected sections such as 'data:' and 'backbone:', got {shown(other)}"
            return source.holding(None, (*document.problems, (other.at, what)))


def from_set(argument: str, rank: int, cwd: str) -> Source:
    """Reads one `--set key.path=value`; the value is YAML, so that a list or a mapping can be given."""
    key, equals, value = argument.partition("=")
    key = key.strip()
    source = Source(rank, "--set", f"--set {shortened(argument)}", cwd, key)
    if not equals or not all(key.split(".")):
        return source.holding(None, ((_START, "expected key=value, as in --set head.C=0.1"),))
    return _parsed(source, key, value)


def from_short_flag(flag: str, key: str, text: str, rank: int, cwd: str) -> Source:
    """Reads a flag that is another spelling of a `--set`; its value is YAML too."""
    return _parsed(Source(rank, flag, f"{flag} {shortened(text)}", cwd, key), key, text)


def _parsed(source: Source, key: str, text: str) -> Source:
    from featcli.config.document import Document, parse

    document = parse(text, within=key)
    if isinstance(document.root, Scalar) and " #" in text and text.lstrip()[:1] not in ("'", '"'):
        document = Document(Scalar(text, text, _START), ())  # a comment would mean nothing here
    setting = f"{shortened(key)}=" if source.where == "--set" else ""
    if document.problems and any(text.count(left) > text.count(right) for left, right in ("[]", "{}")):
        said = f"not closed; for the shell, what holds spaces needs quotes, as in {source.where} {setting}'[0.1, 1]'"
        return source.holding(None, ((_START, said),))
    if document.root is None and document.problems and text.lstrip()[:1] in ("[", "{"):
        at, problem = document.problems[-1]
        typed = f"{source.where} '{setting}{json.dumps(text)}'"
        return source.holding(None, ((at, f"{problem}; to mean the text as it is, quote it: {typed}"),))
    node = Scalar(None, "", _START) if document.root is None and not document.problems else document.root
    return source.holding(_nest(key, node) if node else None, document.problems)


def from_flag(spelling: str, key: str, value: Any, rank: int, cwd: str) -> Source:
    """Takes the value of a flag such as `--device`, converted by the command line already."""
    return Source(rank, spelling, spelling, cwd, key).holding(_nest(key, _node(value)))


def _nest(key: str, node: Node) -> Pairs:
    """`a.b` and a value as the mapping {a: {b: value}}."""
    first, _, rest = key.partition(".")
    return Pairs((Entry(first, _START, _nest(rest, node) if rest else node),), _START)


def _node(value: Any) -> Node:
    if isinstance(value, Mapping):
        return Pairs(tuple(Entry(str(key), _START, _node(item)) for key, item in value.items()), _START)
    if isinstance(value, list | tuple):
        return Items(tuple(map(_node, value)), _START)
    value = os.fspath(value) if isinstance(value, os.PathLike) else value
    return Scalar(value, str(value), _START)


def _read(name: str) -> bytes | str:
    """The content of a file, or what is wrong with it."""
    try:
        with open(name, "rb") as file:
            data = file.read(_LARGEST + 1)
    except IsADirectoryError:
        near_it = _near_files(os.path.join(name, "config.yaml"))
        return f"a folder, not a config file{near_it or '; a folder of images stands without --config'}"
    except (FileNotFoundError, NotADirectoryError):
        return f"no such file{_near_files(name)}"
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        return f"cannot be read: {getattr(error, 'strerror', None) or error}"
    return data if len(data) <= _LARGEST else "larger than 1 MB, which no config is"


def _near_files(name: str) -> str:
    """`; did you mean 'configs/cats.yaml'?` where the folder has a config of a similar name."""
    folder, base = os.path.split(name)
    try:
        there = sorted(entry for entry in os.listdir(folder or ".") if entry.endswith((".yaml", ".yml")))
    except (OSError, ValueError):
        return ""
    stems = {os.path.splitext(entry)[0].lower(): entry for entry in reversed(there)}
    similar = near(os.path.splitext(base)[0].lower(), list(stems))
    return meant([os.path.join(folder, stems[stem]) for stem in similar])
