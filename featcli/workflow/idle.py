"""Options of the command line that `predict`, `evaluate` and `extract` do nothing with: said in one note.

A config file is for all commands: what it holds for others is no mistake. Only that it is no longer what the checkpoint
was made with is said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from featcli.config import load_config
from featcli.errors import FeatcliError
from featcli.events import Emit, Note
from featcli.runs.folder import CONFIG_NAME
from featcli.text import first_few
from featcli.workflow.inputs import NEWLINE, STDIN
from featcli.workflow.session import Session

# Reasons, by option or by section.
OF_CHECKPOINT: Mapping[str, str] = {
    "backbone.": "the checkpoint has its own",
    "head.": "the checkpoint has its own",
    "data.range": "the checkpoint has its own",
    "data.decode": "the checkpoint has its own",
    "train.": "nothing is trained",
}
_WHICH_IMAGES = ("root", "manifest", "val_fraction", "test_fraction", "group", "exclude")


def of_images(reason: str) -> dict[str, str]:
    """The options that say which images a config means, and how they are split, each with the same reason."""
    return {f"data.{name}": reason for name in _WHICH_IMAGES} | {"seed": reason}


def describe_idle(session: Session, command: str, idle: Mapping[str, str]) -> None:
    """Says in one note which options were given on the command line and change nothing.

    Args:
        session: its config knows where each option was given.
        command: that does nothing with them.
        idle: why, by option (`data.range`) or section (`head.`).
    """
    by_reason: dict[str, list[str]] = {}
    for key, spelling in session.loaded.on_command_line().items():
        reason = next((idle[name] for name in idle if key == name or key.startswith(_within(name))), None)
        if reason is not None:
            by_reason.setdefault(reason, []).append(spelling)
    if by_reason:
        parts = [f"{', '.join(keys)} ({reason})" for reason, keys in by_reason.items()]
        session.emit(Note(f"not used by {command}: {', '.join(parts)}"))


def describe_changed(session: Session, checkpoint: Path) -> None:
    """Says in one note which options of the config file are not those that a checkpoint was made with.

    Args:
        session: its config may be of a file; that of the run itself differs in nothing.
        checkpoint: in its run folder.
    """
    loaded, own = session.loaded, checkpoint.parent / CONFIG_NAME
    if loaded.file is None or not own.is_file():
        return
    from featcli.config import differences  # PyYAML takes a while

    try:
        changed = differences(load_config(own).config, loaded.config)
    except FeatcliError:
        return  # nothing here depends on it
    said = [
        f"{item.key} was {item.first}, is {item.second}"
        for item in changed
        if item.key.startswith(tuple(OF_CHECKPOINT)) and loaded.where(item.key).startswith(f"{loaded.file}:")
    ]
    if said:
        session.emit(Note(f"{loaded.file} has changed since the checkpoint, which stays: {first_few(said)}"))


def describe_separator(arguments: Sequence[str], separator: bytes, emit: Emit) -> None:
    """Says that what ends a path on standard input changes nothing where none is read."""
    if separator != NEWLINE and STDIN not in arguments:
        emit(Note("not used: -0 (it is of paths on standard input, and there is no '-')"))


def _within(name: str) -> str:
    """What the keys of a section, or of a mapping that is an option, begin with."""
    return name if name.endswith(".") else f"{name}."
