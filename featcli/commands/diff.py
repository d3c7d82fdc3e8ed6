"""`featcli diff`: what two models say of the same images: labels, accuracy, confidence, features."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcli.data.naming.folders import Ignored
from featcli.data.readers.files import file_ref
from featcli.data.readers.reader import ImageRef
from featcli.errors import ConditionFailed, UsageError
from featcli.evaluation.intervals import wilson_interval
from featcli.evaluation.paired import paired_difference
from featcli.events import Note, Progress
from featcli.exported import ExportedModel, Model
from featcli.features.extraction import Extractor
from featcli.features.store import FeatureStore
from featcli.lines import laid_out
from featcli.metadata import find_checkpoint
from featcli.predictor import RowOptions
from featcli.runs.folder import IMAGES_NAME, PREDICTIONS_NAME, Run
from featcli.runtime import Runtime
from featcli.text import clipped, first_few
from featcli.workflow.answer import Answer, Unreadable
from featcli.workflow.engines import Wanted
from featcli.workflow.inputs import expand
from featcli.workflow.predicting import open_predictor
from featcli.workflow.session import Session, open_runtime, read_model

SHOWN = 10  # images whose label changed
_NAME = 13


@dataclass(frozen=True, slots=True)
class Said:
    """What a model says of an image: the label and its confidence; and the true label, where that is known."""

    path: str
    label: str
    confidence: float
    truth: str | None = None


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two: where its checkpoint is, and the model."""

    path: Path
    model: Model

    @classmethod
    def open(cls, named: Path) -> Side:
        """From a checkpoint or a run. Raises CheckpointError where there is none, or a damaged one."""
        path = find_checkpoint(named)
        return cls(path, read_model(path))

    def written(self) -> dict[str, Said]:
        """What its run wrote of the images that it held out, by their content.

        Raises:
            UsageError: it has not written that.
        """
        if isinstance(self.model, ExportedModel):
            raise UsageError(
                f"{self.path} is an exported file, which wrote nothing",
                "Name images after the two: featcli diff A B PHOTOS",
            )
        run = Run(self.path.parent)
        rows, images = run.read_predictions(), run.read_images()
        if rows is None or images is None:
            missing = PREDICTIONS_NAME if rows is None else IMAGES_NAME
            raise UsageError(
                f"there is no {missing} beside {self.path}", "Name images after the two: featcli diff A B PHOTOS"
            )
        content = {image.path: image.sha256 for image in images if image.sha256}
        return {
            content[row["path"]]: Said(row["path"], row["label"], float(row["confidence"]), row["true_label"])
            for row in rows
            if row["label"] and row["path"] in content
        }


def diff(session: Session, first: Path, second: Path, paths: Sequence[str], *, max_changed: float | None) -> Answer:
    """Compares two models on the same images.

    Args:
        session: its store is read, never written to.
        first: a checkpoint or run.
        second: another.
        paths: images that both predict now; none: those that both runs held out, as each wrote them then.
        max_changed: the share of the images whose label may differ; None for any.

    Raises:
        CheckpointError: one of the two is not there, or damaged.
        UsageError: there are no images to compare.
    """
    runtime = open_runtime(session, defer_torch=True)
    sides = (Side.open(first), Side.open(second))
    unreadable = Unreadable()
    if paths:
        refs = list(expand(paths, Ignored()))
        found, features, unreadable = _predicted(session, runtime, sides, refs)
    else:
        found = (sides[0].written(), sides[1].written())
        shared = [(key, said) for key, said in found[0].items() if key in found[1]]
        features = _features(session, runtime, sides, shared)
    both = [key for key in found[0] if key in found[1]]
    if not both:
        raise UsageError(
            "no image is known to both", "Name images after the two that both are to predict: featcli diff A B PHOTOS"
        )
    facts = _compare([found[0][key] for key in both], [found[1][key] for key in both])
    facts |= {
        "only_a": len(found[0]) - len(both),
        "only_b": len(found[1]) - len(both),
        "features": features,
    }
    names = [set(side.model.metadata.classes) for side in sides]
    if names[0] != names[1]:
        session.emit(Note(f"classes of one alone: {first_few(sorted(names[0] ^ names[1]), 10)}"))
    facts = {"a": str(sides[0].path), "b": str(sides[1].path), **facts}
    failure = None
    if max_changed is not None and facts["changed"] > max_changed * facts["images"]:
        failure = ConditionFailed(
            f"{facts['changed']} of {facts['images']} labels differ, more than --max-changed {max_changed:g}"
        )
    return Answer.arranged(partial(_text, facts), facts, unreadable, failure)


