"""What a run would do, found out without doing it: `check`, and `--dry-run` of the other commands."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from featcli.commands.setup import Call
from featcli.commands.text import printable
from featcli.config import dump_config
from featcli.data.dataset import Dataset, Sample
from featcli.data.images import UnreadableImage, decode_rgb, read_file
from featcli.features.extraction import Extractor
from featcli.features.store import FeatureStore


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan in both forms: for a person, and as one JSON value."""

    text: str
    facts: dict[str, Any]


def make_plan(call: Call, extractor: Extractor, data: Dataset) -> Plan:
    """Counts per split and class, what is stored, what is frozen, how long the rest will take, the whole config."""
    store = FeatureStore(call.cache, extractor.space, extractor.backbone.feature_size, call.emit, read_only=True)
    readable = [sample for sample in data.samples if sample.digest is not None]
    found, _ = store.find([sample.digest for sample in readable if sample.digest is not None])
    missing = [sample for sample, known in zip(readable, found, strict=True) if not known]
    backbone = extractor.backbone
    facts: dict[str, Any] = {
        "device": str(extractor.runtime),
        "backbone": {
            "name": backbone.name,
            "weights": backbone.weights,
            "weights_sha256": backbone.weights_sha256,
            "layer": str(backbone.layer),
            "preprocessing": backbone.preprocessing.to_json(),
        },
        "stages": {"frozen": [stage.name for stage in backbone.stages], "trained": []},
        "features": {
            "size": backbone.feature_size,
            "stored": len(readable) - len(missing),
            "to_compute": len(missing),
            "unreadable": len(data.samples) - len(readable),
            "estimated_seconds": round(len(missing) * _seconds_per_image(extractor, missing), 1),
        },
        "classes": list(data.classes),
        "splits": {"rule": data.rule, "counts": data.counts()},
    }
    return Plan(_plan_text(call, extractor, data, facts), facts)


def _seconds_per_image(extractor: Extractor, samples: Sequence[Sample]) -> float:
    """Reading, decoding and a forward pass, measured on the first tile of images; 0 where there is none."""
    pixels = []
    start = time.perf_counter()
    for sample in samples[: extractor.runtime.tile]:
        try:
            pixels.append(extractor.backbone.preprocessing.pixels(decode_rgb(read_file(sample.path))))
        except UnreadableImage:
            continue
    if not pixels:
        return 0.0
    decoding = (time.perf_counter() - start) / len(pixels) / extractor.runtime.workers
    extractor.forward(pixels)  # the first pass prepares kernels
    start = time.perf_counter()
    extractor.forward(pixels)
    return decoding + (time.perf_counter() - start) / extractor.runtime.tile


def _plan_text(call: Call, extractor: Extractor, data: Dataset, facts: dict[str, Any]) -> str:
    backbone, features = extractor.backbone, facts["features"]
    work = f"{features['stored']} stored, {features['to_compute']} to compute"
    if features["to_compute"]:
        work += f", about {features['estimated_seconds']:.0f} s here"
    if features["unreadable"]:
        work += f"; {features['unreadable']} unreadable"
    lines = [
        "plan",
        f"  device      {extractor.runtime}",
        f"  backbone    {backbone.name}, weights {backbone.weights} (sha256 {backbone.weights_sha256[:12]})",
        f"  stages      all {len(backbone.stages)} frozen: {', '.join(stage.name for stage in backbone.stages)}",
        f"  input       {backbone.preprocessing}",
        f"  features    {backbone.feature_size} of layer {backbone.layer}; {work}",
        f"  splits      {_rule(data)}",
        *_class_table(data),
        "config",
        *(f"  {line}" for line in dump_config(call.loaded.config).splitlines()),
    ]
    return "\n".join(lines)


def _rule(data: Dataset) -> str:
    if data.rule["made_by"] == "user":
        return "as the folders have them" if data.manifest is None else "as the manifest has them"
    unit = "group" if data.rule.get("grouped") else "content"
    return f"by {unit} hash, seed {data.rule['seed']}, {data.rule['val_fraction']:g} of each class for validation"


def _class_table(data: Dataset) -> list[str]:
    counts = data.counts()
    names = [printable(name) for name in data.classes]
    width = max(len(name) for name in ("class", *names))
    lines = [f"    {'class':{width}} " + " ".join(f"{split:>7}" for split in counts)]
    for label, name in enumerate(names):
        lines.append(f"    {name:{width}} " + " ".join(f"{per_class[label]:7d}" for per_class in counts.values()))
    return lines
