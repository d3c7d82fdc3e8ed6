"""What a checkpoint says about itself: one JSON value in the header of the safetensors file. Read without torch."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any, TypeVar

import safetensors
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from featcli.errors import CheckpointError
from featcli.text import did_you_mean

FORMAT = 1  # of a checkpoint, and of an exported file
KEY = "featcli"
CHECKPOINT_NAME = "checkpoint.safetensors"
_PLAIN = "torch"
_ONNX_BEGINS = 8  # with its version, as a number
_SAFETENSORS = slice(8, 9), b"{"  # where its header begins, whatever the bytes before it
_FOR_OTHERS = "is for other programs: featcli predicts by a checkpoint, or by an .onnx file of export"
_EXPORTED = {".onnx": "is not an ONNX file, or only a part of one", ".xml": _FOR_OTHERS, ".pt2": _FOR_OTHERS}
_EXPORT_AGAIN = "Export it: featcli export RUN -o model.onnx"
_COMES_FIRST = "The checkpoint or run folder comes first: featcli predict RUN NEW_PHOTOS"
_COPY_AGAIN = f"Copy it again where it is a checkpoint. {_COMES_FIRST}"


class _Part(BaseModel):
    # Unknown keys are a newer writer's business, as long as the format number is ours.
    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)


_P = TypeVar("_P", bound=_Part)


class BackboneFacts(_Part):
    """Which backbone, and which weights: `weights` in words, the hash of its tensors, the builder's arguments."""

    name: str
    weights: str
    weights_sha256: str
    arguments: dict[str, Any]
    layer: str
    feature_size: int
    n_stages: int


class HeadFacts(_Part):
    """The head: its kind, what was chosen (no C where it was trained by gradient), and a hash of its tensors."""

    kind: str
    C: float | None
    class_weight: str
    sha256: str


class TrustFacts(_Part):
    """What the arrays of `trust` in the file are: their hash, and what is no array."""

    sha256: str
    novelty: dict[str, float] | None = None


class ValidationFacts(_Part):
    """What was measured on the validation images, and on which images, so that it can be reproduced."""

    fingerprint: str
    n: int
    correct: int
    metrics: dict[str, Any]


class CheckpointMetadata(_Part):
    """No times, hosts or paths: the same inputs give the same bytes."""

    format: int
    classes: list[str] = Field(min_length=2)
    positive: str | None = None  # may be absent
    training_fingerprint: str | None = None  # of the training images, as that of validation; may be absent
    backbone: BackboneFacts
    freeze_depth: str | int
    preprocessing: dict[str, Any]
    precision: str
    device_type: str
    engine: str = _PLAIN  # whose features were validated; absent where that is plain torch
    head: HeadFacts
    split: dict[str, Any]
    validation: ValidationFacts
    calibration: dict[str, Any] | None
    trust: TrustFacts | None = None  # absent where nothing is known, as in files of before
    versions: dict[str, str]

    @field_validator("positive")
    @classmethod
    def _is_one_of_two(cls, positive: str | None, info: ValidationInfo) -> str | None:
        classes = info.data.get("classes")  # absent where they are damaged, which is said already
        if positive is not None and classes is not None and (len(classes) != 2 or positive not in classes):
            raise ValueError("not one of two classes")
        return positive

    def to_text(self) -> str:
        """Sorted JSON, as it stands in the file."""
        absent = {"engine"} if self.engine == _PLAIN else set()
        facts = self.model_dump(exclude=absent | ({"trust"} if self.trust is None else set()))
        text = json.dumps(facts, sort_keys=True, allow_nan=False, ensure_ascii=False)
        # A folder's name that is not UTF-8 makes a class with lone surrogates, which only an escape can write.
        return re.sub("[\ud800-\udfff]", lambda lone: f"\\u{ord(lone[0]):04x}", text)


