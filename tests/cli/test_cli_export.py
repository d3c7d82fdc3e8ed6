"""`featcli export`: files that predict the same elsewhere, and that are not written where they do not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from PIL import Image

from tests.cli.lab import Lab, names, strict_json
from tests.process import ForkServer

pytestmark = pytest.mark.slow

QUICK = ("--set", "backbone.name=squeezenet1_1")  # which is exported in the shortest time


@pytest.fixture(scope="module")
def here(server: ForkServer, tmp_path_factory: pytest.TempPathFactory, make_folder: Callable[..., Path]) -> Lab:
    """A run on 60 images, enough to know strangers; its file of the usual form; tests must leave them as they are."""
    lab = Lab(server, tmp_path_factory.mktemp("export"))
    make_folder(lab.folder / "photos/train", {"cats": 24, "dogs": 24})
    make_folder(lab.folder / "photos/val", {"cats": 6, "dogs": 6}, start=40)
    make_folder(lab.folder / "new", {"some": 5}, start=70)
    done = lab.train("--cache", "cache", *QUICK)
    assert done.code == 0, done.stderr
    done = lab("export", "run", "-o", "run/model.onnx", "--cache", "cache")
    assert (done.code, done.text) == (0, "run/model.onnx\n"), done.stderr
    assert done.stderr.splitlines()[-3:-1] == [
        "compared  on 12 validation images, in a process without torch",
        next(line for line in done.stderr.splitlines() if "12 of 12 labels as the checkpoint's, probabilities" in line),
    ]
    return lab


def without(modules: Sequence[str], lab: Lab, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A process of its own in which some modules cannot be imported."""
    code = (
        "import sys\n"
        "class Missing:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name in {list(modules)!r}:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}')\n"
        "sys.meta_path.insert(0, Missing())\n"
        f"sys.argv = ['featcli', *{list(arguments)!r}]\n"
        "from featcli.__main__ import main; main()"
    )
    package = str(Path(__file__).resolve().parents[2])
    environment = os.environ | {"PYTHONPATH": package}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=lab.folder, capture_output=True, text=True, env=environment, check=False
    )


def test_it_predicts_without_torch_what_the_checkpoint_predicts(here: Lab) -> None:
    done = without(["torch", "torchvision", "onnx", "onnxscript"], here, "predict", "run/model.onnx", "new", "--probs")
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    expected = here("predict", "run", "new", "--probs").rows
    assert [row["path"] for row in found] == [row["path"] for row in expected]
    for row, other in zip(found, expected, strict=True):
        assert row["label"] == other["label"]
        assert row.keys() == other.keys()
        assert abs(row["novelty"] - other["novelty"]) <= 1.01e-4
        assert all(abs(row["probs"][name] - other["probs"][name]) <= 1e-5 for name in ("cats", "dogs"))


def test_it_is_measured_without_torch_as_the_checkpoint_is(here: Lab) -> None:
    done = without(["torch", "torchvision", "onnx"], here, "evaluate", "run/model.onnx", "--parity", "--json")
    assert done.returncode == 0, done.stderr
    assert "parity holds: " in done.stderr
    found = json.loads(done.stdout)
    same(found, strict_json(here("evaluate", "run", "--parity", "--json", "--cache", "cache").stdout))
    assert found["calibration"]["temperature"] != 1.0 and found["sets"] and found["strangers"] is not None


def same(found: Any, expected: Any) -> None:
    if isinstance(expected, dict):
        assert found.keys() == expected.keys()
        for key in expected:
            same(found[key], expected[key])
    elif isinstance(expected, list):
        assert len(found) == len(expected)
        for one, other in zip(found, expected, strict=True):
            same(one, other)
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, abs=1e-5)
    else:
        assert found == expected


def test_sets_and_abstentions_of_the_file(here: Lab) -> None:
    asked = ("--coverage", "0.8", "--abstain-below", "0.6")
    found, expected = (here("predict", model, "new", *asked) for model in ("run/model.onnx", "run"))
    assert [(row["set"], row["abstained"]) for row in found.rows] == [
        (row["set"], row["abstained"]) for row in expected.rows
    ]


