"""The loop on the device: late checks, loss scaling, too little memory, no waiting, and the same bits again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from featcli.events import Warn
from featcli.training.loop import epoch_batches
from featcli.training.problem import Diverged
from featcli.training.state import read_snapshot, write_snapshot
from tests.gpu.device import DEVICE, ON_CUDA
from tests.gpu.lab import (
    SyncWatch,
    kept_examples,
    nothing,
    on_device,
    poisoned,
    runtime,
    synchronisations,
    tensors_that_differ,
    train,
    trainee,
    whole_images,
)
from tests.unit.training.lab import Net, Watch, images, recipe

PRECISIONS = ("fp32", "bf16", "fp16")
SKIPS = {"adamw": {"optimizer": "adamw"}, "sgd": {"optimizer": "sgd", "lr": 0.001}}


def assert_near(one: Net, other: Net, tolerance: float) -> None:
    for name, tensor in other.tensors().items():
        difference = (one.tensors()[name].cpu().double() - tensor.cpu().double()).abs()
        allowed = tolerance * (1 + tensor.cpu().double().abs())
        assert (difference <= allowed).all(), f"{name} differs by {float(difference.max()):.1e}"


class Diary(Watch):
    """Copies of the model after every step."""

    def follow(self, model: Net) -> Diary:
        self.model = model
        self.pages: list[dict[str, Tensor]] = []
        return self

    def stop(self) -> bool:
        self.pages.append(self.model.copies())
        return super().stop()


@pytest.mark.parametrize("precision", PRECISIONS)
def test_the_loop_learns_on_the_device(precision: str) -> None:
    model, watch = Net(batch_norm=True), Watch()
    outcome = train(model, recipe(epochs=15, lr=0.02, monitor="log_loss"), runtime(precision), watch=watch)
    assert next(model.parameters()).device.type == torch.device(DEVICE).type
    assert max(entry["val_accuracy"] for entry in outcome.progress.log) >= 0.75
    assert outcome.progress.log[-1]["loss"] < 0.6 * outcome.progress.log[1]["loss"]


@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_an_epoch_is_near_that_of_the_cpu(optimizer: str) -> None:
    """In fp32, with mixing, smoothing, accumulation, weights of classes and an average."""
    rate = {"adamw": 0.001, "sgd": 0.01}[optimizer]
    chosen = recipe(
        epochs=1, optimizer=optimizer, lr=rate, mixup=0.4, cutmix=0.4, label_smoothing=0.1, accumulate=2, ema=0.9,
        class_weights=(0.5, 1.0, 1.5), weight_decay=0.1, clip_norm=0.5,
    )  # fmt: skip
    # Before BatchNorm a bias has no gradient but rounding errors, which AdamW makes steps of.
    here, cpu = (Net(batch_norm=optimizer == "sgd") for _ in range(2))
    train(here, chosen, val=nothing(runtime()))
    train(cpu, chosen, runtime(device="cpu"), val=nothing(runtime(device="cpu")))
    assert_near(here, cpu, 1e-4)


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", SKIPS)
def test_resumed_it_ends_in_the_same_bits(kind: str, precision: str, tmp_path: Path) -> None:
    chosen = recipe(
        epochs=2, mixup=0.4, cutmix=0.4, ema=0.9, accumulate=2, schedule="cosine", warmup_epochs=0.5, **SKIPS[kind]
    )
    whole, stopped, rest = Watch(), Watch(4), Watch()
    undisturbed, model = (Net(batch_norm=True, dropout=0.3) for _ in range(2))
    ended = train(undisturbed, chosen, runtime(precision), watch=whole)
    assert not train(Net(batch_norm=True, dropout=0.3), chosen, runtime(precision), watch=stopped).finished
    write_snapshot(tmp_path / "last.safetensors", stopped.saved[-1])
    torch.manual_seed(99)
    again = read_snapshot(tmp_path / "last.safetensors")
    outcome = train(model, chosen, runtime(precision), watch=rest, resume=again)
    assert tensors_that_differ(rest.saved[-1].tensors, whole.saved[-1].tensors) == []
    assert tensors_that_differ(model.tensors(), undisturbed.tensors()) == []
    assert outcome.progress.log == ended.progress.log


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_step_that_is_not_finite_is_not_taken_and_told(optimizer: str, precision: str) -> None:
    chosen = recipe(batch_size=3, optimizer=optimizer, weight_decay=0.1)
    step = next(number for number, batch in enumerate(epoch_batches(18, 3, 0, 1)) if 7 in batch)
    model = Net()
    before = model.copies()
    diary = Diary().follow(model)
    with pytest.raises(Diverged) as caught:
        train(model, chosen, runtime(precision), data=poisoned(7, runtime(precision)), watch=diary)
    said = caught.value.message
    assert said.startswith(f"training diverged in epoch 1, step {step + 1} of 6: the loss or its gradient is not"), said
    assert "1-7.png" in said
    assert said.count(".png") == 3, said
    assert tensors_that_differ(model.tensors(), before) == [], "the model does not hold its best weights"
    assert caught.value.progress.best_epoch == 0
    taken = len(diary.pages)
    assert taken in ((step + 1, step + 2) if ON_CUDA else (step,))
    if taken > step:
        moved = tensors_that_differ(diary.pages[step], diary.pages[step - 1])
        assert moved == [], "the step was taken on the device"
    if precision != "fp16":  # where a step may overflow at first
        assert tensors_that_differ(diary.pages[step - 1], before), "the step before it was not taken"


def test_the_last_step_of_an_epoch_is_checked_before_the_validation() -> None:
    """18 examples in one batch: the first step is the last."""
    model, watch = Net(), Watch()
    before = model.copies()
    with pytest.raises(Diverged, match=r"epoch 1, step 1 of 1: .*\.png and 14 more"):
        train(model, recipe(batch_size=18), data=poisoned(7, runtime()), watch=watch)
    assert tensors_that_differ(model.tensors(), before) == []
    assert watch.steps == 0


class Steep(Net):
    """Its loss is a number, and its gradient is not."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs) + (self.head.bias - self.head.bias.detach()).sqrt()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_a_gradient_that_is_no_number_stops_too(optimizer: str, precision: str) -> None:
    model = Steep()
    before = model.copies()
    with pytest.raises(Diverged, match="epoch 1, step 1 of 5: the loss or its gradient is not a finite number"):
        train(model, recipe(optimizer=optimizer), runtime(precision))
    assert tensors_that_differ(model.tensors(), before) == []