def _predicted(
    session: Session, runtime: Runtime, sides: tuple[Side, Side], refs: Sequence[ImageRef]
) -> tuple[tuple[dict[str, Said], dict[str, Said]], dict[str, Any], Unreadable]:
    """What both say of images now, by their place in the list; how far features moved; and what cannot be read."""
    said: list[dict[str, Said]] = []
    vectors: list[dict[str, NDArray[np.float32]]] = []
    unreadable = Unreadable()
    for side in sides:
        predictor = open_predictor(session, side.model, runtime, Wanted(refs, len(refs)))
        extractor = predictor.extractor
        one: dict[str, Said] = {}
        own: dict[str, NDArray[np.float32]] = {}
        unreadable = Unreadable()
        done = 0
        for batch in _batches(session, extractor, refs):
            for row, feature in zip(predictor.rows(batch, RowOptions(top=1)), batch, strict=True):
                if feature.feature is None:
                    unreadable.add(row["path"], row["error"])
                else:
                    one[str(done)] = Said(row["path"], row["label"], row["confidence"])
                    own[str(done)] = feature.feature
                done += 1
            session.emit(Progress("predict", done, len(refs), finished=done == len(refs)))
        said.append(one)
        vectors.append(own)
    both = [key for key in vectors[0] if key in vectors[1]]
    pairs = [(said[0][key].path, vectors[0][key], vectors[1][key]) for key in both]
    return (said[0], said[1]), _moved(sides, pairs), unreadable


def _features(
    session: Session, runtime: Runtime, sides: tuple[Side, Side], images: Sequence[tuple[str, Said]]
) -> dict[str, Any]:
    """How far the features of both moved, of images that are known by their content."""
    if _is_one_backbone(sides) or not _are_comparable(sides):
        return _moved(sides, [])
    refs = [file_ref(said.path, bytes.fromhex(key)) for key, said in images]
    found = []
    for side in sides:
        extractor = _extractor(session, runtime, side, refs)
        rows = [row for batch in _batches(session, extractor, refs) for row in batch]
        found.append([row.feature if row.digest == ref.digest else None for row, ref in zip(rows, refs, strict=True)])
    pairs = [
        (said.path, one, other)
        for (_, said), one, other in zip(images, *found, strict=True)
        if one is not None and other is not None
    ]
    return _moved(sides, pairs) | {"missing": len(images) - len(pairs)}


def _extractor(session: Session, runtime: Runtime, side: Side, refs: Sequence[ImageRef]) -> Extractor:
    return open_predictor(session, side.model, runtime, Wanted(refs, len(refs))).extractor


def _batches(session: Session, extractor: Extractor, refs: Sequence[ImageRef]) -> Iterable[Any]:
    width = extractor.backbone.feature_size
    store = FeatureStore(session.cache, extractor.space, width, session.emit, read_only=True)
    return extractor.stream(refs, batch_size=session.loaded.config.loader.batch_size, store=store)


def _is_one_backbone(sides: tuple[Side, Side]) -> bool:
    one, other = (side.model.backbone for side in sides)
    return (one.weights_sha256, one.layer, one.preprocessing) == (
        other.weights_sha256,
        other.layer,
        other.preprocessing,
    )


def _are_comparable(sides: tuple[Side, Side]) -> bool:
    """Whether numbers at one place mean the same in both: features of one architecture, at one layer."""
    if any(isinstance(side.model, ExportedModel) for side in sides):
        return False  # what an exported file gives is no feature
    one, other = (side.model.backbone for side in sides)
    return (one.name, one.layer, one.feature_size) == (other.name, other.layer, other.feature_size)


def _moved(
    sides: tuple[Side, Side], pairs: Sequence[tuple[str, NDArray[np.float32], NDArray[np.float32]]]
) -> dict[str, Any]:
    comparable = _are_comparable(sides)
    exported = any(isinstance(side.model, ExportedModel) for side in sides)
    facts: dict[str, Any] = {"same": _is_one_backbone(sides), "comparable": comparable, "exported": exported}
    facts["median_cosine"] = None
    facts |= {"lowest_cosine": None, "lowest": None, "missing": 0}
    if not pairs or not comparable:
        return facts
    one = np.stack([pair[1] for pair in pairs]).astype(np.float64)
    other = np.stack([pair[2] for pair in pairs]).astype(np.float64)
    sizes = np.maximum(np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1), 1e-300)
    cosines = (one * other).sum(axis=1) / sizes
    lowest = int(cosines.argmin())
    return facts | {
        "median_cosine": float(np.median(cosines)),
        "lowest_cosine": float(cosines[lowest]),
        "lowest": pairs[lowest][0],
    }


