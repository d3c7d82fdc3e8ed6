"""One network of each family against torchvision's own, with its own forward: the traps that each family sets."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models import _api

from featcli.backbones.registry import find_architecture
from featcli.backbones.weights import load_backbone
from featcli.errors import BackboneOptionError, WeightsError
from featcli.events import Event, Note, ignore

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("one_thread")]

# The smallest of each family, and the name of its last Linear.
SMALLEST = {
    "alexnet": "classifier.6",
    "convnext_tiny": "classifier.2",
    "densenet121": "classifier",
    "efficientnet_b0": "classifier.1",
    "efficientnet_v2_s": "classifier.1",
    "googlenet": "fc",
    "inception_v3": "fc",
    "maxvit_t": "classifier.5",
    "mnasnet0_5": "classifier.1",
    "mobilenet_v2": "classifier.1",
    "mobilenet_v3_small": "classifier.3",
    "regnet_x_400mf": "fc",
    "regnet_y_400mf": "fc",
    "resnet18": "fc",
    "shufflenet_v2_x0_5": "fc",
    "swin_t": "head",
    "swin_v2_t": "head",
    "vgg11": "classifier.6",
    "vit_b_32": "heads.head",
}
QUIET: dict[str, Any] = {"googlenet": {"init_weights": False}, "inception_v3": {"init_weights": False}}


def own_network(name: str, **arguments: Any) -> nn.Module:
    """torchvision's network as its weights build it: with auxiliary heads, which its files hold."""
    torch.manual_seed(1)
    return models.get_model(name, weights=None, **QUIET.get(name, {}), **arguments).eval()


def images_for(name: str) -> Tensor:
    side = find_architecture(name).default.preprocessing.crop
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(2)) * 4 - 2


@pytest.mark.parametrize("name", SMALLEST)
def test_features_are_what_enters_torchvisions_last_linear(name: str, tmp_path: Path) -> None:
    network = own_network(name, **find_architecture(name).default.arguments)
    torch.save(network.state_dict(), tmp_path / "w.pth")
    safetensors.torch.save_file(dict(network.state_dict()), tmp_path / "w.safetensors")
    network.set_submodule(SMALLEST[name], nn.Identity())
    images = images_for(name)
    with torch.inference_mode():
        expected = network(images)
        hashes = set()
        for file in ("w.pth", "w.safetensors"):
            backbone = load_backbone(name, str(tmp_path / file), emit=ignore)
            found = backbone.features(images)
            assert torch.equal(found, expected)
            hashes.add(backbone.weights_sha256)
    assert found.shape == (2, backbone.feature_size)
    assert len(hashes) == 1


def test_squeezenets_feature_is_the_mean_of_its_last_map(tmp_path: Path) -> None:
    network = own_network("squeezenet1_1")
    torch.save(network.state_dict(), tmp_path / "w.pth")
    backbone = load_backbone("squeezenet1_1", str(tmp_path / "w.pth"), emit=ignore)
    with torch.inference_mode():
        maps = network.features(images_for("squeezenet1_1"))
        found = backbone.features(images_for("squeezenet1_1"))
    torch.testing.assert_close(found, maps.mean((2, 3)), rtol=1e-5, atol=1e-6)
    assert found.shape == (2, backbone.feature_size)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_the_transform_of_the_input_comes_with_the_weights(name: str, tmp_path: Path) -> None:
    network = own_network(name)  # without it
    torch.save(network.state_dict(), tmp_path / "w.pth")
    network.set_submodule("fc", nn.Identity())
    images = images_for(name)
    backbone = load_backbone(name, str(tmp_path / "w.pth"), emit=ignore)
    with torch.inference_mode():
        plain = network(images)
        network.transform_input = True
        transformed = network(images)
        assert torch.equal(backbone.features(images), transformed)
    assert not torch.equal(plain, transformed)
    assert backbone.arguments == {"transform_input": True}


def test_densenets_old_names_are_understood(tmp_path: Path) -> None:
    state = own_network("densenet121").state_dict()
    old = {
        re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", name): tensor
        for name, tensor in state.items()
        if not name.endswith("num_batches_tracked")  # they are older than that
    }
    assert old.keys() != state.keys()
    torch.save(old, tmp_path / "old.pth")
    torch.save(state, tmp_path / "new.pth")
    found = [load_backbone("densenet121", str(tmp_path / file), emit=ignore) for file in ("old.pth", "new.pth")]
    assert found[0].weights_sha256 == found[1].weights_sha256


def test_a_transformer_for_larger_images_gets_their_preprocessing(tmp_path: Path) -> None:
    swag = find_architecture("vit_b_16").entries["IMAGENET1K_SWAG_E2E_V1"]
    assert swag.arguments == {"image_size": 384}
    torch.save(own_network("vit_b_16", image_size=384).state_dict(), tmp_path / "w.pth")
    backbone = load_backbone("vit_b_16", str(tmp_path / "w.pth"), emit=ignore)
    assert backbone.preprocessing == swag.preprocessing
    assert (backbone.preprocessing.crop, backbone.preprocessing.interpolation) == (384, "bicubic")
    with torch.inference_mode():
        assert backbone.features(torch.zeros(1, 3, 384, 384)).shape == (1, 768)


def test_a_crop_that_the_network_cannot_take_is_refused() -> None:
    with pytest.raises(BackboneOptionError, match="take images of 224 pixels, not a crop of 256") as caught:
        load_backbone("vit_b_32", "none", preprocess={"crop": 256}, emit=ignore)
    assert caught.value.option == "preprocess"
    with pytest.raises(BackboneOptionError, match="a crop of 64 pixels is too small for inception_v3"):
        load_backbone("inception_v3", "none", preprocess={"crop": 64}, emit=ignore)


