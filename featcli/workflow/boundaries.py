"""Where the images of a training come from: stored features, boundary tensors on disk, or the files in every epoch."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from featcli.backbones.stages import whole
from featcli.data.dataset import Dataset
from featcli.data.readers.reader import ImageRef
from featcli.features.extraction import Extractor, FeatureTable
from featcli.runtime import Runtime
from featcli.training.boundary import CachedExamples, Examples, FrozenPrefix
from featcli.training.problem import ExampleSource, Labelled
from featcli.units import bytes_of, size_text
from featcli.workflow.learning import feature_examples, validation_examples, validation_rows
from featcli.workflow.session import Session

if TYPE_CHECKING:  # they need torchvision, and train-head, whose plan names boundaries, does without it
    from featcli.training.views import Views


@dataclass(frozen=True, slots=True)
class Boundary:
    """What is decided about the tensors between the last frozen and the first trainable stage.

    Attributes:
        prefix: the frozen stages.
        views: variants of a training image.
        shape: of one tensor as it is kept: (H, W, C) of a map, (N, D) of tokens, (D,) of features.
        dtype: of its numbers.
        train_bytes: what those of all training images and variants take; None where there is no end of variants.
        val_bytes: what those of the validation images take.
        limit: for both together.
        after_all: whether every stage is frozen, so that they are features.
    """

    prefix: FrozenPrefix
    views: Views
    shape: tuple[int, ...]
    dtype: str
    train_bytes: int | None
    val_bytes: int
    limit: int
    after_all: bool

    @property
    def is_features(self) -> bool:
        """Whether they are features as the store has them, without variants."""
        return self.after_all and self.views.count == 1

    @property
    def keeps_train(self) -> bool:
        """Whether the training images' tensors are computed once."""
        return self.train_bytes is not None and self.train_bytes + self.val_bytes <= self.limit

    @property
    def keeps_val(self) -> bool:
        """Whether the validation images' tensors are computed once."""
        return self.val_bytes <= self.limit

    def __str__(self) -> str:
        tensor = f"{' x '.join(map(str, self.shape))} {self.dtype}"
        if self.is_features:
            return f"{tensor}: the stored features"
        if self.train_bytes is None:
            kind = self.views.augmentation.kind
            return f"{tensor}, computed in every epoch: train.augment {kind} has unlimited variants"
        kept = size_text(self.train_bytes + self.val_bytes)
        variants = f", {self.views.count} variants of an image" if self.views.count != 1 else ""
        if self.keeps_train:
            return f"{tensor}{variants}, {kept} on disk, computed once"
        return f"{tensor}{variants}, computed in every epoch: {kept} is over train.cache_limit {size_text(self.limit)}"

    def to_json(self) -> dict[str, Any]:
        """The decision in plain values."""
        return {
            "shape": list(self.shape),
            "dtype": self.dtype,
            "variants": self.views.count,
            "bytes": None if self.train_bytes is None else self.train_bytes + self.val_bytes,
            "cached": self.is_features or self.keeps_train,
        }


def plan_boundary(
    session: Session, extractor: Extractor, n_frozen: int, *, mirror: bool, train: int, val: int
) -> Boundary:
    """Decides what is kept, from the shape of one tensor and the number of images.

    Args:
        session: the invocation.
        extractor: of the backbone.
        n_frozen: number of frozen stages.
        mirror: whether training images are mirrored.
        train: number of training images.
        val: number of validation images.

    Raises:
        ConfigError: `train.cutmix` where the boundary is no map with its channels first.
    """
    from featcli.data.pixels.augmentation import Augmentation
    from featcli.training.views import Views

    config, backbone = session.loaded.config, whole(extractor.backbone)
    views = Views(Augmentation(config.train.augment, backbone.preprocessing, mirror), config.train.views, config.seed)
    prefix = FrozenPrefix(extractor, n_frozen)
    side = backbone.preprocessing.crop
    kept = prefix.encode([np.zeros((side, side, 3), dtype=np.uint8)])[0]
    is_map = kept.ndim == 3 and not (n_frozen and backbone.partition.channels_last)
    if config.train.cutmix and not is_map:
        raise session.loaded.error(
            "train.cutmix",
            f"cutmix needs (B, C, H, W) maps, which {backbone.name} does not give after {n_frozen} frozen stages",
            "Use train.mixup, or freeze fewer stages.",
        )
    size = kept.numel() * kept.element_size()
    return Boundary(
        prefix,
        views,
        tuple(kept.shape),
        str(kept.dtype).removeprefix("torch."),
        None if views.count is None else train * views.count * size,
        val * size,
        bytes_of(config.train.cache_limit),
        after_all=n_frozen == len(backbone.stages),
    )


def open_sources(
    session: Session, runtime: Runtime, boundary: Boundary, data: Dataset, table: FeatureTable, rows: Sequence[int]
) -> tuple[Labelled, Labelled]:
    """The training and the validation images, as the loop reads them; what is kept is computed now.

    Args:
        session: the invocation.
        runtime: where to compute.
        boundary: what is kept.
        data: all images.
        table: their features.
        rows: of the training images that can be read.
    """
    labels = np.array([data.samples[row].label for row in rows], dtype=np.int64)
    if boundary.is_features:
        train: ExampleSource = feature_examples(data, table, rows, runtime)
    else:
        train = _source(session, runtime, boundary, boundary.views, _refs(data, rows), kept=boundary.keeps_train)
    if boundary.after_all:
        return Labelled(train, labels), validation_examples(data, table, runtime)
    val_rows, val_labels = validation_rows(data, table)
    from featcli.data.pixels.augmentation import Augmentation
    from featcli.training.views import Views

    plain = Views(Augmentation("none", boundary.views.augmentation.preprocessing), None, boundary.views.seed)
    val = _source(session, runtime, boundary, plain, _refs(data, val_rows), kept=boundary.keeps_val)
    return Labelled(train, labels), Labelled(val, val_labels)


def _source(
    session: Session, runtime: Runtime, boundary: Boundary, views: Views, refs: Sequence[ImageRef], *, kept: bool
) -> Examples:
    if kept and refs:
        return CachedExamples(refs, views, boundary.prefix, runtime, folder=_scratch(session), emit=session.emit)
    return Examples(refs, views, boundary.prefix, runtime)


def _scratch(session: Session) -> Path:
    """Where large temporary files go: the feature store's folder, or the output where that cannot be written."""
    with contextlib.suppress(OSError):
        session.cache.mkdir(parents=True, exist_ok=True)
    output = session.loaded.config.output
    return session.cache if output is None or os.access(session.cache, os.W_OK) else output


def _refs(data: Dataset, rows: Sequence[int]) -> list[ImageRef]:
    return [data.samples[row].ref for row in rows]
