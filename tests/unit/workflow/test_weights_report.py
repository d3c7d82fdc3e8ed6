"""`doctor --weights`: what it says of a file, in words and as JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torchvision import models

from featcli.backbones.weights import load_backbone
from featcli.errors import WeightsError
from featcli.events import ignore
from featcli.workflow.weights_report import describe_weights


def state(seed: int = 0) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return models.squeezenet1_1(num_classes=7).state_dict()


def saved(folder: Path, value: Any) -> str:
    torch.save(value, folder / "w.ckpt")
    return str(folder / "w.ckpt")


def test_each_state_dict_is_described_with_the_lines_that_use_it(tmp_path: Path) -> None:
    ema = {f"module.{name}": tensor for name, tensor in state(1).items()}
    path = saved(tmp_path, {"net": state(), "ema": ema, "optimizer": {"scale": torch.ones(3)}})
    answer = describe_weights(path)
    assert answer.failure is None
    values = sum(tensor.numel() for tensor in state().values())
    assert answer.text == (
        f"{path}: an archive of torch\n\n"
        f"net\n  52 tensors, {values / 1e6:.1f} M values, float32\n  fits squeezenet1_1, without a head\n"
        f"    backbone.name: squeezenet1_1\n    backbone.weights: {path}#net\n\n"
        f"ema.module\n  52 tensors, {values / 1e6:.1f} M values, float32\n  fits squeezenet1_1, without a head\n"
        f"    backbone.name: squeezenet1_1\n    backbone.weights: {path}#ema.module\n\n"
        "optimizer\n  1 tensor, 3 values, float32\n  fits no backbone"
    )
    facts = json.loads(json.dumps(answer.facts))
    (fit,) = facts["state_dicts"][1]["fits"]
    assert fit["backbone"] == "squeezenet1_1"
    assert load_backbone(fit["backbone"], fit["weights"], emit=ignore).feature_size == 512
    (only,) = describe_weights(f"{path}#ema").facts["state_dicts"]
    assert [found["weights"] for found in only["fits"]] == [f"{path}#ema.module"]
    with pytest.raises(WeightsError, match="has nothing under 'emma'; did you mean 'ema'") as caught:
        describe_weights(f"{path}#emma")
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("It has ema, net, ema.module, net.features, ")


def test_where_there_is_one_no_key_is_needed(tmp_path: Path) -> None:
    path = saved(tmp_path, {"model": models.shufflenet_v2_x0_5(num_classes=7).state_dict()})
    (found,) = describe_weights(path).facts["state_dicts"]
    assert found["dtypes"] == {"float32": 282, "int64": 56}
    assert found["fits"] == (
        {"backbone": "shufflenet_v2_x0_5", "head_classes": 7, "beside": 0, "weights": path, "problem": None},
    )


def test_where_nothing_fits_the_nearest_is_told(tmp_path: Path) -> None:
    changed = state()
    del changed["features.12.expand3x3.bias"]
    answer = describe_weights(saved(tmp_path, changed))
    assert isinstance(answer.failure, WeightsError)
    assert answer.text is not None
    assert answer.text.split("fits no backbone")[1].split() == (
        "; nearest: squeezenet1_1; tensors: 1 missing (features.12.expand3x3.bias)".split()
    )
    assert max(map(len, (answer.text_in(80) or "").splitlines()[1:])) <= 80


@pytest.mark.parametrize("prefix", ["", "module.encoder_q."])
@pytest.mark.parametrize(
    ("name", "lacks"), [("mobilenet_v3_small", "running"), ("shufflenet_v2_x0_5", "conv5.0.weight")]
)
def test_the_nearest_is_the_one_with_the_most_tensors_in_common(
    tmp_path: Path, prefix: str, name: str, lacks: str
) -> None:
    whole = models.get_model(name).state_dict()
    part = {f"{prefix}{key}": tensor for key, tensor in whole.items() if lacks not in key}
    (found,) = describe_weights(saved(tmp_path, {"state_dict": part})).facts["state_dicts"]
    at = f" (as 'state_dict.{prefix[:-1]}')" if prefix else ""
    assert found["nearest"].startswith(f"{name}{at}; tensors: ")


def test_a_file_that_is_like_no_backbone_has_none_that_is_near(tmp_path: Path) -> None:
    content = {"features.0.weight": torch.zeros(3), "a": torch.zeros(3), "b": torch.zeros(3)}
    assert describe_weights(saved(tmp_path, content)).facts["state_dicts"][0]["nearest"] is None


def test_what_fits_and_is_no_number_is_not_usable(tmp_path: Path) -> None:
    bad = state()
    bad["features.0.bias"][3] = torch.nan
    answer = describe_weights(saved(tmp_path, bad))
    assert answer.failure is not None
    assert "features.0.bias holds NaN or infinity (1 of 64 values)" in answer.failure.message


def test_a_file_of_another_kind_is_named(tmp_path: Path) -> None:
    (tmp_path / "w.ckpt").write_text("<html></html>")
    with pytest.raises(WeightsError, match="is an HTML page"):
        describe_weights(str(tmp_path / "w.ckpt"))
    (tmp_path / "w.ckpt").write_bytes(b"\x80\x04\x95\x0a\0\0\0\0\0\0\0}\x94\x8c\x01a\x94K\x01s.")
    with pytest.raises(WeightsError, match="is a damaged file of torch, or another pickle"):
        describe_weights(str(tmp_path / "w.ckpt"))
    with pytest.raises(WeightsError, match=r"^https://example\.org/w\.pth is a URL; weights are one file"):
        describe_weights("https://example.org/w.pth")
