"""The groups of images that a checkpoint is evaluated on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from featcli.config import load_config
from featcli.data.dataset import Sample
from featcli.data.groups import groups_of, joined_groups
from featcli.data.naming.source import DataOptionError, relative_name
from featcli.errors import FeatcliError
from featcli.events import Note, ignore
from featcli.runs.folder import CONFIG_NAME
from featcli.runs.moving import load_run_config
from featcli.workflow.session import Session, placed


def with_groups(
    samples: Sequence[Sample], root: Path | None, checkpoint: Path, session: Session, *, grouped: bool
) -> Sequence[Sample]:
    """Images, each with its group by `data.group`: of the call, else of the run that a checkpoint lies in.

    Args:
        samples: of a folder, or of a config's data, which have their groups by that config.
        root: the folder; the expression is searched in paths relative to it. None for a config's data.
        checkpoint: its run may have an expression; where that does not fit, images stay without groups, and it is said.
        session: whose config may have one.
        grouped: whether the run had groups, whatever they came from.

    Raises:
        ConfigError: the call's expression finds no group in some of the paths.
    """
    data = session.loaded.config.data
    pattern = data.group
    if root is None:
        if pattern is None or data.root is not None or data.manifest is not None:
            return samples
        run = load_run_config(checkpoint.parent, ignore).config.data
        root = run.root or (run.manifest or checkpoint).parent
    names = [relative_name(sample.path, root) for sample in samples]
    if pattern is not None:
        with placed(session.loaded):
            if pattern == "group":
                raise DataOptionError("group", "the column 'group' is of a manifest, and this is a folder")
            return _grouped(samples, groups_of(names, pattern))
    pattern = _pattern_of_run(checkpoint)
    if pattern is None:
        if grouped:
            said = "the run had groups, and of these images none is known: intervals are over images"
            session.emit(Note(f"{said}; --set data.group=... names them"))
        return samples
    try:
        return _grouped(samples, groups_of(names, pattern))
    except DataOptionError:
        session.emit(
            Note("the run's data.group finds no group in some of these paths: give one with --set data.group=...")
        )
        return samples


def _grouped(samples: Sequence[Sample], groups: Sequence[str]) -> Sequence[Sample]:
    units = joined_groups(groups, [sample.digest for sample in samples])
    return [
        replace(sample, group=group, joined=unit) for sample, group, unit in zip(samples, groups, units, strict=True)
    ]


def _pattern_of_run(checkpoint: Path) -> str | None:
    """The regular expression in the config beside a checkpoint, if there is one."""
    try:
        pattern = load_config(checkpoint.parent / CONFIG_NAME).config.data.group
    except FeatcliError:
        return None
    return None if pattern == "group" else pattern