def test_small_and_broken_images_and_paths_in_a_pipe(here: Lab) -> None:
    Image.new("RGB", (7, 3), (200, 10, 10)).save(here.folder / "tiny.png")
    here.write("broken.png", "no image")
    here.write("paths", "tiny.png\nbroken.png\nmissing.png\n")
    answers = []
    for model in ("run/model.onnx", "run"):
        with (here.folder / "paths").open("rb") as file:
            answers.append(here("predict", model, "-", stdin=file))
    found, expected = answers
    assert found.code == expected.code
    assert [(row["label"], row["error"]) for row in found.rows] == [
        (row["label"], row["error"]) for row in expected.rows
    ]


def test_a_plain_session_of_onnxruntime(here: Lab) -> None:
    """What somebody does who has the file alone: any number of images at once, and everything by its name."""
    session = onnxruntime.InferenceSession(here.folder / "run/model.onnx")
    said = session.get_modelmeta().custom_metadata_map
    assert json.loads(said["classes"]) == ["cats", "dogs"]
    assert json.loads(said["preprocessing"])["crop"] == 32
    thresholds = json.loads(said["thresholds"])
    assert all(len(row) == 2 for row in thresholds.values()) and "0.8" in thresholds
    squares = np.random.default_rng(0).integers(0, 255, (5, 32, 32, 3), dtype=np.uint8)
    probabilities, novelty = session.run(["probabilities", "novelty"], {"pixels": squares})
    assert probabilities.shape == (5, 2) and novelty.shape == (5,)
    np.testing.assert_allclose(probabilities.sum(1), 1, atol=1e-6)
    one_by_one = [session.run(["probabilities"], {"pixels": square[None]})[0][0] for square in squares]
    np.testing.assert_allclose(probabilities, one_by_one, atol=1e-6)
    data = (here.folder / "run/model.onnx").read_bytes()
    assert str(here.folder).encode() not in data and b"site-packages" not in data


def test_info_says_what_it_is(here: Lab) -> None:
    done = here("info", "run/model.onnx")
    lines = dict(line.split(maxsplit=1) for line in done.text.splitlines())
    assert lines["exported"] == "exact, fp32, gives logits (2), novelty, probabilities (2)"
    assert lines["checked"].startswith("12 of 12 labels as the checkpoint's, probabilities within ")
    facts = strict_json(here("info", "run/model.onnx", "--json").stdout)
    assert facts["export"]["checked"]["without_torch"] is True
    assert facts["classes"] == ["cats", "dogs"]
    session = onnxruntime.InferenceSession(here.folder / "run/model.onnx")
    assert facts["thresholds"] == json.loads(session.get_modelmeta().custom_metadata_map["thresholds"])


def test_two_models_are_compared_by_images_alone(here: Lab) -> None:
    done = here("diff", "run", "run/model.onnx", "photos/val", "--max-changed", "0", "--json", "--cache", "cache")
    facts = strict_json(done.stdout)
    assert (done.code, facts["images"], facts["changed"], facts["features"]["comparable"]) == (0, 12, 0, False)
    assert facts["confidence"]["largest"] < 1e-4
    done = here("diff", "run", "run/model.onnx")
    assert done.code == 2
    assert done.stderr.splitlines()[0] == "error: run/model.onnx is an exported file, which wrote nothing"


def test_images_of_any_size_go_into_the_whole_form(here: Lab) -> None:
    done = here("export", "run", "-o", "whole.onnx", "--form", "whole", "--cache", "cache")
    assert done.code == 0, done.stderr
    session = onnxruntime.InferenceSession(here.folder / "whole.onnx")
    path = next((here.folder / "new/some").iterdir())
    image = np.asarray(Image.open(path).convert("RGB"))
    [probabilities] = session.run(["probabilities"], {"pixels": image[None]})
    expected = here("predict", "run", path, "--probs").rows[0]["probs"]
    np.testing.assert_allclose(probabilities[0], list(expected.values()), atol=1e-2)
    found = here("predict", "whole.onnx", path, "--probs").rows[0]["probs"]
    np.testing.assert_allclose(probabilities[0], list(found.values()), atol=1e-6)


