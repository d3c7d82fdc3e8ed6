"""Training by gradient, as the config describes it: for `finetune`, and for `train-head` with a linear or mlp head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from featcli.config import Config
from featcli.data.dataset import Dataset
from featcli.evaluation.truth import Truth
from featcli.events import Fact, Note
from featcli.features.extraction import FeatureTable
from featcli.heads.head import Head
from featcli.heads.kind import Gradient, NewHead
from featcli.heads.registry import build_head, find_head
from featcli.runtime import Runtime
from featcli.tasks import Task, task_of
from featcli.training.boundary import FeatureExamples
from featcli.training.loop import fit
from featcli.training.optimizers import make_optimizer, parameter_groups
from featcli.training.problem import Callbacks, Labelled, Problem, Score
from featcli.training.recipe import Recipe
from featcli.training.state import Snapshot, TrainingProgress
from featcli.training.trainable import TrainableHead
from featcli.units import seconds_of
from featcli.workflow.session import Session
from featcli.workflow.solving import solve_head, training_rows


def recipe_of(config: Config, labels: NDArray[np.int64], task: Task) -> Recipe:
    """The recipe that a config describes, for training examples with these labels."""
    train = config.train
    return Recipe(
        epochs=train.epochs,
        batch_size=train.batch_size,
        accumulate=train.accumulate,
        optimizer=train.optimizer,
        lr=train.lr,
        weight_decay=train.weight_decay,
        layer_decay=train.layer_decay,
        warmup_epochs=train.warmup_epochs,
        schedule=train.schedule,
        clip_norm=train.clip_norm,
        label_smoothing=train.label_smoothing,
        mixup=train.mixup,
        cutmix=train.cutmix,
        ema=train.ema,
        monitor=train.monitor,
        patience=train.patience,
        time_limit=seconds_of(train.time_limit) if train.time_limit is not None else None,
        class_weights=task.class_weights(labels) if config.head.class_weight == "balanced" else None,
        seed=config.seed,
    )


def gradient_of(session: Session) -> Gradient:
    """How the config's kind of head is trained by gradient descent.

    Raises:
        ConfigError: it cannot be.
    """
    kind = session.loaded.config.head.kind
    gradient = find_head(kind).gradient
    if gradient is None:
        raise session.loaded.error("head.kind", f"a head of kind {kind} cannot be trained by gradient descent")
    return gradient


def check_head(session: Session) -> None:
    """Refuses what a head on stored features cannot be trained with.

    Raises:
        ConfigError: `train.cutmix` or `head.repeats`, where the head is trained by gradient descent.
    """
    config = session.loaded.config
    if config.head.repeats is not None and find_head(config.head.kind).hold_out is None:
        raise session.loaded.error(
            "head.repeats", f"a head of kind {config.head.kind} is not fitted on folds", "Use head.kind: logistic."
        )
    if config.train.cutmix and find_head(config.head.kind).solve is None:
        raise session.loaded.error(
            "train.cutmix",
            "cutmix needs (B, C, H, W) maps, and train-head learns from features",
            "Use train.mixup, or finetune with fewer frozen stages.",
        )


def starting_head(
    gradient: Gradient, data: Dataset, table: FeatureTable, session: Session, *, width: int
) -> tuple[nn.Module, Head | None]:
    """The head that training starts from, as the config says; and the solved one, where it is that."""
    config = session.loaded.config
    solved = None
    if config.head.init == "solved" and gradient.starts_from is None:
        session.emit(Note(f"an {gradient.kind} starts from random weights: head.init solved is for a linear head"))
    elif config.head.init == "solved":
        found, _ = solve_head(str(gradient.starts_from), data, table, session)
        solved = found.head
    new = NewHead(config.head.hidden, config.head.dropout, config.seed)
    return build_head(gradient, new, width, len(data.classes), solved), solved


def validation_rows(data: Dataset, table: FeatureTable) -> tuple[list[int], NDArray[np.int64]]:
    """The readable images of val: their rows and labels."""
    usable = table.readable
    rows = [index for index, sample in enumerate(data.samples) if sample.split == "val" and usable[index]]
    return rows, np.array([data.samples[index].label for index in rows], dtype=np.int64)


def scorer(data: Dataset, table: FeatureTable) -> Score:
    """Metrics of the probabilities of `validation_rows`; images that cannot be read count as wrong."""
    _, labels = validation_rows(data, table)
    usable, task = table.readable, task_of(data.classes)
    lost = [sample.label for index, sample in enumerate(data.samples) if sample.split == "val" and not usable[index]]
    truth = Truth(labels, lost)

    def score(probabilities: NDArray[np.float64]) -> Mapping[str, Any]:
        return task.evaluate(probabilities, truth)

    return score


def gradient_facts(gradient: Gradient, config: Config, progress: TrainingProgress) -> dict[str, Any]:
    """What `metrics.json` says of a head that was trained by gradient descent."""
    return {
        "kind": gradient.kind,
        "C": None,
        "class_weight": config.head.class_weight,
        "init": "random" if gradient.starts_from is None else config.head.init,
        "best_epoch": progress.best_epoch,
        "epochs": max(entry["epoch"] for entry in progress.log),
    }


def describe_best(progress: TrainingProgress, monitor: str, session: Session) -> None:
    """Says which epoch is kept, and why."""
    best = f"epoch {progress.best_epoch}"
    if progress.best_epoch == 0:
        best += ", the model as it started: no epoch was better"
    said = "the last" if progress.best_value is None else f"validation {monitor} {progress.best_value:.4f}"
    session.emit(Fact("best", f"{best}; {said}"))


def learn_head(
    data: Dataset, table: FeatureTable, runtime: Runtime, session: Session
) -> tuple[Head, dict[str, Any], list[dict[str, Any]]]:
    """Trains a linear or mlp head by gradient on stored features.

    Returns:
        The head, what `metrics.json` says of it, and the lines of the log.

    Raises:
        FeatcliError: a class has no readable image, or the training diverged.
    """
    config, gradient = session.loaded.config, gradient_of(session)
    module, _ = starting_head(gradient, data, table, session, width=table.features.shape[1])
    rows, labels = training_rows(data, table)
    model, task = TrainableHead(module).to(runtime.device), task_of(data.classes)
    recipe = recipe_of(config, labels, task)
    outcome = fit(
        Problem(
            model,
            task,
            Labelled(feature_examples(data, table, rows, runtime), labels),
            validation_examples(data, table, runtime),
        ),
        make_optimizer(parameter_groups([], module, recipe), recipe),
        recipe,
        runtime,
        Callbacks(session.emit, _forget, _never, scorer(data, table)),
    )
    describe_best(outcome.progress, recipe.monitor, session)
    return gradient.export(module), gradient_facts(gradient, config, outcome.progress), outcome.progress.log


def feature_examples(data: Dataset, table: FeatureTable, rows: Sequence[int], runtime: Runtime) -> FeatureExamples:
    """Some images of a data set by their features."""
    return FeatureExamples(table.features[list(rows)], [data.samples[row].path for row in rows], runtime)


def validation_examples(data: Dataset, table: FeatureTable, runtime: Runtime) -> Labelled:
    """The readable validation images by their features."""
    rows, labels = validation_rows(data, table)
    return Labelled(feature_examples(data, table, rows, runtime), labels)


def _forget(snapshot: Snapshot) -> None:
    """A head takes seconds: there is nothing to resume."""


def _never() -> bool:
    """Signals act at once: there is nothing to finish first."""
    return False
