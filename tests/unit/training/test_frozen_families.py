"""Promise 1 for one backbone of every family: what is frozen does not move by a bit, what trains does."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from featcli.backbones.weights import load_backbone
from featcli.data.pixels.augmentation import Augmentation
from featcli.data.readers.files import file_ref
from featcli.data.readers.reader import ImageRef
from featcli.events import ignore
from featcli.features.extraction import Extractor
from featcli.runtime import Runtime
from featcli.training.boundary import Examples, FeatureExamples, FrozenPrefix
from featcli.training.freezing import FrozenCheck
from featcli.training.problem import Labelled
from featcli.training.trainable import TrainableModel
from featcli.training.views import Views
from tests.unit.backbones.test_families import SMALLEST
from tests.unit.training.lab import recipe, same, train

pytestmark = pytest.mark.slow

FAMILIES = [*SMALLEST, "squeezenet1_1", "efficientnet_lite0"]
SIDES = {"inception_v3": 96, "maxvit_t": 224, "swin_t": 224, "swin_v2_t": 256, "vit_b_32": 224}  # others: 64
DEEPER = {"alexnet": 6, "vgg11": 6, "vit_b_32": 10}  # others: half; their fully connected layers take long to copy
LIGHT = ("resnet18", "shufflenet_v2_x0_5", "efficientnet_lite0", "mobilenet_v2")  # a rate of zero is tried on
RUNTIME = Runtime(torch.device("cpu"), "fp32", 2, 2, 2)


@pytest.fixture
def items(tmp_path: Path) -> list[ImageRef]:
    found = []
    for index in range(4):
        path = tmp_path / f"{index}.png"
        Image.fromarray(np.random.default_rng(index).integers(0, 256, (64, 64, 3), dtype=np.uint8)).save(path)
        found.append(file_ref(str(path), hashlib.sha256(path.read_bytes()).digest()))
    return found


@pytest.fixture(autouse=True, scope="module")
def two_threads() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize("name", FAMILIES)
def test_half_of_the_stages_frozen(name: str, items: list[ImageRef]) -> None:
    side = SIDES.get(name, 64)
    backbone = load_backbone(name, "none", preprocess={"resize": side, "crop": side}, emit=ignore)
    network = backbone.network.to(memory_format=torch.channels_last)
    frozen = DEEPER.get(name, len(backbone.stages) // 2)
    witness = FrozenCheck(backbone, frozen)
    before = {key: tensor.clone() for key, tensor in network.state_dict().items()}
    views = Views(Augmentation("flip", backbone.preprocessing), None, 0)
    prefix = FrozenPrefix(Extractor(backbone, RUNTIME), frozen)
    model = TrainableModel(backbone, frozen, nn.Linear(backbone.feature_size, 2), batch_norm="train")

    def learn(items: list[ImageRef], **changes: Any) -> dict[str, torch.Tensor]:
        train(
            model,
            recipe(epochs=1, batch_size=2, weight_decay=0.0, **changes),
            data=Labelled(Examples(items, views, prefix, RUNTIME), np.arange(len(items)) % 2),
            val=Labelled(FeatureExamples(np.zeros((0, 1), np.float32), [], RUNTIME), np.zeros(0, np.int64)),
            stages=model.stage_parameters(),
        )
        return dict(network.state_dict())

    def parameters(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {key: tensors[key] for key, _ in network.named_parameters()}

    if name in LIGHT:
        assert same(parameters(learn(items[:2], lr=0.0)), parameters(before))
    after = learn(items, lr=1e-3)

    owned = {key for stage in backbone.stages[:frozen] for key in stage.tensors}
    assert 0 < len(owned) < len(before)
    moved = {key for key, tensor in before.items() if not torch.equal(after[key], tensor)}
    assert not moved & owned
    assert witness.verify() == len(owned)
    trained = {key for key, _ in network.named_parameters()} - owned
    statistics = {key for key in before if key.endswith(("running_mean", "running_var", "num_batches_tracked"))} - owned
    assert moved == trained | statistics
    for key, parameter in network.named_parameters():
        assert (parameter.grad is None) == (key in owned), key
        assert parameter.requires_grad == (key not in owned), key
