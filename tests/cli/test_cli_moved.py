"""Projects, runs, images and weights that lie elsewhere than when the run was made: known by their content."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from tests.cli.lab import SHORT, SMALL, TUNED_FILES, Lab, names, strict_json, tree
from tests.cli.test_cli_finetune import AT_STEP, KILL

pytestmark = pytest.mark.slow

PROJECT = (
    "data: {root: photos}\n"
    "backbone: {name: efficientnet_lite0, weights: none, preprocess: {resize: 40, crop: 32}, freeze_depth: 4}\n"
    "head: {C: 1.0}\ntrain: {epochs: 2, batch_size: 4, augment: flip}\noutput: runs/one\nseed: 3\n"
)


@pytest.fixture
def project(lab: Lab) -> Lab:
    """A folder `a` with images and a config that names them by relative paths."""
    shutil.copytree(lab.folder / "photos", lab.folder / "a" / "photos")
    lab.write("a/cats.yaml", PROJECT)
    return lab


def move(lab: Lab) -> Path:
    """Moves the project, and gives its new folder."""
    there = lab.folder / "b" / "moved"
    there.parent.mkdir()
    shutil.move(lab.folder / "a", there)
    return there


def test_a_head_is_trained_again_in_a_project_that_was_moved(project: Lab) -> None:
    first = project("train-head", "-c", "a/cats.yaml")
    assert first.code == 0, first.stderr
    before = (project.folder / "a/runs/one/checkpoint.safetensors").read_bytes()
    there = move(project)
    done = project("train-head", "-c", "b/moved/cats.yaml")
    assert done.code == 0, done.stderr
    assert (
        f"note: data.root was {project.folder}/a/photos when this run was made, and is {there}/photos now: "
        "the same content\n" in done.stderr
    )
    assert "changes   no image changed, since the run that this replaces\n" in done.stderr
    assert (there / "runs/one/checkpoint.safetensors").read_bytes() == before
    assert yaml.safe_load((there / "runs/one/config.yaml").read_text())["data"]["root"] == f"{there}/photos"


def test_one_more_image_at_the_new_place_is_one_more_image(project: Lab, make_folder) -> None:
    assert project("train-head", "-c", "a/cats.yaml").code == 0
    there = move(project)
    make_folder(there / "photos", {"cats": 1, "dogs": 0}, start=70)
    done = project("train-head", "-c", "b/moved/cats.yaml")
    assert done.code == 0, done.stderr
    assert "changes   1 added" in done.stderr


def test_an_unfinished_training_goes_on_where_its_project_was_moved(project: Lab) -> None:
    whole = project("finetune", "-c", "a/cats.yaml", "-o", "whole")
    assert whole.code == 0, whole.stderr
    stop = project.preload(AT_STEP.format(k=4, what=KILL))
    assert project("finetune", "-c", "a/cats.yaml", preload=stop).code == -9
    there = move(project)
    # With the folder alone: its config names the images at their old place.
    done = project("finetune", "--resume", "-o", "b/moved/runs/one")
    assert done.code == 0, done.stderr
    assert f"note: this run was moved from {project.folder}/a/runs/one: data.root is {there}/photos\n" in done.stderr
    assert names(there / "runs/one") == TUNED_FILES
    for name in ("checkpoint.safetensors", "metrics.jsonl"):
        assert (there / "runs/one" / name).read_bytes() == (project.folder / "whole" / name).read_bytes()
    again = project("finetune", "-c", "b/moved/cats.yaml", "--resume")
    assert (again.code, again.text) == (0, f"{there}/runs/one/checkpoint.safetensors\n")


def test_resuming_with_the_folder_alone(lab: Lab) -> None:
    assert lab.finetune(preload=lab.preload(AT_STEP.format(k=4, what=KILL))).code == -9
    before = tree(lab.folder / "run")
    done = lab("finetune", "--resume", "-o", "run", "--set", "train.lr=0.5")
    assert done.code == 2
    assert done.stderr.endswith(
        ", now 0.5\nLeave out what changed to go on with it, or choose another folder with -o.\n"
    )
    assert {name: item for name, item in tree(lab.folder / "run").items() if name not in (".", ".lock")} == {
        name: item for name, item in before.items() if name not in (".", ".lock")
    }
    done = lab("finetune", "--resume", "-o", "run")
    assert done.code == 0, done.stderr
    assert names(lab.folder / "run") == TUNED_FILES


def test_nothing_to_resume_and_no_config(lab: Lab) -> None:
    done = lab("finetune", "--resume", "-o", "nowhere")
    assert (done.code, done.stdout) == (2, b"")
    assert done.stderr == (
        "error: nothing to resume in nowhere: it holds no training\n"
        "Name the folder of an unfinished run with -o, or start one: featcli finetune FOLDER\n"
    )
    assert not (lab.folder / "nowhere").exists()


@pytest.mark.parametrize("command", ["train-head", "finetune"])
def test_other_images_at_another_place_are_another_run(lab: Lab, make_folder, command: str) -> None:
    make_folder(lab.folder / "others", {"cats": 6, "dogs": 6}, start=40)
    options = (*SMALL, *SHORT, "--set", "backbone.freeze_depth=4", "-o", "run")
    assert lab(command, *options, "--set", "data.root=photos").code == 0
    before = tree(lab.folder / "run")
    message = (
        f"error: the output {lab.folder}/run holds another run: data.root was {lab.folder}/photos, now "
        f"{lab.folder}/others, where 0 of its 16 images are\n"
        "Choose another folder with -o, or replace what it holds with --overwrite.\n"
    )
    for extra in ((), ("--dry-run",)):
        done = lab(command, *options, "--set", "data.root=others", *extra)
        assert (done.code, done.stdout) == (2, b"")
        assert done.stderr.endswith(message)
    assert {name: item[0] for name, item in tree(lab.folder / "run").items()} == {
        name: item[0] for name, item in before.items()
    }
    done = lab(command, *options, "--set", "data.root=others", "--overwrite")
    assert done.code == 0, done.stderr


def test_the_same_images_with_other_labels_are_another_run(lab: Lab) -> None:
    assert lab.train().code == 0
    shutil.copytree(lab.folder / "photos", lab.folder / "moods")
    for before, now in (("cats", "calm"), ("dogs", "wild")):
        (lab.folder / "moods" / before).rename(lab.folder / "moods" / now)
    before = (lab.folder / "run/checkpoint.safetensors").read_bytes()
    done = lab.train(data="moods")
    assert done.code == 2
    assert "moods, where 0 of its 16 images have the label that they had\n" in done.stderr
    assert (lab.folder / "run/checkpoint.safetensors").read_bytes() == before


def test_without_a_list_of_images_another_place_is_another_run(lab: Lab) -> None:
    assert lab.train().code == 0
    shutil.copytree(lab.folder / "photos", lab.folder / "copy")
    (lab.folder / "run" / "images.csv").unlink()
    done = lab.train(data="copy")
    assert done.code == 2
    assert f"now {lab.folder}/copy, and its images are not known\n" in done.stderr


def test_weights_at_another_place(lab: Lab) -> None:
    assert lab.train().code == 0
    weights = lab.folder / "run" / "checkpoint.safetensors"
    shutil.copy(weights, lab.folder / "one.safetensors")
    shutil.copy(weights, lab.folder / "two.safetensors")
    assert lab.train("--set", "backbone.weights=one.safetensors", output="other").code == 0
    done = lab.train("--set", "backbone.weights=two.safetensors", output="other")
    assert done.code == 0, done.stderr
    assert f"is {lab.folder}/two.safetensors now: the same content\n" in done.stderr
    assert lab.train("--seed", "5", output="seeded").code == 0
    shutil.copy(lab.folder / "seeded" / "checkpoint.safetensors", lab.folder / "three.safetensors")
    done = lab.train("--set", "backbone.weights=three.safetensors", output="other")
    assert done.code == 2
    assert f"now {lab.folder}/three.safetensors, with other weights\n" in done.stderr


def test_a_run_is_evaluated_where_its_project_was_moved(project: Lab) -> None:
    assert project("train-head", "-c", "a/cats.yaml").code == 0
    there = move(project)
    config = (there / "runs/one/config.yaml").read_text()
    for path in (there / "runs/one").iterdir():
        path.chmod(0o444)
    (there / "runs/one").chmod(0o555)
    before = tree(there)
    done = project("evaluate", "b/moved/runs/one", "--parity", "--json")
    assert done.code == 0, done.stderr
    assert f"data.root is {there}/photos\n" in done.stderr
    assert strict_json(done.text)["trained_on"] == 0
    assert project("evaluate", "-c", "b/moved/runs/one/config.yaml", "--parity").code == 0
    assert tree(there) == before
    # The run alone elsewhere: said, with the way; and the rule of the split is the run's, with its seed.
    (there / "runs/one").chmod(0o755)
    shutil.move(there / "runs/one", project.folder / "alone")
    done = project("evaluate", "alone")
    assert (done.code, done.stdout) == (2, b"")
    assert f"data.root: no such folder: {project.folder}/a/photos\n" in done.stderr
    assert "--set data.root=..." in done.stderr
    done = project("evaluate", "alone", "--set", "data.root=b/moved/photos", "--parity")
    assert done.code == 0, done.stderr
    assert (project.folder / "alone/config.yaml").read_text() == config


def test_a_copy_of_a_run_is_a_run_of_its_own(lab: Lab) -> None:
    assert lab.train().code == 0
    shutil.copytree(lab.folder / "run", lab.folder / "copy")
    before = tree(lab.folder / "run")
    done = lab("evaluate", "copy", "--parity")
    assert done.code == 0, done.stderr
    assert lab.train(output="copy").code == 0
    assert tree(lab.folder / "run") == before
