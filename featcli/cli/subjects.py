"""The arguments of commands that may be several things: images, a config, a run and images."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from featcli.cli.flags import Flags
from featcli.errors import UsageError

if TYPE_CHECKING:
    from featcli.workflow.subject import Subject

SubjectArgument: TypeAlias = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="DATA",
        help="A folder of images, one folder per class; or a config (.yaml), or a table of images (.csv, .parquet).",
        show_default=False,
    ),
]


def subject_of(arguments: Sequence[str] | None, command: str, flags: Flags) -> Subject | None:
    """What a command learns from; None where it was given nothing.

    Raises:
        UsageError: several things, or something else than images or a config.
    """
    _refuse_values(flags, arguments or ())
    if not arguments:
        if flags.config is None and not any(value.lstrip().startswith("data") for value in flags.set or ()):
            raise UsageError(
                "no images were named",
                f"Name a folder with one folder of images per class, or a config: featcli {command} FOLDER",
            )
        return None
    from featcli.workflow.subject import find_subject

    if len(arguments) > 1:
        raise UsageError(
            f"one folder or config, not {len(arguments)}: {shlex.join(arguments)}",
            "Put what belongs together into one folder, with a folder per class; or list it in a table.",
        )
    subject = find_subject(arguments[0], command)
    for value in flags.set or ():
        if value.partition("=")[0].strip() == subject.kind:
            raise UsageError(f"{subject.text} and --set {value} both name the images", "Leave one out.")
    return subject


def is_images(subject: Subject | None) -> bool:
    """Whether images were named, for which what is missing is chosen, and not a config."""
    return subject is not None and subject.kind != "config"


def run_and_paths(
    arguments: Sequence[str] | None, command: str, flags: Flags
) -> tuple[Path | None, list[str], Subject | None]:
    """The run to use, or None; what to use it on; and the config that was named in place of the run, or None.

    With `--config` all arguments are paths.

    Raises:
        UsageError: the first argument is no run.
    """
    first, *others = arguments or [""]
    _refuse_values(flags, arguments or ())
    if flags.config is not None:
        return None, list(arguments or ()), None
    from featcli.workflow.subject import Subject, is_config_name, require_run

    if is_config_name(first):
        return None, others, Subject("config", first)
    require_run(first, command, others)
    return Path(first), others, None


def images_and_config(paths: Sequence[str] | None, flags: Flags) -> tuple[list[str], Subject | None]:
    """The images to read, and the config that was named in place of images, or None."""
    _refuse_values(flags, paths or ())
    from featcli.workflow.subject import Subject, is_config_name, is_run

    runs = [path for path in paths or () if is_run(path)]
    if runs:
        config = os.path.join(runs[0], "config.yaml")
        words = ["extract", config, *(path for path in paths or () if path != runs[0]), "-o", "FILE"]
        raise UsageError(
            f"{runs[0]} is a run, not images", f"For features as that run has them: featcli {shlex.join(words)}"
        )
    if flags.config is None and paths and is_config_name(paths[0]):
        return list(paths[1:]), Subject("config", paths[0])
    return list(paths or ()), None


def _refuse_values(flags: Flags, arguments: Sequence[str]) -> None:
    """Finds values that came as arguments: `--set head.C=[0.1, 1]` without quotes, `--set head.C=1 head.folds=3`."""
    typed = [("--set", value) for value in flags.set or ()] + list(flags.spelled.items())
    for flag, value in typed:
        if _open_brackets(value) <= 0:
            continue
        pieces = [value]
        for argument in arguments:
            if _open_brackets(" ".join(pieces)) > 0 and not os.path.lexists(argument):
                pieces.append(argument)
        whole = " ".join(pieces)
        if len(pieces) > 1 and _open_brackets(whole) == 0:
            raise UsageError(
                f"{flag} {value}: the shell divided the value at its spaces", f"Quote it: {flag} {shlex.quote(whole)}"
            )
    for argument in arguments:
        if _is_setting(argument):
            raise UsageError(f"unexpected argument '{argument}'", f"To set a value: --set {shlex.quote(argument)}")


def _is_setting(argument: str) -> bool:
    """Whether a word can only be meant as the value of a `--set`."""
    key, equals, _ = argument.partition("=")
    if not equals or os.path.lexists(argument):
        return False
    from featcli.config.check import sections_of

    section, _, name = key.rpartition(".")
    return section in sections_of().get(name, ())


def _open_brackets(text: str) -> int:
    return sum(text.count(char) for char in "[{") - sum(text.count(char) for char in "]}")