def test_eight_bits_and_what_they_cost(here: Lab) -> None:
    common = ("export", "run", "--int8", "--cache", "cache", "--max-loss", "1")
    done = here(*common, "-o", "int8.onnx", "--allow-slower", "--json")
    assert done.code == 0, done.stderr
    facts = strict_json(done.stdout)
    cost = facts["checked"]["accuracy"]
    assert cost["ci95"][0] <= cost["difference"] <= cost["ci95"][1]
    assert facts["checked"]["speed"] > 0 and facts["precision"] == "int8"
    assert facts["bytes"] < 0.6 * (here.folder / "run/model.onnx").stat().st_size
    evaluated = strict_json(here("evaluate", "int8.onnx", "photos", "--json", "--set", "data.root=photos").stdout)
    assert evaluated["accuracy"] is not None


def test_lower_precision_that_costs_too_much_is_not_written(here: Lab) -> None:
    broken = here.preload(
        "import numpy as np\n"
        "from featcli.export import lower\n"
        "plain = lower.to_int8\n"
        "lower.to_int8 = lambda body, images: plain(body, [np.zeros_like(image) for image in images])\n"
    )
    done = here("export", "run", "--int8", "-o", "bad.onnx", "--allow-slower", "--max-loss", "0", preload=broken)
    assert done.code == 1
    assert "error: not written: int8 costs " in done.stderr
    assert not (here.folder / "bad.onnx").exists()


@pytest.mark.parametrize("name", ["model.xml", "model.pt2"])
def test_other_formats(here: Lab, name: str) -> None:
    done = here("export", "run", "-o", f"other/{name}", "--cache", "cache")
    assert (done.code, done.text) == (0, f"other/{name}\n"), done.stderr
    assert "12 of 12 labels as the checkpoint's" in done.stderr
    assert ("in a process without torch" in done.stderr) == (name == "model.xml")
    said = sorted(set(names(here.folder / "other")) & {"model.xml", "model.bin", "model.pt2"})
    assert set(said) >= ({"model.xml", "model.bin"} if name == "model.xml" else {"model.pt2"})


def test_what_predicts_something_else_is_not_written(here: Lab) -> None:
    """Of the right network a wrong mean is enough."""
    wrong = here.preload(
        "import torch\n"
        "from featcli import whole_model\n"
        "made = whole_model.PixelModel.__init__\n"
        "def broken(self, *arguments, **options):\n"
        "    made(self, *arguments, **options)\n"
        "    self.shift += 0.5\n"
        "whole_model.PixelModel.__init__ = broken\n"
    )
    before = names(here.folder)
    done = here("export", "run", "-o", "wrong.onnx", "--cache", "cache", preload=wrong)
    assert (done.code, done.text) == (1, "")
    message = done.stderr.splitlines()
    assert message[-1].startswith("error: not written: of ")
    assert message[-1].endswith(" of 12 images the file predicts something else")
    said = [line for line in message if line.startswith("warning: photos/val/") or "/photos/val/" in line]
    assert said and all(" became " in line for line in said)
    assert names(here.folder) == before


def test_without_images_nothing_is_exported_unless_it_is_asked_for(here: Lab, tmp_path: Path) -> None:
    shutil.copy(here.folder / "run/checkpoint.safetensors", tmp_path / "alone.safetensors")
    alone = Lab(here.server, tmp_path)
    done = alone("export", "alone.safetensors", "-o", "model.onnx")
    assert done.code == 2
    assert done.stderr.splitlines()[-1] == (
        "Name images: --images DIR, labelled or not. Without any comparison: --unchecked."
    )
    assert names(tmp_path) == ["alone.safetensors"]
    done = alone("export", "alone.safetensors", "-o", "model.onnx", "--images", here.folder / "new")
    assert done.code == 0, done.stderr
    assert "compared  on 5 images of a folder, without labels, in a process without torch" in done.stderr
    done = alone("export", "alone.safetensors", "-o", "unchecked.onnx", "--unchecked")
    assert done.code == 0
    assert "warning: --unchecked: nobody has seen" in done.stderr
    assert "checked      no" in alone("info", "unchecked.onnx").text.splitlines()


def test_a_run_that_held_out_nothing(here: Lab) -> None:
    done = here.train("--cache", "cache", *QUICK, "--set", "data.val_fraction=0", data="photos/train", output="all")
    assert done.code == 0, done.stderr
    done = here("export", "all", "-o", "all.onnx")
    assert done.code == 2
    assert "holds out none" in done.stderr and "--images DIR" in done.stderr


