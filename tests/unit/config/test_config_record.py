import string
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from featcli.config import Backbone, Config, Data, Head, Loader, Preprocess, differences, dump_config, moves, same_run
from featcli.config.document import parse
from featcli.config.load import load_config
from featcli.config.nodes import plain
from featcli.files import is_weights_file

DEFAULTS = """\
data:
  root: /images/cats
  manifest: null
  val_fraction: 0.2
  test_fraction: 0.0
  group: null
  positive: null
  exclude: null
  range: full
  decode: exact
  limit: null
backbone:
  name: resnet18
  weights: DEFAULT
  preprocess:
    resize: 232
    mean: [0.5, 0.5, 0.5]
  layer: penultimate
  pooling: auto
  engine: auto
  freeze_depth: all
head:
  kind: logistic
  C: [1.0, 1.0e-05, 100000.0]
  folds: 5
  repeats: null
  class_weight: none
  hidden: 512
  dropout: 0.0
  init: solved
train:
  epochs: 10
  batch_size: 32
  optimizer: adamw
  lr: 0.0005
  weight_decay: 0.05
  layer_decay: 0.8
  warmup_epochs: 1.0
  schedule: cosine
  clip_norm: 1.0
  accumulate: 1
  label_smoothing: 0.1
  mixup: 0.0
  cutmix: 0.0
  ema: null
  augment: light
  mirror: auto
  views: null
  batch_norm: auto
  monitor: accuracy
  patience: null
  time_limit: null
  compile: false
  cache_limit: 8GB
loader:
  batch_size: 32
  workers: auto
output: null
device: auto
precision: fp32
seed: 0
"""

# texts that YAML 1.1, YAML 1.2 or the rules of `nodes.scalar` take for something else
TRAPS = [
    "1e3",
    "null",
    "~",
    "on",
    "true",
    "1",
    "0x1",
    "01:30",
    ".5",
    ".nan",
    "2024-01-01",
    "=",
    "<<",
    "- a",
    "a: b",
    "#x",
]
texts = st.one_of(
    st.sampled_from(TRAPS),
    st.text(string.printable, min_size=1),
    st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1),
)
positive = st.floats(min_value=0, exclude_min=True, allow_infinity=False)
count = st.integers(1, 10**12)
paths = st.one_of(st.none(), texts.map(lambda text: Path("/data", text.replace("/", "|").replace("..", "|"))))
mapping = st.builds(
    Preprocess,
    resize=st.none() | count,
    crop=st.none() | count,
    interpolation=st.sampled_from([None, "nearest", "bilinear", "bicubic"]),
    mean=st.none() | st.tuples(*[st.floats(allow_nan=False, allow_infinity=False)] * 3),
    std=st.none() | st.tuples(positive, positive, positive),
)
weights = texts.filter(lambda text: not is_weights_file(text))
beside_images: dict[str, Any] = {
    "val_fraction": st.floats(0.0, 0.5),
    "test_fraction": st.floats(0, 0.499),
    "group": st.sampled_from([None, "([^/]+)_", r"^(\w+)[\d{2}'\"#: ]", "(~)"]),
    "positive": st.none() | texts,
    "exclude": paths,
    "range": st.sampled_from(["full", "auto"]) | st.tuples(st.integers(0, 99), st.integers(100, 65535)),
    "limit": st.none() | count,
}
configs = st.builds(
    Config,
    data=st.builds(Data, root=paths, **beside_images) | st.builds(Data, manifest=paths, **beside_images),
    backbone=st.builds(
        Backbone,
        name=st.none() | texts,
        weights=weights | st.just("/a/b.pth"),
        preprocess=st.just("auto") | texts | mapping,
        layer=texts | st.lists(texts, min_size=1, unique=True).map(tuple),
        pooling=st.sampled_from(["auto", "avg", "max", "cls", "flatten"]),
        freeze_depth=st.integers(0, 50) | texts,
    ),
    head=st.builds(
        Head,
        C=st.just("auto") | positive | st.lists(positive, min_size=1, unique=True).map(tuple),
        folds=st.integers(2, 100),
        class_weight=st.sampled_from(["none", "balanced"]),
    ),
    loader=st.builds(Loader, batch_size=count, workers=st.just("auto") | count),
    output=paths,
    device=st.sampled_from(["auto", "cpu", "cuda:3"]),
    precision=st.sampled_from(["fp32", "bf16", "fp16"]),
    seed=st.integers(0, 2**32 - 1),
)


def loaded_again(text: str, folder: Path) -> Config:
    file = folder / "config.yaml"
    file.write_bytes(text.encode("utf-8"))
    return load_config(file).config


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("dump")


