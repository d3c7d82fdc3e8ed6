"""`featcli schema`: the JSON Schema of the config."""

from __future__ import annotations

from featcli.config.json_schema import schema_text


def schema() -> str:
    """The schema of a config file."""
    return schema_text().rstrip("\n")
