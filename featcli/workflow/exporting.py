"""From a checkpoint to the bytes of an exported file, and what the file says of itself."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from featcli.checkpoint import StoredModel, library_versions
from featcli.errors import StorageError, UsageError
from featcli.export.formats import ENDINGS, ONNX, OPENVINO, TORCH, openvino_files, torch_file
from featcli.exported import (
    EXACT,
    FACTS_KEY,
    FEATURES,
    LOGITS,
    NOVELTY,
    PREDICTIONS,
    WHOLE,
    scores_to_json,
    thresholds_of,
    with_entries,
)
from featcli.files import check_output_file, sha256_of_file
from featcli.metadata import FORMAT, KEY, ExportFacts
from featcli.outputs import STDOUT
from featcli.tasks import task_of

if TYPE_CHECKING:
    from featcli.whole_model import PixelModel

FP32, FP16, INT8 = "fp32", "fp16", "int8"
MAX_LOSS = 0.02  # of the accuracy, by lower precision


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """What `export` takes besides the common flags.

    Attributes:
        output: the file to write.
        format: `onnx`, `openvino` or `torch`; None goes by the ending of `output`.
        form: `exact` takes decoded squares, `whole` images of any size.
        precision: `fp32`, `fp16` or `int8`.
        features: whether features are an output too.
        images: a folder to compare on; None for the images of the checkpoint's run.
        unchecked: write without comparing.
        allow_slower: write lower precision where it is slower than fp32 here.
        max_loss: of the accuracy, by lower precision, up to which the file is written.
    """

    output: Path
    format: str | None = None
    form: str = EXACT
    precision: str = FP32
    features: bool = False
    images: Path | None = None
    unchecked: bool = False
    allow_slower: bool = False
    max_loss: float = MAX_LOSS


@dataclass(frozen=True, slots=True)
class Export:
    """A checkpoint, and what is to become of it.

    Attributes:
        path: of the checkpoint.
        model: that it holds.
        options: of the call.
        format: one of `featcli.export.formats.FORMATS`.
    """

    path: Path
    model: StoredModel
    options: ExportOptions
    format: str


@dataclass(frozen=True, slots=True)
class Made:
    """An exported model before it is written.

    Attributes:
        files: by ending, without names and values of ours in ONNX.
        plain: of lower precision, the same in fp32; else None.
        facts: what the file says of itself, but for how it was checked.
    """

    files: Mapping[str, bytes]
    plain: bytes | None
    facts: ExportFacts


def decide_format(options: ExportOptions) -> str:
    """The format that the options mean, by name or by the file's ending.

    Raises:
        UsageError: none, or one that does not go with the other options.
        StorageError: nothing can be written there.
    """
    output, ending = options.output, options.output.suffix.lower()
    if output == STDOUT or check_output_file(output).is_stream:
        raise UsageError("an exported model is a file, not a stream", "Name one: -o model.onnx")
    format = options.format or ENDINGS.get(ending)
    if format is None:
        raise UsageError(f"{output}: of which format?", f"Name it by its ending ({', '.join(ENDINGS)}), or --format.")
    right = next(own for own, name in ENDINGS.items() if name == format)
    if ending != right:
        name = output.with_suffix(right)
        raise UsageError(
            f"a file of --format {format} ends in {right}, and {output} does not", f"Name it so: -o {name}"
        )
    _require_place(output)
    weights = output.with_suffix(".bin")
    if format == OPENVINO and os.path.lexists(weights) and not output.exists():
        raise UsageError(f"{weights} would be replaced: OpenVINO's weights go there", "Name another file with -o.")
    if format != ONNX:
        asked = {"--form whole": options.form == WHOLE, f"--{options.precision}": options.precision != FP32}
        for flag in (flag for flag, is_asked in asked.items() if is_asked):
            raise UsageError(f"{flag} is of ONNX alone, not of --format {format}", "Name a file: -o model.onnx")
    return format


def _require_place(output: Path) -> None:
    """Finds before any work that nothing can be written there."""
    folder = next((parent for parent in output.absolute().parents if parent.exists()), output.absolute().parent)
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise StorageError(f"cannot write {output}: {folder} cannot be written to", "Name another place with -o.")


def require_libraries(export: Export) -> None:
    """Finds what is missing before any work is done.

    Raises:
        EnvironmentFault: a library is not installed.
        UsageError: the preprocessing has no operators in ONNX.
    """
    if export.format != ONNX:
        return
    from featcli.export.onnx_graph import import_onnx, require_front
    from featcli.extras import import_onnxruntime

    import_onnx()
    import_onnxruntime()
    if export.options.form == WHOLE:
        require_front(export.model.backbone.preprocessing)


def make(export: Export, squares: Sequence[NDArray[np.uint8]]) -> Made:
    """Makes the file's bytes.

    Args:
        export: what is wanted.
        squares: decoded images that lower precision is fitted to.

    Raises:
        UsageError: the model cannot be exported.
        EnvironmentFault: a library is missing.
    """
    model, options = export.model, export.options
    name, preprocessing = model.backbone.name, model.backbone.preprocessing
    module = _module(export)
    facts = _facts(export, module.names)
    entries = _entries(model)
    # How it was compared is known when it is made already, and is said where it can be added: in ONNX.
    said = entries | {FACTS_KEY: json.dumps(facts.model_dump(exclude={"checked"}), sort_keys=True)}
    if export.format == OPENVINO:
        return Made(openvino_files(module, preprocessing.crop, name, said), None, facts)
    if export.format == TORCH:
        text = json.dumps({key: json.loads(value) for key, value in said.items()})
        return Made({".pt2": torch_file(module, preprocessing.crop, name, text)}, None, facts)
    from featcli.export.onnx_graph import onnx_bytes, with_front

    plain = body = onnx_bytes(module, preprocessing.crop, name)
    if options.precision != FP32:
        from featcli.export.lower import to_fp16, to_int8

        body = to_int8(plain, squares) if options.precision == INT8 else to_fp16(plain)
    if options.form == WHOLE:
        body, plain = (with_front(data, preprocessing) for data in (body, plain))
    return Made({".onnx": body}, None if options.precision == FP32 else plain, facts)


def finished(export: Export, made: Made, facts: ExportFacts) -> dict[Path, bytes]:
    """The files to write, of which the last makes the others a model."""
    output = export.options.output
    if export.format == ONNX:
        return {output: with_entries(made.files[".onnx"], _entries(export.model) | {FACTS_KEY: facts.to_text()})}
    if export.format == OPENVINO:
        return {output.with_suffix(".bin"): made.files[".bin"], output: made.files[".xml"]}
    return {output: made.files[".pt2"]}


def _module(export: Export) -> PixelModel:
    from featcli.backbones.stages import whole
    from featcli.whole_model import PixelModel

    model = export.model
    task = task_of(model.metadata.classes, model.metadata.positive).calibrated(model.trust.temperature)
    features = export.options.features
    return PixelModel(whole(model.load()), model.head, task, model.trust.novelty, features=features)


def _facts(export: Export, outputs: Sequence[str]) -> ExportFacts:
    from importlib.metadata import version

    model, options = export.model, export.options
    n_classes, scores = len(model.metadata.classes), model.trust.scores
    widths = {PREDICTIONS: n_classes, LOGITS: n_classes, NOVELTY: 1, FEATURES: model.backbone.feature_size}
    libraries = {ONNX: ("onnx", "onnxruntime", "onnxscript"), OPENVINO: ("openvino",), TORCH: ()}[export.format]
    return ExportFacts(
        format=FORMAT,
        form=options.form,
        precision=options.precision,
        outputs={name: widths[name] for name in outputs},
        checkpoint_sha256=sha256_of_file(export.path),
        scores=None if scores is None else scores_to_json(scores),
        checked=None,
        versions=library_versions() | {name: version(name) for name in libraries},
    )


def _entries(model: StoredModel) -> dict[str, str]:
    """What a file says, each in JSON.

    For us the checkpoint's description; for whoever runs it classes, what is to be done before, and thresholds of sets.
    """
    metadata = model.metadata
    entries = {KEY: metadata.to_text(), "classes": json.dumps(metadata.classes)}
    entries["preprocessing"] = json.dumps(metadata.preprocessing)
    thresholds = thresholds_of(model.trust.scores)
    return entries if thresholds is None else entries | {"thresholds": json.dumps(thresholds)}
