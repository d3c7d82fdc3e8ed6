"""How each parameter of the command line is completed: the table that `featcli.completion` reads, out of the app.

A flag that stands for a key of the config is completed as that key. A parameter of which nothing is known is an error,
which `make docs` and the tests show: it wants a line here.
"""

from __future__ import annotations

from pathlib import Path
from types import NoneType
from typing import Any

from typer.main import get_command

from featcli.cli.root import app
from featcli.completion.scripts import SCRIPTS
from featcli.completion.table import Command, Flag, Key, Table
from featcli.config import Config
from featcli.config.check import is_section, options, sections_of
from featcli.config.known_backbones import STAGES
from featcli.config.words import accepts, choices

# By the flag, or the flag or argument of one command.
_KINDS = {
    "--backbone": "key backbone.name",
    "--config": "yaml",
    "--for": "words train-head finetune",
    "--head": "key head.kind",
    "--set": "setting",
    "cache merge DIR...": "folder",
    "completion SHELL": f"words {' '.join(SCRIPTS)}",
    "export --form": "words exact whole",
    "export --format": "words onnx openvino torch",
    "extract --format": "words npz npy safetensors csv parquet",
    "help COMMAND": "commands",
    "init DATA_DIR": "folder",
    "models NAME": "key backbone.name",
    "predict --format": "words jsonl csv table parquet",
}
_BY_METAVAR = {"FILE": "file", "DIR": "folder"}
_PLAIN = ("N", "K", "X", "P", "30d", "5GB")  # metavars of what nobody can know
_FOLDERS = ("data.root", "output")
_FILES = ("backbone.weights",)  # beside those that are paths and nothing else


def completion_table() -> Table:
    """Commands, keys and backbones as they are."""
    group: Any = get_command(app)
    keys = {f"{section}.{name}".removeprefix("."): option for section, name, option in options(Config)}
    return Table(
        root=_command(group, ""),
        keys={name: _key(name, option) for name, option in keys.items() if not is_section(option)},
        stages=dict(STAGES),
    )


def _command(command: Any, path: str) -> Command:
    parameters = [parameter for parameter in command.params if not getattr(parameter, "hidden", False)]
    flags = [_flag(parameter, path) for parameter in parameters if parameter.param_type_name == "option"]
    return Command(
        help=_first_line(command.help),
        flags=(*flags, Flag(("--help", "-h"), None, False, "Show this message and exit.")),
        arguments=tuple(
            _argument(parameter, path) for parameter in parameters if parameter.param_type_name == "argument"
        ),
        commands={
            name: _command(inner, f"{path} {name}".lstrip()) for name, inner in getattr(command, "commands", {}).items()
        },
    )


def _flag(parameter: Any, path: str) -> Flag:
    names = tuple(sorted(parameter.opts, key=len, reverse=True))
    value = None if parameter.is_flag else _kind(names[0], path, parameter.metavar)
    return Flag(names, value, bool(parameter.multiple), _first_line(parameter.help))


def _kind(name: str, path: str, metavar: str | None) -> str:
    known = _KINDS.get(f"{path} {name}") or _KINDS.get(name) or _BY_METAVAR.get(metavar or "")
    if known is not None:
        return known
    leaf = name.removeprefix("--").replace("-", "_")
    sections = sections_of().get(leaf, ())
    if len(sections) == 1:
        return f"key {'.'.join(filter(None, [sections[0], leaf]))}"
    if metavar not in _PLAIN:
        raise ValueError(f"featcli/cli/completing.py does not say how {path} {name} {metavar} is completed")
    return "nothing"


def _argument(parameter: Any, path: str) -> str:
    name = parameter.metavar or parameter.name.upper()
    return _KINDS.get(f"{path} {name}", "file") + ("..." if parameter.nargs == -1 else "")


def _key(name: str, option: Any) -> Key:
    words = list(choices(option))
    words += [option.default] if isinstance(option.default, str) else []
    words += ["true", "false"] if accepts(option, bool) else []
    path = "folder" if name in _FOLDERS else "file" if accepts(option, Path) or name in _FILES else ""
    if words and accepts(option, NoneType):  # alone it would be typed in without being asked for
        words += ["null"]
    return Key(tuple(dict.fromkeys(words)), path, _first_line(option.description))


def _first_line(text: str | None) -> str:
    return " ".join((text or "").strip().split("\n\n")[0].split())
