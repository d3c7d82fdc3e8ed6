"""The seams: a reader, an engine and a task that the package does not know are each a few lines, and nothing else."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
import safetensors.numpy
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from featcli.backbones.stages import Backbone
from featcli.backbones.weights import load_backbone
from featcli.checkpoint import load_checkpoint
from featcli.commands.evaluate import EvaluateOptions, evaluate
from featcli.commands.finetune import finetune
from featcli.commands.train_head import train_head
from featcli.config import load_config
from featcli.config.kinds import HEAD_KINDS
from featcli.data.pixels.decoding import PIXEL_PIPELINE
from featcli.data.pixels.loading import load_facts, load_pixels
from featcli.data.readers.files import file_ref
from featcli.data.readers.reader import ImageRef, UnreadableImage
from featcli.errors import ConfigError
from featcli.evaluation.calibration import Calibration
from featcli.evaluation.novelty import Novelty
from featcli.evaluation.trust import Trust
from featcli.evaluation.truth import Truth
from featcli.events import Emit, EpochEnd, Event, ignore
from featcli.features.engines.engine import Pending, Pixels
from featcli.features.extraction import Extractor, compute_table
from featcli.features.store import FeatureStore, Space, space_folder
from featcli.heads import linear
from featcli.heads.kind import Choice, HeadKind, LabelledRows, Solved
from featcli.heads.linear import LinearHead
from featcli.predictor import Predictor, RowOptions
from featcli.runtime import Runtime
from featcli.tasks import Multiclass
from featcli.training.boundary import FeatureExamples, FrozenPrefix
from featcli.training.loop import fit
from featcli.training.optimizers import make_optimizer
from featcli.training.problem import Callbacks, Labelled, Problem
from featcli.whole_model import PixelModel
from featcli.workflow.session import Session
from featcli.writers.prediction_rows import open_writer
from tests.unit.training.lab import recipe

pytestmark = pytest.mark.usefixtures("one_thread")

CPU = Runtime(torch.device("cpu"), "fp32", 1, 2, 8)


class MemoryReader:
    """A reader: images in memory."""

    def __init__(self, images: dict[str, bytes]) -> None:
        self.images = images

    def read(self, ref: ImageRef) -> bytes:
        if ref.locator not in self.images:
            raise UnreadableImage("not in the archive")
        return self.images[ref.locator]

    def open(self, ref: ImageRef) -> BinaryIO:
        return io.BytesIO(self.read(ref))


class Means:
    """An engine: mean colours, as many times as the model has features."""

    name, tile, depth = "means", 4, 2

    def submit(self, pixels: Pixels) -> Pending:
        return lambda: np.tile(np.stack(pixels).mean((1, 2), dtype=np.float32), 427)[:, :1280]

    def boundary(self, pixels: Pixels, n_frozen: int) -> Tensor:
        return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float() * n_frozen

    def provenance(self) -> dict[str, Any]:
        return {"path": "means", "versions": {"means": "1"}}


class Regression:
    """A task: one number for each image."""

    names, fields = ("brightness",), {"value": float}
    logged = shown = ("rmse",)

    def link(self, outputs: Any, dim: int = 1) -> Any:
        return outputs.astype(np.float64) if isinstance(outputs, np.ndarray) else outputs.double()

    def criterion(self, **_: Any) -> Callable[[Tensor, Tensor], Tensor]:
        return lambda outputs, targets: F.mse_loss(outputs[:, 0], targets, reduction="sum")

    def evaluate(self, predictions: NDArray[Any], truth: Truth) -> dict[str, float]:
        return {"rmse": float(np.sqrt(np.mean((predictions[:, 0] - truth.targets) ** 2)))}

    def improves(self, metric: str, value: float, best: float) -> bool:
        return value < best

    def cells(self, prediction: NDArray[Any] | None, top: int = 1) -> dict[str, float | None]:
        return {"value": None if prediction is None else float(prediction[0])}


def nearest_mean(rows: LabelledRows, choice: Choice, emit: Emit) -> Solved:
    """A closed form: the logit of a class falls with the squared distance from its mean."""
    means = np.stack([rows.features[rows.labels == label].mean(0) for label in range(rows.n_classes)])
    head = LinearHead((2 * means).astype(np.float32), -(means**2).sum(1).astype(np.float32))
    return Solved(head, None, "nearest class mean", {"means": rows.n_classes})


# A kind of head: fitted, never trained by gradient descent, stored as a linear head is.
KIND = HeadKind(("weight", "bias"), linear.load, nearest_mean)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return load_backbone("efficientnet_lite0", "none", preprocess={"resize": 40, "crop": 32}, emit=ignore)


@pytest.fixture
def photos(tmp_path: Path, make_folder: Callable[..., Path]) -> list[Path]:
    return sorted(make_folder(tmp_path / "photos", {"cats": 6, "dogs": 5}).rglob("*.png"))


def digests(photos: list[Path]) -> list[bytes]:
    return [hashlib.sha256(path.read_bytes()).digest() for path in photos]


def test_a_reader_of_ones_own(backbone: Backbone, photos: list[Path]) -> None:
    reader = MemoryReader({path.name + str(index): path.read_bytes() for index, path in enumerate(photos)})
    inside = [ImageRef(f"zip/{path.name}", path.name + str(index), reader) for index, path in enumerate(photos)]
    extractor = Extractor(backbone, CPU)
    expected = [
        row for batch in extractor.stream([file_ref(str(path)) for path in photos], batch_size=8) for row in batch
    ]
    refs = [*inside, ImageRef("zip/none.png", "none", reader)]
    *found, missing = [row for batch in extractor.stream(refs, batch_size=8) for row in batch]
    assert [row.path for row in found] == [f"zip/{path.name}" for path in photos]
    np.testing.assert_array_equal([row.feature for row in found], [row.feature for row in expected])
    assert [row.digest for row in found] == digests(photos)
    assert (missing.path, missing.error) == ("zip/none.png", "not in the archive")
    facts = load_facts(inside[0], decode=False).value
    assert facts is not None and (facts.format, facts.width, facts.height) == ("PNG", 40, 32)


def test_an_engine_of_ones_own(backbone: Backbone, photos: list[Path], tmp_path: Path) -> None:
    """Its rows are told from plain torch's by their key, and say what computed them."""
    refs = [file_ref(str(path), digest) for path, digest in zip(photos, digests(photos), strict=True)]
    extractors = [Extractor(backbone, CPU), Extractor(backbone, CPU, Means())]
    tables = []
    for extractor in [*extractors, *extractors]:
        store = FeatureStore(tmp_path / "cache", extractor.space, 1280, ignore)
        with store.writer(extractor.engine.provenance()) as writer:
            tables.append(compute_table(extractor, refs, store=store, writer=writer, batch_size=8, emit=ignore))
    assert [table.computed for table in tables] == [11, 11, 0, 0]
    pixels = [load_pixels(ref, backbone.preprocessing.pixels).value for ref in refs]
    means = np.stack([image.astype(np.float64).mean((0, 1)) for image in pixels if image is not None])
    np.testing.assert_allclose(tables[3].features[:, :3], means, rtol=1e-5)
    (segment,) = space_folder(tmp_path / "cache", extractors[1].space).glob("*.safetensors")
    with safetensors.safe_open(segment, framework="numpy") as file:
        assert file.metadata()["provenance"] == '{"path": "means", "versions": {"means": "1"}}'
    images = [image for image in pixels if image is not None]
    kept = FrozenPrefix(extractors[1], 2).encode(images)
    np.testing.assert_array_equal(kept.numpy(), np.stack(images).astype(np.float32) * 2)


