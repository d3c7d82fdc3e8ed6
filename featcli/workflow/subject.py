"""What the first argument of a command is: a folder or table of images, a config, a run."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from featcli.errors import UsageError
from featcli.metadata import CHECKPOINT_NAME, is_exported
from featcli.runs.folder import CONFIG_NAME, LAST_FACTS_NAME
from featcli.text import did_you_mean, meant, near

CONFIG_ENDINGS = (".yaml", ".yml")
_TABLE_ENDINGS = (".csv", ".tsv", ".txt", ".parquet")
_ARCHIVE_ENDINGS = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".7z", ".rar")
_SHOWN = 3  # runs
_FILE = "a file"


@dataclass(frozen=True, slots=True)
class Subject:
    """What a command learns from, as it was named.

    Attributes:
        kind: a config, or which option the path is the value of.
        text: the path.
    """

    kind: Literal["config", "data.root", "data.manifest"]
    text: str


def is_config_name(text: str) -> bool:
    """Whether a path is a config's, by its ending; a folder may be called anything."""
    return text.lower().endswith(CONFIG_ENDINGS) and not os.path.isdir(text)


def find_subject(text: str, command: str) -> Subject:
    """What `featcli COMMAND TEXT` works on: a folder of images, a table that lists them, or a config.

    Raises:
        UsageError: something else, or nothing that exists; with the line to type where that is known.
    """
    if is_config_name(text):
        return Subject("config", text)
    if is_run(text):
        use = f"To use it: featcli predict {shlex.quote(text)} NEW_PHOTOS"
        raise UsageError(f"{text} is a run, not a folder of images", f"{_go_on(text, command)}\n{use}")
    if os.path.isdir(text):
        return Subject("data.root", text)
    if not os.path.lexists(text):
        what = "folder" if command == "init" else "folder or config"
        raise UsageError(f"no such {what}: {text}{_similar(text)}", _usage(command))
    if text.lower().endswith(_TABLE_ENDINGS):
        return Subject("data.manifest", text)
    raise UsageError(f"{text} is {_kind_of_file(text)}, not a folder of images or a config", _usage(command, text))


def require_images(text: str, command: str) -> None:
    """Checks that a path is a folder of images, and not what stands in its place for other commands.

    Raises:
        UsageError: it is something else, or nothing that exists.
    """
    subject = find_subject(text, command)
    if subject.kind != "data.root":
        what = "a config already" if subject.kind == "config" else "a table of images, which needs no config"
        raise UsageError(f"{text} is {what}", f"It is used as it is: featcli train-head {shlex.quote(text)}")


def is_run(text: str) -> bool:
    """Whether a folder is a run's, finished or not."""
    return any(os.path.isfile(os.path.join(text, name)) for name in (CHECKPOINT_NAME, LAST_FACTS_NAME))


def _go_on(run: str, command: str) -> str:
    """The line that does with a run what the command would do with images."""
    config = os.path.join(run, CONFIG_NAME)
    if command == "init":
        return f"It has a config: {config}"
    if command != "finetune":
        return f"To repeat it: featcli {command} {shlex.quote(config)}"
    if os.path.isfile(os.path.join(run, LAST_FACTS_NAME)):
        return f"To go on with it: featcli finetune --resume -o {shlex.quote(run)}"
    from featcli.workflow.starting import depth_for

    tuned = shlex.quote(f"{run.rstrip(os.sep)}-tuned")
    depth = depth_for(Path(config)) or "STAGE"
    return f"To fine-tune it: featcli finetune {shlex.quote(config)} --freeze-depth {depth} -o {tuned}"


_OF_CHECKPOINTS = ("export", "report", "verify")  # commands that take no exported file
_ALONE = ("info", "report", "verify")  # commands that take a run and nothing else


