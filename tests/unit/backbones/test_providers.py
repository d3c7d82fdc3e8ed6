"""A source of backbones that featcli has never heard of, and who may know torchvision."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path

import pytest
import torch
from torch import nn

import featcli.backbones
from featcli.backbones.architecture import Architecture, PretrainedEntry
from featcli.backbones.catalogue import cards, describe_stages
from featcli.backbones.registry import find_architecture, names, registered
from featcli.backbones.stages import Partition, chain
from featcli.backbones.weights import load_backbone
from featcli.data.pixels.preprocessing import Preprocessing
from featcli.errors import BackboneOptionError
from featcli.events import ignore


class Garage:
    """A provider of one network, `pebble`, and of a reason why `boulder` is none; also of a `resnet18` of its own."""

    def names(self) -> Collection[str]:
        return ["pebble", "resnet18"]

    def find(self, name: str) -> Architecture:
        grey = Preprocessing(40, 32, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
        entry = PretrainedEntry("V1", "https://nowhere.invalid/pebble-0123abcd.pth", "0123abcd", grey)
        return Architecture(name, self.build, self.divide, {"V1": entry})

    def build(self) -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 6, 3), nn.Flatten(), nn.Linear(6 * 28 * 28, 1000))

    def divide(self, network: nn.Module) -> Partition:
        return Partition((chain(network, "one", ["0"]), chain(network, "two", ["1"])), nn.Flatten(), "3")

    def why_not(self, name: str, known: Sequence[str]) -> BackboneOptionError | None:
        return BackboneOptionError("name", f"too heavy; {known[-1]}?") if name == "boulder" else None


def test_a_strangers_network_is_listed_described_and_loaded() -> None:
    before = names()
    with registered(Garage()):
        assert names() == sorted([*before, "pebble"])
        assert next(card for card in cards() if card.name == "pebble").features == 6 * 28 * 28
        stages = [(stage.name, stage.output) for stage in describe_stages(find_architecture("pebble"))]
        assert stages == [("one", (4, 30, 30)), ("two", (6, 28, 28))]
        backbone = load_backbone("pebble", "none", emit=ignore)
        images = torch.rand(2, 3, 32, 32)
        assert torch.equal(backbone.features(images), backbone.network(images))
    assert names() == before


def test_a_stranger_takes_no_name_from_another() -> None:
    with registered(Garage()):
        assert find_architecture("resnet18").entries.keys() == {"IMAGENET1K_V1"}


def test_a_strangers_reasons_are_heard_until_it_leaves() -> None:
    with registered(Garage()), pytest.raises(BackboneOptionError, match=r"^too heavy; wide_resnet50_2\?$"):
        find_architecture("boulder")
    with pytest.raises(BackboneOptionError, match="unknown backbone 'boulder'"):
        find_architecture("boulder")


def test_a_stranger_leaves_after_an_error_too() -> None:
    with pytest.raises(ZeroDivisionError), registered(Garage()):
        raise ZeroDivisionError
    assert "pebble" not in names()


def test_torchvisions_models_are_known_to_its_provider_alone() -> None:
    folder = Path(featcli.backbones.__file__).parent
    spoken = re.compile(r"torchvision(\.models| import models)")
    found = {path.relative_to(folder).as_posix() for path in folder.rglob("*.py") if spoken.search(path.read_text())}
    assert found == {"providers/torchvision.py"}
