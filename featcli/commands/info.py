"""`featcli info`: what is in a checkpoint, or in an exported file. Without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from featcli.lines import lines_of
from featcli.metadata import find_checkpoint, is_exported, read_metadata
from featcli.text import printable
from featcli.workflow.answer import Answer
from featcli.writers.checkpoint_facts import checkpoint_facts, export_facts


def info(checkpoint: Path) -> Answer:
    """The facts of a checkpoint, as text and as one JSON value.

    Raises:
        CheckpointError: it cannot be read.
    """
    path = find_checkpoint(checkpoint)
    exported: dict[str, Any] = {}
    facts: dict[str, str] = {}
    if is_exported(path):
        from featcli.exported import read_exported, thresholds_of  # they need more than a header

        model = read_exported(path)
        metadata, export, trust = model.metadata, model.facts, model.trust
        facts = export_facts(export)
        exported = {"export": export.model_dump(exclude={"scores"}), "thresholds": thresholds_of(trust.scores)}
    else:
        metadata = read_metadata(path)
    size = path.stat().st_size
    facts = {"file": f"{path} ({size / 1e6:.1f} MB, format {metadata.format})", **facts}
    lines = [f"{name:12} {printable(text)}" for name, text in (facts | checkpoint_facts(path, metadata)).items()]
    return Answer.arranged(lines_of(lines), {"bytes": size, **metadata.model_dump(), **exported})
