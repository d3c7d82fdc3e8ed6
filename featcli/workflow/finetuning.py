"""One fine-tuning: what it is made of, running it, and measuring what came of it."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator

import torch

from featcli.backbones.stages import canonical_sha256, whole
from featcli.data.dataset import Dataset
from featcli.errors import EnvironmentFault
from featcli.events import Fact, Note
from featcli.features.extraction import Extractor, FeatureTable, compute_table
from featcli.features.store import FeatureStore
from featcli.interrupts import deferred_signals
from featcli.predictor import Predictor
from featcli.runs.folder import Run
from featcli.sampling import evenly
from featcli.tasks import Task
from featcli.training.convolutions import speed_up
from featcli.training.freezing import batch_norm_mode
from featcli.training.loop import fit
from featcli.training.optimizers import make_optimizer, parameter_groups
from featcli.training.problem import Callbacks, Problem
from featcli.training.state import Snapshot, TrainingProgress, read_snapshot, write_snapshot
from featcli.training.trainable import TrainableModel
from featcli.units import count_text
from featcli.workflow.answer import Unreadable
from featcli.workflow.boundaries import open_sources, plan_boundary
from featcli.workflow.engines import all_of, open_extractor
from featcli.workflow.features import unreadable_of
from featcli.workflow.leaking import with_memory
from featcli.workflow.learning import describe_best, gradient_facts, gradient_of, recipe_of, scorer, starting_head
from featcli.workflow.measuring import mark_selection, measure_splits, training_facts
from featcli.workflow.mirroring import decide_mirroring
from featcli.workflow.outcome import Model
from featcli.workflow.session import Session
from featcli.workflow.solving import training_rows
from featcli.workflow.trusting import learn_trust, validation_evidence

TRAINING_IMAGES = 2000  # whose accuracy is told


class FineTuning:
    """One training: what it is made of, running it, and measuring what came of it."""

    def __init__(
        self, session: Session, extractor: Extractor, n_frozen: int, data: Dataset, table: FeatureTable, task: Task
    ) -> None:
        runtime, backbone = extractor.runtime, whole(extractor.backbone)
        self._session, self._runtime, self._backbone, self._n_frozen = session, runtime, backbone, n_frozen
        self._data, self._table = data, table
        self._rows, labels = training_rows(data, table)
        self._task = task
        self._recipe = recipe_of(session.loaded.config, labels, self._task)
        self._mirroring = decide_mirroring(session, extractor, data, table, self._rows)
        self._boundary = plan_boundary(
            session,
            extractor,
            n_frozen,
            mirror=self._mirroring.mirror,
            train=len(self._rows),
            val=len(data.split("val")),
        )
        self._gradient = gradient_of(session)
        self._head, solved = starting_head(self._gradient, data, table, session, width=backbone.feature_size)
        self._batch_norm = self._decide_batch_norm(solved=solved is not None)
        self._model = TrainableModel(backbone, n_frozen, self._head, batch_norm=self._batch_norm).to(runtime.device)
        if runtime.device.type == "cpu" and runtime.precision == "bf16":
            speed_up(self._model)
        self._describe()

    def run(self, run: Run) -> TrainingProgress:
        """Trains, from the snapshot in the run's folder if there is one; the model is left with the best weights.

        Raises:
            Diverged: the loss was not finite; the best weights are in the model.
            Interrupted: a signal came; a snapshot was written.
            EnvironmentFault: what trains cannot be compiled.
        """
        session = self._session

        def save(snapshot: Snapshot) -> None:
            write_snapshot(run.last, snapshot)
            run.write_log(snapshot.progress.log)

        train, val = open_sources(session, self._runtime, self._boundary, self._data, self._table, self._rows)
        spared = self._model.parameters_without_decay()
        groups = parameter_groups(self._model.stage_parameters(), self._head, self._recipe, without_decay=spared)
        resume = read_snapshot(run.last) if run.last.is_file() else None
        with deferred_signals() as stop, _compile_errors():
            model = torch.compile(self._model) if session.loaded.config.train.compile else self._model
            outcome = fit(
                Problem(model, self._task, train, val),
                make_optimizer(groups, self._recipe),
                self._recipe,
                self._runtime,
                Callbacks(session.emit, save, stop, scorer(self._data, self._table)),
                resume=resume,
            )
            if not outcome.finished:
                progress = outcome.progress
                done = (
                    f"in epoch {progress.epoch}, step {progress.step}"
                    if progress.step
                    else f"after epoch {progress.epoch - 1}"
                )
                session.emit(Note(f"saved {done}; --resume continues it"))
        describe_best(outcome.progress, self._recipe.monitor, session)
        return outcome.progress

    def measure(self, progress: TrainingProgress, data: Dataset) -> tuple[Model, Unreadable]:
        """The model as it predicts, measured by the way that `predict` goes; here a test split is read, once.

        Args:
            progress: how the training went.
            data: all images, those of the test split too. Of train at most 2000 are read, spread evenly.

        Returns:
            The model, and the images of all splits that cannot be read.
        """
        config, backbone = self._session.loaded.config, self._backbone
        self._model.eval()
        backbone.network.requires_grad_(False)
        head = self._gradient.export(self._head)
        sha256 = canonical_sha256(backbone.network.state_dict())
        if sha256 != backbone.weights_sha256:
            weights = f"{backbone.weights}, fine-tuned"
            backbone = dataclasses.replace(backbone, weights=weights, weights_sha256=sha256)
        rows = [self._rows[index] for index in evenly(len(self._rows), TRAINING_IMAGES)]
        samples = [self._data.samples[row] for row in rows]
        samples += [sample for sample in data.samples if sample.split != "train"]
        extractor = open_extractor(self._session, backbone, self._runtime, all_of(samples))
        table = compute_table(
            extractor,
            [sample.ref for sample in samples],
            store=FeatureStore(
                self._session.cache, extractor.space, backbone.feature_size, self._session.emit, read_only=True
            ),
            writer=None,
            batch_size=config.loader.batch_size,
            emit=self._session.emit,
        )
        unreadable = unreadable_of(samples, table)
        for row, reason in self._table.errors.items():
            if self._data.samples[row].split == "train":
                unreadable.add(self._data.samples[row].path, reason)
        trust = learn_trust(
            validation_evidence(samples, table, head),
            self._task,
            samples,
            table,
            self._session.emit,
            learned_features=self._n_frozen < len(backbone.stages),
        )
        predictor = Predictor.with_head(extractor, head, self._task, trust)
        measured = with_memory(measure_splits(samples, table, predictor), samples, table, predictor, self._session.emit)
        facts = gradient_facts(self._gradient, config, progress) | training_facts(samples, table, predictor)
        mark_selection(measured.metrics, facts)
        depth = "all" if self._n_frozen == len(backbone.stages) else self._n_frozen
        facts["mirror"] = self._mirroring.mirror
        facts["calibration"] = None if trust.calibration is None else trust.calibration.to_json()
        model = Model(backbone, head, depth, facts, self._task, measured, extractor.engine.name, trust)
        return model, unreadable

    def _decide_batch_norm(self, *, solved: bool) -> str:
        """`train` or `eval`, by the size of the mini-batches.

        Raises:
            ConfigError: `train` was asked for, and a batch has one image.
        """
        n, mode = len(self._rows), self._session.loaded.config.train.batch_norm
        smallest = n // -(-n // self._recipe.batch_size)
        if mode == "train" and smallest < 2:
            raise self._session.loaded.error(
                "train.batch_norm",
                f"train needs two images a batch, and {n} in batches of {self._recipe.batch_size} leave one alone",
                "Change train.batch_size, or use auto.",
            )
        # As configured: an epoch of one image more or less must not switch it.
        return batch_norm_mode(mode, min(n, self._recipe.batch_size), solved=solved)

    def _describe(self) -> None:
        emit, recipe, backbone = self._session.emit, self._recipe, self._backbone
        n, size = len(self._rows), recipe.batch_size
        if size > n:
            emit(Note(f"train.batch_size {size} is more than the {n} training images: an epoch is one batch"))
        names = [stage.name for stage in backbone.stages[self._n_frozen :]]
        stages = f"{names[0]} to {names[-1]}" if len(names) > 1 else "".join(names)
        trained = sum(item.numel() for item in self._model.parameters() if item.requires_grad)
        norm = "of each batch" if self._batch_norm == "train" else "as pretrained"
        emit(
            Fact(
                "train",
                f"{stages + ' and ' if stages else ''}the head, {trained / 1e6:.2g} M parameters; "
                f"{count_text(recipe.epochs, 'epoch')} of {count_text(-(-n // (size * recipe.accumulate)), 'step')}; "
                f"BatchNorm {norm}",
            )
        )
        where = f"after {backbone.stages[self._n_frozen - 1].name}" if self._n_frozen else "the images"
        emit(Fact("boundary", f"{where}, {self._boundary}"))
        emit(Fact("mirror", str(self._mirroring)))


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
