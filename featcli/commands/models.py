"""`featcli models`: the backbones to choose from, and the stages of one."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from featcli.backbones.catalogue import BackboneCard, StageCard, cards, describe_stages
from featcli.backbones.registry import find_architecture
from featcli.data.pixels.preprocessing import Preprocessing
from featcli.lines import lines_of, table
from featcli.workflow.answer import Answer


def list_models(pattern: str | None) -> Answer:
    """All backbones, or those whose name contains `pattern`, as a table and as JSON values.

    Raises:
        BackboneOptionError: no name contains it; the nearest are named.
    """
    chosen = [card for card in cards() if pattern is None or pattern.lower() in card.name]
    if not chosen:
        find_architecture(str(pattern))  # says why not, or names the nearest
    return Answer.arranged(partial(_table, chosen), [card.to_json() for card in chosen])


def show_model(name: str) -> Answer:
    """One backbone's weights and stages, as text and as one JSON value.

    Raises:
        BackboneOptionError: there is none of that name.
    """
    architecture = find_architecture(name)
    card = next(card for card in cards() if card.name == name)
    stages = describe_stages(architecture)
    entries = [
        {
            "name": entry.name,
            "top1": entry.top1,
            "preprocessing": entry.preprocessing.to_json(),
            "location": entry.location,
        }
        for entry in architecture.entries.values()
    ]
    facts = {**card.to_json(), "weights": entries, "stages": [stage.to_json() for stage in stages]}
    lines = [
        f"{name}: {card.parameters / 1e6:.1f} M parameters with its ImageNet head, {card.features} features",
        "",
        f"{'weights':28} top-1  input",
    ]
    for index, entry in enumerate(architecture.entries.values()):
        accuracy = f"{entry.top1:5.1f}" if entry.top1 is not None else "    -"
        default = " (DEFAULT)" if index == 0 else ""
        lines.append(f"{entry.name + default:28} {accuracy}  {_input(entry.preprocessing)}")
    lines += ["", *_stage_lines(stages)]
    return Answer.arranged(lines_of(lines), facts)


def _table(chosen: Sequence[BackboneCard], width: int | None) -> str:
    rows = [("name", "params M", "features", "input", "top-1", "GFLOPs", "weights here"), *map(_cells, chosen)]
    return "\n".join(table(rows, right=(False, *[True] * 5, False), width=width, shrink=[0]))


def _cells(card: BackboneCard) -> tuple[str, ...]:
    return (
        card.name,
        f"{card.parameters / 1e6:.1f}",
        str(card.features),
        str(card.input_size),
        "-" if card.top1 is None else f"{card.top1:.1f}",
        "-" if card.gflops is None else f"{card.gflops:.1f}",
        "yes" if card.here else f"no ({card.megabytes:.0f} MB)",
    )


def _stage_lines(stages: Sequence[StageCard]) -> list[str]:
    width = max(len("stage"), *(len(stage.name) for stage in stages))
    lines = [f"freeze_depth  {'stage':{width}}  parameters  frozen so far  output"]
    for stage in stages:
        shape = " x ".join(map(str, stage.output))
        lines.append(f"{stage.depth:12d}  {stage.name:{width}}  {stage.parameters:10,d}  {stage.share:12.1%}  {shape}")
    return lines


def _input(preprocessing: Preprocessing) -> str:
    """Without mean and std, which `--json` has: a line fits into 80 columns."""
    return f"resize {preprocessing.resize} {preprocessing.interpolation}, crop {preprocessing.crop}"
