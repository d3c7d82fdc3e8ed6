"""`featcli check`: everything but the work."""

from __future__ import annotations

from featcli.features.extraction import Extractor
from featcli.workflow.answer import Answer
from featcli.workflow.images import open_data
from featcli.workflow.plans import make_plan
from featcli.workflow.session import Call, open_backbone, open_runtime
from featcli.workflow.training_plans import plan_training


def check(call: Call, command: str = "train-head") -> Answer:
    """Validates config, weights and data, and gives the plan of a command.

    Args:
        call: the invocation.
        command: `train-head` or `finetune`.

    Raises:
        FeatcliError: whatever that command would stumble over.
    """
    call.loaded.require("data.root", "backbone.name")
    runtime = open_runtime(call)
    extractor = Extractor(open_backbone(call), runtime)
    data = open_data(call, runtime)
    return make_plan(call, extractor, data, plan_training(call, extractor, data) if command == "finetune" else None)
