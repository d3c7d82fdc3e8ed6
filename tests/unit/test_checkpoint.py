from __future__ import annotations

import dataclasses
import json
import random
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import pytest
import safetensors
import safetensors.numpy
import safetensors.torch
import torch
import torchvision
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import featcli
from featcli.backbones.stages import canonical_sha256
from featcli.backbones.weights import load_backbone
from featcli.checkpoint import (
    Checkpoint,
    _stored_sha256,
    head_sha256,
    library_versions,
    load_checkpoint,
    read_checkpoint,
    save_checkpoint,
    trust_facts,
)
from featcli.data.pixels.preprocessing import Preprocessing
from featcli.errors import CheckpointError, StorageError
from featcli.evaluation.calibration import Calibration
from featcli.evaluation.conformal import Scores
from featcli.evaluation.novelty import Novelty
from featcli.evaluation.trust import Trust
from featcli.events import ignore
from featcli.heads.head import Head
from featcli.heads.linear import LinearHead
from featcli.heads.mlp import MlpHead
from featcli.metadata import BackboneFacts, CheckpointMetadata, HeadFacts, ValidationFacts, read_metadata
from featcli.tasks.multiclass import softmax
from tests.unit.heads.lab import probabilities_of

pytestmark = pytest.mark.usefixtures("one_thread")

NAME = "shufflenet_v2_x0_5"  # the smallest in the table
CLASSES = ["ants", "bees", "wasps"]


def make(classes: list[str] = CLASSES) -> Checkpoint:
    backbone = load_backbone(
        NAME, "none", preprocess={"resize": 40, "crop": 32, "mean": [0.1, 0.2, 1 / 3]}, seed=4, emit=ignore
    )
    rng = np.random.default_rng(0)
    head = LinearHead(
        rng.normal(size=(len(classes), backbone.feature_size)).astype(np.float32),
        rng.normal(size=len(classes)).astype(np.float32),
    )
    metadata = CheckpointMetadata(
        format=1,
        classes=classes,
        backbone=BackboneFacts(
            name=backbone.name,
            weights=backbone.weights,
            weights_sha256=backbone.weights_sha256,
            arguments=dict(backbone.arguments),
            layer=str(backbone.layer),
            feature_size=backbone.feature_size,
            n_stages=len(backbone.stages),
        ),
        freeze_depth="all",
        preprocessing=backbone.preprocessing.to_json(),
        precision="fp32",
        device_type="cpu",
        head=HeadFacts(kind="logistic", C=0.1, class_weight="none", sha256=head_sha256(head)),
        split={"made_by": "user", "seed": 0},
        validation=ValidationFacts(fingerprint="00", n=3, correct=2, metrics={"accuracy": 2 / 3}),
        calibration=None,
        versions=library_versions(),
    )
    return Checkpoint(backbone, head, metadata)


@pytest.fixture(scope="module")
def checkpoint() -> Checkpoint:
    return make()


@pytest.fixture(scope="module")
def data(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("saved") / "checkpoint.safetensors"
    save_checkpoint(path, checkpoint)
    return path.read_bytes()


@pytest.fixture
def path(tmp_path: Path, data: bytes) -> Path:
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(data)
    return path


def test_versions_are_what_the_libraries_call_themselves() -> None:
    """Also the local part of a version, such as +cpu, which no metadata of the package holds."""
    versions = library_versions()
    assert versions.pop("pillow") == PIL.__version__
    libraries = (featcli, np, torch, torchvision)
    assert versions == {library.__name__: library.__version__ for library in libraries}


# Promise 2


def test_what_is_loaded_predicts_bit_for_bit_as_what_was_saved(checkpoint: Checkpoint, path: Path) -> None:
    loaded = load_checkpoint(path)
    assert loaded.metadata == checkpoint.metadata
    assert loaded.metadata.classes == CLASSES
    assert loaded.backbone.preprocessing == checkpoint.backbone.preprocessing
    assert loaded.backbone.preprocessing.mean[2] == 1 / 3
    pixels = torch.from_numpy(np.random.default_rng(1).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8))
    with torch.no_grad():
        before, after = (
            one.backbone.features(one.backbone.preprocessing.normalise(pixels)) for one in (checkpoint, loaded)
        )
    assert torch.equal(before, after)
    np.testing.assert_array_equal(loaded.head.logits(after.numpy()), checkpoint.head.logits(before.numpy()))


