"""Help as plain lines in the columns of the terminal: no word is broken, and a pipe gets 80 columns.

Not the panels of typer: they break words in narrow terminals, name Python types, and change with its releases.
"""

from __future__ import annotations

import inspect
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from typing import Any

import typer
import typer.core

from featcli.lines import wrapped
from featcli.text import columns

_WIDEST = 100  # columns: longer lines are hard to read
_LEFT = 30  # columns at most of what is explained; the explanation of longer ones is below
_BESIDE = 30  # columns at least of an explanation, else it is below too
_OTHER = "Other"


class Command(typer.core.TyperCommand):
    """A command whose help is laid out here."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Writes the help."""
        formatter.write(help_text(self, ctx, _width()))


class Group(typer.core.TyperGroup):
    """A group of commands whose help is laid out here, also where no command is named."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Writes the help instead, and exits with 2, where there is nothing to parse."""
        if not args and self.no_args_is_help and not ctx.resilient_parsing:
            typer.echo(self.get_help(ctx))
            raise typer.Exit(2)
        return list(super().parse_args(ctx, args))

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Writes the help."""
        formatter.write(help_text(self, ctx, _width()))


def help_text(command: Any, context: Any, width: int) -> str:
    """Usage, what the command does, its arguments, its options by panel, its commands.

    Args:
        command: of typer.
        context: of the call.
        width: columns of a line.
    """
    arguments = [item for item in command.params if item.param_type_name == "argument"]
    words = [context.command_path, "[OPTIONS]", *map(_usage, arguments)]
    if hasattr(command, "commands"):
        words.append("COMMAND")
    lines = wrapped(f"Usage: {' '.join(words)}", width, 4)
    for paragraph in inspect.cleandoc(command.help or "").split("\n\n"):
        lines += ["", *wrapped(" ".join(paragraph.split()), width, 0)]
    for title, rows in _sections(command, arguments):
        lines += ["", _bold(title), *_explained(rows, width)]
    for line in (command.epilog or "").splitlines():
        lines += ["", *wrapped(line, width, 0)]
    return "\n".join(lines) + "\n"


def _sections(command: Any, arguments: Sequence[Any]) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    if arguments:
        yield "Arguments", [(_name(item), item.help or "") for item in arguments]
    if hasattr(command, "commands"):
        shown = {name: inner for name, inner in command.commands.items() if not inner.hidden}
        yield "Commands", [(name, " ".join(_first(inner).split())) for name, inner in shown.items()]
    panels: dict[str, list[tuple[str, str]]] = {}
    for item in command.params:
        if item.param_type_name == "option" and not item.hidden:
            panel = getattr(item, "rich_help_panel", None) or _OTHER
            panels.setdefault(panel, []).append((_flags(item), f"{item.help or ''}{_default(item)}"))
    panels.setdefault(_OTHER, []).append(("-h, --help", "Show this message and exit."))
    panels[_OTHER] = panels.pop(_OTHER)  # the last
    yield from panels.items()


def _first(command: Any) -> str:
    return inspect.cleandoc(command.help or "").split("\n\n")[0]


def _explained(rows: Sequence[tuple[str, str]], width: int) -> list[str]:
    """What is explained on the left, the explanation beside it, or below where it would be too narrow."""
    left = max((columns(name) for name, _ in rows if columns(name) <= _LEFT), default=0) + 4
    below = width - left < _BESIDE
    lines = []
    for name, text in rows:
        if below or columns(name) > left - 4:
            lines += [f"  {name.strip()}", *wrapped(" " * (6 if below else left) + text, width, 6 if below else left)]
        else:
            lines += wrapped(f"  {name}{' ' * (left - 2 - columns(name))}{text}", width, left)
    return [line for line in lines if line.strip()]


def _flags(option: Any) -> str:
    """`-c, --config FILE`."""
    names = sorted([*option.opts, *option.secondary_opts], key=lambda name: (name.startswith("--"), name))
    flags = ("    " if names[0].startswith("--") else "") + ", ".join(names)
    return flags if option.is_flag else f"{flags} {option.metavar or option.name.upper()}"


def _default(option: Any) -> str:
    shown = option.default not in (None, False, 0, ())
    return f" Default: {option.default}." if shown and not callable(option.default) else ""


def _name(argument: Any) -> str:
    return (
        str(argument.metavar) if argument.metavar else argument.name.upper() + ("..." if argument.nargs == -1 else "")
    )


def _usage(argument: Any) -> str:
    name = _name(argument)
    return name if argument.required or argument.metavar else f"[{name}]"


def _width() -> int:
    return min(max(shutil.get_terminal_size().columns, 1), _WIDEST)


def _bold(title: str) -> str:
    """On a terminal that knows how, unless colours are not wanted."""
    plain = sys.stdout is None or not sys.stdout.isatty() or os.environ.get("TERM") == "dumb"
    return title if plain or os.environ.get("NO_COLOR") else f"\x1b[1m{title}\x1b[0m"
