"""When the arguments of `predict` and `extract` mean no image at all."""

from __future__ import annotations

from collections.abc import Sequence

from featcli.data.naming.folders import Ignored
from featcli.errors import UsageError
from featcli.events import Emit, Note
from featcli.text import first_few
from featcli.workflow.inputs import STDIN


def accept_no_images(arguments: Sequence[str], ignored: Ignored, emit: Emit) -> None:
    """An empty list on standard input is a list, and the answer to it is empty; an empty folder is a mistake.

    Args:
        arguments: that meant no image.
        ignored: what was skipped.
        emit: hears that the list was empty.

    Raises:
        UsageError: the arguments are folders, or there are none and so the images of a config.
    """
    if STDIN in arguments:
        emit(Note("no images: standard input named none"))
        return
    if not arguments:
        raise UsageError("the config's data has no images to validate or test on", "Name files or folders.")
    skipped = f": skipped {ignored}" if ignored.counts else ""
    raise UsageError(
        f"no images in {first_few(arguments)}{skipped}", "Name another folder, or the files themselves: each has a row."
    )
