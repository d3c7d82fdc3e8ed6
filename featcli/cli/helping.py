"""The command `help`: the same text as `--help`, for those who type the word."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.main import get_command

from featcli.cli.invocation import Invocation, command
from featcli.cli.root import app


@command("debug")
def help(
    run: Invocation,
    words: Annotated[
        list[str] | None, typer.Argument(metavar="COMMAND", help="A command: predict, cache prune.", show_default=False)
    ] = None,
) -> None:
    """Show the commands, or what one of them does and takes, as `featcli COMMAND --help` does."""
    group: Any = get_command(app)
    group.main([*(words or ()), "--help"], prog_name="featcli", standalone_mode=False)
