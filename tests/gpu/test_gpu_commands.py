"""The command line on the device, as a process of its own."""

from __future__ import annotations

import importlib.util
import shutil
import signal
import sysconfig
import time
from pathlib import Path

import pytest
import torch

from tests.cli.lab import SMALL, read_csv, strict_json
from tests.gpu.device import DEVICE, ON_CUDA
from tests.gpu.lab import DeviceLab, runs_that_differ, runtime, saved, tensors_that_differ, trainee, untrained
from tests.process import Finished

LEARN = ("--set", "head.init=random", "--set", "train.monitor=log_loss", "--set", "train.lr=1e-3")


def sets(*pairs: str) -> tuple[str, ...]:
    return tuple(part for pair in pairs for part in ("--set", pair))


# What is trained: in each precision, and all options of the loop in one or the other.
KINDS = {
    "fp32": (),
    "bf16": sets(
        "precision=bf16",
        "train.optimizer=sgd",
        "train.lr=0.01", "train.ema=0.9", "train.mixup=0.3", "train.cutmix=0.3", "train.accumulate=2",
        "head.kind=mlp", "head.dropout=0.2", "train.batch_norm=train",
    ),
    "fp16": sets("precision=fp16", "train.batch_norm=train"),
}  # fmt: skip
if not ON_CUDA:
    del KINDS["fp16"]  # which a CPU refuses
RECOMPUTED = sets("train.cache_limit=1kB")

# Every step leaves a snapshot; in step {k} something happens.
AT_STEP = """
import os, signal, time
from pathlib import Path
from featcli.training import loop

loop.SAVE_SHARE, loop.MID_EPOCH_SECONDS = 1e9, 0.0
step, calls = loop._Loop._step, []

def disturbed(self, *arguments):
    calls.append(1)
    step(self, *arguments)
    if len(calls) == {k}:
        {what}

loop._Loop._step = disturbed
"""
KILL = "os.kill(os.getpid(), signal.SIGKILL)"
WAIT = "Path('stuck').touch(); [time.sleep(0.01) for _ in range(500) if not Path('signalled').exists()]"


def ended_well(done: Finished) -> Finished:
    assert done.code == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def tuned(lab: DeviceLab) -> DeviceLab:
    """Trainings that nothing disturbs, with kept (`fp32`) and with recomputed boundary tensors (`fp32-recomputed`)."""
    runs = {}
    for kind, chosen in KINDS.items():
        for output, extra in ((kind, ()), (f"{kind}-recomputed", RECOMPUTED)):
            runs[output] = lab.start_finetune(*LEARN, *chosen, *extra, "--cache", f"cache-{output}", output=output)
    lab.done = {output: run.wait(300) for output, run in runs.items()}
    return lab


@pytest.fixture(scope="module")
def headed(lab: DeviceLab) -> Finished:
    """How training a head on features of the device went; its run is `head`."""
    return lab.train("--cache", "cache-head", output="head")


def test_doctor_lists_the_device(lab: DeviceLab) -> None:
    done = ended_well(lab("doctor", device=None))
    expected = f"cuda:0 {torch.cuda.get_device_name(0)}" if ON_CUDA else "cpu"
    assert expected in done.text
    assert "Traceback" not in done.stderr


def test_a_device_that_is_not_there_is_told_with_those_that_are(lab: DeviceLab) -> None:
    done = lab.train("--dry-run", output="nowhere", device="cuda:7")
    assert done.code == 4, done.stderr
    assert "error: device 'cuda:7' is not available" in done.stderr
    assert "This machine has: cpu" in done.stderr
    assert not ON_CUDA or "cuda:0" in done.stderr


@pytest.mark.parametrize("command", ["train-head", "finetune"])
def test_check_prints_the_plan(lab: DeviceLab, command: str) -> None:
    done = ended_well(lab("check", "--for", command, *SMALL, *sets("data.root=photos", "backbone.freeze_depth=4")))
    assert f"  device      {DEVICE} fp32, " in done.text


