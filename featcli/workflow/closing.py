"""What `train-head` and `finetune` say at the end: how good the model is, on which images, and what to type next."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from featcli.data.dataset import Dataset
from featcli.events import Fact, Note
from featcli.heads.registry import find_head
from featcli.runs.folder import CONFIG_NAME, Run
from featcli.workflow.leaking import describe_memory
from featcli.workflow.measuring import describe_metrics, draw_classes
from featcli.workflow.outcome import Model
from featcli.workflow.positives import ask_for_positive
from featcli.workflow.session import Session
from featcli.workflow.starting import middle_stage

_WIDTH = 70  # of a line: 80 columns without the name before it
_ENOUGH = 0.995  # accuracy, from which there is little left to gain


def close_run(session: Session, run: Run, model: Model, data: Dataset) -> list[str]:
    """Says what a finished run is worth.

    Returns:
        The commands that may come next.
    """
    describe_metrics(model.metrics, model.task, session.emit)
    if session.verbose:
        draw_classes(model.measured, session.emit)
    describe_memory(model.measured.memory, session.emit)
    accuracy, n = model.facts["train_accuracy"], model.facts["train_accuracy_n"]
    if accuracy is not None:
        session.emit(Fact("training", f"accuracy {accuracy:.3f} on {n} images that it learned from"))
    chosen = any(values.get("selected") for values in model.metrics.values())
    if chosen and "test" not in model.metrics:
        way = "a folder test beside train and val" if data.rule["made_by"] == "user" else "--set data.test_fraction=0.2"
        session.emit(Note(f"{way} gives an accuracy that nothing was chosen on"))
    ask_for_positive(model.metrics["val"], session.emit)
    steps = _next_steps(session, run, model)
    for index, step in enumerate(steps):
        first, *more = _wrapped(step)
        session.emit(Fact("" if index else "next", first))
        for line in more:
            session.emit(Fact("", line))
    return [" ".join(step) for step in steps]


def _next_steps(session: Session, run: Run, model: Model) -> list[list[str]]:
    """Commands, each in parts between which a line may be broken."""
    folder, val = _named(run.folder), model.metrics["val"]
    steps = [[f"featcli predict {shlex.quote(folder)} NEW_PHOTOS"]]
    if val["n"]:
        steps.append([f"featcli evaluate {shlex.quote(folder)} --parity"])
    if _may_learn_more(session, model):
        depth = middle_stage([stage.name for stage in model.backbone.stages])
        config, tuned = shlex.quote(f"{folder}/{CONFIG_NAME}"), shlex.quote(f"{folder}-tuned")
        steps.append([f"featcli finetune {config}", f"--freeze-depth {depth}", f"-o {tuned}"])
    return steps


def _may_learn_more(session: Session, model: Model) -> bool:
    """Whether the stages of the backbone are as pretrained, can be trained, and there is something to gain."""
    accuracy = model.metrics["val"].get("accuracy")
    trainable = find_head(session.loaded.config.head.kind).gradient is not None
    frozen = model.freeze_depth == "all" and str(model.backbone.layer) == "penultimate"
    return frozen and trainable and accuracy is not None and accuracy < _ENOUGH


def _named(folder: Path) -> str:
    """A folder as it may be typed here: relative where it lies below the working directory."""
    return os.path.relpath(folder) if folder.is_relative_to(Path.cwd()) else str(folder)


def _wrapped(parts: list[str]) -> list[str]:
    """A command on one line where it fits, else over several as a shell takes it."""
    whole = " ".join(parts)
    if len(whole) <= _WIDTH:
        return [whole]
    lines = parts[:1]
    for part in parts[1:]:
        joined = f"{lines[-1]} {part}"
        if len(joined) <= _WIDTH - 2:  # of the backslash
            lines[-1] = joined
        else:
            lines.append(f"    {part}")
    return [f"{line} \\" for line in lines[:-1]] + lines[-1:]
