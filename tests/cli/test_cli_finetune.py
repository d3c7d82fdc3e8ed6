"""`featcli finetune`: exit code, stdout, stderr, the run folder, and going on after any kind of end."""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from featcli.backbones.weights import load_backbone
from featcli.events import ignore
from tests.cli.lab import RUN_FILES, TUNED_FILES, Lab, head_of, is_complete, names, read_csv, strict_json, tree
from tests.process import ForkServer, Running

pytestmark = pytest.mark.slow

# The real weights, from a random head: the last epoch is the best, so that what is kept was trained.
LEARN = (
    *("--set", "backbone.weights=DEFAULT", "--set", "head.init=random"),
    *("--set", "train.monitor=log_loss", "--set", "train.lr=1e-3"),
)
STAGES = "stem, stage1, stage2, stage3, stage4, stage5, stage6, stage7, top"
DEPTHS = {"none": 0, "4": 4, "stage5": 6, "all": 9}
SAME = ("checkpoint.safetensors", "metrics.json", "metrics.jsonl", "predictions.csv", "images.csv")


@pytest.fixture(scope="module")
def tuned(server: ForkServer, tmp_path_factory: pytest.TempPathFactory, originals: Path) -> Lab:
    """Runs at several freeze depths, `depth-4`, and one of train-head, `head`; tests must leave them as they are."""
    lab = Lab(server, tmp_path_factory.mktemp("tuned"))
    shutil.copytree(originals, lab.folder, dirs_exist_ok=True)
    cache = ("--cache", lab.folder / "cache")
    assert lab.train("--set", "backbone.weights=DEFAULT", *cache, output="head").code == 0
    for depth in DEPTHS:
        done = lab.finetune(*LEARN, "--set", "head.init=solved", *cache, depth=depth, output=f"depth-{depth}")
        assert done.code == 0, done.stderr
        lab.write(f"stderr-{depth}", done.stderr)
        lab.write(f"stdout-{depth}", done.stdout)
    return lab


@pytest.fixture(scope="module")
def undisturbed(server: ForkServer, tmp_path_factory: pytest.TempPathFactory, originals: Path) -> dict[str, bytes]:
    """The files of a run that nothing disturbed; its last epoch was the best."""
    lab = Lab(server, tmp_path_factory.mktemp("undisturbed"))
    shutil.copytree(originals / "photos", lab.folder / "photos")
    done = lab.finetune(*LEARN)
    assert done.code == 0, done.stderr
    assert "best      epoch 2; validation log_loss" in done.stderr
    return {name: relative(lab, (lab.folder / "run" / name).read_bytes()) for name in SAME}


def relative(lab: Lab, data: bytes) -> bytes:
    return data.replace(os.fsencode(lab.folder), b"...")


def require_same(lab: Lab, undisturbed: dict[str, bytes]) -> None:
    run = lab.folder / "run"
    assert names(run) == TUNED_FILES
    assert is_complete(run)
    for name, data in undisturbed.items():
        assert relative(lab, (run / name).read_bytes()) == data, name
    assert strict_json((run / "last.json").read_bytes())["finished"] is not None


