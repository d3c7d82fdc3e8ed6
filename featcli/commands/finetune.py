"""`featcli finetune`: the stages past the freeze depth and the head, trained together; metrics, one checkpoint."""

from __future__ import annotations

import dataclasses
from typing import Any

from featcli.data.dataset import SPLITS, Dataset
from featcli.events import Fact, Note
from featcli.runs.claiming import claim_run
from featcli.runs.folder import Run
from featcli.runs.images import describe_changes, list_images
from featcli.runs.moving import require_same_content
from featcli.runs.resuming import Identity, check_resumable, start_over
from featcli.runtime import Runtime
from featcli.training.freezing import FrozenCheck
from featcli.training.problem import Diverged
from featcli.workflow.answer import Answer
from featcli.workflow.cards import write_card
from featcli.workflow.closing import close_run
from featcli.workflow.engines import all_of, open_extractor
from featcli.workflow.features import features_of
from featcli.workflow.finetuning import FineTuning
from featcli.workflow.images import open_data
from featcli.workflow.learning import gradient_of
from featcli.workflow.measuring import TRAINING_FACTS
from featcli.workflow.outcome import (
    Clock,
    brief,
    finish_run,
    make_checkpoint,
    summarise,
    write_model,
)
from featcli.workflow.plans import make_plan
from featcli.workflow.positives import open_task
from featcli.workflow.ranges import with_range
from featcli.workflow.reporting import with_report
from featcli.workflow.session import Session, open_backbone, open_runtime
from featcli.workflow.training_plans import frozen_depth, plan_training
from featcli.workflow.unused import describe_unused


def finetune(session: Session, *, resume: bool = False, report: bool = False) -> Answer:
    """Trains the stages past the freeze depth, and the head, and writes a run folder.

    Args:
        session: the invocation.
        resume: go on with the unfinished training that the output holds.
        report: whether the page of the run is written too.

    Raises:
        FeatcliError: whatever is wrong with config, data, weights or the output, or the training diverged.
        Interrupted: a signal came; the training was saved first.
    """
    config = session.loaded.config
    session.loaded.require("data.root", "backbone.name", "output")
    clock = Clock()
    runtime = open_runtime(session)
    with claim_run(
        config,
        session.emit,
        command="finetune",
        overwrite=session.overwrite,
        resume=resume,
        dry_run=session.dry_run,
    ) as run:
        answer = _tune_in(run, session, runtime, clock, resume=resume)
        return with_report(answer, session, run) if report and not session.dry_run else answer


def _tune_in(run: Run, session: Session, runtime: Runtime, clock: Clock, *, resume: bool) -> Answer:
    config = session.loaded.config
    gradient_of(session)  # a head that cannot be trained is told before any work
    backbone = open_backbone(session)
    if session.dry_run:
        data = open_data(session, runtime)
        open_task(session, data.classes)
        backbone = with_range(session, backbone, data, runtime, hint=False)
        extractor = open_extractor(session, backbone, runtime, all_of(data.samples, planned=True))
        if not session.overwrite:
            require_same_content(run, config, list_images(data), backbone.weights_sha256, session.emit)
        return make_plan(session, extractor, data, plan_training(session, extractor, data))
    n_frozen = frozen_depth(backbone, session)
    data = open_data(session, runtime)
    describe_unused(session, "finetune", data, all_frozen=n_frozen == len(backbone.stages))
    task = open_task(session, data.classes)
    backbone = with_range(session, backbone, data, runtime)
    seen = dataclasses.replace(data, samples=tuple(sample for sample in data.samples if sample.split != "test"))
    images = list_images(data)
    if not session.overwrite:
        require_same_content(run, config, images, backbone.weights_sha256, session.emit)
    identity = Identity(config, backbone.weights_sha256, images)
    if resume:
        checkpoint = check_resumable(run, identity, session.emit)
        if checkpoint is not None:
            return Answer(checkpoint, _finished_summary(run, data))
    changes = None if resume else describe_changes(run, images, config, session.emit)
    clock.lap("prepare")

    frozen_check = FrozenCheck(backbone, n_frozen)
    extractor = open_extractor(session, backbone, runtime, all_of(seen.samples))
    table = features_of(seen.samples, extractor, session)
    clock.lap("features")
    training = FineTuning(session, extractor, n_frozen, seen, table, task)
    if not resume:
        start_over(run, identity, session.emit)
    try:
        progress = training.run(run)
    except Diverged as error:
        frozen_check.verify()
        model, _ = training.measure(error.progress, data)
        write_model(run, config, make_checkpoint(model, config, runtime, data), model)
        run.write_log(error.progress.log)
        session.emit(Note(f"the weights of the best epoch before that are in {run.checkpoint}"))
        raise
    clock.lap("training")
    compared = frozen_check.verify()
    if n_frozen:
        session.emit(Fact("frozen", f"{compared} tensors of {n_frozen} stages are bit for bit what they were"))

    model, unreadable = training.measure(progress, data)
    sha256 = write_model(run, config, make_checkpoint(model, config, runtime, data), model)
    write_card(run, sha256, model.to_json(), images, session.emit)
    finished = finish_run(run, sha256, model, images, progress.log, clock)
    identity.write(run, finished=sha256)
    steps = close_run(session, run, model, data)
    engine = {"engine": extractor.engine_facts}
    trained = {"freeze_depth": model.freeze_depth, "epochs": model.facts["epochs"], "best_epoch": progress.best_epoch}
    return Answer(
        text=str(run.checkpoint),
        facts=summarise(finished, model, seen, table, changes) | engine | trained | {"next": steps},
        unreadable=unreadable,
    )


def _finished_summary(run: Run, data: Dataset) -> dict[str, Any]:
    """The answer under `--json` for a training that was finished before."""
    metrics = run.read_metrics()
    splits: dict[str, Any] = {split: brief(metrics[split]) for split in SPLITS[1:] if split in metrics}
    head = metrics["head"]
    return {
        "checkpoint": str(run.checkpoint),
        "checkpoint_sha256": metrics["checkpoint_sha256"],
        "classes": list(data.classes),
        **splits,
        "head": {"kind": head["kind"], "C": head["C"]},
        **{name: head.get(name) for name in TRAINING_FACTS},
        "timings": run.read_timings() or metrics.get("timings", {}),
        "epochs": head["epochs"],
        "best_epoch": head["best_epoch"],
    }
