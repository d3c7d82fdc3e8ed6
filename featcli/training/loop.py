"""The one loop that trains by gradient: from inputs to logits, whatever lies between.

Everything that is drawn (the order, dropout, what is mixed) depends on the seed, the epoch and the step alone, never on
what was drawn before: so a training that goes on from a snapshot takes the same steps, bit for bit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from featcli.errors import EnvironmentFault
from featcli.events import EpochEnd, Progress, Warn
from featcli.runtime import Runtime, ask_later, to_device
from featcli.tasks import Task
from featcli.training.ema import MovingAverage
from featcli.training.mixing import mix
from featcli.training.optimizers import set_learning_rate
from featcli.training.problem import Callbacks, Diverged, ExampleSource, Outcome, Problem, Rows
from featcli.training.recipe import Recipe
from featcli.training.state import Snapshot, TrainingProgress, copy_into, optimizer_tensors, restore_optimizer

SAVE_SHARE = 0.05  # of the time, at most, goes into snapshots
MID_EPOCH_SECONDS = 300.0  # snapshots inside an epoch are at least so far apart


def fit(
    problem: Problem,
    optimizer: torch.optim.Optimizer,
    recipe: Recipe,
    runtime: Runtime,
    callbacks: Callbacks,
    *,
    resume: Snapshot | None = None,
) -> Outcome:
    """Trains a module from inputs to outputs, and leaves it with the weights that were best on the validation examples.

    Epoch 0 is the model as it comes: it is validated, reported, and kept if nothing is better. Without validation
    examples the last epoch is kept.

    Args:
        problem: the module, its task and its examples.
        optimizer: over the model's parameters; each group's `initial_lr` is its rate after the warm-up.
        recipe: everything else.
        runtime: device and precision.
        callbacks: what happens around the loop.
        resume: a snapshot of the same training, to go on from.

    Raises:
        Diverged: a loss, gradient or probability is not finite; no such step is taken, the model has its best weights.
        EnvironmentFault: not enough memory on the device, even for one example at a time.
    """
    return _Loop(problem, optimizer, recipe, runtime, callbacks).run(resume)


def epoch_batches(n: int, batch_size: int, seed: int, epoch: int) -> list[Rows]:
    """The rows of each batch of an epoch: all n in a drawn order, in batches whose sizes differ by at most one."""
    order = np.random.default_rng([seed, epoch]).permutation(n)
    return list(np.array_split(order, -(-n // batch_size)))


def predict_examples(model: nn.Module, task: Task, source: ExampleSource, runtime: Runtime) -> NDArray[np.float64]:
    """(N, K) of all examples in their order, in eval mode; every pass has the one padded shape of extraction."""
    size, n = runtime.tile, len(source)
    rows = [np.minimum(np.arange(start, start + size), n - 1) for start in range(0, n, size)]
    model.eval()
    with torch.inference_mode(), runtime.autocast():
        found = [task.link(model(inputs)) for inputs in source.batches(0, rows)]
    return np.asarray(torch.cat(found)[:n].cpu().numpy())


_Checked = tuple[Callable[[], bool], int, Sequence[Rows]]  # is it finite; which step; of which examples


class _Loop:
    """One training; its methods are the parts of `fit`."""

    def __init__(
        self, problem: Problem, optimizer: torch.optim.Optimizer, recipe: Recipe, runtime: Runtime, callbacks: Callbacks
    ) -> None:
        self.model, self.task, self.train, self.val = problem.model, problem.task, problem.train, problem.val
        self.optimizer, self.recipe, self.runtime, self.callbacks = optimizer, recipe, runtime, callbacks
        self.parameters = [item for group in optimizer.param_groups for item in group["params"]]
        self.live: dict[str, Tensor] = self.model.tensors()
        self.best = _copies(self.live)
        self.average = MovingAverage(self.live, recipe.ema) if recipe.ema is not None else None
        self.progress = TrainingProgress()
        self.loss = torch.zeros((), device=runtime.device)
        self.labels = torch.from_numpy(self.train.labels).to(runtime.device)
        weights = recipe.class_weights
        self.criterion = self.task.criterion(
            class_weights=None if weights is None else torch.tensor(weights, device=runtime.device),
            label_smoothing=recipe.label_smoothing,
        )
        self.scaler = runtime.loss_scaler()
        self.late = runtime.is_asynchronous
        self.unchecked: _Checked | None = None
        self.started = time.perf_counter()
        self.saved = self.started
        self.saving_took = 0.0
        steps = -(-len(self.train.source) // recipe.batch_size)
        self.steps_per_epoch = -(-steps // recipe.accumulate)

    def run(self, resume: Snapshot | None) -> Outcome:
        if resume is None:
            self._validate(0, None)
        else:
            self._restore(resume)
            for entry in self.progress.log:
                self._report(entry)
        while self.progress.epoch <= self.recipe.epochs and not self._out_of_patience() and not self._out_of_time():
            if not self._epoch():
                self._save()
                return Outcome(self.progress, finished=False)
            if self._save_is_due(0.0):
                self._save()
        self._save()
        copy_into(self.live, self.best)
        return Outcome(self.progress, finished=True)

    def _epoch(self) -> bool:
        """The rest of an epoch, then validation; False where it was asked to stop."""
        progress, emit = self.progress, self.callbacks.emit
        n, size = len(self.train.source), self.recipe.accumulate
        batches = epoch_batches(n, self.recipe.batch_size, self.recipe.seed, progress.epoch)
        left = batches[progress.step * size :]
        inputs = self.train.source.batches(progress.epoch, left)
        emit(Progress("train", n - sum(map(len, left)), n))
        self.model.train()
        while left:
            rows, left = left[:size], left[size:]
            self._step(rows, [next(inputs) for _ in rows])
            progress.step += 1
            emit(Progress("train", n - sum(map(len, left)), n))
            if left and self.callbacks.stop():
                self._check()
                return False
            if left and self._out_of_time():
                break
            if left and self._save_is_due(MID_EPOCH_SECONDS):
                self._check()
                self._save()
        self._check()
        emit(Progress("train", n, n, finished=True))
        done = n - sum(map(len, left))
        self._validate(progress.epoch, float(self.loss) / done)
        progress.epoch, progress.step = progress.epoch + 1, 0
        self.loss.zero_()
        return not self.callbacks.stop()

    def _step(self, rows: Sequence[Rows], inputs: Sequence[Tensor]) -> None:
        """One step of the optimizer on one or more batches, in parts where memory asks for it."""
        while True:
            try:
                self._gradient(rows, inputs)
                break
            except torch.OutOfMemoryError as error:
                lack = error.with_traceback(None)  # whose frames hold what the failed pass had allocated
            self._divide(max(map(len, rows)), lack)
        progress, recipe = self.progress, self.recipe
        self.scaler.unscale_(self.optimizer)
        clip = recipe.clip_norm if recipe.clip_norm is not None else float("inf")
        norm = nn.utils.clip_grad_norm_(self.parameters, clip)
        self._require_finite(norm, rows)
        number = (progress.epoch - 1) * self.steps_per_epoch + progress.step
        set_learning_rate(self.optimizer, recipe.lr_factor(number, self.steps_per_epoch))
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.loss += self.step_loss * sum(map(len, rows))
        if self.average is not None:
            self.average.update(number)

    def _gradient(self, rows: Sequence[Rows], inputs: Sequence[Tensor]) -> None:
        """Fills in the gradients, and `step_loss`, the mean over all examples of the step."""
        progress, recipe = self.progress, self.recipe
        total = sum(map(len, rows))
        self.optimizer.zero_grad(set_to_none=True)
        self.step_loss = torch.zeros((), device=self.runtime.device)
        draws = np.random.default_rng([recipe.seed, progress.epoch, progress.step])
        torch.manual_seed(int(draws.integers(2**63)))  # dropout and stochastic depth
        for batch, rows_of_batch in zip(inputs, rows, strict=True):
            labels = self.labels[to_device(torch.from_numpy(rows_of_batch), self.labels.device)]
            mixed = mix(batch, mixup=recipe.mixup, cutmix=recipe.cutmix, rng=draws)
            share = 1.0 if mixed is None else mixed.share
            others = labels if mixed is None else labels[mixed.partners]
            whole = batch if mixed is None else mixed.inputs
            parts = (tensor.tensor_split(progress.parts) for tensor in (whole, labels, others))
            for part, own, other in zip(*parts, strict=True):
                if not len(part):  # more parts than images
                    continue
                with self.runtime.autocast():
                    logits = self.model(part)
                loss = self.criterion(logits.float(), own) * (share / total)
                if mixed is not None:
                    loss = loss + self.criterion(logits.float(), other) * ((1 - share) / total)
                torch.autograd.backward(self.scaler.scale(loss))
                self.step_loss += loss.detach()

    def _require_finite(self, norm: Tensor, rows: Sequence[Rows]) -> None:
        """Lets the optimizer skip a step that is not finite, and raises: at once, or (late) when the next step comes.

        Asking a GPU whether a number is finite waits for all that it was given to do; a step later it has the answer.
        """
        # Under loss scaling a gradient may overflow: the scaler skips that step, and only the loss itself tells.
        finite = torch.isfinite(self.step_loss)
        if not self.scaler.is_enabled():
            finite = finite & torch.isfinite(norm)
            if self.late:
                vars(self.optimizer)["found_inf"] = (~finite).float()  # fused optimizers then leave all as it is
        earlier, self.unchecked = self.unchecked, (ask_later(finite), self.progress.step, rows)
        if not self.late:
            self._check()
        elif earlier is not None:
            self._check(earlier)

    def _check(self, step: _Checked | None = None) -> None:
        """Raises Diverged if a step was not finite: the one given, else the latest, if nobody asked yet."""
        if step is None:
            step, self.unchecked = self.unchecked, None
        if step is None or step[0]():
            return
        _, number, rows = step
        raise self._diverged(
            f"step {number + 1} of {self.steps_per_epoch}: the loss or its gradient is not a finite "
            f"number; the images of the step: {_listed(self.train.source.names(np.concatenate(list(rows))))}",
            "The step was not taken. ",
        )

    def _diverged(self, what: str, consequence: str = "") -> Diverged:
        """The error; the model has its best weights again."""
        copy_into(self.live, self.best)
        return Diverged(
            f"training diverged in epoch {self.progress.epoch}, {what}",
            f"{consequence}Try a smaller train.lr, a longer train.warmup_epochs, or fp32.",
            self.progress,
        )

    def _divide(self, largest: int, error: Exception) -> None:
        """Halves the parts that a batch goes through the network in."""
        parts = self.progress.parts * 2
        if self.progress.parts >= largest:
            raise EnvironmentFault(
                "not enough memory on the device to train on one image at a time", "Freeze more stages."
            ) from error
        self.progress.parts = parts
        self.runtime.free_memory()
        self.callbacks.emit(
            Warn(f"not enough memory on the device: each batch goes through the model in {parts} parts")
        )

    def _validate(self, epoch: int, loss: float | None) -> None:
        """Scores the model, or its average, logs the epoch and keeps the weights if they are the best."""
        progress = self.progress
        kept = self.average.tensors if self.average is not None else self.live
        trained = _copies(self.live) if self.average is not None else None
        if self.average is not None:
            copy_into(self.live, kept)
        scores: Mapping[str, Any] = {}
        if len(self.val.source):
            scores = self._scores()
        value = scores.get(self.recipe.monitor)
        better = value is None or self._improves(value)
        if better:
            progress.best_epoch, progress.best_value = epoch, value
            self.best = _copies(self.live)
        if trained is not None:
            copy_into(self.live, trained)
        progress.log.append(
            {"event": "epoch", "epoch": epoch, "lr": self._rate() if epoch else None, "loss": loss, "best": better}
            | {f"val_{name}": scores.get(name) for name in self.task.logged}
        )
        self._report(progress.log[-1])

    def _improves(self, value: float) -> bool:
        best = self.progress.best_value
        return best is None or self.task.improves(self.recipe.monitor, value, best)

    def _scores(self) -> Mapping[str, Any]:
        """The metrics of the validation examples."""
        probabilities = predict_examples(self.model, self.task, self.val.source, self.runtime)
        lost = np.flatnonzero(~np.isfinite(probabilities).all(axis=1))
        if len(lost):
            raise self._diverged(
                f"after its last step: non-finite predictions for {len(lost)} validation images: "
                f"{_listed(self.val.source.names(lost))}"
            )
        return self.callbacks.score(probabilities)

    def _rate(self) -> float:
        return max(float(group["lr"]) for group in self.optimizer.param_groups)

    def _report(self, entry: Mapping[str, Any]) -> None:
        metrics = {name: entry[f"val_{name}"] for name in self.task.logged}
        facts = entry["epoch"], self.recipe.epochs, entry["lr"], entry["loss"]
        self.callbacks.emit(EpochEnd(*facts, metrics, entry["best"], self.task.shown))

    def _out_of_patience(self) -> bool:
        patience = self.recipe.patience
        return patience is not None and self.progress.epoch - 1 - self.progress.best_epoch >= patience

    def _seconds(self) -> float:
        return self.progress.seconds + time.perf_counter() - self.started

    def _out_of_time(self) -> bool:
        return self.recipe.time_limit is not None and self._seconds() >= self.recipe.time_limit

    def _save_is_due(self, at_least: float) -> bool:
        return time.perf_counter() - self.saved >= max(at_least, self.saving_took / SAVE_SHARE)

    def _save(self) -> None:
        start = time.perf_counter()
        tensors = {f"model.{name}": tensor for name, tensor in self.live.items()}
        tensors |= {f"best.{name}": tensor for name, tensor in self.best.items()}
        tensors |= {f"optimizer.{name}": tensor for name, tensor in optimizer_tensors(self.optimizer).items()}
        if self.average is not None:
            tensors |= {f"average.{name}": tensor for name, tensor in self.average.tensors.items()}
        if self.scaler.is_enabled():
            scaler = self.scaler.state_dict()
            tensors |= {f"scaler.{name}": torch.tensor(value) for name, value in scaler.items()}
        tensors["loss"] = self.loss
        self.callbacks.save(Snapshot(replace(self.progress, seconds=self._seconds()), tensors))
        self.saved = time.perf_counter()
        self.saving_took = self.saved - start

    def _restore(self, snapshot: Snapshot) -> None:
        self.progress = snapshot.progress
        copy_into(self.live, snapshot.part("model."))
        best = snapshot.part("best.")
        copy_into(self.best, best)
        restore_optimizer(self.optimizer, snapshot.part("optimizer."))
        if self.average is not None:
            copy_into(self.average.tensors, snapshot.part("average."))
        if self.scaler.is_enabled():
            self.scaler.load_state_dict({name: value.item() for name, value in snapshot.part("scaler.").items()})
        self.loss.copy_(snapshot.tensors["loss"])


def _copies(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in tensors.items()}


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
