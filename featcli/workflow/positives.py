"""Which of two classes is the one that is to be found."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from featcli.events import Emit, Note
from featcli.tasks import Task, task_of
from featcli.text import clipped, did_you_mean, nfc
from featcli.workflow.session import Session

_LONGEST = 30


def open_task(session: Session, classes: Sequence[str], stored: str | None = None) -> Task:
    """The task of these classes, with the positive one where there is one.

    Args:
        session: whose config may name it.
        classes: in order.
        stored: the one that a checkpoint knows; the config's goes before.

    Raises:
        ConfigError: the config names none of the classes, or there are more than two.
    """
    named = session.loaded.config.data.positive
    if named is not None:
        named = named if named in classes else nfc(named)
        _check(session, classes, named)
    return task_of(classes, named or stored)


def ask_for_positive(values: Mapping[str, Any], emit: Emit) -> None:
    """Says what is missing in the metrics of two classes of which neither is the one that is to be found."""
    names = values.get("classes", ())
    if len(names) == 2 and values["n"] and values["positive"] is None:
        first, second = (clipped(name, _LONGEST) for name in names)
        setting = shlex.quote(f"data.positive={first}")
        emit(Note(f"which class is to be found? --set {setting} (or {second}) adds sensitivity and thresholds"))


def _check(session: Session, classes: Sequence[str], named: str) -> None:
    if len(classes) != 2:
        raise session.loaded.error(
            "data.positive",
            f"{named!r} would be the positive one of two classes, and there are {len(classes)}",
            "Leave data.positive out.",
        )
    if named not in classes:
        listed = ", ".join(clipped(name, _LONGEST) for name in classes)
        raise session.loaded.error(
            "data.positive", f"no class {named!r}{did_you_mean(named, classes)}", f"The classes are: {listed}."
        )
