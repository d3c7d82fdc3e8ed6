"""Names of backbones and stages are checked with the rest of a config, and mostly without torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from featcli.config import LoadedConfig, backbones, load_config
from featcli.errors import BackboneOptionError, ConfigError
from featcli.workflow.names import wrong_names

STAGES = "stem, layer1, layer2, layer3, layer4"


@pytest.fixture(autouse=True)
def _in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def load(text: str, *overrides: str) -> LoadedConfig:
    Path("cats.yaml").write_text(text)
    return load_config("cats.yaml", overrides, wrong_names=wrong_names)


def problems(text: str, *overrides: str) -> tuple[list[str], list[str]]:
    """The lines, and those of the hint."""
    with pytest.raises(ConfigError) as caught:
        load(text, *overrides)
    return list(caught.value.problems), (caught.value.hint or "").splitlines()


def test_an_unknown_backbone_is_one_of_the_files_problems() -> None:
    lines, hint = problems(
        "sede: 1\nbackbone:\n  freez_depth: all\n  name: resnet19\n  layer: layr4\nhead: {C: 0}\n", "data.limit=0"
    )
    assert lines == [
        "cats.yaml:1:1: unknown key 'sede'; did you mean 'seed'?",
        "cats.yaml:3:3: unknown key 'backbone.freez_depth'; did you mean 'freeze_depth'?",
        "cats.yaml:4:9: backbone.name: unknown backbone 'resnet19'; did you mean 'resnet18', 'resnet152' or 'resnet101'?",  # noqa: E501
        "cats.yaml:6:11: head.C: expected auto, a number above 0 or a list of numbers above 0, got 0",
        "--set data.limit=0: expected an integer of at least 1 or null, got 0",
    ]
    assert hint == ["All backbones: featcli models"]


def test_wrong_stages_are_among_them() -> None:
    lines, hint = problems(
        "backbone:\n  name: resnet18\n  freeze_depth: 6\n  layer: [layer3, layr4]\nseed: x\n", "head.kind=knn"
    )
    assert lines == [
        "cats.yaml:3:17: backbone.freeze_depth: resnet18 has no freeze depth '6'",
        "cats.yaml:4:10: backbone.layer: resnet18 has no stage 'layr4'; did you mean 'layer4'?",
        "cats.yaml:5:7: seed: expected an integer from 0 to 4294967295, got 'x'",
        "--set head.kind=knn: expected logistic, linear or mlp, got 'knn'",
    ]
    assert hint == [
        f"Its 5 stages, input to output: {STAGES}; or all, none, 0 to 5.",
        f"Its stages, input to output: {STAGES}; or penultimate.",
    ]


@pytest.mark.parametrize("name", ["retinanet_resnet50_fpn", "x", "torchvision.models.resnet18"])
def test_the_words_are_those_of_opening_a_backbone(name: str) -> None:
    from featcli.backbones.weights import load_backbone
    from featcli.events import ignore

    with pytest.raises(BackboneOptionError) as caught:
        load_backbone(name, "none", emit=ignore)
    assert problems(f"backbone: {{name: {name}}}") == (
        [f"cats.yaml:1:18: backbone.name: {caught.value.message}"], [caught.value.hint]
    )  # fmt: skip


@pytest.mark.parametrize(
    "rest",
    ["", "layer: stem", "layer: [layer4, penultimate]", "freeze_depth: layer2", "freeze_depth: none"]
    + [f"freeze_depth: {depth}" for depth in range(6)],
)
def test_nobody_is_asked_about_what_the_table_knows(rest: str) -> None:
    def ask(name: str, places: Sequence[str], depth: str | int) -> list[BackboneOptionError]:
        raise AssertionError(name)

    Path("cats.yaml").write_text(f"backbone: {{name: resnet18, {rest}}}")
    load_config("cats.yaml", wrong_names=ask)


def test_a_backbone_that_is_newer_than_the_table_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backbones, "STAGES", {"resnet34": ("stem",)})
    for name in ("resnet18", "resnet34"):  # as a whole, and its stages
        assert load(f"backbone: {{name: {name}, layer: layer2, freeze_depth: 5}}").config.backbone.layer == "layer2"
    lines, _ = problems("backbone: {name: resnet18, layer: layer5}")
    assert lines == [
        "cats.yaml:1:35: backbone.layer: resnet18 has no stage 'layer5'; did you mean 'layer4', 'layer3' or 'layer2'?"
    ]


def test_what_was_replaced_is_not_judged() -> None:
    file = "backbone: {name: resnet19, layer: layr4, freeze_depth: 9}"
    assert load(file, "backbone={name: resnet18, layer: layer4, freeze_depth: all}").config.backbone.name == "resnet18"
    assert load(file, "backbone.name=null").config.backbone.name is None
    lines, hint = problems(file, "backbone.name=18")
    assert [line.split(":")[0] for line in lines] == ["--set backbone.name=18"]
    assert hint == []