class ExportFacts(_Part):
    """What an exported file is, beside the checkpoint that it was made from.

    Attributes:
        format: of these facts.
        form: `exact`, which takes decoded squares, or `whole`, which takes images of any size.
        precision: `fp32`, `fp16` or `int8`.
        outputs: by name, how many numbers each gives for an image.
        checkpoint_sha256: of the checkpoint's file.
        scores: of held-out images, for sets; None where there are none.
        checked: how it agreed with the checkpoint, on how many images; None where it was not checked.
        versions: of the libraries that made it.
    """

    format: int
    form: str
    precision: str
    outputs: dict[str, int]
    checkpoint_sha256: str
    scores: dict[str, list[float]] | None
    checked: dict[str, Any] | None
    versions: dict[str, str]

    def to_text(self) -> str:
        """JSON, as it stands in the file."""
        return json.dumps(self.model_dump(), sort_keys=True, allow_nan=False)


def is_exported(path: Path) -> bool:
    """Whether a file is ONNX, whoever made it, by its content; False where it cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError:
        return False
    place, brace = _SAFETENSORS
    return head[:1] == bytes([_ONNX_BEGINS]) and head[place] != brace and len(head) == 16


def find_checkpoint(path: Path) -> Path:
    """The checkpoint file that `path` names: the file itself, or the one in a run folder.

    Raises:
        CheckpointError: there is none.
    """
    if path.is_dir():
        if not (path / CHECKPOINT_NAME).is_file():
            raise CheckpointError(
                f"no {CHECKPOINT_NAME} in {path}: not a run folder, or an unfinished run", _COMES_FIRST
            )
        return path / CHECKPOINT_NAME
    if not path.exists():
        raise CheckpointError(f"no such checkpoint: {path}{_near(path)}", _COMES_FIRST)
    return path


def _near(path: Path) -> str:
    """The names beside it that may have been meant."""
    try:
        return did_you_mean(path.name, os.listdir(path.parent))
    except OSError:
        return ""


def read_metadata(path: Path) -> CheckpointMetadata:
    """Reads and checks a checkpoint's description; the tensors stay where they are.

    Raises:
        CheckpointError: the file is truncated, is no checkpoint of featcli, or was made by a newer one.
    """
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            header = file.metadata() or {}
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from error
    except safetensors.SafetensorError as error:
        if path.suffix.lower() in _EXPORTED:
            raise CheckpointError(f"{path} {_EXPORTED[path.suffix.lower()]}", _EXPORT_AGAIN) from error
        raise CheckpointError(f"{path} is not a safetensors file, or only a part of one", _COPY_AGAIN) from error
    if KEY not in header:
        raise CheckpointError(
            f"{path} is a safetensors file, but not a checkpoint of featcli",
            f"If it holds weights, train with them: --set backbone.weights={path}",
        )
    return parse_metadata(header[KEY], str(path))


def parse_metadata(text: str, source: str) -> CheckpointMetadata:
    """Checks the JSON of a checkpoint's header.

    Raises:
        CheckpointError: it is damaged, or of a newer format.
    """
    return _parse(CheckpointMetadata, text, source)


def parse_export_facts(text: str, source: str) -> ExportFacts:
    """Checks the JSON that an exported file has of itself.

    Raises:
        CheckpointError: it is damaged, or of a newer format.
    """
    return _parse(ExportFacts, text, source)


def _parse(kind: type[_P], text: str, source: str) -> _P:
    try:
        value = json.loads(text)
        found = value["format"]
        if isinstance(found, int) and found > FORMAT:
            raise CheckpointError(
                f"{source} has format {found}; this featcli reads formats up to {FORMAT}",
                "Upgrade: pip install -U featcli",
            )
        return kind.model_validate(value)
    except ValidationError as error:
        where = ", ".join(".".join(map(str, problem["loc"])) for problem in error.errors()[:3])
        raise CheckpointError(f"{source} has a damaged description: {where}") from error
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(f"{source} has a damaged description") from error