def test_classes_keep_their_order_whatever_it_is(tmp_path: Path) -> None:
    classes = ["10", "9", "é", "Z", "\x1b[31mred", "[bold]", "=1+1", "a\nb", "\udcff not utf-8"]
    save_checkpoint(tmp_path / "x", make(classes))
    assert load_checkpoint(tmp_path / "x").metadata.classes == classes


def test_the_same_checkpoint_gives_the_same_bytes(tmp_path: Path, data: bytes) -> None:
    sha256 = save_checkpoint(tmp_path / "again", make())
    assert (tmp_path / "again").read_bytes() == data
    import hashlib

    assert sha256 == hashlib.sha256(data).hexdigest()
    save_checkpoint(tmp_path / "loaded and saved", load_checkpoint(tmp_path / "again"))
    assert (tmp_path / "loaded and saved").read_bytes() == data


def test_nothing_of_this_machine_is_in_it(data: bytes, tmp_path: Path) -> None:
    import getpass
    import socket

    text = json.dumps(header_of(data))
    for word in (socket.gethostname(), str(tmp_path), str(Path.home()), str(Path.cwd()), f"/{getpass.getuser()}/"):
        assert word not in text


def test_the_file_is_what_the_design_says(checkpoint: Checkpoint, path: Path) -> None:
    with safetensors.safe_open(path, framework="numpy") as file:
        metadata = file.metadata()
        names = set(file.keys())
        weight = file.get_tensor("head.weight")
    assert list(metadata) == ["featcli"]
    value = json.loads(metadata["featcli"])
    assert value["format"] == 1
    assert metadata["featcli"] == json.dumps(value, sort_keys=True, ensure_ascii=False)
    state = checkpoint.backbone.network.state_dict()
    assert names == {f"backbone.{name}" for name in state} | {"head.weight", "head.bias"}
    np.testing.assert_array_equal(weight, checkpoint.head.tensors()["weight"])


def test_a_linear_file_has_the_bytes_that_it_always_had(checkpoint: Checkpoint, data: bytes) -> None:
    """Written down here once more, so that no rearrangement of heads changes the files of linear ones."""
    assert isinstance(checkpoint.head, LinearHead)
    tensors = {f"backbone.{name}": tensor for name, tensor in checkpoint.backbone.network.state_dict().items()}
    tensors["head.weight"] = torch.from_numpy(checkpoint.head.weight)
    tensors["head.bias"] = torch.from_numpy(checkpoint.head.bias)
    value = json.loads(checkpoint.metadata.to_text())
    assert value["head"] == {
        "kind": "logistic", "C": 0.1, "class_weight": "none", "sha256": head_sha256(checkpoint.head)
    }  # fmt: skip
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    assert data == safetensors.torch.save(tensors, metadata={"featcli": text})


def test_the_hash_of_a_linear_head_is_what_it_always_was() -> None:
    head = LinearHead(np.arange(6, dtype=np.float32).reshape(2, 3), np.array([0.5, -1], dtype=np.float32))
    assert head_sha256(head) == "d407f559ea2b7712341369040373ae94fb1470e11855a921770515eefdb4887e"