def test_the_weights_decide_the_resize() -> None:
    entries = find_architecture("resnet50").entries
    assert (entries["IMAGENET1K_V1"].preprocessing.resize, entries["IMAGENET1K_V2"].preprocessing.resize) == (256, 232)
    assert find_architecture("inception_v3").default.preprocessing.crop == 299


@pytest.mark.parametrize("key", ["state_dict", "model", "model_ema"])
@pytest.mark.parametrize("prefix", ["module.", "backbone.", "model.", "model.module."])
def test_training_scripts_files_are_understood(key: str, prefix: str, tmp_path: Path) -> None:
    state = own_network("shufflenet_v2_x0_5").state_dict()
    wrapped = {f"{prefix}{name}": tensor for name, tensor in state.items()}
    torch.save({key: wrapped, "epoch": 3, "optimizer": {"lr": 0.1}}, tmp_path / "w.pth")
    torch.save(state, tmp_path / "plain.pth")
    said: list[Event] = []
    found = load_backbone("shufflenet_v2_x0_5", str(tmp_path / "w.pth"), emit=said.append)
    plain = load_backbone("shufflenet_v2_x0_5", str(tmp_path / "plain.pth"), emit=ignore)
    assert found.weights_sha256 == plain.weights_sha256
    assert Note(f"weights '{key}.{prefix[:-1]}' of w.pth") in said


def test_a_projection_beside_a_wrapped_backbone_is_left_out_and_said(tmp_path: Path) -> None:
    state = own_network("shufflenet_v2_x0_5").state_dict()
    wrapped = {f"backbone.{name}": tensor for name, tensor in state.items()}
    torch.save(wrapped | {"projection.weight": torch.zeros(3)}, tmp_path / "w.pth")
    said: list[Event] = []
    load_backbone("shufflenet_v2_x0_5", str(tmp_path / "w.pth"), emit=said.append)
    text = "weights 'backbone' of w.pth, without 1 tensor beside them"
    assert Note(text) in said


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("retinanet_resnet50_fpn", "'retinanet_resnet50_fpn' detects objects; a backbone classifies images"),
        ("deeplabv3_resnet50", "'deeplabv3_resnet50' segments images; a backbone classifies images"),
        ("r3d_18", "'r3d_18' classifies videos; a backbone classifies images"),
        ("raft_small", "'raft_small' estimates motion; a backbone classifies images"),
        ("quantized_resnet18", "'quantized_resnet18' is quantized, for inference alone; a backbone classifies images"),
    ],
)
def test_a_model_of_another_task_is_told_from_a_typing_error(name: str, message: str) -> None:
    with pytest.raises(BackboneOptionError) as caught:
        find_architecture(name)
    assert caught.value.message == message


class NewNet(nn.Module):
    """A network as a later torchvision may bring; `tangled` runs its children in another way than their order tells."""

    def __init__(self, tangled: bool) -> None:
        super().__init__()
        self.tangled = tangled
        self.first = nn.Conv2d(3, 4, 3, stride=4)
        self.act = nn.ReLU()
        self.second = nn.Conv2d(4, 6, 3, stride=4)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(), nn.Linear(6, 1000))

    def forward(self, images: Tensor) -> Tensor:
        maps = self.act(self.first(images))
        maps = self.second(-maps if self.tangled else maps)
        found: Tensor = self.classifier(torch.flatten(self.pool(maps), 1))
        return found


@pytest.mark.parametrize("tangled", [False, True])
def test_a_model_outside_the_table_is_divided_if_that_proves_right(
    tangled: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def newnet(*, weights: models.ResNet18_Weights | None = None, progress: bool = True) -> NewNet:
        return NewNet(tangled)

    newnet.__module__ = "torchvision.models.newnet"
    newnet.__annotations__["weights"] = models.ResNet18_Weights  # torchvision looks for the type itself
    name = f"newnet_{tangled}".lower()
    monkeypatch.setitem(_api.BUILTIN_MODELS, name, newnet)
    if tangled:
        with pytest.raises(BackboneOptionError, match="of a family that featcli does not know") as caught:
            load_backbone(name, "none", emit=ignore)
        assert caught.value.hint == "Its stages have to be added to featcli/backbones/families.py."
        return
    backbone = load_backbone(name, "none", emit=ignore)
    assert [stage.name for stage in backbone.stages] == ["first", "second"]
    images = images_for("resnet18")
    with torch.inference_mode():
        assert torch.equal(backbone.features(images), backbone.network(images))
    assert backbone.feature_size == 6


def test_a_transformers_tensors_tell_nothing_of_another_family(tmp_path: Path) -> None:
    torch.save(own_network("vit_b_32").state_dict(), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"do not fit shufflenet_v2_x0_5; tensors: \d+ missing \(conv1"):
        load_backbone("shufflenet_v2_x0_5", str(tmp_path / "w.pth"), emit=ignore)


def test_a_swapped_architecture_is_told(tmp_path: Path) -> None:
    torch.save(own_network("mobilenet_v2").state_dict(), tmp_path / "w.pth")
    with pytest.raises(WeightsError, match=r"do not fit shufflenet_v2_x0_5; tensors: \d+ missing \(conv1"):
        load_backbone("shufflenet_v2_x0_5", str(tmp_path / "w.pth"), emit=ignore)
