"""The curves of a page: ROC, reliability, accuracy against the share answered, epochs, the choice of C."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from featcli.evaluation.intervals import wilson_interval
from featcli.report.charts import Axis, Line, line_chart
from featcli.report.curves import Bin, coverage, positive_scores, reliability, roc, uncalibrated
from featcli.report.markup import Html
from featcli.report.material import Epoch, Material, Measured
from featcli.report.numbers import Numbers

_DOTS = 12  # points of a curve, up to which each is marked: one point alone has no line
_FLOOR = 1e-6  # confidences are said rounded down: what is typed must let through what it is said to


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture, its title, and what is to be said below it."""

    title: str
    picture: Html
    said: str


@dataclass(frozen=True, slots=True)
class Reliability:
    """How far confidence can be believed: the picture, its bins, and a sentence."""

    picture: Html
    bins: Sequence[Bin]
    said: str


@dataclass(frozen=True, slots=True)
class Coverage:
    """What silence buys: the picture, a table (share, threshold, accuracy, images), and sets of classes."""

    picture: Html
    rows: Sequence[Sequence[str]]
    sets: Sequence[Sequence[str]]


@dataclass(frozen=True, slots=True)
class Detection:
    """How well one of two classes is found.

    Attributes:
        picture: the ROC curve.
        said: AUROC in words.
        positive: the class that is to be found; empty where that was not said.
        rows: thresholds: target, threshold, sensitivity, specificity, precision, share flagged.
        advice: what gives thresholds, where there are none.
    """

    picture: Html
    said: str
    positive: str
    rows: Sequence[Sequence[str]]
    advice: str


def detection(measured: Measured, classes: Sequence[str]) -> Detection | None:
    """Of two classes; None for more, or where the images are not known."""
    if len(classes) != 2 or not measured.images:
        return None
    positive = measured.numbers.text("positive") or ""
    seen = positive if positive in classes else classes[1]
    points = roc(*positive_scores(measured.images, seen))
    if not points:
        return None
    area = measured.numbers.number("auroc")
    if area is None:
        area = sum((x - before[0]) * (y + before[1]) / 2 for before, (x, y) in pairwise(points))
    bounds = measured.numbers.pair("auroc_ci95")
    interval = f" (95 % interval {bounds[0]:.3f} to {bounds[1]:.3f})" if bounds else ""
    picture = line_chart(
        f"ROC curve: the share of {seen} that is found against the share of others that is flagged; area {area:.3f}",
        Axis.share_of("others that are flagged"),
        Axis.share_of(f"{seen} that are found" if len(seen) <= 20 else "positives that are found"),
        [Line("", [(0, 0), (1, 1)], "aside"), Line("", points, "a")],
    )
    rows = [] if not positive else [_threshold(row) for row in measured.numbers.rows("thresholds")]
    advice = ""
    if not positive:
        advice = (
            f"Which class is to be found was not said: the curve is drawn for {seen}; the area is the same for both. "
            f"--set data.positive={classes[0]} (or {classes[1]}) adds sensitivity and a table of thresholds."
        )
    return Detection(picture, f"AUROC {area:.3f}{interval}", positive, rows, advice)


def _threshold(row: Numbers) -> list[str]:
    target, threshold = row.number("target_sensitivity"), row.number("threshold")
    aim = "-" if target is None else f"{target:.2f}"
    if threshold is None:
        return [aim, "cannot be reached", "", "", "", ""]
    shares = (row.number(name) for name in ("sensitivity", "specificity", "precision", "flagged_share"))
    return [aim, f"{_down(threshold):.6f}", *(_share(share) for share in shares)]


def reliability_of(measured: Measured, classes: Sequence[str], head: Numbers) -> Reliability | None:
    """From the table of the metrics, else from the images; None where neither is there."""
    read = [image for image in measured.images or () if image.label]
    confidence = np.array([image.confidence for image in read])
    right = np.array([image.is_right for image in read], dtype=bool)
    calibration = measured.numbers.part("calibration")
    bins = _stored_bins(calibration) or (reliability(confidence, right) if read else [])
    if not bins:
        return None
    lines = [Line("", [(0, 0), (1, 1)], "aside")]
    chosen = calibration or head.part("calibration")
    temperature = None if chosen is None else chosen.number("temperature")
    if temperature is not None and len(classes) == 2 and read:
        before = reliability(uncalibrated(confidence, temperature), right)
        dots = [(item.confidence, item.accuracy) for item in before]
        titles = [f"before the temperature: confidence {x:.3f}, right {y:.3f}" for x, y in dots]
        lines.append(Line("before the temperature", dots, "b", titles, joined=False))
    lines.append(
        Line(
            "as predicted",
            [(item.confidence, item.accuracy) for item in bins],
            "a",
            [f"confidence {item.confidence:.3f}, right {item.accuracy:.3f}, {item.n} images" for item in bins],
            [wilson_interval(round(item.accuracy * item.n), item.n) for item in bins],
            joined=False,
        )
    )
    picture = line_chart(
        "Reliability: how often predictions of a confidence are right",
        Axis.share_of("confidence"),
        Axis.share_of("right"),
        lines,
    )
    return Reliability(picture, bins, _calibration_text(measured.numbers, calibration, temperature))


