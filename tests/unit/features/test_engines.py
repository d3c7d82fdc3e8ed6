"""Engines against plain torch: agreement, the gate that asks for it, the choice, and compiled models that are kept."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from featcli.backbones.stages import Backbone
from featcli.data.readers.files import file_ref
from featcli.errors import EnvironmentFault
from featcli.events import Detail, Event, Fact, Warn, ignore
from featcli.features.engines import choosing, openvino
from featcli.features.engines.choosing import WORTH_CONVERTING, Choice, Job, choose_engine
from featcli.features.engines.engine import EngineFailed, Pending, Pixels, forward
from featcli.features.engines.gate import compare, refusal
from featcli.features.engines.models import Agreement, KeptModel, ModelCache
from featcli.features.engines.openvino import OpenVino, convert, describe_model
from featcli.features.engines.plain import PlainTorch
from featcli.features.extraction import Extractor, compute_table
from featcli.features.store import FeatureStore
from featcli.heads.linear import LinearHead
from featcli.runtime import Runtime
from tests.unit.features.test_extraction import SIZE, tiny_backbone

pytest.importorskip("openvino", reason="the extra fast is not installed")
pytestmark = pytest.mark.usefixtures("one_thread")

CPU = Runtime(torch.device("cpu"), "fp32", 2, 2, 8)
BF16 = dataclasses.replace(CPU, precision="bf16")


@pytest.fixture(autouse=True)
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tile of this network takes a millisecond: on a busy machine its timing says nothing."""
    monkeypatch.setattr("featcli.features.engines.gate._NOTICED", 0.3)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return tiny_backbone()


@pytest.fixture(scope="module")
def pixels() -> list[NDArray[np.uint8]]:
    random = np.random.default_rng(0)
    smooth = random.integers(0, 256, (21, 4, 4, 3), dtype=np.uint8).repeat(8, 1).repeat(8, 2)
    return list(smooth)


def job(backbone: Backbone, cache: Path, pixels: list[NDArray[np.uint8]], **changes: Any) -> Job:
    wanted = Job(backbone, lambda: backbone, CPU, "auto", ModelCache(cache), lambda: pixels[:8], 8, expected=1000)
    return dataclasses.replace(wanted, **changes)


def chosen(wanted: Job) -> tuple[Choice, list[Event]]:
    events: list[Event] = []
    return choose_engine(wanted, events.append), events


def warnings_of(events: list[Event]) -> list[str]:
    return [event.text for event in events if isinstance(event, Warn)]


# Agreement


def test_features_are_those_of_plain_torch(backbone: Backbone, pixels: list[NDArray[np.uint8]], tmp_path: Path) -> None:
    engine = OpenVino(backbone, CPU, ModelCache(tmp_path), lambda: backbone)
    found, expected = forward(engine, pixels), forward(PlainTorch(backbone, CPU), pixels)
    assert found.shape == (21, SIZE) and found.dtype == np.float32
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    cosine, length = compare(expected, found)
    assert cosine > 0.999999 and length < 1e-4


@pytest.mark.parametrize("n_frozen", [1, 2])
def test_boundaries_are_those_of_plain_torch(
    backbone: Backbone, pixels: list[NDArray[np.uint8]], tmp_path: Path, n_frozen: int
) -> None:
    engine = OpenVino(backbone, CPU, ModelCache(tmp_path), lambda: backbone)
    found = engine.boundary(pixels[:5], n_frozen)
    expected = PlainTorch(backbone, CPU).boundary(pixels[:5], n_frozen)
    assert found.shape == expected.shape and found.dtype == expected.dtype
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=1e-4, atol=1e-4)


def test_boundaries_in_bf16_have_the_type_that_plain_torch_gives(
    backbone: Backbone, pixels: list[NDArray[np.uint8]], tmp_path: Path
) -> None:
    engine = OpenVino(backbone, BF16, ModelCache(tmp_path), lambda: backbone)
    assert engine.boundary(pixels[:3], 1).dtype == PlainTorch(backbone, BF16).boundary(pixels[:3], 1).dtype


