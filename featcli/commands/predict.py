"""`featcli predict`: paths in, one row per path out, in order, as soon as it is known."""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from featcli.checkpoint import Checkpoint
from featcli.data.naming.folders import Ignored
from featcli.data.readers.reader import ImageRef
from featcli.errors import UsageError
from featcli.events import Note, Progress
from featcli.features.extraction import Extractor
from featcli.features.store import FeatureStore
from featcli.files import atomic_path, storage_errors, write_json
from featcli.predictor import Predictor
from featcli.workflow.answer import Answer, Unreadable
from featcli.workflow.images import open_data
from featcli.workflow.inputs import STDIN, expand, no_images
from featcli.workflow.session import Session, open_model, open_runtime
from featcli.writers.prediction_rows import Write, open_writer

IDLE_SECONDS = 0.2


@dataclass(frozen=True, slots=True)
class PredictOptions:
    """What `predict` takes besides the common flags.

    Attributes:
        format: of the rows.
        top: how many classes a row lists.
        probs: whether a row has every class's probability.
        output: a file for the rows, instead of standard output.
        summary: a file for counts, or None.
        separator: between paths on standard input.
    """

    format: str = "jsonl"
    top: int = 5
    probs: bool = False
    output: Path | None = None
    summary: Path | None = None
    separator: bytes = b"\n"


@dataclass(slots=True)
class _Counts:
    """What was predicted so far."""

    n: int = 0
    labels: Counter[str] = field(default_factory=Counter)
    unreadable: Unreadable = field(default_factory=Unreadable)


def predict(
    session: Session, checkpoint: Path | None, arguments: Sequence[str], options: PredictOptions, write: Write
) -> Answer:
    """Predicts every image that the arguments mean and writes one row each.

    Args:
        session: its store is read, never written to.
        checkpoint: a file or run folder; None for the config's output.
        arguments: files, folders, patterns, `-`; none: the config's test split, else its validation split.
        options: of the rows.
        write: takes the bytes of the rows, and flushes them.

    Raises:
        FeatcliError: the checkpoint, the device, or an output file is not available. Bad images are rows.
    """
    if options.output is not None and options.output.is_dir():
        raise UsageError(f"the output {options.output} is a folder; -o names a file")
    runtime = open_runtime(session)
    model, path = open_model(session, checkpoint)
    ignored = Ignored()
    if arguments:
        refs: Iterable[ImageRef] = expand(arguments, ignored, separator=options.separator)
    elif (session.loaded.config.data.root or session.loaded.config.data.manifest) is not None:
        data = open_data(session, runtime, keep=False, split=model.metadata.split)
        samples = data.split("test") or data.split("val")
        if not samples:
            raise UsageError(
                f"nothing to predict: {data.origin} has neither test nor validation images", "Name files or folders."
            )
        refs = [sample.ref for sample in samples]
    else:
        raise UsageError(
            "nothing to predict", "Name files or folders after the run, '-' for paths on standard input, or --config."
        )
    predictor = Predictor.of(model, runtime)
    extractor = predictor.extractor
    store = FeatureStore(session.cache, extractor.space, model.backbone.feature_size, session.emit, read_only=True)
    limit = session.loaded.config.data.limit
    if arguments and limit is not None:
        refs = itertools.islice(refs, limit)
    if session.dry_run:
        return Answer(_plan(path, model, extractor, arguments, refs))

    counts = _Counts()
    total = len(refs) if isinstance(refs, list) else None
    batch_size = session.loaded.config.loader.batch_size
    with _opened(options.output, write) as sink:
        writer = open_writer(options.format, sink, predictor.task, probs=options.probs)
        session.emit(Progress("predict", 0, total))
        for batch in extractor.stream(refs, batch_size=batch_size, store=store, idle_timeout=IDLE_SECONDS):
            rows = predictor.rows(batch, top=options.top, outputs=options.probs)
            writer.write(rows)
            _count(rows, counts)
            session.emit(Progress("predict", counts.n, total))
        session.emit(Progress("predict", counts.n, total, finished=True))
        if counts.n == 0:
            raise no_images(ignored)
        writer.close()
    if ignored.counts:
        session.emit(Note(f"skipped in folders: {ignored}"))
    if options.summary is not None:
        write_json(options.summary, _summary(counts, model))
    return Answer(str(options.output) if options.output is not None else None, unreadable=counts.unreadable)


def _count(rows: Sequence[dict[str, Any]], counts: _Counts) -> None:
    counts.n += len(rows)
    for row in rows:
        if row["error"] is not None:
            counts.unreadable.add(row["path"], row["error"])
        else:
            counts.labels[row["label"]] += 1


@contextlib.contextmanager
def _opened(output: Path | None, write: Write) -> Iterator[Write]:
    """Standard output, or a file that appears when it is complete."""
    if output is None:
        yield write
        return
    with atomic_path(output) as temporary, storage_errors(output), temporary.open("wb") as file:
        yield file.write


def _summary(counts: _Counts, model: Checkpoint) -> dict[str, Any]:
    return {
        "n": counts.n,
        "n_errors": counts.unreadable.count,
        "labels": {name: counts.labels[name] for name in model.metadata.classes},
        "backbone": model.metadata.backbone.name,
        "weights_sha256": model.metadata.backbone.weights_sha256,
        "head_sha256": model.metadata.head.sha256,
    }


def _plan(
    path: Path, model: Checkpoint, extractor: Extractor, arguments: Sequence[str], refs: Iterable[ImageRef]
) -> str:
    images = "as they arrive on standard input" if STDIN in arguments else str(sum(1 for _ in refs))
    lines = [
        "plan",
        f"  device      {extractor.runtime}",
        f"  checkpoint  {path}",
        f"  backbone    {model.backbone.name}, weights {model.backbone.weights}",
        f"  input       {model.backbone.preprocessing}",
        f"  classes     {', '.join(model.metadata.classes)}",
        f"  images      {images}",
    ]
    return "\n".join(lines)