def log_of(run: Path) -> list[dict[str, object]]:
    return [strict_json(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def tensors_of(run: Path) -> dict[str, np.ndarray]:
    """Of backbone and head."""
    found: dict[str, np.ndarray] = safetensors.numpy.load_file(run / "checkpoint.safetensors")
    return {name: tensor for name, tensor in found.items() if not name.startswith("trust.")}


@pytest.mark.parametrize("depth", DEPTHS)
def test_a_run_at_each_kind_of_freeze_depth(tuned: Lab, depth: str) -> None:
    run = tuned.folder / f"depth-{depth}"
    assert (tuned.folder / f"stdout-{depth}").read_text() == f"{run}/checkpoint.safetensors\n"
    assert names(run) == TUNED_FILES
    assert is_complete(run)
    log = log_of(run)
    assert [(event["event"], event.get("epoch")) for event in log] == [
        ("epoch", 0), ("epoch", 1), ("epoch", 2), ("val", None)
    ]  # fmt: skip
    head = strict_json((tuned.folder / "head" / "metrics.json").read_bytes())["val"]
    assert log[0]["val_accuracy"] == head["accuracy"]
    # Before the temperature, which a training by gradient has only at its end.
    assert log[0]["val_log_loss"] == pytest.approx(head["calibration"]["log_loss_before"], rel=1e-4)
    metrics = strict_json((run / "metrics.json").read_bytes())
    assert list(metrics) == ["checkpoint_sha256", "val", "head", "memory"]
    assert metrics["val"]["log_loss"] == pytest.approx(
        min(event["val_log_loss"] for event in log[:3]),
        rel=1e-4,  # type: ignore[type-var]
    )
    assert [row["split"] for row in read_csv(run / "predictions.csv")] == ["val"] * 4


@pytest.mark.parametrize("depth", DEPTHS)
def test_what_was_frozen_is_as_it_was_pretrained(tuned: Lab, depth: str) -> None:
    """Promise 1, in the file that predicts."""
    before, after = tensors_of(tuned.folder / "head"), tensors_of(tuned.folder / f"depth-{depth}")
    assert before.keys() == after.keys()
    backbone = load_backbone("efficientnet_lite0", "none", emit=ignore)
    frozen = {f"backbone.{name}" for stage in backbone.stages[: DEPTHS[depth]] for name in stage.tensors}
    for name in frozen:
        assert before[name].tobytes() == after[name].tobytes(), name
    said = (tuned.folder / f"stderr-{depth}").read_text()
    told = f"frozen    {len(frozen)} tensors of {DEPTHS[depth]} stages are bit for bit what they were\n"
    assert (told in said) == bool(frozen)
    assert sum("note: every stage is frozen" in line for line in said.splitlines()) == (depth == "all")


@pytest.mark.parametrize("depth", ["none", "4"])
def test_the_model_predicts_what_was_validated(tuned: Lab, depth: str) -> None:
    """Promise 2."""
    run = tuned.folder / f"depth-{depth}"
    predicted = tuned("predict", run, "photos")
    assert predicted.code == 0
    assert len(predicted.rows) == 16
    expected = {row["path"]: row for row in read_csv(run / "predictions.csv")}
    for row in predicted.rows:
        known = expected.get(f"{tuned.folder}/{row['path']}")
        if known:
            assert (row["label"], f"{row['confidence']:.4f}") == (
                known["label"],
                f"{float(known['confidence']):.4f}",
            )
    checked = tuned("evaluate", run, "--parity")
    assert checked.code == 0, checked.stderr
    assert "parity holds: 4 of 4" in checked.stderr


def test_info_tells_the_freeze_depth(tuned: Lab) -> None:
    for depth, said in {"none": "0 of 9 stages", "4": "4 of 9 stages", "stage5": "6 of 9 stages"}.items():
        assert f"frozen       {said}\n" in tuned("info", f"depth-{depth}").text
    for depth in ("none", "4", "stage5", "all"):
        best = strict_json((tuned.folder / f"depth-{depth}" / "metrics.json").read_text())["head"]["best_epoch"]
        moved = depth != "all" and best > 0
        assert (", fine-tuned, sha256 " in tuned("info", f"depth-{depth}").text) == moved


def test_what_is_trained_moves(lab: Lab) -> None:
    assert lab.finetune(*LEARN, "--json", "-q").code == 0
    done = lab.finetune(*LEARN, "--json", "-q", output="again")
    summary = strict_json(done.text)
    assert (done.code, done.stderr) == (0, "")
    assert summary["checkpoint"] == f"{lab.folder}/again/checkpoint.safetensors"
    assert (summary["freeze_depth"], summary["epochs"], summary["best_epoch"]) == (4, 2, 2)
    assert ", fine-tuned, sha256 " in lab("info", "run").text
    assert summary["features"] == {"computed": 0, "stored": 16, "errors": 0}
    assert (lab.folder / "run" / "checkpoint.safetensors").read_bytes() == (
        lab.folder / "again" / "checkpoint.safetensors"
    ).read_bytes()
    assert lab.train("--set", "backbone.weights=DEFAULT", output="head").code == 0
    before, after = (tensors_of(lab.folder / name) for name in ("head", "run"))
    moved = {
        name.split(".")[2] for name in before if name.startswith("backbone.") and (before[name] != after[name]).any()
    }
    assert moved == {"4", "5", "6", "7", "8"}
    assert lab("evaluate", "run", "--parity").code == 0


def test_a_dry_run_writes_nothing(lab: Lab) -> None:
    before = tree(lab.folder)
    done = lab.finetune("--dry-run", "--cache", "cache")
    assert done.code == 0, done.stderr
    assert b"efficientnet_lite0" in done.stdout
    assert tree(lab.folder) == before


def test_the_images_are_left_alone_and_no_boundary_file_is_left(lab: Lab) -> None:
    """Promise 7."""
    before = tree(lab.folder / "photos")
    done = lab.finetune("--cache", "cache")
    assert done.code == 0
    assert (
        "boundary  after stage3, 4 x 4 x 40 float32, 2 variants of an image, 71.7 kB on disk, computed once"
        in done.stderr
    )
    assert tree(lab.folder / "photos") == before
    assert not [path for path in (lab.folder / "cache").rglob("*") if "boundary" in path.name]


def test_a_boundary_over_the_limit_is_computed_anew_and_changes_nothing(lab: Lab) -> None:
    for limit, output in (("8GB", "one"), ("1kB", "two")):
        done = lab.finetune(*LEARN, "--set", f"train.cache_limit={limit}", output=output)
        assert done.code == 0, done.stderr
    assert "computed in every epoch: 71.7 kB is over train.cache_limit 1.0 kB" in done.stderr
    one, two = ((lab.folder / name / "checkpoint.safetensors").read_bytes() for name in ("one", "two"))
    assert one == two


def test_everything_frozen_equals_a_linear_head_of_train_head(lab: Lab) -> None:
    """The same order, no augmentation: one loop, whoever runs it."""
    chosen = ("--set", "head.init=random", "--set", "train.augment=none", "--set", "head.dropout=0.3")
    assert lab.finetune(*chosen, depth="all", output="tuned").code == 0
    settings = ("--set", "head.kind=linear", "--set", "train.epochs=2", "--set", "train.batch_size=4")
    assert lab.train(*settings, *chosen, output="head").code == 0
    one, other = head_of(lab.folder / "tuned"), head_of(lab.folder / "head")
    assert one.keys() == other.keys() == {"head.weight", "head.bias"}
    for name in one:
        assert one[name].tobytes() == other[name].tobytes()
    epochs = [[event for event in log_of(lab.folder / name) if event["event"] == "epoch"] for name in ("tuned", "head")]
    assert epochs[0] == epochs[1]


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_heads_by_gradient_in_train_head(lab: Lab, kind: str) -> None:
    done = lab.train("--set", f"head.kind={kind}", "--set", "train.epochs=3", "--set", "backbone.weights=DEFAULT")
    assert done.code == 0, done.stderr
    assert names(lab.folder / "run") == RUN_FILES[:-1]
    assert lab("evaluate", "run", "--parity").code == 0
    metrics = strict_json((lab.folder / "run" / "metrics.json").read_bytes())
    assert (metrics["head"]["kind"], metrics["head"]["epochs"]) == (kind, 3)
    hidden = {"head.hidden.weight", "head.hidden.bias"} if kind == "mlp" else set()
    assert len(head_of(lab.folder / "run")) == 2 + len(hidden)


def test_an_mlp_head(lab: Lab) -> None:
    done = lab.finetune(*LEARN, "--set", "head.init=solved", "--set", "head.kind=mlp", "--set", "head.hidden=16")
    assert done.code == 0, done.stderr
    assert "note: an mlp starts from random weights: head.init solved is for a linear head\n" in done.stderr
    assert lab("evaluate", "run", "--parity").code == 0


@pytest.mark.parametrize(("depth", "guess"), [("10", ""), ("stag3", "; did you mean 'stage3'?")])
def test_a_freeze_depth_that_does_not_exist(lab: Lab, depth: str, guess: str) -> None:
    lab.write(
        "cats.yaml",
        f"data: {{root: photos}}\nbackbone:\n  name: efficientnet_lite0\n  freeze_depth: {depth}\noutput: run\n",
    )
    done = lab("finetune", "--config", "cats.yaml")
    assert (done.code, done.stdout) == (2, b"")
    assert done.stderr == (
        f"cats.yaml:4:17: backbone.freeze_depth: efficientnet_lite0 has no freeze depth '{depth}'{guess}\n"
        f"Its 9 stages, input to output: {STAGES}; or all, none, 0 to 9.\n"
    )
    assert not (lab.folder / "run").exists()


def test_cutmix_needs_maps(lab: Lab) -> None:
    done = lab.finetune("--set", "train.cutmix=1.0", depth="all")
    assert (done.code, done.stdout) == (2, b"")
    assert done.stderr.endswith(
        "error: --set train.cutmix=1.0: cutmix needs (B, C, H, W) maps, "
        "which efficientnet_lite0 does not give after 9 frozen stages\n"
        "Use train.mixup, or freeze fewer stages.\n"
    )


def test_features_of_an_earlier_layer_are_not_for_finetune(lab: Lab) -> None:
    done = lab.finetune("--set", "backbone.layer=stage3")
    assert (done.code, done.stdout) == (2, b"")
    assert "finetune trains the backbone to its end, and stage3" in done.stderr


def test_a_batch_larger_than_the_data(lab: Lab) -> None:
    done = lab.finetune("--set", "train.batch_size=64")
    assert done.code == 0, done.stderr
    assert (
        done.stderr.count("note: train.batch_size 64 is more than the 12 training images: an epoch is one batch\n") == 1
    )
    assert "2 epochs of 1 step;" in done.stderr


def test_batch_norm_with_one_image_left_alone(lab: Lab) -> None:
    for path in sorted((lab.folder / "split" / "train").rglob("*.png"))[2:-1]:
        path.unlink()
    settings = ("--set", "train.batch_size=2", "--set", "train.batch_norm=train")
    done = lab.finetune(*settings, data="split")
    assert (done.code, done.stdout) == (2, b"")
    assert done.stderr.endswith(
        "error: --set train.batch_norm=train: train needs two images a batch, and 3 in batches of 2 leave one alone\n"
        "Change train.batch_size, or use auto.\n"
    )
    assert lab.finetune(*settings, "--set", "train.batch_norm=auto", data="split", output="auto").code == 0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (
            ("train.lr=1e6",),
            "training diverged in epoch 2, step 1 of 3: the loss or its gradient is not a finite number; ",
        ),
        (
            ("train.lr=1e30",),
            "training diverged in epoch 1, step 2 of 3: the loss or its gradient is not a finite number; ",
        ),
        (
            ("train.lr=1e30", "train.batch_size=99"),
            "training diverged in epoch 1, after its last step: non-finite predictions for 4 validation images: ",
        ),
    ],
)
def test_a_learning_rate_that_diverges(lab: Lab, settings: tuple[str, ...], said: str) -> None:
    chosen = [part for item in (*settings, "train.clip_norm=null") for part in ("--set", item)]
    done = lab.finetune(*chosen)
    assert (done.code, done.stdout) == (2, b"")
    *_, note, error, hint = done.stderr.splitlines()
    run = lab.folder / "run"
    assert note == f"note: the weights of the best epoch before that are in {run}/checkpoint.safetensors"
    assert error.startswith(f"error: {said}")
    assert error.count(f"{lab.folder}/photos/") == 4
    assert "Try a smaller train.lr, a longer train.warmup_epochs, or fp32." in hint
    assert "Traceback" not in done.stderr
    assert "metrics.json" not in names(run)
    assert not is_complete(run)
    assert log_of(run)[0]["val_accuracy"] == 1.0
    assert [row["label"] for row in lab("predict", run, "photos").rows] == ["cats"] * 8 + ["dogs"] * 8


