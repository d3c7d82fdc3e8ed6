"""Flags of options: beside the option in the schema, and in the table that is generated from there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True, slots=True)
class Flag:
    """Beside the type of an option that people change often: a flag of its own, another spelling of its `--set`.

    Args:
        name: as it is typed: `--epochs`.
        metavar: what stands for the value in the help.
    """

    name: str
    metavar: str


class ShortFlag(NamedTuple):
    """The same in the table: the option's key, the flag, what stands for its value, its help."""

    key: str
    flag: str
    metavar: str
    help: str
