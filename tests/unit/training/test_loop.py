from __future__ import annotations

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from featcli.errors import CheckpointError, EnvironmentFault
from featcli.events import EpochEnd, Event, Warn
from featcli.runtime import Runtime
from featcli.tasks import Multiclass
from featcli.tasks.multiclass import balanced_weights
from featcli.training import loop
from featcli.training.boundary import FeatureExamples
from featcli.training.loop import epoch_batches, fit, predict_examples
from featcli.training.optimizers import make_optimizer, parameter_groups
from featcli.training.problem import Diverged, Labelled, Problem
from featcli.training.state import read_snapshot, write_snapshot
from featcli.training.trainable import TrainableHead
from tests.unit.training.lab import CPU, TASK, Net, Watch, images, recipe, same, score, train

pytestmark = pytest.mark.usefixtures("one_thread")


HARD: dict[str, dict[str, Any]] = {
    "adamw with everything": {
        "optimizer": "adamw",
        "weight_decay": 0.1,
        "ema": 0.9,
        "mixup": 0.4,
        "cutmix": 0.4,
        "label_smoothing": 0.1,
        "accumulate": 2,
    },
    "sgd with momentum": {"optimizer": "sgd", "lr": 0.05, "clip_norm": 0.5, "mixup": 0.4},
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", HARD)
def test_resumed_after_any_step_it_ends_in_the_same_bits(kind: str, tmp_path: Path) -> None:
    """Promise 5: weights, optimizer, averages and log; with dropout, BatchNorm and convolutions in channels_last."""
    chosen = recipe(epochs=3, schedule="cosine", warmup_epochs=0.5, **HARD[kind])

    def net() -> Net:
        return Net(batch_norm=True, dropout=0.5)

    undisturbed, whole = net(), Watch()
    ended = train(undisturbed, chosen, watch=whole)
    assert ended.finished
    assert whole.steps == 3 * (3 if chosen.accumulate == 2 else 5)
    for stop_after in range(1, whole.steps + 1):
        stopped = Watch(stop_after)
        assert not train(net(), chosen, watch=stopped).finished
        assert stopped.steps == stop_after
        write_snapshot(tmp_path / "last.safetensors", stopped.saved[-1])
        model, rest = net(), Watch()
        torch.manual_seed(99)  # another process has another generator
        outcome = train(model, chosen, watch=rest, resume=read_snapshot(tmp_path / "last.safetensors"))
        assert outcome.finished
        assert stop_after + rest.steps == whole.steps
        assert same(model.tensors(), undisturbed.tensors())
        assert same(rest.saved[-1].tensors, whole.saved[-1].tensors)
        assert outcome.progress.log == ended.progress.log
        assert (outcome.progress.best_epoch, outcome.progress.epoch) == (ended.progress.best_epoch, 4)


def test_a_resumed_training_repeats_the_table() -> None:
    stopped, rest, whole = Watch(3), Watch(), Watch()
    chosen = recipe(batch_size=9)
    train(Net(), chosen, watch=whole)
    train(Net(), chosen, watch=stopped)
    train(Net(), chosen, watch=rest, resume=stopped.saved[-1])
    assert rows(rest.events) == rows(whole.events)
    assert len(rows(whole.events)) == 3


def rows(events: Sequence[Event]) -> list[EpochEnd]:
    return [event for event in events if isinstance(event, EpochEnd)]


def test_a_snapshot_of_another_model_is_refused() -> None:
    stopped = Watch(1)
    train(Net(), recipe(), watch=stopped)
    with pytest.raises(CheckpointError, match="of another model"):
        train(Net(classes=4), recipe(), resume=stopped.saved[-1])


def with_nan(n: int, row: int) -> Labelled:
    data = images(n, 1)
    (pixels,) = data.source.batches(0, [np.arange(n)])
    spoiled = np.array(pixels.numpy())
    spoiled[row, 0, 0, 0] = np.nan
    return Labelled(FeatureExamples(spoiled, data.source.names(np.arange(n)), CPU), data.labels)


def test_a_loss_that_is_no_number_stops_before_the_step() -> None:
    chosen = recipe(epochs=2, batch_size=3)
    step = next(number for number, batch in enumerate(epoch_batches(18, 3, 0, 1)) if 7 in batch)
    assert step > 0
    model, watch = Net(), Watch()
    before = model.copies()
    with pytest.raises(Diverged) as caught:
        train(model, chosen, data=with_nan(18, 7), watch=watch)
    assert caught.value.message.startswith(f"training diverged in epoch 1, step {step + 1} of 6: the loss or its ")
    assert "1-7.png" in caught.value.message
    assert caught.value.message.count(".png") == 3
    assert caught.value.exit_code == 2
    assert watch.steps == step
    assert caught.value.progress.best_epoch == 0
    assert same(model.tensors(), before)


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_on_a_gpu_such_a_step_is_skipped_there_and_told_one_step_later(
    monkeypatch: pytest.MonkeyPatch, optimizer: str
) -> None:
    monkeypatch.setattr(Runtime, "is_asynchronous", True)
    chosen = recipe(batch_size=3, optimizer=optimizer)
    step = next(number for number, batch in enumerate(epoch_batches(18, 3, 0, 1)) if 7 in batch)
    model, watch, seen = Net(), Watch(), []
    watch.stop = lambda: seen.append(model.copies())  # type: ignore[method-assign,assign,return-value]
    with pytest.raises(Diverged, match=f"epoch 1, step {step + 1} of 6: .*1-7.png"):
        train(model, chosen, data=with_nan(18, 7), watch=watch)
    assert len(seen) == min(step + 1, 5)
    assert same(seen[step], seen[step - 1])
    assert not same(seen[step - 1], seen[step - 2])
    undisturbed = Watch()
    told_late, at_once = Net(), Net()
    train(told_late, chosen, watch=undisturbed)
    monkeypatch.setattr(Runtime, "is_asynchronous", False)
    train(at_once, chosen)
    assert same(told_late.tensors(), at_once.tensors())


class Steep(Net):
    """Its loss is a number, and its gradient is not."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs) + (self.head.bias - self.head.bias.detach()).sqrt()


def test_a_gradient_that_is_no_number_stops_before_the_step() -> None:
    model = Steep()
    before = model.copies()
    with pytest.raises(Diverged, match="epoch 1, step 1 of 5: the loss or its gradient is not a finite number"):
        train(model, recipe(lr=0.0))
    assert same(model.tensors(), before)


def test_a_long_list_of_images_is_cut() -> None:
    with pytest.raises(Diverged, match=r"-\d+\.png and 14 more\n") as caught:
        train(Net(), recipe(batch_size=18), data=with_nan(18, 7))
    assert caught.value.hint is not None
    assert caught.value.hint.startswith("The step was not taken. Try a smaller train.lr")


def test_a_model_that_diverges_in_its_last_step_is_told_by_the_validation() -> None:
    model, watch = Net(), Watch()
    before = model.copies()
    with pytest.raises(Diverged, match=r"epoch 1, after its last step: .* 9 validation images: 2-0\.png, ") as caught:
        train(model, recipe(optimizer="sgd", lr=1e30, batch_size=18), watch=watch)
    assert same(model.tensors(), before)
    assert [entry["epoch"] for entry in caught.value.progress.log] == [0]


class Hungry(Net):
    """Has no memory for more than so many examples at once, while it trains."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self.most = most
        self.refused = 0

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training and len(inputs) > self.most:
            self.refused += 1
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(inputs)


@pytest.mark.parametrize(("most", "parts"), [(3, 2), (1, 8)])
def test_out_of_memory_divides_the_batch_and_changes_nothing_else(most: int, parts: int) -> None:
    chosen = recipe(batch_size=6, mixup=0.3, label_smoothing=0.1, optimizer="sgd")
    whole, divided, watch = Net(), Hungry(most), Watch()
    train(whole, chosen, val=nothing())  # the last epoch is kept
    train(divided, chosen, val=nothing(), watch=watch)
    for name, tensor in whole.tensors().items():
        torch.testing.assert_close(divided.tensors()[name], tensor, rtol=0, atol=1e-5)
    said = [event.text for event in watch.events if isinstance(event, Warn)]
    assert said[-1] == f"not enough memory on the device: each batch goes through the model in {parts} parts"
    assert len(said) == divided.refused == math.log2(parts)  # once and for all
    assert watch.saved[-1].progress.parts == parts


def test_out_of_memory_with_one_image_ends_it() -> None:
    with pytest.raises(EnvironmentFault, match="not enough memory on the device to train on one image"):
        train(Hungry(0), recipe())


def test_gradients_of_two_batches_make_the_step_of_one_twice_as_large() -> None:
    whole, accumulated = Net(), Net()
    data = images(16, 1)
    a, b = Watch(), Watch()
    train(whole, recipe(batch_size=8, lr=0.003), data=data, val=nothing(), watch=a)
    train(accumulated, recipe(batch_size=4, accumulate=2, lr=0.003), data=data, val=nothing(), watch=b)
    assert a.steps == b.steps == 4
    for name, tensor in whole.tensors().items():
        torch.testing.assert_close(accumulated.tensors()[name], tensor, rtol=0, atol=1e-6)


def test_the_last_step_of_an_epoch_weighs_its_examples_equally() -> None:
    """Five batches, two a step: the third step has one batch, and its gradient is that of a mean all the same."""
    model = Net()
    chosen = recipe(epochs=1, batch_size=4, accumulate=2, optimizer="sgd", lr=0.01)
    reference = Net()
    optimizer = torch.optim.SGD(reference.parameters(), lr=0.01, momentum=0.9, nesterov=True)
    data = images(18, 1)
    batches = epoch_batches(18, 4, 0, 1)
    for pair in (batches[0:2], batches[2:4], batches[4:5]):
        together = np.concatenate(pair)
        (inputs,) = data.source.batches(1, [together])
        optimizer.zero_grad()
        F.cross_entropy(reference(inputs), torch.from_numpy(data.labels[together])).backward()
        optimizer.step()
    train(model, chosen, data=data, val=nothing())
    for name, tensor in reference.tensors().items():
        torch.testing.assert_close(model.tensors()[name], tensor, rtol=0, atol=1e-6)


def nothing() -> Labelled:
    return Labelled(FeatureExamples(np.zeros((0, 3, 6, 6), np.float32), [], CPU), np.zeros(0, np.int64))


def test_without_validation_images_the_last_epoch_is_kept() -> None:
    model, watch = Net(), Watch()
    outcome = train(model, recipe(epochs=3), val=nothing(), watch=watch)
    assert (outcome.progress.best_epoch, outcome.progress.best_value) == (3, None)
    assert same(model.tensors(), watch.saved[-1].part("model."))
    assert [entry["val_accuracy"] for entry in outcome.progress.log] == [None] * 4


def values(*by_epoch: dict[str, float]) -> Any:
    """A score that says this of epochs 0, 1, ... whatever the model."""
    left = iter(by_epoch)
    return lambda probabilities: {"macro_f1": 0.5} | next(left)


ROUGH = [
    {"accuracy": 0.5, "log_loss": 0.9},
    {"accuracy": 0.8, "log_loss": 0.7},
    {"accuracy": 0.8, "log_loss": 0.4},
    {"accuracy": 0.6, "log_loss": 0.6},
]


@pytest.mark.parametrize(
    ("monitor", "best", "value"), [("accuracy", 1, 0.8), ("log_loss", 2, 0.4), ("macro_f1", 0, 0.5)]
)
def test_the_monitored_metric_chooses_the_epoch(monitor: str, best: int, value: float) -> None:
    """The first of equals; and its weights are what the model is left with."""
    model, watch = Net(), Watch()
    outcome = train(model, recipe(epochs=3, monitor=monitor), watch=watch, scorer=values(*ROUGH))
    assert (outcome.progress.best_epoch, outcome.progress.best_value) == (best, value)
    shorter = Net()
    stopped = Watch(5 * best) if best else Watch()
    train(shorter, recipe(epochs=max(best, 1), monitor=monitor), watch=stopped, scorer=values(*ROUGH))
    expected = stopped.saved[-1].part("model.") if best else Net().tensors()
    assert same(model.tensors(), expected)
    assert [row.best for row in rows(watch.events)] == [bool(entry["best"]) for entry in outcome.progress.log]


def test_patience_ends_it() -> None:
    watch = Watch()
    outcome = train(Net(), recipe(epochs=9, patience=2), watch=watch, scorer=values(*ROUGH))
    assert outcome.finished
    assert [entry["epoch"] for entry in outcome.progress.log] == [0, 1, 2, 3]
    assert outcome.progress.best_epoch == 1


class Slow(Net):
    def forward(self, inputs: Tensor) -> Tensor:
        time.sleep(0.02 * self.training)
        return super().forward(inputs)


def test_a_time_limit_ends_an_epoch_early_and_keeps_the_best() -> None:
    model, watch = Slow(), Watch()
    outcome = train(model, recipe(epochs=50, batch_size=1, time_limit=0.1, optimizer="sgd"), watch=watch)
    assert outcome.finished
    assert watch.steps < 18
    assert [entry["epoch"] for entry in outcome.progress.log] == [0, 1]
    assert 0 < outcome.progress.log[1]["loss"] < 10  # the mean of the examples that were seen
    assert same(model.tensors(), watch.saved[-1].part("best."))


def test_the_seconds_of_earlier_parts_count() -> None:
    stopped, rest = Watch(5), Watch()
    train(Slow(), recipe(epochs=50, time_limit=60.0), watch=stopped)
    snapshot = stopped.saved[-1]
    assert 0.1 <= snapshot.progress.seconds < 30
    snapshot.progress.seconds = 61.0
    outcome = train(Slow(), recipe(epochs=50, time_limit=60.0), watch=rest, resume=snapshot)
    assert (outcome.finished, rest.steps) == (True, 0)


def test_a_snapshot_is_written_after_epochs_and_inside_long_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    watch = Watch()
    monkeypatch.setattr(loop, "SAVE_SHARE", 1e9)
    train(Net(), recipe(), watch=watch)
    assert [(saved.progress.epoch, saved.progress.step) for saved in watch.saved] == [(2, 0), (3, 0), (3, 0)]
    monkeypatch.setattr(loop, "MID_EPOCH_SECONDS", 0.0)
    often = Watch()
    train(Net(), recipe(epochs=1), watch=often)
    assert [saved.progress.step for saved in often.saved] == [1, 2, 3, 4, 0, 0]


def test_snapshots_take_a_small_share_of_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "SAVE_SHARE", 1e-9)
    watch = Watch()
    train(Net(), recipe(epochs=4), watch=watch)
    assert [saved.progress.epoch for saved in watch.saved] == [2, 5]  # the first tells how long one takes; the end


