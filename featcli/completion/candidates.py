"""What may stand in the place of a word that is being typed, given the words before it."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from featcli.completion.table import Command, Flag, Table

_LARGEST = 1_000_000  # bytes of a config that is looked into


@dataclass(frozen=True, slots=True)
class Candidates:
    """What may stand there.

    Attributes:
        words: whole words, each with its help in one line, or an empty one.
        path: whether a path may stand there too, which the shell knows better: `file`, `folder`, `yaml` or empty.
        before: the part of the word that stands before the path: `data.root=`.
    """

    words: tuple[tuple[str, str], ...] = ()
    path: str = ""
    before: str = ""


def candidates(table: Table, words: Sequence[str], word: str) -> Candidates:
    """What may stand in the place of a word.

    Args:
        table: of commands and keys.
        words: those before it, without `featcli` itself.
        word: what is there of it.
    """
    line = _Line(table.root)
    for given in words:
        line.take(given)
    found = _Finder(table, line).at(word)
    return Candidates(tuple(item for item in found.words if item[0].startswith(word)), found.path, found.before)


@dataclass(slots=True)
class _Line:
    """The words before, by what they are."""

    command: Command
    is_known: bool = True
    given: list[tuple[str, str]] = field(default_factory=list)  # long names of flags, and their values
    waiting: Flag | None = None  # for its value
    arguments: list[str] = field(default_factory=list)
    only_arguments: bool = False

    def flag(self, name: str) -> Flag | None:
        return next((flag for flag in self.command.flags if name in flag.names), None)

    def take(self, word: str) -> None:
        if self.waiting is not None:
            self.given.append((self.waiting.names[0], word))
            self.waiting = None
        elif word == "--" and not self.only_arguments:
            self.only_arguments = True
        elif word.startswith("-") and len(word) > 1 and not self.only_arguments:
            name, equals, value = word.partition("=")
            waits = self._take_flags([name] if word.startswith("--") else [f"-{letter}" for letter in name[1:]])
            if equals and waits:
                self.take(value)
        elif self.command.commands:
            self.is_known = self.is_known and word in self.command.commands
            self.command = self.command.commands.get(word, self.command)
        else:
            self.arguments.append(word)

    def _take_flags(self, names: Sequence[str]) -> bool:
        """Whether the last of them waits for its value."""
        for name in names:
            flag = self.flag(name)
            if flag is None:
                continue
            if flag.value is not None:
                self.waiting = flag
                return True
            self.given.append((flag.names[0], ""))
        return False


@dataclass(frozen=True, slots=True)
class _Finder:
    table: Table
    line: _Line

    def at(self, word: str) -> Candidates:
        line = self.line
        if not line.is_known:
            return Candidates()
        if line.waiting is not None:
            return self._value(line.waiting.value or "", word)
        if word.startswith("-") and word != "-" and not line.only_arguments:
            name, equals, value = word.partition("=")
            flag = line.flag(name)
            if not equals:
                return Candidates(tuple(self._flags()))
            return _behind(f"{name}=", self._value(flag.value, value)) if flag and flag.value else Candidates()
        if line.command.commands:
            return Candidates(tuple((name, inner.help) for name, inner in line.command.commands.items()))
        kind = self._argument()
        if kind is None or word == "-":
            return Candidates(tuple(self._flags()))
        return self._value(kind, word)

    def _flags(self) -> Iterator[tuple[str, str]]:
        given = {name for name, _ in self.line.given}
        for flag in self.line.command.flags:
            if flag.repeatable or flag.names[0] not in given:
                yield flag.names[0], flag.help

    def _argument(self) -> str | None:
        kinds, taken = self.line.command.arguments, len(self.line.arguments)
        if taken < len(kinds):
            return kinds[taken].removesuffix("...")
        return kinds[-1].removesuffix("...") if kinds and kinds[-1].endswith("...") else None

    def _value(self, kind: str, word: str) -> Candidates:
        name, _, rest = kind.partition(" ")
        match name:
            case "words":
                return Candidates(tuple((item, "") for item in rest.split()))
            case "key":
                return self._of_key(rest)
            case "setting":
                return self._setting(word)
            case "commands":
                return self._commands()
            case "file" | "folder" | "yaml":
                return Candidates(path=name)
        return Candidates()

    def _setting(self, word: str) -> Candidates:
        key, equals, _ = word.partition("=")
        if equals:
            return _behind(f"{key}=", self._of_key(key))
        return Candidates(tuple((f"{name}=", key.help) for name, key in self.table.keys.items()))

    def _of_key(self, name: str) -> Candidates:
        key = self.table.keys.get(name)
        if key is None:
            return Candidates()
        words = [(word, "") for word in key.words]
        if name == "backbone.name":
            words += [(backbone, "") for backbone in self.table.stages]
        elif name in ("backbone.layer", "backbone.freeze_depth"):
            stages = self.table.stages.get(self._backbone(), ())
            words += [(stage, f"stage {place} of {len(stages)}") for place, stage in enumerate(stages, 1)]
        return Candidates(tuple(words), key.path)

    def _commands(self) -> Candidates:
        command = self.table.root
        for word in self.line.arguments:
            command = command.commands.get(word, Command("", (), ()))
        return Candidates(tuple((name, inner.help) for name, inner in command.commands.items()))

    def _backbone(self) -> str:
        """The backbone that the line names: a flag beats `--set`, which beats the file."""
        flags, settings, config = "", "", ""
        for name, value in self.line.given:
            flag = self.line.flag(name)
            kind = flag.value if flag else None
            if kind == "key backbone.name":
                flags = value
            elif kind == "setting" and value.startswith("backbone.name="):
                settings = value.partition("=")[2]
            elif kind == "yaml":
                config = value
        files = [config, *(word for word in self.line.arguments if word.endswith((".yaml", ".yml")))]
        return flags or settings or next(filter(None, map(_backbone_in, filter(None, files))), "")


def _behind(before: str, found: Candidates) -> Candidates:
    words = tuple((f"{before}{word}", help) for word, help in found.words)
    return Candidates(words, found.path, f"{before}{found.before}")


def _backbone_in(config: str) -> str:
    """`backbone.name` of a config, found without reading YAML by its rules: a slip costs a suggestion."""
    try:
        path = os.path.expanduser(config)
        if not stat.S_ISREG(os.stat(path).st_mode):  # a pipe would be read by nobody else
            return ""
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read(_LARGEST)
    except (OSError, ValueError):
        return ""
    lines = "\n".join(line for line in text.splitlines() if not re.match(r"\s*(#|$)", line))
    section = re.search(r"""^["']?backbone["']?\s*:(.*(?:\n[ \t].*)*)""", lines, re.MULTILINE)
    name = re.search(r"""(?:^|[\s{,])["']?name["']?\s*:\s*["']?([\w.-]+)""", section[1]) if section else None
    return name[1] if name else ""
