"""Real data for the trials: features of four data sets by two backbones, and small subsets drawn from them.

Looks for the data beside the checkout, in `../shared`, or where FEATCLI_SHARED says.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featcli.commands.demo import prepare_demo
from featcli.data.folds import stratified_folds
from featcli.events import ignore
from featcli.heads.head import Head
from featcli.heads.kind import LabelledRows
from featcli.predictor import predict_features
from featcli.tasks import Multiclass

SHARED = Path(os.environ.get("FEATCLI_SHARED", Path(__file__).resolve().parents[2] / "shared"))
BACKBONES = {
    "efficientnet_lite0": ["--set", "backbone.name=efficientnet_lite0"],
    "mobilenet_v2": [
        *("--set", "backbone.name=mobilenet_v2"),
        *("--set", f"backbone.weights={SHARED / 'weights/mobilenet_v2.safetensors'}"),
    ],
}
SETS = ("ants and bees", "digits", "mnist5k", "textures")
MOST_HELD_OUT = 300  # images of a class


@dataclass(frozen=True)
class Features:
    """Of a whole data set: (N, D) float32, and (N,) labels 0 to K - 1."""

    values: NDArray[np.float32]
    labels: NDArray[np.int64]


@dataclass(frozen=True)
class Drawing:
    """A small training set, and images of the same classes that are held out."""

    train: LabelledRows
    folds: NDArray[np.int64]
    features: NDArray[np.float32]
    labels: NDArray[np.int64]

    def measure(self, head: Head) -> tuple[float, float, float, int, int]:
        """Log loss, accuracy and balanced accuracy on what is held out; how many are above 0.999, how many wrong."""
        k = self.train.n_classes
        found = predict_features(head, Multiclass(tuple(map(str, range(k)))), self.features)
        own = np.clip(found[np.arange(len(self.labels)), self.labels], 1e-300, 1.0)
        right = found.argmax(1) == self.labels
        sure = found.max(1) > 0.999
        balanced = float(np.mean([right[self.labels == label].mean() for label in range(k)]))
        loss = float(-np.log(own).mean())
        return loss, float(right.mean()), balanced, int(sure.sum()), int((sure & ~right).sum())


def load(name: str, backbone: str) -> Features:
    """The features of a data set; what is stored is not computed again."""
    with tempfile.TemporaryDirectory() as folder:
        if name == "digits":
            root = prepare_demo(Path(folder), ignore).config.parent / "digits"
        else:
            root = SHARED / "data" / {"ants and bees": "hymenoptera"}.get(name, name)
        target = Path(folder) / "features.npz"
        command = [sys.executable, "-m", "featcli", "extract", *BACKBONES[backbone], "--set", f"data.root={root}"]
        subprocess.run([*command, "-o", str(target), "-q"], check=True, stdout=subprocess.DEVNULL)
        found = np.load(target)
        labels = np.unique(found["labels"], return_inverse=True)[1].astype(np.int64)
        return Features(found["features"], labels)


def draw(
    data: Features, sizes: Sequence[int], *, drawings: int, class_weight: str = "none", seed: int = 0
) -> Iterator[Drawing]:
    """Draws as many classes as there are sizes, and so many images of each to train on."""
    for index in range(drawings):
        rng = np.random.default_rng((seed, index))
        classes = np.unique(data.labels)
        if len(sizes) < len(classes):
            classes = rng.choice(classes, len(sizes), replace=False)
        train, rest = [], []
        for label, size in zip(classes, sizes, strict=True):
            rows = rng.permutation(np.flatnonzero(data.labels == label))
            train.append(rows[:size])
            rest.append(rows[size : size + MOST_HELD_OUT])
        order = np.full(int(classes.max()) + 1, -1)
        order[classes] = np.arange(len(classes))
        rows, held_out = np.concatenate(train), np.concatenate(rest)
        labels = order[data.labels[rows]]
        yield Drawing(
            LabelledRows(data.values[rows], labels, len(classes), class_weight),  # type: ignore[arg-type]
            stratified_folds([str(row) for row in rows], labels.tolist(), folds=5, seed=0),
            data.values[held_out],
            order[data.labels[held_out]],
        )
