"""`featcli check`: everything but the work."""

from __future__ import annotations

from featcli.workflow.answer import Answer
from featcli.workflow.engines import all_of, open_extractor
from featcli.workflow.images import open_data
from featcli.workflow.learning import check_head
from featcli.workflow.plans import make_plan
from featcli.workflow.positives import open_task
from featcli.workflow.ranges import with_range
from featcli.workflow.session import Session, open_backbone, open_runtime
from featcli.workflow.training_plans import plan_training
from featcli.workflow.unused import describe_unused


def check(session: Session, command: str = "train-head") -> Answer:
    """Validates config, weights and data, and gives the plan of a command.

    Args:
        session: the invocation.
        command: `train-head` or `finetune`.

    Raises:
        FeatcliError: whatever that command would stumble over.
    """
    session.loaded.require("data.root", "backbone.name")
    if command == "train-head":
        check_head(session)
    runtime = open_runtime(session)
    backbone = open_backbone(session)
    data = open_data(session, runtime)
    open_task(session, data.classes)
    backbone = with_range(session, backbone, data, runtime, hint=False)
    extractor = open_extractor(session, backbone, runtime, all_of(data.samples, planned=True))
    if command == "finetune":
        return make_plan(session, extractor, data, plan_training(session, extractor, data))
    describe_unused(session, command, data)
    return make_plan(session, extractor, data)
