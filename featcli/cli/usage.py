"""What a command line that cannot be understood is answered: what is wrong, the nearest that exists, the next step.

typer's own answer is a box of another shape than every other error; here all have one.
"""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

import typer
from typer.main import get_command

from featcli.cli import help_text
from featcli.config.aliases import ALIASES
from featcli.config.short_flags import SHORT_FLAGS
from featcli.errors import FeatcliError, UsageError
from featcli.text import clipped, did_you_mean, listing, meant, near, printable

# Not exported by typer, whose later releases bring click along under a name of their own.
_TyperError: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "UsageError")

_LONGEST = 40
_FLAGS = {flag.key: flag.flag.removeprefix("--") for flag in SHORT_FLAGS}
_WIDTH = 80
_COMPLETION = ("install-completion", "show-completion")  # typer's own flags, which other tools have
_COMMAND_ALIASES = {"fit": "train-head", "test": "evaluate", "fine-tune": "finetune", "features": "extract"}
_VERSION = ("-V", "version")
_FORMATS = ("csv", "jsonl", "parquet", "table")  # of rows, which other tools have as flags

Commands: TypeAlias = Mapping[str, Any]


class Group(help_text.Group):
    """Commands of which a mistyped one is answered as every other error is."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """As typer's, but for an unknown name."""
        word = args[0]
        if self.get_command(ctx, word) is None and not word.startswith("-"):
            raise _no_such_command(word, ctx.command_path, self.commands)
        return super().resolve_command(ctx, args)


def run(app: typer.Typer, arguments: list[str] | None = None) -> int:
    """Runs a command line, the process's own by default.

    Returns:
        Its exit code.
    """
    words = sys.argv[1:] if arguments is None else arguments
    group: Any = get_command(app)
    try:
        code = group.main(words, prog_name="featcli", standalone_mode=False)
    except _TyperError as error:
        return _answer(_from_typer(error, group, words))
    except FeatcliError as error:
        return _answer(error)
    return code if isinstance(code, int) else 0


def _answer(error: FeatcliError) -> int:
    if error.message:
        from featcli.console import Terminal

        Terminal().error(error)
    return error.exit_code


def _no_such_command(word: str, path: str, commands: Commands) -> UsageError:
    said = did_you_mean(word, commands) or did_you_mean(_COMMAND_ALIASES.get(word.lower(), word), commands)
    message = f"no such command {_quoted(word)}"
    if word in _VERSION:
        said = meant(["--version"])
    if not said and path == "featcli" and os.path.exists(word):
        return UsageError(message, f"A command comes first: featcli train-head {clipped(word, _LONGEST)}")
    return _with_nearest(message, said, f"{path} --help lists the commands.")


def _from_typer(error: Any, group: Any, words: list[str]) -> UsageError:
    """An error of typer's parser in our words, which do not depend on its release."""
    kind = type(error).__name__
    if kind == "NoArgsIsHelpError":  # the help was printed when it was made
        return UsageError("")
    path, command = _command_of(group, words)
    hint = f"{path} --help lists what it takes."
    if kind == "NoSuchOption":
        named = next((word for word in words if word.startswith(error.option_name) and os.path.lexists(word)), None)
        if named is not None:
            said = clipped(shlex.quote(f"./{named}"), _LONGEST)
            return UsageError(f"no such flag {_quoted(error.option_name)}", f"To name the file or folder: {said}")
        return _no_such_flag(error.option_name, path, command, group)
    if kind == "MissingParameter":
        said = f": {_as_clause(error.param.help)}" if getattr(error.param, "help", None) else ""
        return UsageError(f"{_name(error)} is missing{said}", hint)
    if kind == "BadOptionUsage":
        return UsageError(_misused(error.option_name, command), hint)
    if isinstance(error, typer.BadParameter):
        return UsageError(f"{_name(error)}: {_refusal(error)}", hint)
    said = printable(error.format_message())
    extra = re.search(r"unexpected extra arguments?(?:\(s\))? \((.*)\)", said)
    return UsageError(f"unexpected argument {_quoted(extra[1])}" if extra else _as_clause(said), hint)


def _command_of(group: Any, words: Sequence[str]) -> tuple[str, Any]:
    """The command that a line names: its words, and itself. Errors of the parser do not always know."""
    path, command = "featcli", group
    for word in words:
        inner = getattr(command, "commands", {}).get(word)
        if inner is not None:
            path, command = f"{path} {word}", inner
        elif not word.startswith("-"):
            break
    return path, command


