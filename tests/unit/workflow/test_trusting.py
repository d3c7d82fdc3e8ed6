"""What is said of held-out images: doubtful labels are those whose image is surely of another class."""

from __future__ import annotations

import numpy as np

from featcli.data.dataset import Sample
from featcli.evaluation.trust import NOTHING
from featcli.events import Event, Fact
from featcli.tasks import task_of
from featcli.workflow.trusting import Evidence, describe_held_out, measure_held_out, repeat_folds


def sample(name: str, label: int) -> Sample:
    return Sample(f"{name}.png", label, "train", name.encode())


def evidence() -> Evidence:
    """One image is divided between two other classes, and one is surely of another."""
    samples = [sample("torn", 0), sample("sure", 0), sample("right", 1), sample("fine", 2)]
    logits = np.array([[-9.0, 1.0, 1.0], [0.0, 4.0, 0.0], [0.0, 5.0, 0.0], [0.0, 0.0, 5.0]])
    return Evidence(samples, logits, "5 folds")


def test_a_doubtful_label_is_surely_another() -> None:
    found = measure_held_out(evidence(), task_of(["a", "b", "c"]), NOTHING)
    assert [row[0] for row in found.rows][:2] == ["torn.png", "sure.png"]
    assert found.facts["doubtful_labels"] == 1
    events: list[Event] = []
    describe_held_out(found, events.append)
    facts = [event for event in events if isinstance(event, Fact)]
    assert [fact.name for fact in facts] == ["held out", "doubtful"]
    assert facts[1].text == "sure.png: a? b 0.96"


def test_deals_of_the_folds_are_summarised() -> None:
    better = Evidence(evidence().samples, np.eye(3)[[0, 0, 1, 2]] * 5, "5 folds")
    found = repeat_folds([evidence(), better], task_of(["a", "b", "c"]), 1.0)
    assert (found["repeats"], found["accuracy"]["min"], found["accuracy"]["max"]) == (2, 0.5, 1.0)
    assert found["recall"]["a"] == {"mean": 0.5, "std": np.std([0, 1], ddof=1), "min": 0.0, "max": 1.0}
