"""The faster gradient of wide convolutions: same outputs, and gradients as good as torch's own."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from featcli.training.convolutions import LEAST_CHANNELS, speed_up

SHAPES = [(3, 1, 1), (3, 2, 1), (5, 1, 2), ((3, 1), (2, 1), (1, 0)), (3, 1, 0)]


@pytest.mark.parametrize(("kernel", "stride", "padding"), SHAPES)
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_outputs_keep_their_bits_and_gradients_their_precision(kernel, stride, padding, layout) -> None:  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    layer = nn.Conv2d(LEAST_CHANNELS, 8, kernel, stride, padding, bias=False).to(memory_format=layout)
    images = torch.randn(3, LEAST_CHANNELS, 7, 6).to(memory_format=layout)
    found = []
    for fast in (False, True):
        if fast:
            assert speed_up(layer) == 1
        inputs = images.clone().requires_grad_(True)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            outputs = layer(inputs)
        assert outputs.dtype == torch.bfloat16
        torch.autograd.backward((outputs.float() ** 2).sum())
        assert layer.weight.grad is not None
        found.append((outputs.detach(), inputs.grad, layer.weight.grad.clone()))
        layer.weight.grad = None
    weight = layer.weight.detach().double()
    exact = nn.functional.conv2d(images.double(), weight, None, layer.stride, layer.padding)
    truth = torch.ops.aten.convolution_backward(
        2 * exact, images.double(), weight, None, layer.stride, layer.padding, (1, 1), False, (0, 0), 1,
        (False, True, False),
    )[1]  # fmt: skip
    (outputs, of_inputs, of_weight), (fast_outputs, fast_of_inputs, fast_of_weight) = found
    assert torch.equal(outputs, fast_outputs)
    assert torch.equal(of_inputs, fast_of_inputs)
    errors = [float((item.double() - truth).norm() / truth.norm()) for item in (of_weight, fast_of_weight)]
    assert errors[1] < 1.2 * errors[0] < 0.02


def test_it_is_as_before_without_autocast_or_gradients_or_channels() -> None:
    narrow = nn.Conv2d(LEAST_CHANNELS - 1, 8, 3, bias=False)
    grouped = nn.Conv2d(LEAST_CHANNELS, LEAST_CHANNELS, 3, groups=2, bias=False)
    point = nn.Conv2d(LEAST_CHANNELS, 8, 1, bias=False)
    biased = nn.Conv2d(LEAST_CHANNELS, 8, 3)
    assert speed_up(nn.Sequential(narrow, grouped, point, biased)) == 0
    layer = nn.Conv2d(LEAST_CHANNELS, 8, 3, bias=False)
    images = torch.randn(2, LEAST_CHANNELS, 5, 5)
    before, names = layer(images), list(layer.state_dict())
    speed_up(layer)
    assert torch.equal(layer(images), before)
    assert list(layer.state_dict()) == names
