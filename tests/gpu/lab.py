"""What the tests of a device share: networks and the loop on it, commands on it, and a way to say what differs.

Whatever of featcli's inside these tests touch is imported here, but for the unit tests' own lab.
"""

from __future__ import annotations

import contextlib
import hashlib
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from featcli.backbones.stages import Backbone
from featcli.backbones.weights import load_backbone
from featcli.data.pixels.augmentation import Augmentation
from featcli.data.readers.files import file_ref
from featcli.events import ignore
from featcli.features.engines.engine import fill_tile
from featcli.features.extraction import Extractor
from featcli.heads import linear
from featcli.heads.kind import NewHead
from featcli.heads.registry import build_head
from featcli.runtime import Runtime, decide_runtime
from featcli.training.boundary import CachedExamples, FeatureExamples, FrozenPrefix
from featcli.training.loop import fit
from featcli.training.optimizers import make_optimizer, parameter_groups
from featcli.training.problem import Labelled, Outcome, Problem
from featcli.training.recipe import Recipe
from featcli.training.trainable import TrainableModel
from featcli.training.views import Views
from tests.cli.lab import Lab
from tests.gpu.device import DEVICE, ON_CUDA
from tests.process import Finished, Running
from tests.unit.training.lab import TASK, Watch, images, score

Pixels = NDArray[np.uint8]
Features = NDArray[np.float32]


def stage(given: Sequence[Pixels], chosen: Runtime) -> Tensor:
    """A tile on the device."""
    tile = np.empty((chosen.tile, *given[0].shape), dtype=np.uint8)
    fill_tile(tile, given)
    return torch.from_numpy(tile).to(chosen.device)


def runtime(precision: str = "fp32", device: str = DEVICE) -> Runtime:
    """As a command would have it; fp16 on a CPU too, which a command refuses."""
    return replace(decide_runtime(device), precision=precision)


