"""Whether an exported file may be written: it predicts what the checkpoint predicts, and lower precision pays."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from featcli.errors import ConditionFailed
from featcli.evaluation.intervals import wilson_interval
from featcli.evaluation.paired import paired_difference
from featcli.events import Emit, Fact, Warn
from featcli.export.agreement import TOLERANCE, WHOLE_TOLERANCE, Agreement, compare
from featcli.export.trial import Job, Trial, run_trial
from featcli.exported import WHOLE
from featcli.files import storage_errors
from featcli.runtime import Runtime
from featcli.tasks.multiclass import decide
from featcli.workflow.engines import Wanted
from featcli.workflow.export_images import ExportImages, expected_predictions
from featcli.workflow.exporting import FP32, Export, Made
from featcli.workflow.predicting import open_predictor
from featcli.workflow.session import Session
from featcli.writers.checkpoint_facts import agreement_text

Floats = NDArray[np.float64]

_SHOWN = 5  # images that differ


def check_file(session: Session, export: Export, made: Made, runtime: Runtime, images: ExportImages) -> dict[str, Any]:
    """Runs a file on images in a process of its own, and compares.

    Args:
        session: the invocation.
        export: what the file is of.
        made: the file.
        runtime: where the checkpoint predicts.
        images: to compare on.

    Returns:
        How it agrees, as the file has it.

    Raises:
        ConditionFailed: it does not agree, or lower precision does not pay.
        EnvironmentFault: it cannot be run.
    """
    refs = images.compared
    predictor = open_predictor(session, export.model, runtime, Wanted(refs, len(refs)))
    expected, errors = expected_predictions(session, predictor, refs)
    trial = _tried(session, export, made, runtime, images)
    wrong = [index for index in range(len(refs)) if (index in errors) != (index in trial.errors)]
    if wrong:
        name = refs[wrong[0]].name
        reason = trial.errors.get(wrong[0], errors.get(wrong[0]))
        raise ConditionFailed(
            f"not written: {name} is known to the checkpoint or to the file alone: {reason}",
            "Where the images are gone and only their features are stored, name others: --images DIR",
        )
    good = np.array([index not in errors for index in range(len(refs))], dtype=np.bool_)
    if not good.any():
        raise ConditionFailed(f"not written: none of {len(refs)} {images.words} can be read")
    if errors:
        first = min(errors)
        said = f"{len(errors)} of {len(refs)} images cannot be read, and say nothing; the first: {refs[first].name}"
        session.emit(Warn(f"{said}: {errors[first]}"))
    names = [ref.name for ref, is_good in zip(refs, good, strict=True) if is_good]
    lower = export.options.precision != FP32
    tolerance = WHOLE_TOLERANCE if export.options.form == WHOLE else TOLERANCE
    found = compare(expected[good], trial.predictions[good], tolerance)
    checked: dict[str, Any] = found.to_json() | {"on": images.words, "without_torch": not trial.had_torch}
    where = f"{images.words}{'' if trial.had_torch else ', in a process without torch'}"
    if images.changed:
        session.emit(Warn("these are not the images that the checkpoint was validated on: some changed, or are gone"))
    session.emit(Fact("compared", f"on {found.images} {where}"))
    session.emit(Fact("", agreement_text(checked)))
    if lower:
        labels = None if images.labels is None else images.labels[good]
        return checked | _require_gain(export, trial, (expected[good], trial.predictions[good]), labels, session.emit)
    for index in found.ties[:_SHOWN]:
        session.emit(Warn(f"{names[index]}: the label differs, its two most probable classes being as good as equal"))
    if found.differing:
        sides = (expected[good], trial.predictions[good])
        for line in _differences(found, names, sides, export.model.metadata.classes):
            session.emit(Warn(line))
        raise ConditionFailed(
            f"not written: of {len(found.differing)} of {found.images} images the file predicts something else",
            "Take --form exact." if export.options.form == WHOLE else None,
        )
    return checked


def _tried(session: Session, export: Export, made: Made, runtime: Runtime, images: ExportImages) -> Trial:
    n_classes = len(export.model.metadata.classes)
    folder = tempfile.TemporaryDirectory(prefix="featcli-", ignore_cleanup_errors=True)
    with folder as name:
        main = Path(name, "model")
        with storage_errors(main):
            for ending, data in made.files.items():
                main = main.with_suffix(ending)
                main.write_bytes(data)
            other = None
            if made.plain is not None:
                other = Path(name, "plain.onnx")
                other.write_bytes(made.plain)
        job = Job(
            main,
            export.format,
            [ref.locator for ref in images.compared],
            export.model.backbone.preprocessing,
            whole=export.options.form == WHOLE,
            threads=runtime.threads,
            other=other,
        )
        return run_trial(job, n_classes, session.emit)


def _differences(
    found: Agreement, names: Sequence[str], sides: tuple[Floats, Floats], classes: Sequence[str]
) -> Iterator[str]:
    """Which images differ, and how: the first few, and how many more."""
    for index in found.differing[:_SHOWN]:
        expected, predicted = (side[index] for side in sides)
        if np.isfinite(predicted).all():
            here, there = (classes[int(decide(side[index : index + 1])[0])] for side in sides)
        else:
            here, there = classes[int(decide(expected[None])[0])], "nothing"
        gaps = np.nan_to_num(np.abs(expected - predicted), nan=2.0)
        place = int(np.flatnonzero(gaps == gaps.max())[0])
        labels = here if here == there else f"{here} became {there}"
        moved = f"{classes[place]} {expected[place]:.4f} became {predicted[place]:.4f}"
        yield f"{names[index]}: {labels}; {moved}"
    if len(found.differing) > _SHOWN:
        yield f"and {len(found.differing) - _SHOWN} more images differ"


def _require_gain(
    export: Export,
    trial: Trial,
    predictions: tuple[Floats, Floats],
    labels: NDArray[np.int64] | None,
    emit: Emit,
) -> dict[str, Any]:
    """What lower precision costs, and how fast it is.

    Raises:
        ConditionFailed: it costs more than is allowed, or is no faster.
    """
    options = export.options
    before, after = map(decide, predictions)
    cost: Mapping[str, Any] | None
    if labels is not None:
        cost = paired_difference(before == labels, after == labels)
        assert cost is not None, "there are images"
        low, high = cost["ci95"]
        loss = -cost["difference"]
        emit(
            Fact(
                "accuracy",
                f"{cost['first']:.4f} in fp32, {cost['second']:.4f} in {options.precision}: "
                f"{cost['difference']:+.4f} (95 %: {low:+.4f} to {high:+.4f})",
            )
        )
        checked: dict[str, Any] = {"accuracy": dict(cost)}
    else:
        n, changed = len(before), int(np.count_nonzero(before != after))
        loss, interval = changed / n, wilson_interval(changed, n) or [0.0, 1.0]
        emit(Fact("labels", f"{changed} of {n} changed (95 %: {interval[0]:.1%} to {interval[1]:.1%})"))
        checked = {"changed": changed, "changed_ci95": interval}
    if not np.isfinite(predictions[1]).all():
        raise ConditionFailed(f"not written: {options.precision} gives numbers that are not finite")
    if trial.speed is not None:
        emit(Fact("speed", f"{trial.speed:.2f} times fp32 on this machine, one thread"))
        checked["speed"] = trial.speed
    if loss > options.max_loss:
        what = "the accuracy" if labels is not None else "labels that change"
        raise ConditionFailed(
            f"not written: {options.precision} costs {loss:.4f} of {what}, more than --max-loss {options.max_loss:g}",
            "Take fp32, or allow more with --max-loss.",
        )
    if trial.speed is not None and trial.speed < 1.0 and not options.allow_slower:
        raise ConditionFailed(
            f"not written: {options.precision} is slower than fp32 on this machine, {trial.speed:.2f} times as fast",
            "For another machine, or for a smaller file: --allow-slower",
        )
    return checked
