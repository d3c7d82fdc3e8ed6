"""Commands with images and nothing else: what is missing is chosen, and said; and what is typed in their place."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
import yaml
from PIL import Image

from tests.cli.lab import SMALL, Lab, line_of, names, tree

# The small model without its name.
QUICK = SMALL[2:]


def chosen(stderr: str) -> list[str]:
    """The lines that say what was chosen."""
    lines = stderr.splitlines()
    first = next(index for index, line in enumerate(lines) if line.startswith("chosen"))
    last = next(index for index in range(first + 1, len(lines)) if not lines[index].startswith("  "))
    return [line[10:] for line in lines[first:last]]


def planned(text: str) -> dict[str, Any]:
    """The config at the end of a plan."""
    found: dict[str, Any] = yaml.safe_load(text.partition("\nconfig\n")[2])
    return found


def config_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((run / "config.yaml").read_text())
    return found


def test_a_folder_is_all_it_needs(lab: Lab) -> None:
    done = lab("train-head", "photos")
    assert done.code == 0, done.stderr
    assert done.text == f"{lab.folder}/runs/photos/checkpoint.safetensors\n"
    assert chosen(done.stderr) == [
        "output runs/photos: the run's folder (-o)",
        "backbone efficientnet_lite0: its weights are on this machine, 75.1 % on ImageNet (--backbone)",
    ]
    done = lab("predict", "runs/photos", "photos/cats/00.png")
    assert (done.code, len(done.rows)) == (0, 1), done.stderr


def test_the_run_is_that_of_the_config_that_init_writes(lab: Lab) -> None:
    done = lab("train-head", "photos", *QUICK)
    assert done.code == 0, done.stderr
    assert lab("init", "photos").code == 0
    done = lab("train-head", "photos.yaml", *QUICK, "-o", "by-config")
    assert done.code == 0, done.stderr
    first, second = (lab.folder / run / "checkpoint.safetensors" for run in ("runs/photos", "by-config"))
    assert first.read_bytes() == second.read_bytes()


def test_weights_in_a_file_say_which_backbone_they_are_of(lab: Lab) -> None:
    torch.save({"model": torchvision.models.resnet18(weights=None).state_dict()}, lab.folder / "own.pth")
    small = (*QUICK[2:], "--set", "backbone.weights=own.pth")
    done = lab("train-head", "photos", *small)
    assert done.code == 0, done.stderr
    assert chosen(done.stderr)[1] == "backbone resnet18: the one that the weights fit (--backbone)"
    torch.save({"a.weight": torch.ones(2, 2)}, lab.folder / "own.pth")
    done = lab("train-head", "photos", *small, "--overwrite")
    assert (done.code, done.stderr) == (
        2,
        "error: backbone.weights: own.pth does not fit one backbone alone\n"
        "featcli doctor --weights own.pth says what it fits; then name it: --backbone NAME\n",
    )


def test_repeated_it_makes_the_choices_of_the_run_that_it_replaces(lab: Lab) -> None:
    assert lab("train-head", "photos", *QUICK, "--set", "head.class_weight=balanced").code == 0
    done = lab("train-head", "photos", *QUICK)
    assert done.code == 0, done.stderr
    assert chosen(done.stderr)[1:] == [
        "backbone efficientnet_lite0: as the run that this one replaces (--backbone)",
        "head.class_weight balanced: as the run that this one replaces (--set head.class_weight=none)",
    ]
    assert "no image changed, since the run that this replaces" in done.stderr
    done = lab("train-head", "photos", *QUICK, "--overwrite")
    assert done.code == 0, done.stderr
    assert config_of(lab.folder / "runs/photos")["head"]["class_weight"] == "none"


def test_what_init_would_write_for_these_images_is_chosen(lab: Lab) -> None:
    rng = np.random.default_rng(0)
    for name, count, low in (("dark", 24, 0), ("light", 5, 2000)):
        (lab.folder / "scans" / name).mkdir(parents=True)
        for index in range(count):
            pixels = rng.integers(low, low + 2000, (32, 32)).astype(np.uint16)
            Image.fromarray(pixels).save(lab.folder / "scans" / name / f"{index}.png")
    done = lab("train-head", "scans", *QUICK, "--dry-run")
    assert done.code == 0, done.stderr
    assert chosen(done.stderr)[2:] == [
        "head.class_weight balanced: the largest class is 5 times the smallest (--set head.class_weight=none)",
        "data.range auto: 16-bit images that use 0 to 4095 of 65535 would be almost black (--set data.range=full)",
    ]
    done = lab("train-head", "scans", *QUICK, "--set", "head.class_weight=none", "--set", "data.range=full")
    assert len(chosen(done.stderr)) == 2
    found = config_of(lab.folder / "runs/scans")
    assert (found["head"]["class_weight"], found["data"]["range"]) == ("none", "full")


def test_finetune_of_a_folder_goes_beside_the_head(lab: Lab) -> None:
    short = ("--epochs", "1", "--set", "train.batch_size=8", "--set", "train.augment=none")
    assert lab("train-head", "photos", *QUICK).code == 0
    done = lab("finetune", "photos", *QUICK, *short)
    assert done.code == 0, done.stderr
    assert chosen(done.stderr) == [
        "output runs/photos-tuned: the run's folder (-o)",
        "backbone efficientnet_lite0: its weights are on this machine, 75.1 % on ImageNet (--backbone)",
        "backbone.freeze_depth stage5: two thirds of the stages stay as they are (--freeze-depth)",
    ]
    assert names(lab.folder / "runs") == ["photos", "photos-tuned"]
    done = lab("finetune", "photos", *QUICK, *short)
    assert done.code == 0, done.stderr
    assert "stage5: as the run that this one replaces" in chosen(done.stderr)[2]
    assert names(lab.folder / "runs") == ["photos", "photos-tuned"]


def test_a_run_of_the_folder_one_stands_in_goes_beside_it(lab: Lab) -> None:
    done = lab("train-head", ".", *QUICK, cwd=lab.folder / "photos")
    assert done.code == 0, done.stderr
    assert names(lab.folder / "photos") == ["cats", "dogs"]
    assert "output ../runs/photos: the run's folder (-o)" in done.stderr
    assert (lab.folder / "runs/photos/checkpoint.safetensors").is_file()


def test_check_plans_what_the_command_would_do(lab: Lab) -> None:
    before = tree(lab.folder)
    done = lab("check", "photos", *QUICK, "--for", "finetune", "--epochs", "3", "-v", "--cache", "../cache")
    assert done.code == 0, done.stderr
    assert tree(lab.folder) == before
    config = planned(done.text)
    assert config["output"] == f"{lab.folder}/runs/photos"
    assert (config["train"]["epochs"], config["backbone"]["freeze_depth"]) == (3, "stage5")


def test_a_table_of_images_stands_where_a_folder_could(lab: Lab) -> None:
    with (lab.folder / "labels.csv").open("w", newline="") as file:
        rows = [(f"photos/{name}/{index:02}.png", name) for name in ("cats", "dogs") for index in range(8)]
        csv.writer(file).writerows([("path", "label"), *rows])
    done = lab("train-head", "labels.csv", *QUICK)
    assert done.code == 0, done.stderr
    assert (lab.folder / "runs/labels/checkpoint.safetensors").is_file()


def test_a_config_stands_where_a_folder_could(lab: Lab) -> None:
    text = "data: {root: photos}\nbackbone: {name: efficientnet_lite0, weights: none}\noutput: out\n"
    lab.write("my.YAML", text)
    small = ("--set", "backbone.preprocess={resize: 40, crop: 32}", "--C", "1")
    assert lab("train-head", "my.YAML", *small).code == 0
    by_name = lab("predict", "out", "photos")
    for command, rest in (("predict", ("photos",)), ("evaluate", ()), ("check", ()), ("extract", ("-o", "x.npz"))):
        arguments = (command, "my.YAML", *rest, *(small[:2] if command in ("check", "extract") else ()))
        done = lab(*arguments)
        assert done.code == 0, done.stderr
        assert "chosen" not in done.stderr
        if command == "predict":
            assert done.stdout == by_name.stdout
    done = lab("check", "my.YAML", "-c", "my.YAML")
    assert (done.code, done.stderr) == (2, "error: two configs: my.YAML and --config my.YAML\nLeave one out.\n")


def test_a_folder_beside_a_config_replaces_its_images(lab: Lab) -> None:
    lab.write("my.yaml", "data: {root: gone}\nbackbone: {name: efficientnet_lite0, weights: none}\nhead: {C: 1}\n")
    done = lab("train-head", "split", "-c", "my.yaml", "--set", "backbone.preprocess={resize: 40, crop: 32}")
    assert done.code == 0, done.stderr
    assert chosen(done.stderr) == ["output runs/split: the run's folder (-o)"]


def test_a_folder_may_be_called_like_a_config_or_a_flag(lab: Lab) -> None:
    for name in ("photos.yaml", "-photos"):
        shutil.copytree(lab.folder / "photos", lab.folder / name)
    done = lab("train-head", "photos.yaml", *QUICK)
    assert done.code == 0, done.stderr
    assert (lab.folder / "runs/photos.yaml/checkpoint.safetensors").is_file()
    done = lab("extract", "photos.yaml/cats", "-o", "cats.npz", *QUICK[:4])
    assert done.code == 0, done.stderr
    done = lab("train-head", "-photos", *QUICK)
    assert (done.code, done.stderr) == (2, "error: no such flag '-p'\nTo name the file or folder: ./-photos\n")
    assert lab("train-head", "./-photos", *QUICK).code == 0


def test_images_are_named_once_on_a_command_line(lab: Lab) -> None:
    done = lab("train-head", "photos", "--set", "data.root=split")
    said = "error: photos and --set data.root=split both name the images\nLeave one out.\n"
    assert (done.code, done.stderr) == (2, said)


def test_extract_of_a_folder_chooses_a_backbone(lab: Lab) -> None:
    done = lab("extract", "photos/cats", "-o", "cats.npz", *QUICK[:4])
    assert done.code == 0, done.stderr
    assert chosen(done.stderr) == [
        "backbone efficientnet_lite0: its weights are on this machine, 75.1 % on ImageNet (--backbone)"
    ]
    with np.load(lab.folder / "cats.npz") as file:
        assert file["features"].shape == (8, 1280)


def test_a_short_flag_is_another_spelling_of_its_set(lab: Lab) -> None:
    short = ("--backbone", "efficientnet_lite0", "--freeze-depth", "stage6", "--head", "linear", "--C", "[0.1, 1]")
    short += ("--epochs", "3", "--lr", "2e-3")
    long = ("backbone.name=efficientnet_lite0", "backbone.freeze_depth=stage6", "head.kind=linear", "head.C=[0.1, 1]")
    long += ("train.epochs=3", "train.lr=2e-3")
    both = [
        lab("check", "photos", "--for", "finetune", *QUICK[:4], *flags, "-v")
        for flags in (short, [part for value in long for part in ("--set", value)])
    ]
    assert [done.code for done in both] == [0, 0], both[0].stderr
    first, second = (planned(done.text) for done in both)
    assert first == second
    assert (first["head"]["C"], first["train"]["lr"]) == ([0.1, 1.0], 0.002)
    done = lab("check", "photos", *QUICK, "--C", "2", "-v")
    assert planned(done.text)["head"]["C"] == 2.0  # SMALL sets 1


@pytest.mark.parametrize(
    ("arguments", "lines"),
    [
        (
            ("train-head",),
            (
                "error: no images were named",
                "Name a folder with one folder of images per class, or a config: featcli train-head FOLDER",
            ),
        ),
        (
            ("check", "phots"),
            (
                "error: no such folder or config: phots; did you mean 'photos'?",
                "Name a folder with one folder of images per class, or a config: featcli check FOLDER",
            ),
        ),
        (("train-head", "photo.yaml"), ("error: photo.yaml: no such file; did you mean 'photos.yaml'?",)),
        (
            ("finetune", "photos", "split"),
            (
                "error: one folder or config, not 2: photos split",
                "Put what belongs together into one folder, with a folder per class; or list it in a table.",
            ),
        ),
        (
            ("train-head", "one.jpg"),
            (
                "error: one.jpg is an image, not a folder of images or a config",
                "Name a folder with one folder of images per class, or a config: featcli train-head FOLDER",
            ),
        ),
        (
            ("train-head", "photos.zip"),
            (
                "error: photos.zip is an archive, to be unpacked first, not a folder of images or a config",
                "Unpack it, then: featcli train-head FOLDER",
            ),
        ),
        (
            ("train-head", "run"),
            (
                "error: run is a run, not a folder of images",
                "To repeat it: featcli train-head run/config.yaml",
                "To use it: featcli predict run NEW_PHOTOS",
            ),
        ),
        (
            ("finetune", "run"),
            (
                "error: run is a run, not a folder of images",
                "To fine-tune it: featcli finetune run/config.yaml --freeze-depth stage5 -o run-tuned",
                "To use it: featcli predict run NEW_PHOTOS",
            ),
        ),
        (
            ("finetune", "tuned", "--resume"),
            (
                "error: tuned is a run, not a folder of images",
                "To go on with it: featcli finetune --resume -o tuned",
                "To use it: featcli predict tuned NEW_PHOTOS",
            ),
        ),
        (
            ("predict", "photos", "run"),
            ("error: photos is not a run, which comes first", "featcli predict run photos"),
        ),
        (
            ("predict", "runs", "one.jpg", "one.jpg"),
            (
                "error: runs is a folder of runs, not a run",
                "The run comes first: featcli predict runs/photos one.jpg",
            ),
        ),
        (
            ("info",),
            ("error: no checkpoint or run was named", "The run comes first: featcli info runs/photos"),
        ),
        (
            ("evaluate", "runs"),
            (
                "error: runs is a folder of runs, not a run",
                "The run comes first: featcli evaluate runs/photos",
            ),
        ),
        (
            ("train-head", "photos", "--set", "head.C=[0.1,", "1]"),
            (
                "error: --set head.C=[0.1,: the shell divided the value at its spaces",
                "Quote it: --set 'head.C=[0.1, 1]'",
            ),
        ),
        (
            ("train-head", "photos", "--C", "[0.1,", "1]"),
            ("error: --C [0.1,: the shell divided the value at its spaces", "Quote it: --C '[0.1, 1]'"),
        ),
        (
            ("predict", "run", "--set", "backbone.preprocess={crop:", "32,", "resize:", "40}", "one.jpg"),
            (
                "error: --set backbone.preprocess={crop:: the shell divided the value at its spaces",
                "Quote it: --set 'backbone.preprocess={crop: 32, resize: 40}'",
            ),
        ),
        (
            ("train-head", "photos", "--set", "head.C=1", "head.kind=mlp"),
            ("error: unexpected argument 'head.kind=mlp'", "To set a value: --set head.kind=mlp"),
        ),
        (
            ("evaluate", "photos", "runs/photos"),
            ("error: photos is not a run, which comes first", "featcli evaluate runs/photos photos"),
        ),
        (
            ("finetune", "--resume", "tuned"),
            (
                "error: tuned is a run, not a folder of images",
                "To go on with it: featcli finetune --resume -o tuned",
                "To use it: featcli predict tuned NEW_PHOTOS",
            ),
        ),
        (
            ("evaluate", "run", "labels.csv"),
            (
                "error: labels.csv is a file, not a folder of images",
                "A table of images is named so: --set data.manifest=FILE; single images: featcli predict RUN IMAGE",
            ),
        ),
        (
            ("predict", "runs", "photos"),
            (
                "error: runs is a folder of runs, not a run",
                "The run comes first: featcli predict runs/photos photos",
            ),
        ),
        (
            ("predict",),
            ("error: no checkpoint or run was named", "The run comes first: featcli predict runs/photos NEW_PHOTOS"),
        ),
        (
            ("predict", "one.jpg"),
            (
                "error: one.jpg is an image, not a checkpoint or a run",
                "The run comes first: featcli predict runs/photos one.jpg",
            ),
        ),
        (
            ("evaluate", "photos"),
            (
                "error: photos is a folder without a checkpoint, not a run",
                "The run comes first: featcli evaluate runs/photos photos",
            ),
        ),
        (
            ("evaluate", "rnu", "photos"),
            (
                "error: no such checkpoint or run: rnu; did you mean 'run'?",
                "The run comes first: featcli evaluate runs/photos photos",
            ),
        ),
        (
            ("info", "photos"),
            (
                "error: photos is a folder without a checkpoint, not a run",
                "The run comes first: featcli info runs/photos",
            ),
        ),
        (
            ("predict", "half", "one.jpg"),
            (
                "error: half is an unfinished run: it has no checkpoint.safetensors",
                "Run it again: featcli train-head half/config.yaml",
            ),
        ),
        (
            ("check", "photos", "--epochs", "none", "--lr", "-1", "--C", "0", "--backbone", "resnet19"),
            (
                "error: --backbone resnet19: unknown backbone 'resnet19'; did you mean 'resnet18', "
                "'resnet152' or 'resnet101'?",
                "error: --C 0: expected auto, a number above 0 or a list of numbers above 0, got 0",
                "error: --epochs none: expected an integer of at least 1, got 'none'",
                "error: --lr -1: expected a number of at least 0, got -1",
            ),
        ),
    ],
    ids=lambda value: " ".join(value) if value[0].islower() and "error" not in value[0] else "",
)
def test_a_wrong_start_ends_in_the_line_to_type(
    lab: Lab, trained: Lab, arguments: tuple[str, ...], lines: tuple[str, ...]
) -> None:
    shutil.copytree(trained.folder / "run", lab.folder / "runs" / "photos")
    shutil.copytree(trained.folder / "run", lab.folder / "run")
    lab.write("tuned/last.json", "{}")
    lab.write("half/config.yaml", (trained.folder / "run/config.yaml").read_bytes())
    lab.write("tuned/last.json", "{}")
    lab.write("labels.csv", "path,label\n")
    lab.write("photos.zip", b"PK\3\4")
    lab.write("photos.yaml", "seed: 1\n")
    shutil.copy(lab.folder / "photos/cats/00.png", lab.folder / "one.jpg")
    before = tree(lab.folder)
    done = lab(*arguments)
    assert (done.code, done.stdout) == (2, b"")
    assert tuple(done.stderr.splitlines()[: len(lines)]) == lines
    assert tree(lab.folder) == before


def test_without_a_run_the_line_says_how_to_make_one(lab: Lab) -> None:
    done = lab("predict", "photos/cats/00.png")
    assert done.stderr == (
        "error: photos/cats/00.png is an image, not a checkpoint or a run\n"
        "The run comes first: featcli predict RUN photos/cats/00.png. To make one: featcli train-head FOLDER\n"
    )


def test_a_hash_in_a_value_is_no_comment(lab: Lab) -> None:
    done = lab("check", "photos", *QUICK, "--set", "output=runs/a #b", "-v")
    assert planned(done.text)["output"] == f"{lab.folder}/runs/a #b"


def test_the_next_command_is_one_that_works(lab: Lab) -> None:
    done = lab("train-head", "photos", *QUICK)
    steps = [line[10:].split() for line in done.stderr.splitlines() if "featcli " in line]
    assert line_of(done.stderr, "next") == "next      featcli predict runs/photos NEW_PHOTOS"
    for _, command, *arguments in steps:
        tried = lab(command, *["photos" if part == "NEW_PHOTOS" else part for part in arguments], "--dry-run")
        assert tried.code == 0, tried.stderr