def test_saving_where_nothing_can_be_saved(checkpoint: Checkpoint, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        save_checkpoint(tmp_path / "file" / "x", checkpoint)


def test_a_failed_save_leaves_the_old_one(checkpoint: Checkpoint, path: Path, data: bytes) -> None:
    unspeakable = checkpoint.metadata.model_copy(update={"split": {"x": float("nan")}})
    with pytest.raises(ValueError, match="Out of range float"):
        save_checkpoint(path, dataclasses.replace(checkpoint, metadata=unspeakable))
    assert path.read_bytes() == data


# Heads of other kinds


def with_head(checkpoint: Checkpoint, head: Head, kind: str, C: float | None) -> Checkpoint:
    facts = HeadFacts(kind=kind, C=C, class_weight="none", sha256=head_sha256(head))
    return dataclasses.replace(checkpoint, head=head, metadata=checkpoint.metadata.model_copy(update={"head": facts}))


@pytest.fixture(scope="module")
def mlp(checkpoint: Checkpoint) -> Checkpoint:
    rng = np.random.default_rng(3)
    shapes = ((16, checkpoint.backbone.feature_size), (16,), (len(CLASSES), 16), (len(CLASSES),))
    return with_head(checkpoint, MlpHead(*(rng.normal(size=shape).astype(np.float32) for shape in shapes)), "mlp", None)


@pytest.fixture(scope="module")
def mlp_data(mlp: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("mlp") / "checkpoint.safetensors"
    save_checkpoint(path, mlp)
    return path.read_bytes()


def test_an_mlp_predicts_bit_for_bit_as_what_was_saved(mlp: Checkpoint, mlp_data: bytes, path: Path) -> None:
    path.write_bytes(mlp_data)
    loaded = load_checkpoint(path)
    assert isinstance(loaded.head, MlpHead)
    assert loaded.metadata == mlp.metadata
    assert (loaded.metadata.head.kind, loaded.metadata.head.C) == ("mlp", None)
    features = np.random.default_rng(1).normal(size=(5, mlp.backbone.feature_size)).astype(np.float32)
    np.testing.assert_array_equal(loaded.head.logits(features), mlp.head.logits(features))
    np.testing.assert_array_equal(probabilities_of(loaded.head, features), probabilities_of(mlp.head, features))
    save_checkpoint(path, loaded)
    assert path.read_bytes() == mlp_data


def test_the_tensors_of_an_mlp_are_named(mlp_data: bytes) -> None:
    names = {name for name in header_of(mlp_data) if name.startswith("head.")}
    assert names == {"head.hidden.weight", "head.hidden.bias", "head.weight", "head.bias"}


def test_a_linear_head_by_gradient_is_a_linear_head(checkpoint: Checkpoint, path: Path) -> None:
    save_checkpoint(path, with_head(checkpoint, checkpoint.head, "linear", None))
    loaded = load_checkpoint(path)
    assert isinstance(loaded.head, LinearHead)
    assert (loaded.metadata.head.kind, loaded.metadata.head.C) == ("linear", None)


@pytest.mark.parametrize("kind", ["knn", "", "Linear", "os.system"])
def test_a_head_of_a_kind_that_this_featcli_does_not_know(path: Path, data: bytes, kind: str) -> None:
    changed = with_metadata(data, lambda value: value["head"].update(kind=kind))
    error = refused(path, changed, f"has a head of unknown kind '{kind}'")
    assert error.hint == "Was it made by a newer featcli?"


def test_tensors_of_another_kind_than_is_said(path: Path, data: bytes, mlp_data: bytes) -> None:
    changed = with_metadata(data, lambda value: value["head"].update(kind="mlp"))
    refused(path, changed, "is damaged: the tensors of its head are not those of kind 'mlp'")
    for kind in ("logistic", "linear"):
        changed = with_metadata(mlp_data, lambda value, kind=kind: value["head"].update(kind=kind))
        refused(path, changed, f"is damaged: the tensors of its head are not those of kind '{kind}'")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hidden.weight", "hidden.bias", "weight", "bias"])
@pytest.mark.parametrize("change", ["gone", "transposed", "longer", "half", "int32", "flipped"])
def test_damaged_tensors_of_an_mlp(path: Path, mlp_data: bytes, name: str, change: str) -> None:
    tensors = safetensors.torch.load(mlp_data)
    tensor = tensors.pop(f"head.{name}")
    if change == "transposed":
        tensors[f"head.{name}"] = tensor.T.contiguous() if tensor.ndim == 2 else tensor[None]
    elif change == "longer":
        tensors[f"head.{name}"] = torch.cat([tensor, tensor[:1]])
    elif change in ("half", "int32"):
        tensors[f"head.{name}"] = tensor.to(torch.bfloat16 if change == "half" else torch.int32)
    elif change == "flipped":
        tensors[f"head.{name}"] = tensor.flip(0)
    text = header_of(mlp_data)["__metadata__"]["featcli"]
    changed = safetensors.torch.save(tensors, metadata={"featcli": text})
    if change == "flipped":
        refused(path, changed, "is damaged: its tensors are not those that were saved")
    else:
        refused(path, changed, "is damaged: its head is not of 3 classes and 1024 features")


def test_an_mlp_for_other_classes_or_another_backbone(path: Path, mlp_data: bytes) -> None:
    more = with_metadata(mlp_data, lambda value: value["classes"].append("one more"))
    refused(path, more, "is damaged: its head is not of 4 classes and 1024 features")
    tensors = safetensors.torch.load(mlp_data)
    tensors["head.hidden.weight"] = tensors["head.hidden.weight"][:, 1:].contiguous()
    changed = safetensors.torch.save(tensors, metadata=header_of(mlp_data)["__metadata__"])
    refused(path, changed, "is damaged: its head is not of 3 classes and 1024 features")


# Damage


def header_of(data: bytes) -> dict[str, Any]:
    (length,) = struct.unpack("<Q", data[:8])
    header: dict[str, Any] = json.loads(data[8 : 8 + length])
    return header


def with_header(data: bytes, header: dict[str, Any]) -> bytes:
    (length,) = struct.unpack("<Q", data[:8])
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data[8 + length :]


def with_metadata(data: bytes, change: Callable[[dict[str, Any]], object]) -> bytes:
    header = header_of(data)
    value = json.loads(header["__metadata__"]["featcli"])
    change(value)
    header["__metadata__"]["featcli"] = json.dumps(value)
    return with_header(data, header)


def refused(path: Path, data: bytes, match: str) -> CheckpointError:
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=match) as caught:
        load_checkpoint(path)
    assert str(path) in caught.value.message
    assert caught.value.exit_code == 3
    with pytest.raises(CheckpointError, match="|".join((match, "damaged"))):  # the order of the checks may differ
        read_checkpoint(path).load()
    return caught.value


def test_what_is_read_without_torch_is_what_was_saved(checkpoint: Checkpoint, path: Path) -> None:
    stored = read_checkpoint(path)
    assert stored.metadata == checkpoint.metadata
    assert canonical_sha256(stored.load().network.state_dict()) == checkpoint.backbone.weights_sha256
    found = {field.name: getattr(stored.backbone, field.name) for field in dataclasses.fields(stored.backbone)}
    expected = {name: getattr(checkpoint.backbone, name) for name in found}
    assert found == expected | {"layer": str(checkpoint.backbone.layer)}


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool])
def test_tensors_of_any_type_hash_as_torch_has_them(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = {"b": torch.arange(12).reshape(3, 4).to(dtype), "a.scale": torch.tensor(3).to(dtype)}
    safetensors.torch.save_file({f"backbone.{name}": tensor for name, tensor in tensors.items()}, tmp_path / "x")
    assert _stored_sha256(tmp_path / "x", "backbone.") == canonical_sha256(tensors)


@pytest.fixture
def trusting(checkpoint: Checkpoint) -> Checkpoint:
    """The same with all that a model may know of its limits."""
    rng = np.random.default_rng(0)
    k, width = len(checkpoint.metadata.classes), checkpoint.backbone.feature_size
    labels = np.arange(60) % k
    logits = rng.normal(size=(60, k)) + 2 * np.eye(k)[labels]
    calibration = Calibration.fit(logits, labels, "5 folds")
    features = rng.random((60, width), dtype=np.float32)
    trust = Trust(calibration, Scores.of(softmax(logits, 1), labels), Novelty.fit(features, labels, k))
    assert trust.novelty is not None
    facts = {"calibration": calibration.to_json(), "trust": trust_facts(trust)}
    return dataclasses.replace(checkpoint, metadata=checkpoint.metadata.model_copy(update=facts), trust=trust)


def test_what_a_model_knows_of_its_limits_is_kept(trusting: Checkpoint, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "x.safetensors", trusting)
    for read in (load_checkpoint(tmp_path / "x.safetensors"), read_checkpoint(tmp_path / "x.safetensors")):
        assert read.trust.calibration == trusting.trust.calibration
        found, expected = read.trust.arrays(), trusting.trust.arrays()
        assert found.keys() == expected.keys()
        for name, array in expected.items():
            np.testing.assert_array_equal(found[name], array)
        assert read.trust.novelty is not None and trusting.trust.novelty is not None
        assert read.trust.novelty.threshold == trusting.trust.novelty.threshold


@pytest.mark.parametrize(
    "damage",
    [
        lambda tensors, facts: tensors.pop("trust.sets.ranks"),
        lambda tensors, facts: tensors.update({"trust.novelty.means": 2 * tensors["trust.novelty.means"]}),
        lambda tensors, facts: facts.update(trust={"sha256": "0" * 64, "novelty": facts["trust"]["novelty"]}),
        lambda tensors, facts: facts["trust"].update(novelty=None),
        lambda tensors, facts: facts["trust"]["novelty"].update(threshold=-1.0),
        lambda tensors, facts: facts["calibration"].update(temperature=0.0),
        lambda tensors, facts: facts["calibration"].pop("how"),
        lambda tensors, facts: facts.update(calibration={}),
    ],
)
def test_limits_that_are_not_those_that_were_saved(
    trusting: Checkpoint, tmp_path: Path, damage: Callable[[dict[str, Any], dict[str, Any]], object]
) -> None:
    path = tmp_path / "x.safetensors"
    save_checkpoint(path, trusting)
    with safetensors.safe_open(path, framework="pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}
        facts = json.loads(file.metadata()["featcli"])
    damage(tensors, facts)
    safetensors.torch.save_file(tensors, path, metadata={"featcli": json.dumps(facts)})
    for read in (load_checkpoint, read_checkpoint):
        with pytest.raises(CheckpointError, match="damaged"):
            read(path)


@pytest.mark.parametrize("part", [0, 0.0001, 0.001, 0.01, 0.1, 0.3, 0.5, 0.9, 0.999, -8, -1])
def test_a_truncated_checkpoint(path: Path, data: bytes, part: float) -> None:
    length = int(part * len(data)) if part >= 0 else len(data) + int(part)
    refused(path, data[:length], "is not a safetensors file, or only a part of one")


def test_a_checkpoint_with_something_behind_it(path: Path, data: bytes) -> None:
    refused(path, data + b"\0", "is not a safetensors file, or only a part of one")


def test_files_that_are_no_checkpoint(path: Path) -> None:
    for content in (b"", b"PK\3\4 a zip", b"<html>", bytes(1000), b"\xff" * 100):
        refused(path, content, "is not a safetensors file")
    foreign = safetensors.numpy.save({"head.weight": np.zeros(3)})
    refused(path, foreign, "is a safetensors file, but not a checkpoint of featcli")
    foreign = safetensors.numpy.save({"x": np.zeros(3)}, metadata={"format": "pt"})
    refused(path, foreign, "is a safetensors file, but not a checkpoint of featcli")


def test_a_folder_and_nothing_at_all(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "gone"):
        with pytest.raises(CheckpointError, match=str(path)):
            load_checkpoint(path)


@pytest.mark.parametrize("number", [2, 99, 10**30])
def test_a_newer_format_says_to_upgrade(path: Path, data: bytes, number: int) -> None:
    error = refused(path, with_metadata(data, lambda value: value.update(format=number)), f"has format {number}; this")
    assert error.hint == "Upgrade: pip install -U featcli"


def test_a_newer_format_may_look_quite_different(path: Path, data: bytes) -> None:
    def change(value: dict[str, Any]) -> None:
        value.clear()
        value.update(format=2, labels=[])

    refused(path, with_metadata(data, change), "has format 2; this featcli reads formats up to 1")


def test_unknown_keys_of_our_format_are_a_newer_writers(path: Path, data: bytes) -> None:
    def change(value: dict[str, Any]) -> None:
        value["new"] = 1
        value["backbone"]["new"] = 1

    path.write_bytes(with_metadata(data, change))
    assert load_checkpoint(path).metadata.classes == CLASSES


@pytest.mark.slow
def test_a_flipped_byte_in_any_tensor_is_noticed(path: Path, data: bytes) -> None:
    (length,) = struct.unpack("<Q", data[:8])
    rng = random.Random(0)
    tensors = [
        (name, entry["data_offsets"])
        for name, entry in header_of(data).items()
        if name != "__metadata__" and entry["data_offsets"][1] > entry["data_offsets"][0]
    ]
    chosen = rng.sample(tensors, 25) + [tensor for tensor in tensors if not tensor[0].startswith("backbone.")]
    chosen += [next(tensor for tensor in tensors if tensor[0].endswith("num_batches_tracked"))]
    for _, (start, end) in chosen:
        damaged = bytearray(data)
        damaged[8 + length + rng.randrange(start, end)] ^= 1 << rng.randrange(8)
        refused(path, bytes(damaged), "is damaged: its tensors are not those that were saved")
        with pytest.raises(CheckpointError, match="is damaged: its tensors are not those that were saved"):
            read_checkpoint(path)


@pytest.mark.parametrize("name", ["resnet99", "", "os.system", "../x", "quantized_resnet18", "fasterrcnn_resnet50_fpn"])
def test_a_backbone_that_this_featcli_does_not_know(path: Path, data: bytes, name: str) -> None:
    error = refused(path, with_metadata(data, lambda value: value["backbone"].update(name=name)), f"'{name}'")
    assert error.hint == "Was it made by a newer featcli?"


def test_a_backbone_of_another_name_does_not_fit(path: Path, data: bytes) -> None:
    refused(path, with_metadata(data, lambda value: value["backbone"].update(name="resnet18")), "do not fit resnet18")


@pytest.mark.parametrize("key", ["format", "classes", "backbone", "preprocessing", "head", "validation", "versions"])
def test_a_missing_key(path: Path, data: bytes, key: str) -> None:
    refused(path, with_metadata(data, lambda value: value.pop(key)), "has a damaged description")


@pytest.mark.parametrize(
    "change",
    [
        {"classes": ["only"]},
        {"classes": [*CLASSES, "one more"]},
        {"classes": "ants"},
        {"classes": [1, 2, 3]},
        {"classes": {"ants": 0}},
        {"format": "1"},
        {"format": None},
        {"format": []},
        {"preprocessing": {}},
        {"preprocessing": []},
        {"preprocessing": {"resize": 1e999, "crop": 1, "interpolation": "bilinear", "mean": [0] * 3, "std": [1] * 3}},
        {"preprocessing": {"resize": 40, "crop": 10**9, "interpolation": "bilinear", "mean": [0] * 3, "std": [1] * 3}},
        {"preprocessing": {"resize": -40, "crop": 3, "interpolation": "bilinear", "mean": [0] * 3, "std": [1] * 3}},
        {"preprocessing": {"resize": 40, "crop": 3, "interpolation": "os", "mean": [0] * 3, "std": [1] * 3}},
        {"preprocessing": {"resize": 40, "crop": 3, "interpolation": "bilinear", "mean": [0] * 3, "std": [0] * 3}},
        {"head": {"kind": "logistic"}},
        {"backbone": None},
    ],
    ids=repr,
)
def test_hostile_descriptions(path: Path, data: bytes, change: dict[str, Any]) -> None:
    refused(path, with_metadata(data, lambda value: value.update(change)), "damaged")


@pytest.mark.parametrize(
    "arguments",
    [
        {"weights": "DEFAULT"},
        {"num_classes": -1},
        {"num_classes": "x"},
        {"stages_repeats": [1, 2]},
        {"no_such": 1},
        {"norm_layer": "os.system"},
        {"self": 1},
    ],
    ids=repr,
)
def test_hostile_arguments_of_a_builder(path: Path, data: bytes, arguments: dict[str, Any]) -> None:
    refused(path, with_metadata(data, lambda value: value["backbone"].update(arguments=arguments)), "is not built with")


@pytest.mark.parametrize(
    "arguments",
    [
        {"groups": 0},
        {"groups": -1},
        {"width_per_group": -64},
        {"replace_stride_with_dilation": 3},
        {"pretrained": True},
    ],
    ids=repr,
)
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_hostile_arguments_of_a_resnet(path: Path, data: bytes, arguments: dict[str, Any]) -> None:
    def change(value: dict[str, Any]) -> None:
        value["backbone"].update(name="resnet50", arguments=arguments)

    refused(path, with_metadata(data, change), "resnet50 is not built with")


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "{", '{"format": 1}', "[" * 100_000, "1" * 10_000, '"\\ud800"', '{"format": NaN}']
)
def test_descriptions_that_are_hardly_json(path: Path, data: bytes, text: str) -> None:
    header = header_of(data)
    header["__metadata__"]["featcli"] = text
    refused(path, with_header(data, header), "has a damaged description")


