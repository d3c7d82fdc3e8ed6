"""What a person reads of the metrics of one class for each image: a few lines, and what is wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from featcli.evaluation.words import absent_text, interval_text, selection_text
from featcli.text import clipped, columns

_WIDTH = 70  # of a line: 80 columns without the name before it
_LONGEST_NAME = 30
_NAMED = 3


def verdict_lines(values: Mapping[str, Any]) -> list[str]:
    """A few lines of at most 70 columns: whether the classifier is any good, and where it is weakest.

    Args:
        values: of `metrics.evaluate`; and `selected`, where something was chosen on these images.
    """
    if values["accuracy"] is None:
        return []
    lines = _accuracy_lines(values)
    if values.get("selected"):
        lines.append(selection_text(values["selected"]))
    absent = absent_text(values)
    if absent is not None:
        lines.append(clipped(absent, _WIDTH))
    baseline, balanced = values["majority_accuracy"], values["balanced_accuracy"]
    lines.append(f"majority-class baseline {baseline:.3f}; balanced accuracy {balanced:.3f}")
    worst, confused = values["worst_class"], values["most_confused"]
    if worst is not None:
        recall = f"recall {worst['recall']:.3f}, {worst['hits']} of {worst['support']} images"
        lines.append(_with_names("worst class {}: " + recall, [worst["class"]]))
    if confused is not None:
        count = f"{confused['count']} of {confused['support']} images"
        lines.append(_with_names("most confused: {} -> {}, " + count, [confused["true"], confused["predicted"]]))
    if values["ece"] is not None:
        lines.append(f"expected calibration error (ECE) {values['ece']:.3f}")
    return lines + _detection_lines(values)


def doubts(values: Mapping[str, Any]) -> list[str]:
    """What should keep a user from trusting the classifier: sentences, or none.

    Args:
        values: of `metrics.evaluate`.
    """
    if values["accuracy"] is None:
        return []
    said = []
    # Of images of one class alone the baseline is 1, and says nothing.
    if values["accuracy"] < values["majority_accuracy"] < 1:
        said.append(
            f"accuracy {values['accuracy']:.3f} is below the majority-class baseline "
            f"{values['majority_accuracy']:.3f}: always naming the largest class would be right more often"
        )
    missed = [(name, scores) for name, scores in values["per_class"].items() if scores["recall"] == 0]
    if missed:
        missed.sort(key=lambda item: -item[1]["support"])
        named = [
            f"{clipped(name, _LONGEST_NAME)} ({_images(scores['support'])}{_never(scores)})"
            for name, scores in missed[:_NAMED]
        ]
        more = f" and {len(missed) - _NAMED} more" if len(missed) > _NAMED else ""
        among = f"{len(missed)} of {len(values['per_class'])} classes"
        said.append(f"recall 0.000 in {among}: {', '.join(named)}{more}")
    return said


def _accuracy_lines(values: Mapping[str, Any]) -> list[str]:
    accuracy, interval = f"accuracy {values['accuracy']:.3f}", interval_text(values)
    if values["interval"] == "groups":
        return [f"{accuracy} (n = {values['n']})", interval]
    return [f"{accuracy} ({interval}, n = {values['n']})"]


def _detection_lines(values: Mapping[str, Any]) -> list[str]:
    if values["auroc"] is None and values["sensitivity"] is None and values["specificity"] is None:
        return []
    area = f"AUROC {_share_text(values, 'auroc')}"
    if values["positive"] is None:
        return [area]
    shares = [f"{name} {_share_text(values, name)}" for name in ("sensitivity", "specificity")]
    return [", ".join(shares), _with_names(f"{area}, to find {{}}", [values["positive"]])]


def _share_text(values: Mapping[str, Any], name: str) -> str:
    """A metric with its interval: `0.940 (0.868 to 0.974)`; a dash where there is none."""
    if values[name] is None:
        return "-"
    bounds = values[f"{name}_ci95"]
    return f"{values[name]:.3f}" + (f" ({bounds[0]:.3f} to {bounds[1]:.3f})" if bounds else "")


def _with_names(template: str, names: Sequence[str]) -> str:
    """Puts names of classes into a line, as long as it has room for them."""
    room = (_WIDTH - columns(template.format(*[""] * len(names)))) // len(names)
    return template.format(*(clipped(name, min(room, _LONGEST_NAME)) for name in names))


def _images(count: int) -> str:
    return f"{count} image{'' if count == 1 else 's'}"


def _never(scores: Mapping[str, Any]) -> str:
    return ", never predicted" if scores["precision"] is None else ""
