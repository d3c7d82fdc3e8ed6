"""The metrics of a split as a person reads them."""

from __future__ import annotations

import math
from typing import Any

from featcli.evaluation.words import absent_text, interval_text, selection_text
from featcli.text import clipped, columns, printable

_WIDTH = 80
_LONGEST_NAME = 40
_MOST_CLASSES = 30  # of which each has its line
_WORST = 20
_MOST_CONFUSION = 12
_NUMBERS = ("balanced_accuracy", "macro_f1", "top5_accuracy", "log_loss", "brier", "ece")
_SHARES = ("sensitivity", "specificity", "auroc")
_COLUMNS = (("precision", 9), ("recall", 6), ("f1", 6))


def metrics_text(where: str, metrics: dict[str, Any]) -> str:
    """A summary, a line for each class (of many, the worst), the confusion matrix where it fits, thresholds.

    Args:
        where: which images, in words.
        metrics: of `metrics.evaluate`, and perhaps `selected`.
    """
    if metrics["n"] == 0:
        return f"no images, {printable(where)}"
    lines = [
        f"{metrics['n']} images, {printable(where)}",
        f"accuracy           {metrics['accuracy']:.4f}  ({interval_text(metrics, 4)})",
    ]
    if metrics.get("selected"):
        lines.append(f"{'':18} {selection_text(metrics['selected'])}")
    absent = absent_text(metrics)
    if absent is not None:
        lines.append(f"{'':18} {clipped(absent, _WIDTH - 19)}")
    lines.append(f"majority class     {metrics['majority_accuracy']:.4f}  (baseline: the accuracy of always naming it)")
    for name in _NUMBERS:
        if metrics[name] is not None:
            lines.append(f"{_label(name)} {metrics[name]:.4f}")
    if metrics["positive"] is not None:
        lines.append(f"positive class     {clipped(metrics['positive'], _LONGEST_NAME)}")
    for name in _SHARES:
        if metrics[name] is not None:
            bounds = metrics[f"{name}_ci95"]
            interval = f"  (95 % interval {bounds[0]:.4f} to {bounds[1]:.4f})" if bounds else ""
            lines.append(f"{_label(name)} {metrics[name]:.4f}{interval}")
    if metrics["average_precision"] is not None:
        lines.append(f"average precision  {metrics['average_precision']:.4f}")
    if metrics["n_errors"]:
        lines.append(f"unreadable         {metrics['n_errors']}  (counted as wrong)")
    lines += ["", *_class_lines(metrics)]
    if metrics["confusion"] is not None and len(metrics["classes"]) <= _MOST_CONFUSION:
        lines += ["", *_confusion_lines(metrics)]
    if metrics["thresholds"] is not None:
        lines += ["", *_threshold_lines(metrics)]
    return "\n".join(lines)


def _label(name: str) -> str:
    words = {"auroc": "AUROC", "brier": "Brier score", "ece": "ECE"}
    return f"{words.get(name, name.replace('_', ' ')):18}"


def _class_lines(metrics: dict[str, Any]) -> list[str]:
    chosen, above = list(metrics["per_class"].items()), []
    if len(chosen) > _MOST_CLASSES:
        known = [item for item in chosen if item[1]["recall"] is not None]
        above = [f"the {min(_WORST, len(known))} classes of the lowest recall, of {len(chosen)} (--json has all)"]
        chosen = sorted(known, key=lambda item: (item[1]["recall"], -item[1]["support"]))[:_WORST]
    names = [clipped(name, _LONGEST_NAME) for name, _ in chosen]
    width = max(len("class"), *map(columns, names)) if names else len("class")
    lines = [*above, f"{_padded('class', width)} precision recall     f1  images"]
    for name, (_, scores) in zip(names, chosen, strict=True):
        cells = (f"{'-' if scores[key] is None else format(scores[key], '.3f'):>{size}}" for key, size in _COLUMNS)
        lines.append(f"{_padded(name, width)} {' '.join(cells)} {scores['support']:7d}")
    return lines


def _confusion_lines(metrics: dict[str, Any]) -> list[str]:
    names, k = metrics["classes"], len(metrics["classes"])
    digits = max(len(str(cell)) for row in metrics["confusion"] for cell in row)
    width = max(len("true"), *(columns(clipped(name, _LONGEST_NAME)) for name in names))
    longest = max(columns(clipped(name, 12)) for name in names)
    column = max(5, digits, longest)
    if width + k * (column + 1) > _WIDTH:
        column = max(5, digits, (_WIDTH - min(width, 16)) // k - 1)
        width = max(len("true"), min(width, _WIDTH - k * (column + 1)))
    heading = _padded("true", width) + "".join(" " + _padded(clipped(name, column), -column) for name in names)
    fits = columns(heading) + len("  predicted") <= _WIDTH
    lines = [heading + "  predicted"] if fits else ["rows: true; columns: predicted", heading]
    for name, row in zip(names, metrics["confusion"], strict=True):
        lines.append(_padded(clipped(name, width), width) + "".join(f" {cell:{column}d}" for cell in row))
    return lines


def _threshold_lines(metrics: dict[str, Any]) -> list[str]:
    lines = [
        f"{clipped(metrics['positive'], 30)} from a threshold on, chosen on these images",
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


def _padded(text: str, width: int) -> str:
    """To so many columns, on the right; on the left for a negative width."""
    space = " " * (abs(width) - columns(text))
    return text + space if width >= 0 else space + text
