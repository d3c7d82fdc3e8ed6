"""Everything that can go wrong and be said in a sentence.

    FeatcliError
    ├── ConditionFailed         1   done, but a condition that was asked for does not hold
    ├── UsageError              2   arguments, or an output folder that holds something else
    │   ├── Diverged            2   a training whose loss is not finite (featcli.training.problem)
    │   ├── ConfigError         2   every problem of a config, each with its place
    │   ├── BackboneOptionError 2   a backbone, weights, preprocessing or stage that does not exist
    │   └── DatasetError        2   the layout of the data: no such folder, fewer than two classes, ...
    │       └── DataOptionError 2   a manifest, group or list of exclusions (featcli.data.naming.source)
    ├── UnreadableDataError     3   images, or a checkpoint, that cannot be read
    │   └── CheckpointError     3
    └── EnvironmentFault        4   this machine: device, memory, disk, versions
        ├── WeightsError        4   weights not available, or of another architecture
        ├── StorageError        4   a file or folder that cannot be written
        └── FrozenDriftError    4   a frozen tensor moved: the run must not be trusted

Each class carries its exit code; `featcli.cli.errors` is the one place that turns an error into text.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar


class FeatcliError(Exception):
    """An error that the user can understand and act on.

    Args:
        message: what is wrong, and where.
        hint: the next step, a sentence of its own.
    """

    exit_code: ClassVar[int] = 4

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class ConditionFailed(FeatcliError):
    """The work is done, but a condition that was asked for (`--min-accuracy`, `--parity`) does not hold."""

    exit_code = 1


class UsageError(FeatcliError):
    """The command line asks for something that cannot be."""

    exit_code = 2


class ConfigError(UsageError):
    """All problems of a config at once, one line each: `cats.yaml:7:3: unknown key ...`."""

    def __init__(self, problems: Iterable[str], hint: str | None = None) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems), hint)


class BackboneOptionError(UsageError):
    """A name that says which backbone, and how, means nothing.

    Args:
        option: which of them, as in the config's section `backbone`: `name`, `weights`, `preprocess`, `freeze_depth`.
        message: what is wrong.
        hint: the next step.
    """

    def __init__(self, option: str, message: str, hint: str | None = None) -> None:
        super().__init__(message, hint)
        self.option = option


class DatasetError(UsageError):
    """The data folder is not one to learn from."""


class UnreadableDataError(FeatcliError):
    """Data that was named cannot be read."""

    exit_code = 3


class CheckpointError(UnreadableDataError):
    """A checkpoint that is truncated, foreign, changed or newer than this featcli."""


class EnvironmentFault(FeatcliError):
    """This machine lacks something: a device, memory, disk, a library."""

    exit_code = 4


class WeightsError(EnvironmentFault):
    """Pretrained weights are not available, or belong to another architecture."""


class StorageError(EnvironmentFault):
    """A file or folder cannot be written."""


class FrozenDriftError(EnvironmentFault):
    """A parameter or buffer that was frozen is not what it was at the start."""


class Interrupted(BaseException):
    """A signal asked the process to stop; work unwinds, and the exit code is 128 + the signal's number."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.exit_code = 128 + signum


class ClosedPipe(BaseException):
    """Whoever read standard output has gone; the process leaves quietly with 141."""
