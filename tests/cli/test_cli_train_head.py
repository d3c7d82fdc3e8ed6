"""`featcli train-head`: exit code, stdout, stderr and the run folder."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from tests.cli.lab import (
    BACKBONE_LINE,
    RUN_FILES,
    SMALL,
    Lab,
    cut,
    head_of,
    line_of,
    names,
    read_csv,
    strict_json,
    tree,
)

pytestmark = pytest.mark.slow


def test_a_folder_of_classes(lab: Lab) -> None:
    done = lab.train()
    run = lab.folder / "run"
    assert (done.code, done.text) == (0, f"{run}/checkpoint.safetensors\n")
    assert done.stderr == (
        BACKBONE_LINE + "data      12 train, 4 val; 2 classes: cats, dogs\n"
        "features  16 computed, 0 from the store\n"
        "head      logistic, C 1\n"
        f"{line_of(done.stderr, 'confidence temperature ')}\n"
        "note: novelty cannot be told: it takes 40 training images that differ; here are 12\n"
        "held out  accuracy 1.000 (95 % interval 0.758 to 1.000), 12 images, each left out in turn\n"
        "val       accuracy 1.000 (95 % interval 0.510 to 1.000, n = 4)\n"
        "          majority-class baseline 0.500; balanced accuracy 1.000\n"
        f"{line_of(done.stderr, '          expected calibration error (ECE) ')}\n"
        "          AUROC 1.000 (0.386 to 1.000)\n"
        "training  accuracy 1.000 on 12 images that it learned from\n"
        "note: which class is to be found? --set data.positive=cats (or dogs) adds sensitivity and thresholds\n"
        "next      featcli predict run NEW_PHOTOS\n"
        "          featcli evaluate run --parity\n"
    )
    assert names(run) == RUN_FILES

    checkpoint = (run / "checkpoint.safetensors").read_bytes()
    assert str(lab.folder).encode() not in checkpoint
    metrics = strict_json((run / "metrics.json").read_text())
    assert list(metrics) == ["checkpoint_sha256", "val", "head", "memory"]
    assert metrics["checkpoint_sha256"] == hashlib.sha256(checkpoint).hexdigest()
    assert (metrics["val"]["n"], metrics["val"]["accuracy"], metrics["val"]["top5_accuracy"]) == (4, 1.0, None)
    assert metrics["val"]["confusion"] == [[2, 0], [0, 2]]
    rows = read_csv(run / "predictions.csv")
    assert list(rows[0]) == ["path", "split", "true_label", "label", "confidence"]
    assert [row["path"] for row in rows] == sorted(row["path"] for row in rows)
    assert [(row["split"], row["true_label"], row["label"]) for row in rows] == [("val", "cats", "cats")] * 2 + [
        ("val", "dogs", "dogs")
    ] * 2
    events = [strict_json(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events] == ["features", "head", "val"]


def test_running_the_resolved_config_gives_the_same_run(lab: Lab) -> None:
    assert lab.train().code == 0
    done = lab("train-head", "--config", "run/config.yaml", "-o", "again")
    assert done.code == 0, done.stderr
    for name in ("checkpoint.safetensors", "predictions.csv", "metrics.jsonl"):
        first, second = ((lab.folder / run / name).read_bytes() for run in ("run", "again"))
        assert first.replace(b'"computed": 16', b'"computed": 0') == second


def test_splits_that_the_user_made(lab: Lab) -> None:
    done = lab.train(data="split", output="run")
    assert done.code == 0
    assert "data      12 train, 6 val, 4 test; 2 classes: cats, dogs\n" in done.stderr
    assert "test      accuracy 1.000 (95 % interval 0.510 to 1.000, n = 4)" in done.stderr
    metrics = strict_json((lab.folder / "run" / "metrics.json").read_text())
    assert [metrics[split]["n"] for split in ("val", "test")] == [6, 4]
    rows = read_csv(lab.folder / "run" / "predictions.csv")
    assert [row["split"] for row in rows] == ["val"] * 6 + ["test"] * 4
    assert all(f"/split/{row['split']}/{row['label']}/" in row["path"] for row in rows)


def test_json_is_one_strict_object(lab: Lab) -> None:
    done = lab.train("--json", "-q")
    summary = strict_json(done.text)
    assert (done.code, done.stderr) == (0, "")
    assert summary["checkpoint"] == f"{lab.folder}/run/checkpoint.safetensors"
    assert summary["classes"] == ["cats", "dogs"]
    assert summary["features"] == {"computed": 16, "stored": 0, "errors": 0}
    assert (summary["val"]["n"], summary["val"]["accuracy"], summary["head"]) == (4, 1.0, {"kind": "logistic", "C": 1})


def test_the_same_command_again(lab: Lab) -> None:
    assert lab.train().code == 0
    before = {name: (lab.folder / "run" / name).read_bytes() for name in RUN_FILES}
    done = lab.train("--json")
    assert done.code == 0
    assert strict_json(done.text)["features"] == {"computed": 0, "stored": 16, "errors": 0}
    assert "features  0 computed, 16 from the store\n" in done.stderr
    after = {name: (lab.folder / "run" / name).read_bytes() for name in RUN_FILES}
    assert [name for name in RUN_FILES if before[name] != after[name]] == ["metrics.jsonl", "timings.json"]


def test_ten_more_images_compute_ten(lab: Lab, make_folder: object) -> None:
    assert lab.train().code == 0
    make_folder(lab.folder / "photos", {"cats": 5, "dogs": 5}, start=50)  # type: ignore[operator]
    done = lab.train("--json")
    assert strict_json(done.text)["features"] == {"computed": 10, "stored": 16, "errors": 0}


def test_an_output_that_holds_another_run(lab: Lab) -> None:
    assert lab.train().code == 0
    before = tree(lab.folder / "run")
    message = (
        f"error: the output {lab.folder}/run holds another run: head.C was 1.0, now 2.0; seed was 0, now 7\n"
        "Choose another folder with -o, or replace what it holds with --overwrite.\n"
    )
    for extra in ([], ["--dry-run"]):
        done = lab.train("--set", "head.C=2", "--seed", "7", *extra)
        assert (done.code, done.stdout, done.stderr) == (2, b"", message)
    assert tree(lab.folder / "run") == before
    assert lab.train("--set", "head.C=2", "--seed", "7", "--overwrite").code == 0
    assert names(lab.folder / "run") == RUN_FILES
    assert yaml.safe_load((lab.folder / "run" / "config.yaml").read_text())["seed"] == 7


def test_where_and_how_fast_make_no_other_run(lab: Lab) -> None:
    assert lab.train().code == 0
    first = (lab.folder / "run" / "checkpoint.safetensors").read_bytes()
    shutil.move(lab.folder / "run", lab.folder / "moved")
    done = lab.train("--workers", "1", "--batch-size", "3", "--device", "cpu", output="moved")
    assert done.code == 0, done.stderr
    assert (lab.folder / "moved" / "checkpoint.safetensors").read_bytes() == first


def test_an_output_that_is_somebody_elses(lab: Lab) -> None:
    lab.write("run/letter.txt", "Dear diary")
    done = lab.train()
    assert (done.code, done.stdout) == (2, b"")
    assert done.stderr == (
        f"error: the output {lab.folder}/run is not a run's folder: it holds letter.txt\n"
        "Choose another folder with -o. (--overwrite would write the run beside what it holds.)\n"
    )
    assert names(lab.folder / "run") == ["letter.txt"]
    assert lab.train("--overwrite").code == 0
    assert (lab.folder / "run" / "letter.txt").read_text() == "Dear diary"


@pytest.mark.parametrize("output", ["photos", "photos/run"])
def test_an_output_among_the_images(lab: Lab, output: str) -> None:
    before = tree(lab.folder / "photos")
    done = lab.train(output=output)
    assert (done.code, done.stdout) == (2, b"")
    assert done.stderr == (
        f"error: the output {lab.folder}/{output} lies inside data.root {lab.folder}/photos, "
        "where it would be taken for a class\nChoose a folder beside the images with -o.\n"
    )
    assert tree(lab.folder / "photos") == before


def test_an_output_that_cannot_be_written(lab: Lab) -> None:
    lab.write("file", "")
    done = lab.train(output="file/run")
    assert (done.code, done.stdout) == (4, b"")
    assert done.stderr == (
        f"error: cannot write {lab.folder}/file/run: Not a directory\n"
        "Choose a place that can be written to, with -o (results) or --cache (features).\n"
    )


def test_a_full_disk_leaves_the_earlier_run_as_it_was(lab: Lab) -> None:
    assert lab.train().code == 0
    before = tree(lab.folder / "run")
    limit = lab.preload("import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (3_000_000, -1))\n")
    done = lab.train("--overwrite", "--set", "head.C=5", preload=limit)
    assert (done.code, done.stdout) == (4, b"")
    assert f"error: cannot write {lab.folder}/run/checkpoint.safetensors: File too large\n" in done.stderr
    assert "Traceback" not in done.stderr
    after = tree(lab.folder / "run")
    assert {name: after[name] for name in RUN_FILES} == {name: before[name] for name in RUN_FILES}
    assert names(lab.folder / "run") == RUN_FILES


def test_dry_run_writes_nothing(lab: Lab) -> None:
    (lab.folder / "cache").mkdir()
    before = tree(lab.folder)
    done = lab.train("--dry-run", "-v", "--cache", lab.folder / "cache")
    assert done.code == 0
    assert tree(lab.folder) == before
    plan = done.text.splitlines()
    assert plan[0] == "plan"
    assert [line for line in plan if "0 stored, 16 to compute" in line]
    assert "    class   train     val" in plan
    assert "    cats        6       2" in plan
    settings = yaml.safe_load("\n".join(plan[plan.index("config") + 1 :]))
    assert settings["output"] == f"{lab.folder}/run"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ((), "  head        logistic, C 1, under a second here\n"),
        (("head.C=auto",), "  head        logistic, C from 7 values in 5 folds, under a second here\n"),
        (("head.kind=mlp",), "  head        mlp, 10 epochs of 1 step, under a second here\n"),
        (("head.kind=linear", "head.init=random"), "  head        linear, 10 epochs of 1 step, under a second here\n"),
    ],
)
def test_the_plan_says_how_long_the_head_takes(lab: Lab, options: tuple[str, ...], said: str) -> None:
    done = lab("check", *SMALL, "--set", "data.root=photos", *(f"--set={option}" for option in options))
    assert done.code == 0, done.stderr
    assert said in done.text
    done = lab("check", *SMALL, "--set", "data.root=photos", *(f"--set={option}" for option in options), "--json")
    plan = strict_json(done.text)["head"]
    assert plan["estimated_seconds"] < 1
    assert said == f"  head        {plan['kind']}, {plan['choice']}, under a second here\n"


def test_too_few_images_to_choose_C_are_said_before_the_work_and_it_goes_on(lab: Lab) -> None:
    options = (*SMALL, "--set", "data.root=split", "--limit", "1")
    said = "warning: too few training images to choose C by cross-validation: it is 1, as head.C: 1 makes it\n"
    plan = lab("check", *options, "--set", "head.C=auto")
    assert (plan.code, plan.stderr.count(said)) == (0, 1)
    assert "  head        logistic, C 1, under a second here\n" in plan.text
    done = lab("train-head", *options, "--set", "head.C=auto", "-o", "run")
    assert (done.code, done.stderr.count(said)) == (0, 1)
    assert strict_json((lab.folder / "run" / "metrics.json").read_text())["head"]["C"] == 1.0
    for command in (("check",), ("train-head", "-o", "other")):
        done = lab(*command, *options, "--set", "head.C=[0.1, 10]")
        assert (done.code, done.text) == (2, "")
        assert "--set head.C=[0.1, 10]: too few training images to choose from 2 values by" in done.stderr
        assert done.stderr.endswith("Give one value: head.C: 1.\n")


def test_limit_takes_the_first_of_each_class_and_split(lab: Lab) -> None:
    done = lab.train("--limit", "2", "--json", data="split")
    assert done.code == 0
    summary = strict_json(done.text)
    assert summary["features"] == {"computed": 12, "stored": 0, "errors": 0}
    assert (summary["val"]["n"], summary["test"]["n"]) == (4, 4)
    rows = read_csv(lab.folder / "run" / "predictions.csv")
    assert [row["path"].rsplit("/", 1)[1] for row in rows if row["split"] == "val"] == ["20.png", "21.png"] * 2


def test_flags_beat_set_and_set_beats_the_file(lab: Lab) -> None:
    text = "data: {root: ../photos}\nhead: {C: 5.0}\nseed: 1\noutput: from-file\nloader: {batch_size: 1}\n"
    config = lab.write("configs/cats.yaml", text)
    small = SMALL[:-2]  # without the C
    done = lab(
        *("train-head", *small, "-c", config, "--set", "head.C=2", "--set", "head.C=3", "--set", "seed=2"),
        *("--seed", "3", "--set", "output=from-set", "-o", "from-flag", "--batch-size", "16"),
    )
    assert done.code == 0, done.stderr
    settings = yaml.safe_load((lab.folder / "from-flag" / "config.yaml").read_text())
    assert (settings["head"]["C"], settings["seed"], settings["loader"]["batch_size"]) == (3.0, 3, 16)
    assert settings["data"]["root"] == f"{lab.folder}/photos"
    assert not {"from-file", "from-set"} & set(names(lab.folder))
    assert lab("train-head", *small, "-c", config, "--seed", "1").code == 0
    assert (lab.folder / "configs" / "from-file" / "checkpoint.safetensors").is_file()


def test_a_freeze_depth_gets_one_note(lab: Lab) -> None:
    done = lab.train("--set", "backbone.freeze_depth=1")
    assert done.code == 0
    note = "note: not used by train-head with a logistic head: backbone.freeze_depth (every stage is frozen)\n"
    assert done.stderr.count("freeze") == note.count("freeze")
    assert note in done.stderr
    assert json.loads(lab("info", "run", "--json").text)["freeze_depth"] == "all"


def test_balanced_classes(lab: Lab) -> None:
    for path in sorted((lab.folder / "photos" / "cats").iterdir())[2:]:
        path.unlink()
    assert lab.train(output="none").code == 0
    assert lab.train("--set", "head.class_weight=balanced", output="balanced").code == 0
    metrics = strict_json((lab.folder / "balanced" / "metrics.json").read_text())
    assert metrics["head"]["class_weight"] == "balanced"
    plain, balanced = (head_of(lab.folder / name)["head.weight"] for name in ("none", "balanced"))
    assert not np.array_equal(plain, balanced)


def test_one_image_in_a_class(lab: Lab) -> None:
    for path in sorted((lab.folder / "photos" / "cats").iterdir())[1:]:
        path.unlink()
    done = lab.train("--set", "head.C=auto")
    assert done.code == 0
    warning = "warning: one image to train on in class cats: add more, a single one says little\n"
    assert warning in done.stderr
    assert "7 train, 2 val" in done.stderr


def test_too_few_images_for_a_validation_split(lab: Lab) -> None:
    for name in ("cats", "dogs"):
        for path in sorted((lab.folder / "photos" / name).iterdir())[2:]:
            path.unlink()
    done = lab.train("--json")
    assert done.code == 0
    assert "warning: no image is left for validation: the accuracy will not be known\n" in done.stderr
    assert strict_json(done.text)["val"] is None
    assert strict_json((lab.folder / "run" / "metrics.json").read_text())["val"] is None
    assert "validation   unknown: there were no validation images\n" in lab("info", "run").text
    done = lab("evaluate", "run")
    assert (done.code, done.stderr) == (
        2,
        f"error: {lab.folder}/photos has no images in its val split\nName a labelled folder.\n",
    )


def test_every_image_is_trained_on_where_none_is_to_be_held_out(lab: Lab) -> None:
    """With folds for C, images that cannot be read, and what a checkpoint without validation answers later."""
    lab.write("photos/cats/broken.png", b"no image")
    done = lab.train("--set", "data.val_fraction=0", "--set", "head.C=[0.1, 1.0]", "--json")
    assert done.code == 3
    assert "data      17 train; 2 classes: cats, dogs\n" in done.stderr
    assert (
        "warning: data.val_fraction is 0: every image is trained on, and the accuracy will not be known\n"
        in done.stderr
    )
    assert "chosen from 2 by cross-validation" in done.stderr
    metrics = strict_json((lab.folder / "run" / "metrics.json").read_text())
    assert (strict_json(done.text)["val"], metrics["val"], "test" in metrics) == (None, None, False)
    assert metrics["head"]["train_accuracy_n"] == 16
    info = lab("info", "run").text
    assert "validation   unknown: there were no validation images\n" in info
    assert "split        by content hash, seed 0, validation fraction 0\n" in info
    done = lab("evaluate", "run", "--parity")
    assert (done.code, done.text) == (1, "")
    assert done.stderr == (
        "error: parity cannot be shown: run/checkpoint.safetensors was trained without validation images\n"
        "Hold some out with data.val_fraction, or evaluate it on a labelled folder without --parity.\n"
    )
    done = lab("predict", "-c", "run/config.yaml")
    assert (done.code, done.text) == (2, "")
    assert done.stderr.endswith(
        f"error: nothing to predict: {lab.folder}/photos has neither test nor validation images\n"
        "Name files or folders.\n"
    )
    assert lab("predict", "run", "photos/cats/00.png").code == 0
    assert "none for validation: data.val_fraction is 0" in lab("check", "-c", "run/config.yaml").text


def test_identical_files_are_said(lab: Lab) -> None:
    twins = (("train/cats/00.png", "train/dogs/90.png"), ("train/dogs/01.png", "val/dogs/91.png"))
    for first, second in twins:
        shutil.copyfile(lab.folder / "split" / first, lab.folder / "split" / second)
    done = lab.train(data="split")
    assert done.code == 0
    root = f"{lab.folder}/split"
    assert f"warning: identical files under two classes: {root}/train/cats/00.png (cats) and {root}/" in done.stderr
    assert f"{root}/train/dogs/01.png (train) and {root}/val/dogs/91.png (val)\n" in done.stderr


def test_corrupt_images_cost_their_row_and_nothing_else(lab: Lab) -> None:
    clean = lab.folder / "clean"
    shutil.copytree(lab.folder / "split", clean)
    cut(lab.folder / "split" / "train" / "cats" / "02.png")
    (clean / "train" / "cats" / "02.png").unlink()
    lab.write("split/val/dogs/21.png", "no image at all")
    lab.write("split/val/dogs/22.png", b"")
    reference = lab.train(data="clean", output="reference")
    assert reference.code == 0

    done = lab.train("--max-bad", "2", data="split")
    root = f"{lab.folder}/split"
    assert (done.code, done.text) == (3, f"{lab.folder}/run/checkpoint.safetensors\n")
    unreadable = [line for line in done.stderr.splitlines() if line.startswith("unreadable: ")]
    assert [line.split(": ")[1] for line in unreadable] == [
        f"{root}/train/cats/02.png",
        f"{root}/val/dogs/21.png",
        f"{root}/val/dogs/22.png",
    ]
    assert unreadable[0].startswith(f"unreadable: {root}/train/cats/02.png: damaged image: ")
    assert unreadable[2] == f"unreadable: {root}/val/dogs/22.png: the file is empty"
    assert done.stderr.endswith(
        "error: 3 images could not be read\nEverything else is done. --max-bad N tolerates N of them.\n"
    )

    assert names(lab.folder / "run") == RUN_FILES
    for name, tensor in head_of(lab.folder / "reference").items():
        np.testing.assert_array_equal(head_of(lab.folder / "run")[name], tensor)
    rows = {row["path"].removeprefix(f"{root}/"): row for row in read_csv(lab.folder / "run" / "predictions.csv")}
    assert len(rows) == 10
    assert (rows["val/dogs/21.png"]["label"], rows["val/dogs/21.png"]["confidence"]) == ("", "")
    assert rows["val/dogs/20.png"]["label"] == "dogs"
    val = strict_json((lab.folder / "run" / "metrics.json").read_text())["val"]
    assert (val["n"], val["n_errors"], val["accuracy"]) == (6, 2, 4 / 6)

    tolerant = lab.train("--max-bad", "3", data="split")
    assert (tolerant.code, "error:" in tolerant.stderr) == (0, False)
    assert [line for line in tolerant.stderr.splitlines() if line.startswith("unreadable: ")] == unreadable


def test_a_class_without_a_readable_image(lab: Lab) -> None:
    for path in (lab.folder / "photos" / "cats").iterdir():
        cut(path)
    done = lab.train()
    assert (done.code, done.stdout) == (3, b"")
    assert "error: no readable image to train on in class cats; for example " in done.stderr
    assert f"{lab.folder}/photos/cats/00.png: damaged image: " in done.stderr
    assert not (lab.folder / "run").exists()


def test_what_is_passed_over_is_counted(lab: Lab) -> None:
    lab.write("photos/cats/notes.txt", "x")
    lab.write("photos/cats/.hidden.png", "x")
    lab.write("photos/readme.md", "x")
    lab.write("photos/.git/config", "x")
    done = lab.train()
    assert done.code == 0
    note = f"note: skipped in {lab.folder}/photos: 1 beside the class folders, 2 hidden, 1 named *.txt\n"
    assert note in done.stderr


def test_names_of_classes_are_only_names(lab: Lab) -> None:
    classes = ["-c", "1", "10", "2", "=1+1", "[red]cats", "a\nb", "naïve 🐈", "null"]
    for name in classes:
        shutil.copytree(lab.folder / "photos" / "cats", lab.folder / "photos" / name)
    done = lab.train("--json", data="photos")
    assert done.code == 0, done.stderr
    expected = sorted([*classes, "cats", "dogs"])
    assert strict_json(done.text)["classes"] == expected
    assert "; 11 classes: -c, 1, 10, 2, =1+1, [red]cats, ...\n" in done.stderr
    assert {row["true_label"] for row in read_csv(lab.folder / "run" / "predictions.csv")} == set(expected)
    assert (
        "\nclasses      -c, 1, 10, 2, =1+1, [red]cats, a\\nb, cats, dogs, naïve 🐈, null\n" in lab("info", "run").text
    )
    table = lab("evaluate", "run").text
    assert "\na\\nb " in table
    assert lab("predict", "run", "photos/dogs/00.png").rows[0]["label"] == "dogs"


def test_progress_and_facts_are_whole_lines_whatever_the_names(lab: Lab) -> None:
    (lab.folder / "photos" / "cats").rename(lab.folder / "photos" / "a\nb\x1b[31m")
    done = lab.train()
    assert "; 2 classes: a\\nb\\x1b[31m, dogs\n" in done.stderr
    lab.write("other/a\nc/x.png", "")
    done = lab("evaluate", "run", "other")
    assert done.code == 2
    assert f"error: {lab.folder}/other" not in done.stderr  # as it was given
    assert "error: other holds classes that were not trained: 'a\\nc'" in done.stderr


def test_a_class_name_that_is_not_utf8(lab: Lab) -> None:
    (lab.folder / "photos" / "cats").rename(lab.folder / "photos" / "caf\udce9")
    done = lab.train()
    assert done.code == 0, done.stderr
    assert [row["label"] for row in lab("predict", "run", "photos", "--limit", "1").rows] == ["caf\udce9"]


def test_what_changed_since_the_run_that_is_replaced(lab: Lab) -> None:
    assert "changes" not in lab.train().stderr
    assert "changes   no image changed, since the run that this replaces\n" in lab.train().stderr
    cats, dogs = lab.folder / "photos" / "cats", lab.folder / "photos" / "dogs"
    (cats / "00.png").rename(cats / "a name\nof two lines.png")
    (cats / "01.png").rename(dogs / "was a cat.png")
    (dogs / "00.png").unlink()
    (dogs / "01.png").write_bytes((dogs / "01.png").read_bytes() + b" ")
    done = lab.train("--json")
    assert "1 removed, 1 renamed, 1 edited, 1 relabelled" in done.stderr
    assert "features  1 computed, 14 from the store\n" in done.stderr
    changes = strict_json(done.text)["changes"]
    assert {name: count for name, count in changes.items() if name != "resplit"} == {
        "added": 0, "removed": 1, "renamed": 1, "edited": 1, "relabelled": 1
    }  # fmt: skip
    rows = read_csv(lab.folder / "run" / "images.csv")
    assert len(rows) == 15
    for row in rows:
        assert row["sha256"] == hashlib.sha256(Path(row["path"]).read_bytes()).hexdigest()
    (lab.folder / "run" / "images.csv").write_bytes(b"path,split\n\xff\x00")
    stderr = lab.train().stderr
    assert "changes" not in stderr
    assert (
        "run/images.csv is damaged: it is no longer the list of a run's images; "
        "what is new since the run that this replaces is not known\n"
    ) in stderr