def test_a_huge_description_is_read_or_refused(path: Path, data: bytes) -> None:
    path.write_bytes(with_metadata(data, lambda value: value["versions"].update(x="y" * 10_000_000)))
    assert load_checkpoint(path).metadata.classes == CLASSES
    header = struct.pack("<Q", 2**40) + data[8:]
    refused(path, header, "is not a safetensors file")


@pytest.mark.parametrize("change", ["gone", "renamed", "another type", "beyond the end", "overlapping"])
def test_a_header_that_lies_about_tensors(path: Path, data: bytes, change: str) -> None:
    header = header_of(data)
    name = next(name for name in header if name.endswith("num_batches_tracked"))
    floats = next(name for name in header if name == "head.weight")
    if change == "gone":
        end = max(entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__")
        last = next(key for key, entry in header.items() if key != "__metadata__" and entry["data_offsets"][1] == end)
        (start, _) = header.pop(last)["data_offsets"]
        refused(path, with_header(data, header)[: start - end], "do not fit|is damaged")
        return
    if change == "renamed":
        header[f"{floats}s"] = header.pop(floats)
    elif change == "another type":
        header[floats]["dtype"] = "I32"
    elif change == "beyond the end":
        header[name]["data_offsets"] = [10**12, 10**12 + 8]
    else:
        other = next(key for key in header if key.endswith("num_batches_tracked") and key != name)
        header[name]["data_offsets"] = header[other]["data_offsets"]
    refused(path, with_header(data, header), "damaged|is not a safetensors file")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(choice=st.data())
def test_damage_is_a_checkpoint_error_or_changes_nothing_that_counts(
    choice: st.DataObject, data: bytes, checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory
) -> None:
    (length,) = struct.unpack("<Q", data[:8])
    damaged = bytearray(data)
    if choice.draw(st.booleans(), "cut"):
        del damaged[choice.draw(st.integers(0, len(damaged)), "length") :]
    # Three times out of four in the header, where most can go wrong.
    ends = st.sampled_from([length + 8] * 3 + [len(data)])
    for _ in range(choice.draw(st.integers(0, 3), "flips")):
        place = choice.draw(st.integers(0, choice.draw(ends) - 1), "place")
        if place < len(damaged):
            damaged[place] = choice.draw(st.integers(0, 255), "byte")
    path = tmp_path_factory.mktemp("damaged") / "x"
    path.write_bytes(damaged)
    try:
        loaded = load_checkpoint(path)
    except CheckpointError as error:
        assert str(path) in error.message
    else:
        assert head_sha256(loaded.head) == head_sha256(checkpoint.head)
        assert loaded.backbone.weights_sha256 == checkpoint.backbone.weights_sha256
        assert len(loaded.metadata.classes) == len(CLASSES)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(max_size=5), children, max_size=3),
    max_leaves=8,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(choice=st.data())