@pytest.mark.slow
@given(config=configs)
@settings(deadline=None, max_examples=150)
def test_a_dump_loads_as_an_equal_config(config: Config, folder: Path) -> None:
    text = dump_config(config)
    again = loaded_again(text, folder)
    assert again == config
    assert dump_config(again) == text
    assert same_run(again, config)


@pytest.mark.slow
@given(text=texts)
@settings(deadline=None)
def test_texts_stay_texts_for_us_and_for_other_readers(text: str) -> None:
    dumped = dump_config(Config(backbone=Backbone(name=text)))
    ours = parse(dumped)
    assert not ours.problems
    assert ours.root is not None
    assert plain(ours.root)["backbone"]["name"] == yaml.safe_load(dumped)["backbone"]["name"] == text


def test_the_dump_word_for_word() -> None:
    config = Config(
        data=Data(root=Path("/images/cats")),
        backbone=Backbone(name="resnet18", preprocess=Preprocess(resize=232, mean=(0.5, 0.5, 0.5))),
        head=Head(C=(1, 1e-5, 1e5)),
    )
    assert dump_config(config) == DEFAULTS


def test_names_that_are_not_utf8_survive(folder: Path) -> None:
    config = Config(output=Path("/runs/caf\udce9"))
    assert loaded_again(dump_config(config), folder) == config


def test_long_paths_stay_on_one_line() -> None:
    root = Path("/", "a b " * 100 + "c")
    assert f"\n  root: {root}\n" in dump_config(Config(data=Data(root=root)))


@pytest.mark.parametrize(
    "other",
    [
        Config(device="cuda"),
        Config(output=Path("/x")),
        Config(loader=Loader(batch_size=1, workers=3)),
    ],
)
def test_where_and_how_fast_does_not_make_another_run(other: Config) -> None:
    assert same_run(Config(), other)
    assert differences(Config(), other) == []


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (Config(seed=1), "seed: 0 and 1"),
        (Config(precision="bf16"), "precision: fp32 and bf16"),
        (Config(data=Data(limit=5)), "data.limit: null and 5"),
        (Config(head=Head(C=(0.1, 1))), "head.C: auto and [0.1, 1.0]"),
        (Config(backbone=Backbone(preprocess=Preprocess(crop=4))), "backbone.preprocess: auto and {crop: 4}"),
        (Config(backbone=Backbone(name="1e3")), "backbone.name: null and '1e3'"),
        (Config(data=Data(root=Path("/a b"))), "data.root: null and /a b"),
    ],
)
def test_differences_name_the_option_and_both_values(other: Config, message: str) -> None:
    assert not same_run(Config(), other)
    assert [str(difference) for difference in differences(Config(), other)] == [message]


@pytest.mark.parametrize(
    ("first", "second", "key"),
    [
        (Data(root=Path("/a")), Data(root=Path("/b")), "data.root"),
        (Data(manifest=Path("/a")), Data(manifest=Path("/b")), "data.manifest"),
        (Data(root=Path("/a"), exclude=Path("/x")), Data(root=Path("/a"), exclude=Path("/y")), "data.exclude"),
        (Backbone(weights="/a/w.pth"), Backbone(weights="/b/w.safetensors"), "backbone.weights"),
    ],
)
def test_another_place_alone_is_no_difference(first: Data | Backbone, second: Data | Backbone, key: str) -> None:
    one, other = (Config(**{key.partition(".")[0]: section}) for section in (first, second))
    assert differences(one, other) == []
    assert [item.key for item in moves(one, other)] == [key]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (Data(root=Path("/a")), Data(manifest=Path("/a/list.csv"))),
        (Data(root=Path("/a")), Data(root=Path("/a"), exclude=Path("/x"))),
        (Backbone(weights="/a/w.pth"), Backbone(weights="DEFAULT")),
        (Backbone(weights="package:a/w.pth"), Backbone(weights="package:b/w.pth")),
    ],
)
def test_what_only_one_config_names_is_no_place(first: Data | Backbone, second: Data | Backbone) -> None:
    name = "data" if isinstance(first, Data) else "backbone"
    assert differences(Config(**{name: first}), Config(**{name: second})) != []
    assert moves(Config(**{name: first}), Config(**{name: second})) == []


def test_differences_come_in_the_order_of_the_schema() -> None:
    changes: dict[str, Any] = {"seed": 1, "data": Data(val_fraction=0.3), "head": Head(folds=3), "precision": "fp16"}
    found = [difference.key for difference in differences(Config(), Config(**changes))]
    assert found == ["data.val_fraction", "head.folds", "precision", "seed"]