def test_a_row_has_the_same_bits_whatever_comes_with_it_and_however_many_threads(
    backbone: Backbone, pixels: list[NDArray[np.uint8]], tmp_path: Path
) -> None:
    models = ModelCache(tmp_path)
    engines = [
        OpenVino(backbone, dataclasses.replace(CPU, threads=threads), models, lambda: backbone) for threads in (1, 2, 3)
    ]
    whole = forward(engines[1], pixels)
    for engine in engines:
        np.testing.assert_array_equal(forward(engine, pixels), whole)
        np.testing.assert_array_equal(forward(engine, pixels[::-1])[::-1], whole)
        for place in (0, 7, 20):
            np.testing.assert_array_equal(forward(engine, [pixels[place]])[0], whole[place])


def test_a_model_from_the_cache_gives_the_bits_of_the_one_just_converted(
    backbone: Backbone, pixels: list[NDArray[np.uint8]], tmp_path: Path
) -> None:
    first, _ = chosen(job(backbone, tmp_path, pixels))

    def fail() -> Backbone:
        raise AssertionError("the network is not needed")

    second, events = chosen(job(backbone, tmp_path, pixels, load=fail, probe=fail))
    assert (first.engine.name, second.engine.name) == ("openvino", "openvino")
    np.testing.assert_array_equal(forward(second.engine, pixels), forward(first.engine, pixels))
    assert second.agreement == first.agreement and not warnings_of(events)


def test_the_extractors_space_tells_engines_apart(backbone: Backbone, tmp_path: Path) -> None:
    engine = OpenVino(backbone, CPU, ModelCache(tmp_path), lambda: backbone)
    fast, plain = Extractor(backbone, CPU, engine), Extractor(backbone, CPU)
    assert fast.space.key != plain.space.key and fast.space.engine == "openvino"
    assert engine.provenance()["versions"]["openvino"] == openvino.openvino_version()


def test_several_passes_at_once_come_back_in_their_order(
    backbone: Backbone, pixels: list[NDArray[np.uint8]], tmp_path: Path
) -> None:
    engine = OpenVino(backbone, CPU, ModelCache(tmp_path), lambda: backbone)
    waits = [engine.submit([image]) for image in pixels]  # more than there are requests
    expected = forward(engine, pixels)
    for place in (20, 3, 0, *range(21)):
        np.testing.assert_array_equal(waits[place]()[0], expected[place])


class Failing:
    """An engine that fails at some passes: when they start, or when they are waited for."""

    name, tile, depth = "openvino", 8, 2

    def __init__(self, inner: PlainTorch, when: str) -> None:
        self._inner, self._when, self._passes = inner, when, 0

    def submit(self, pixels: Pixels) -> Pending:
        self._passes += 1
        fails = self._passes % 2 == 0
        if fails and self._when == "start":
            raise EngineFailed("it stumbled")
        wait = self._inner.submit(pixels)

        def finish() -> NDArray[np.float32]:
            if fails:
                raise EngineFailed("it stumbled")
            return wait()

        return finish


