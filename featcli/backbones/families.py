"""How each family of networks divides into stages, in the field's words, and where its last Linear is.

A stage ends where the field speaks of one: at a change of resolution or width, or at a transformer's block. Steps
without tensors go with the stage before them, so that a boundary is as small as can be. `Partition.pool` owns none.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import torch
from torch import Tensor, nn

from featcli.backbones.stages import Forward, Partition, Stage, chain


def resnet(network: nn.Module) -> Partition:
    """ResNet, ResNeXt, Wide ResNet: the stem and four layers."""
    stem = chain(network, "stem", ["conv1", "bn1", "relu", "maxpool"])
    layers = [chain(network, name, [name]) for name in ("layer1", "layer2", "layer3", "layer4")]
    return Partition((stem, *layers), _average_pool(network), "fc")


def efficientnet(network: nn.Module) -> Partition:
    """EfficientNet v1, v2 and Lite: the stem, one stage per run of equal blocks, the last 1x1 convolution."""
    stages = _numbered(network, "features", ["stem", *_stage_names(_count(network, "features") - 2), "top"])
    return Partition(stages, _average_pool(network), "classifier.1")


def densenet(network: nn.Module) -> Partition:
    """DenseNet: the stem, then each dense block with the transition after it; the last with the final norm."""
    stem = chain(network, "stem", [f"features.{name}" for name in ("conv0", "norm0", "relu0", "pool0")])
    blocks = [["denseblock1", "transition1"], ["denseblock2", "transition2"], ["denseblock3", "transition3"]]
    blocks.append(["denseblock4", "norm5"])
    stages = [
        chain(network, f"block{index}", [f"features.{name}" for name in names]) for index, names in enumerate(blocks, 1)
    ]

    def pool(maps: Tensor) -> Tensor:
        return torch.flatten(nn.functional.adaptive_avg_pool2d(nn.functional.relu(maps), (1, 1)), 1)

    return Partition((stem, *stages), pool, "classifier")


def alexnet(network: nn.Module) -> Partition:
    """AlexNet: five convolutions, two fully connected layers."""
    return _with_fully_connected(network, "conv", nn.Conv2d, hidden=[(0, 3), (3, 6)], linear="classifier.6")


def vgg(network: nn.Module) -> Partition:
    """VGG: blocks of convolutions up to their max pooling, two fully connected layers."""
    return _with_fully_connected(network, "block", nn.MaxPool2d, hidden=[(0, 3), (3, 6)], linear="classifier.6")


def mobilenet_v2(network: nn.Module) -> Partition:
    """MobileNet v2: the stem, one stage per run of blocks of equal width, the last 1x1 convolution."""
    pool = _flatten_after(lambda maps: nn.functional.adaptive_avg_pool2d(maps, (1, 1)))
    return Partition(_by_width(network, "features"), pool, "classifier.1")


def mobilenet_v3(network: nn.Module) -> Partition:
    """MobileNet v3: as v2, then the hidden Linear of its classifier, after pooling."""
    pool: list[str | Forward] = ["avgpool", _flatten, "classifier.0", "classifier.1", "classifier.2"]
    return Partition((*_by_width(network, "features"), chain(network, "hidden", pool)), _unchanged, "classifier.3")


def mnasnet(network: nn.Module) -> Partition:
    """MNASNet: the stem, six stages, the last 1x1 convolution."""
    parts = [range(8), *(range(index, index + 1) for index in range(8, 14)), range(14, 17)]
    names = ["stem", *_stage_names(6), "top"]
    stages = [
        chain(network, name, [f"layers.{index}" for index in part]) for name, part in zip(names, parts, strict=True)
    ]
    return Partition(tuple(stages), _mean_over_map, "classifier.1")


def convnext(network: nn.Module) -> Partition:
    """ConvNeXt: the stem, four stages, each with the downsampling before it, and the norm of its classifier."""
    groups = [["features.0"], ["features.1"], ["features.2", "features.3"], ["features.4", "features.5"]]
    groups.append(["features.6", "features.7"])
    names = ["stem", *_stage_names(4)]
    stages = [chain(network, name, group) for name, group in zip(names, groups, strict=True)]
    stages.append(chain(network, "norm", ["avgpool", "classifier.0"]))
    return Partition(tuple(stages), _flatten, "classifier.2")


def regnet(network: nn.Module) -> Partition:
    """RegNet: the stem and four blocks of the trunk."""
    stem = chain(network, "stem", ["stem"])
    blocks = [
        chain(network, name, [f"trunk_output.{name}"])
        for name, _ in network.get_submodule("trunk_output").named_children()
    ]
    return Partition((stem, *blocks), _average_pool(network), "fc")


def shufflenet(network: nn.Module) -> Partition:
    """ShuffleNet v2: the stem, three stages, the last 1x1 convolution."""
    stem = chain(network, "stem", ["conv1", "maxpool"])
    stages = [chain(network, name, [name]) for name in ("stage2", "stage3", "stage4", "conv5")]
    return Partition((stem, *stages), _mean_over_map, "fc")


def squeezenet(network: nn.Module) -> Partition:
    """SqueezeNet: fire modules up to their max pooling. It has no Linear: the feature is the mean of the last map."""
    feature_size = int(network.get_submodule("classifier.1").in_channels)  # type: ignore[arg-type]
    network.set_submodule("classifier", nn.AdaptiveAvgPool2d((1, 1)))
    pool = _flatten_after(network.get_submodule("classifier"))
    cuts = _after(network, "features", nn.MaxPool2d)
    names = ["stem", *(f"fire{index}" for index in range(1, len(cuts)))]
    return Partition(_cut(network, "features", cuts, names), pool, None, feature_size, dropped=("classifier.",))


def googlenet(network: nn.Module) -> Partition:
    """GoogLeNet: the stem and the inception modules by resolution. Auxiliary heads are dropped."""
    groups: list[tuple[str, list[str | Forward]]] = [
        ("stem", [_transform_input(network), "conv1", "maxpool1", "conv2", "conv3", "maxpool2"]),
        ("inception3", ["inception3a", "inception3b", "maxpool3"]),
        ("inception4", [*(f"inception4{letter}" for letter in "abcde"), "maxpool4"]),
        ("inception5", ["inception5a", "inception5b"]),
    ]
    return Partition(_groups(network, groups), _average_pool(network), "fc", dropped=("aux1.", "aux2."))


def inception(network: nn.Module) -> Partition:
    """Inception v3: the stem and the mixed modules by resolution. The auxiliary head is dropped."""
    stem: list[str | Forward] = [_transform_input(network), "Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3"]
    groups: list[tuple[str, list[str | Forward]]] = [
        ("stem", [*stem, "maxpool1", "Conv2d_3b_1x1", "Conv2d_4a_3x3", "maxpool2"]),
        ("mixed5", ["Mixed_5b", "Mixed_5c", "Mixed_5d"]),
        ("mixed6", [f"Mixed_6{letter}" for letter in "abcde"]),
        ("mixed7", ["Mixed_7a", "Mixed_7b", "Mixed_7c"]),
    ]
    return Partition(_groups(network, groups), _average_pool(network), "fc", dropped=("AuxLogits.",))


def vit(network: nn.Module) -> Partition:
    """Vision Transformer: the embedding of patches, one stage per block, the norm. The feature is the class token's."""

    def embed(images: Tensor) -> Tensor:
        transformer = cast(Any, network)
        patches = transformer._process_input(images)  # (B, patches, D)
        return torch.cat([transformer.class_token.expand(images.shape[0], -1, -1), patches], dim=1)

    def add_positions(tokens: Tensor) -> Tensor:
        return tokens + network.get_parameter("encoder.pos_embedding")

    own = ["class_token", "encoder.pos_embedding", "conv_proj.weight", "conv_proj.bias"]
    embedding = chain(network, "embed", [embed, add_positions, "encoder.dropout"], own)
    names = [name for name, _ in network.get_submodule("encoder.layers").named_children()]
    blocks = [chain(network, f"block{index}", [f"encoder.layers.{name}"]) for index, name in enumerate(names, 1)]
    norm = chain(network, "norm", ["encoder.ln"])
    return Partition((embedding, *blocks, norm), lambda tokens: tokens[:, 0], "heads.head", class_token=True)


