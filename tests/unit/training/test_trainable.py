from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torchvision.ops import StochasticDepth

from featcli.backbones.stages import Backbone
from featcli.backbones.weights import load_backbone
from featcli.events import ignore
from featcli.features.engines.plain import in_eval_mode
from featcli.heads.kind import Gradient, NewHead
from featcli.heads.linear import LinearHead
from featcli.heads.mlp import MlpHead
from featcli.heads.registry import build_head, find_head
from featcli.training.freezing import AUTO_BATCH_NORM, batch_norm_mode
from featcli.training.trainable import TrainableHead, TrainableModel
from tests.unit.training.lab import same

MIXED = ("resnet18", "efficientnet_b0", "vit_b_32")


@pytest.fixture(scope="module")
def backbones() -> dict[str, Backbone]:
    return {name: load_backbone(name, "none", emit=ignore) for name in MIXED}


def trainee(backbone: Backbone, start: int, batch_norm: str = "train") -> TrainableModel:
    return TrainableModel(backbone, start, nn.Linear(backbone.feature_size, 3), batch_norm=batch_norm)


@pytest.mark.parametrize("start", [0, 2, "all"])
@pytest.mark.parametrize("name", MIXED)
def test_what_is_frozen_stays_in_eval_mode(name: str, start: int | str, backbones: dict[str, Backbone]) -> None:
    backbone = backbones[name]
    frozen = len(backbone.stages) if start == "all" else int(start)
    model = trainee(backbone, frozen).train()
    owner = {tensor: index for index, stage in enumerate(backbone.stages) for tensor in stage.tensors}
    for path, module in backbone.network.named_modules():
        below = [owner[tensor] for tensor in owner if tensor.startswith(f"{path}." if path else "")]
        if below and max(below) < frozen:
            assert not any(inner.training for inner in module.modules()), path
        elif below and min(below) >= frozen:
            assert all(inner.training for inner in module.modules()), path
    assert model.head.training
    assert model.training
    assert not any(module.training for module in model.eval().modules())


@pytest.mark.parametrize("mode", ["train", "eval"])
def test_batch_norm_of_what_trains_is_as_asked(mode: str, backbones: dict[str, Backbone]) -> None:
    backbone = backbones["efficientnet_b0"]
    model = trainee(backbone, 3, mode).train()
    modules = dict(backbone.network.named_modules())
    norms = {path: item for path, item in modules.items() if isinstance(item, nn.BatchNorm2d)}
    trained = {path for path in norms if f"{path}.weight" in {name for s in backbone.stages[3:] for name in s.tensors}}
    assert {path for path, item in norms.items() if item.training} == (trained if mode == "train" else set())
    depths = [item for path, item in modules.items() if isinstance(item, StochasticDepth) and path > "features.3"]
    assert depths and all(item.training for item in depths)
    assert model.head.training


def test_gradients_end_at_the_boundary(backbones: dict[str, Backbone]) -> None:
    backbone = backbones["resnet18"]
    for start in (4, 1, 5):
        model = trainee(backbone, start)
        trained = {name for stage in backbone.stages[start:] for name in stage.tensors}
        wanted = {name for name, item in backbone.network.named_parameters() if item.requires_grad}
        assert wanted == {name for name, _ in backbone.network.named_parameters() if name in trained}
        assert set(model.tensors()) == {f"network.{name}" for name in trained} | {"head.weight", "head.bias"}
        assert sum(map(len, model.stage_parameters())) == len(wanted)
        assert len(model.stage_parameters()) == 5 - start


def test_tensors_are_live(backbones: dict[str, Backbone]) -> None:
    model = trainee(backbones["resnet18"], 4)
    with torch.no_grad():
        before = model.tensors()["head.bias"].clone()
        model.tensors()["head.bias"] += 1
        assert torch.equal(model.head.state_dict()["bias"], before + 1)


@pytest.mark.parametrize(
    ("size", "solved", "mode"),
    [
        (1, False, "eval"),
        (AUTO_BATCH_NORM - 1, False, "eval"),
        (AUTO_BATCH_NORM, False, "train"),
        (AUTO_BATCH_NORM, True, "eval"),
    ],
)
def test_batch_norm_by_the_size_of_the_batch_and_the_head(size: int, solved: bool, mode: str) -> None:
    assert batch_norm_mode("auto", size, solved=solved) == mode
    for asked in ("train", "eval"):
        assert batch_norm_mode(asked, size, solved=solved) == asked


def test_eval_mode_is_undone() -> None:
    network = nn.Sequential(nn.Dropout(), nn.Sequential(nn.Dropout(), nn.Dropout()))
    network[1][0].eval()
    with pytest.raises(KeyError), in_eval_mode(network):
        assert not any(module.training for module in network.modules())
        raise KeyError
    assert [module.training for module in network.modules()] == [True, True, True, False, True]


def rows(n: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, width)).astype(np.float32)


def find_gradient(kind: str) -> Gradient:
    found = find_head(kind).gradient
    assert found is not None
    return found


def head(kind: str, *, solved: LinearHead | None = None, seed: int = 0) -> nn.Module:
    return build_head(find_gradient(kind), NewHead(hidden=5, dropout=0.5, seed=seed), 6, 3, solved)


@pytest.mark.parametrize(("kind", "exported"), [("linear", LinearHead), ("mlp", MlpHead)])
def test_an_exported_head_predicts_as_the_trained_one(kind: str, exported: type) -> None:
    module = head(kind).eval()
    found = find_gradient(kind).export(module)
    assert type(found) is exported
    features = rows(7, 6)
    with torch.inference_mode():
        expected = module(torch.from_numpy(features)).numpy()
    np.testing.assert_allclose(found.logits(features), expected, atol=1e-6)


def test_a_solved_head_goes_through_without_a_change() -> None:
    solved = LinearHead(rows(3, 6), rows(3, 1)[:, 0])
    found = find_gradient("linear").export(head("linear", solved=solved))
    for name, array in solved.tensors().items():
        np.testing.assert_array_equal(found.tensors()[name], array)


def test_an_exported_head_is_a_copy() -> None:
    module = head("linear")
    found = find_gradient("linear").export(module)
    before = {name: array.copy() for name, array in found.tensors().items()}
    with torch.no_grad():
        for parameter in module.parameters():
            parameter += 1
    for name, array in before.items():
        np.testing.assert_array_equal(found.tensors()[name], array)


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_random_heads_depend_on_the_seed_alone(kind: str) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one, again, other = head(kind), head(kind), head(kind, seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    assert same(one.state_dict(), again.state_dict())
    assert not same(one.state_dict(), other.state_dict())


def test_a_head_alone() -> None:
    module = head("linear").eval()
    model = TrainableHead(module)
    features = torch.from_numpy(rows(4, 6))
    assert torch.equal(model(features), module(features))
    assert list(model.tensors()) == ["head.1.weight", "head.1.bias"]