def test_a_validation_split_without_some_class(lab: Lab) -> None:
    shutil.rmtree(lab.folder / "split" / "val" / "dogs")
    done = lab.finetune("--set", "train.monitor=macro_f1", data="split")
    assert done.code == 0, done.stderr
    metrics = strict_json((lab.folder / "run" / "metrics.json").read_bytes())
    assert (metrics["val"]["n"], metrics["val"]["per_class"]["dogs"]["support"]) == (3, 0)


def test_without_validation_images_the_last_epoch_is_kept(lab: Lab) -> None:
    done = lab.finetune(*LEARN, "--set", "data.val_fraction=0", "--set", "train.patience=3", "--json")
    assert done.code == 0, done.stderr
    assert strict_json(done.text)["val"] is None
    assert "warning: data.val_fraction is 0: every image is trained on" in done.stderr
    assert "train.patience (there are no validation images)" in done.stderr
    assert "best      epoch 2; the last\n" in done.stderr
    log = log_of(lab.folder / "run")
    assert [event.get("val_accuracy") for event in log if event["event"] == "epoch"] == [None] * 3
    assert strict_json((lab.folder / "run" / "metrics.json").read_bytes())["val"] is None
    again = lab.finetune(*LEARN, "--set", "data.val_fraction=0", "--set", "train.patience=3", "--json", "--resume")
    assert (again.code, strict_json(again.text)["val"]) == (0, None)


