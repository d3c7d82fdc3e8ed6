"""From a model, as a checkpoint or as an exported file, to what predicts."""

from __future__ import annotations

from featcli.checkpoint import StoredModel
from featcli.errors import UsageError
from featcli.exported import ExportedModel, Model
from featcli.features.engines.exported import exported_extractor
from featcli.predictor import Predictor
from featcli.runtime import Runtime
from featcli.tasks import Task
from featcli.workflow.engines import Wanted, open_extractor
from featcli.workflow.session import Session, open_runtime


def open_runtime_of(session: Session, model: Model) -> Runtime:
    """Where a model runs; of an exported file that is the CPU, and torch is not even asked for.

    Raises:
        UsageError: a GPU was asked for, for an exported file.
        EnvironmentFault: the device is not there.
    """
    device = session.loaded.config.device
    if isinstance(model, StoredModel):
        return open_runtime(session, defer_torch=True)
    if device not in ("auto", "cpu"):
        raise UsageError(
            f"device {device}: an exported file runs on the CPU here", "For a GPU name the checkpoint in its place."
        )
    config = session.loaded.config.model_copy(update={"device": "cpu", "precision": "fp32"})
    return open_runtime(session.with_config(config), defer_torch=True)


def require_stored(model: Model, wanted: str) -> StoredModel:
    """The checkpoint that a model is.

    Args:
        model: that was named.
        wanted: what needs a checkpoint.

    Raises:
        UsageError: it is an exported file.
    """
    if isinstance(model, ExportedModel):
        raise UsageError(
            f"{wanted} needs a checkpoint, and {model.path} is an exported file", "Name the run that it was made from."
        )
    return model


def open_predictor(
    session: Session, model: Model, runtime: Runtime, images: Wanted, *, task: Task | None = None
) -> Predictor:
    """What predicts some images.

    Args:
        session: its config names the engine of a checkpoint.
        model: whose predictions are wanted.
        runtime: where and how to compute.
        images: that are to be predicted.
        task: of the model's classes; None for the model's own.

    Raises:
        EnvironmentFault: an engine, or a library, is not available here.
        CheckpointError: an exported file cannot be run.
    """
    if isinstance(model, ExportedModel):
        return Predictor.of(model, exported_extractor(model, runtime, images.count), task)
    extractor = open_extractor(session, model.backbone, runtime, images, load=model.load, head=model.head)
    return Predictor.of(model, extractor, task)
