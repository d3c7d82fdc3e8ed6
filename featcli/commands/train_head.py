"""`featcli train-head`: features, a head on them, metrics, one checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from featcli.data.dataset import Dataset
from featcli.features.extraction import FeatureTable
from featcli.heads.head import Head
from featcli.heads.registry import find_head
from featcli.predictor import Predictor
from featcli.runs.claiming import claim_run
from featcli.runs.folder import Run
from featcli.runs.images import describe_changes, list_images
from featcli.runs.moving import require_same_content
from featcli.runtime import Runtime
from featcli.training.freezing import FrozenCheck
from featcli.workflow.answer import Answer
from featcli.workflow.cards import write_card
from featcli.workflow.closing import close_run
from featcli.workflow.engines import all_of, open_extractor
from featcli.workflow.features import features_of, unreadable_of
from featcli.workflow.images import open_data
from featcli.workflow.leaking import with_memory
from featcli.workflow.learning import check_head, learn_head
from featcli.workflow.measuring import mark_selection, measure_splits, training_facts
from featcli.workflow.outcome import (
    Clock,
    Model,
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
from featcli.workflow.solving import repeated, solve_head, solved_facts
from featcli.workflow.trusting import (
    Evidence,
    describe_held_out,
    describe_repeats,
    learn_trust,
    measure_held_out,
    repeat_folds,
    validation_evidence,
)
from featcli.workflow.unused import describe_unused


def train_head(session: Session, *, report: bool = False) -> Answer:
    """Trains a head on frozen features and writes a run folder.

    Args:
        session: the invocation.
        report: whether the page of the run is written too.

    Raises:
        FeatcliError: whatever is wrong with config, data, weights, or the output; nothing is left half done.
    """
    config = session.loaded.config
    session.loaded.require("data.root", "backbone.name", "output")
    check_head(session)
    clock = Clock()
    runtime = open_runtime(session)
    with claim_run(
        config, session.emit, command="train-head", overwrite=session.overwrite, dry_run=session.dry_run
    ) as run:
        answer = _train_in(run, session, runtime, clock)
        return with_report(answer, session, run) if report and not session.dry_run else answer


def _train_in(run: Run, session: Session, runtime: Runtime, clock: Clock) -> Answer:
    config = session.loaded.config
    backbone = open_backbone(session)
    data = open_data(session, runtime)
    describe_unused(session, "train-head", data)
    task = open_task(session, data.classes)
    backbone = with_range(session, backbone, data, runtime, hint=not session.dry_run)
    images = list_images(data)
    if not session.overwrite:
        require_same_content(run, config, images, backbone.weights_sha256, session.emit)
    if session.dry_run:
        return make_plan(session, open_extractor(session, backbone, runtime, all_of(data.samples, planned=True)), data)
    changes = describe_changes(run, images, config, session.emit)
    clock.lap("prepare")

    extractor = open_extractor(session, backbone, runtime, all_of(data.samples))
    frozen_check = FrozenCheck(backbone)
    table = features_of(data.samples, extractor, session)
    clock.lap("features")
    trained = _train(data, table, runtime, session)
    head, facts, log = trained.head, trained.facts, trained.log
    clock.lap("head")
    frozen_check.verify()

    evidence = trained.evidence or validation_evidence(data.samples, table, head)
    trust = learn_trust(evidence, task, data.samples, table, session.emit, learned_features=False)
    clock.lap("trust")
    predictor = Predictor.with_head(extractor, head, task, trust)
    measured = measure_splits(data.samples, table, predictor)
    measured = with_memory(measured, data.samples, table, predictor, session.emit)
    facts |= training_facts(data.samples, table, predictor)
    mark_selection(measured.metrics, facts)
    clock.lap("leaks")
    facts["held_out"], doubted = None, None
    if trained.evidence is not None:
        found = measure_held_out(trained.evidence, task, trust)
        describe_held_out(found, session.emit)
        facts["held_out"], doubted = found.facts, found.rows
    facts["repeats"] = None
    if trained.repeats:
        facts["repeats"] = repeat_folds(trained.repeats, task, trust.temperature)
        describe_repeats(facts["repeats"], session.emit)
    facts["calibration"] = None if trust.calibration is None else trust.calibration.to_json()
    model = Model(backbone, head, "all", facts, task, measured, extractor.engine.name, trust)
    sha256 = write_model(run, config, make_checkpoint(model, config, runtime, data), model)
    run.write_training(doubted)
    engine = {"engine": extractor.engine_facts}
    features = {"computed": table.computed, "errors": len(table.errors), "engine": extractor.engine.name}
    log.insert(0, {"event": "features", **features})
    write_card(run, sha256, model.to_json(), images, session.emit)
    finished = finish_run(run, sha256, model, images, log, clock)
    steps = close_run(session, run, model, data)
    return Answer(
        text=str(run.checkpoint),
        facts=summarise(finished, model, data, table, changes) | engine | {"next": steps},
        unreadable=unreadable_of(data.samples, table),
    )


@dataclass(frozen=True, slots=True)
class _Trained:
    """A head, what `metrics.json` says of it, the lines of the log, and what is known from images it never saw."""

    head: Head
    facts: dict[str, Any]
    log: list[dict[str, Any]]
    evidence: Evidence | None = None
    repeats: Sequence[Evidence] = ()


def _train(data: Dataset, table: FeatureTable, runtime: Runtime, session: Session) -> _Trained:
    config = session.loaded.config.head
    if find_head(config.kind).solve is None:
        return _Trained(*learn_head(data, table, runtime, session))
    solved, evidence = solve_head(config.kind, data, table, session, hold_out=True)
    facts = solved_facts(config.kind, solved, config.class_weight)
    repeats = () if config.repeats is None else repeated(config.kind, solved, data, table, session)
    return _Trained(solved.head, facts, list(solved.log), evidence, repeats)