def test_weights_that_explode_are_told_and_the_best_are_kept() -> None:
    model = Net()
    before = model.copies()
    with pytest.raises(Diverged, match="epoch 1, "):
        train(model, recipe(optimizer="sgd", lr=1e30))
    assert tensors_that_differ(model.tensors(), before) == []


class Loud(Net):
    """Under the first scale of the loss its gradient overflows in half precision; its loss never does."""

    def forward(self, inputs: Tensor) -> Tensor:
        return super().forward(inputs) * 64


@pytest.mark.parametrize("kind", SKIPS)
def test_loss_scaling_skips_steps_that_overflow(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a skipped step leaves uninitialised must not be read by the next: here it is NaN."""
    empty_like = torch.empty_like

    def nan_like(tensor: Any, *arguments: Any, **options: Any) -> Any:
        found = empty_like(tensor, *arguments, **options)
        return found.fill_(torch.nan) if found.is_floating_point() else found

    monkeypatch.setattr(torch, "empty_like", nan_like)
    model, chosen = Loud(), runtime("fp16")
    before = model.copies()
    diary = Diary().follow(model)
    train(model, recipe(epochs=12, batch_size=6, **SKIPS[kind]), chosen, val=nothing(chosen), watch=diary)
    scale = float(diary.saved[-1].tensors["scaler.scale"])
    assert 1 <= scale < 65536, f"the scale is {scale}"
    assert tensors_that_differ(diary.pages[0], before) == [], "the first step overflows, and was taken"
    lost = [name for name, tensor in model.tensors().items() if not torch.isfinite(tensor).all()]
    assert lost == [], "the first step that is taken after a skipped one reads what was never written"
    assert tensors_that_differ(model.tensors(), before), "no step was taken"


class Greedy(Net):
    """Takes 64 MiB of the device for every example, while it trains."""

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training:
            size = (len(inputs), 1 << 24)
            self.ballast = [torch.empty(size, dtype=torch.uint8, device=inputs.device) for _ in range(4)]
        found = super().forward(inputs)
        self.ballast = []
        return found


def test_a_device_without_memory_for_a_batch_gets_it_in_parts(needs_cuda: None) -> None:
    """The allocator's own error: there is room for five examples of eight."""
    chosen = recipe(epochs=1, batch_size=8, optimizer="sgd", lr=0.001)
    whole, divided, watch = Net(), Greedy(), Watch()
    train(whole, chosen, data=on_device(images(16, 1), runtime()), val=nothing(runtime()))
    data = on_device(images(16, 1), runtime())
    torch.cuda.empty_cache()
    total = torch.cuda.get_device_properties(0).total_memory
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 5 * (64 << 20)) / total)
    try:
        train(divided, chosen, data=data, val=nothing(runtime()), watch=watch)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
        torch.cuda.empty_cache()
    said = [event.text for event in watch.events if isinstance(event, Warn)]
    assert said == ["not enough memory on the device: each batch goes through the model in 2 parts"]
    assert watch.saved[-1].progress.parts == 2
    assert_near(divided, whole, 1e-4)