def test_the_time_of_a_training_is_estimated_as_it_is(lab: DeviceLab) -> None:
    """Work that was only queued is not work that is done: the estimate must wait for the device."""
    settings = sets(
        "backbone.name=vit_b_16", "backbone.weights=none", "backbone.freeze_depth=none", "train.epochs=1000"
    )
    done = ended_well(lab("check", "--for", "finetune", *settings, "--set", "data.root=photos", "--json"))
    training = strict_json(done.text)["training"]
    images = sum(strict_json(done.text)["splits"]["counts"]["train"])
    estimated = training["estimated_seconds"] / 1000 / images
    _, model = trainee("vit_b_16", 0)
    size = runtime().tile
    inputs = torch.zeros(size, 3, 224, 224, device=DEVICE)
    for _ in range(3):
        start = time.perf_counter()
        model(inputs).logsumexp(1).sum().backward()
        float(model.head[-1].bias.grad.sum())  # type: ignore[index,union-attr]
        measured = (time.perf_counter() - start) / size
    assert 0.5 < estimated / measured < 5, f"estimated {estimated:.5f} s an image, measured {measured:.5f}"


def test_features_of_the_device_and_of_the_cpu_are_not_mixed(lab: DeviceLab, needs_cuda: None) -> None:
    for device, expected in ((DEVICE, "48 computed, 0"), ("cpu", "48 computed, 0"), (DEVICE, "0 computed, 48")):
        extract = ("extract", *SMALL, "photos", "-o", "x.npz", "--cache", "shared-cache")
        done = ended_well(lab(*extract, device=device))
        assert f"features  {expected} from the store\n" in done.stderr, device


def test_a_head_is_solved_on_features_of_the_device(headed: Finished) -> None:
    assert "features  48 computed, 0 from the store" in ended_well(headed).stderr


def test_the_device_reproduces_what_was_validated_there(lab: DeviceLab, headed: Finished) -> None:
    ended_well(headed)
    done = ended_well(lab("evaluate", "head", "--parity", "--cache", "other-cache"))
    assert "note: parity holds: " in done.stderr
    assert "labels differ" not in done.stderr


def test_the_cpu_reproduces_it_but_for_few_labels(lab: DeviceLab, headed: Finished) -> None:
    ended_well(headed)
    done = ended_well(lab("evaluate", "head", "--parity", "--cache", "other-cache", device="cpu"))
    assert "note: parity holds: " in done.stderr
    assert not ON_CUDA or "0 labels differ (predictions.csv) between cuda fp32 and cpu fp32" in done.stderr


@pytest.mark.parametrize("run", ["head", *KINDS])
def test_predict_gives_the_predictions_of_the_run(headed: Finished, tuned: DeviceLab, run: str) -> None:
    """Promise 2, in all digits that are written."""
    precision = run if run in KINDS else "fp32"
    if run in KINDS:
        ended_well(tuned.done[run])
    options = ("--cache", "third-cache", *sets(f"precision={precision}"))
    if run == "head":
        ended_well(headed)
    rows = ended_well(tuned("predict", run, "photos", *options)).rows
    assert len(rows) == 48
    found = {row["path"].split("photos/")[-1]: (row["label"], round(row["confidence"], 6)) for row in rows}
    expected = {
        row["path"].split("photos/")[-1]: (row["label"], round(float(row["confidence"]), 6))
        for row in read_csv(tuned.folder / run / "predictions.csv")
    }
    assert len(expected) >= 4
    assert {path: found[path] for path in expected} == expected


def test_a_head_is_trained_by_gradient_too(lab: DeviceLab) -> None:
    settings = sets("head.kind=mlp", "head.dropout=0.2", "train.epochs=3")
    runs = [lab.start("train-head", *SMALL, *settings, *sets("data.root=photos"), "-o", name) for name in ("m1", "m2")]
    for run in runs:
        ended_well(run.wait())
    assert tensors_that_differ(saved(lab.folder / "m1"), saved(lab.folder / "m2")) == []


@pytest.mark.parametrize("kind", KINDS)
def test_kept_and_recomputed_boundary_tensors_give_the_same_weights(tuned: DeviceLab, kind: str) -> None:
    assert "on disk, computed once" in ended_well(tuned.done[kind]).stderr
    assert "computed in every epoch: " in ended_well(tuned.done[f"{kind}-recomputed"]).stderr
    assert runs_that_differ(tuned.folder / kind, tuned.folder / f"{kind}-recomputed") == []


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_frozen_stays_and_what_is_trained_moves(tuned: DeviceLab, kind: str) -> None:
    assert "tensors of 4 stages are bit for bit what they were" in ended_well(tuned.done[kind]).stderr
    before = {f"backbone.{name}": tensor for name, tensor in untrained("efficientnet_lite0").items()}
    last = saved(tuned.folder / kind, "last.safetensors", "model.network.")
    after = {f"backbone.{name.removeprefix('model.network.')}": tensor for name, tensor in last.items()}
    moved = {line.split(":")[0].split(".")[2] for line in tensors_that_differ(after, {k: before[k] for k in after})}
    assert moved == {"4", "5", "6", "7", "8"}
    checkpoint = saved(tuned.folder / kind, prefix="backbone.")
    frozen = before.keys() - after.keys()
    assert tensors_that_differ({k: checkpoint[k] for k in frozen}, {k: before[k] for k in frozen}) == []
    assert all(torch.isfinite(tensor).all() for tensor in checkpoint.values())


