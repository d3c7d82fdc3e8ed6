"""`featcli check`: everything but the work."""

from __future__ import annotations

from featcli.commands.plans import Plan, make_plan
from featcli.commands.setup import Call, open_backbone, open_data, open_runtime
from featcli.commands.training_plans import plan_training
from featcli.features.extraction import Extractor


def check(call: Call, command: str = "train-head") -> Plan:
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