def swin(network: nn.Module) -> Partition:
    """Swin v1 and v2: the embedding of patches, four stages, each with the merging before it, the norm."""
    groups = [["features.0"], ["features.1"], ["features.2", "features.3"], ["features.4", "features.5"]]
    groups.append(["features.6", "features.7"])
    names = ["embed", *_stage_names(4)]
    stages = [chain(network, name, group) for name, group in zip(names, groups, strict=True)]
    stages.append(chain(network, "norm", ["norm"]))
    permute, pool = network.get_submodule("permute"), _average_pool(network)
    return Partition(tuple(stages), lambda maps: pool(permute(maps)), "head", channels_last=True)


def maxvit(network: nn.Module) -> Partition:
    """MaxViT: the stem, four blocks, the hidden Linear of its classifier, after pooling."""
    blocks = [chain(network, f"block{index + 1}", [f"blocks.{index}"]) for index in range(_count(network, "blocks"))]
    hidden = chain(network, "hidden", [f"classifier.{index}" for index in range(5)])
    return Partition((chain(network, "stem", ["stem"]), *blocks, hidden), _unchanged, "classifier.5")


def _flatten(maps: Tensor) -> Tensor:
    return torch.flatten(maps, 1)


def _unchanged(features: Tensor) -> Tensor:
    return features


