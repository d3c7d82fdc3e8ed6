"""The metrics of a split as a person reads them."""

from __future__ import annotations

from typing import Any

from featcli.text import printable


def metrics_text(where: str, metrics: dict[str, Any]) -> str:
    """A summary, a line for each class, and the confusion matrix where it fits.

    Args:
        where: which images, in words.
        metrics: of `metrics.evaluate`.
    """
    if metrics["n"] == 0:
        return f"no images, {printable(where)}"
    low, high = metrics["accuracy_ci95"]
    lines = [
        f"{metrics['n']} images, {printable(where)}",
        f"accuracy           {metrics['accuracy']:.4f}  (95 % interval {low:.4f} to {high:.4f})",
        f"majority class     {metrics['majority_accuracy']:.4f}  (baseline: the accuracy of always naming it)",
    ]
    for name in ("balanced_accuracy", "macro_f1", "top5_accuracy", "log_loss", "ece"):
        if metrics[name] is not None:
            lines.append(f"{name.replace('_', ' '):18} {metrics[name]:.4f}")
    if metrics["n_errors"]:
        lines.append(f"unreadable         {metrics['n_errors']}  (counted as wrong)")
    lines += ["", *_class_lines(metrics)]
    if len(metrics["classes"]) <= 12:
        lines += ["", *_confusion_lines(metrics)]
    return "\n".join(lines)


def _class_lines(metrics: dict[str, Any]) -> list[str]:
    scores_of = {printable(name): scores for name, scores in metrics["per_class"].items()}
    width = max(len("class"), *map(len, scores_of))
    lines = [f"{'class':{width}} precision recall     f1  images"]
    for name, scores in scores_of.items():
        cells = (f"{'-' if scores[key] is None else format(scores[key], '.3f'):>{size}}" for key, size in _COLUMNS)
        lines.append(f"{name:{width}} {' '.join(cells)} {scores['support']:7d}")
    return lines


def _confusion_lines(metrics: dict[str, Any]) -> list[str]:
    names = [printable(name) for name in metrics["classes"]]
    width = max(len("true"), *(len(name) for name in names))
    column = max(
        5, *(len(str(cell)) for row in metrics["confusion"] for cell in row), *(min(len(name), 12) for name in names)
    )
    lines = [f"{'true':{width}} " + " ".join(f"{name[:12]:>{column}}" for name in names) + "  predicted"]
    for name, row in zip(names, metrics["confusion"], strict=True):
        lines.append(f"{name:{width}} " + " ".join(f"{cell:{column}d}" for cell in row))
    return lines


_COLUMNS = (("precision", 9), ("recall", 6), ("f1", 6))