def _compare(first: Sequence[Said], second: Sequence[Said]) -> dict[str, Any]:
    """Of what two say of the same N images, N at least 1."""
    n = len(first)
    pairs = list(zip(first, second, strict=True))
    changes = [(one, other) for one, other in pairs if one.label != other.label]
    changes.sort(key=lambda pair: -min(pair[0].confidence, pair[1].confidence))
    moved = np.array([abs(one.confidence - other.confidence) for one, other in pairs if one.label == other.label])
    known = [(one, other) for one, other in pairs if one.truth is not None]
    return {
        "images": n,
        "changed": len(changes),
        "changed_share": len(changes) / n,
        "changed_share_ci95": wilson_interval(len(changes), n),
        "changes": [
            {
                "path": one.path,
                "true_label": one.truth,
                "a": one.label,
                "confidence_a": one.confidence,
                "b": other.label,
                "confidence_b": other.confidence,
            }
            for one, other in changes
        ],
        "accuracy": paired_difference(
            np.array([one.label == one.truth for one, _ in known], dtype=np.bool_),
            np.array([other.label == one.truth for one, other in known], dtype=np.bool_),
        ),
        "confidence": {
            "median": float(np.median(moved)) if len(moved) else None,
            "largest": float(moved.max()) if len(moved) else None,
        },
    }


def _text(facts: dict[str, Any], width: int | None) -> str:
    n, changed = facts["images"], facts["changed"]
    only = [f"{facts[key]} of {name} alone" for key, name in (("only_a", "A"), ("only_b", "B")) if facts[key]]
    low, high = facts["changed_share_ci95"]
    lines = [
        _line("images", ", ".join([f"{n} of both", *only])),
        _line("labels", f"{changed} differ, {changed / n:.1%} (95 % interval {low:.1%} to {high:.1%})"),
    ]
    for change in facts["changes"][:SHOWN]:
        truth = "" if change["true_label"] is None else f"; true {clipped(change['true_label'], 30)}"
        said = [f"{clipped(change[key], 30)} {change[f'confidence_{key}']:.2f}" for key in ("a", "b")]
        lines.append(_line("", f"{change['path']}: {said[0]} -> {said[1]}{truth}"))
    if changed > SHOWN:
        lines.append(_line("", f"and {changed - SHOWN} more (--json has all)"))
    accuracy = facts["accuracy"]
    if accuracy is not None:
        low, high = accuracy["ci95"]
        lines += [
            _line("accuracy", f"{accuracy['first']:.4f} and {accuracy['second']:.4f}, {accuracy['difference']:+.4f}"),
            _line("", f"paired 95 % interval {low:+.4f} to {high:+.4f}, McNemar's p {accuracy['p']:.3f}"),
            _line("", f"only A is right on {accuracy['only_first']}, only B on {accuracy['only_second']}"),
        ]
    confidence = facts["confidence"]
    if confidence["median"] is not None:
        moved = f"{confidence['median']:.4f} in the median, {confidence['largest']:.4f} at most"
        lines.append(_line("confidence", f"of equal labels moved by {moved}"))
    lines.append(_line("features", _features_text(facts["features"])))
    return laid_out("\n".join(lines), width)


def _features_text(facts: dict[str, Any]) -> str:
    if facts["exported"]:
        return "not compared: an exported file gives predictions"
    if facts["same"]:
        return "the same: one backbone, one preprocessing"
    if not facts["comparable"]:
        return "of two backbones or layers: their numbers cannot be compared"
    if facts["median_cosine"] is None:
        return "not compared: none of the images is where it was"
    gone = f"; {facts['missing']} images are gone" if facts["missing"] else ""
    cosines = f"cosine {facts['median_cosine']:.4f} in the median, {facts['lowest_cosine']:.4f} at least"
    return f"{cosines} ({facts['lowest']}){gone}"


def _line(name: str, text: str) -> str:
    return f"{name:{_NAME}}{text}"