def test_images_that_cannot_be_read(lab: Lab) -> None:
    broken = [lab.folder / "split" / "train" / "cats" / "00.png", lab.folder / "split" / "val" / "dogs" / "20.png"]
    for path in broken:
        path.write_bytes(path.read_bytes()[:200])
    done = lab.finetune(*LEARN, data="split")
    run = lab.folder / "run"
    assert (done.code, done.text) == (3, f"{run}/checkpoint.safetensors\n")
    assert all(f"unreadable: {path}: " in done.stderr for path in broken)
    assert names(run) == TUNED_FILES
    assert is_complete(run)
    metrics = strict_json((run / "metrics.json").read_bytes())
    assert (metrics["val"]["n"], metrics["val"]["n_errors"]) == (6, 1)
    assert metrics["val"]["accuracy"] == pytest.approx(5 / 6)
    assert log_of(run)[2]["val_accuracy"] == metrics["val"]["accuracy"]
    assert metrics["test"]["n_errors"] == 0
    assert lab.finetune(*LEARN, "--max-bad", "2", data="split").code == 0
    assert lab("evaluate", "run", "--parity", "--max-bad", "1").code == 0


def test_an_image_that_vanishes_while_it_trains(lab: Lab) -> None:
    gone = lab.preload(
        "from pathlib import Path\nfrom featcli.training.loop import _Loop\nstep, calls = _Loop._step, []\n"
        "def remove(self, *arguments):\n"
        "    calls.append(1)\n"
        "    if len(calls) == 1:\n        Path('photos/cats/00.png').unlink()\n"
        "    step(self, *arguments)\n"
        "_Loop._step = remove\n"
    )
    done = lab.finetune("--set", "train.augment=light", "--set", "train.epochs=9", preload=gone)
    assert (done.code, done.stdout) == (3, b"")
    assert (
        f"error: {lab.folder}/photos/cats/00.png could be read at the start of the run, and cannot now: " in done.stderr
    )