def test_any_value_in_the_place_of_another_is_a_checkpoint_error_or_harmless(
    choice: st.DataObject, data: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    def change(value: dict[str, Any]) -> None:
        holder: Any = value
        while True:
            key = choice.draw(st.sampled_from(sorted(holder)))
            if not isinstance(holder[key], dict) or not holder[key] or choice.draw(st.booleans()):
                holder[key] = choice.draw(json_values)
                return
            holder = holder[key]

    path = tmp_path_factory.mktemp("changed") / "x"
    path.write_bytes(with_metadata(data, change))
    try:
        load_checkpoint(path)
    except CheckpointError as error:
        assert str(path) in error.message


def test_reading_the_description_does_not_read_the_tensors(path: Path, data: bytes, checkpoint: Checkpoint) -> None:
    (length,) = struct.unpack("<Q", data[:8])
    path.write_bytes(data[: 8 + length] + bytes(len(data) - 8 - length))
    assert read_metadata(path) == checkpoint.metadata
    refused(path, path.read_bytes(), "is damaged: its tensors are not those that were saved")


def test_preprocessing_survives(checkpoint: Checkpoint) -> None:
    text = checkpoint.metadata.to_text()
    assert Preprocessing.from_json(json.loads(text)["preprocessing"]) == checkpoint.backbone.preprocessing