def test_a_task_of_ones_own(backbone: Backbone) -> None:
    """A number is learned by the one loop, kept by its own metric, and written as rows with its own cells."""
    random = np.random.default_rng(0)
    features = random.normal(size=(40, 1280)).astype(np.float32)
    targets = features[:, :4].sum(1)
    module = nn.Sequential(nn.Linear(1280, 1))
    module.tensors = module.state_dict  # type: ignore[method-assign]
    chosen = recipe(epochs=8, monitor="rmse", lr=0.001)
    examples = Labelled(FeatureExamples(features, [str(row) for row in range(40)], CPU), targets)
    events: list[Event] = []
    task: Any = Regression()
    groups = [{"params": list(module.parameters()), "lr": 0.001, "initial_lr": 0.001}]
    outcome = fit(
        Problem(module, task, examples, examples),
        make_optimizer(groups, chosen),
        chosen,
        CPU,
        Callbacks(
            events.append, lambda snapshot: None, lambda: False, lambda found: task.evaluate(found, Truth(targets))
        ),
    )
    errors = [entry["val_rmse"] for entry in outcome.progress.log]
    assert outcome.progress.best_value == min(errors) < 0.5 * errors[0]
    assert [event.metrics["rmse"] for event in events if isinstance(event, EpochEnd)] == errors
    last = module[0]
    head = LinearHead(last.weight.detach().numpy().copy(), last.bias.detach().numpy().copy())
    predictor = Predictor.with_head(Extractor(backbone, CPU), head, task)
    written: list[bytes] = []
    writer = open_writer("csv", written.append, task, RowOptions())
    rows = [{"path": "a.jpg", **task.cells(row), "error": None} for row in predictor.predictions(features[:1])]
    writer.write(rows)
    value = float(module(torch.from_numpy(features[:1])).item())
    assert rows[0]["value"] == pytest.approx(value, abs=1e-5)
    assert b"".join(written).decode() == f"path,value,novelty,error\na.jpg,{rows[0]['value']},,\n"


