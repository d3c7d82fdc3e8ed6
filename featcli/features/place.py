"""Where the feature store lies: what the call says, else the environment, else the user's home."""

from __future__ import annotations

import os
from pathlib import Path

from featcli.errors import UsageError

NO_CACHE = Path(os.devnull, "featcli")  # nothing can be there: nothing is found, and nothing kept


def cache_folder(named: Path | None = None) -> Path:
    """The folder of the feature store.

    That is `named`, else `FEATCLI_CACHE`, else `featcli` in `XDG_CACHE_HOME` or in the home's `.cache`. A relative
    `XDG_CACHE_HOME` is ignored, as its specification asks for.

    Returns:
        An absolute path; `NO_CACHE` for a user without a home.

    Raises:
        UsageError: a name begins with `~`, and there is no such home.
    """
    for where, text in (("--cache", os.fspath(named or "")), ("FEATCLI_CACHE", os.environ.get("FEATCLI_CACHE", ""))):
        if text:
            path = os.path.expanduser(text)
            if path.startswith("~"):
                raise UsageError(f"{where} {text}: there is no such home folder", "Give a path without ~.")
            return Path(path).absolute()
    shared = os.environ.get("XDG_CACHE_HOME", "")
    if os.path.isabs(shared):
        return Path(shared, "featcli")
    home = _home()
    return NO_CACHE if home is None else home / ".cache" / "featcli"


def _home() -> Path | None:
    """`HOME`, else what the system has for this user; None where that is no absolute path."""
    home = os.environ.get("HOME", "")
    if not os.path.isabs(home):
        try:
            import pwd  # not on Windows, which has a home always

            home = pwd.getpwuid(os.getuid()).pw_dir
        except KeyError:
            return None
        except ImportError:
            home = os.path.expanduser("~")
    return Path(home) if os.path.isabs(home) else None
