"""What metrics mean, in words: their interval, the classes that they are of, and what was chosen on the images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from featcli.evaluation.intervals import FEWEST_GROUPS
from featcli.text import clipped, first_few


def interval_text(metrics: Mapping[str, Any], digits: int = 3) -> str:
    """The interval of an accuracy in words: `95 % interval over 20 groups 0.900 to 0.973`.

    Args:
        metrics: of a split; `interval` may be absent.
        digits: after the point.
    """
    bounds, grouped = metrics["accuracy_ci95"], metrics.get("interval") == "groups"
    if bounds is None:
        unequal = " of very unequal sizes" if metrics["n_groups"] >= FEWEST_GROUPS else ""
        return f"too few groups for an interval: {metrics['n_groups']}{unequal}"
    over = f" over {metrics['n_groups']} groups" if grouped else ""
    return f"95 % interval{over} {bounds[0]:.{digits}f} to {bounds[1]:.{digits}f}"


def absent_text(metrics: Mapping[str, Any]) -> str | None:
    """Of which classes the numbers are, where not of all: `of 2 of 3 classes: no image of wasps`."""
    names = [name for name, scores in metrics["per_class"].items() if scores["support"] == 0]
    if not names:
        return None
    n = len(metrics["per_class"])
    return f"of {n - len(names)} of {n} classes: no image of {first_few([clipped(name, 20) for name in names])}"


def selection_text(selected: Mapping[str, Any]) -> str:
    """What `selected` of a split's metrics means for them."""
    return f"the best of epochs 0 to {selected['epochs']} on these images: optimistic"
