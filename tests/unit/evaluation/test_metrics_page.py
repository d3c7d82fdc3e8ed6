"""docs/metrics.md names every field that a split's metrics have."""

import re
from pathlib import Path

import numpy as np

from featcli.evaluation.truth import Truth
from featcli.tasks import task_of

PAGE = Path(__file__).resolve().parents[3] / "docs" / "metrics.md"


def test_every_field_is_on_the_page() -> None:
    found = task_of(["ants", "bees"], "bees").evaluate(np.array([[0.9, 0.1], [0.2, 0.8]]), Truth(np.array([0, 1])))
    named = set(re.findall(r"`(\w+)`", PAGE.read_text()))
    named |= {f"{name}_ci95" for name in ("sensitivity", "specificity")}
    assert set(found) - named == set()
    assert set(found["thresholds"][0]) - named == set()
    assert set(found["per_class"]["ants"]) - named == set()