@pytest.mark.parametrize(
    "more",
    [
        (*QUICK, "--set", "backbone.layer=[fire2, penultimate]"),
        (*QUICK, "--set", "head.kind=mlp", "--set", "train.epochs=3"),
        (),
    ],
    ids=["layers", "mlp", "another backbone"],
)
def test_every_kind_of_model(here: Lab, more: Sequence[str]) -> None:
    done = here.train("--cache", "cache", *more, output="kind", data="photos")
    assert done.code == 0, done.stderr
    done = here("export", "kind", "-o", "kind.onnx", "--features", "--cache", "cache", "--json")
    assert done.code == 0, done.stderr
    facts = strict_json(done.stdout)
    assert facts["checked"]["labels"] == 12 and facts["outputs"]["features"] > 0
    shutil.rmtree(here.folder / "kind")


def test_a_library_that_is_missing(here: Lab) -> None:
    done = without(["onnxscript"], here, "export", "run", "-o", "x.onnx")
    assert done.returncode == 4
    assert done.stderr.splitlines()[-2:] == [
        "error: an export to ONNX needs onnx and onnxscript",
        "Install it: pip install 'featcli[onnx]'",
    ]
    for command in (("export", "run", "-o", "x.onnx"), ("predict", "run/model.onnx", "new")):
        done = without(["onnxruntime"], here, *command)
        assert done.returncode == 4
        assert done.stderr.splitlines()[-2:] == [
            "error: an ONNX file needs onnxruntime",
            "Install it: pip install 'featcli[onnx]'",
        ]
    assert not (here.folder / "x.onnx").exists()


def test_a_full_disk_leaves_nothing(here: Lab) -> None:
    full = here.preload(
        "import errno, os\n"
        "from featcli.commands import export\n"
        "def write(target, data):\n"
        "    from featcli.files import atomic_path, storage_errors\n"
        "    with atomic_path(target) as path, storage_errors(target):\n"
        "        path.write_bytes(data[: len(data) // 2])\n"
        "        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))\n"
        "export.write_bytes = write\n"
    )
    before = names(here.folder)
    done = here("export", "run", "-o", "full.onnx", "--unchecked", preload=full)
    assert done.code == 4
    assert "error: cannot write full.onnx: No space left on device" in done.stderr
    assert names(here.folder) == before


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (("run",), "-o: name the file to write: -o model.onnx", ""),
        (("run", "-o", "-"), "an exported model is a file, not a stream", "-o model.onnx"),
        (("run", "-o", "model.bin"), "model.bin: of which format?", ".onnx, .xml, .pt2"),
        (("run", "-o", "a.pt2", "--format", "onnx"), "a file of --format onnx ends in .onnx", "-o a.onnx"),
        (("run", "-o", "run/checkpoint.safetensors", "--format", "onnx"), "ends in .onnx", "-o run/checkpoint.onnx"),
        (("run", "-o", "a.onnx", "--images", "nosuch"), "--images: no such folder: nosuch", "labelled or not"),
        (("run", "-o", "a.onnx", "--images", "run/config.yaml"), "--images: run/config.yaml is a file", ""),
        (("run", "-o", "a.onnx", "--allow-slower"), "--allow-slower: it is of --int8 and --fp16", ""),
        (("run", "-o", "a.onnx", "--max-loss", "0.1"), "--max-loss: it is of --int8 and --fp16", ""),
        (("run", "-o", "taken.xml"), "taken.bin would be replaced", "-o"),
        (("run", "-o", "a.pt2", "--form", "whole"), "--form whole is of ONNX alone", "-o model.onnx"),
        (("run", "-o", "a.xml", "--int8"), "--int8 is of ONNX alone", ""),
        (("run", "-o", "a.onnx", "--int8", "--fp16"), "--int8 and --fp16 are two files", ""),
        (("run", "-o", "a.onnx", "--form", "half"), "half", "exact"),
        (
            ("run/model.onnx", "-o", "a.onnx"),
            "run/model.onnx is an exported file, and a checkpoint is needed",
            "Name the run",
        ),
        (("photos", "-o", "a.onnx"), "photos", "featcli export"),
        (("run", "new", "-o", "a.onnx"), "one checkpoint, not more: new", "--images DIR"),
        (("run", "-o", "a.onnx", "--images", "empty"), "no images in empty", "--images DIR"),
        (("missing", "-o", "a.onnx"), "no such checkpoint or run: missing", "featcli export"),
    ],
)
def test_what_cannot_be_asked_for(here: Lab, arguments: tuple[str, ...], message: str, hint: str) -> None:
    (here.folder / "empty").mkdir(exist_ok=True)
    here.write("taken.bin", "mine")
    done = here("export", *arguments)
    assert (done.code, done.text) == (2, "")
    assert message in done.stderr
    assert hint in done.stderr
    assert not (here.folder / "a.onnx").exists()


