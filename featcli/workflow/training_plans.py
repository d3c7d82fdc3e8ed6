"""What a training would do and how long it would take, found out without doing it."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from featcli.analysis.mirroring import MIRRORED
from featcli.backbones.stages import Backbone, whole
from featcli.data.dataset import Dataset
from featcli.errors import BackboneOptionError
from featcli.events import Note
from featcli.features.extraction import Extractor
from featcli.heads.kind import NewHead
from featcli.heads.registry import build_head
from featcli.training.freezing import count_frozen
from featcli.training.trainable import TrainableModel
from featcli.units import count_text, duration_text
from featcli.workflow.boundaries import Boundary, plan_boundary
from featcli.workflow.learning import gradient_of
from featcli.workflow.mirroring import plan_mirroring, warn_of_sides
from featcli.workflow.session import Session, placed
from featcli.workflow.unused import describe_unused


@dataclass(frozen=True, slots=True)
class TrainingPlan:
    """The plan of a training: how many stages are frozen, lines for a person, and one JSON value."""

    n_frozen: int
    lines: list[str]
    facts: dict[str, Any]


def frozen_depth(backbone: Backbone, session: Session) -> int:
    """How many stages `finetune` freezes; what cannot be trained, or need not be, is said.

    Raises:
        ConfigError: no such stage, or features of an earlier stage.
    """
    with placed(session.loaded):
        if str(backbone.layer) != "penultimate":
            raise BackboneOptionError(
                "layer",
                f"finetune trains the backbone to its end, and {backbone.layer} is not its last layer",
                "Features of earlier stages are for train-head; leave backbone.layer out.",
            )
        n_frozen = count_frozen(backbone, session.loaded.config.backbone.freeze_depth)
    if n_frozen == len(backbone.stages):
        session.emit(
            Note(
                "every stage is frozen: only the head is trained, by gradient descent, and train-head fits that in "
                f"seconds; to train more, set backbone.freeze_depth: none, 0 to {n_frozen - 1}, or a stage's name"
            )
        )
    return n_frozen


def plan_training(session: Session, extractor: Extractor, data: Dataset) -> TrainingPlan:
    """Stages, parameters, the boundary and whether it is kept, steps, and seconds as measured on one small batch.

    Raises:
        ConfigError: a freeze depth or an option of `train` that cannot be.
    """
    config, backbone = session.loaded.config.train, whole(extractor.backbone)
    n_frozen = frozen_depth(backbone, session)
    describe_unused(session, "finetune", data, all_frozen=n_frozen == len(backbone.stages))
    n, n_val = len(data.split("train")), len(data.split("val"))
    mirroring = plan_mirroring(config, data.classes)
    warn_of_sides(mirroring, data.classes, session.emit)
    # Of what is left open the boundary does not depend: light and strong have as many variants with and without it.
    mirror = mirroring is None or mirroring.mirror
    boundary = plan_boundary(session, extractor, n_frozen, mirror=mirror, train=n, val=n_val)
    head = build_head(gradient_of(session), NewHead(), backbone.feature_size, len(data.classes), None)
    model = TrainableModel(backbone, n_frozen, head, batch_norm="eval").to(extractor.runtime.device)
    before, step = _seconds_per_image(boundary, model, extractor)
    backbone.network.requires_grad_(False)
    once = boundary.is_features or boundary.keeps_train
    passes = (boundary.views.count or 1) if once else config.epochs
    seconds = config.epochs * n * step + (0.0 if boundary.is_features else passes * n * before)
    steps = -(-n // (config.batch_size * config.accumulate))
    trained = sum(parameter.numel() for stage in model.stage_parameters() for parameter in stage)
    facts = {
        "epochs": config.epochs,
        "steps_per_epoch": steps,
        "trained_parameters": trained,
        "all_parameters": backbone.n_parameters,
        "boundary": boundary.to_json(),
        "mirror": None if mirroring is None else mirroring.mirror,
        "estimated_seconds": round(seconds, 1),
    }
    names = [stage.name for stage in backbone.stages[n_frozen:]]
    lines = [
        f"train       {', '.join(names) + ' and ' if names else ''}the head; "
        f"{count_text(config.epochs, 'epoch')} of {count_text(steps, 'step')}, {duration_text(seconds)} here",
        f"boundary    {boundary}",
        f"mirror      {mirroring or f'decided at the start by a trial on up to {MIRRORED} training images'}",
    ]
    return TrainingPlan(n_frozen, lines, facts)


def _seconds_per_image(boundary: Boundary, model: TrainableModel, extractor: Extractor) -> tuple[float, float]:
    """Of the frozen stages, and of a step of the rest, without decoding: measured on the second of two batches."""
    side, size = extractor.backbone.preprocessing.crop, extractor.engine.tile
    pixels = [np.zeros((side, side, 3), dtype=np.uint8)] * size
    before = step = 0.0
    for _ in range(2):
        extractor.runtime.wait()
        start = time.perf_counter()
        inputs = boundary.prefix.inputs(boundary.prefix.encode(pixels))
        extractor.runtime.wait()
        between = time.perf_counter()
        model.train()
        with extractor.runtime.autocast():
            loss = model(inputs).float().logsumexp(1).sum()
        torch.autograd.backward(loss)
        extractor.runtime.wait()
        model.zero_grad(set_to_none=True)
        before, step = between - start, time.perf_counter() - between
    model.eval()
    return before / size, step / size