def _name(error: Any) -> str:
    """The parameter that an error is about, as it is typed."""
    if error.param_hint:
        return str(error.param_hint)
    if error.param.param_type_name == "option":
        return str(max(error.param.opts, key=len))
    return str(error.param.metavar or error.param.name.upper())


def _refusal(error: Any) -> str:
    """Why a value was refused. Where typer leaves it to pydantic, the value would not be named."""
    reasons = getattr(error.__cause__, "errors", None)
    if reasons is None:
        return printable(error.message).rstrip(".")
    first = reasons()[0]
    bounds = first.get("ctx", {})
    words = {"ge": "of at least", "gt": "above", "le": "of at most", "lt": "below"}
    wanted = [
        f"{'an integer' if isinstance(bounds[name], int) else 'a number'} {said} {bounds[name]:g}"
        for name, said in words.items()
        if name in bounds
    ]
    kinds = {"int_parsing": "an integer", "float_parsing": "a number"}
    wanted += [said for kind, said in kinds.items() if first["type"] == kind]
    return f"expected {wanted[0]}, got {_quoted(str(first['input']))}" if wanted else _as_clause(first["msg"])


def _misused(flag: str, command: Any) -> str:
    found = next((parameter for parameter in command.params if flag in parameter.opts), None)
    if found is None:
        return f"{flag} cannot be used like that"
    return f"{flag} takes no value" if found.is_flag else f"{flag} needs a value: {flag} {found.metavar or 'VALUE'}"


def _no_such_flag(flag: str, path: str, command: Any, group: Any) -> UsageError:
    message, hint = f"no such flag {_quoted(flag)}", f"{path} --help lists its flags."
    if flag.lstrip("-") in _COMPLETION:
        return UsageError(message, "featcli completion --help says how to complete in a shell.")
    return _with_nearest(message, _nearest_flag(flag, command, group), hint)


def _with_nearest(message: str, nearest: str, hint: str) -> UsageError:
    """What was probably meant goes on the same line, where a narrow terminal has room for it."""
    if not nearest or len(f"error: {message}{nearest}") <= _WIDTH:
        return UsageError(message + nearest, hint)
    words = nearest.removeprefix("; ")
    return UsageError(message, f"{words[:1].upper()}{words[1:]}\n{hint}")


def _nearest_flag(flag: str, command: Any, group: Any) -> str:
    """What was probably meant: a flag of the command, a key of the config, a flag of other commands."""
    word = flag.removeprefix("--")
    if word == flag:
        return meant(["--version"]) if flag in _VERSION else ""
    flags = [name[2:] for parameter in command.params for name in parameter.opts if name.startswith("--")] + ["help"]
    if word in _FORMATS and "format" in flags:
        return meant([f"--format {word}"])
    key = ALIASES.get(word.replace("-", "_"), word)
    wanted = _FLAGS.get(key, key).rpartition(".")[2].replace("_", "-")
    if wanted in flags:
        return meant([f"--{wanted}"])
    keys = _keys() if "set" in flags else {}
    exact = keys.get(wanted, [])
    similar = near(word, flags)
    if similar and not exact:
        return meant([f"--{name}" for name in similar])
    settings = exact or [key for name in near(wanted, list(keys))[:1] for key in keys[name]]
    if settings:
        return f"; did you mean {listing([f'--set {key}=...' for key in settings])}?"
    others = sorted(name for name, known in _flags_of(group) if f"--{wanted}" in known)
    return f"; {listing(others[:3], 'and')} {'has' if len(others) == 1 else 'have'} it" if others else ""


def _keys() -> dict[str, list[str]]:
    """Keys of the config by their last part, and whole, spelled as flags are."""
    from featcli.config.check import sections_of

    keys = {
        name.replace("_", "-"): [f"{section}.{name}" for section in sections if section]
        for name, sections in sections_of().items()
    }
    whole = {key.replace("_", "-"): [key] for places in keys.values() for key in places}
    return {name: places for name, places in keys.items() if places} | whole | {"backbone": ["backbone.name"]}


def _flags_of(group: Any, path: str = "") -> Iterator[tuple[str, set[str]]]:
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from _flags_of(command, f"{path}{name} ")
        else:
            yield f"{path}{name}", {flag for parameter in command.params for flag in parameter.opts}


def _quoted(text: str) -> str:
    return f"'{clipped(text, _LONGEST)}'"


def _as_clause(text: str) -> str:
    begins = text[:1] if text[1:2].isupper() else text[:1].lower()  # JSON stays JSON
    return begins + text[1:].rstrip(".")