def test_what_an_exported_file_cannot_do(here: Lab) -> None:
    done = here("predict", "run/model.onnx", "new", "--because", "2")
    assert done.code == 2
    assert done.stderr.splitlines()[0] == (
        "error: --because needs a checkpoint, and run/model.onnx is an exported file"
    )
    done = here("predict", "run/model.onnx", "new", "--device", "cuda")
    assert done.code == 2
    assert "device cuda: an exported file runs on the CPU here" in done.stderr
    for command in (("verify",), ("report",)):
        done = here(*command, "run/model.onnx")
        assert done.code == 2
        assert "run/model.onnx is an exported file, and a checkpoint is needed" in done.stderr


def test_a_damaged_file_and_one_of_somebody_else(here: Lab) -> None:
    data = bytearray((here.folder / "run/model.onnx").read_bytes())
    data[len(data) // 2] ^= 1
    here.write("damaged.onnx", bytes(data))
    done = here("predict", "damaged.onnx", "new")
    assert (done.code, done.text) == (3, "")
    assert (
        done.stderr.splitlines()[0]
        == "error: damaged.onnx is not what was exported: damaged, or changed by another program"
    )
    here.write("cut.onnx", bytes(data[: len(data) // 2]))
    done = here("predict", "cut.onnx", "new")
    assert done.code == 3
    assert "cut.onnx is not an ONNX file, or only a part of one" in done.stderr


def test_images_of_which_none_can_be_read(here: Lab) -> None:
    for index in range(3):
        here.write(f"broken/{index}.png", "no image")
    done = here("export", "run", "-o", "a.onnx", "--images", "broken", "--cache", "cache")
    assert done.code == 1
    assert (
        done.stderr.splitlines()[-1] == "error: not written: none of 3 images of a folder, without labels can be read"
    )


def test_a_path_that_is_no_utf_8(here: Lab) -> None:
    name = os.fsdecode(b"b\xff/m\xfa.onnx")
    (here.folder / name).parent.mkdir()
    shutil.copy(here.folder / "run/model.onnx", here.folder / name)
    done = here("predict", name, "new")
    assert done.code == 0, done.stderr
    assert done.text == here("predict", "run/model.onnx", "new").text


@pytest.mark.parametrize("data", [b"", b"some text", bytes(100)])
def test_what_is_called_onnx_and_is_not(here: Lab, data: bytes) -> None:
    here.write("no.onnx", data)
    done = here("predict", "no.onnx", "new")
    assert done.code == 3
    assert done.stderr.splitlines()[0] == "error: no.onnx is not an ONNX file, or only a part of one"


def test_an_exported_file_comes_first_in_a_comparison(here: Lab) -> None:
    done = here("diff", "run/model.onnx", "run", "photos/val", "--cache", "cache")
    assert done.code == 0, done.stderr
    assert "features     not compared: an exported file gives predictions" in done.text.splitlines()
    done = here("predict", "new", "run/model.onnx")
    assert done.code == 2
    assert "featcli predict run/model.onnx new" in done.stderr


def test_a_plan_makes_nothing(here: Lab) -> None:
    before = names(here.folder)
    done = here("export", "run", "-o", "plan.onnx", "--form", "whole", "--dry-run")
    assert done.code == 0
    assert done.text.splitlines()[-2:] == [
        "  file        plan.onnx: onnx, whole, fp32",
        "  compared    12 validation images",
    ]
    assert names(here.folder) == before
