"""The command line: parses arguments, wires the console to events, imports a command when it runs."""

from featcli.cli import choosing, helping, leaving, store, training, using
from featcli.cli.root import app

__all__ = ["app", "choosing", "helping", "leaving", "store", "training", "using"]

# As the help lists them: in the order in which they are used.
_ORDER = (
    "init",
    "check",
    "train-head",
    "finetune",
    "predict",
    "evaluate",
    "export",
    "report",
    "verify",
    "diff",
    "extract",
    "info",
    "models",
    "doctor",
    "demo",
    "help",
    "completion",
    "schema",
)
app.registered_commands.sort(key=lambda command: _ORDER.index(command.name or ""))
