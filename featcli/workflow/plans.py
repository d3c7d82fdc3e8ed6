"""What a run would do, found out without doing it: `check`, and `--dry-run` of the other commands."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from featcli.analysis.sides import sided_names
from featcli.analysis.survey import Survey, survey
from featcli.backbones.stages import whole
from featcli.config import dump_config
from featcli.data.dataset import Dataset, Sample
from featcli.data.naming.source import relative_name
from featcli.data.pixels.decoding import GreyRange, is_narrow
from featcli.data.pixels.loading import load_pixels
from featcli.features.extraction import Extractor
from featcli.features.store import FeatureStore
from featcli.lines import laid_out, table
from featcli.text import printable
from featcli.units import duration_text
from featcli.workflow.answer import Answer, Unreadable
from featcli.workflow.head_plans import head_line, plan_head
from featcli.workflow.session import Session
from featcli.workflow.training_plans import TrainingPlan

_LISTED = 5  # paths of one kind, in the text
_CLASSES = 30  # of which each has its line


def make_plan(session: Session, extractor: Extractor, data: Dataset, training: TrainingPlan | None = None) -> Answer:
    """What would be done and how long it would take, and what the data are made of; the whole config among its facts.

    Args:
        session: the invocation.
        extractor: of the backbone.
        data: its images.
        training: what follows the features where stages are trained.
    """
    store = FeatureStore(session.cache, extractor.space, extractor.backbone.feature_size, session.emit, read_only=True)
    readable = [sample for sample in data.samples if sample.digest is not None]
    found, _ = store.find([sample.digest for sample in readable if sample.digest is not None])
    known = {sample.digest for sample, stored in zip(readable, found, strict=True) if stored and sample.digest}
    backbone = whole(extractor.backbone)
    seen = survey(
        data,
        known=known,
        check_size=backbone.preprocessing.check_size,
        workers=extractor.runtime.workers,
        emit=session.emit,
    )
    missing = [
        sample
        for row, sample in enumerate(data.samples)
        if row not in seen.errors and sample.digest is not None and sample.digest not in known
    ]
    stages = [stage.name for stage in backbone.stages]
    n_frozen = len(stages) if training is None else training.n_frozen
    facts: dict[str, Any] = {
        "device": str(extractor.runtime),
        "backbone": {
            "name": backbone.name,
            "weights": backbone.weights,
            "weights_sha256": backbone.weights_sha256,
            "layer": str(backbone.layer),
            "preprocessing": backbone.preprocessing.to_json(),
        },
        "stages": {"frozen": stages[:n_frozen], "trained": stages[n_frozen:]},
        "features": {
            "size": backbone.feature_size,
            "stored": len(data.samples) - len(missing) - len(seen.errors),
            "to_compute": len(missing),
            "unreadable": len(seen.errors),
            "estimated_seconds": round(len(missing) * _seconds_per_image(extractor, missing), 1),
        },
        "classes": list(data.classes),
        "splits": {"rule": data.rule, "counts": data.counts()},
        "data": seen.to_json(),
    }
    facts["config"] = session.loaded.config.model_dump(mode="json")
    facts["head"] = plan_head(session, data, backbone.feature_size, finetuned=training is not None)
    if training is not None:
        facts["training"] = training.facts
    unreadable = Unreadable()
    for row, reason in sorted(seen.errors.items()):
        unreadable.add(data.samples[row].path, reason)
    return Answer.arranged(partial(_plan_text, session, extractor, seen, facts, training), facts, unreadable)


def _seconds_per_image(extractor: Extractor, samples: Sequence[Sample]) -> float:
    """Reading, decoding and a forward pass, measured on the first tile of images; 0 where there is none."""
    pixels = []
    start = time.perf_counter()
    preprocessing = extractor.backbone.preprocessing
    for sample in samples[: extractor.engine.tile]:
        loaded = load_pixels(sample.ref, preprocessing.pixels, decoding=preprocessing.decoding)
        if loaded.value is not None:
            pixels.append(loaded.value)
    if not pixels:
        return 0.0
    decoding = (time.perf_counter() - start) / len(pixels) / extractor.runtime.workers
    extractor.forward(pixels)  # the first pass prepares kernels
    start = time.perf_counter()
    extractor.forward(pixels)
    return decoding + (time.perf_counter() - start) / extractor.engine.tile


def _plan_text(
    session: Session,
    extractor: Extractor,
    seen: Survey,
    facts: dict[str, Any],
    training: TrainingPlan | None,
    width: int | None,
) -> str:
    data, backbone, features = seen.data, whole(extractor.backbone), facts["features"]
    work = f"{features['stored']} stored, {features['to_compute']} to compute"
    if features["to_compute"]:
        work += f", {duration_text(features['estimated_seconds'])} here"
    if features["unreadable"]:
        work += f"; {features['unreadable']} unreadable"
    lines = [
        "plan",
        f"  images      {_counts_text(data)}",
        f"  splits      {_rule(data)}",
        *_class_table(data, width),
        f"  features    {work}",
        *([] if facts["head"] is None else [f"  head        {head_line(facts['head'])}"]),
        *(f"  {line}" for line in (training.lines if training else ())),
        f"  stages      {_stages(facts['stages'])}",
        f"  backbone    {backbone.name}, weights {backbone.weights} (sha256 {backbone.weights_sha256[:12]}), "
        f"{backbone.feature_size} features of layer {backbone.layer}",
        f"  input       {backbone.preprocessing}",
        f"  device      {extractor.runtime}",
        "data",
        *(f"  {line}" for line in _data_lines(seen, backbone.preprocessing.grey_range)),
    ]
    if session.verbose:
        lines += ["config", *(f"  {line}" for line in dump_config(session.loaded.config).splitlines())]
    return laid_out("\n".join(lines), width)


def _counts_text(data: Dataset) -> str:
    counts = data.counts()
    sizes = ", ".join(f"{sum(per_class)} {split}" for split, per_class in counts.items())
    return f"{len(data.samples)} in {len(data.classes)} classes: {sizes}"


def _stages(stages: dict[str, list[str]]) -> str:
    n = len(stages["frozen"]) + len(stages["trained"])
    count = {0: "none", n: f"all {n}"}.get(len(stages["frozen"]), f"{len(stages['frozen'])} of {n}")
    span = "" if len(stages["frozen"]) in (0, n) else f", {stages['frozen'][0]} to {stages['frozen'][-1]}"
    return f"{count} frozen{span}"


def _rule(data: Dataset) -> str:
    if data.rule["made_by"] == "user":
        return "as the folders have them" if data.manifest is None else "as the manifest has them"
    seed, share = data.rule["seed"], f"{data.rule['val_fraction']:g}"
    if share == "0":
        return "none for validation: data.val_fraction is 0"
    if data.rule.get("grouped"):
        return f"whole groups by hash, seed {seed}, as near to {share} for validation as they allow"
    return f"by content hash, seed {seed}, {share} of each class for validation"


def _class_table(data: Dataset, width: int | None) -> list[str]:
    """Images of each class and split; of many classes the largest and smallest are named instead."""
    counts, names = data.counts(), [printable(name) for name in data.classes]
    if len(names) > _CLASSES:
        return [f"  classes     {_extremes(names, data)} (--json has all)"]
    rows = [("class", *counts)]
    rows += [(name, *(str(part[label]) for part in counts.values())) for label, name in enumerate(names)]
    cells = [[row[0], *(f"{cell:>7}" for cell in row[1:])] for row in rows]
    room = None if width is None else width - 4
    return [f"    {line}" for line in table(cells, right=[False] + [True] * len(counts), width=room, gap=1, shrink=[0])]


def _extremes(names: Sequence[str], data: Dataset) -> str:
    sizes = [sum(part) for part in zip(*data.counts().values(), strict=True)]
    order = sorted(range(len(names)), key=lambda label: -sizes[label])
    large, small = ([f"{names[label]} {sizes[label]}" for label in some] for some in (order[:3], order[-3:]))
    return f"the largest {', '.join(large)}; the smallest {', '.join(small)}"


def _data_lines(seen: Survey, grey_range: GreyRange | None) -> list[str]:
    """The report on the data; each line that asks for a look names the images."""
    formats = seen.tally(lambda facts: facts.format)
    lines = [f"formats     {_counted(formats)}"] if formats else []
    modes = seen.tally(lambda facts: facts.mode)
    if modes:
        lines.append(f"modes       {_counted(modes)}")
    for mode in modes:
        if mode != "RGB":
            lines += _listed(f"mode {mode}", [_name(sample, seen.data) for sample in seen.with_mode(mode)])
    sizes = seen.sizes()
    if sizes is not None:
        small, middle, large = (f"{width} x {height}" for width, height in sizes.values())
        lines.append(f"sizes       {small} to {large}, median {middle}")
    lines += _range_lines(seen, grey_range)
    lines.append(f"unreadable  {len(seen.errors) or 'none'}")
    bad = [f"{_name(seen.data.samples[row], seen.data)}: {reason}" for row, reason in sorted(seen.errors.items())]
    lines += _listed("", bad)
    lines += _copies_lines(seen)
    groups = seen.groups()
    if groups:
        largest, count = next(iter(groups.items()))
        lines.append(f"groups      {len(groups)}, the largest '{printable(largest)}' of {count} images")
    named = sided_names(seen.data.classes)
    if named is not None:
        lines.append(f"names       {printable(named)}: mirroring would change the class")
    lines.append(f"imbalance   {seen.imbalance():.1f} : 1 (largest : smallest training class)")
    if seen.data.ignored.counts:
        lines.append(f"skipped     {seen.data.ignored}")
    return lines


def _range_lines(seen: Survey, grey_range: GreyRange | None) -> list[str]:
    """What 16-bit grey uses of its range, where that is little and nothing was set, or what was set."""
    grey = seen.grey()
    if grey is None:
        return []
    if grey_range is not None:
        clipped = sum(value > grey_range[1] for value in seen.largest_grey().values())
        lost = f"; {clipped} have larger values, which are clipped" if clipped else ""
        return [f"range       {grey['images']} 16-bit images, scaled from {grey_range[0]} to {grey_range[1]}{lost}"]
    narrow = grey["narrow"]
    if not narrow:
        return []
    high = grey["narrow_range"][1]
    said = f"{len(narrow)} of {grey['images']} 16-bit images use under a quarter of their range (0 to {high} of 65535)"
    if grey["auto"] is None:
        advice = f"no training image is 16-bit, so data.range: auto would not help; [0, {high}] would"
    elif is_narrow(grey["auto"][1]):
        advice = "set data.range: auto"
    else:
        advice = f"the others use more, and data.range: [0, {high}] would clip them"
    return [f"range       {said}: {advice}", *_listed("", [relative_name(path, seen.data.root) for path in narrow])]


def _copies_lines(seen: Survey) -> list[str]:
    if not seen.copies:
        return ["duplicates  none"]
    n = sum(len(item.samples) - 1 for item in seen.copies)
    lines = [f"duplicates  {n} {'image has' if n == 1 else 'images have'} the same bytes as another"]
    kinds = {
        "classes": "under two classes, so that one label is wrong",
        "splits": "on two sides of a split",
        "one class": "in one class and split",
    }
    for under, what in kinds.items():
        sets = [item.samples for item in seen.copies if item.under == under]
        names = [" = ".join(_name(sample, seen.data) for sample in samples[:3]) for samples in sets]
        lines += _listed(what, names)
    return lines


def _listed(what: str, names: Sequence[str]) -> list[str]:
    """The first few names, each on its line, below the line they belong to."""
    lead = f"{what}: " if what else ""
    lines = [f"            {lead}{printable(name)}" for name in names[:_LISTED]]
    if len(names) > _LISTED:
        lines.append(f"            {lead}and {len(names) - _LISTED} more (--json lists all)")
    return lines


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items())


def _name(sample: Sample, data: Dataset) -> str:
    return relative_name(sample.path, data.root)