@pytest.mark.parametrize("when", ["start", "wait"])
def test_an_engine_that_fails_in_the_middle_is_helped_out_and_nothing_of_that_is_stored(
    backbone: Backbone, tmp_path: Path, when: str
) -> None:
    paths = []
    for index in range(20):
        paths.append(tmp_path / f"{index:02d}.png")
        image = np.random.default_rng(index).integers(0, 256, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(image).save(paths[-1])
    plain = PlainTorch(backbone, CPU)
    said: list[str] = []

    def rescue(reason: str) -> PlainTorch:
        said.append(reason)
        return plain

    refs = [file_ref(str(path), hashlib.sha256(path.read_bytes()).digest()) for path in paths]
    extractor = Extractor(backbone, CPU, Failing(plain, when), None, rescue)  # type: ignore[arg-type]
    store = FeatureStore(tmp_path / "cache", extractor.space, SIZE, ignore)
    with store.writer({}) as writer:
        table = compute_table(extractor, refs, store=store, writer=writer, batch_size=8, emit=ignore)
    expected = [row.feature for batch in Extractor(backbone, CPU).stream(refs, batch_size=8) for row in batch]
    np.testing.assert_array_equal(table.features, np.stack([row for row in expected if row is not None]))
    assert said == [f"it stumbled, with {paths[8]} and the images after it"]
    store.refresh()
    assert len(store) <= 8
    with pytest.raises(EngineFailed):
        list(Extractor(backbone, CPU, Failing(plain, when)).stream(refs, batch_size=8))  # type: ignore[arg-type]


# The gate


class Broken(nn.Module):
    """What a converter would make of a backbone if it lost something."""

    def __init__(self, inner: nn.Module, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.inner, self._change = inner, change

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self._change(self.inner(images))


CHANGES: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "a constant": lambda features: features + 0.5,
    "a factor": lambda features: features * 1.01,
    "an order": lambda features: features.flip(1),
    "no number": lambda features: features / 0,
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_model_that_differs_is_refused_and_plain_torch_goes_on(
    backbone: Backbone,
    pixels: list[NDArray[np.uint8]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: str,
) -> None:
    partition = dataclasses.replace(
        backbone.partition, pool=lambda output: CHANGES[change](backbone.partition.pool(output))
    )
    wrong = dataclasses.replace(backbone, partition=partition)
    monkeypatch.setattr(choosing, "convert", lambda given, precision: convert(wrong, precision))
    choice, events = chosen(job(backbone, tmp_path, pixels))
    assert choice.engine.name == "torch"
    (said,) = warnings_of(events)
    assert said.startswith("engine openvino is not used for tiny: ") and said.endswith("; plain torch goes on")
    again, events = chosen(job(backbone, tmp_path, pixels))
    assert again.engine.name == "torch" and not warnings_of(events), "said once"
    assert not list(tmp_path.rglob("model.bin"))


def test_a_head_that_would_decide_otherwise_keeps_plain_torch(
    backbone: Backbone, pixels: list[NDArray[np.uint8]], tmp_path: Path
) -> None:
    choice, _ = chosen(job(backbone, tmp_path, pixels))
    expected = forward(PlainTorch(backbone, CPU), pixels[:8])
    found = forward(choice.engine, pixels[:8])
    row, column = np.argwhere(expected != found)[0]
    middle = (float(expected[row, column]) + float(found[row, column])) / 2
    weight = np.zeros((2, SIZE), dtype=np.float32)
    weight[1, column] = 2.0**40
    head = LinearHead(weight, np.array([0, -(2.0**40) * middle], dtype=np.float32))
    if (head.logits(expected).argmax(1) == head.logits(found).argmax(1)).all():
        pytest.skip("float32 has no number between the two")
    choice, events = chosen(job(backbone, tmp_path, pixels, head=head))
    assert choice.engine.name == "torch" and "a label of its features differs" in warnings_of(events)[0]


def test_the_gate_is_a_cosine_a_length_and_a_time() -> None:
    good = Agreement(8, 0.99995, 1e-4, 1.0, 1.0)
    assert refusal(good, "fp32") is None
    assert "0.999800" in str(refusal(dataclasses.replace(good, cosine=0.9998), "fp32"))
    assert refusal(dataclasses.replace(good, cosine=0.9998), "bf16") is None
    assert refusal(dataclasses.replace(good, cosine=0.98), "bf16") is not None
    assert "differ by 1.00%" in str(refusal(dataclasses.replace(good, length=0.01), "fp32"))
    assert "1.6 times as long" in str(refusal(dataclasses.replace(good, seconds=1.6), "fp32"))
    assert refusal(dataclasses.replace(good, cosine=float("nan")), "fp32") is not None


def test_comparing_rows() -> None:
    rows = np.array([[3, 4], [0, 0]], dtype=np.float32)
    assert compare(rows, rows) == (1.0, 0.0)
    cosine, length = compare(rows, np.array([[4, 3], [0, 0]], dtype=np.float32))
    assert (cosine, length) == (pytest.approx(24 / 25), 0.0)
    assert compare(rows, np.array([[3, np.nan], [0, 0]], dtype=np.float32))[0] == -1
    assert compare(rows, np.array([[3, 4], [0, 1]], dtype=np.float32))[0] == 0, "something where nothing was"


# The choice


def test_few_images_are_not_worth_a_conversion_but_use_a_model_that_is_there(
    backbone: Backbone, pixels: list[NDArray[np.uint8]], tmp_path: Path
) -> None:
    few = {"expected": WORTH_CONVERTING - 1}
    choice, _ = chosen(job(backbone, tmp_path, pixels, **few))
    assert choice.engine.name == "torch"
    assert choice.reason == f"for {WORTH_CONVERTING - 1} images no model is converted"
    assert chosen(job(backbone, tmp_path, pixels, expected=None))[0].engine.name == "openvino"
    assert chosen(job(backbone, tmp_path, pixels, **few))[0].engine.name == "openvino"


@pytest.mark.parametrize(
    ("stored", "name"),
    [
        ({"torch": 0.9}, "torch"),
        ({"torch": 0.4}, "openvino"),
        ({"torch": 0.9, "openvino": 1.0}, "openvino"),
        ({"torch": 1.0, "openvino": 0.6}, "torch"),
    ],
)
def test_the_engine_that_has_computed_most_of_the_images_goes_on(
    backbone: Backbone, pixels: list[NDArray[np.uint8]], tmp_path: Path, stored: dict[str, float], name: str
) -> None:
    assert chosen(job(backbone, tmp_path, pixels, stored=stored))[0].engine.name == name


def test_where_all_is_stored_nothing_is_converted_or_read(backbone: Backbone, tmp_path: Path) -> None:
    def fail() -> Any:
        raise AssertionError("not needed")

    wanted = job(backbone, tmp_path, [], load=fail, probe=fail, expected=0, stored={"openvino": 1.0})
    choice, events = chosen(wanted)
    assert choice.to_json() == {"name": "openvino", "reason": "100% of the features are stored by it"}
    assert events == [Detail("engine openvino, 100% of the features are stored by it")]
    assert not list(tmp_path.iterdir())


def test_a_verdict_on_one_image_stands_until_there_are_more(
    backbone: Backbone, pixels: list[NDArray[np.uint8]], tmp_path: Path
) -> None:
    def fail() -> Any:
        raise AssertionError("not needed")

    one = {"probe": lambda: pixels[:1], "at_hand": 1, "expected": None}
    first, _ = chosen(job(backbone, tmp_path, pixels, **one))
    again, _ = chosen(job(backbone, tmp_path, pixels, **one | {"probe": fail}, load=fail))
    more, _ = chosen(job(backbone, tmp_path, pixels))
    last, _ = chosen(job(backbone, tmp_path, pixels, probe=fail, load=fail))
    found = [choice.agreement.images for choice in (first, again, more, last) if choice.agreement is not None]
    assert found == [1, 1, 8, 8]


def test_images_that_cannot_be_read_leave_plain_torch(backbone: Backbone, tmp_path: Path) -> None:
    assert chosen(job(backbone, tmp_path, []))[0].engine.name == "torch"


def test_an_engine_that_is_asked_for_and_is_not_there_is_an_error(
    backbone: Backbone, pixels: list[NDArray[np.uint8]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(choosing, "openvino_version", lambda: None)
    with pytest.raises(EnvironmentFault, match=r"backbone\.engine: openvino is not installed") as caught:
        chosen(job(backbone, tmp_path, pixels, requested="openvino"))
    assert caught.value.hint == "Install it: pip install 'featcli[fast]'"
    choice, _ = chosen(job(backbone, tmp_path, pixels))
    assert (choice.engine.name, choice.reason) == ("torch", "openvino is not installed")


def test_a_broken_installation_leaves_plain_torch_and_is_named_where_it_was_asked_for(
    backbone: Backbone, pixels: list[NDArray[np.uint8]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> Any:
        raise ImportError("libtbb.so.12: cannot open shared object file\nand more")

    for module in (choosing, openvino):
        monkeypatch.setattr(module, "import_openvino", broken)
    said = "openvino is broken: libtbb.so.12: cannot open shared object file"
    choice, events = chosen(job(backbone, tmp_path, pixels))
    assert (choice.engine.name, choice.reason) == ("torch", said) and not warnings_of(events)
    with pytest.raises(EnvironmentFault) as caught:
        chosen(job(backbone, tmp_path, pixels, requested="openvino"))
    assert caught.value.message == f"backbone.engine: {said}"


def test_what_lower_precision_costs_is_said_without_being_asked(
    backbone: Backbone, pixels: list[NDArray[np.uint8]], tmp_path: Path
) -> None:
    choice, events = chosen(job(backbone, tmp_path, pixels, runtime=BF16, requested="openvino"))
    if choice.engine.name != "openvino":
        pytest.skip(f"not used here: {warnings_of(events)}")
    (fact,) = [event for event in events if isinstance(event, Fact)]
    # Where the processor has no bf16, OpenVINO computes in fp32.
    assert fact.name == "engine" and re.search(r"lowest cosine to plain fp32 (0\.99|1\.000000)", fact.text)
    assert choice.to_json()["images"] == 8


def test_a_backbone_that_cannot_be_converted_is_told_once(
    backbone: Backbone, pixels: list[NDArray[np.uint8]], tmp_path: Path
) -> None:
    def pool(output: torch.Tensor) -> torch.Tensor:
        raise ValueError("not for tracing\nand more") if torch.jit.is_tracing() else RuntimeError

    untraceable = dataclasses.replace(
        backbone,
        partition=dataclasses.replace(
            backbone.partition, pool=lambda x: pool(x) if torch.jit.is_tracing() else backbone.partition.pool(x)
        ),
    )
    choice, events = chosen(job(untraceable, tmp_path, pixels))
    assert choice.engine.name == "torch"
    assert warnings_of(events) == [
        "engine openvino is not used for tiny: it cannot be converted: not for tracing; plain torch goes on"
    ]
    assert not warnings_of(chosen(job(untraceable, tmp_path, pixels))[1])


# Models that are kept


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty", "gone", "no facts", "broken facts"])
def test_a_damaged_model_is_made_anew(
    backbone: Backbone, pixels: list[NDArray[np.uint8]], tmp_path: Path, damage: str
) -> None:
    choice, _ = chosen(job(backbone, tmp_path, pixels))
    expected = forward(choice.engine, pixels)
    (model,), (facts,) = tmp_path.rglob("model.bin"), tmp_path.rglob("model.json")
    data = bytearray(model.read_bytes())
    data[len(data) // 2] ^= 0xFF
    match damage:
        case "flipped":
            model.write_bytes(data)
        case "cut":
            model.write_bytes(data[: len(data) // 2])
        case "empty":
            model.write_bytes(b"")
        case "gone":
            model.unlink()
        case "no facts":
            facts.unlink()
        case "broken facts":
            facts.write_text('{"agreement": 3}')
    assert ModelCache(tmp_path).load(model.parent.name) is None
    again, events = chosen(job(backbone, tmp_path, pixels))
    assert again.engine.name == "openvino" and not warnings_of(events)
    np.testing.assert_array_equal(forward(again.engine, pixels), expected)


def test_a_model_depends_on_all_that_changes_its_output(backbone: Backbone) -> None:
    other = dataclasses.replace
    cache = ModelCache(Path("nowhere"))
    changed = [
        backbone,
        other(backbone, weights_sha256="11" * 32),
        other(backbone, arguments={"transform_input": True}),
        other(backbone, preprocessing=other(backbone.preprocessing, mean=(0.1, 0.5, 0.6))),
        other(backbone, preprocessing=other(backbone.preprocessing, crop=24)),
    ]
    described = [describe_model(each, "fp32") for each in changed]
    described += [describe_model(backbone, "bf16"), describe_model(backbone, "fp32", 1)]
    described += [described[0] | {"version": "2025.0"}, described[0] | {"processor": "another"}]
    assert len({cache.key(each) for each in described}) == len(described)


def test_a_cache_that_cannot_be_written_costs_a_conversion_each_time(
    backbone: Backbone, pixels: list[NDArray[np.uint8]], tmp_path: Path
) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    choice, events = chosen(job(backbone, blocked, pixels))
    assert choice.engine.name == "openvino" and not warnings_of(events)
    assert any(isinstance(event, Detail) and "is not kept" in event.text for event in events)
    assert blocked.read_bytes() == b""


def test_models_that_were_used_least_recently_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featcli.features.engines.models.MOST_BYTES", 4200)
    cache = ModelCache(tmp_path)
    a, b, c, d, e = (letter * 32 for letter in "abcde")
    for index, key in enumerate((a, b, c, d)):
        assert cache.keep(key, {"backbone": key[0]}, KeptModel(None), bytes(700)) is None
        os.utime(tmp_path / "engines" / "v1" / key, (1000 + index, 1000 + index))
    assert cache.load(a) is not None, "used just now"
    assert cache.keep(e, {"backbone": "e"}, KeptModel(None), bytes(700)) is None
    assert [model.described["backbone"] for model in cache.kept()] == ["e", "a", "d", "c"]
    assert sum(cache.remove(model) for model in cache.kept()) > 4 * 700
    assert not list(tmp_path.iterdir()), "empty folders go too"


def test_two_writers_of_one_model_leave_one(tmp_path: Path) -> None:
    cache = ModelCache(tmp_path)
    for content in (b"one", b"two"):
        assert cache.keep("key", {}, KeptModel(None), content) is None
    assert cache.load("key") == b"two"
    assert [path.name for path in (tmp_path / "engines" / "v1").iterdir()] == ["key"]


# Nothing leaves the machine


def test_openvino_runs_without_its_telemetry_and_a_kept_model_without_torch(
    backbone: Backbone, pixels: list[NDArray[np.uint8]], tmp_path: Path
) -> None:
    choice, _ = chosen(job(backbone, tmp_path, pixels))
    np.save(tmp_path / "pixels.npy", np.stack(pixels[:3]))
    expected = forward(choice.engine, pixels[:3])
    described = describe_model(backbone, "fp32")
    script = f"""
import socket, sys, json
def refuse(*arguments, **named): raise SystemExit("the network was asked")
socket.socket.connect = refuse; socket.getaddrinfo = refuse
import numpy as np
from featcli.features.engines.openvino import import_openvino
from pathlib import Path
from featcli.features.engines.models import ModelCache
from featcli.features.engines import openvino as engine
data = ModelCache(Path({str(tmp_path)!r})).load({ModelCache(tmp_path).key(described)!r})
compiled = engine.import_openvino().Core().import_model(data, "CPU", engine._options("fp32", 1))
requests = engine._Requests(compiled, 1)
tile = np.zeros((8, 32, 32, 3), np.uint8); tile[:3] = np.load({str(tmp_path / "pixels.npy")!r})
print(json.dumps(requests.start(tile)()[:3].tolist()))
assert "openvino_telemetry" not in sys.modules and "openvino.tools.ovc" not in sys.modules
print("torch" in sys.modules, file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.array(json.loads(done.stdout), dtype=np.float32), expected)


def test_converting_leaves_the_process_able_to_import_what_was_blocked(backbone: Backbone) -> None:
    convert(backbone, "fp32")
    assert sys.modules.get("openvino_telemetry", "absent") is not None


# torch.compile


@pytest.mark.slow
def test_compiled_features_are_those_of_plain_torch_or_plain_torch_goes_on(
    backbone: Backbone, pixels: list[NDArray[np.uint8]], tmp_path: Path
) -> None:
    choice, events = chosen(job(backbone, tmp_path, pixels, requested="compile"))
    if choice.engine.name == "torch":
        assert "engine compile is not used for tiny: " in warnings_of(events)[0]
    else:
        assert choice.agreement is not None and choice.agreement.cosine > 0.9999
        expected = forward(PlainTorch(backbone, CPU), pixels)
        np.testing.assert_allclose(forward(choice.engine, pixels), expected, rtol=1e-4, atol=1e-5)
