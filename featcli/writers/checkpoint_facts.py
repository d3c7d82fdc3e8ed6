"""What is in a checkpoint, in words: as `info` lists it, and the page of a run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from featcli.errors import CheckpointError
from featcli.evaluation.words import interval_text, selection_text
from featcli.metadata import CheckpointMetadata, ExportFacts, TrustFacts, ValidationFacts


def checkpoint_facts(path: Path, metadata: CheckpointMetadata) -> dict[str, str]:
    """What is in a checkpoint, by name, in words.

    Args:
        path: of the file, for errors.
        metadata: that it holds.

    Raises:
        CheckpointError: its description is damaged.
    """
    try:
        return _facts(metadata)
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} has a damaged description") from error


def export_facts(facts: ExportFacts) -> dict[str, str]:
    """What an exported file is, by name, in words."""
    outputs = ", ".join(name if width == 1 else f"{name} ({width})" for name, width in facts.outputs.items())
    return {
        "exported": f"{facts.form}, {facts.precision}, gives {outputs}",
        "from": f"checkpoint sha256 {facts.checkpoint_sha256[:12]}",
        "checked": "no" if facts.checked is None else agreement_text(facts.checked),
    }


def agreement_text(checked: Mapping[str, Any]) -> str:
    """How an exported file agrees with its checkpoint."""
    n = checked["images"]
    same = f"{checked['labels']} of {n} labels as the checkpoint's"
    return f"{same}, probabilities within {_bound(checked['largest_difference'])}"


def _bound(value: float) -> str:
    """A number of one digit that is not below a number."""
    text = f"{value:.1g}"
    if float(text) < value:
        text = f"{value + 10.0 ** math.floor(math.log10(value)):.1g}"
    return text


def _facts(metadata: CheckpointMetadata) -> dict[str, str]:
    backbone, head, validation = metadata.backbone, metadata.head, metadata.validation
    pixels = metadata.preprocessing
    classes = metadata.classes
    shown = ", ".join(classes[:20]) + (f", ... ({len(classes)})" if len(classes) > 20 else "")
    return {
        "classes": shown,
        **({} if metadata.positive is None else {"positive": metadata.positive}),
        "backbone": f"{backbone.name}, weights {backbone.weights}, sha256 {backbone.weights_sha256[:12]}",
        "features": f"{backbone.feature_size}, {backbone.layer} layer",
        "frozen": f"{metadata.freeze_depth} of {backbone.n_stages} stages",
        "input": (
            f"resize {pixels.get('resize')} {pixels.get('interpolation')}, crop {pixels.get('crop')}, "
            f"mean {_numbers(pixels.get('mean'))}, std {_numbers(pixels.get('std'))}"
        ),
        **({"decode": f"JPEG {pixels['decode']}"} if "decode" in pixels else {}),
        "range": f"16-bit grey from {_numbers(pixels.get('range', [0, 65535]), ' to ')}",
        "head": f"{head.kind}, {_chosen(head.C)}, class weight {head.class_weight}",
        "validation": _measured(validation),
        **_chosen_here(validation.metrics),
        "confidence": _confidence(metadata.calibration),
        "novelty": _novelty(metadata.trust),
        "split": _split(metadata.split),
        "computed on": f"{metadata.device_type} {metadata.precision}",
        "versions": ", ".join(f"{name} {version}" for name, version in sorted(metadata.versions.items())),
    }


def _confidence(calibration: dict[str, Any] | None) -> str:
    if calibration is None:
        return "not calibrated"
    return f"temperature {calibration['temperature']:.3f}, from {calibration['n']} images: {calibration['how']}"


def _novelty(trust: TrustFacts | None) -> str:
    if trust is None or trust.novelty is None:
        return "not known"
    return f"above 1 for what is farther than {trust.novelty['share']:.0%} of images like those trained on"


def _measured(validation: ValidationFacts) -> str:
    metrics = validation.metrics
    accuracy = metrics.get("accuracy")
    if accuracy is None:
        return "unknown: there were no validation images"
    return f"{validation.correct} of {validation.n}, {accuracy:.4f} ({interval_text(metrics, 4)})"


def _chosen_here(metrics: dict[str, Any]) -> dict[str, str]:
    """That the accuracy is of images on which something was chosen."""
    selected = metrics.get("selected")
    return {"": selection_text(selected)} if selected else {}


def _chosen(C: float | None) -> str:
    return "by gradient descent" if C is None else f"C {C:g}"


def _numbers(values: Any, between: str = ", ") -> str:
    return between.join(f"{value:g}" for value in values) if isinstance(values, list) else str(values)


def _split(rule: dict[str, Any]) -> str:
    if rule.get("made_by") == "user":
        return "the user's manifest" if rule.get("manifest") else "the user's folders"
    unit = "group" if rule.get("grouped") else "content"
    return f"by {unit} hash, seed {rule.get('seed')}, validation fraction {rule.get('val_fraction'):g}"
