"""How much of a measured accuracy is memory: images of val and test that train has too, and how near train is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from featcli.analysis.leaks import Leaks, find_leaks
from featcli.data.dataset import Sample
from featcli.data.pixels.thumbnails import Thumbnail, load_thumbnails
from featcli.evaluation.words import interval_text
from featcli.events import Emit, Fact, Progress, Warn
from featcli.features.extraction import FeatureTable
from featcli.predictor import Predictor
from featcli.workflow.measuring import LeakedImage, Measurements, Memory, truth_of

BINS = 5
_FEWEST_OF_BIN = 5
_KEPT = ("n", "accuracy", "accuracy_ci95", "interval", "balanced_accuracy", "macro_f1", "log_loss")


def with_memory(
    measured: Measurements, samples: Sequence[Sample], table: FeatureTable, predictor: Predictor, emit: Emit
) -> Measurements:
    """The same with the images that train has too, the accuracy without them, and that by distance from train.

    Args:
        measured: on val and test.
        samples: row i is row i of the table.
        table: their features.
        predictor: predicts from them; its extractor knows how images are decoded.
        emit: hears the progress.
    """

    def look(rows: Sequence[int]) -> Mapping[int, Thumbnail]:
        emit(Progress("compare", 0, len(rows)))
        seen = load_thumbnails(
            [samples[row].ref for row in rows],
            grey_range=predictor.extractor.backbone.preprocessing.grey_range,
            workers=predictor.extractor.runtime.workers,
            tick=lambda done: emit(Progress("compare", done, len(rows))),
        )
        emit(Progress("compare", len(rows), len(rows), finished=True))
        return {row: item.thumbnail for row, item in zip(rows, seen, strict=True) if item is not None}

    facts = {}
    found: list[LeakedImage] = []
    splits = np.array([sample.split for sample in samples])
    for split in measured.metrics:
        rows = np.flatnonzero(splits == split).tolist()
        if not rows:
            continue
        leaks = find_leaks(samples, table.features, table.readable, split, look)
        facts[split] = {
            **_leak_free(rows, samples, table, predictor, leaks),
            "distance_curve": _curve(rows, samples, table, predictor, leaks),
        }
        found += [
            LeakedImage(samples[row].path, split, samples[pair.first].path, pair.how)
            for row, pair in sorted(leaks.pairs.items())
        ]
    return replace(measured, memory=Memory(tuple(found), facts))


def describe_memory(memory: Memory, emit: Emit) -> None:
    """Warns of images that train has too, and says what the accuracy is without them, and far from train."""
    for split, facts in memory.facts.items():
        leaks = [leak for leak in memory.images if leak.split == split]
        free, curve = facts["leak_free"], facts["distance_curve"]
        if leaks and free is not None:
            kept = f"{free['n']} images of {split} that are not in train"
            emit(Fact("leak-free", f"accuracy {free['accuracy']:.3f} ({interval_text(free)}) on the {kept}"))
        if curve and split == "val":
            said = ", ".join(f"{point['accuracy']:.3f}" for point in curve)
            emit(Fact("distance", f"accuracy {said}, from the fifth of val nearest to train to the farthest"))
        if leaks:
            more = f" (and {len(leaks) - 1} more)" if len(leaks) > 1 else ""
            emit(
                Warn(
                    f"{len(leaks)} of {facts['n']} images of {split} are in train too, so that the accuracy is partly "
                    f"memory: {leaks[0].path} is {leaks[0].partner}, {leaks[0].how}{more}; "
                    "featcli check --deep lists all"
                )
            )


def _leak_free(
    rows: Sequence[int], samples: Sequence[Sample], table: FeatureTable, predictor: Predictor, leaks: Leaks
) -> dict[str, Any]:
    """How many images train has a copy of, and the metrics of the others; None where there are no others."""
    kept = np.array([row for row in rows if row not in leaks.pairs], dtype=np.int64)
    facts = {"n": len(rows), "leaks": len(rows) - len(kept), "compared": sum(row in leaks.compared for row in rows)}
    if not len(kept):
        return facts | {"leak_free": None}
    readable = table.readable[kept]
    predictions = predictor.predictions(table.features[kept[readable]])
    values = predictor.task.evaluate(predictions, truth_of([samples[row] for row in kept], readable))
    return facts | {"leak_free": {name: values[name] for name in _KEPT}}


def _curve(
    rows: Sequence[int], samples: Sequence[Sample], table: FeatureTable, predictor: Predictor, leaks: Leaks
) -> list[dict[str, Any]] | None:
    """Accuracy by distance to the nearest training image, in fifths; None of too few images."""
    known = [row for row in rows if row in leaks.distances]
    if len(known) < BINS * _FEWEST_OF_BIN:
        return None
    known.sort(key=lambda row: (leaks.distances[row], row))
    curve = []
    for part in np.array_split(np.array(known, dtype=np.int64), BINS):
        targets = np.array([samples[row].label for row in part], dtype=np.int64)
        correct = predictor.task.count_correct(predictor.predictions(table.features[part]), targets)
        curve.append(
            {
                "distance": [round(leaks.distances[int(row)], 6) for row in (part[0], part[-1])],
                "accuracy": correct / len(part),
                "n": len(part),
            }
        )
    return curve
