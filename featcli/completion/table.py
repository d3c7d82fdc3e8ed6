"""The table that completion reads: commands with their flags, keys of the config, backbones with their stages."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

TABLE = Path(__file__).with_name("table.json")  # written by scripts/docs.py


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag of a command.

    Attributes:
        names: as they are typed, the long one first.
        value: how its value is completed, as `Command.arguments`; None: it takes none.
        repeatable: whether it may be given again.
        help: one line.
    """

    names: tuple[str, ...]
    value: str | None
    repeatable: bool
    help: str


@dataclass(frozen=True, slots=True)
class Command:
    """A command, or a group of commands.

    Attributes:
        help: one line.
        flags: in the order of the help.
        arguments: how each positional argument is completed: `nothing`, `file`, `folder`, `yaml`, `commands`,
            `setting` (KEY=VALUE), `key KEY` (a value of that key) or `words A B`. One that ends in `...` stands for all
            that follow.
        commands: of a group, by name.
    """

    help: str
    flags: tuple[Flag, ...]
    arguments: tuple[str, ...]
    commands: dict[str, Command] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Key:
    """A key of the config: its words, the path that it may be (`file`, `folder` or empty), its help in one line."""

    words: tuple[str, ...]
    path: str
    help: str


@dataclass(frozen=True, slots=True)
class Table:
    """All of it.

    Attributes:
        root: `featcli` itself.
        keys: by their dotted names.
        stages: of each backbone, from input to output.
    """

    root: Command
    keys: dict[str, Key]
    stages: dict[str, tuple[str, ...]]


def read_table() -> Table:
    """Reads what `as_json` wrote."""
    found = json.loads(TABLE.read_text("utf-8"))
    keys = {name: Key(tuple(words), path, help) for name, (words, path, help) in found["keys"].items()}
    stages = {name: tuple(line.split()) for line, names in found["stages"].items() for name in names.split()}
    return Table(_command(found["root"]), keys, stages)


def _command(found: Any) -> Command:
    flags = (Flag(tuple(names), value, repeatable, help) for names, value, repeatable, help in found["flags"])
    commands = {name: _command(inner) for name, inner in found["commands"].items()}
    return Command(found["help"], tuple(flags), tuple(found["arguments"]), commands)


def as_json(table: Table) -> str:
    """The table as a file; backbones of equal stages share a line."""
    together: dict[str, list[str]] = {}
    for name, stages in table.stages.items():
        together.setdefault(" ".join(stages), []).append(name)
    content = {
        "generated": "by scripts/docs.py; `make docs` writes it again",
        "root": _plain(table.root),
        "keys": {name: [key.words, key.path, key.help] for name, key in table.keys.items()},
        "stages": {stages: " ".join(names) for stages, names in together.items()},
    }
    return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def _plain(command: Command) -> dict[str, Any]:
    return {
        "help": command.help,
        "flags": [[flag.names, flag.value, flag.repeatable, flag.help] for flag in command.flags],
        "arguments": command.arguments,
        "commands": {name: _plain(inner) for name, inner in command.commands.items()},
    }
