"""The application: what `featcli` without a command says."""

from __future__ import annotations

from typing import Annotated

import typer

from featcli import __version__
from featcli.cli.errors import errors_to_text
from featcli.cli.flags import Flags
from featcli.cli.output import say
from featcli.cli.usage import Group

app = typer.Typer(
    name="featcli",
    help="Turn a folder of images into a classifier that you can trust, by reusing a pretrained backbone.",
    epilog="Start here: featcli train-head PHOTOS, a folder with one folder of images per class; then featcli predict "
    "RUN NEW_PHOTOS. Without photographs: featcli demo.",
    no_args_is_help=True,
    cls=Group,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _main(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    if version or context.invoked_subcommand is None:
        with errors_to_text(Flags()):
            say(f"featcli {__version__}" if version else context.get_help())
        raise typer.Exit(0 if version else 2)
