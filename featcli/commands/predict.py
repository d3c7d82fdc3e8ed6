"""`featcli predict`: paths in, one row per path out, in order, as soon as it is known."""

from __future__ import annotations

import contextlib
import itertools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from featcli.checkpoint import StoredModel
from featcli.data.naming.folders import Ignored
from featcli.data.readers.reader import ImageRef
from featcli.errors import UsageError
from featcli.events import Emit, Note, Progress
from featcli.exported import Model
from featcli.features.extraction import Extractor
from featcli.features.store import FeatureStore
from featcli.files import check_output_file, open_sink, write_json
from featcli.lines import lines_of
from featcli.outputs import STDOUT
from featcli.predictor import Because, RowOptions
from featcli.runtime import Runtime
from featcli.text import first_few
from featcli.workflow.answer import Answer, Unreadable
from featcli.workflow.because import open_because, set_rule
from featcli.workflow.engines import Wanted, first_of
from featcli.workflow.idle import OF_CHECKPOINT, describe_changed, describe_idle, describe_separator, of_images
from featcli.workflow.images import open_data
from featcli.workflow.inputs import NEWLINE, STDIN, Total, expand
from featcli.workflow.no_images import accept_no_images
from featcli.workflow.predicting import open_predictor, open_runtime_of, require_stored
from featcli.workflow.session import Session, open_model
from featcli.writers.formats import refuse_on_terminal
from featcli.writers.prediction_rows import TEXT_FORMATS, Write, open_writer, row_format

IDLE_SECONDS = 0.2
_TOP = 5


@dataclass(frozen=True, slots=True)
class PredictOptions:
    """What `predict` takes besides the common flags.

    Attributes:
        format: of the rows; None goes by the ending of `output`.
        top: how many classes a row lists; None for the usual number.
        probs: whether a row has every class's probability.
        output: a file, pipe or device for the rows, instead of standard output.
        summary: the same for counts, or None.
        separator: between paths on standard input.
        width: columns of the terminal that a table is for; None for a pipe or a file.
        coverage: how often a row's `set` is to hold the true class; None for rows without sets.
        abstain_below: the confidence below which a row has no label.
        because: how many training images a row names that pull for its class, and against it.
    """

    format: str | None = None
    top: int | None = None
    probs: bool = False
    output: Path | None = None
    summary: Path | None = None
    separator: bytes = NEWLINE
    width: int | None = None
    coverage: float | None = None
    abstain_below: float | None = None
    because: int | None = None


@dataclass(slots=True)
class _Counts:
    """What was predicted so far."""

    n: int = 0
    abstained: int = 0
    strangers: int = 0
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
    output = STDOUT if options.output is None else options.output
    format, answer = _check_outputs(options)
    _describe_idle(session, checkpoint, arguments, options, format)
    model, path = open_model(session, checkpoint)
    runtime = open_runtime_of(session, model)
    describe_changed(session, path)
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
    limit = session.loaded.config.data.limit
    if arguments and limit is not None:
        refs = itertools.islice(refs, limit)
    if session.dry_run:
        return Answer.arranged(lines_of(_plan_lines(path, model, runtime, arguments, refs)))
    wanted, refs = _wanted(refs, arguments, torch=isinstance(model, StoredModel))
    predictor = open_predictor(session, model, runtime, wanted)
    extractor = predictor.extractor
    asked = RowOptions(
        options.top or _TOP,
        options.probs,
        options.coverage,
        None if options.coverage is None else set_rule(model, options.coverage, session.emit),
        options.abstain_below,
        _because(session, model, path, extractor, options.because),
    )
    store = FeatureStore(session.cache, extractor.space, model.backbone.feature_size, session.emit, read_only=True)

    counts = _Counts()
    total = Total(arguments, limit) if arguments else partial(len, list(refs))
    batch_size = session.loaded.config.loader.batch_size
    with open_sink(output) if options.output is not None else contextlib.nullcontext(write) as sink:
        writer = open_writer(format, sink, predictor.task, asked, width=options.width)
        session.emit(Progress("predict", 0, total()))
        for batch in extractor.stream(refs, batch_size=batch_size, store=store, idle_timeout=IDLE_SECONDS):
            rows = predictor.rows(batch, asked)
            writer.write(rows)
            _count(rows, counts)
            session.emit(Progress("predict", counts.n, total()))
        session.emit(Progress("predict", counts.n, counts.n, finished=True))
        if counts.n == 0:
            accept_no_images(arguments, ignored, session.emit)
        writer.close()
    if ignored.counts:
        session.emit(Note(f"skipped in folders: {ignored}"))
    _describe_doubts(counts, options, session.emit)
    if options.summary is not None:
        write_json(options.summary, _summary(counts, model, knows_strangers=predictor.outputs.knows_strangers))
    return Answer(answer, unreadable=counts.unreadable)