def require_run(text: str, command: str, others: Sequence[str] = ()) -> None:
    """Checks that `featcli COMMAND TEXT OTHERS` begins with something that may be a checkpoint or a run.

    Raises:
        UsageError: it is an image, a folder of images, a config, or nothing that exists; with the line to type.
    """
    if not text:
        raise UsageError("no checkpoint or run was named", _line(command, others))
    if is_exported(Path(text)):
        if command not in _OF_CHECKPOINTS:
            return
        raise UsageError(
            f"{text} is an exported file, and a checkpoint is needed", "Name the run that it was made from."
        )
    images = [] if command in _ALONE else [text, *others]
    runs = [] if is_run(text) else [other for other in others if is_run(other) or is_exported(Path(other))]
    if runs and os.path.lexists(text):
        rest = [other for other in (text, *others) if other != runs[0]]
        raise UsageError(f"{text} is not a run, which comes first", f"featcli {command} {shlex.join(runs[:1] + rest)}")
    if os.path.isdir(text):
        if os.path.isfile(os.path.join(text, CHECKPOINT_NAME)):
            return
        if is_run(text) or os.path.isfile(os.path.join(text, CONFIG_NAME)):
            raise UsageError(
                f"{text} is an unfinished run: it has no {CHECKPOINT_NAME}",
                f"Finish it: featcli finetune --resume -o {shlex.quote(text)}"
                if is_run(text)
                else f"Run it again: featcli train-head {shlex.quote(os.path.join(text, CONFIG_NAME))}",
            )
        inside = _runs_in(Path(text))
        if inside:
            raise UsageError(f"{text} is a folder of runs, not a run", _line(command, others, inside))
        raise UsageError(f"{text} is a folder without a checkpoint, not a run", _line(command, images))
    if not os.path.lexists(text):
        similar = _similar(text) or did_you_mean(text, runs_near())
        raise UsageError(f"no such checkpoint or run: {text}{similar}", _line(command, others))
    what = _kind_of_file(text)
    if what != _FILE:
        raise UsageError(f"{text} is {what}, not a checkpoint or a run", _line(command, images))


def runs_near() -> list[str]:
    """Runs below the working directory's `runs`, the latest first, as they may be typed."""
    return _runs_in(Path("runs"))


def _runs_in(folder: Path) -> list[str]:
    found = sorted(folder.glob(f"*/{CHECKPOINT_NAME}"), key=lambda path: path.stat().st_mtime, reverse=True)
    return [str(path.parent) for path in found]


def _kind_of_file(text: str) -> str:
    from featcli.data.naming.folders import is_image_name

    name = text.lower()
    if is_image_name(name):
        return "an image"
    if name.endswith(_ARCHIVE_ENDINGS):
        return "an archive, to be unpacked first"
    if name.endswith(_TABLE_ENDINGS):
        return "a table"
    return "a config" if name.endswith(CONFIG_ENDINGS) else _FILE


def _line(command: str, arguments: Sequence[str], among: Sequence[str] = ()) -> str:
    """The command with a run in the place where it belongs: one that was named, one of some, or one that is near."""
    named = [text for text in arguments if is_run(text)]
    images = [text for text in dict.fromkeys(arguments) if text not in named and not _runs_in(Path(text))]
    typed = "" if command == "info" else shlex.join(images) or ("NEW_PHOTOS" if command == "predict" else "")
    runs = (among or named or runs_near())[:_SHOWN]
    first, *more = [f"featcli {command} {shlex.quote(run)} {typed}".rstrip() for run in runs or ["RUN"]]
    said = "\n".join([f"The run comes first: {first}", *(f"or {line}" for line in more)])
    return said if runs else f"{said}. To make one: featcli train-head FOLDER"


def _usage(command: str, text: str = "") -> str:
    if text.lower().endswith(_ARCHIVE_ENDINGS):
        return f"Unpack it, then: featcli {command} FOLDER"
    config = "" if command == "init" else ", or a config"
    return f"Name a folder with one folder of images per class{config}: featcli {command} FOLDER"


def _similar(text: str) -> str:
    """`; did you mean 'photos'?` where the folder around holds something of a similar name."""
    around, name = os.path.split(text.rstrip(os.sep))
    try:
        there = sorted(entry for entry in os.listdir(around or ".") if not entry.startswith("."))
    except (OSError, ValueError):
        return ""
    return meant([os.path.join(around, other) for other in near(name, there)])
