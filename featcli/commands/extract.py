"""`featcli extract`: the features of images, in a file."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path

from featcli.backbones.stages import Backbone
from featcli.data.dataset import Dataset
from featcli.data.naming.folders import Ignored
from featcli.data.readers.reader import ImageRef
from featcli.errors import UnreadableDataError
from featcli.events import Fact, Note, Progress
from featcli.features.extraction import Extractor
from featcli.features.store import FeatureStore
from featcli.files import check_output_file
from featcli.lines import lines_of
from featcli.runtime import Runtime
from featcli.workflow.answer import Answer, Unreadable
from featcli.workflow.engines import all_of, first_of, open_extractor
from featcli.workflow.idle import describe_idle, describe_separator, of_images
from featcli.workflow.images import open_data, read_dataset
from featcli.workflow.inputs import STDIN, Total, expand
from featcli.workflow.no_images import accept_no_images
from featcli.workflow.plans import make_plan
from featcli.workflow.ranges import with_range
from featcli.workflow.session import Session, open_backbone, open_runtime
from featcli.writers.feature_files import FeatureFile, LabelledRef, check_format, open_feature_file


def extract(session: Session, arguments: Sequence[str], output: Path, format: str | None, separator: bytes) -> Answer:
    """Writes the features of the files and folders given, or of the config's data.

    Memory does not grow with the number of images, but for their names.

    Raises:
        FeatcliError: backbone, data or output are not available. Bad images are listed, not raised.
    """
    session.loaded.require("backbone.name", *(() if arguments else ("data.root",)))
    chosen = check_format(output, format, session.loaded.config.data.manifest)
    _describe_idle(session, arguments, separator)
    runtime = open_runtime(session)
    backbone = open_backbone(session)
    ignored = Ignored()
    data = None if arguments else open_data(session, runtime)
    decides = data if data is not None else _training_data(session, runtime)
    backbone = with_range(session, backbone, decides, runtime, hint=not session.dry_run)
    if session.dry_run:
        if data is None:
            return Answer.arranged(lines_of(_plan_lines(backbone, runtime, arguments, output)))
        return make_plan(session, open_extractor(session, backbone, runtime, all_of(data.samples, planned=True)), data)
    limit = session.loaded.config.data.limit
    refs: Iterable[ImageRef] = itertools.islice(expand(arguments, ignored, separator=separator), limit)
    if data is not None:
        wanted = all_of(data.samples)
    else:
        wanted, refs = first_of(refs, waits=STDIN in arguments)
    extractor = open_extractor(session, backbone, runtime, wanted)
    images = _of_data(data) if data else map(LabelledRef, refs)
    total = partial(len, data.samples) if data else Total(arguments, limit)
    store = FeatureStore(session.cache, extractor.space, extractor.backbone.feature_size, session.emit)
    classes = data.classes if data else ()
    with open_feature_file(output, chosen, extractor, classes) as file:
        unreadable, done = _extract_all(session, extractor, store, images, total, file)
        if done == 0:
            accept_no_images(arguments, ignored, session.emit)
    if ignored.counts:
        session.emit(Note(f"skipped in folders: {ignored}"))
    return Answer(None if check_output_file(output).is_stdout else str(output), unreadable=unreadable)


def _extract_all(
    session: Session,
    extractor: Extractor,
    store: FeatureStore,
    images: Iterable[LabelledRef],
    total: Callable[[], int | None],
    file: FeatureFile,
) -> tuple[Unreadable, int]:
    """The images that could not be read, and how many there were in all."""
    batch_size = session.loaded.config.loader.batch_size
    unreadable = Unreadable()
    labelled: list[LabelledRef] = []  # handed out, not yet come back: bounded by what is in flight

    def refs() -> Iterable[ImageRef]:
        for image in images:
            labelled.append(image)
            yield image.ref

    done = stored = 0
    session.emit(Progress("features", 0, total()))
    with store.writer(extractor.engine.provenance()) as writer:
        for batch in extractor.stream(refs(), batch_size=batch_size, store=store):
            for row, image in zip(batch, labelled[: len(batch)], strict=True):
                if row.feature is None:
                    unreadable.add(row.path, row.error or "unreadable")
                    file.add_error(image, row.error or "unreadable")
                    continue
                file.add(image, row.feature)
                stored += row.stored
                if not row.stored and row.digest is not None and not extractor.is_rescued:
                    writer.add(row.digest, row.feature)
            del labelled[: len(batch)]
            done += len(batch)
            session.emit(Progress("features", done, total()))
    session.emit(Progress("features", done, done, finished=True))
    if done and unreadable.count == done:
        path, reason = unreadable.first[0]
        raise UnreadableDataError(f"none of the {done} images can be read; the first: {path}: {reason}")
    session.emit(Fact("features", f"{done - stored - unreadable.count} computed, {stored} from the store"))
    return unreadable, done


def _describe_idle(session: Session, arguments: Sequence[str], separator: bytes) -> None:
    """Names the options that were given for this call and that it does nothing with."""
    config = session.loaded.config
    idle = {
        "head.": "features have none",
        "train.": "nothing is trained",
        "backbone.freeze_depth": "nothing is trained",
        "data.positive": "it is of metrics",
        "output": "-o names the file",
    }
    if config.backbone.layer == "penultimate" and config.backbone.pooling != "auto":
        idle["backbone.pooling"] = "the penultimate layer has its own"
    if arguments and config.data.range != "auto":  # which the config's training images decide
        idle |= of_images("the images are those that are named")
        if config.backbone.weights == "none":
            del idle["seed"]
    describe_idle(session, "extract", idle)
    describe_separator(arguments, separator, session.emit)


def _training_data(session: Session, runtime: Runtime) -> Dataset | None:
    """The config's data where paths are extracted and `data.range: auto` asks what its training images use."""
    config = session.loaded.config.data
    if config.range != "auto" or (config.root or config.manifest) is None:
        return None
    return read_dataset(session, session.loaded, runtime, keep=not session.dry_run)


def _of_data(data: Dataset) -> Iterable[LabelledRef]:
    return (LabelledRef(sample.ref, sample.label, sample.split) for sample in data.samples)


def _plan_lines(backbone: Backbone, runtime: Runtime, arguments: Sequence[str], output: Path) -> list[str]:
    return [
        "plan",
        f"  device      {runtime}",
        f"  backbone    {backbone.name}, weights {backbone.weights}",
        f"  input       {backbone.preprocessing}",
        f"  images      from {', '.join(arguments)}",
        f"  output      {output}",
    ]