def _mean_over_map(maps: Tensor) -> Tensor:
    return maps.mean([2, 3])


def _flatten_after(pool: Forward) -> Forward:
    return lambda maps: torch.flatten(pool(maps), 1)


def _average_pool(network: nn.Module) -> Forward:
    return _flatten_after(network.get_submodule("avgpool"))


def _transform_input(network: nn.Module) -> Forward:
    """Undoes ImageNet's normalisation where the weights were trained with another one; else gives its input."""
    return cast(Any, network)._transform_input  # type: ignore[no-any-return]


def _count(network: nn.Module, container: str) -> int:
    return len(list(network.get_submodule(container).children()))


def _stage_names(count: int) -> list[str]:
    return [f"stage{index}" for index in range(1, count + 1)]


def _groups(network: nn.Module, groups: Sequence[tuple[str, Sequence[str | Forward]]]) -> tuple[Stage, ...]:
    return tuple(chain(network, name, steps) for name, steps in groups)


def _numbered(network: nn.Module, container: str, names: Sequence[str]) -> tuple[Stage, ...]:
    """One stage per child of a Sequential."""
    return _cut(network, container, range(1, len(names) + 1), names)


def _cut(network: nn.Module, container: str, cuts: Sequence[int], names: Sequence[str]) -> tuple[Stage, ...]:
    """Stages of a Sequential, each ending before the index that `cuts` gives."""
    spans = pairwise([0, *cuts])
    return tuple(
        chain(network, name, [f"{container}.{index}" for index in range(start, stop)])
        for name, (start, stop) in zip(names, spans, strict=True)
    )


def _after(network: nn.Module, container: str, kind: type[nn.Module]) -> list[int]:
    """The indices after each child of a kind, and the end."""
    children = list(network.get_submodule(container).children())
    cuts = [index + 1 for index, child in enumerate(children) if isinstance(child, kind)]
    return cuts if cuts[-1] == len(children) else [*cuts, len(children)]


def _by_width(network: nn.Module, container: str) -> tuple[Stage, ...]:
    """Stem, runs of blocks with the same number of output channels, top; for Sequentials of inverted residuals."""
    widths = [int(child.out_channels) for child in network.get_submodule(container).children()]  # type: ignore[arg-type]
    last = len(widths) - 1
    cuts = [1, *(index for index in range(2, last) if widths[index] != widths[index - 1]), last, last + 1]
    return _cut(network, container, cuts, ["stem", *_stage_names(len(cuts) - 2), "top"])


def _with_fully_connected(
    network: nn.Module, word: str, kind: type[nn.Module], *, hidden: Sequence[tuple[int, int]], linear: str
) -> Partition:
    """A Sequential of convolutions, pooling, and a classifier whose hidden layers belong to the backbone."""
    children = list(network.get_submodule("features").children())
    if kind is nn.Conv2d:  # a stage begins with its convolution
        starts = [index for index, child in enumerate(children) if isinstance(child, kind)]
        cuts = [*starts[1:], len(children)]
    else:
        cuts = _after(network, "features", kind)
    stages = list(_cut(network, "features", cuts, [f"{word}{index}" for index in range(1, len(cuts) + 1)]))
    first_hidden: list[str | Forward] = ["avgpool", _flatten]
    for number, (start, stop) in enumerate(hidden, len(cuts) + 1):
        steps: list[str | Forward] = [f"classifier.{index}" for index in range(start, stop)]
        stages.append(chain(network, f"fc{number}", [*(first_hidden if start == 0 else []), *steps]))
    return Partition(tuple(stages), _unchanged, linear)
