"""Options that were given and change nothing are named in one note; a head that cannot be trained so is refused."""

from __future__ import annotations

import pytest

from featcli.config.schema import Head, Train
from featcli.workflow.unused import USED
from tests.cli.lab import SMALL, Lab, names

pytestmark = pytest.mark.slow

EVERYTHING = """
data: {root: photos, val_fraction: 0.25}
backbone:
  name: efficientnet_lite0
  weights: none
  preprocess: {resize: 40, crop: 32}
  pooling: max
head: {kind: logistic, C: 1.0, folds: 3, class_weight: none, hidden: 8, dropout: 0.1, init: solved}
train:
  epochs: 1
  batch_size: 4
  optimizer: sgd
  lr: 1e-3
  weight_decay: 0.0
  layer_decay: 0.7
  warmup_epochs: 0.0
  schedule: constant
  clip_norm: null
  accumulate: 2
  label_smoothing: 0.0
  mixup: 0.1
  cutmix: 0.0
  ema: 0.9
  augment: strong
  mirror: true
  views: 2
  batch_norm: eval
  monitor: log_loss
  patience: 2
  time_limit: 10m
  compile: false
  cache_limit: 1GB
output: run
"""
POOLING = "backbone.pooling (the penultimate layer has its own)"
# What has its default, train.compile say, may have been written by a program: nobody asked for it.
PIXELS = "train.layer_decay, train.augment, train.mirror, train.views, train.batch_norm, train.cache_limit"
FOR_FEATURES = {
    "logistic": "head.hidden, head.dropout, train.*",
    "linear": f"head.folds, head.hidden, {PIXELS}",
    "mlp": f"head.C, head.folds, {PIXELS}",
}


def notes(stderr: str) -> list[str]:
    return [line for line in stderr.splitlines() if line.startswith("note: not used by")]


def test_every_option_of_head_and_train_is_in_the_table() -> None:
    sections = {"head": Head, "train": Train}
    assert list(USED) == [f"{name}.{key}" for name, model in sections.items() for key in model.model_fields]


@pytest.mark.parametrize("kind", FOR_FEATURES)
def test_of_all_options_train_head_names_those_that_it_does_not_use(lab: Lab, kind: str) -> None:
    lab.write("all.yaml", EVERYTHING)
    given = ("-c", "all.yaml", "--set", f"head.kind={kind}")
    article = "an" if kind == "mlp" else "a"
    said = [f"note: not used by train-head with {article} {kind} head: {POOLING}, {FOR_FEATURES[kind]}"]
    for command in (("train-head",), ("train-head", "--dry-run"), ("check",), ("check", "--for", "train-head")):
        done = lab(*command, *given)
        assert (done.code, notes(done.stderr)) == (0, said), command


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("backbone.freeze_depth=5",), f" with a logistic head: {POOLING}, head.folds, head.hidden"),
        (
            ("backbone.freeze_depth=5", "head.init=random"),
            f" with a logistic head: {POOLING}, head.C, head.folds, head.hidden",
        ),
        (("backbone.freeze_depth=5", "head.kind=mlp"), f" with an mlp head: {POOLING}, head.C, head.folds"),
        (
            ("backbone.freeze_depth=5", "train.augment=none", "train.views=null"),
            f" with a logistic head: {POOLING}, head.folds, head.hidden, train.mirror",
        ),
        (
            ("backbone.freeze_depth=all",),
            f" with a logistic head, every stage frozen: {POOLING}, head.folds, head.hidden, train.layer_decay, "
            "train.batch_norm",
        ),
        (
            ("backbone.freeze_depth=all", "train.views=null", "head.kind=linear", "head.C=[0.1, 1]"),
            f" with a linear head, every stage frozen: {POOLING}, head.hidden, train.layer_decay, train.batch_norm, "
            "train.cache_limit",
        ),
    ],
)
def test_of_all_options_finetune_names_those_that_it_does_not_use(
    lab: Lab, settings: tuple[str, ...], said: str
) -> None:
    lab.write("all.yaml", EVERYTHING)
    given = [part for setting in settings for part in ("--set", setting)]
    for command in (("finetune",), ("finetune", "--dry-run", "-o", "other"), ("check", "--for", "finetune")):
        done = lab(*command, "-c", "all.yaml", *given)
        assert (done.code, notes(done.stderr)) == (0, [f"note: not used by finetune{said}"]), command


def test_what_was_not_given_is_not_named(lab: Lab) -> None:
    for command in (("train-head", "-o", "head"), ("finetune", "-o", "tuned", "--set", "train.epochs=1")):
        done = lab(*command, *SMALL, "--set", "data.root=photos")
        assert (done.code, notes(done.stderr)) == (0, [])


def test_a_run_repeated_from_its_own_config_names_what_was_changed_alone(lab: Lab) -> None:
    assert lab.train("--set", "train.epochs=3", "--set", "train.lr=5e-4").code == 0
    done = lab("train-head", "-c", "run/config.yaml")
    assert (done.code, notes(done.stderr)) == (0, ["note: not used by train-head with a logistic head: train.epochs"])


def test_shares_of_a_data_set_that_is_split_already(lab: Lab) -> None:
    shares = ("--set", "data.val_fraction=0.3", "--set", "data.test_fraction=0.1")
    whole = "data.val_fraction (the images come with their own split), "
    test = "data.test_fraction (the images come with a test split)"
    start = "note: not used by train-head with a logistic head: "
    assert notes(lab.train(*shares, data="photos", output="1").stderr) == []
    assert notes(lab.train(*shares, data="split", output="2").stderr) == [f"{start}{whole}{test}"]
    (lab.folder / "split" / "val").rename(lab.folder / "elsewhere")
    assert notes(lab.train(*shares, data="split", output="3").stderr) == [f"{start}{test}"]


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_cutmix_on_features_is_refused_at_its_place(lab: Lab, kind: str) -> None:
    lab.write("mix.yaml", f"head: {{kind: {kind}}}\ntrain:\n  cutmix: 1.0\n")
    for command in ("train-head", "check"):
        done = lab(command, "-c", "mix.yaml", *SMALL, "--set", "data.root=photos", "--set", "output=run")
        assert (done.code, done.stdout) == (2, b"")
        assert done.stderr == (
            "mix.yaml:3:11: train.cutmix: cutmix needs (B, C, H, W) maps, and train-head learns from features\n"
            "Use train.mixup, or finetune with fewer frozen stages.\n"
        )
    assert "run" not in names(lab.folder)
    logistic = ("--set", "head.kind=logistic")
    done = lab("train-head", "-c", "mix.yaml", *logistic, *SMALL, "--set", "data.root=photos", "-o", "run")
    said = "note: not used by train-head with a logistic head: train.cutmix"
    assert (done.code, notes(done.stderr)) == (0, [said])
