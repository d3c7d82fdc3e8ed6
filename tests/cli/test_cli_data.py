"""Manifests, groups and exclusions, from the config to the run folder."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy

from tests.cli.lab import SMALL, Lab, read_csv, strict_json

OURS = {"made_by": "hash", "seed": 0, "version": 2, "val_fraction": 0.2, "test_fraction": 0.0}


def table(lab: Lab, *, name: str = "tables/labels.csv") -> list[str]:
    """A manifest of `photos` in an order of its own, dogs and cats by turns; gives the paths."""
    paths = [f"../photos/{label}/{index:02d}.png" for index in reversed(range(8)) for label in ("dogs", "cats")]
    lab.write(name, "path,label\n" + "".join(f"{path},{path.split('/')[2]}\n" for path in paths))
    return paths


def train(lab: Lab, *arguments: str, output: str = "run") -> str:
    """Runs `train-head`, and gives what it said."""
    done = lab("train-head", *SMALL, "-o", output, *arguments)
    assert (done.code, done.text) == (0, f"{lab.folder}/{output}/checkpoint.safetensors\n"), done.stderr
    return done.stderr


def rule(lab: Lab, output: str = "run") -> dict[str, object]:
    found = strict_json(lab("info", output, "--json").text)["split"]
    assert isinstance(found, dict)
    return found


def test_a_manifest_from_config_to_parity(lab: Lab) -> None:
    paths = table(lab)
    lab.write("cats.yaml", "data:\n  manifest: tables/labels.csv\n")
    said = train(lab, "-c", "cats.yaml")
    assert "data      12 train, 4 val; 2 classes: cats, dogs\nfeatures  16 computed, 0 from the store\n" in said
    rows = read_csv(lab.folder / "run" / "predictions.csv")
    given = [f"{lab.folder}/tables/{path}" for path in paths]
    assert [row["path"] for row in rows] == [path for path in given if path in {row["path"] for row in rows}]
    assert len(rows) == 4
    assert rule(lab) == {
        "made_by": "hash",
        "seed": 0,
        "version": 2,
        "val_fraction": 0.2,
        "test_fraction": 0.0,
        "manifest": True,
    }
    assert str(lab.folder).encode() not in (lab.folder / "run" / "checkpoint.safetensors").read_bytes()

    done = lab("evaluate", "run", "--parity")
    assert done.code == 0, done.stderr
    assert done.text.startswith(f"4 images, the val split of {lab.folder}/tables/labels.csv\n")
    assert done.stderr.endswith("note: parity holds: 4 of 4 correct, 4 of 4 in the checkpoint\n")
    assert lab("evaluate", "-c", "cats.yaml", "--set", "output=run", "--parity").text == done.text
    again = lab("train-head", "--config", "run/config.yaml", "-o", "again")
    assert again.code == 0, again.stderr
    for name in ("checkpoint.safetensors", "predictions.csv"):
        assert (lab.folder / "run" / name).read_bytes() == (lab.folder / "again" / name).read_bytes()


def test_check_extract_and_predict_with_a_manifest(lab: Lab) -> None:
    paths = [f"{lab.folder}/tables/{path}" for path in table(lab)]
    lab.write("cats.yaml", "data:\n  manifest: tables/labels.csv\noutput: run\n")
    done = lab("check", *SMALL, "-c", "cats.yaml", "--set", "data.group=.*/0(.)")
    assert done.code == 0, done.stderr
    assert "  splits      whole groups by hash, seed 0, as near to 0.2 for validation as they allow\n" in done.text
    train(lab, "-c", "cats.yaml")
    done = lab("predict", "-c", "cats.yaml")
    assert done.code == 0, done.stderr
    held_out = {row["path"] for row in read_csv(lab.folder / "run" / "predictions.csv")}
    assert [row["path"] for row in done.rows] == [path for path in paths if path in held_out]
    assert lab("extract", *SMALL, "-c", "cats.yaml", "-o", "x.npz").code == 0
    with np.load(lab.folder / "x.npz") as file:
        assert file["paths"].tolist() == paths


def test_the_images_do_not_depend_on_how_they_are_named(lab: Lab) -> None:
    table(lab)
    train(lab, "--set", "data.root=photos", output="folder")
    train(lab, "--set", "data.manifest=tables/labels.csv", output="table")
    facts = {name: strict_json(lab("info", name, "--json").text) for name in ("folder", "table")}
    assert facts["folder"]["validation"]["fingerprint"] == facts["table"]["validation"]["fingerprint"]


def test_splits_of_a_manifest_and_its_missing_files(lab: Lab) -> None:
    table(lab)
    lines = (lab.folder / "tables" / "labels.csv").read_text().splitlines()
    splits = ["val" if index % 4 < 2 else "train" for index in range(16)]
    lines = [f"{line},{split},x" for line, split in zip(lines[1:], splits, strict=True)]
    lab.write(
        "labels.csv", "\n".join(["path,label,split,note", *lines, "gone.png,cats,test,", "gone too.png,dogs,val,"])
    )
    (lab.folder / "tables" / "labels.csv").unlink()
    shutil.move(lab.folder / "labels.csv", lab.folder / "tables")
    done = lab("train-head", *SMALL, "-o", "run", "--set", "data.manifest=tables/labels.csv", "--max-bad", "2")
    assert done.code == 0, done.stderr
    assert "note: tables/labels.csv: columns that are not used: 'note'\n" in done.stderr
    assert (
        "8 train, 9 val, 1 test; 2 classes: cats, dogs\n"
        "warning: no test image of 1 of 2 classes (dogs): the numbers will say nothing of them\n"
        "features  16 computed, 0 from the store, 2 unreadable\n" in done.stderr
    )
    rows = {row["path"]: row for row in read_csv(lab.folder / "run" / "predictions.csv")}
    assert rows[f"{lab.folder}/tables/gone too.png"] == {
        "path": f"{lab.folder}/tables/gone too.png", "split": "val", "true_label": "dogs", "label": "", "confidence": ""
    }  # fmt: skip
    metrics = strict_json((lab.folder / "run" / "metrics.json").read_text())
    assert [(metrics[split]["n"], metrics[split]["n_errors"]) for split in ("val", "test")] == [(9, 1), (1, 1)]
    assert rule(lab) == {"made_by": "user", "seed": 0, "manifest": True}
    done = lab("train-head", *SMALL, "-o", "other", "--set", "data.manifest=tables/labels.csv")
    assert done.code == 3
    assert "2 images could not be read" in done.stderr


def test_a_parquet_manifest(lab: Lab) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    paths = table(lab)
    columns = {"path": paths, "label": [path.split("/")[2] for path in paths]}
    parquet.write_table(pyarrow.table(columns), lab.folder / "tables" / "labels.parquet")
    train(lab, "--set", "data.manifest=tables/labels.csv", output="csv")
    train(lab, "--set", "data.manifest=tables/labels.parquet", output="parquet")
    for name in ("checkpoint.safetensors", "predictions.csv"):
        assert (lab.folder / "csv" / name).read_bytes() == (lab.folder / "parquet" / name).read_bytes()


def test_what_is_wrong_with_a_manifest(lab: Lab) -> None:
    """All of it at once, with the lines of the manifest; what concerns all of it with its place in the config."""
    lab.write("labels.csv", "path,label\na.png,cats\nb.png,\na.png,dogs\n,dogs\n")
    lab.write("cats.yaml", "output: run\ndata:\n  manifest: labels.csv\n")
    done = lab("train-head", *SMALL, "-c", "cats.yaml")
    assert (done.code, done.stdout) == (2, b"")
    assert "".join(done.stderr.splitlines(keepends=True)[-3:]) == (
        "labels.csv:3: the label is empty\n"
        f"labels.csv:4: {lab.folder}/a.png has the label 'dogs' here and 'cats' on line 2; keep one of the lines\n"
        "labels.csv:5: the path is empty\n"
    )
    lab.write("labels.csv", "path,label\na.png,cats\n")
    done = lab("train-head", *SMALL, "-c", "cats.yaml")
    assert (done.code, done.stdout) == (2, b"")
    assert done.stderr.endswith(
        "cats.yaml:3:13: data.manifest: labels.csv holds one class, 'cats'; "
        "a classifier needs at least two to train on\n"
    )
    done = lab("train-head", *SMALL, "-o", "run", "--set", "data.manifest=label.csv")
    assert (done.code, done.stdout) == (2, b"")
    assert done.stderr.endswith(
        f"error: --set data.manifest=label.csv: no such file: {lab.folder}/label.csv; did you mean 'labels.csv'?\n"
    )
    assert "Traceback" not in done.stderr


def test_one_patient_is_on_one_side(lab: Lab) -> None:
    """Split and folds: what is held out to choose C holds no image of a patient that was trained on."""
    for label in ("cats", "dogs"):
        for index in range(8):
            path = lab.folder / "photos" / label / f"{index:02d}.png"
            path.rename(path.with_name(f"patient{index // 2}-{index}.png"))
    spy = lab.preload(
        "import json\n"
        "from featcli.workflow import solving\n"
        "deal = solving.stratified_folds\n"
        "def spy(units, labels, **options):\n"
        "    folds = deal(units, labels, **options)\n"
        "    open('folds.json', 'w').write(json.dumps([units, folds.tolist()]))\n"
        "    return folds\n"
        "solving.stratified_folds = spy\n"
    )
    group = "--set", "data.group=([^/]+)-"
    done = lab.train(*group, "--set", "head.C=auto", "--set", "data.val_fraction=0.25", preload=spy)
    assert done.code == 0, done.stderr
    assert "data      12 train, 4 val in 4 groups; 2 classes: cats, dogs\n" in done.stderr
    rows = read_csv(lab.folder / "run" / "predictions.csv")
    (held_out,) = {os.path.basename(row["path"]).split("-")[0] for row in rows}
    units, folds = json.loads((lab.folder / "folds.json").read_text())
    assert set(units) == {f"patient{index}" for index in range(4)} - {held_out}
    assert len(set(zip(units, folds, strict=True))) == 3
    assert len(np.unique(folds)) == 3
    assert rule(lab) == {
        "made_by": "hash", "seed": 0, "version": 2, "val_fraction": 0.25, "test_fraction": 0.0, "grouped": True
    }  # fmt: skip
    assert lab("evaluate", "run", "--parity").code == 0


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("(photos|cats|dogs)/", "2 groups, and no class has two of them that could be apart"),
        ("(png)", "all 16 images are in one group, 'png'"),
    ],
)
def test_groups_of_which_none_can_be_held_out(lab: Lab, pattern: str, said: str) -> None:
    lab.write("cats.yaml", f"data:\n  root: photos\n  group: '{pattern}'\noutput: run\n")
    done = lab("train-head", *SMALL, "-c", "cats.yaml")
    assert (done.code, done.text) == (2, "")
    assert f"cats.yaml:3:10: data.group: {said}: no image can be held out for validation\n" in done.stderr
    assert "make the split yourself: folders train and val.\n" in done.stderr


def rename(lab: Lab, groups: dict[str, list[int]]) -> None:
    """Gives the images of a class to groups of these sizes: `cats/cats1-03.png`."""
    for name, sizes in groups.items():
        paths = sorted((lab.folder / "photos" / name).iterdir())
        for group, size in enumerate(sizes):
            for path in [paths.pop(0) for _ in range(size)]:
                path.rename(path.with_name(f"{name}{group}-{path.name}"))


def test_a_class_of_one_group_is_named_and_so_is_a_share_that_is_far(lab: Lab) -> None:
    rename(lab, {"cats": [8], "dogs": [4, 4]})
    said = train(lab, "--set", "data.root=photos", "--set", "data.group=/([^/]+)-", "--set", "data.val_fraction=0.1")
    assert (
        "warning: no validation image of 1 of 2 classes (cats): the numbers will say nothing of them; "
        "a class stays in train where it has one group, or too few images\n"
    ) in said
    assert "warning: validation has 25% of the images, where data.val_fraction asks for 10%: groups are not" in said
    assert "          of 1 of 2 classes: no image of cats\n" in said
    text = lab("evaluate", "run").text
    assert f"\n{'':18} of 1 of 2 classes: no image of cats\n" in text


def test_a_checkpoint_of_an_earlier_split_rule_still_passes_parity(lab: Lab) -> None:
    rename(lab, {"cats": [4, 2, 1, 1], "dogs": [5, 3]})
    group = "--set", "data.root=photos", "--set", "data.group=/([^/]+)-"
    first = lab.preload("from featcli.workflow import images\nimages.SPLIT_VERSIONS = (1,)\n")
    done = lab("train-head", *SMALL, "-o", "run", *group, preload=first)
    assert done.code == 0, done.stderr
    held_out = {row["path"] for row in read_csv(lab.folder / "run" / "predictions.csv")}
    train(lab, *group, output="now")
    assert held_out != {row["path"] for row in read_csv(lab.folder / "now" / "predictions.csv")}
    assert (rule(lab)["version"], rule(lab, "now")["version"]) == (1, 2)
    for version, code in ((None, 0), (1, 0), (2, 1), (3, 3)):
        change_rule(lab.folder / "run" / "checkpoint.safetensors", version)
        done = lab("evaluate", "run", "--parity")
        assert done.code == code, done.stderr
    assert (
        "the checkpoint's images were split by version 3 of the rule; this featcli knows versions up to 2"
        in done.stderr
    )
    done = lab("predict", *group, "--set", "output=run", "-c", "run/config.yaml")
    assert done.code == 3
    change_rule(lab.folder / "run" / "checkpoint.safetensors", 1)
    done = lab("predict", *group, "-c", "run/config.yaml")
    assert {json.loads(line)["path"] for line in done.text.splitlines()} == held_out


def change_rule(checkpoint: Path, version: int | None) -> None:
    """Writes another version of the split rule into a checkpoint; None: as before there were any."""
    with safetensors.safe_open(checkpoint, framework="numpy") as file:
        description = json.loads(file.metadata()["featcli"])
    description["split"].pop("version", None)
    if version is not None:
        description["split"]["version"] = version
    tensors = safetensors.numpy.load_file(checkpoint)
    safetensors.numpy.save_file(tensors, checkpoint, metadata={"featcli": json.dumps(description, sort_keys=True)})


def test_evaluating_a_folder_says_that_the_groups_of_a_manifest_are_not_known_there(lab: Lab) -> None:
    lines = [f"photos/{name}/{index:02d}.png,{name},p{index // 2}" for name in ("cats", "dogs") for index in range(8)]
    lab.write("labels.csv", "\n".join(["path,label,group", *lines]) + "\n")
    assert "in 4 groups" in train(lab, "--set", "data.manifest=labels.csv")
    said = "note: the run had groups, and of these images none is known: intervals are over images; --set data.group"
    assert said in lab("evaluate", "run", "photos").stderr
    assert said not in lab("evaluate", "run").stderr
    assert said not in lab("evaluate", "run", "photos", "--set", "data.group=0(.)").stderr


def test_groups_and_identical_files_between_the_users_splits_are_said(lab: Lab) -> None:
    root = lab.folder / "split"
    for split, label, index, patient in (
        ("train", "cats", 0, "p1"),
        ("val", "dogs", 20, "p1"),
        ("test", "dogs", 30, "p2"),
    ):
        path = root / split / label / f"{index:02d}.png"
        path.rename(path.with_name(f"{patient}_{index}.png"))
    shutil.copyfile(root / "train" / "cats" / "p1_0.png", root / "train" / "cats" / "p3_0.png")
    done = lab.train("--set", r"data.group=([^/_]+)[^/]*\.png", data="split")
    assert done.code == 0, done.stderr
    assert (
        f"warning: groups on two sides of a split: {root}/train/cats/p1_0.png (p1, train) and "
        f"{root}/val/dogs/p1_20.png (p1, val)\n"
    ) in done.stderr
    assert (
        f"warning: identical files in two groups, which are kept together: {root}/train/cats/p1_0.png (p1) and "
        f"{root}/train/cats/p3_0.png (p3)\n"
    ) in done.stderr


def test_images_without_a_group(lab: Lab) -> None:
    lab.write("cats.yaml", "output: run\ndata:\n  root: photos\n  group: 'cats/(.)'\n")
    done = lab("train-head", *SMALL, "-c", "cats.yaml")
    assert (done.code, done.stdout) == (2, b"")
    assert done.stderr.endswith(
        "cats.yaml:4:10: data.group: 'cats/(.)' finds no group in 8 of 16 images: dogs/00.png, dogs/01.png, "
        "dogs/02.png, dogs/03.png, dogs/04.png and 3 more\n"
        "It is searched in the path as shown here. Widen it, or leave those images out with data.exclude.\n"
    )


def test_exclusions_are_counted_aloud(lab: Lab) -> None:
    lab.write("lists/exclude.txt", "# blurred\ncats/00.png\ndogs/0[1].png\ncats/0*7.png\n")
    lab.write("cats.yaml", "output: run\ndata:\n  root: photos\n  exclude: lists/exclude.txt\n")
    said = train(lab, "-c", "cats.yaml")
    assert (
        "note: left out by lists/exclude.txt: 2 of 16 images\n"
        "warning: lists/exclude.txt: lines that match no image (1): 'dogs/0[1].png'\n"
    ) in said
    assert "features  14 computed, 0 from the store\n" in said
    assert rule(lab) == {
        "made_by": "hash",
        "seed": 0,
        "version": 2,
        "val_fraction": 0.2,
        "test_fraction": 0.0,
        "excluded": 2,
    }
    assert lab("evaluate", "run", "--parity").code == 0
    (lab.folder / "lists" / "exclude.txt").unlink()
    done = lab("train-head", *SMALL, "-c", "cats.yaml")
    assert (done.code, done.stdout) == (2, b"")
    assert done.stderr.endswith(
        f"cats.yaml:4:12: data.exclude: {lab.folder}/lists/exclude.txt cannot be read: no such file or directory\n"
    )


def test_a_folder_and_a_manifest_are_one_too_many(lab: Lab) -> None:
    done = lab.train("--set", "data.manifest=labels.csv")
    assert (done.code, done.stdout) == (2, b"")
    assert done.stderr == (
        "error: --set data.manifest=labels.csv: data.root and data.manifest both name the images: remove data.root, "
        "since a manifest's paths are relative to its own folder, or data.manifest, to take the folder as it is\n"
    )


def test_evaluating_without_images_to_name(lab: Lab) -> None:
    train(lab, "--set", "data.root=photos")
    config = lab.folder / "run" / "config.yaml"
    config.write_text(config.read_text().replace(f"root: {lab.folder}/photos", "root: null"))
    done = lab("evaluate", "run")
    assert (done.code, done.stdout) == (2, b"")
    assert done.stderr.endswith("error: run/config.yaml names no images\nName a folder to evaluate on.\n")