def test_a_head_of_ones_own(tmp_path: Path, make_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """One line in the table, and a config may name it; its checkpoint predicts what was validated."""
    monkeypatch.setitem(HEAD_KINDS, "nearest", __name__)
    make_folder(tmp_path / "photos", {"cats": 8, "dogs": 8})
    settings = ["data.root=photos", "backbone.name=efficientnet_lite0", "backbone.weights=none", "head.kind=nearest"]
    settings += ["backbone.preprocess={resize: 40, crop: 32}", "output=run", "device=cpu"]
    monkeypatch.chdir(tmp_path)
    session = Session(load_config(None, settings), tmp_path / "cache", ignore, threads=1)
    answer = train_head(session)
    assert answer.facts["head"] == {"kind": "nearest", "C": None}
    checkpoint = load_checkpoint(Path(answer.text or ""))
    assert (checkpoint.metadata.head.kind, checkpoint.metadata.validation.n) == ("nearest", 4)
    assert evaluate(session, Path("run"), None, EvaluateOptions(parity=True)).failure is None
    with pytest.raises(ConfigError, match="a head of kind nearest cannot be trained by gradient descent"):
        finetune(Session(load_config(None, [*settings, "output=tuned"]), tmp_path / "cache", ignore, threads=1))


class Tracker:
    """A listener: keeps the numbers of every epoch."""

    def __init__(self) -> None:
        self.epochs: list[dict[str, float | None]] = []

    def __call__(self, event: Event) -> None:
        if isinstance(event, EpochEnd):
            self.epochs.append({"lr": event.lr, "loss": event.loss, **event.metrics})


def test_a_tracker_of_ones_own(tmp_path: Path, make_folder: Callable[..., Path]) -> None:
    """It is told numbers, not the cells of a table; those that metrics.jsonl has."""
    make_folder(tmp_path / "photos", {"cats": 8, "dogs": 8})
    settings = ["backbone.name=efficientnet_lite0", "backbone.weights=none", "backbone.freeze_depth=8", "device=cpu"]
    settings += ["backbone.preprocess={resize: 40, crop: 32}", "train.epochs=2", f"data.root={tmp_path}/photos"]
    tracker = Tracker()
    finetune(Session(load_config(None, [*settings, f"output={tmp_path}/run"]), tmp_path / "cache", tracker, threads=1))
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    logged = [line for line in lines if line["event"] == "epoch"]
    assert len(tracker.epochs) == 3
    for epoch, line in zip(tracker.epochs, logged, strict=True):
        assert epoch == {"lr": line["lr"], "loss": line["loss"]} | {
            name: line[f"val_{name}"] for name in ("accuracy", "macro_f1", "log_loss")
        }


def test_the_whole_model_as_one_module_predicts_as_its_pieces_do(backbone: Backbone) -> None:
    random = np.random.default_rng(1)
    features = random.normal(size=(60, 1280)).astype(np.float32)
    novelty = Novelty.fit(features, np.arange(60) % 3, 4)  # a class without images is nobody's neighbour
    head = LinearHead(random.normal(size=(4, 1280)).astype(np.float32), random.normal(size=4).astype(np.float32))
    trust = Trust(Calibration(1.7, 20, "5 folds", 1.0, 0.9), None, novelty)
    predictor = Predictor.with_head(Extractor(backbone, CPU), head, Multiclass(("a", "b", "c", "d")), trust)
    images = random.integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    module = PixelModel(backbone, head, predictor.task, novelty, features=True)
    assert module.names == ["probabilities", "logits", "novelty", "features"]
    with torch.inference_mode():
        found = dict(zip(module.names, (output.numpy() for output in module(torch.from_numpy(images))), strict=True))
    pieces = predictor.extractor.forward(list(images))
    assert {output.dtype for output in found.values()} == {np.dtype(np.float32)}
    np.testing.assert_allclose(found["probabilities"], predictor.predictions(pieces), rtol=0, atol=1e-6)
    np.testing.assert_allclose(found["logits"], predictor.outputs.logits(pieces), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found["novelty"], predictor.outputs.novelty(pieces), rtol=2e-5)
    np.testing.assert_allclose(found["features"], pieces, rtol=1e-4, atol=1e-5)
    assert {name.partition(".")[0] for name in module.state_dict()} == {"network", "head", "novelty", "scale", "shift"}


PLAIN = Space(
    backbone="resnet18",
    weights_sha256="0123456789abcdef" * 4,
    arguments={},
    preprocessing={"resize": 256, "crop": 224, "interpolation": "bilinear", "mean": [0.5] * 3, "std": [0.5] * 3},
    layer="penultimate",
    pixel_pipeline=2,
    precision="fp32",
    device_type="cpu",
)


def test_the_key_of_plain_torch_is_that_of_version_0_1() -> None:
    assert PLAIN.key == "1dc175924f65c907fee78153af7d8841"
    assert "engine" not in PLAIN.to_json()


def test_a_store_as_version_0_1_laid_it_out_is_used(backbone: Backbone, photos: list[Path], tmp_path: Path) -> None:
    """The key (but for the pixel policy) and the segment are written here as that version wrote them, by hand."""
    extractor = Extractor(backbone, CPU)
    refs = [file_ref(str(path), digest) for path, digest in zip(photos, digests(photos), strict=True)]
    keys = np.frombuffer(b"".join(digests(photos)), dtype=np.uint8).reshape(-1, 32)
    features = np.arange(11 * 1280, dtype=np.float32).reshape(11, 1280)
    described = (
        f'{{"arguments": {{}}, "backbone": "efficientnet_lite0", "device_type": "cpu", "layer": "penultimate", '
        f'"numerics": "fp32", "pixel_pipeline": {PIXEL_PIPELINE}, '
        f'"preprocessing": {{"crop": 32, "interpolation": "bicubic", '
        f'"mean": [0.5, 0.5, 0.5], "resize": 40, "std": [0.5, 0.5, 0.5]}}, '
        f'"weights_sha256": "{backbone.weights_sha256}"}}'
    )
    folder = tmp_path / "cache" / "features" / "v1" / hashlib.sha256(described.encode()).hexdigest()[:32]
    folder.mkdir(parents=True)
    metadata = {
        "sha256": hashlib.sha256(keys.tobytes() + features.tobytes()).hexdigest(),
        "provenance": '{"path": "plain", "versions": {"featcli": "0.1.0"}}',
    }
    tensors = {"keys": keys, "features": features}
    (folder / f"{'ab' * 16}.safetensors").write_bytes(safetensors.numpy.save(tensors, metadata=metadata))
    store = FeatureStore(tmp_path / "cache", extractor.space, 1280, ignore)
    table = compute_table(extractor, refs, store=store, writer=None, batch_size=8, emit=ignore)
    assert (table.computed, table.errors) == (0, {})
    np.testing.assert_array_equal(table.features, features)
