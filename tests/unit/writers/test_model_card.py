"""The card of a model: numbers of the run, limits that follow from them, nothing that a name could break."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import yaml
from markdown_it import MarkdownIt

from featcli.evaluation.truth import Truth
from featcli.metadata import CheckpointMetadata
from featcli.runs.folder import RunImage
from featcli.tasks.multiclass import evaluate
from featcli.text import printable
from featcli.writers.model_card import CardFacts, model_card
from featcli.writers.owner_text import TO_DO, read_edits

ODD = ["wea|sels", "`x`", "<b>bold</b>", "a: [b]\n---\nc", "<!-- featcli:end -->", "犬猫" * 40, "plain"]


def metadata(classes: list[str], **changes: Any) -> CheckpointMetadata:
    values: dict[str, Any] = {
        "format": 1,
        "classes": classes,
        "training_fingerprint": "ab" * 32,
        "backbone": {
            "name": "resnet18", "weights": "IMAGENET1K_V1", "weights_sha256": "cd" * 32, "arguments": {},
            "layer": "penultimate", "feature_size": 512, "n_stages": 6,
        },
        "freeze_depth": "all",
        "preprocessing": {"resize": 256, "crop": 224, "interpolation": "bilinear", "mean": [0.5], "std": [0.5]},
        "precision": "fp32",
        "device_type": "cpu",
        "head": {"kind": "logistic", "C": 1.0, "class_weight": "none", "sha256": "ef" * 32},
        "split": {"made_by": "hash", "seed": 0, "val_fraction": 0.2},
        "validation": {"fingerprint": "12" * 32, "n": 60, "correct": 50, "metrics": {}},
        "calibration": {"temperature": 1.2, "n": 100, "how": "5 folds"},
        "trust": {"sha256": "34" * 32, "novelty": {"share": 0.95}},
        "versions": {"featcli": "0.1.0", "torch": "2.9"},
    }  # fmt: skip
    return CheckpointMetadata.model_validate(values | changes)


def measured(classes: list[str], n: int = 60, right: float = 0.9) -> dict[str, Any]:
    random = np.random.default_rng(3)
    labels = np.arange(n) % len(classes)
    named = np.where(random.random(n) < right, labels, (labels + 1) % len(classes))
    probabilities = np.full((n, len(classes)), 0.1 / max(len(classes) - 1, 1))
    probabilities[np.arange(n), named] = 0.9
    return evaluate(probabilities, Truth(labels, []), classes) | {"selected": None}


def facts(classes: list[str], *, val: dict[str, Any] | None = None, each: int = 30, **changes: Any) -> CardFacts:
    images = [
        RunImage(f"/private/{split}/{index}.png", split, name, "00" * 32)
        for name in classes
        for split, n in (("train", each), ("val", 5))
        for index in range(n)
    ]
    head = {"kind": "logistic", "C": 1.0, "train_accuracy": 1.0, "train_accuracy_n": 90} | changes.pop("head", {})
    splits = {"val": measured(classes) if val is None else val} | changes.pop("splits", {})
    memory = changes.pop("memory", {})
    return CardFacts("run", "56" * 32, metadata(classes, **changes), {**splits, "head": head, "memory": memory}, images)


def limits_of(card: str) -> str:
    return card.split("## Limits\n")[1].split("\n## ")[0]


def test_the_card_says_what_was_measured() -> None:
    val = measured(["cats", "dogs", "owls"])
    card = model_card(facts(["cats", "dogs", "owls"], val=val))
    low, high = val["accuracy_ci95"]
    assert f"| accuracy | {val['accuracy']:.3f} ({low:.3f} to {high:.3f}) |" in card
    assert f"worst class {val['worst_class']['class']}: recall {val['worst_class']['recall']:.3f}" in card
    first = val["most_confused"]
    pair = f"{first['true']} taken for {first['predicted']} ({first['count']} of {first['support']})"
    assert f"most confused: {pair}" in card
    assert "| cats | 30 | 5 |" in card
    assert "| all | 90 | 15 |" in card
    assert "accuracy 1.000 on 90 images that it learned from" in card
    assert "temperature 1.200, from 100 images: 5 folds" in card
    assert f"train `{'ab' * 32}`, val `{'12' * 32}`" in card
    assert "featcli evaluate run --parity\n" in card
    assert card.count(TO_DO) == 5
    assert "/private" not in card
    assert not read_edits(card)
    assert card == model_card(facts(["cats", "dogs", "owls"], val=val))


def test_front_matter_is_yaml_that_no_name_can_break() -> None:
    card = model_card(facts(ODD))
    assert card.startswith("---\n")
    front = card.split("---\n")[1]
    assert yaml.safe_load(front) == {
        "library_name": "featcli",
        "pipeline_tag": "image-classification",
        "tags": ["image-classification", "transfer-learning", "featcli"],
    }


def test_odd_names_are_shown_and_do_nothing() -> None:
    card = model_card(facts(ODD))
    assert not read_edits(card), "a class that is called like a mark is none"
    parser = MarkdownIt("commonmark", {"html": True}).enable("table")
    tokens = parser.parse(card)
    blocks = [token.content.strip() for token in tokens if token.type == "html_block"]
    assert all(block.startswith("<!-- featcli:") for block in blocks)
    inline = [child for token in tokens if token.type == "inline" for child in token.children or []]
    assert {child.type for child in inline} <= {"text", "code_inline", "softbreak"}
    shown = ["".join(child.content for child in token.children or []) for token in tokens if token.type == "inline"]
    for name in ODD[:5]:
        assert printable(name) in shown, name


@pytest.mark.parametrize("k", [30, 31, 50, 51, 200])
def test_of_many_classes_some_are_named_and_all_are_counted(k: int) -> None:
    names = [f"class{index:03d}" for index in range(k)]
    card = model_card(facts(names, val=measured(names, n=2 * k)))
    listed = card.split("in this order: ")[1].split("\n")[0]
    assert listed.count("class") == min(k, 50)
    assert listed.endswith(f" and {k - 50} more") == (k > 50)
    assert card.count("\n| class") == (k if k <= 30 else 10)


def test_where_the_epoch_was_chosen_the_numbers_are_called_optimistic() -> None:
    val = measured(["a", "b"]) | {"selected": {"epoch": 3, "epochs": 9}}
    card = model_card(facts(["a", "b"], val=val, head={"best_epoch": 3, "epochs": 9}))
    assert "95 % interval" in card and ", optimistic)." in card
    assert "the best of epochs 0 to 9 on these images: optimistic" in card
    assert "never measured on a test split, and the epoch was chosen on the validation images" in limits_of(card)
    assert "9 epochs by gradient descent, of which 3 is kept" in card


def test_a_test_split_comes_first_and_is_no_limit() -> None:
    test = measured(["a", "b"], n=5000, right=0.99)
    card = model_card(facts(["a", "b"], splits={"test": test}))
    assert f"Right on {test['accuracy']:.3f} of 5000 images of test" in card
    assert "test split" not in limits_of(card)
    assert "uncertain" not in limits_of(card)
    assert "| images | 60 | 5000 |" in card


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({}, "never measured on a test split"),
        ({}, "`data.group` was not used"),
        ({}, "leave the accuracy uncertain by"),
        ({"each": 3}, "Fewer than 20 images to learn from: a, b."),
        ({"calibration": None}, "not calibrated"),
        ({"trust": None}, "`novelty` is null"),
        ({"val": measured(["a", "b"], right=0.0)}, "Never recognised in val: a, b."),
        ({"val": measured(["a", "b"], right=0.5)}, "not shown to be better than always naming the largest class"),
        ({"val": measured(["a", "b"], right=0.5)}, "of what it learned from, far more than on val"),
        ({"val": measured(["a", "b"], n=1)}, "Without an image in val, so not measured: b."),
        ({"val": measured(["a", "b"], n=12)}, "Recall rests on fewer than 10 images of val: a, b."),
        ({"val": measured(["a", "b"]) | {"n_errors": 2}}, "2 of 60 images of val could not be read"),
        ({"val": measured(["a", "b"]) | {"ece": 0.3}}, "Its confidence is off by 0.300"),
        ({"val": measured(["a", "b"]) | {"accuracy_ci95": None, "interval": "groups", "n_groups": 3}}, "no interval"),
        (
            {"memory": {"val": {"n": 60, "leaks": 7, "compared": 60, "leak_free": None, "distance_curve": None}}},
            "7 images of val are in train too",
        ),
        (
            {"head": {"held_out": {"how": "5 folds", "n": 60, "accuracy": 0.9, "accuracy_ci95": [0.8, 0.95],
                                   "interval": "images", "n_groups": None, "doubtful_labels": 1}}},
            "1 training label is doubtful",
        ),
    ],
)  # fmt: skip
def test_a_limit_holds_because_of_a_number(changed: dict[str, Any], said: str) -> None:
    assert said in limits_of(model_card(facts(["a", "b"], **dict(changed))))


def test_what_does_not_hold_is_not_said() -> None:
    test = measured(["a", "b"], n=5000, right=0.99)
    grouped = {"made_by": "hash", "seed": 0, "val_fraction": 0.2, "grouped": True}
    limits = limits_of(model_card(facts(["a", "b"], splits={"test": test}, split=grouped)))
    assert limits.strip() == (
        "- The numbers are of images like these: other cameras, places, people or times were not measured."
    )


def test_without_validation_nothing_is_claimed() -> None:
    empty = {"fingerprint": "12" * 32, "n": 0, "correct": 0, "metrics": {}}
    card = model_card(facts(["a", "b"], splits={"val": None}, validation=empty))
    assert card.count("Nothing was measured: the run held no images out.") == 2
    assert "--parity" not in card
    assert "Nothing was measured: how often it is right" in limits_of(card)


def test_leaks_and_repeats() -> None:
    free = {"n": 53, "accuracy": 0.8, "accuracy_ci95": [0.7, 0.9], "interval": "images"}
    curve = [{"distance": [0.1, 0.2], "accuracy": 1 - index / 10, "n": 12} for index in range(5)]
    memory = {"val": {"n": 60, "leaks": 7, "compared": 60, "leak_free": free, "distance_curve": curve}}
    repeats = {"repeats": 20, "accuracy": {"mean": 0.9, "std": 0.01, "min": 0.88, "max": 0.92}}
    card = model_card(facts(["a", "b"], memory=memory, head={"repeats": repeats}))
    assert (
        "train has a copy of 7; 60 were compared; accuracy 0.800 (95 % interval 0.700 to 0.900) on the other 53" in card
    )
    assert "accuracy 1.000, 0.900, 0.800, 0.700, 0.600, from the fifth nearest" in card
    assert "over 20 deals of the folds: accuracy 0.900 in the mean, 0.880 to 0.920" in card


def test_a_folder_of_any_name_can_be_typed() -> None:
    card = facts(["a", "b"])
    named = CardFacts("my ```run", card.sha256, card.metadata, card.metrics, card.images)
    text = model_card(named)
    assert "featcli predict 'my ```run' NEW_PHOTOS" in text
    assert "````sh" in text