def _stored_bins(calibration: Numbers | None) -> list[Bin]:
    found = []
    for row in [] if calibration is None else calibration.rows("reliability"):
        confidence, accuracy, n = row.number("confidence"), row.number("accuracy"), row.count("n")
        if confidence is not None and accuracy is not None and n:
            found.append(Bin(confidence, accuracy, n))
    return found


def _calibration_text(numbers: Numbers, calibration: Numbers | None, temperature: float | None) -> str:
    ece = numbers.number("ece")
    if calibration is None or temperature is None:
        return "" if ece is None else f"Expected calibration error (ECE) {ece:.3f}."
    parts = [f"Temperature {temperature:.2f}"]
    for words, before, after in (
        ("calibration error (ECE)", calibration.number("ece_before"), calibration.number("ece_after")),
        ("log loss", calibration.number("log_loss_before"), calibration.number("log_loss_after")),
    ):
        if before is not None and after is not None:
            parts.append(f"{words} {before:.3f} before it, {after:.3f} after")
    return "; ".join(parts) + "."


def coverage_of(measured: Measured) -> Coverage | None:
    """None where the images are not known."""
    points = coverage(measured.images or ())
    if not points:
        return None
    said = [f"{x:.3f} answered: accuracy {y:.4f}" for x, y in points] if len(points) <= _DOTS else []
    picture = line_chart(
        "Accuracy of what is answered against the share that is answered",
        Axis.share_of("answered, the surest first"),
        Axis.around("accuracy", [*(y for _, y in points), 1.0]),
        [Line("", points, "a", said)],
    )
    rows = []
    for row in measured.numbers.rows("coverage_curve"):
        share, limit, accuracy, n = (row.number(name) for name in ("coverage", "threshold", "accuracy", "n"))
        if share is not None and limit is not None and n is not None:
            rows.append([_share(share), f"{_down(limit):.6f}", _share(accuracy), f"{n:.0f}"])
    sets = []
    for row in measured.numbers.rows("sets"):
        asked = row.number("asked")
        size = row.number("size")
        if asked is not None and size is not None:
            sets.append([f"{asked:.2f}", _share(row.number("coverage")), f"{size:.2f}", _share(row.number("empty"))])
    return Coverage(picture, rows, sets)


def training_figures(material: Material) -> list[Figure]:
    """The epochs of a training by gradient descent, or the choice of C; none where neither is known."""
    return _epochs(material.epochs) if material.epochs else _choice_of_c(material.head)


def _epochs(epochs: Sequence[Epoch]) -> list[Figure]:
    numbers = [float(epoch.epoch) for epoch in epochs]
    step = max(1, math.ceil((max(numbers) - min(numbers)) / 10))
    ticks = [(float(n), str(n)) for n in range(int(min(numbers)), int(max(numbers)) + 1, step)]
    across = Axis("epoch", min(numbers), max(max(numbers), min(numbers) + 1), ticks)
    best = max((epoch.epoch for epoch in epochs if epoch.best), default=None)
    figures = []
    losses = [
        ("training loss", "b", [(float(item.epoch), item.loss) for item in epochs if item.loss is not None]),
        ("validation log loss", "a", [(float(i.epoch), i.log_loss) for i in epochs if i.log_loss is not None]),
    ]
    accuracies = [(float(item.epoch), item.accuracy) for item in epochs if item.accuracy is not None]
    lines = [_epoch_line(name, points, style) for name, style, points in losses if points]
    if lines:
        values = [y for line in lines for _, y in line.points]
        picture = line_chart("Loss by epoch", across, Axis.around("loss", [*values, 0.0]), lines)
        said = "The training loss may include label smoothing and mixing, and is then never near zero."
        figures.append(Figure("Loss", picture, said))
    if accuracies:
        axis = Axis.around("validation accuracy", [y for _, y in accuracies])
        picture = line_chart("Accuracy by epoch", across, axis, [_epoch_line("validation accuracy", accuracies, "a")])
        figures.append(Figure("Accuracy", picture, "" if best is None else f"Epoch {best} was kept."))
    return figures


def _epoch_line(name: str, points: Sequence[tuple[float, float]], style: str) -> Line:
    return Line(name, points, style, [f"epoch {x:.0f}: {y:.4f}" for x, y in points])


def _choice_of_c(head: Numbers) -> list[Figure]:
    found = []
    for row in head.rows("candidates"):
        strength, loss = row.number("C"), row.number("log_loss")
        if strength is not None and strength > 0 and loss is not None:
            found.append((math.log10(strength), loss))
    if len(found) < 2:
        return []
    found.sort()
    powers = [x for x, _ in found]
    ticks = [(x, f"{10**x:.0e}" if abs(x) >= 3 else f"{10**x:g}") for x in powers[:: max(1, len(powers) // 8)]]
    titles = [f"C {10**x:g}: log loss {y:.4f}" for x, y in found]
    picture = line_chart(
        "Log loss of held-out training images for each C that was tried",
        Axis("C (logarithmic)", powers[0], powers[-1], ticks),
        Axis.around("held-out log loss", [*(y for _, y in found), 0.0]),
        [Line("", found, "a", titles)],
    )
    kept = head.number("C")
    said = f"C {kept:g} was chosen." if kept is not None else ""
    return [Figure("The choice of C", picture, f"Small C holds the head back, large C lets it follow the data. {said}")]


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _down(value: float) -> float:
    return math.floor(value / _FLOOR) * _FLOOR
