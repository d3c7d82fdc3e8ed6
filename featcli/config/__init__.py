"""The options of a run: their schema, and reading them from a file, `--set` and flags.

What is exported is imported when it is first asked for: a help text needs the names of flags, and not the schema.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from featcli.config.load import LoadedConfig, load_config
    from featcli.config.record import PLACES, Difference, differences, dump_config, moves, same_run
    from featcli.config.schema import Backbone, Config, Data, Head, Loader, Preprocess, Train

__all__ = [
    "PLACES",
    "Backbone",
    "Config",
    "Data",
    "Difference",
    "Head",
    "LoadedConfig",
    "Loader",
    "Preprocess",
    "Train",
    "differences",
    "dump_config",
    "load_config",
    "moves",
    "same_run",
]

_MODULES = {
    "Backbone": "schema",
    "Config": "schema",
    "Data": "schema",
    "Difference": "record",
    "Head": "schema",
    "LoadedConfig": "load",
    "Loader": "schema",
    "PLACES": "record",
    "Preprocess": "schema",
    "Train": "schema",
    "differences": "record",
    "dump_config": "record",
    "load_config": "load",
    "moves": "record",
    "same_run": "record",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