def pixels(n: int, side: int, seed: int = 0) -> list[Pixels]:
    """Decoded images: a gradient of colours and noise, each its own."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:side, 0:side] / side
    found = []
    for _ in range(n):
        slopes = random.uniform(-120, 120, (2, 3))
        smooth = rows[..., None] * slopes[0] + columns[..., None] * slopes[1] + random.uniform(60, 190, 3)
        found.append((smooth + random.normal(0, 12, (side, side, 3))).clip(0, 255).astype(np.uint8))
    return found


@cache
def weights(name: str) -> dict[str, Tensor]:
    """Random ones; BatchNorm has the statistics of some images, without which numbers shrink to nothing in fp16."""
    backbone = load_backbone(name, "none", emit=ignore)
    for module in backbone.network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.train().momentum = 1.0
    with torch.no_grad():
        backbone.network(backbone.preprocessing.normalise(torch.from_numpy(np.stack(pixels(8, 224, seed=9)))))
    return dict(backbone.network.state_dict())


@cache
def extractor(name: str, device: str, precision: str) -> Extractor:
    """A backbone with the same weights on every device."""
    backbone = load_backbone(name, "none", emit=ignore)
    backbone.network.load_state_dict(weights(name))
    return Extractor(backbone, runtime(precision, device))


def features(name: str, given: Sequence[Pixels], device: str = DEVICE, precision: str = "fp32") -> Features:
    """(N, D) features of decoded images."""
    return extractor(name, device, precision).forward(given)


def cosines(one: Features, other: Features) -> Features:
    """Of each row with the same row."""
    product = (one.astype(np.float64) * other).sum(1)
    return np.asarray(product / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1))


def rows_that_differ(one: Features, other: Features) -> str:
    """Empty where two tables have the same bits; else how many rows differ, and by how much."""
    differ = np.flatnonzero((one != other).any(axis=1))
    if not len(differ):
        return ""
    worst = float(np.abs(one - other).max() / np.abs(other).max())
    return f"{len(differ)} of {len(one)} rows differ, the first is {differ[0]}; by {worst:.1e} of the largest number"


def tensors_that_differ(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> list[str]:
    """One line for each tensor whose bits differ: its name and by how much; or that it is missing on one side."""
    lines = [f"{name}: only on one side" for name in sorted(one.keys() ^ other.keys())]
    for name in sorted(one.keys() & other.keys()):
        a, b = one[name].detach().cpu(), other[name].detach().cpu()
        if a.shape != b.shape or not torch.equal(a, b):
            by = (a.double() - b.double()).abs().max() if a.shape == b.shape else torch.tensor(torch.nan)
            lines.append(f"{name}: by {float(by):.1e}, of at most {float(b.double().abs().max()):.1e}")
    return lines


def on_device(data: Labelled, chosen: Runtime) -> Labelled:
    """Examples of the unit tests, on the device."""
    everything = np.arange(len(data.labels))
    (values,) = data.source.batches(0, [everything])
    return Labelled(FeatureExamples(np.array(values.numpy()), data.source.names(everything), chosen), data.labels)


def poisoned(row: int, chosen: Runtime) -> Labelled:
    """18 examples to train on, one of which holds a NaN."""
    data = images(18, 1)
    (values,) = data.source.batches(0, [np.arange(18)])
    spoiled = np.array(values.numpy())
    spoiled[row, 0, 0, 0] = np.nan
    return Labelled(FeatureExamples(spoiled, data.source.names(np.arange(18)), chosen), data.labels)


def train(
    model: nn.Module,
    recipe: Recipe,
    chosen: Runtime | None = None,
    *,
    data: Labelled | None = None,
    val: Labelled | None = None,
    watch: Watch | None = None,
    resume: Any = None,
) -> Outcome:
    """Runs `fit` on the device, on 18 examples to learn from and 9 to validate on, unless told otherwise."""
    chosen = chosen or runtime()
    data = data or on_device(images(18, 1), chosen)
    val = val or on_device(images(9, 2), chosen)
    model.to(chosen.device)
    body = [item for name, item in model.named_parameters() if not name.startswith("head.") and item.requires_grad]
    assert isinstance(model.head, nn.Module)
    optimizer = make_optimizer(parameter_groups([body], model.head, recipe), recipe)
    callbacks = (watch or Watch()).callbacks(score(val.labels))
    return fit(Problem(model, TASK, data, val), optimizer, recipe, chosen, callbacks, resume=resume)


def nothing(chosen: Runtime) -> Labelled:
    """No examples: the last epoch is kept."""
    return Labelled(FeatureExamples(np.zeros((0, 3, 6, 6), np.float32), [], chosen), np.zeros(0, np.int64))


def trainee(name: str, start: int, side: int | None = None) -> tuple[Backbone, TrainableModel]:
    """A backbone with random weights on the device, and a model of three classes on top of its first stages."""
    preprocess: Any = "auto" if side is None else {"resize": side, "crop": side}
    backbone = load_backbone(name, "none", preprocess=preprocess, emit=ignore)
    backbone.network.to(DEVICE).to(memory_format=torch.channels_last)
    head = build_head(linear.GRADIENT, NewHead(dropout=0.1), backbone.feature_size, 3, None)
    return backbone, TrainableModel(backbone, start, head, batch_norm="train").to(DEVICE)


def untrained(name: str) -> dict[str, Tensor]:
    """The tensors of a backbone with random weights."""
    return dict(load_backbone(name, "none", emit=ignore).network.state_dict())


def whole_images(backbone: Backbone, n: int, chosen: Runtime) -> Labelled:
    """Normalised images for a model of which every stage trains."""
    decoded = torch.from_numpy(np.stack(pixels(n, backbone.preprocessing.crop)))
    values = backbone.preprocessing.normalise(decoded).contiguous().numpy()
    names = [f"{row}.png" for row in range(n)]
    return Labelled(FeatureExamples(values, names, chosen), np.arange(n, dtype=np.int64) % 3)


def kept_examples(folder: Path, backbone: Backbone, frozen: int, n: int, chosen: Runtime) -> Labelled:
    """Boundary tensors on disk of n images and their mirror images."""
    folder.mkdir(exist_ok=True)
    items = []
    for index, decoded in enumerate(pixels(n, backbone.preprocessing.crop)):
        path = folder / f"{index:02d}.png"
        Image.fromarray(decoded).save(path)
        items.append(file_ref(str(path), hashlib.sha256(path.read_bytes()).digest()))
    views = Views(Augmentation("flip", backbone.preprocessing), None, 0)
    prefix = FrozenPrefix(Extractor(backbone, chosen), frozen)
    source = CachedExamples(items, views, prefix, chosen, folder=folder / "boundary", emit=ignore)
    return Labelled(source, np.arange(n, dtype=np.int64) % 3)


@contextlib.contextmanager
def synchronisations() -> Iterator[list[str]]:
    """Collects the places that make the CPU wait for the device, as `loop.py:265 in _gradient: <code>`."""
    found: list[str] = []

    def note(message: Any, *_: Any, **__: Any) -> None:
        if "called a synchronizing" not in str(message):
            return
        frames = [frame for frame in traceback.extract_stack() if "/featcli/" in frame.filename]
        place = frames[-1] if frames else traceback.extract_stack()[-2]
        found.append(f"{Path(place.filename).name}:{place.lineno} in {place.name}: {place.line}")

    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = note
        if ON_CUDA:
            torch.cuda.set_sync_debug_mode("warn")
        try:
            yield found
        finally:
            if ON_CUDA:
                torch.cuda.set_sync_debug_mode("default")


@dataclass
class SyncWatch(Watch):
    """Looks for synchronisations from the end of the second step to that of the sixth."""

    found: list[str] = field(default_factory=list)
    stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def stop(self) -> bool:
        self.steps += 1
        if self.steps == 2:
            self.found = self.stack.enter_context(synchronisations())
        if self.steps == 6:
            self.stack.close()
        return False


class DeviceLab(Lab):
    """A working directory whose commands run on the device; `done` has how runs ended that tests share."""

    done: Mapping[str, Finished]

    def start(self, *arguments: str | Path, device: str | None = DEVICE, **options: Any) -> Running:
        """Starts `featcli ARGUMENTS --device DEVICE` here; `device=None` leaves the flag out."""
        return super().start(*arguments, *(("--device", device) if device else ()), **options)


def saved(run: Path, name: str = "checkpoint.safetensors", prefix: str = "") -> dict[str, Tensor]:
    """The tensors of a run's file whose names begin so."""
    tensors = safetensors.torch.load_file(run / name)
    return {name: tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def runs_that_differ(one: Path, other: Path) -> list[str]:
    """What differs between two trainings: the best weights, the last ones, or a file."""
    lines = [f"checkpoint {line}" for line in tensors_that_differ(saved(one), saved(other))]
    last = (saved(run, "last.safetensors") for run in (one, other))
    lines += [f"last {line}" for line in tensors_that_differ(*last)]
    for name in ("checkpoint.safetensors", "metrics.jsonl", "predictions.csv"):
        if (one / name).read_bytes() != (other / name).read_bytes():
            lines.append(f"{name}: other bytes")
    return lines
