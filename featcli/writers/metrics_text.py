"""The metrics of a split as a person reads them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from featcli.evaluation.words import absent_text, interval_text, selection_text
from featcli.lines import laid_out, table, table_row
from featcli.report.counting import Cells
from featcli.text import clipped, columns, printable
from featcli.writers.plots_text import MOST_SQUARE, class_bars, confused_of, confusion_plot

_FEWEST = 8  # columns of a class's name
_MOST_CLASSES = 30  # of which each has its line
_WORST = 20
_NUMBERS = ("balanced_accuracy", "macro_f1", "top5_accuracy", "log_loss", "brier", "ece")
_SHARES = ("sensitivity", "specificity", "auroc")
_SCORES = ("precision", "recall", "f1")


def metrics_text(
    where: str,
    metrics: dict[str, Any],
    below: Sequence[str] = (),
    width: int | None = None,
    count: Callable[[], Cells] | None = None,
) -> str:
    """A summary, a line for each class (of many, the worst), the confusion matrix where it fits, thresholds.

    A terminal gets plots of the classes and of what was taken for what; a pipe gets the same as tables of numbers.

    Args:
        where: which images, in words.
        metrics: of `metrics.evaluate`, and perhaps `selected`.
        below: lines about the images, below the first.
        width: of the terminal, in columns; None where names are not to be shortened.
        count: gives the images by true and predicted class; called where the metrics do not have the matrix.
    """
    if metrics["n"] == 0:
        return "\n".join([f"no images, {printable(where)}", *below])
    lines = [
        f"{metrics['n']} images, {printable(where)}",
        *below,
        f"accuracy           {metrics['accuracy']:.4f}  ({interval_text(metrics, 4)})",
    ]
    if metrics.get("selected"):
        lines.append(f"{'':18} {selection_text(metrics['selected'])}")
    absent = absent_text(metrics)
    if absent is not None:
        lines.append(f"{'':18} {absent}")
    lines.append(f"majority class     {metrics['majority_accuracy']:.4f}  (baseline: the accuracy of always naming it)")
    for name in _NUMBERS:
        if metrics[name] is not None:
            lines.append(f"{_label(name)} {metrics[name]:.4f}")
    calibration = metrics.get("calibration")
    if calibration is not None:
        before = f"log loss {calibration['log_loss_before']:.4f}, ECE {calibration['ece_before']:.4f} without it"
        lines.append(f"temperature        {calibration['temperature']:.4f}  ({before})")
    if metrics["positive"] is not None:
        lines.append(f"positive class     {_name(metrics['positive'], width, 19)}")
    for name in _SHARES:
        if metrics[name] is not None:
            bounds = metrics[f"{name}_ci95"]
            interval = f"  (95 % interval {bounds[0]:.4f} to {bounds[1]:.4f})" if bounds else ""
            lines.append(f"{_label(name)} {metrics[name]:.4f}{interval}")
    if metrics["average_precision"] is not None:
        lines.append(f"average precision  {metrics['average_precision']:.4f}")
    if metrics["n_errors"]:
        lines.append(f"unreadable         {metrics['n_errors']}  (counted as wrong)")
    if width is None:
        lines += ["", *_class_lines(metrics)]
        if metrics["confusion"] is not None and len(metrics["classes"]) <= MOST_SQUARE:
            lines += ["", *_confusion_lines(metrics)]
    else:
        plot = confusion_plot(metrics["classes"], metrics["confusion"], confused_of(metrics, count), width)
        lines += ["", *class_bars(metrics["per_class"], width), "", *plot]
    if metrics["thresholds"] is not None:
        lines += ["", *_threshold_lines(metrics, width)]
    if metrics.get("coverage_curve"):
        lines += ["", *_silence_lines(metrics)]
    return laid_out("\n".join(lines), width)


def _name(name: str, width: int | None, beside: int) -> str:
    """A class's name beside so many other columns, shortened where the terminal is too narrow for both."""
    return printable(name) if width is None else clipped(name, max(_FEWEST, width - beside))


def _label(name: str) -> str:
    words = {"auroc": "AUROC", "brier": "Brier score", "ece": "ECE"}
    return f"{words.get(name, name.replace('_', ' ')):18}"


def _class_lines(metrics: dict[str, Any]) -> list[str]:
    chosen, above = list(metrics["per_class"].items()), []
    if len(chosen) > _MOST_CLASSES:
        known = [item for item in chosen if item[1]["recall"] is not None]
        above = [f"the {min(_WORST, len(known))} classes of the lowest recall, of {len(chosen)} (--json has all)"]
        chosen = sorted(known, key=lambda item: (item[1]["recall"], -item[1]["support"]))[:_WORST]
    rows: list[tuple[str, ...]] = [("class", *_SCORES, "images")]
    for name, scores in chosen:
        numbers = ("-" if scores[key] is None else format(scores[key], ".3f") for key in _SCORES)
        rows.append((printable(name), *numbers, str(scores["support"])))
    return [*above, *table(rows, right=(False, *[True] * 4), width=None)]


def _confusion_lines(metrics: dict[str, Any]) -> list[str]:
    names = [printable(name) for name in metrics["classes"]]
    digits = max(len(str(cell)) for row in metrics["confusion"] for cell in row)
    column = max(5, digits, *map(columns, names))
    widths, right = [max(len("true"), *map(columns, names))] + [column] * len(names), [False] + [True] * len(names)
    lines = [table_row(["true", *names], widths, right, gap=1) + "  predicted"]
    for name, row in zip(names, metrics["confusion"], strict=True):
        lines.append(table_row([name, *map(str, row)], widths, right, gap=1))
    return lines


def _silence_lines(metrics: dict[str, Any]) -> list[str]:
    """What --abstain-below and --coverage would give on these images."""
    lines = ["answered  --abstain-below  accuracy  images"]
    for row in metrics["coverage_curve"]:
        # Rounded down: what is typed must let through what it is said to.
        below = math.floor(row["threshold"] * 1e6) / 1e6
        lines.append(f"{row['coverage']:8.3f}  {below:15.6f}  {row['accuracy']:8.4f}  {row['n']:6}")
    if metrics.get("sets"):
        lines += ["", "--coverage  true class in the set  mean size  empty"]
        for row in metrics["sets"]:
            lines.append(f"{row['asked']:10.2f}  {row['coverage']:21.4f}  {row['size']:9.2f}  {row['empty']:5.3f}")
    if metrics.get("strangers") is not None:
        lines += ["", f"novelty above 1    {metrics['strangers']:.4f} of the images"]
    return lines


def _threshold_lines(metrics: dict[str, Any], width: int | None) -> list[str]:
    lines = [
        f"{_name(metrics['positive'], width, 45)} from a threshold on, chosen on these images",
        "target  threshold  sensitivity  specificity  precision  flagged",
    ]
    for row in metrics["thresholds"]:
        target = "-" if row["target_sensitivity"] is None else f"{row['target_sensitivity']:.2f}"
        if row["threshold"] is None:
            lines.append(f"{target:>6}  cannot be reached: too many images cannot be read")
            continue
        # Rounded down: what is typed must let through what it is said to.
        cells = [f"{target:>6}", f"{math.floor(row['threshold'] * 1e6) / 1e6:9.6f}"]
        for name, size in (("sensitivity", 11), ("specificity", 11), ("precision", 9), ("flagged_share", 7)):
            cells.append(f"{'-' if row[name] is None else format(row[name], '.3f'):>{size}}")
        lines.append("  ".join(cells))
    return lines
