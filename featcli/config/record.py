"""A config as text, for the run's `config.yaml`, and the comparison of two runs' configs."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import yaml

from featcli.config.nodes import scalar
from featcli.config.schema import Config, Preprocess, Section
from featcli.files import is_weights_file

_ASIDE = ("device", "output", "loader")  # where and how fast, not what
PLACES = ("data.root", "data.manifest", "data.exclude", "backbone.weights")  # where something lies that has a content


class Difference(NamedTuple):
    """An option that two configs disagree on, with both values as YAML."""

    key: str
    first: str
    second: str

    def __str__(self) -> str:
        return f"{self.key}: {self.first} and {self.second}"


def dump_config(config: Config) -> str:
    """The whole config as YAML, in the order of the schema; loading it gives an equal config."""
    return _yaml(_plain(config))


def same_run(first: Config, second: Config) -> bool:
    """Whether two configs lead to the same result, if the files that they name hold the same."""
    return not differences(first, second)


def differences(first: Config, second: Config) -> list[Difference]:
    """The options that change a result and that two configs disagree on, in the order of the schema.

    These are all but device, output and loader, and but the place of what both of them name.
    """
    return [item for item, is_place in _compared(first, second) if not is_place]


def moves(first: Config, second: Config) -> list[Difference]:
    """Files and folders that both configs name, at different places."""
    return [item for item, is_place in _compared(first, second) if is_place]


def _compared(first: Config, second: Config) -> list[tuple[Difference, bool]]:
    """What differs, and whether it is but a place."""
    ours, theirs = _options(first), _options(second)
    return [
        (
            Difference(key, _inline(ours[key]), _inline(theirs[key])),
            key in PLACES and _names_file(key, ours[key]) and _names_file(key, theirs[key]),
        )
        for key in ours
        if ours[key] != theirs[key]
    ]


def _names_file(key: str, value: str | None) -> bool:
    return value is not None and (key != "backbone.weights" or is_weights_file(value))


def _options(config: Config) -> dict[str, Any]:
    tree = {name: value for name, value in _plain(config).items() if name not in _ASIDE}
    sections = {name for name, value in config if isinstance(value, Section)}
    flat = {name: value for name, value in tree.items() if name not in sections}
    return {f"{name}.{key}": value for name in tree if name in sections for key, value in tree[name].items()} | flat


def _plain(value: Any) -> Any:
    """Values that YAML knows; of a preprocessing, what is set."""
    if isinstance(value, Section):
        items = {name: _plain(getattr(value, name)) for name in type(value).model_fields}
        return {name: item for name, item in items.items() if not (isinstance(value, Preprocess) and item is None)}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, Path) else value


def _inline(value: Any) -> str:
    return _yaml(value, flow=True).removesuffix("\n").removesuffix("\n...")


def _yaml(value: Any, flow: bool = False) -> str:
    text: str = yaml.dump(
        value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=float("inf"), default_flow_style=flow
    )
    return text


class _Dumper(yaml.SafeDumper):
    """Writes what `document` reads: lists on one line, and quotes around what only our rules take for a number."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = None if isinstance(scalar(text), str) else "'"
    if not text.isprintable():
        style = '"'  # escapes: PyYAML's other styles lose line breaks such as U+0085
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


def _list(dumper: yaml.SafeDumper, items: list[Any]) -> yaml.SequenceNode:
    return dumper.represent_sequence("tag:yaml.org,2002:seq", items, flow_style=True)


_Dumper.add_representer(str, _text)
_Dumper.add_representer(list, _list)
