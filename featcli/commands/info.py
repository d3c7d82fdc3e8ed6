"""`featcli info`: what is in a checkpoint. Reads the header alone, without torch."""

from __future__ import annotations

from pathlib import Path

from featcli.lines import lines_of
from featcli.metadata import find_checkpoint, read_metadata
from featcli.text import printable
from featcli.workflow.answer import Answer
from featcli.writers.checkpoint_facts import checkpoint_facts


def info(checkpoint: Path) -> Answer:
    """The facts of a checkpoint, as text and as one JSON value.

    Raises:
        CheckpointError: it cannot be read.
    """
    path = find_checkpoint(checkpoint)
    metadata = read_metadata(path)
    size = path.stat().st_size
    facts = {"file": f"{path} ({size / 1e6:.1f} MB, format {metadata.format})", **checkpoint_facts(path, metadata)}
    lines = [f"{name:12} {printable(text)}" for name, text in facts.items()]
    return Answer.arranged(lines_of(lines), {"bytes": size, **metadata.model_dump()})