def test_the_test_split_chooses_nothing(lab: Lab) -> None:
    """Promise 10: with other test images, other labels or none the checkpoint has the same bytes."""
    assert lab.finetune(*LEARN, data="split").code == 0
    run = lab.folder / "run"
    first, metrics = (run / "checkpoint.safetensors").read_bytes(), strict_json((run / "metrics.json").read_bytes())
    assert metrics["test"]["n"] == 4
    assert [event["event"] for event in log_of(run)] == ["epoch"] * 3 + ["val", "test"]
    for label, other in (("cats", "swap"), ("dogs", "cats"), ("swap", "dogs")):
        (lab.folder / "split" / "test" / label).rename(lab.folder / "split" / "test" / other)
    assert lab.finetune(*LEARN, data="split").code == 0
    assert (run / "checkpoint.safetensors").read_bytes() == first
    assert strict_json((run / "metrics.json").read_bytes())["test"]["accuracy"] == 1 - metrics["test"]["accuracy"]


def test_the_folder_of_the_other_command(lab: Lab) -> None:
    ways_out = "Choose another folder with -o, or replace what it holds with --overwrite.\n"
    assert lab.finetune().code == 0
    settings = ("--set", "train.epochs=2", "--set", "train.batch_size=4", "--set", "train.augment=flip")
    done = lab.train(*settings, "--set", "backbone.freeze_depth=4")
    assert (done.code, done.stdout) == (2, b"")
    assert done.stderr == f"error: the output {lab.folder}/run holds another run: of finetune\n{ways_out}"
    assert lab.train(*settings, "--set", "backbone.freeze_depth=4", output="head").code == 0
    done = lab.finetune(output="head")
    assert (done.code, done.stdout) == (2, b"")
    assert done.stderr == f"error: the output {lab.folder}/head holds another run: of train-head\n{ways_out}"


def test_the_folder_of_another_config(lab: Lab) -> None:
    assert lab.finetune().code == 0
    before = tree(lab.folder / "run")
    for extra in ((), ("--resume",), ("--dry-run",)):
        done = lab.finetune("--set", "train.lr=0.5", *extra)
        assert (done.code, done.stdout) == (2, b"")
        assert f"error: the output {lab.folder}/run holds another run: train.lr was " in done.stderr
        assert ", now 0.5\n" in done.stderr
    assert tree(lab.folder / "run") == before
    assert lab.finetune("--set", "train.lr=0.5", "--overwrite").code == 0
    assert names(lab.folder / "run") == TUNED_FILES


def test_nothing_to_resume(lab: Lab, undisturbed: dict[str, bytes]) -> None:
    done = lab.finetune(*LEARN, "--resume")
    assert (done.code, done.text) == (0, f"{lab.folder}/run/checkpoint.safetensors\n")
    assert f"note: nothing to resume in {lab.folder}/run: training starts at the beginning\n" in done.stderr
    require_same(lab, undisturbed)
    before = tree(lab.folder / "run")
    finished = lab.finetune(*LEARN, "--resume")
    assert (finished.code, finished.text) == (0, f"{lab.folder}/run/checkpoint.safetensors\n")
    assert f"note: the training in {lab.folder}/run is finished\n" in finished.stderr
    after = tree(lab.folder / "run")
    assert {name: item for name, item in after.items() if name != "."} == {
        name: item for name, item in before.items() if name != "."
    }


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
WAIT = "Path('stuck').touch(); [time.sleep(0.01) for _ in range(100) if not Path('signalled').exists()]"


def wait_for(path: Path, run: Running) -> None:
    end = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < end, run.errors()
        time.sleep(0.01)