class Hungry(Net):
    """Says that there is no memory for more than three examples at once, while it trains."""

    def forward(self, inputs: Tensor) -> Tensor:
        if self.training and len(inputs) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return super().forward(inputs)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_divided_batch_goes_on_and_is_resumed_divided(precision: str) -> None:
    chosen = recipe(epochs=2, batch_size=6, mixup=0.3)
    whole, stopped, rest = Watch(), Watch(2), Watch()
    undisturbed, model = Hungry(), Hungry()
    train(undisturbed, chosen, runtime(precision), watch=whole)
    train(Hungry(), chosen, runtime(precision), watch=stopped)
    train(model, chosen, runtime(precision), watch=rest, resume=stopped.saved[-1])
    assert [event for event in rest.events if isinstance(event, Warn)] == []
    assert tensors_that_differ(rest.saved[-1].tensors, whole.saved[-1].tensors) == []


def test_a_wait_for_the_device_is_noticed(needs_cuda: None) -> None:
    """That the tests below look at the right thing."""
    value = torch.ones((), device=DEVICE)
    with synchronisations() as found:
        value.item()
    assert len(found) == 1


STEADY: dict[str, tuple[str, dict[str, Any]]] = {
    "plain": ("fp32", {}),
    "bf16 with everything": (
        "bf16",
        {"mixup": 0.4, "cutmix": 0.4, "ema": 0.9, "label_smoothing": 0.1, "class_weights": (0.5, 1.0, 1.5)},
    ),
    "sgd, clipped, accumulated": ("fp32", {"optimizer": "sgd", "clip_norm": 1.0, "accumulate": 2, "lr": 0.001}),
    "fp16": ("fp16", {}),
}


@pytest.mark.parametrize("kind", STEADY)
def test_a_step_on_features_waits_for_nothing(kind: str) -> None:
    precision, changes = STEADY[kind]
    watch = SyncWatch()
    train(Net(batch_norm=True), recipe(epochs=1, batch_size=1, **changes), runtime(precision), watch=watch)
    assert watch.steps >= 8
    assert sorted(set(watch.found)) == [], f"{len(watch.found)} waits in four steps"


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_step_on_kept_boundary_tensors_waits_for_nothing(precision: str, tmp_path: Path) -> None:
    watch, chosen = SyncWatch(), runtime(precision)
    backbone, model = trainee("resnet18", 4, 64)
    data = kept_examples(tmp_path / "photos", backbone, 4, 32, chosen)
    train(model, recipe(epochs=1, lr=1e-4), chosen, data=data, val=nothing(chosen), watch=watch)
    assert watch.steps >= 7
    assert sorted(set(watch.found)) == [], f"{len(watch.found)} waits in four steps"


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", ["efficientnet_lite0", "resnet18", "vit_b_32", "swin_t"])
def test_training_all_of_a_network_twice_gives_the_same_bits(name: str, precision: str) -> None:
    """Pooling, depthwise convolutions and attention have gradients whose order of addition may be left open."""
    chosen, found = runtime(precision), []
    for _ in range(2):
        backbone, model = trainee(name, 0)
        data = whole_images(backbone, 24, chosen)
        train(model, recipe(epochs=1, batch_size=8, lr=1e-4), chosen, data=data, val=nothing(chosen))
        found.append({key: tensor.clone() for key, tensor in model.tensors().items()})
    differ = tensors_that_differ(*found)
    assert differ[:5] == [], f"{len(differ)} of {len(found[0])} tensors differ"
