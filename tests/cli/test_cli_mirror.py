"""`train.mirror`: whether `finetune` exchanges left and right, what decides it, and what `init` and `check` say."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.cli.lab import SMALL, Lab, strict_json
from tests.cli.test_cli_finetune import AT_STEP, KILL

pytestmark = pytest.mark.slow

LIGHT = ("--set", "train.augment=light", "--set", "train.epochs=1")


def line_of(stderr: str, name: str = "mirror") -> str:
    (line,) = [line for line in stderr.splitlines() if line.split()[:1] == [name]]
    return line.split(maxsplit=1)[1]


def mirrored(lab: Lab, run: str = "run") -> bool:
    found = strict_json((lab.folder / run / "metrics.json").read_bytes())["head"]["mirror"]
    assert isinstance(found, bool)
    return found


def make_sides(root: Path, names: tuple[str, str], count: int = 12) -> None:
    """Images that are lit from the left, or from the right."""
    for label, name in enumerate(names):
        (root / name).mkdir(parents=True)
        for index in range(count):
            pixels = np.random.default_rng([label, index]).integers(0, 60, (32, 40, 3))
            pixels[:, 20 * label : 20 * label + 20] += 150
            Image.fromarray(pixels.astype(np.uint8)).save(root / name / f"{index:02d}.png")


def test_a_trial_on_mirrored_images_decides(lab: Lab) -> None:
    make_sides(lab.folder / "sides", ("one", "two"))
    done = lab.finetune(*LIGHT, data="sides")
    assert done.code == 0, done.stderr
    assert line_of(done.stderr) == (
        "no: of 20 held-out training images a logistic head recognises 1.000, mirrored 0.000"
    )
    assert mirrored(lab) is False
    done = lab.finetune(*LIGHT, output="photos-run")
    assert line_of(done.stderr).startswith("yes: of 12 held-out training images a logistic head recognises 1.000, ")
    assert mirrored(lab, "photos-run") is True


def test_names_and_options_decide_before_any_image(lab: Lab) -> None:
    make_sides(lab.folder / "sides", ("left", "right"), count=4)
    named = "the classes are named after sides ('left', 'right'); train.mirror: true mirrors all the same"
    runs = {
        (): (False, f"no: {named}"),
        ("--set", "train.mirror=true"): (True, "yes: train.mirror is true"),
        ("--set", "train.mirror=false"): (False, "no: train.mirror is false"),
        ("--set", "train.augment=flip"): (True, "yes: train.augment is flip"),
        ("--set", "train.augment=none"): (False, "no: train.augment is none"),
    }
    for index, (settings, (mirror, reason)) in enumerate(runs.items()):
        done = lab.finetune(*LIGHT, *settings, data="sides", output=f"run-{index}")
        assert (done.code, line_of(done.stderr)) == (0, reason)
        assert mirrored(lab, f"run-{index}") is mirror
        plan = lab("check", "--for", "finetune", *SMALL, *LIGHT, *settings, "--set", "data.root=sides", "--json")
        assert strict_json(plan.text)["training"]["mirror"] is mirror
    done = lab.finetune("--set", "train.augment=flip", "--set", "train.mirror=false", data="sides", output="no")
    assert (done.code, done.stdout, (lab.folder / "no").exists()) == (2, b"", False)
    assert (
        "error: --set train.mirror=false: train.augment: flip mirrors and does nothing else, and train.mirror is false"
        in done.stderr
    )


def test_check_says_what_is_left_to_a_trial(lab: Lab) -> None:
    arguments = ("check", "--for", "finetune", *SMALL, "--set", "data.root=photos")
    assert "  mirror      decided at the start by a trial on up to 200 training images\n" in lab(*arguments).text
    assert strict_json(lab(*arguments, "--json").text)["training"]["mirror"] is None
    assert "  names " not in lab(*arguments).text


def test_init_and_check_speak_of_sides_and_characters(lab: Lab) -> None:
    (lab.folder / "photos" / "cats").rename(lab.folder / "photos" / "7")
    (lab.folder / "photos" / "dogs").rename(lab.folder / "photos" / "8")
    assert lab("init", "photos").code == 0
    text = (lab.folder / "photos.yaml").read_text()
    assert "# The classes are named after digits or letters ('7', '8'): mirrored," in text
    assert "# So `featcli finetune` does not exchange left and right (train.mirror: auto).\n" in text
    assert "train" not in yaml.safe_load(text)
    assert max(map(len, text.splitlines())) <= 120
    plan = lab("check", "-c", "photos.yaml")
    assert plan.code == 0
    assert ("  names       digits or letters ('7', '8'): mirroring would change the class\n") in plan.text


def test_a_resumed_training_mirrors_as_it_did(lab: Lab) -> None:
    make_sides(lab.folder / "sides", ("one", "two"))
    done = lab.finetune(*LIGHT, data="sides", output="whole")
    assert done.code == 0
    kill = lab.preload(AT_STEP.format(k=2, what=KILL))
    assert lab.finetune(*LIGHT, data="sides", preload=kill).code == -9
    resumed = lab.finetune(*LIGHT, "--resume", data="sides")
    assert resumed.code == 0, resumed.stderr
    assert line_of(resumed.stderr) == line_of(done.stderr)
    for name in ("checkpoint.safetensors", "metrics.jsonl"):
        assert (lab.folder / "run" / name).read_bytes() == (lab.folder / "whole" / name).read_bytes()


@pytest.mark.parametrize("option", ["train.augment=flip", "train.mirror=true"])
def test_mirroring_that_was_asked_for_is_warned_of_where_names_are_of_sides(lab: Lab, option: str) -> None:
    make_sides(lab.folder / "sides", ("left", "right"), count=4)
    reason = option.replace("=", " is ")
    said = (
        f"warning: training mirrors images ({reason}), and the classes are named after sides ('left', 'right'): "
        "an image may become one of another class\n"
    )
    augment = () if "augment" in option else LIGHT
    for command in (("check", "--for", "finetune"), ("finetune", "-o", "run")):
        arguments = (*SMALL, "--set", "data.root=sides", "--set", "train.epochs=1", *augment, "--set", option)
        done = lab(*command, *arguments, "--set", "backbone.freeze_depth=4")
        assert done.code == 0, done.stderr
        assert done.stderr.count(said) == 1
