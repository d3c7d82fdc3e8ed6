"""`featcli finetune`: the stages past the freeze depth and the head, trained together; metrics, one checkpoint."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import torch

from featcli.backbones.freezing import FrozenWitness
from featcli.backbones.stages import Backbone, canonical_sha256
from featcli.commands.boundaries import open_sources, plan_boundary
from featcli.commands.changes import describe_changes, list_images
from featcli.commands.learning import describe_best, gradient_facts, recipe_of, scorer, starting_head
from featcli.commands.outcome import (
    Clock,
    Model,
    Trained,
    brief,
    describe_metrics,
    evaluate_splits,
    finish_run,
    make_checkpoint,
    summarise,
    training_rows,
    write_model,
)
from featcli.commands.plans import make_plan
from featcli.commands.resuming import Identity, check_resumable, start_anew
from featcli.commands.runs import Run, check_output, claim_run
from featcli.commands.setup import (
    Call,
    Unreadable,
    features_of,
    open_backbone,
    open_data,
    open_runtime,
    unreadable_of,
)
from featcli.commands.training_plans import frozen_depth, plan_training
from featcli.data.dataset import SPLITS, Dataset
from featcli.errors import EnvironmentFault
from featcli.events import Fact, Note
from featcli.features.extraction import Extractor, FeatureTable, compute_table
from featcli.features.store import FeatureStore
from featcli.interrupts import deferred_signals
from featcli.runtime import Runtime
from featcli.training.convolutions import speed_up
from featcli.training.loop import Diverged, Hooks, fit
from featcli.training.optimizers import make_optimizer, parameter_groups
from featcli.training.state import Progress, Snapshot, read_snapshot, write_snapshot
from featcli.training.trainee import Trainee, batch_norm_mode, export_head


def finetune(call: Call, *, resume: bool = False) -> Trained:
    """Trains the stages past the freeze depth, and the head, and writes a run folder.

    Args:
        call: the invocation.
        resume: go on with the unfinished training that the output holds.

    Raises:
        FeatcliError: whatever is wrong with config, data, weights or the output, or the training diverged.
        Interrupted: a signal came; the training was saved first.
    """
    config = call.loaded.config
    call.loaded.require("data.root", "backbone.name", "output")
    clock = Clock()
    runtime = open_runtime(call)
    if call.dry_run:
        check_output(config, command="finetune", overwrite=call.overwrite)
    else:
        run = claim_run(config, command="finetune", overwrite=call.overwrite)
    backbone = open_backbone(call)
    extractor = Extractor(backbone, runtime)
    if call.dry_run:
        data = open_data(call, runtime)
        plan = make_plan(call, extractor, data, plan_training(call, extractor, data))
        return Trained(plan.text, plan.facts, plan.unreadable)
    frozen = frozen_depth(backbone, call)
    data = open_data(call, runtime)
    images = list_images(data)
    identity = Identity(config, backbone.weights_sha256, images)
    if resume:
        finished = check_resumable(run, identity, call.emit)
        if finished is not None:
            return Trained(finished, _finished_summary(run, data), Unreadable())
    changes = None if resume else describe_changes(run, images, call.emit)
    clock.lap("prepare")

    witness = FrozenWitness(backbone, frozen)
    seen = dataclasses.replace(data, samples=tuple(sample for sample in data.samples if sample.split != "test"))
    table = features_of(seen.samples, extractor, call)
    clock.lap("features")
    training = _Training(call, runtime, backbone, frozen, seen, table)
    if not resume:
        start_anew(run, identity, call.emit)
    try:
        progress = training.run(run)
    except Diverged as error:
        witness.verify()
        model, _ = training.measure(error.progress, data)
        write_model(run, config, make_checkpoint(model, config, runtime, data), model)
        run.write_log(error.progress.log)
        call.emit(Note(f"the weights of the best epoch before that are in {run.checkpoint}"))
        raise
    clock.lap("training")
    compared = witness.verify()
    if frozen:
        call.emit(Fact("frozen", f"{compared} tensors of {frozen} stages are bit for bit what they were"))

    model, unreadable = training.measure(progress, data)
    describe_metrics(model.metrics, call.emit)
    sha256 = write_model(run, config, make_checkpoint(model, config, runtime, data), model)
    timings = finish_run(run, sha256, model, images, progress.log, clock)
    identity.write(run, finished=sha256)
    trained = {"freeze_depth": model.freeze_depth, "epochs": model.facts["epochs"], "best_epoch": progress.best_epoch}
    return Trained(
        answer=str(run.checkpoint),
        summary=summarise(run, sha256, table, seen, changes, model, timings) | trained,
        unreadable=unreadable,
    )


def _finished_summary(run: Run, data: Dataset) -> dict[str, Any]:
    """The answer under `--json` for a training that was finished before."""
    metrics = run.read_metrics()
    splits: dict[str, Any] = {split: brief(metrics[split]) for split in SPLITS[1:] if split in metrics}
    head = metrics["head"]
    return {
        "checkpoint": str(run.checkpoint),
        "checkpoint_sha256": metrics["checkpoint_sha256"],
        "classes": list(data.classes),
        **splits,
        "head": {"kind": head["kind"], "C": head["C"]},
        "timings": metrics["timings"],
        "epochs": head["epochs"],
        "best_epoch": head["best_epoch"],
    }


class _Training:
    """One training: what it is made of, running it, and measuring what came of it."""

    def __init__(
        self, call: Call, runtime: Runtime, backbone: Backbone, frozen: int, data: Dataset, table: FeatureTable
    ) -> None:
        self._call, self._runtime, self._backbone, self._frozen = call, runtime, backbone, frozen
        self._data, self._table = data, table
        self._rows, self._labels = training_rows(data, table)
        self._recipe = recipe_of(call.loaded.config, self._labels, len(data.classes))
        self._boundary = plan_boundary(
            call, runtime, backbone, frozen, train=len(self._rows), val=len(data.split("val"))
        )
        self._head, solved = starting_head(data, table, call, width=backbone.feature_size)
        self._batch_norm = self._decide_batch_norm(solved=solved is not None)
        self._model = Trainee(backbone, frozen, self._head, batch_norm=self._batch_norm).to(runtime.device)
        if runtime.device.type == "cpu" and runtime.precision == "bf16":
            speed_up(self._model)
        self._describe()

    def run(self, run: Run) -> Progress:
        """Trains, from the snapshot in the run's folder if there is one; the model is left with the best weights.

        Raises:
            Diverged: the loss was not finite; the best weights are in the model.
            Interrupted: a signal came; a snapshot was written.
            EnvironmentFault: what trains cannot be compiled.
        """
        call = self._call

        def save(snapshot: Snapshot) -> None:
            write_snapshot(run.last, snapshot)
            run.write_log(snapshot.progress.log)

        train, val = open_sources(
            call,
            self._runtime,
            self._boundary,
            self._data,
            self._table,
            self._rows,
            self._labels,
            frozen_all=self._frozen == len(self._backbone.stages),
        )
        groups = parameter_groups(self._model.stage_parameters(), self._head, self._recipe)
        resume = read_snapshot(run.last) if run.last.is_file() else None
        with deferred_signals() as stop, _compile_errors():
            outcome = fit(
                torch.compile(self._model) if call.loaded.config.train.compile else self._model,
                train,
                val,
                make_optimizer(groups, self._recipe),
                self._recipe,
                self._runtime,
                Hooks(call.emit, save, stop, scorer(self._data, self._table)),
                resume=resume,
            )
            if not outcome.finished:
                progress = outcome.progress
                done = (
                    f"in epoch {progress.epoch}, step {progress.step}"
                    if progress.step
                    else f"after epoch {progress.epoch - 1}"
                )
                call.emit(Note(f"saved {done}; --resume goes on"))
        describe_best(outcome.progress, self._recipe.monitor, call)
        return outcome.progress

    def measure(self, progress: Progress, data: Dataset) -> tuple[Model, Unreadable]:
        """The model as it predicts, measured by the way that `predict` goes; here a test split is read, once.

        Args:
            progress: how the training went.
            data: all images, those of the test split too.

        Returns:
            The model, and the images of all splits that cannot be read.
        """
        config, backbone = self._call.loaded.config, self._backbone
        self._model.eval()
        backbone.network.requires_grad_(False)
        head = export_head(self._head)
        sha256 = canonical_sha256(backbone.network.state_dict())
        if sha256 != backbone.weights_sha256:
            weights = f"{backbone.weights}, fine-tuned"
            backbone = dataclasses.replace(backbone, weights=weights, weights_sha256=sha256)
        extractor = Extractor(backbone, self._runtime)
        samples = [sample for sample in data.samples if sample.split != "train"]
        table = compute_table(
            extractor,
            [sample.path for sample in samples],
            [sample.digest for sample in samples],
            store=FeatureStore(
                self._call.cache, extractor.space, backbone.feature_size, self._call.emit, read_only=True
            ),
            writer=None,
            batch_size=config.loader.batch_size,
            emit=self._call.emit,
        )
        unreadable = unreadable_of(samples, table)
        for row, reason in self._table.errors.items():
            if self._data.samples[row].split == "train":
                unreadable.add(self._data.samples[row].path, reason)
        metrics, predictions = evaluate_splits(samples, table, head, data.classes)
        depth = "all" if self._frozen == len(backbone.stages) else self._frozen
        return Model(backbone, head, depth, gradient_facts(config, progress), metrics, predictions), unreadable

    def _decide_batch_norm(self, *, solved: bool) -> str:
        """`train` or `eval`, by the smallest batch of an epoch.

        Raises:
            ConfigError: `train` was asked for, and a batch has one image.
        """
        n, mode = len(self._rows), self._call.loaded.config.train.batch_norm
        smallest = n // -(-n // self._recipe.batch_size)
        if mode == "train" and smallest < 2:
            raise self._call.loaded.error(
                "train.batch_norm",
                f"train needs two images a batch, and {n} in batches of {self._recipe.batch_size} leave one alone",
                "Change train.batch_size, or use auto.",
            )
        return batch_norm_mode(mode, smallest, solved=solved)

    def _describe(self) -> None:
        emit, recipe, backbone = self._call.emit, self._recipe, self._backbone
        n, size = len(self._rows), recipe.batch_size
        if size > n:
            emit(Note(f"train.batch_size {size} is more than the {n} training images: an epoch is one batch"))
        names = [stage.name for stage in backbone.stages[self._frozen :]]
        stages = f"{names[0]} to {names[-1]}" if len(names) > 1 else "".join(names)
        trained = sum(item.numel() for item in self._model.parameters() if item.requires_grad)
        norm = "of each batch" if self._batch_norm == "train" else "as pretrained"
        emit(
            Fact(
                "train",
                f"{stages + ' and ' if stages else ''}the head, {trained / 1e6:.2g} M parameters; "
                f"{recipe.epochs} epochs of {-(-n // (size * recipe.accumulate))} steps; BatchNorm {norm}",
            )
        )
        where = f"after {backbone.stages[self._frozen - 1].name}" if self._frozen else "the images"
        emit(Fact("boundary", f"{where}, {self._boundary}"))


@contextlib.contextmanager
def _compile_errors() -> Iterator[None]:
    """Says in a sentence why compiling failed."""
    try:
        yield
    except Exception as error:
        if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
        reason = str(error).strip().split("\n")[0]
        raise EnvironmentFault(
            f"train.compile: what trains cannot be compiled here: {reason}",
            "Install a C++ compiler (Debian: g++), or set train.compile: false.",
        ) from error
