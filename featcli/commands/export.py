"""`featcli export`: a checkpoint as a file for other programs, written once it was seen to predict the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from featcli.checkpoint import read_checkpoint
from featcli.errors import UsageError
from featcli.events import Fact, Note, Warn
from featcli.files import write_bytes
from featcli.lines import lines_of
from featcli.metadata import find_checkpoint
from featcli.workflow.answer import Answer
from featcli.workflow.export_checks import check_file
from featcli.workflow.export_images import ExportImages, find_images, squares_of
from featcli.workflow.exporting import INT8, Export, ExportOptions, decide_format, finished, make, require_libraries
from featcli.workflow.idle import OF_CHECKPOINT, describe_idle, of_images
from featcli.workflow.session import Session, open_runtime

_FITTED = 128  # images that lower precision is fitted to, at most


def export(session: Session, checkpoint: Path | None, options: ExportOptions) -> Answer:
    """Makes the file, runs it on images in a process without torch, compares, and writes it.

    Raises:
        UsageError: options that do not go together, images that are not there, a model that cannot be exported.
        EnvironmentFault: a library is missing, or the file cannot be run or written.
        ConditionFailed: the file does not predict what the checkpoint predicts, or lower precision does not pay.
        CheckpointError: the checkpoint cannot be read.
    """
    work = _opened(session, checkpoint, options)
    _describe_idle(session, checkpoint, options)
    session = session.with_config(session.loaded.config.model_copy(update={"precision": "fp32"}))
    require_libraries(work)
    runtime = open_runtime(session, defer_torch=True)
    model, fit = work.model, options.precision == INT8
    images = None
    if fit or not options.unchecked:
        images = find_images(session, work.path, model.metadata, runtime, options.images, fit=fit)
    if session.dry_run:
        return _plan(work, images)
    squares = squares_of(session, images.fitted, model.backbone.preprocessing, _FITTED) if fit and images else []
    runtime.prepare_torch()
    session.emit(Note(f"exporting {model.backbone.name} to {work.format}: seconds to a minute"))
    made = make(work, squares)
    checked: dict[str, Any] | None = None
    if options.unchecked or images is None:
        session.emit(Warn("--unchecked: nobody has seen that this file predicts what the checkpoint predicts"))
    else:
        checked = check_file(session, work, made, runtime, images)
    facts = made.facts.model_copy(update={"checked": checked})
    size = 0
    for target, data in finished(work, made, facts).items():
        write_bytes(target, data)
        size += len(data)
    outputs = ", ".join(facts.outputs)
    session.emit(Fact("file", f"{size / 1e6:.1f} MB, {facts.form}, {facts.precision}; gives {outputs}"))
    said = {"file": str(options.output), "bytes": size, "file_format": work.format}
    return Answer(str(options.output), said | facts.model_dump(exclude={"scores", "format"}))


def _opened(session: Session, checkpoint: Path | None, options: ExportOptions) -> Export:
    named = checkpoint or session.loaded.config.output
    if named is None:
        raise UsageError("no checkpoint: name one, or give --config of the run")
    format = decide_format(options)
    path = find_checkpoint(named)
    return Export(path, read_checkpoint(path), options, format)


def _describe_idle(session: Session, checkpoint: Path | None, options: ExportOptions) -> None:
    """Names the options that were given and that nothing is done with."""
    idle = dict(OF_CHECKPOINT) | {
        "data.positive": "the checkpoint has its own",
        "precision": "--int8 and --fp16 say it",
    }
    if checkpoint is not None:
        idle["output"] = "a checkpoint is named"
    if options.images is not None or options.unchecked:
        idle |= of_images("no images of a run are compared" if options.unchecked else f"it is {options.images} that is")
    describe_idle(session, "export", idle)


def _plan(work: Export, images: ExportImages | None) -> Answer:
    options, backbone = work.options, work.model.backbone
    compared = "none" if images is None or options.unchecked else f"{len(images.compared)} {images.words}"
    lines = [
        "plan",
        f"  checkpoint  {work.path}",
        f"  backbone    {backbone.name}, weights {backbone.weights}",
        f"  file        {options.output}: {work.format}, {options.form}, {options.precision}",
        f"  compared    {compared}",
    ]
    facts = {"checkpoint": str(work.path), "file": str(options.output), "file_format": work.format}
    return Answer.arranged(lines_of(lines), facts | {"compared": compared})
