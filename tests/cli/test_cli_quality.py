"""Whether a user knows at once how good a model is, on which images, and what to type next."""

from __future__ import annotations

import shlex
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.cli.lab import SMALL, Lab, line_of, read_csv, strict_json

pytestmark = pytest.mark.slow
ASKS = "note: which class is to be found? --set data.positive=cats (or dogs) adds sensitivity and thresholds\n"
FOLDERS = "data.group=/([a-z][0-9]+)/"


def noise(path: Path, seed: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (32, 40, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)


def make_groups(root: Path, make_folder, groups: int) -> None:
    """`root/val/<class>/<group>/NN.png`: two images of each class in every group; and a train split without."""
    make_folder(root / "train", {"cats": 4, "dogs": 4}, start=50)
    for name in ("cats", "dogs"):
        (root / "train" / name).rename(root / "train" / "images")
        (root / "train" / name).mkdir()
        (root / "train" / "images").rename(root / "train" / name / "t0")
    for group in range(groups):
        make_folder(root / "new", {"cats": 2, "dogs": 2}, start=2 * group)
        for name in ("cats", "dogs"):
            folder = root / "val" / name / f"g{group}"
            folder.parent.mkdir(parents=True, exist_ok=True)
            (root / "new" / name).rename(folder)
    (root / "new").rmdir()


def block(stderr: str) -> list[str]:
    """The closing lines: all from those of val on, but notes and warnings."""
    lines = stderr.splitlines()
    start = next(index for index, line in enumerate(lines) if line.startswith("val  "))
    return [line for line in lines[start:] if not line.startswith(("note: ", "warning: "))]


def test_the_block_names_what_is_weak_and_what_comes_next(lab: Lab) -> None:
    for index in range(20):
        noise(lab.folder / "photos" / ("cats", "dogs")[index % 2] / f"x{index}.png", index)
    done = lab.train()
    val = strict_json((lab.folder / "run" / "metrics.json").read_text())["val"]
    lines = block(done.stderr)
    worst, confused = val["worst_class"], val["most_confused"]
    assert lines[:4] == [
        f"val       accuracy {val['accuracy']:.3f} (95 % interval {val['accuracy_ci95'][0]:.3f} to "
        f"{val['accuracy_ci95'][1]:.3f}, n = 8)",
        f"          majority-class baseline 0.500; balanced accuracy {val['balanced_accuracy']:.3f}",
        f"          worst class {worst['class']}: recall {worst['recall']:.3f}, {worst['hits']} of 4 images",
        f"          most confused: {confused['true']} -> {confused['predicted']}, {confused['count']} of 4 images",
    ]
    assert "training  accuracy 1.000 on 28 images that it learned from" in lines
    assert lines[-3:] == [
        "next      featcli predict run NEW_PHOTOS",
        "          featcli evaluate run --parity",
        "          featcli finetune run/config.yaml --freeze-depth stage5 -o run-tuned",
    ]
    assert max(map(len, lines)) <= 80
    step = lines[-1].strip().removeprefix("featcli ")
    assert lab(*shlex.split(step), "--dry-run").code == 0
    assert lab("evaluate", "run", "--parity").code == 0


def test_the_summary_says_the_same(lab: Lab) -> None:
    facts = strict_json(lab.train("--json", "--set", "data.positive=dogs").text)
    metrics = strict_json((lab.folder / "run" / "metrics.json").read_text())
    assert {name: value for name, value in metrics["val"].items() if name in facts["val"]} == facts["val"]
    assert facts["val"]["positive"] == "dogs"
    assert (facts["train_accuracy"], facts["train_accuracy_n"]) == (1.0, 12)
    assert (metrics["head"]["train_accuracy"], metrics["head"]["train_accuracy_n"]) == (1.0, 12)
    assert facts["next"] == ["featcli predict run NEW_PHOTOS", "featcli evaluate run --parity"]


def test_long_and_wide_names_fit_into_eighty_columns(lab: Lab) -> None:
    long, wide = "a" * 120, "猫" * 60
    for name, other in ((long, "cats"), (wide, "dogs")):
        (lab.folder / "photos" / other).rename(lab.folder / "photos" / name)
        for index in range(12):
            noise(lab.folder / "photos" / name / f"x{index}.png", index)  # identical files in both classes
    done = lab.train("--set", f"data.positive={wide}", "--max-bad", "0")
    assert done.code == 0, done.stderr
    text = block(done.stderr)
    assert max(len(line) + line.count("猫") for line in text) <= 80
    assert f"positive class     {wide}\n" in lab("evaluate", "run", "photos").text
    assert any("most confused: " in line and "..." in line for line in text)


def test_the_positive_class_lives_in_the_checkpoint(lab: Lab) -> None:
    done = lab.train("--set", "data.positive=dogs")
    assert ASKS not in done.stderr
    assert "          sensitivity 1.000 (0.342 to 1.000), specificity 1.000 (0.342 to 1.000)\n" in done.stderr
    assert "          AUROC 1.000 (0.386 to 1.000), to find dogs\n" in done.stderr
    assert "\npositive     dogs\n" in lab("info", "run").text
    found = lab("evaluate", "run", "split")
    assert ASKS not in found.stderr
    assert line_of(found.text, "positive class") == "positive class     dogs"
    assert line_of(found.text, "sensitivity") == "sensitivity        1.0000  (95 % interval 0.3424 to 1.0000)"
    threshold = line_of(found.text, "  0.80 ").split()[1]
    scores = [row["top"] for row in lab("predict", "run", "split/test/dogs").rows]
    assert float(threshold) == pytest.approx(min(dict(top)["dogs"] for top in scores), abs=1.1e-6)
    other = strict_json(lab("evaluate", "run", "split", "--set", "data.positive=cats", "--json").text)
    assert other["positive"] == "cats"
    assert strict_json(lab("evaluate", "run", "split", "--json").text)["positive"] == "dogs"


def test_without_a_positive_class_it_is_asked_for_once(lab: Lab) -> None:
    done = lab.train()
    assert done.stderr.count(ASKS) == 1
    found = lab("evaluate", "run", "split")
    assert found.stderr.count(ASKS) == 1
    assert "AUROC   " in found.text
    assert "sensitivity" not in found.text


@pytest.mark.parametrize(
    "command", [("train-head", *SMALL, "-o", "new"), ("check", *SMALL), ("finetune", *SMALL, "-o", "new")]
)
def test_a_positive_class_that_there_is_not(lab: Lab, command: tuple[str, ...]) -> None:
    lab.write("cats.yaml", "data:\n  root: photos\n  positive: dog\n")
    done = lab(*command, "-c", "cats.yaml")
    assert (done.code, done.stdout) == (2, b"")
    assert done.stderr.endswith(
        "cats.yaml:3:13: data.positive: no class 'dog'; did you mean 'dogs'?\nThe classes are: cats, dogs.\n"
    )


def test_a_positive_class_of_three_or_of_a_checkpoint_without_it(lab: Lab, make_folder) -> None:
    assert lab.train().code == 0
    done = lab("evaluate", "run", "photos", "--set", "data.positive=dog")
    assert done.code == 2
    assert done.stderr.startswith("error: --set data.positive=dog: no class 'dog'; did you mean 'dogs'?\n")
    make_folder(lab.folder / "three", {"0": 6, "1": 6, "2": 6})
    done = lab.train("--set", "data.positive=1", data="three", output="other")
    assert done.code == 2
    assert done.stderr.endswith(
        "error: --set data.positive=1: '1' would be the positive one of two classes, and there are 3\n"
        "Leave data.positive out.\n"
    )


def test_classes_that_are_called_by_numbers_may_be_positive(lab: Lab, make_folder) -> None:
    make_folder(lab.folder / "digits", {"0": 6, "1": 6})
    assert lab.train("--set", "data.positive=1", data="digits").code == 0
    assert strict_json((lab.folder / "run" / "metrics.json").read_text())["val"]["positive"] == "1"


def test_with_groups_the_interval_is_over_groups(lab: Lab, make_folder) -> None:
    make_groups(lab.folder / "patients", make_folder, 10)
    (lab.folder / "patients/val/cats/g3/07.png").write_bytes(b"broken")
    done = lab.train("--set", FOLDERS, "--max-bad", "1", data="patients")
    val = strict_json((lab.folder / "run" / "metrics.json").read_text())["val"]
    assert (val["interval"], val["n_groups"], val["n"], val["n_errors"]) == ("groups", 10, 40, 1)
    low, high = val["accuracy_ci95"]
    assert low < 0.8
    assert f"          95 % interval over 10 groups {low:.3f} to {high:.3f}\n" in done.stderr
    assert f"(95 % interval over 10 groups {low:.4f} to {high:.4f})\n" in lab("info", "run").text
    said = lab("evaluate", "run", "--json", "--max-bad", "1")
    assert strict_json(said.text) == val | {"trained_on": 0}
    again = lab("evaluate", "run", "patients", "--json", "--max-bad", "1")  # by the run's expression
    assert strict_json(again.text) == val | {"trained_on": 0}
    elsewhere = lab("evaluate", "run", "photos", "--json")
    assert "note: the run's data.group finds no group in some of these paths: give one with --set" in elsewhere.stderr
    assert strict_json(elsewhere.text)["interval"] == "images"
    given = lab("evaluate", "run", "photos", "--json", "--set", "data.group=([0-9]+)[.]png")
    assert strict_json(given.text)["n_groups"] == 8
    coarse = lab("evaluate", "run", "--set", "data.group=val/(.)", "--json", "--max-bad", "1")
    assert strict_json(coarse.text)["n_groups"] == 2


def test_with_few_groups_there_is_no_interval(lab: Lab, make_folder) -> None:
    make_groups(lab.folder / "patients", make_folder, 9)
    done = lab.train("--set", FOLDERS, "--set", "data.positive=cats", data="patients")
    assert "          too few groups for an interval: 9\n" in done.stderr
    assert "          sensitivity 1.000, specificity 1.000\n" in done.stderr
    assert "(too few groups for an interval: 9)\n" in lab("info", "run").text
    found = lab("evaluate", "run")
    assert "accuracy           1.0000  (too few groups for an interval: 9)\n" in found.text
    assert "\nsensitivity        1.0000\n" in found.text
    for arguments in (("data.group=group",), ("data.group=(nowhere)",)):
        refused = lab("evaluate", "run", "photos", "--set", *arguments)
        assert (refused.code, refused.stderr.startswith(f"error: --set {arguments[0]}: ")) == (2, True)


def test_a_model_of_no_use_is_called_that(lab: Lab) -> None:
    """Validation images under the wrong names: worse than the largest class alone."""
    for name, other, count in (("cats", "dogs", 6), ("dogs", "cats", 1)):
        (lab.folder / "noise" / "val" / name).mkdir(parents=True)
        for path in sorted((lab.folder / "split" / "train" / other).iterdir())[:count]:
            shutil.copy(path, lab.folder / "noise" / "val" / name)
    shutil.copytree(lab.folder / "split" / "train", lab.folder / "noise" / "train")
    for train in (lab.train, lab.finetune):
        done = train("--set", "train.lr=0.0", data="noise", output=train.__name__)  # nothing better is found
        val = strict_json((lab.folder / train.__name__ / "metrics.json").read_text())["val"]
        assert val["accuracy"] < 6 / 7
        assert (
            f"warning: val: accuracy {val['accuracy']:.3f} is below the majority-class baseline 0.857: always naming "
            "the largest class would be right more often\n"
        ) in done.stderr
        assert "warning: " in lab("evaluate", train.__name__).stderr
    for name in ("cats", "dogs"):
        shutil.rmtree(lab.folder / "noise" / "val" / name)
        source = "dogs" if name == "cats" else "cats"
        shutil.copytree(lab.folder / "split" / "val" / source, lab.folder / "noise" / "val" / name)
    swapped = lab("evaluate", "train", "noise")
    assert "warning: recall 0.000 in 2 of 2 classes: cats (3 images), dogs (3 images)\n" in swapped.stderr, (
        swapped.stderr
    )


def test_a_split_of_the_users_own_is_not_told_to_take_a_fraction(lab: Lab) -> None:
    shutil.rmtree(lab.folder / "split" / "test")
    tuned = lab.finetune(data="split")
    assert tuned.code == 0
    assert "note: a folder test beside train and val gives an accuracy that nothing was chosen on\n" in tuned.stderr
    assert "data.test_fraction" not in tuned.stderr


def test_what_was_chosen_on_validation_says_so(lab: Lab) -> None:
    said = "the best of epochs 0 to 2 on these images: optimistic"
    hint = "note: --set data.test_fraction=0.2 gives an accuracy that nothing was chosen on\n"
    tuned = lab.finetune()
    metrics = strict_json((lab.folder / "run" / "metrics.json").read_text())
    assert metrics["val"]["selected"] == {"epoch": metrics["head"]["best_epoch"], "epochs": 2}
    assert (metrics["head"]["train_accuracy_n"], metrics["head"]["train_accuracy"]) == (12, 1.0)
    lines = block(tuned.stderr)
    assert lines[1] == f"          {said}"
    assert hint in tuned.stderr
    assert f"             {said}\n" in lab("info", "run").text
    assert f"                   {said}\n" in lab("evaluate", "run").text
    assert strict_json(lab("evaluate", "run", "--json").text) == metrics["val"] | {"trained_on": 0}
    assert strict_json(lab("evaluate", "run", "photos", "--json").text)["selected"] is None
    gradient = ("--set", "head.kind=linear", "--set", "train.epochs=2")
    linear = lab.train(*gradient, data="split", output="linear")
    metrics = strict_json((lab.folder / "linear" / "metrics.json").read_text())
    assert metrics["val"]["selected"] is not None
    assert metrics["test"]["selected"] is None
    assert linear.stderr.count(said) == 1
    assert hint not in linear.stderr
    assert lab.train(output="solved").stderr.count("optimistic") == 0
    assert strict_json((lab.folder / "solved" / "metrics.json").read_text())["val"]["selected"] is None


def test_many_classes_have_their_confusion_in_a_file(lab: Lab, make_folder) -> None:
    names = [f"class{index:03d}" for index in range(101)]
    for index, name in enumerate(names):
        noise(lab.folder / "many" / "train" / name / "0.png", index)
        noise(lab.folder / "many" / "val" / name / "1.png", 200 + index)
    done = lab.train(data="many")
    assert done.code == 0, done.stderr
    val = strict_json((lab.folder / "run" / "metrics.json").read_text())["val"]
    assert val["confusion"] is None
    cells = read_csv(lab.folder / "run" / "confusion.csv")
    rows = read_csv(lab.folder / "run" / "predictions.csv")
    assert list(cells[0]) == ["split", "true_label", "label", "count"]
    assert sum(int(cell["count"]) for cell in cells) == 101
    assert [(cell["true_label"], cell["label"]) for cell in cells] == sorted(
        {(row["true_label"], row["label"]) for row in rows}
    )
    right = sum(int(cell["count"]) for cell in cells if cell["true_label"] == cell["label"])
    facts = strict_json(lab("info", "run", "--json").text)
    assert (facts["validation"]["correct"], facts["validation"]["metrics"]["confusion"]) == (right, None)
    assert lab("evaluate", "run", "--parity").code == 0
    found = lab("evaluate", "run")
    assert "\nthe 20 classes of the lowest recall, of 101 (--json has all)\n" in found.text
    assert len(found.text.splitlines()) < 50
    assert "warning: recall 0.000 in " in found.stderr
    assert max(map(len, line_of(found.stderr, "warning: recall").splitlines())) < 200
    replaced = lab.train("--overwrite")
    assert replaced.code == 0
    assert not (lab.folder / "run" / "confusion.csv").exists()
