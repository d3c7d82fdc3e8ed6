"""`--dry-run`: everything but the work, in words."""

from __future__ import annotations

from featcli.commands.setup import Call
from featcli.config import dump_config
from featcli.data.dataset import Dataset
from featcli.features.extraction import Extractor
from featcli.features.store import FeatureStore


def plan_text(call: Call, extractor: Extractor, data: Dataset) -> str:
    """What a run would do: counts per split and class, what is stored, what is frozen, the whole config."""
    store = FeatureStore(call.cache, extractor.space, extractor.backbone.feature_size, call.emit, read_only=True)
    digests = [sample.digest for sample in data.samples if sample.digest is not None]
    found, _ = store.find(digests)
    stored = int(found.sum())
    unreadable = len(data.samples) - len(digests)
    backbone = extractor.backbone
    lines = [
        "plan",
        f"  device      {extractor.runtime}",
        f"  backbone    {backbone.name}, weights {backbone.weights} (sha256 {backbone.weights_sha256[:12]})",
        f"  stages      all {len(backbone.stages)} frozen: {', '.join(stage.name for stage in backbone.stages)}",
        f"  input       {backbone.preprocessing}",
        f"  features    {stored} of {len(data.samples)} stored, {len(digests) - stored} to compute"
        + (f", {unreadable} unreadable" if unreadable else ""),
        f"  splits      {_rule(data)}",
        *_class_table(data),
        "config",
        *(f"  {line}" for line in dump_config(call.loaded.config).splitlines()),
    ]
    return "\n".join(lines)


def _rule(data: Dataset) -> str:
    if data.rule["made_by"] == "user":
        return "as the folders have them"
    return f"by content hash, seed {data.rule['seed']}, {data.rule['val_fraction']:g} of each class for validation"


def _class_table(data: Dataset) -> list[str]:
    counts = data.counts()
    width = max(len(name) for name in ("class", *data.classes))
    lines = [f"    {'class':{width}} " + " ".join(f"{split:>7}" for split in counts)]
    for label, name in enumerate(data.classes):
        lines.append(f"    {name:{width}} " + " ".join(f"{per_class[label]:7d}" for per_class in counts.values()))
    return lines
