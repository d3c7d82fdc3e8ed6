"""The options as JSON Schema, which editors read: the same types, ranges, defaults and help as in the schema itself."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from featcli import __version__
from featcli.config.check import is_section
from featcli.config.known_backbones import STAGES
from featcli.config.schema import Config
from featcli.config.words import nested

DRAFT = "https://json-schema.org/draft/2020-12/schema"
FILE = ".featcli.schema.json"  # beside a config; hidden, so that it is no part of a folder of images

# What a config is refused for and no JSON Schema can say, as docs/config.md lists it.
BEYOND = (
    "names of backbones, weights and stages (those of backbones are offered, and others taken: torchvision grows)",
    "what two keys must be together, as val_fraction and test_fraction, or root and manifest",
    "that data.group is a regular expression with one group, and that the ends of data.range ascend",
    "an integer that is written with a point or an exponent (5.0, 1e3) or a zero in front (010), .inf and .nan",
    "a section that is null by word (head: with its keys commented out is taken by both)",
    "keys that are given twice, aliases, tags and several documents",
)


def json_schema() -> dict[str, Any]:
    """The schema of a config file, of draft 2020-12."""
    found = Config.model_json_schema()
    definitions: dict[str, Any] = found.pop("$defs")
    for model in (found, *definitions.values()):
        for option in model["properties"].values():
            option.pop("title", None)  # the key once more
    for name, option in Config.model_fields.items():
        if is_section(option):
            # Its default is that of each of its keys; `head:` with all of them commented out is empty.
            section = {"anyOf": [{"$ref": f"#/$defs/{_title(option)}"}, {"type": "null"}]}
            found["properties"][name] = {**section, "description": option.description}
    name = definitions["Backbone"]["properties"]["name"]
    name["anyOf"] = [{"enum": list(STAGES)}, *name["anyOf"]]
    return {
        "$schema": DRAFT,
        "$id": f"urn:featcli:config:{__version__}",
        **found,
        "title": "Config of featcli",
        "type": ["object", "null"],
        "$defs": definitions,
    }


def schema_text() -> str:
    """The schema as a file."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


def _title(option: Any) -> str:
    model = nested(option)
    assert model is not None
    return model.__name__


def beyond() -> Iterator[str]:
    """Lines of a page: what a config is refused for and the schema cannot say."""
    yield from ("", "## In an editor", "")
    yield "`featcli schema` prints the JSON Schema of a config; `featcli init` writes it beside the config, as"
    yield f"`{FILE}`, which the config's first line names. It refuses what featcli refuses, but for:"
    yield ""
    yield from (f"- {line}" for line in BEYOND)
