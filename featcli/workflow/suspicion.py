"""Which images of a run are suspicious."""

from __future__ import annotations

from featcli.analysis.suspects import Suspect
from featcli.runs.folder import Run
from featcli.workflow.session import Session
from featcli.workflow.trusting import SURE


def suspects_of_run(session: Session, run: Run) -> list[Suspect]:
    """Suspicious images of a finished run, the worst of each kind first.

    Args:
        session: the invocation.
        run: whose images are looked at.
    """
    return doubtful_labels(run)


def doubtful_labels(run: Run) -> list[Suspect]:
    """Training images that heads which did not learn from them are sure of as another class."""
    found = []
    for row in run.read_training() or ():
        confidence = float(row["confidence"])
        if row["label"] != row["true_label"] and confidence >= SURE:
            why = f"labelled {row['true_label']}; {row['label']} with {confidence:.2f}, by a head that had not seen it"
            found.append(Suspect(row["path"], "label", None, 1 - float(row["true_confidence"]), why))
    return found
