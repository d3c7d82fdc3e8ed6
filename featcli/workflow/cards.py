"""The card of a run: writing it anew without losing what its owner wrote into the one before."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from featcli.events import Emit, Note, Warn
from featcli.metadata import read_metadata
from featcli.runs.folder import CARD_NAME, Run, RunImage
from featcli.text import listing
from featcli.writers.model_card import CardFacts, model_card
from featcli.writers.owner_text import read_edits, with_parts


def write_card(run: Run, sha256: str, metrics: dict[str, Any], images: Sequence[RunImage], emit: Emit) -> None:
    """Writes the card of a run whose checkpoint is written.

    What the owner wrote into the card that lies there is carried over. A card in which other lines were changed, or
    that is of somebody else, is first put aside, whole.

    Args:
        run: the folder.
        sha256: of its checkpoint.
        metrics: what `metrics.json` will say.
        images: of the run.
        emit: hears what was kept.

    Raises:
        StorageError: it cannot be written.
    """
    name = run.folder.name or "RUN"
    text = model_card(CardFacts(name, sha256, read_metadata(run.checkpoint), metrics, images))
    before = run.read_card()
    edits = None if before is None else read_edits(before)
    if before is not None and edits:
        if edits.elsewhere:
            aside = run.put_card_aside(before)
            emit(Warn(f"{CARD_NAME} was changed outside its owner's parts: it is kept as {aside.name}, and made anew"))
        text = with_parts(text, edits.parts)
        if edits.parts:
            kept = listing([part.replace("-", " ") for part in edits.parts], "and")
            emit(Note(f"{CARD_NAME}: what its owner wrote is kept: {kept}"))
    run.write_card(text)


def drop_stale_card(run: Run) -> None:
    """Takes the card of a replaced checkpoint away; one that somebody wrote into stays until it is renewed."""
    before = run.read_card()
    if before is not None and not read_edits(before):
        run.remove_card()
