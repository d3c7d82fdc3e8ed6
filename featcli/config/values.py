"""The kinds of values that options have: what is taken, what is refused, and how a message names it."""

from __future__ import annotations

import os
import re
import warnings
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import AfterValidator, BeforeValidator, Field, WithJsonSchema
from pydantic_core import PydanticCustomError

from featcli.config.kinds import HEAD_KINDS
from featcli.config.words import Words, quoted, shortened
from featcli.text import listing
from featcli.units import bytes_of, seconds_of


def _usable(text: str) -> str:
    """Refuses what no `open()` takes: nothing, a NUL, half a surrogate pair. YAML's escapes can spell all of them."""
    if not text or b"\0" in os.fsencode(text):  # its UnicodeEncodeError is a ValueError too
        raise ValueError
    return text


def _path(value: object) -> object:
    """Takes a text for a path; the type check that follows refuses what is neither."""
    return Path(_usable(value)) if isinstance(value, str) else value


def _name(value: object) -> object:
    """Takes an integer for the name that it is written as: folders are called 0 and 1 too."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _distinct(values: tuple[Any, ...]) -> tuple[Any, ...]:
    for index, value in enumerate(values):
        if value in values[:index]:
            what = "names" if isinstance(value, str) else "numbers"
            said = f"expected distinct {what}, {{value}} is there twice"
            raise PydanticCustomError("reason", said, {"value": value})
    return values


def _duration(text: str) -> str:
    """Refuses what is no duration, or none at all."""
    if seconds_of(text) <= 0:
        raise ValueError
    return text


def _size(text: str) -> str:
    bytes_of(text)
    return text


def _one_group(text: str) -> str:
    """Refuses what is no regular expression, or has no one group to take a name from."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "possible nested set": Python's, about what a later Python will read
            count = re.compile(text).groups
    except (re.error, ValueError, OverflowError, RecursionError) as error:
        reason = "nested too deeply" if isinstance(error, RecursionError) else shortened(str(error))
        raise PydanticCustomError("reason", "not a regular expression: {reason}", {"reason": reason}) from error
    if count != 1:
        said = "expected a regular expression with exactly one group in parentheses, as in '([^/]+)_', got {value}"
        raise PydanticCustomError("reason", said, {"value": quoted(text)})
    return text


def _ascending(ends: tuple[int, int]) -> tuple[int, int]:
    if ends[0] >= ends[1]:
        raise ValueError
    return ends


Count: TypeAlias = Annotated[int, Field(ge=1)]
Positive: TypeAlias = Annotated[float, Field(gt=0)]
# What the JSON Schema says of values that a function checks.
_TEXT: dict[str, Any] = {"type": "string", "pattern": r"^[^\u0000]+$"}
_DECIMAL = r"[0-9]{1,15}(\.[0-9]{1,15})?"

PathName: TypeAlias = Annotated[Path, BeforeValidator(_path), WithJsonSchema(_TEXT)]
Text: TypeAlias = Annotated[str, AfterValidator(_usable), WithJsonSchema(_TEXT)]
Share: TypeAlias = Annotated[float, Field(ge=0, lt=1)]
NotNegative: TypeAlias = Annotated[float, Field(ge=0)]
Duration: TypeAlias = Annotated[
    str,
    AfterValidator(_duration),
    WithJsonSchema({"type": "string", "pattern": rf"^(?=[^1-9]*[1-9])\s*{_DECIMAL}\s*[smhdw]\s*$"}),
    Words("a duration such as 90s, 10m or 2h"),
]
Size: TypeAlias = Annotated[
    str,
    AfterValidator(_size),
    WithJsonSchema({"type": "string", "pattern": rf"^\s*{_DECIMAL}\s*([bB]|[kKmMgGtT]([iI]?[bB])?)\s*$"}),
    Words("a size such as 800MB or 8GB"),
]
Grid: TypeAlias = Annotated[
    tuple[Positive, ...], Field(min_length=1, json_schema_extra={"uniqueItems": True}), AfterValidator(_distinct)
]
_Grey: TypeAlias = Annotated[int, Field(ge=0, le=65535)]
GreyRange: TypeAlias = Annotated[
    tuple[_Grey, _Grey], AfterValidator(_ascending), Words("two integers [low, high], 0 <= low < high <= 65535")
]
Weights: TypeAlias = Annotated[
    Text,
    WithJsonSchema({"anyOf": [{"enum": ["DEFAULT", "none"]}, _TEXT]}),
    Words("DEFAULT, none, a weights name, a file or package:MODULE/FILE", choices=("DEFAULT", "none")),
]
GroupPattern: TypeAlias = Annotated[Text, AfterValidator(_one_group), Words("a regular expression with one group")]
WeightsName: TypeAlias = Annotated[Text, Words("a weights name")]
StageName: TypeAlias = Annotated[Text, Words("a stage's name")]
StageNames: TypeAlias = Annotated[
    tuple[Text, ...],
    Field(min_length=1, json_schema_extra={"uniqueItems": True}),
    AfterValidator(_distinct),
    Words("a list of stages' names"),
]
ClassName: TypeAlias = Annotated[
    Text, BeforeValidator(_name), WithJsonSchema({"anyOf": [_TEXT, {"type": "integer"}]}), Words("the name of a class")
]
Device: TypeAlias = Annotated[
    str,
    Field(pattern=r"^(auto|cpu|mps|cuda(:(0|[1-9][0-9]{0,3}))?)$"),
    WithJsonSchema(
        {
            "anyOf": [
                {"enum": ["auto", "cpu", "cuda", "mps"]},
                {"type": "string", "pattern": "^cuda:(0|[1-9][0-9]{0,3})$"},
            ]
        }
    ),
    Words("auto, cpu, cuda, cuda:N or mps", ("auto", "cpu", "cuda", "cuda:0", "mps"), synonyms=(("gpu", "cuda"),)),
]
Precision: TypeAlias = Annotated[
    Literal["fp32", "bf16", "fp16"],
    Words(
        "fp32, bf16 or fp16",
        ("fp32", "bf16", "fp16"),
        synonyms=(("float32", "fp32"), ("bfloat16", "bf16"), ("float16", "fp16"), ("half", "fp16")),
    ),
]


def _known_head(name: str) -> str:
    if name not in HEAD_KINDS:
        raise ValueError
    return name


KindOfHead: TypeAlias = Annotated[
    str,
    AfterValidator(_known_head),
    WithJsonSchema({"type": "string", "enum": list(HEAD_KINDS)}),
    Words(listing(list(HEAD_KINDS)), choices=tuple(HEAD_KINDS)),
]
