"""Features of earlier stages: against torchvision's own feature extractor."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.models.feature_extraction import create_feature_extractor

from featcli.backbones.layers import Layer, pool_output
from featcli.backbones.stages import Backbone
from featcli.backbones.weights import load_backbone
from featcli.errors import BackboneOptionError
from featcli.events import ignore

pytestmark = pytest.mark.usefixtures("one_thread")

IMAGES = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(3)) * 4 - 2


def at(name: str, *places: str, pooling: str = "auto") -> Backbone:
    return load_backbone(name, "none", layer=Layer(places, pooling), emit=ignore)


def features(backbone: Backbone) -> torch.Tensor:
    with torch.inference_mode():
        found = backbone.features(IMAGES)
    assert found.shape == (2, backbone.feature_size)
    return found


def node(network: nn.Module, name: str) -> torch.Tensor:
    with torch.inference_mode():
        output: torch.Tensor = create_feature_extractor(network, [name])(IMAGES)[name]
    return output


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["layer1", "layer3", "layer4"])
def test_a_stage_of_resnet_is_torchvisions_node(stage: str) -> None:
    backbone = at("resnet18", stage)
    maps = node(backbone.network, stage)
    torch.testing.assert_close(features(backbone), maps.mean((2, 3)), rtol=1e-5, atol=1e-6)
    assert torch.equal(features(at("resnet18", stage, pooling="max")), maps.amax((2, 3)))
    assert torch.equal(features(at("resnet18", stage, pooling="flatten")), maps.flatten(1))


@pytest.mark.slow
def test_several_places_are_concatenated_in_their_order() -> None:
    one, two = features(at("resnet18", "layer2")), features(at("resnet18", "penultimate"))
    assert torch.equal(features(at("resnet18", "layer2", "penultimate")), torch.cat([one, two], 1))
    assert torch.equal(features(at("resnet18", "penultimate", "layer2")), torch.cat([two, one], 1))
    assert torch.equal(features(at("resnet18", "penultimate")), two)


@pytest.mark.slow
def test_the_class_token_of_a_transformer() -> None:
    backbone = at("vit_b_32", "block6")
    tokens = node(backbone.network, "encoder.layers.encoder_layer_5.add_1")
    assert torch.equal(features(backbone), tokens[:, 0])
    averaged = features(at("vit_b_32", "block6", pooling="avg"))
    torch.testing.assert_close(averaged, tokens[:, 1:].mean(1), rtol=1e-5, atol=1e-6)


@pytest.mark.slow
def test_maps_that_keep_their_channels_last_are_pooled_over_places() -> None:
    backbone = at("swin_t", "stage2")
    maps = node(backbone.network, "features.3")  # (B, H, W, C)
    assert maps.shape[-1] == 192
    torch.testing.assert_close(features(backbone), maps.mean((1, 2)), rtol=1e-5, atol=1e-6)


def test_vectors_are_what_they_are() -> None:
    vectors = torch.rand(2, 5)
    for pooling in ("auto", "avg", "max", "flatten"):
        assert torch.equal(pool_output(vectors, pooling, channels_last=False, class_token=False), vectors)


@pytest.mark.parametrize(
    ("places", "pooling", "option", "message"),
    [
        (
            ("layer5",),
            "auto",
            "layer",
            "resnet18 has no stage 'layer5'; did you mean 'layer4', 'layer3' or 'layer2'?",
        ),
        (("layer1",), "cls", "pooling", "pooling cls needs a class token, as vision transformers have"),
    ],
)
def test_what_does_not_exist(places: tuple[str, ...], pooling: str, option: str, message: str) -> None:
    with pytest.raises(BackboneOptionError) as caught:
        at("resnet18", *places, pooling=pooling)
    assert (caught.value.option, caught.value.message) == (option, message)


@pytest.mark.parametrize("layer", [Layer(), Layer(("a",)), Layer(("a", "penultimate"), "max"), Layer(("b",), "cls")])
def test_the_text_of_a_layer_is_the_layer(layer: Layer) -> None:
    assert Layer.parse(str(layer)) == layer
