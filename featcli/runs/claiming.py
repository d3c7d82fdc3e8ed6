"""Whether a folder may become that of a run, and holding it while the run is made."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from featcli.config import Config, differences, load_config
from featcli.errors import FeatcliError, UsageError
from featcli.events import Emit
from featcli.files import storage_errors
from featcli.metadata import CHECKPOINT_NAME
from featcli.outputs import check_output_folder
from featcli.runs.folder import (
    CARD_NAME,
    CONFIG_NAME,
    CONFUSION_NAME,
    EDITED_CARD_NAME,
    IMAGES_NAME,
    LAST_FACTS_NAME,
    LAST_NAME,
    LOG_NAME,
    METRICS_NAME,
    PREDICTIONS_NAME,
    REPORT_NAME,
    TIMINGS_NAME,
    TRAINING_NAME,
    Run,
)
from featcli.runs.locks import only_run_in, require_free
from featcli.runs.resuming import is_unfinished

_HEX = "[0-9a-f]"
WAYS_OUT = "Choose another folder with -o, or replace what it holds with --overwrite."


@contextlib.contextmanager
def claim_run(
    config: Config, emit: Emit, *, command: str, overwrite: bool = False, resume: bool = False, dry_run: bool = False
) -> Iterator[Run]:
    """The run folder of a config, unless it holds something else; no other run may have it meanwhile.

    Whatever happens, a folder that was made here and holds nothing is gone afterwards.

    Args:
        config: names the output.
        emit: hears where two runs at once would not be noticed.
        command: `train-head` or `finetune`; the other's run is something else.
        overwrite: take it, whatever it holds.
        resume: whether an unfinished training in it is to go on.
        dry_run: only look; nothing is made or written.

    Raises:
        UsageError: the folder holds another run or an unfinished training, is not a run's, lies among the images, or
            another run is being made in it.
        StorageError: it cannot be made or written to.
    """
    assert config.output is not None, "commands require output first"
    folder, root = config.output, config.data.root
    check_output_folder(folder)
    if root is not None and _real(folder).is_relative_to(_real(root)):
        raise UsageError(
            f"the output {folder} lies inside data.root {root}, where it would be taken for a class",
            "Choose a folder beside the images with -o.",
        )
    require_free(folder)
    if not overwrite:
        _require_ours(folder, config, command, resume=resume)
    if dry_run:
        yield Run(folder)
        return
    with only_run_in(folder, emit):
        if not overwrite:  # once more: another run may have ended in between
            _require_ours(folder, config, command, resume=resume)
        _remove_leftovers(folder)
        yield Run(folder)


def _real(folder: Path) -> Path:
    """With all links followed, also those to what does not exist yet."""
    return Path(os.path.realpath(folder))


def _remove_leftovers(folder: Path) -> None:
    """Takes away what killed runs were writing when they ended: files of ours that never got their name."""
    for name in (
        CHECKPOINT_NAME,
        CONFIG_NAME,
        METRICS_NAME,
        TIMINGS_NAME,
        LOG_NAME,
        PREDICTIONS_NAME,
        CONFUSION_NAME,
        TRAINING_NAME,
        IMAGES_NAME,
        LAST_NAME,
        LAST_FACTS_NAME,
        REPORT_NAME,
        CARD_NAME,
        EDITED_CARD_NAME.format(_HEX * 8),
    ):
        for path in folder.glob(f".{name}.{_HEX * 12}.tmp"):
            path.unlink(missing_ok=True)


def _require_ours(folder: Path, config: Config, command: str, *, resume: bool) -> None:
    with storage_errors(folder, doing="read"):
        here = folder.iterdir() if folder.exists() else ()
        present = {path.name for path in here if not path.name.startswith(".")}
    if not present:
        return
    if CONFIG_NAME not in present:
        raise UsageError(
            f"the output {folder} is not a run's folder: it holds {', '.join(sorted(present)[:5])}",
            "Choose another folder with -o. (--overwrite would write the run beside what it holds.)",
        )
    try:
        earlier = load_config(folder / CONFIG_NAME).config
    except FeatcliError as error:
        raise UsageError(f"the output {folder} holds a run whose {CONFIG_NAME} cannot be read", WAYS_OUT) from error
    changed = differences(earlier, config)
    if changed:
        listed = "; ".join(f"{item.key} was {item.first}, now {item.second}" for item in changed[:5])
        way = "Leave out what changed to go on with it, or choose another folder with -o." if resume else WAYS_OUT
        raise UsageError(f"the output {folder} holds another run: {listed}", way)
    made_by = "finetune" if LAST_FACTS_NAME in present else "train-head" if METRICS_NAME in present else command
    if made_by != command:
        raise UsageError(f"the output {folder} holds another run: of {made_by}", WAYS_OUT)
    if command == "finetune" and not resume and is_unfinished(Run(folder)):
        raise UsageError(
            f"the output {folder} holds an unfinished training",
            "Go on with it with --resume, or lose it and start over with --overwrite.",
        )
