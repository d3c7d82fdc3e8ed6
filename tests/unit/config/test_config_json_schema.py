"""The JSON Schema accepts and refuses what the loader does, but for what no schema can say."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from featcli.config import Config, load_config
from featcli.config.check import is_section, options
from featcli.config.document import parse
from featcli.config.json_schema import BEYOND, beyond, json_schema
from featcli.config.known_backbones import STAGES
from featcli.config.nodes import plain
from featcli.config.words import choices
from featcli.errors import ConfigError

PROJECT = Path(__file__).resolve().parents[3]
SCHEMA = json_schema()
VALIDATOR = Draft202012Validator(SCHEMA)
KEYS = [f"{section}.{name}".removeprefix(".") for section, name, _ in options(Config)]

SECTIONS = [name for _, name, option in options(Config) if is_section(option)]


def data_of(text: str) -> Any:
    """What an editor sees of a YAML text: mappings, lists and scalars."""
    root = parse(text).root
    return json.loads(json.dumps(plain(root) if root else None))


def schema_takes(text: str) -> bool:
    return bool(VALIDATOR.is_valid(data_of(text)))


def loader_takes(folder: Path, text: str) -> bool:
    path = folder / "some.yaml"
    path.write_text(text, encoding="utf-8")
    try:
        load_config(path)
    except ConfigError:
        return False
    return True


def nest(key: str, value: Any) -> str:
    """`a.b` and a value as YAML (JSON is YAML)."""
    for name in reversed(key.split(".")):
        value = {name: value}
    return json.dumps(value, ensure_ascii=False)


def test_it_is_a_schema_of_its_draft() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert SCHEMA["$id"].startswith("urn:featcli:config:")
    assert SCHEMA["title"] == "Config of featcli"


def objects(schema: Any) -> Iterator[dict[str, Any]]:
    if isinstance(schema, dict):
        if "properties" in schema:
            yield schema
        for inner in schema.values():
            yield from objects(inner)


def test_every_key_is_there_with_its_help_and_default_and_no_other() -> None:
    listed = {"": SCHEMA, **{model.lower(): found for model, found in SCHEMA["$defs"].items()}}
    assert {found["additionalProperties"] for found in objects(SCHEMA)} == {False}
    for section, name, option in options(Config):
        found = listed[section.rpartition(".")[2]]["properties"][name]
        assert found["description"] == option.description
        if not is_section(option):
            assert found["default"] == json.loads(json.dumps(option.default))
    assert sum(len(found["properties"]) for found in objects(SCHEMA)) == len(KEYS)


def test_an_editor_offers_the_names_of_backbones_and_takes_others() -> None:
    name = SCHEMA["$defs"]["Backbone"]["properties"]["name"]
    assert name["anyOf"][0] == {"enum": list(STAGES)}
    assert schema_takes("backbone: {name: of_a_later_torchvision}")


@pytest.mark.parametrize("path", sorted(PROJECT.glob("configs/**/*.yaml")), ids=lambda path: path.name)
def test_the_configs_that_come_along_are_valid(path: Path) -> None:
    VALIDATOR.validate(data_of(path.read_text()))


ACCEPTED = [
    "",
    "head:\n",
    "{}",
    "train: {lr: 1e-3}",
    "train: {cache_limit: 8GB}",
    "train: {cache_limit: 1.5 tib}",
    "train: {time_limit: 10m}",
    "train: {time_limit: null}",
    "train: {mirror: true}",
    "train: {mirror: auto}",
    "train: {warmup_epochs: 1}",
    "head: {C: auto}",
    "head: {C: 1}",
    "head: {C: [0.1, 1, 1e2]}",
    "data: {positive: 1}",
    "data: {positive: ants}",
    "data: {group: group}",
    "data: {group: '([^/]+)_'}",
    "data: {range: [0, 4095]}",
    "data: {limit: null, root: a b/c}",
    "backbone: {preprocess: {}}",
    "backbone: {preprocess: {crop: 224, mean: [0.5, 0, 1], resize: null}}",
    "backbone: {preprocess: IMAGENET1K_V1}",
    "backbone: {layer: [stem, layer1]}",
    "backbone: {freeze_depth: 3}",
    "backbone: {freeze_depth: layer2}",
    "device: cuda:1",
    "loader: {workers: auto}",
    "seed: 4294967295",
]
REFUSED = [
    "[]",
    "text",
    "head: 3",
    "head: []",
    "haed: {}",
    "head: {c: 1}",
    "data.root: photos",
    "data: {root: ''}",
    'data: {root: "a\\0b"}',
    "data: {root: 3}",
    "data: {val_fraction: -0.1}",
    "data: {val_fraction: 1}",
    "data: {val_fraction: '0.2'}",
    "data: {positive: true}",
    "data: {positive: ''}",
    "data: {range: [0]}",
    "data: {range: [0, 65536]}",
    "data: {limit: 0}",
    "backbone: {name: 3}",
    "backbone: {preprocess: {crop: 224, size: 3}}",
    "backbone: {preprocess: null}",
    "backbone: {preprocess: {mean: [0.5, 0.5]}}",
    "backbone: {preprocess: {std: [0.5, 0.5, 0]}}",
    "backbone: {layer: []}",
    "backbone: {layer: [stem, stem]}",
    "backbone: {freeze_depth: -1}",
    "backbone: {freeze_depth: true}",
    "head: {kind: forest}",
    "head: {C: 0}",
    "head: {C: []}",
    "head: {C: [1, 1.0]}",
    "head: {class_weight: null}",
    "head: {folds: 1}",
    "train: {lr: fast}",
    "train: {lr: -1e-3}",
    "train: {epochs: 2.5}",
    "train: {epochs: true}",
    "train: {compile: on}",
    "train: {mirror: 1}",
    "train: {layer_decay: 0}",
    "train: {layer_decay: 1.1}",
    "train: {ema: 1}",
    "train: {time_limit: 0s}",
    "train: {time_limit: 0.0m}",
    "train: {time_limit: 10}",
    "train: {time_limit: 10 minutes}",
    "train: {cache_limit: 8}",
    "train: {cache_limit: 8XB}",
    "train: {cache_limit: 8iB}",
    "device: gpu",
    "device: cuda:01",
    "device: null",
    "precision: fp64",
    "seed: -1",
    "seed: 4294967296",
]


@pytest.mark.parametrize("text", ACCEPTED)
def test_what_both_accept(tmp_path: Path, text: str) -> None:
    assert (loader_takes(tmp_path, text), schema_takes(text)) == (True, True)


@pytest.mark.parametrize("text", REFUSED)
def test_what_both_refuse(tmp_path: Path, text: str) -> None:
    assert (loader_takes(tmp_path, text), schema_takes(text)) == (False, False)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("data: {val_fraction: 0.5, test_fraction: 0.5}", "together"),
        ("data: {root: a, manifest: b.csv}", "together"),
        ("data: {group: '('}", "regular expression"),
        ("data: {range: [9, 3]}", "ascend"),
        ("train: {epochs: 5.0}", "5.0"),
        ("head: null", "null by word"),
        ("seed: 1\nseed: 2", "twice"),
    ],
)
def test_what_no_schema_can_say_is_listed(tmp_path: Path, text: str, said: str) -> None:
    assert not loader_takes(tmp_path, text)
    assert said in "\n".join(BEYOND)
    assert said in "\n".join(beyond())
    if said != "twice":  # of a key that is given twice a schema sees one
        assert schema_takes(text)


WORDS = sorted({word for _, _, option in options(Config) for word in choices(option)} | {"none", "10m", "8GB", "1e-3"})
LETTERS = st.text(st.characters(codec="utf-8", max_codepoint=0xD7FF, exclude_categories=("C", "Z")), max_size=6)
NUMBERS = st.one_of(
    st.integers(-2, 12),
    st.sampled_from([65535, 65536, 2**32 - 1, 2**32]),
    # A whole number with a point is what JSON calls an integer, and featcli does not.
    st.floats(-2, 12).filter(lambda number: not number.is_integer()),
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, st.sampled_from(WORDS), LETTERS)
VALUES = st.one_of(
    SCALARS,
    st.lists(SCALARS, max_size=4),
    st.lists(st.floats(0.1, 0.9), min_size=3, max_size=3),
    st.dictionaries(st.sampled_from(["crop", "mean", "resize", "nonsense"]), SCALARS, max_size=2),
)


@given(key=st.sampled_from(KEYS), value=VALUES)
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_value_of_any_key(tmp_path: Path, key: str, value: Any) -> None:
    if key == "data.group" and isinstance(value, str):
        value = "([^/]+)_"
    if key == "data.range" and isinstance(value, list):
        value = sorted(value, key=str)
        if [type(item) for item in value] == [int, int] and value[0] >= value[1]:
            value = [0, max(value[0], 1)]
    if key in SECTIONS and value is None:
        return
    text = nest(key, value)
    if key == "data.test_fraction":  # the sum with the other share is what no schema can say
        text = json.dumps({"data": {"test_fraction": value, "val_fraction": 0}}, ensure_ascii=False)
    assert schema_takes(text) == loader_takes(tmp_path, text), text


@given(section=st.sampled_from(["", "data.", "backbone.", "backbone.preprocess.", "head.", "train."]), name=LETTERS)
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_other_key(tmp_path: Path, section: str, name: str) -> None:
    if f"{section}{name}" in KEYS or "." in name:
        return
    text = nest(f"{section}{name}", 1)
    assert (schema_takes(text), loader_takes(tmp_path, text)) == (False, False)
