"""`featcli check`: everything but the work."""

from __future__ import annotations

from featcli.commands.plans import Plan, make_plan
from featcli.commands.setup import Call, open_backbone, open_data, open_runtime
from featcli.features.extraction import Extractor


def check(call: Call) -> Plan:
    """Validates config, weights and data, and gives the plan of `train-head`.

    Raises:
        FeatcliError: whatever `train-head` would stumble over.
    """
    call.loaded.require("data.root", "backbone.name")
    runtime = open_runtime(call)
    extractor = Extractor(open_backbone(call), runtime)
    return make_plan(call, extractor, open_data(call, runtime))
