"""Commands of the feature store: cache show, verify, merge, prune, clear."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from featcli.cli.flags import RUN, option
from featcli.cli.invocation import Invocation, command
from featcli.cli.root import app
from featcli.cli.usage import Group
from featcli.errors import UsageError

_cache = typer.Typer(
    cls=Group, help="Manage the feature store: show, verify, merge, prune, clear.", no_args_is_help=True
)
app.add_typer(_cache, name="cache")


@command("cache", "as_json", "debug", group=_cache)
def cache_show(run: Invocation) -> None:
    """Show what is stored: per backbone, weights and preprocessing the images, their size, when they were last used."""
    from featcli.commands.cache import show

    run.finish(show(run.cache()))


@command("cache", "as_json", "debug", group=_cache)
def cache_verify(run: Invocation) -> None:
    """Compare every segment with its checksum; exit 3 where one is damaged. Changes nothing."""
    from featcli.commands.cache import verify

    run.finish(verify(run.cache()))


@command("cache", "as_json", "quiet", "debug", group=_cache)
def cache_merge(
    run: Invocation,
    stores: Annotated[
        list[str] | None, typer.Argument(metavar="DIR...", help="Feature stores of other machines.", show_default=False)
    ] = None,
) -> None:
    """Join other feature stores with this one, each row checked; they stay as they are, and no image is needed."""
    if not stores:
        raise UsageError("no stores were named", "Name the folders of others: featcli cache merge DIR...")
    from featcli.commands.cache import merge

    run.finish(merge(run.cache(), [Path(store) for store in stores], run.terminal.emit))


@command("cache", "as_json", "debug", group=_cache)
def cache_prune(
    run: Invocation,
    older_than: Annotated[
        str | None, option(RUN, "--older-than", metavar="30d", help="Remove features written longer ago.")
    ] = None,
    unused: Annotated[
        str | None,
        option(RUN, "--unused", metavar="30d", help="Remove what no command that writes has used for so long."),
    ] = None,
    max_size: Annotated[
        str | None, option(RUN, "--max-size", metavar="5GB", help="Remove the least recently used down to this size.")
    ] = None,
) -> None:
    """Make room in the store, and say what was removed."""
    from featcli.commands.cache import prune

    run.finish(prune(run.cache(), older_than=older_than, unused=unused, max_size=max_size))


@command("cache", "as_json", "debug", group=_cache)
def cache_clear(run: Invocation) -> None:
    """Remove all stored features, and the memo of file hashes; nothing else that lies in the folder."""
    from featcli.commands.cache import clear

    run.finish(clear(run.cache()))