@pytest.mark.parametrize(("n", "size"), [(10, 4), (1, 8), (17, 4), (8, 8), (33, 32), (7, 1)])
def test_an_epoch_reads_each_row_once_in_batches_of_equal_size(n: int, size: int) -> None:
    batches = epoch_batches(n, size, seed=0, epoch=1)
    assert sorted(np.concatenate(batches).tolist()) == list(range(n))
    sizes = [len(batch) for batch in batches]
    assert max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1
    assert len(batches) == -(-n // size)


def test_the_order_depends_on_seed_and_epoch_alone() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        found: list[int] = np.concatenate(epoch_batches(50, 8, seed, epoch)).tolist()
        return found

    assert order(0, 1) == order(0, 1)
    assert len({tuple(order(*pair)) for pair in ((0, 1), (0, 2), (1, 1), (1, 0))}) == 4


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weights", [None, (0.5, 1.0, 1.5)])
def test_the_loss_of_an_epoch_of_one_batch_is_the_mean_of_weighted_losses(
    smoothing: float, weights: tuple[float, ...] | None
) -> None:
    data, model = images(18, 1), Net()
    (inputs,) = data.source.batches(0, [np.arange(18)])
    outcome = train(Net(), recipe(epochs=1, batch_size=18, label_smoothing=smoothing, class_weights=weights), data=data)
    labels = torch.from_numpy(data.labels)
    losses = F.cross_entropy(model(inputs), labels, label_smoothing=smoothing, reduction="none").detach()
    expected = float((losses * torch.tensor(weights or (1.0, 1.0, 1.0))[labels]).mean())
    assert outcome.progress.log[1]["loss"] == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_balanced_weights_with_smoothing_learn_both_of_two_uneven_classes(smoothing: float) -> None:
    """200 common images to 4 rare ones: smoothing took the accuracy to 0.02 once."""
    random = np.random.default_rng(0)
    labels = np.array([0] * 200 + [1] * 4)
    features = random.normal(size=(204, 8)).astype(np.float32)
    features[:, 0] += np.where(labels == 1, 4.0, -4.0)
    examples = Labelled(FeatureExamples(features, [str(row) for row in range(204)], CPU), labels)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        head = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
    chosen = recipe(epochs=20, batch_size=32, label_smoothing=smoothing, class_weights=balanced_weights(labels, 2))
    outcome = fit(
        Problem(TrainableHead(head), Multiclass(("common", "rare")), examples, examples),
        make_optimizer(parameter_groups([], head, chosen), chosen),
        chosen,
        CPU,
        Watch().callbacks(score(labels, 2)),
    )
    assert outcome.progress.log[-1]["val_macro_f1"] > 0.95


def test_a_mixed_loss_is_the_mixture_of_both_targets() -> None:
    data = images(18, 1)
    outcome = train(Net(), recipe(epochs=1, batch_size=18, mixup=1.0, seed=5), data=data)
    (rows_of_batch,) = epoch_batches(18, 18, 5, 1)
    (inputs,) = data.source.batches(1, [rows_of_batch])
    draws = np.random.default_rng([5, 1, 0])
    draws.integers(2**63)
    share = draws.beta(1.0, 1.0)
    partners = draws.permutation(18)
    logits = Net()(share * inputs + (1 - share) * inputs[partners])
    targets = F.one_hot(torch.from_numpy(data.labels[rows_of_batch]), 3).float()
    expected = F.cross_entropy(logits, share * targets + (1 - share) * targets[partners])
    assert outcome.progress.log[1]["loss"] == pytest.approx(float(expected.detach()), rel=1e-5)


def test_a_gradient_is_clipped_to_its_norm() -> None:
    """With SGD and no momentum yet, the first step is the gradient times rate x (1 + momentum)."""

    def moved(clip: float | None) -> float:
        model = Net()
        before = model.copies()
        train(
            model,
            recipe(epochs=1, batch_size=18, optimizer="sgd", lr=1e-3, clip_norm=clip),
            val=nothing(),
        )
        squares = [(model.tensors()[name] - before[name]).square().sum() for name in before]
        return float(torch.stack(squares).sum().sqrt())

    free = moved(None) / 1.9e-3
    assert free > 0.05
    assert moved(0.05) / 1.9e-3 == pytest.approx(0.05, rel=1e-3)
    assert moved(free * 2) == pytest.approx(moved(None), rel=1e-6)


def test_the_average_is_validated_and_kept_and_the_live_weights_go_on() -> None:
    model, watch = Net(batch_norm=True), Watch()
    outcome = train(model, recipe(epochs=3, ema=0.9, monitor="log_loss"), watch=watch)
    last = watch.saved[-1]
    assert outcome.progress.best_epoch == 3
    assert same(last.part("best."), last.part("average."))
    assert same(model.tensors(), last.part("best."))
    plain = Watch()
    train(Net(batch_norm=True), recipe(epochs=3, monitor="log_loss"), watch=plain)
    assert same(last.part("model."), plain.saved[-1].part("model."))
    probabilities = predict_examples(model, TASK, images(9, 2).source, CPU)
    found = score(images(9, 2).labels)(probabilities)["log_loss"]
    assert found == outcome.progress.log[3]["val_log_loss"]


def test_probabilities_are_those_of_the_rows_in_their_order() -> None:
    source, model = images(21, 4).source, Net(batch_norm=True, dropout=0.5)
    (inputs,) = source.batches(0, [np.arange(21)])
    found: NDArray[np.float64] = predict_examples(model, TASK, source, CPU)
    with torch.inference_mode():
        expected = model.eval()(inputs).double().softmax(1)
    assert found.shape == (21, 3)
    np.testing.assert_allclose(found, expected.numpy(), atol=1e-6)


def test_the_log_is_one_entry_an_epoch() -> None:
    chosen = recipe(epochs=3, schedule="cosine", warmup_epochs=1.0, layer_decay=0.5)
    outcome = train(Net(), chosen)
    log = outcome.progress.log
    assert [(entry["event"], entry["epoch"]) for entry in log] == [("epoch", number) for number in range(4)]
    assert (log[0]["lr"], log[0]["loss"]) == (None, None)
    assert [entry["lr"] for entry in log[1:]] == [
        pytest.approx(0.01 * chosen.lr_factor(number * 5 - 1, 5)) for number in (1, 2, 3)
    ]
    assert set(log[0]) == {"event", "epoch", "lr", "loss", "best", "val_accuracy", "val_macro_f1", "val_log_loss"}


def test_it_learns() -> None:
    outcome = train(Net(batch_norm=True), recipe(epochs=15, lr=0.02, monitor="log_loss"))
    assert outcome.progress.log[0]["val_accuracy"] < 0.7
    assert max(entry["val_accuracy"] for entry in outcome.progress.log) >= 0.88
    assert outcome.progress.log[-1]["loss"] < 0.5 * outcome.progress.log[1]["loss"]


def test_torchs_generator_decides_nothing() -> None:
    found = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        model = Net(dropout=0.5)
        train(model, recipe(mixup=0.5), val=nothing())
        found.append(model.copies())
    assert same(*found)
