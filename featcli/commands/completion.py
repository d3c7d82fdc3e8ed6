"""`featcli completion`: what a shell has to read in order to complete."""

from __future__ import annotations

from featcli.completion import SCRIPTS
from featcli.errors import UsageError
from featcli.text import clipped, listing


def completion(shell: str) -> str:
    """The script of a shell.

    Raises:
        UsageError: there is none for it.
    """
    if shell not in SCRIPTS:
        raise UsageError(
            f"no completion for '{clipped(shell, 40)}'", f"There is one for {listing(list(SCRIPTS), 'and')}."
        )
    return SCRIPTS[shell].rstrip("\n")
