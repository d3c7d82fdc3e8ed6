"""What is learned: one kind of target a file."""

from __future__ import annotations

from collections.abc import Sequence

from featcli.tasks.multiclass import Multiclass
from featcli.tasks.task import Task

__all__ = ["Multiclass", "Task", "task_of"]


def task_of(classes: Sequence[str], positive: str | None = None, temperature: float = 1.0) -> Task:
    """The task of a data set or a checkpoint with these classes: one of them for each image.

    Args:
        classes: their names, in order.
        positive: the one of two classes that is to be found.
        temperature: that outputs are divided by before they become probabilities.
    """
    return Multiclass(tuple(classes), positive, temperature)
