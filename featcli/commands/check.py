"""`featcli check`: everything but the work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from featcli.analysis.audit import Audit
from featcli.backbones.stages import whole
from featcli.data.dataset import Dataset
from featcli.features.extraction import Extractor
from featcli.lines import laid_out
from featcli.outputs import STDOUT
from featcli.workflow.answer import Answer
from featcli.workflow.engines import all_of, open_extractor
from featcli.workflow.features import features_of
from featcli.workflow.images import open_data
from featcli.workflow.learning import check_head
from featcli.workflow.plans import make_plan
from featcli.workflow.positives import open_task
from featcli.workflow.ranges import with_range
from featcli.workflow.session import Session, open_backbone, open_runtime
from featcli.workflow.suspicion import audit_facts, audit_lines, look_deep
from featcli.workflow.training_plans import plan_training
from featcli.workflow.unused import describe_unused
from featcli.writers.issues import marks_in, write_issues


def check(session: Session, command: str = "train-head", issues: Path | None = None) -> Answer:
    """Validates config, weights and data, and gives the plan of a command.

    Args:
        session: the invocation.
        command: `train-head` or `finetune`.
        issues: where suspicious images are written; None: they are not looked for.

    Raises:
        FeatcliError: whatever that command would stumble over; or `issues` is something else that is there.
    """
    session.loaded.require("data.root", "backbone.name")
    if command == "train-head":
        check_head(session)
    marks = [] if issues is None else marks_in(issues)
    runtime = open_runtime(session)
    backbone = open_backbone(session)
    data = open_data(session, runtime)
    open_task(session, data.classes)
    backbone = with_range(session, backbone, data, runtime, hint=False)
    extractor = open_extractor(session, backbone, runtime, all_of(data.samples, planned=issues is None))
    found = None
    if issues is not None:
        found = _look(data, extractor, session)
        write_issues(issues, found.suspects, marks)
    training = plan_training(session, extractor, data) if command == "finetune" else None
    if training is None:
        describe_unused(session, command, data)
    plan = make_plan(session, extractor, data, training)
    if found is None or issues is None:
        return plan
    if issues == STDOUT:  # which the table has for itself
        return Answer(None, unreadable=plan.unreadable)
    return _with_suspicions(plan, found, issues)


def _look(data: Dataset, extractor: Extractor, session: Session) -> Audit:
    table = features_of(data.samples, extractor, session)
    preprocessing = whole(extractor.backbone).preprocessing
    return look_deep(data, table, session, grey_range=preprocessing.grey_range, workers=extractor.runtime.workers)


def _with_suspicions(plan: Answer, found: Audit, issues: Path) -> Answer:
    lines = "\n".join(audit_lines(found, issues))

    def text(width: int | None) -> str:
        return f"{plan.text_in(width)}\n{laid_out(lines, width)}"

    facts: dict[str, Any] = {**plan.facts, "deep": audit_facts(found, issues)}
    return Answer.arranged(text, facts, plan.unreadable)
