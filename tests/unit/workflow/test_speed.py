from __future__ import annotations

import pytest

from featcli.errors import BackboneOptionError
from featcli.workflow import speed


@pytest.mark.usefixtures("threads_are_kept")
def test_the_bench_measures_decoding_engines_and_both(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "_SECONDS", 0.05)
    answer = speed.measure_speed("squeezenet1_1")
    facts = answer.facts
    assert facts is not None and facts["backbone"] == "squeezenet1_1"
    assert "torch fp32" in facts["model"] and min(facts["model"].values()) > 0
    assert facts["limits"] in ("decoding", "the model", "both")
    assert facts["ceiling"] <= min(facts["decode"], max(facts["model"].values()))
    lines = str(answer.text).splitlines()
    assert [line.split()[0] for line in lines] == ["bench", "device", "decoding", "model", "together", "limits"]


def test_a_backbone_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(BackboneOptionError, match="resnet81"):
        speed.measure_speed("resnet81")


@pytest.mark.parametrize(
    ("decode", "model", "said"), [(100, 1000, "decoding"), (1000, 100, "the model"), (100, 110, "both")]
)
def test_which_side_limits(decode: float, model: float, said: str) -> None:
    assert speed._limiting(decode, model) == said
