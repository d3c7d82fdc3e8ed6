"""The page of a run, or of several side by side, from their folders to the file."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from featcli.analysis.suspects import Suspect
from featcli.config import Config, differences, moves
from featcli.cores import decide_cores
from featcli.errors import FeatcliError
from featcli.events import Fact, Note, Warn
from featcli.files import write_bytes
from featcli.metadata import CHECKPOINT_NAME
from featcli.report.comparison import compare
from featcli.report.gallery import Limits, map_images, marked_paths
from featcli.report.material import Cloud, Judged, Listed, Material
from featcli.report.numbers import Numbers
from featcli.report.page import make_page
from featcli.runs.folder import CONFIG_NAME, Run
from featcli.workflow.answer import Answer
from featcli.workflow.run_features import RunFeatures
from featcli.workflow.run_reading import (
    FinishedFolder,
    commands_of,
    config_lines,
    open_finished,
    read_epochs,
    read_images,
    read_judgements,
)
from featcli.workflow.session import Session
from featcli.workflow.suspicion import suspects_of_run
from featcli.writers.checkpoint_facts import checkpoint_facts

# Suspicious images by the space of their features and the images: runs side by side are mostly of the same ones.
_Looked: TypeAlias = dict[tuple[str, tuple[Listed, ...]], tuple[list[Suspect], str]]


@dataclass(frozen=True, slots=True)
class _Source:
    """A run, what its page is made of, and what it says of held-out images by their content."""

    opened: FinishedFolder
    material: Material
    by_content: dict[str, Judged] | None


def write_report(session: Session, folders: Sequence[Path], output: Path) -> dict[str, Any]:
    """Writes the page of some runs.

    Args:
        session: its store is read, never written to.
        folders: of the runs, or their checkpoints; each once.
        output: where the page goes.

    Returns:
        The path, the size, and of each run the three sentences.

    Raises:
        FeatcliError: a run cannot be read or is not finished, or the page cannot be written.
    """
    limits = Limits.shared_by(len(folders))
    looked: _Looked = {}
    sources = [_read(session, open_finished(session, folder), limits, looked) for folder in folders]
    materials = [source.material for source in sources]
    comparison = None
    if len(sources) > 1:
        options = _different_options([source.opened.config for source in sources])
        comparison = compare(materials, options, [source.by_content for source in sources])
    for source in sources:
        for problem in source.material.problems:
            session.emit(Warn(f"{source.opened.run.folder}: {problem}"))
    page = make_page(materials, comparison, _workers(session), session.emit)
    for said in page.notes:
        session.emit(Note(said))
    write_bytes(output, page.html)
    runs = [
        {"run": material.folder, "sentences": list(sentences)}
        for material, sentences in zip(materials, page.sentences, strict=True)
    ]
    return {"report": str(output), "bytes": len(page.html), "runs": runs}


def with_report(answer: Answer, session: Session, run: Run) -> Answer:
    """The answer of a training, once the page of its run is written into its folder, which is said.

    Whatever is wrong with the page, the run is whole: then the answer ends with why there is none.
    """
    try:
        write_report(session, [run.folder], run.report)
    except Exception as error:  # also what nobody foresaw: the run is not to be lost with its page
        reason = error.message if isinstance(error, FeatcliError) else f"{type(error).__name__}: {error}"
        failure = FeatcliError(
            f"the run is finished, but its report is not written: {reason}",
            f"Try again: featcli report {shlex.quote(str(run.folder))}",
        )
        failure.__cause__ = error
        return dataclasses.replace(answer, failure=failure)
    session.emit(Fact("report", str(run.report)))
    return answer


def _workers(session: Session) -> int:
    workers = session.loaded.config.loader.workers
    return decide_cores().count if workers == "auto" else workers


def _read(session: Session, opened: FinishedFolder, limits: Limits, looked: _Looked) -> _Source:
    metadata, metrics = opened.model.metadata, opened.metrics
    images, problems = read_images(opened)
    judgements = read_judgements(opened, images)
    facts = checkpoint_facts(opened.model.path, metadata)
    facts.pop("", None)  # that an epoch was chosen is said in the headline
    facts |= {"engine": metadata.engine, "checkpoint": f"sha256 {metrics.text('checkpoint_sha256')}"}
    if metadata.validation.n:
        facts["fingerprint"] = f"{metadata.validation.fingerprint} of the validation images"
    grey_range = opened.model.backbone.preprocessing.grey_range
    features = RunFeatures(session, opened)
    seen = (features.space.key, tuple(images.values()))
    if seen not in looked:
        looked[seen] = suspects_of_run(
            session, list(images.values()), features, grey_range=grey_range, workers=_workers(session)
        )
    suspects, not_looked_at = looked[seen]
    material = Material(
        name=Path(opened.folder).name,
        folder=opened.folder,
        classes=metadata.classes,
        measured=judgements.measured,
        others=judgements.others,
        head=metrics.part("head") or Numbers({}, ""),
        images=images,
        judged_training=judgements.training,
        cloud="",
        suspects=suspects,
        epochs=read_epochs(opened.run),
        facts=facts,
        config=config_lines(opened),
        commands=commands_of(opened),
        problems=[*problems, *judgements.problems],
        grey_range=grey_range,
        freeze_depth=str(metadata.freeze_depth),
        backbone=metadata.backbone.name,
        looked=not_looked_at,
    )
    material = dataclasses.replace(material, cloud=_cloud(features, opened, material, limits))
    by_content = None if judgements.by_content is None else dict(judgements.by_content)
    return _Source(opened, material, by_content)


def _cloud(features: RunFeatures, opened: FinishedFolder, material: Material, limits: Limits) -> Cloud | str:
    """Features of the images of a map as the store has them; or why there is no map."""
    known = [image for image in material.images.values() if image.sha256]
    if not known:
        return "There is no map: the run has no list of its images."
    choice = map_images(known, marked_paths(material), limits)
    chosen = choice.images
    found, values = features.of([image.sha256 for image in chosen])
    if not found.any():
        if material.freeze_depth != "all":
            return _way_to_map(opened)
        return "There is no map: the features are not in the feature store; the same run again puts them there."
    kept = [image for image, is_found in zip(chosen, found, strict=True) if is_found]
    return Cloud(kept, values[found], len(material.images), len(chosen) - len(kept), choice.left_out)


def _way_to_map(opened: FinishedFolder) -> str:
    config, checkpoint = Path(opened.folder) / CONFIG_NAME, Path(opened.folder) / CHECKPOINT_NAME
    options = [f"backbone.weights={checkpoint}", f"backbone.engine={opened.model.metadata.engine}"]
    flags = " ".join(f"--set {shlex.quote(option)}" for option in options)
    return (
        "There is no map: the features of a fine-tuned backbone are not kept. This computes them, and featcli report "
        f"draws the map then: featcli extract {shlex.quote(str(config))} {flags} -o features.npz"
    )


def _different_options(configs: Sequence[Config]) -> list[tuple[str, list[str]]]:
    """Keys that two or more configs disagree on, in the order of the schema, with the value of each config."""
    first = configs[0]
    changed = [{item.key: item for item in (*differences(first, other), *moves(first, other))} for other in configs[1:]]
    keys = list(dict.fromkeys(key for items in changed for key in items))
    rows = []
    for key in keys:
        ours = next(items[key].first for items in changed if key in items)
        rows.append((key, [ours, *(items[key].second if key in items else ours for items in changed)]))
    return rows