@pytest.mark.parametrize(("name", "code", "k"), [("SIGINT", 130, 2), ("SIGTERM", 143, 3), ("SIGTERM", 143, 5)])
def test_a_signal_finishes_the_step_and_saves(
    lab: Lab, undisturbed: dict[str, bytes], name: str, code: int, k: int
) -> None:
    run = lab.start_finetune(*LEARN, preload=lab.preload(AT_STEP.format(k=k, what=WAIT)))
    wait_for(lab.folder / "stuck", run)
    run.kill(getattr(signal, name))
    lab.write("signalled", "")
    done = run.wait(20)
    assert (done.code, done.stdout) == (code, b"")
    place = {2: "in epoch 1, step 2", 3: "after epoch 1", 5: "in epoch 2, step 2"}[k]
    assert done.stderr.splitlines()[-2:] == [
        f"note: saved {place}; --resume continues it",
        "interrupted",
    ]
    assert names(lab.folder / "run") == [
        "config.yaml", "images.csv", "last.json", "last.safetensors", "metrics.jsonl"
    ]  # fmt: skip
    resumed = lab.finetune(*LEARN, "--resume")
    assert resumed.code == 0, resumed.stderr
    require_same(lab, undisturbed)


def test_a_second_signal_ends_at_once(lab: Lab) -> None:
    stuck = "Path('stuck').touch(); time.sleep(100)"
    run = lab.start_finetune(preload=lab.preload(AT_STEP.format(k=2, what=stuck)))
    wait_for(lab.folder / "stuck", run)
    run.kill(signal.SIGINT)
    time.sleep(0.2)
    run.kill(signal.SIGINT)
    done = run.wait(20)
    assert (done.code, done.stderr.splitlines()[-1]) == (130, "interrupted")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("k", [1, 2, 4, 6])
def test_killed_after_a_step_it_goes_on(lab: Lab, undisturbed: dict[str, bytes], k: int) -> None:
    killed = lab.finetune(*LEARN, preload=lab.preload(AT_STEP.format(k=k, what=KILL)))
    assert killed.code == -9
    assert not is_complete(lab.folder / "run")
    done = lab.finetune(*LEARN, "--resume", "--json")
    assert done.code == 0, done.stderr
    require_same(lab, undisturbed)


# Ends the process, as kill -9 does, instead of the k-th rename of a file of the run to its place.
AT_RENAME = """
import os, signal
replace, calls = os.replace, []

def deadly(source, target, **options):
    if "/run/" in str(target):
        calls.append(1)
        if len(calls) == {k}:
            os.kill(os.getpid(), signal.SIGKILL)
    replace(source, target, **options)

os.replace = deadly
"""
_RENAMES = 15  # config, images, last.json; 2 x (last, log); checkpoint, config, ...; last.json


def test_killed_before_any_rename_it_goes_on(lab: Lab, undisturbed: dict[str, bytes]) -> None:
    """Killed again and again, each time a little further; every second time a kill hits the run that goes on."""
    for k in (2, 4, 6, 7, 9):
        killed = lab.finetune(*LEARN, "--resume", preload=lab.preload(AT_RENAME.format(k=k)))
        if killed.code == 0:
            break
        assert killed.code == -9
        assert not is_complete(lab.folder / "run")
    assert k == 9
    if not is_complete(lab.folder / "run"):
        assert lab.finetune(*LEARN, "--resume").code == 0
    require_same(lab, undisturbed)
    shutil.rmtree(lab.folder / "run")
    killed = lab.finetune(*LEARN, preload=lab.preload(AT_RENAME.format(k=3)))
    assert killed.code == -9
    assert "last.json" not in names(lab.folder / "run")
    anew = lab.finetune(*LEARN)  # without --resume: it is recognised as the same run
    assert anew.code == 0, anew.stderr
    require_same(lab, undisturbed)


def test_an_unfinished_training_is_not_lost_by_the_same_command(lab: Lab, undisturbed: dict[str, bytes]) -> None:
    assert lab.finetune(*LEARN, preload=lab.preload(AT_STEP.format(k=4, what=KILL))).code == -9
    before = tree(lab.folder / "run")
    for extra in ((), ("--dry-run",)):
        done = lab.finetune(*LEARN, *extra)
        assert (done.code, done.stdout) == (2, b"")
        assert done.stderr == (
            f"error: the output {lab.folder}/run holds an unfinished training\n"
            "Go on with it with --resume, or lose it and start over with --overwrite.\n"
        )
    assert tree(lab.folder / "run") == before
    done = lab.finetune(*LEARN, "--overwrite")
    assert done.code == 0
    assert (
        f"note: an unfinished training in {lab.folder}/run is replaced; --resume would have resumed it\n" in done.stderr
    )
    require_same(lab, undisturbed)


