"""`featcli report`: one self-contained HTML file of a run, or of several side by side."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from featcli.errors import UsageError
from featcli.events import Note
from featcli.files import check_output_file
from featcli.metadata import find_checkpoint
from featcli.runs.folder import REPORT_NAME
from featcli.workflow.answer import Answer
from featcli.workflow.reporting import write_report
from featcli.workflow.session import Session

MOST_RUNS = 6


def report(session: Session, named: Sequence[Path], output: Path | None) -> Answer:
    """Writes the page of some runs.

    Args:
        session: its store is read, never written to.
        named: runs or their checkpoints.
        output: the file; None for `report.html` in the folder of the run, or of several in the working directory.

    Raises:
        UsageError: too many runs, or one of them is not finished.
        CheckpointError: a run is damaged.
        StorageError: the page cannot be written.
    """
    runs: dict[str, Path] = {}
    for path in named:
        runs.setdefault(os.path.realpath(find_checkpoint(path).parent), path)
    if len(runs) < len(named):
        session.emit(Note(f"a run that was named more than once is shown once: {len(runs)} of {len(named)}"))
    if len(runs) > MOST_RUNS:
        raise UsageError(f"at most {MOST_RUNS} runs side by side, not {len(runs)}", "Leave some out.")
    folders = list(runs.values())
    if output is None:
        output = find_checkpoint(folders[0]).parent / REPORT_NAME if len(folders) == 1 else Path(REPORT_NAME)
    place = check_output_file(output)
    facts = write_report(session, folders, output)
    return Answer(None if place.is_stdout else str(output), facts)
