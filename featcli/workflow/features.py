"""Features of labelled images: from the store, or computed."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from featcli.data.dataset import Sample
from featcli.events import Fact
from featcli.features.extraction import Extractor, FeatureTable, compute_table
from featcli.features.store import FeatureStore
from featcli.workflow.answer import Unreadable
from featcli.workflow.session import Session


def features_of(
    samples: Sequence[Sample], extractor: Extractor, session: Session, *, keep: bool = True
) -> FeatureTable:
    """Features of labelled images: from the store where they are known, else computed and (with `keep`) stored."""
    store = FeatureStore(
        session.cache, extractor.space, extractor.backbone.feature_size, session.emit, read_only=not keep
    )
    refs = [sample.ref for sample in samples]
    batch_size = session.loaded.config.loader.batch_size
    with store.writer(extractor.engine.provenance()) if keep else contextlib.nullcontext() as writer:
        table = compute_table(extractor, refs, store=store, writer=writer, batch_size=batch_size, emit=session.emit)
    stored = len(samples) - table.computed - len(table.errors)
    unreadable = f", {len(table.errors)} unreadable" if table.errors else ""
    session.emit(Fact("features", f"{table.computed} computed, {stored} from the store{unreadable}"))
    return table


def unreadable_of(samples: Sequence[Sample], table: FeatureTable) -> Unreadable:
    """The images of a table that could not be read."""
    unreadable = Unreadable()
    for index, reason in sorted(table.errors.items()):
        unreadable.add(samples[index].path, reason)
    return unreadable