def test_two_trainings_into_one_folder(lab: Lab) -> None:
    """The second is refused while the first lives, whatever it would do; a first that is killed holds nothing."""
    stay = "Path('stuck').touch(); time.sleep(100)"
    first = lab.start_finetune(preload=lab.preload(AT_STEP.format(k=2, what=stay)))
    wait_for(lab.folder / "stuck", first)
    refused = (
        f"error: the output {lab.folder}/run is being written by another run, process {first.pid} on this machine\n"
        "Wait until it has ended, or choose another folder with -o.\n"
    )
    for second in (lab.finetune, lab.train):
        for extra in ((), ("--overwrite",), ("--dry-run",)):
            done = second(*extra)
            assert (done.code, done.stdout, done.stderr) == (2, b"", refused)
    assert lab.finetune("--resume").stderr == refused
    first.kill()
    assert first.wait().code == -9
    assert ".lock" in names(lab.folder / "run")
    done = lab.finetune("--resume")
    assert done.code == 0, done.stderr
    assert names(lab.folder / "run") == TUNED_FILES


def test_resuming_with_other_images_or_weights(lab: Lab, make_folder: object) -> None:
    assert lab.finetune(preload=lab.preload(AT_STEP.format(k=4, what=KILL))).code == -9
    before = tree(lab.folder / "run")
    make_folder(lab.folder / "photos", {"cats": 1, "dogs": 0}, start=60)  # type: ignore[operator]
    done = lab.finetune("--resume")
    assert (done.code, done.stdout) == (2, b"")
    assert f"error: the training in {lab.folder}/run cannot be resumed: the images: 1 added" in done.stderr
    assert done.stderr.endswith("\nRestore what it began with, or start over with --overwrite.\n")
    (lab.folder / "photos" / "cats" / "60.png").unlink()
    facts = strict_json((lab.folder / "run" / "last.json").read_bytes())
    here = facts["weights_sha256"]
    lab.write("run/last.json", (lab.folder / "run" / "last.json").read_text().replace(here, "0" * 64))
    done = lab.finetune("--resume")
    assert (done.code, done.stdout) == (2, b"")
    assert f"cannot be resumed: the backbone's weights were 000000000000, now {here[:12]}\n" in done.stderr
    lab.write("run/last.json", (lab.folder / "run" / "last.json").read_text().replace("0" * 64, here))
    after = tree(lab.folder / "run")
    assert {name: item[0] for name, item in before.items() if name != ".lock"} == {
        name: item[0] for name, item in after.items()
    }
    assert lab.finetune("--resume").code == 0


def test_resuming_from_a_damaged_snapshot(lab: Lab) -> None:
    assert lab.finetune(preload=lab.preload(AT_STEP.format(k=4, what=KILL))).code == -9
    path = lab.folder / "run" / "last.safetensors"
    path.write_bytes(path.read_bytes()[:-9])
    done = lab.finetune("--resume")
    assert (done.code, done.stdout) == (3, b"")
    assert (
        f"error: {path} is damaged: training cannot be resumed from it\nStart over with --overwrite.\n" in done.stderr
    )
    assert lab.finetune("--overwrite").code == 0


def test_half_precision(lab: Lab) -> None:
    done = lab.finetune(*LEARN, "--precision", "bf16")
    assert done.code == 0, done.stderr
    assert "4 x 4 x 40 bfloat16" in done.stderr
    assert tensors_of(lab.folder / "run")["head.weight"].dtype == np.float32
    assert lab("evaluate", "run", "--parity", "--precision", "bf16").code == 0


def test_a_time_limit(lab: Lab) -> None:
    done = lab.finetune(*LEARN, "--set", "train.epochs=1000", "--set", "train.time_limit=1s", "--json")
    assert done.code == 0, done.stderr
    assert strict_json(done.text)["epochs"] < 1000
    assert names(lab.folder / "run") == TUNED_FILES


def test_everything_at_once_is_resumed_too(lab: Lab) -> None:
    """Accumulation, mixup, an average, dropout, another optimizer, new variants in every epoch."""
    settings = (
        "train.accumulate=2", "train.mixup=0.3", "train.ema=0.9", "train.optimizer=sgd", "train.augment=strong",
        "train.batch_norm=train", "head.dropout=0.2", "head.class_weight=balanced", "train.patience=2",
    )  # fmt: skip
    chosen = (*LEARN, *(part for item in settings for part in ("--set", item)))
    assert lab.finetune(*chosen, output="whole").code == 0
    assert lab.finetune(*chosen, preload=lab.preload(AT_STEP.format(k=3, what=KILL))).code == -9
    done = lab.finetune(*chosen, "--resume")
    assert done.code == 0, done.stderr
    for name in SAME:
        assert (lab.folder / "run" / name).read_bytes() == (lab.folder / "whole" / name).read_bytes(), name


