"""A model that left the tool: an ONNX file that says of itself what a checkpoint says, and what it was checked on.

Read without torch, and without the package onnx: of the file's outermost message only the names of fields and their
lengths are looked at. Format: https://github.com/onnx/onnx/blob/main/onnx/onnx.proto, message ModelProto.
"""

from __future__ import annotations

import hashlib
import mmap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from featcli.backbones.description import Description
from featcli.checkpoint import StoredModel
from featcli.data.pixels.preprocessing import Preprocessing, WholeImages
from featcli.errors import CheckpointError
from featcli.evaluation.calibration import Calibration
from featcli.evaluation.conformal import Scores
from featcli.evaluation.trust import Trust
from featcli.metadata import KEY, CheckpointMetadata, ExportFacts, parse_export_facts, parse_metadata

INPUT = "pixels"
PREDICTIONS, LOGITS, NOVELTY, FEATURES = "probabilities", "logits", "novelty", "features"  # names of outputs
EXACT, WHOLE = FORMS = ("exact", "whole")
FACTS_KEY = f"{KEY}.export"
DIGEST_KEY = f"{KEY}.sha256"
_COVERAGES = (0.8, 0.9, 0.95, 0.99)
_METADATA, _METADATA_TAG = 14, b"\x72"  # the field of names and values, and how it begins
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5  # kinds of fields
_LONGEST_VARINT = 10


@dataclass(frozen=True, slots=True)
class ExportedModel:
    """An exported file that was read and checked.

    Attributes:
        path: of the file.
        backbone: its description; its feature size is that of `outputs` beside each other, and its preprocessing
            leaves to the file what the file does itself.
        metadata: of the checkpoint that it was made from.
        facts: what it is, and what it was checked on.
        outputs: those that predictions need, by name, and how many numbers each gives.
        trust: what the model knows of its own limits, but for distances, which are an output.
    """

    path: Path
    backbone: Description
    metadata: CheckpointMetadata
    facts: ExportFacts
    outputs: Mapping[str, int]
    trust: Trust


Model: TypeAlias = StoredModel | ExportedModel


def read_description(path: Path) -> tuple[CheckpointMetadata, ExportFacts]:
    """What an exported file says of itself, once its bytes were found to be those that were written.

    Raises:
        CheckpointError: damaged, not of featcli, or of a newer one.
    """
    digest, said = hashlib.sha256(), {}
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            data = memoryview(mapped)
            try:
                for number, begin, inside, end in _fields(data):
                    if number == _METADATA:
                        name, value = _entry(data[inside:end])
                        said[name] = value
                    else:
                        digest.update(data[begin:end])
            finally:
                data.release()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {(error.strerror or str(error)).lower()}") from error
    except (ValueError, IndexError) as error:
        raise CheckpointError(f"{path} is not an ONNX file, or only a part of one", "Export it again.") from error
    if KEY not in said or FACTS_KEY not in said:
        raise CheckpointError(
            f"{path} is an ONNX file, but not one that featcli exported: it does not say its classes and preprocessing",
            "To make one: featcli export RUN -o model.onnx",
        )
    metadata, facts = parse_metadata(said[KEY], str(path)), parse_export_facts(said[FACTS_KEY], str(path))
    _add_entries(digest, said)
    if digest.hexdigest() != said.get(DIGEST_KEY):
        raise CheckpointError(
            f"{path} is not what was exported: damaged, or changed by another program", "Export it again."
        )
    return metadata, facts


def read_exported(path: Path) -> ExportedModel:
    """Reads all of an exported file but its network.

    Raises:
        CheckpointError: as `read_description`.
    """
    metadata, facts = read_description(path)
    said = metadata.backbone
    try:
        preprocessing = Preprocessing.from_json(metadata.preprocessing)
        if facts.form == WHOLE:
            preprocessing = WholeImages.of(preprocessing)
        calibration = None if metadata.calibration is None else Calibration.from_json(metadata.calibration)
        scores = None if facts.scores is None else _scores(facts.scores, len(metadata.classes))
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} has a damaged description") from error
    outputs = {name: width for name, width in facts.outputs.items() if name != FEATURES}
    backbone = Description(
        said.name,
        said.layer,
        sum(outputs.values()),
        preprocessing,
        said.weights,
        said.weights_sha256,
        said.arguments,
    )
    return ExportedModel(path, backbone, metadata, facts, outputs, Trust(calibration, scores))