def _because(session: Session, model: Model, path: Path, extractor: Extractor, count: int | None) -> Because | None:
    if count is None:
        return None
    return open_because(session, require_stored(model, "--because"), path, extractor, count)


def _wanted(refs: Iterable[ImageRef], arguments: Sequence[str], *, torch: bool) -> tuple[Wanted, Iterable[ImageRef]]:
    if arguments:
        return first_of(refs, waits=STDIN in arguments, torch=torch)
    images = list(refs)
    return Wanted(images, len(images)), images


def _count(rows: Sequence[dict[str, Any]], counts: _Counts) -> None:
    counts.n += len(rows)
    for row in rows:
        if row["error"] is not None:
            counts.unreadable.add(row["path"], row["error"])
            continue
        counts.strangers += row["novelty"] is not None and row["novelty"] > 1
        if row.get("abstained"):
            counts.abstained += 1
        else:
            counts.labels[row["label"]] += 1


def _describe_doubts(counts: _Counts, options: PredictOptions, emit: Emit) -> None:
    """Says of how many images the model knows that it does not know."""
    read = counts.n - counts.unreadable.count
    if counts.strangers:
        emit(Note(f"{counts.strangers} of {read} images are unlike the training images: novelty above 1"))
    if options.abstain_below is not None and read:
        none = ": no confidence reaches it" if counts.abstained == read else ""
        emit(
            Note(f"{counts.abstained} of {read} without a label, below --abstain-below {options.abstain_below:g}{none}")
        )


def _check_outputs(options: PredictOptions) -> tuple[str, str | None]:
    """The format of the rows, and what standard output says at the end: nothing, where it takes rows or counts."""
    output = STDOUT if options.output is None else options.output
    rows = check_output_file(output)
    format = row_format(output, options.format)
    refuse_on_terminal(format, rows, TEXT_FORMATS)
    answer = None if rows.is_stdout else str(output)
    if options.summary is not None:
        counts = check_output_file(options.summary)
        if counts.path == rows.path and (rows.is_stdout or not rows.is_stream):
            raise UsageError(
                f"rows and counts would both go to {'standard output' if rows.is_stdout else output}",
                "Name another file with -o or --summary.",
            )
        answer = None if counts.is_stdout else answer
    return format, answer


def _describe_idle(
    session: Session, checkpoint: Path | None, arguments: Sequence[str], options: PredictOptions, format: str
) -> None:
    """Names the options that were given for this call and that it does nothing with."""
    idle = dict(OF_CHECKPOINT) | {"data.positive": "it is of metrics"}
    if checkpoint is not None:
        idle["output"] = "a checkpoint is named"
    if arguments:
        idle |= of_images("the images are those that are named")
    describe_idle(session, "predict", idle)
    if options.top is not None and format != "jsonl":
        session.emit(Note(f"not used by {format} rows: --top (jsonl lists classes; the others take --probs)"))
    describe_separator(arguments, options.separator, session.emit)


def _summary(counts: _Counts, model: Model, *, knows_strangers: bool) -> dict[str, Any]:
    return {
        "n": counts.n,
        "n_errors": counts.unreadable.count,
        "n_strangers": counts.strangers if knows_strangers else None,
        "n_abstained": counts.abstained,
        "labels": {name: counts.labels[name] for name in model.metadata.classes},
        "backbone": model.metadata.backbone.name,
        "weights_sha256": model.metadata.backbone.weights_sha256,
        "head_sha256": model.metadata.head.sha256,
    }


def _plan_lines(
    path: Path, model: Model, runtime: Runtime, arguments: Sequence[str], refs: Iterable[ImageRef]
) -> list[str]:
    images = "as they arrive on standard input" if STDIN in arguments else str(sum(1 for _ in refs))
    return [
        "plan",
        f"  device      {runtime}",
        f"  checkpoint  {path}",
        f"  backbone    {model.backbone.name}, weights {model.backbone.weights}",
        f"  input       {model.backbone.preprocessing}",
        f"  classes     {first_few(model.metadata.classes, 20)}",
        f"  images      {images}",
    ]