@pytest.mark.parametrize("kind", KINDS)
def test_killed_it_goes_on_to_the_same_bytes(tuned: DeviceLab, kind: str) -> None:
    ended_well(tuned.done[kind])
    settings, output = (*LEARN, *KINDS[kind], "--cache", f"cache-{kind}"), f"{kind}-killed"
    steps = 3 if kind == "bf16" else 6
    killed = tuned.finetune(*settings, output=output, preload=tuned.preload(AT_STEP.format(k=steps, what=KILL)))
    assert killed.code == -9, killed.stderr
    assert (tuned.folder / output / "last.safetensors").is_file()
    ended_well(tuned.finetune(*settings, "--resume", output=output))
    assert runs_that_differ(tuned.folder / output, tuned.folder / kind) == []


def test_a_signal_finishes_the_step_and_saves(tuned: DeviceLab) -> None:
    settings = (*LEARN, "--cache", "cache-fp32")
    run = tuned.start_finetune(*settings, output="stopped", preload=tuned.preload(AT_STEP.format(k=3, what=WAIT)))
    end = time.monotonic() + 100
    while not (tuned.folder / "stuck").exists():
        assert time.monotonic() < end, run.errors()
        time.sleep(0.01)
    run.kill(signal.SIGTERM)
    tuned.write("signalled", "")
    done = run.wait(60)
    assert done.code == 143, done.stderr
    assert "note: saved in epoch 1, step 3; --resume continues it" in done.stderr
    ended_well(tuned.finetune(*settings, "--resume", output="stopped"))
    assert runs_that_differ(tuned.folder / "stopped", tuned.folder / "fp32") == []


@pytest.mark.parametrize("depth", ["none", "4"])
def test_new_variants_in_every_epoch_and_parity_of_what_was_tuned(lab: DeviceLab, depth: str) -> None:
    output = f"light-{depth}"
    ended_well(lab.finetune(*LEARN, *sets("train.augment=light"), depth=depth, output=output))
    done = ended_well(lab("evaluate", output, "--parity", "--cache", "fourth-cache"))
    assert "note: parity holds: " in done.stderr


def test_a_training_that_diverges_leaves_the_best_epoch(lab: DeviceLab) -> None:
    done = lab.finetune(*LEARN, *sets("train.lr=1e30", "train.optimizer=sgd"), output="diverged")
    assert done.code == 2, done.stderr
    assert "error: training diverged in epoch 1, " in done.stderr
    assert "the weights of the best epoch before that are in " in done.stderr
    checkpoint = saved(lab.folder / "diverged")
    assert all(torch.isfinite(tensor).all() for tensor in checkpoint.values())


def test_a_device_without_memory_is_told_in_a_sentence(lab: DeviceLab, needs_cuda: None) -> None:
    little = lab.preload("import torch\ntorch.cuda.set_per_process_memory_fraction(0.0002)\n")
    settings = sets("backbone.name=vit_b_32", "backbone.weights=none", "data.root=photos")
    done = lab("train-head", *settings, "-o", "little", preload=little)
    assert done.code == 4, done.stderr
    assert "error: not enough memory on the device" in done.stderr
    assert "Traceback" not in done.stderr


def test_compiled_it_trains(lab: DeviceLab, tmp_path: Path) -> None:
    if shutil.which("gcc") is None and shutil.which("g++") is None:
        pytest.skip("no C compiler")
    if ON_CUDA and importlib.util.find_spec("triton") is None:
        pytest.skip("no triton")
    if ON_CUDA and not Path(sysconfig.get_paths()["include"], "Python.h").is_file():
        pytest.skip("no Python.h, which triton needs")
    environment = {"TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "inductor"), "TRITON_CACHE_DIR": str(tmp_path / "triton")}
    settings = (*LEARN, *sets("train.compile=true"))
    run = lab.start_finetune(*settings, depth=8, output="compiled", env=environment)
    ended_well(run.wait(300))
    last = saved(lab.folder / "compiled", "last.safetensors", "model.")
    assert all(torch.isfinite(tensor).all() for tensor in last.values())
