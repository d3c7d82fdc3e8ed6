"""A page made of values: every kind of suspicion, and runs of which little is known."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featcli.analysis.suspects import KINDS, Suspect
from featcli.errors import CheckpointError
from featcli.events import ignore
from featcli.report.comparison import compare
from featcli.report.material import Cloud, Epoch, Judged, Listed, Material, Measured
from featcli.report.numbers import Numbers
from featcli.report.page import make_page

BARE = Material(
    name="run", folder="/runs/run", classes=["cats", "dogs"], measured=None, others=[], head=Numbers({}, ""), images={},
    judged_training=None, cloud="There is no map.", suspects=[], epochs=[], facts={}, config=[], commands=[],
)  # fmt: skip


def text_of(*materials: Material) -> str:
    comparison = compare(materials, [], [None] * len(materials)) if len(materials) > 1 else None
    return make_page(materials, comparison, 1, ignore).html.decode()


def measured(n: int = 12, **values: object) -> Measured:
    images = [Judged(f"/d/{i}.png", "cats", "dogs" if i % 3 == 0 else "cats", 0.6 + i / 100) for i in range(n)]
    numbers = {"accuracy": 8 / 12, "accuracy_ci95": [0.4, 0.9], "n": n, **values}
    cells = {("cats", "cats"): 8, ("cats", "dogs"): 4}
    return Measured("val", Numbers(numbers, "metrics.json", "val"), images, cells)


def test_a_run_of_which_nothing_is_known_has_a_page() -> None:
    text = text_of(BARE)
    assert "No image was held out, so nothing is known of how good the model is" in text
    assert "There is no map." in text and "None was found." in text
    assert 'id="r1-confusion"' not in text and "<ol" not in text


@pytest.mark.filterwarnings("error")
def test_every_kind_of_suspicion_is_shown_with_its_pictures(tmp_path: Path) -> None:
    images = {}
    for index in range(2 * len(KINDS)):
        path = str(tmp_path / f"{index:02}.png")
        Image.fromarray(np.full((20, 20, 3), 10 * index, dtype=np.uint8)).save(path)
        images[path] = Listed(path, path, "train" if index % 2 else "val", "cats", "")
    paths = list(images)
    suspects = [
        Suspect("cats", kind, "dogs", 0.5, f"why-{kind}")
        if kind == "classes"
        else Suspect(paths[index], kind, paths[-1 - index] if index < 3 else None, 0.5, f"why-{kind}")
        for index, kind in enumerate(KINDS)
    ]
    features = np.random.default_rng(0).normal(size=(len(paths), 4)).astype(np.float32)
    cloud = Cloud(list(images.values()), features, len(paths), 0)
    text = text_of(replace(BARE, images=images, suspects=suspects, cloud=cloud))
    section = text.split('id="r1-suspects"')[1].split("</section>")[0]
    assert re.findall(r"why-(\w+)", section) == list(KINDS)
    assert section.count("<img") == 3 * 2 + len(KINDS) - 4
    assert "<strong>cats</strong> and <strong>dogs</strong>: why-classes" in section
    drawn = text.split('id="r1-map"')[1].split("</section>")[0]
    assert drawn.count('class="suspect c0"') == 3 * 2 + len(KINDS) - 4
    assert "suspicious (12)" in drawn


def test_test_images_are_marked_as_such_and_a_chosen_epoch_is_said() -> None:
    chosen = measured(selected={"epoch": 3, "epochs": 9})
    text = text_of(
        replace(BARE, measured=chosen, epochs=[Epoch(0, None, 0.5, 0.7, True), Epoch(1, 0.4, 0.6, 0.6, True)])
    )
    assert "Optimistic: the best of epochs 0 to 9 on these images." in text
    assert "Epoch 1 was kept." in text
    text = text_of(replace(BARE, measured=replace(measured(), split="test"), others=[chosen]))
    assert "<span>test accuracy</span>" in text and "Optimistic" not in text
    assert "validation: 66.7 % (40.0 % to 90.0 %), 12 images" in text


def test_thresholds_where_a_class_is_to_be_found() -> None:
    row = {"target_sensitivity": 0.9, "threshold": 0.1234567, "sensitivity": 0.91, "specificity": 0.5}
    row |= {"precision": 0.7, "flagged_share": 0.6}
    lost = {"target_sensitivity": 0.99, "threshold": None}
    values = {"positive": "dogs", "thresholds": [row, lost], "auroc": 0.8, "auroc_ci95": [0.7, 0.9]}
    one = measured(**values)
    images = [*(one.images or ()), Judged("/d/x.png", "dogs", "dogs", 0.8)]
    text = text_of(replace(BARE, measured=replace(one, images=images)))
    assert "AUROC 0.800 (95 % interval 0.700 to 0.900)" in text
    assert "<td>0.123456</td><td>0.910</td>" in text, "rounded down"
    assert '<th scope="row">0.99</th><td>cannot be reached</td>' in text
    assert "Which class is to be found was not said" not in text


def test_what_only_some_runs_have_is_compared_where_it_is() -> None:
    text = text_of(BARE, replace(BARE, name="other", folder="/runs/other", measured=measured()))
    assert "run and other are not compared image by image" in text
    assert "(run: none; other: validation)" in text
    same = text_of(BARE, replace(BARE, folder="/elsewhere/run"))
    assert '<a href="#r1">/runs/run</a>' in same, "as much of the paths as tells them apart"


@pytest.mark.parametrize("name", ["accuracy", "ece", "log_loss"])
def test_a_number_that_is_none_is_damage_with_its_place(name: str) -> None:
    with pytest.raises(CheckpointError, match=rf"metrics.json is damaged: val.{name} is not a number"):
        text_of(*[replace(BARE, measured=measured(**{name: "x"}))] * 2)


def test_the_same_values_give_the_same_bytes() -> None:
    materials = [replace(BARE, measured=measured()), replace(BARE, name="b", measured=measured())]
    assert text_of(*materials) == text_of(*materials)
