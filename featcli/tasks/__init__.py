"""What is learned: one kind of target a file."""

from __future__ import annotations

from collections.abc import Sequence

from featcli.tasks.multiclass import Multiclass
from featcli.tasks.task import Task

__all__ = ["Multiclass", "Task", "task_of"]


def task_of(classes: Sequence[str]) -> Task:
    """The task of a data set or a checkpoint with these classes: one of them for each image."""
    return Multiclass(tuple(classes))