def scores_to_json(scores: Scores) -> dict[str, list[float]]:
    """Scores of held-out images, as a file's facts have them."""
    return {name: array.tolist() for name, array in scores.arrays().items()}


def thresholds_of(scores: Scores | None) -> dict[str, list[float]] | None:
    """By coverage, the probability from which on a class belongs to the set, for each class.

    None where sets are not known, or are filled class by class, which takes more than a threshold; coverages for which
    there are too few images are left out.
    """
    if scores is None or scores.adaptive:
        return None
    limits = {str(coverage): 1.0 - scores.rule(coverage).limits for coverage in _COVERAGES}
    return {coverage: row.tolist() for coverage, row in limits.items() if np.isfinite(row).all()}


def _add_entries(digest: hashlib._Hash, entries: Mapping[str, str]) -> None:
    for name in sorted(entries.keys() - {DIGEST_KEY}):
        digest.update(f"{name}\0{entries[name]}\0".encode())


def with_entries(body: bytes, entries: Mapping[str, str]) -> bytes:
    """An ONNX file with names and values added to it (fields that repeat may stand anywhere), and a hash of it all."""
    digest = hashlib.sha256(body)
    _add_entries(digest, entries)
    entries = {**entries, DIGEST_KEY: digest.hexdigest()}
    return body + b"".join(_encoded(name, value) for name, value in entries.items())


def split_columns(vectors: NDArray[np.float32], outputs: Mapping[str, int]) -> dict[str, NDArray[np.float32]]:
    """By name the outputs (N, width) that lie beside each other in (N, sum of widths)."""
    ends = np.cumsum(list(outputs.values()))
    return dict(zip(outputs, np.split(vectors, ends[:-1], axis=1), strict=True))


def _scores(lists: Mapping[str, Iterable[float]], n_classes: int) -> Scores:
    arrays: dict[str, NDArray[Any]] = {name: np.array(values) for name, values in lists.items()}
    return Scores.from_arrays(arrays, n_classes)


def _fields(data: memoryview) -> Iterator[tuple[int, int, int, int]]:
    """Of each field of a message its number, where it begins, where its content begins, and where it ends.

    Raises:
        ValueError: the bytes are no message.
        IndexError: likewise.
    """
    place = 0
    while place < len(data):
        tag, inside = _number(data, place)
        kind = tag & 7
        if kind == _VARINT:
            _, end = _number(data, inside)
        elif kind == _LENGTH:
            length, inside = _number(data, inside)
            end = inside + length
        elif kind in (_FIXED32, _FIXED64):
            end = inside + (4 if kind == _FIXED32 else 8)
        else:
            raise ValueError(f"a field of kind {kind}")
        if tag >> 3 == 0 or end > len(data):
            raise ValueError("a field that is none, or that ends after the file")
        yield tag >> 3, place, inside, end
        place = end


def _number(data: memoryview, place: int) -> tuple[int, int]:
    """A number of seven bits a byte, the lowest first, and where it ends."""
    value = 0
    for index in range(_LONGEST_VARINT):
        byte = data[place + index]
        value |= (byte & 0x7F) << (7 * index)
        if byte < 0x80:
            return value, place + index + 1
    raise ValueError("a number without an end")


def _entry(data: memoryview) -> tuple[str, str]:
    """A name and a value."""
    found = {number: str(data[inside:end], "utf-8") for number, _, inside, end in _fields(data)}
    return found.get(1, ""), found.get(2, "")


def _encoded(name: str, value: str) -> bytes:
    parts = b"".join(
        tag + _varint(len(text)) + text for tag, text in ((b"\x0a", name.encode()), (b"\x12", value.encode()))
    )
    return _METADATA_TAG + _varint(len(parts)) + parts


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
