"""What is measured at the end of a run: of which images, in which order."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from featcli.commands.finetune import finetune
from featcli.config import load_config
from featcli.data.dataset import Sample
from featcli.evaluation.truth import Truth
from featcli.events import ClassResults, Event, ignore
from featcli.tasks.multiclass import Multiclass
from featcli.workflow import finetuning
from featcli.workflow.measuring import Measurements, draw_classes, truth_of
from featcli.workflow.parity import Measured
from featcli.workflow.session import Session
from featcli.writers.metrics_text import metrics_text

pytestmark = pytest.mark.usefixtures("one_thread")


def test_images_that_were_read_come_first_and_their_groups_with_them() -> None:
    samples = [
        Sample(f"{row}.png", row, "val", None, group=f"g{row}", joined="both" if row else None) for row in range(4)
    ]
    truth = truth_of(samples, np.array([False, True, False, True]))
    assert truth.targets.tolist() == [1, 3]
    assert truth.lost == [0, 2]
    assert truth.groups == ["both", "both", "g0", "both"]  # what shares an image is one
    numbers = truth.group_numbers()
    assert numbers is not None
    assert numbers.tolist() == [0, 0, 1, 0]


def test_an_image_without_a_group_is_one_of_its_own() -> None:
    samples = [
        Sample("a.png", 0, "val", b"a"),
        Sample("b.png", 0, "val", b"b", group="x"),
        Sample("c.png", 1, "val", None),
    ]
    assert truth_of(samples, np.ones(3, dtype=bool)).groups == [b"a".hex(), "x", "c.png"]
    assert truth_of(samples[::2], np.ones(2, dtype=bool)).groups is None


def test_of_many_training_images_a_part_is_measured(
    tmp_path: Path, make_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finetuning, "TRAINING_IMAGES", 5)
    make_folder(tmp_path / "photos", {"cats": 8, "dogs": 8})
    settings = ["backbone.name=efficientnet_lite0", "backbone.weights=none", "backbone.freeze_depth=8", "device=cpu"]
    settings += ["backbone.preprocess={resize: 40, crop: 32}", "train.epochs=1", f"data.root={tmp_path}/photos"]
    session = Session(load_config(None, [*settings, f"output={tmp_path}/run"]), tmp_path / "cache", ignore, threads=1)
    facts = finetune(session).facts
    assert facts["train_accuracy_n"] == 5
    assert facts["train_accuracy"] in [count / 5 for count in range(6)]


def test_of_many_classes_mistakes_are_counted_from_the_rows_of_each_split() -> None:
    names = tuple(f"c{index:03d}" for index in range(101))
    labels = np.array([0, 0, 1, 2])
    probabilities = np.zeros((4, 101))
    probabilities[np.arange(4), [1, 1, 1, 0]] = 1
    task = Multiclass(names)
    values = task.evaluate(probabilities, Truth(labels, [3]))
    assert values["confusion"] is None
    rows = [
        ["a", "val", names[label], names[int(row.argmax())], 1.0]
        for label, row in zip(labels, probabilities, strict=True)
    ]
    rows += [["b", "val", names[3], None, None], ["c", "test", names[9], names[8], 1.0]]
    heard: list[Event] = []
    draw_classes(Measurements({"val": values, "test": {"n": 0}}, rows, 1), heard.append)
    (drawn,) = heard
    assert isinstance(drawn, ClassResults)
    assert (drawn.split, drawn.confusion) == ("val", None)
    assert list(drawn.confused) == [("c000", "c001", 2, 2), ("c002", "c000", 1, 1)]

    samples = [Sample(f"{row}.png", int(label), "val", b"") for row, label in enumerate(labels)]
    measured = Measured(task, samples, np.arange(4), probabilities)
    assert measured.cells() == {("c000", "c001"): 2, ("c001", "c001"): 1, ("c002", "c000"): 1}
    text = metrics_text("in photos", values, width=80, count=measured.cells)
    assert "c000 -> c001  2 of 2" in text
