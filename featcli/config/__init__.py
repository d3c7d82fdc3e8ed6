"""The options of a run: their schema, and reading them from a file, `--set` and flags."""

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
