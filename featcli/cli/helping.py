"""Commands about the command line itself: help, completion, schema."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.main import get_command

from featcli.cli.invocation import Invocation, command
from featcli.cli.output import say
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


@command("debug")
def completion(
    run: Invocation,
    shell: Annotated[str, typer.Argument(help="bash, zsh or fish.", show_default=False)],
) -> None:
    """Print what a shell reads in order to complete commands, flags, keys, backbones and stages.

    bash: featcli completion bash > ~/.local/share/bash-completion/completions/featcli

    zsh: featcli completion zsh > ~/.zfunc/_featcli, with fpath+=~/.zfunc in ~/.zshrc before compinit

    fish: featcli completion fish > ~/.config/fish/completions/featcli.fish

    Then open a new shell.
    """
    from featcli.commands.completion import completion

    say(completion(shell))


@command("debug")
def schema(run: Invocation) -> None:
    """Print the JSON Schema of a config: with it editors complete keys and mark what is wrong.

    It is written beside the config by featcli init.
    """
    from featcli.commands.schema import schema

    say(schema())