def test_without_a_compiler(lab: Lab) -> None:
    missing = "import torch._inductor.config\ntorch._inductor.config.cpp.cxx = (None, '/nowhere/g++')\n"
    environment = {"TORCHINDUCTOR_CACHE_DIR": str(lab.folder / "inductor")}
    done = lab.finetune("--set", "train.compile=true", depth="all", env=environment, preload=lab.preload(missing))
    assert (done.code, done.stdout) == (4, b"")
    *_, error, hint = done.stderr.splitlines()
    assert error.startswith("error: train.compile: what trains cannot be compiled here: ")
    assert hint == "Install a C++ compiler (Debian: g++), or set train.compile: false."


@pytest.mark.skipif(
    shutil.which("g++") is None or "FEATCLI_SLOW_TESTS" not in os.environ, reason="slow, and needs a C++ compiler"
)
def test_compiled_it_learns_the_same(lab: Lab) -> None:
    environment = {"TORCHINDUCTOR_CACHE_DIR": str(lab.folder / "inductor")}
    settings = ("--set", "head.init=random", "--set", "train.monitor=log_loss")
    done = lab.finetune(*settings, "--set", "train.compile=true", depth="all", env=environment)
    assert done.code == 0, done.stderr
    assert lab.finetune(*settings, depth="all", output="plain").code == 0
    one, other = head_of(lab.folder / "run"), head_of(lab.folder / "plain")
    for name in one:
        np.testing.assert_allclose(one[name], other[name], atol=1e-5)


def test_resume_and_overwrite_exclude_each_other(lab: Lab) -> None:
    done = lab.finetune("--resume", "--overwrite")
    assert (done.code, done.text) == (2, "")
    assert "would remove it" in done.stderr
    assert not (lab.folder / "run").exists()


def test_in_bf16_epoch_0_is_the_solved_head_too(lab: Lab) -> None:
    assert lab.train("--precision", "bf16", output="head").code == 0
    assert lab.finetune("--precision", "bf16", "--set", "train.epochs=1").code == 0
    (first, *_) = (strict_json(line) for line in (lab.folder / "run" / "metrics.jsonl").read_text().splitlines())
    solved = strict_json((lab.folder / "head" / "metrics.json").read_text())["val"]
    assert first["val_accuracy"] == solved["accuracy"]
    assert first["val_log_loss"] == pytest.approx(solved["calibration"]["log_loss_before"], rel=1e-5)


def test_killed_while_it_starts_anew_the_folder_is_still_its_own(lab: Lab) -> None:
    assert lab.finetune().code == 0
    killed = lab.preload(
        "import os\nfrom featcli.runs.folder import Run\nRun.write_config = lambda self, config: os._exit(9)\n"
    )
    assert lab.finetune(preload=killed).code == 9
    assert is_complete(lab.folder / "run")
    done = lab.finetune()
    assert done.code == 0, done.stderr


def test_cutmix_on_maps_that_have_their_channels_last_is_refused(lab: Lab) -> None:
    settings = ("data.root=photos", "backbone.name=swin_t", "backbone.weights=none", "train.cutmix=1.0")
    flags = [part for item in (*settings, "backbone.freeze_depth=2") for part in ("--set", item)]
    done = lab("check", "--for", "finetune", *flags)
    assert (done.code, done.text) == (2, "")
    assert "train.cutmix=1.0: cutmix needs (B, C, H, W) maps, which swin_t does not give after 2 frozen" in done.stderr


def test_one_image_more_or_less_does_not_switch_batch_norm(lab: Lab, make_folder: Callable[..., Path]) -> None:
    """255 images in mini-batches of 32 are eight of 31 or 32; the choice follows the 32 that were asked for."""
    make_folder(lab.folder / "many" / "train", {"cats": 128, "dogs": 127})
    make_folder(lab.folder / "many" / "val", {"cats": 2, "dogs": 2}, start=500)
    settings = ("--set", "head.init=random", "--set", "train.batch_size=32", "--set", "train.epochs=1")
    for start in (200, 201):
        done = lab.finetune(*settings, data="many", depth=8, output=f"run{start}")
        assert "BatchNorm of each batch" in done.stderr, done.stderr
        make_folder(lab.folder / "many" / "train", {"dogs": 1}, start=start)
