"""`data.range`: 16-bit grey of which a camera uses fewer bits, from the first look to `predict`."""

from __future__ import annotations

import numpy as np
import pytest
import yaml
from PIL import Image

from tests.cli.lab import SMALL, Lab, read_csv, strict_json

HINT = "warning: 16-bit images use under a quarter of their range (0 to 4095 of 65535; 14 were looked at)"


def scene(label: int, index: int) -> np.ndarray:
    """12 bits, whose classes differ by their pattern."""
    random = np.random.default_rng([label, index])
    y, x = np.mgrid[0:40, 0:40]
    waves = np.sin((x if label else y) / 3 + random.random() * 6)
    return np.clip(2000 + 900 * waves + random.normal(0, 60, (40, 40)), 0, 4000).astype(np.uint16)


@pytest.fixture
def scans(lab: Lab) -> Lab:
    """`twelve`, of 9 images a class, and `sixteen`: the same images, their values multiplied up."""
    for label, name in enumerate(("across", "down")):
        for index in range(9):
            values = scene(label, index)
            split = "val" if index > 6 else "train"
            for folder, pixels in (("twelve", values), ("sixteen", values.astype(np.int64) * 65535 // 4095)):
                path = lab.folder / folder / split / name / f"{index}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels.astype(np.uint16)).save(path)
    return lab


def preprocessing(lab: Lab, run: str = "run") -> dict[str, object]:
    found = strict_json(lab("info", run, "--json").text)["preprocessing"]
    assert isinstance(found, dict)
    return found


def test_auto_is_one_range_from_training_to_prediction(scans: Lab) -> None:
    done = scans.train("--set", "data.range=auto", data="twelve")
    assert done.code == 0, done.stderr
    largest = max(int(scene(label, index).max()) for label in (0, 1) for index in range(7))
    assert (
        f"range     16-bit grey from 0 to 4095; 14 training images use values up to {largest} (data.range: auto)\n"
        in done.stderr
    )
    assert "quarter" not in done.stderr
    assert preprocessing(scans)["range"] == [0, 4095]
    assert yaml.safe_load((scans.folder / "run" / "config.yaml").read_text())["data"]["range"] == "auto"
    assert "range        16-bit grey from 0 to 4095\n" in scans("info", "run").text
    assert scans("evaluate", "run", "--parity").code == 0
    images = sorted((scans.folder / "twelve" / "val").rglob("*.png"))
    rows = scans("predict", "run", *images).rows
    told = {row["path"]: row for row in read_csv(scans.folder / "run" / "predictions.csv")}
    for row in rows:
        kept = told[row["path"]]
        assert (row["label"], row["confidence"]) == (kept["label"], float(kept["confidence"]))


def test_auto_gives_what_the_scaled_files_give_and_full_does_not(scans: Lab) -> None:
    features = {}
    for name, folder, value in (("auto", "twelve", "auto"), ("full", "twelve", "full"), ("up", "sixteen", "auto")):
        output = scans.folder / f"{name}.npz"
        done = scans("extract", *SMALL, "--set", f"data.root={folder}", "--set", f"data.range={value}", "-o", output)
        assert done.code == 0, done.stderr
        features[name] = np.load(output)["features"]
    difference = {name: np.linalg.norm(features[name] - features["up"]) for name in ("auto", "full")}
    assert difference["auto"] < 0.05 * difference["full"]
    assert "16-bit grey from 0 to 65535; a training image uses values up to" in done.stderr


def test_a_full_range_keeps_its_stored_features_and_a_warning_names_the_way_out(scans: Lab) -> None:
    arguments = ["--json", "--overwrite"]
    first = scans.train(*arguments, data="twelve")
    assert f"{HINT} and become almost black: set data.range: auto\n" in first.stderr
    assert "range" not in preprocessing(scans)
    assert "range        16-bit grey from 0 to 65535\n" in scans("info", "run").text
    counts = []
    for value in ("auto", "[0, 4095]", "full", "[0, 65535]"):
        done = scans.train(*arguments, "--set", f"data.range={value}", data="twelve")
        counts.append(strict_json(done.text)["features"]["computed"])
    assert counts == [18, 0, 0, 0]


def test_one_training_image_that_uses_all_bits_makes_auto_full_and_a_validation_image_does_not(scans: Lab) -> None:
    bright = np.full((40, 40), 65535, dtype=np.uint16)
    Image.fromarray(bright).save(scans.folder / "twelve" / "val" / "down" / "bright.png")
    assert scans.train("--set", "data.range=auto", data="twelve").code == 0
    assert preprocessing(scans)["range"] == [0, 4095]
    Image.fromarray(bright).save(scans.folder / "twelve" / "train" / "down" / "bright.png")
    done = scans.train("--set", "data.range=auto", data="twelve", output="other")
    assert "16-bit grey from 0 to 65535; a training image uses values up to 65535 (data.range: auto)" in done.stderr
    assert "range" not in preprocessing(scans, "other")


def test_check_names_the_dark_images(scans: Lab) -> None:
    arguments = [*SMALL, "--set", "data.root=twelve"]
    done = scans("check", *arguments)
    lines = done.text.splitlines()
    at = lines.index(
        "  range       18 of 18 16-bit images use under a quarter of their range (0 to 4095 of 65535): "
        "set data.range: auto"
    )
    assert lines[at + 1 : at + 7] == [
        *(f"              train/across/{index}.png" for index in range(5)),
        "              and 13 more (--json lists all)",
    ]
    assert "quarter" not in done.stderr
    grey = strict_json(scans("check", *arguments, "--json").text)["data"]["grey_16_bit"]
    assert (grey["images"], len(grey["narrow"]), grey["narrow_range"]) == (18, 18, [0, 4095])
    ranged = scans("check", *arguments, "--set", "data.range=auto").text
    assert "  range       18 16-bit images, scaled from 0 to 4095\n" in ranged
    assert "16-bit grey 0 to 4095\n" in ranged
    Image.fromarray(np.full((40, 40), 60000, dtype=np.uint16)).save(scans.folder / "twelve/train/down/bright.png")
    mixed = scans("check", *arguments).text
    assert (
        "  range       18 of 19 16-bit images use under a quarter of their range (0 to 4095 of 65535): "
        "the others use more, and data.range: [0, 4095] would clip them\n" in mixed
    )
    dry = scans("train-head", *arguments, "-o", "run", "--dry-run")
    assert (dry.code, "quarter" in dry.stderr, "quarter" in dry.text) == (0, False, True)


def test_init_writes_auto_where_it_sees_dark_images_and_only_there(scans: Lab) -> None:
    assert scans("init", "twelve").code == 0
    text = (scans.folder / "twelve.yaml").read_text()
    assert yaml.safe_load(text)["data"]["range"] == "auto"
    assert (
        "  range: auto                    # 16-bit images that use 0 to 4095 of 65535 would be almost black\n" in text
    )
    assert max(map(len, text.splitlines())) <= 120
    for folder in ("sixteen", "photos"):
        assert scans("init", folder).code == 0
        assert "range" not in yaml.safe_load((scans.folder / f"{folder}.yaml").read_text())["data"]


def test_a_range_that_no_pixel_fits(scans: Lab) -> None:
    scans.write("scans.yaml", "data:\n  root: twelve\n  range: [60000, 65000]\nbackbone: {name: efficientnet_lite0}\n")
    values = np.concatenate([scene(label, index) for label in (0, 1) for index in range(7)])
    for command in (("train-head", "-o", "run"), ("check",), ("extract", "-o", "features.npz")):
        done = scans(*command, "-c", "scans.yaml", *SMALL)
        assert (done.code, done.text) == (2, "")
        assert done.stderr.splitlines()[-2:] == [
            "scans.yaml:3:10: data.range: no pixel of the 16-bit training images lies in 60000 to 65000: "
            f"they have values from {values.min()} to {values.max()}",
            f"Use data.range: auto, or [{values.min()}, {values.max()}].",
        ]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("auto", "data.range: auto changes nothing: no training image is 16-bit grey, and those alone decide"),
        ("[0, 4095]", "data.range [0, 4095] changes no training image: none is 16-bit grey"),
    ],
)
def test_a_range_without_16_bit_images_is_said_to_change_nothing(lab: Lab, value: str, said: str) -> None:
    done = lab.train("--set", f"data.range={value}")
    assert done.code == 0
    assert f"note: {said}\n" in done.stderr
    assert ("range" in preprocessing(lab)) == (value != "auto")


def test_paths_are_extracted_in_the_range_of_the_configs_training_images(scans: Lab) -> None:
    image = "sixteen/val/down/7.png"
    wanted = scans.folder / "twelve" / "val" / "down" / "7.png"
    arguments = ["extract", wanted, *SMALL, "--set", "data.range=auto"]
    alone = scans(*arguments, "-o", "alone.npz")
    assert (alone.code, alone.stderr.splitlines()[-2:]) == (
        2,
        [
            "error: --set data.range=auto: auto needs training images, and no data is named",
            "Give data.root or data.manifest too, or the range itself: data.range: [0, 4095].",
        ],
    )
    assert scans(*arguments, "--set", "data.root=twelve", "-o", "auto.npz").code == 0
    given = ["extract", image, *SMALL, "-o", "up.npz"]
    assert scans(*given).code == 0
    ours, up = (np.load(scans.folder / f"{name}.npz")["features"][0] for name in ("auto", "up"))
    np.testing.assert_allclose(ours, up, rtol=0, atol=0.05 * np.abs(up).max())


def test_a_tuned_network_predicts_in_the_range_it_was_tuned_in(scans: Lab) -> None:
    done = scans.finetune("--set", "data.range=auto", data="twelve")
    assert done.code == 0, done.stderr
    assert preprocessing(scans)["range"] == [0, 4095]
    assert scans("evaluate", "run", "--parity").code == 0
    # Its weights in another run: the range is of the data, and the config says it.
    source = f"backbone.weights={scans.folder}/run/checkpoint.safetensors"
    again = scans.train("--set", source, data="sixteen", output="next")
    assert "note: the checkpoint whose weights these are has data.range [0, 4095], and this run [0, 65535]\n" in (
        again.stderr
    )
    assert "range" not in preprocessing(scans, "next")


def test_the_stored_features_of_two_ranges_are_told_apart(scans: Lab) -> None:
    for value in ("full", "[0, 4095]"):
        assert scans.train("--overwrite", "--set", f"data.range={value}", "--cache", "store", data="twelve").code == 0
    shown = scans("cache", "show", "--cache", "store").text
    spaces = [line for line in shown.splitlines() if "crop 32" in line]
    assert sorted("crop 32, range [0, 4095]" in line for line in spaces) == [False, True]


def test_a_crop_that_does_not_fit_is_refused_where_it_is_set(lab: Lab) -> None:
    lab.write("mine.yaml", "backbone:\n  name: efficientnet_lite0\n  weights: none\n  preprocess:\n    crop: 300\n")
    done = lab("train-head", "-c", "mine.yaml", "--set", "data.root=photos", "-o", "run")
    assert (done.code, done.text) == (2, "")
    assert (
        "mine.yaml:5:11: backbone.preprocess.crop: resize 256 is smaller than crop 300 (the weights' own resize): "
        "the crop would have a black border\n" in done.stderr
    )


def test_16_bit_images_in_validation_alone_are_named_for_what_they_are(lab: Lab) -> None:
    for label, name in enumerate(("cats", "dogs")):
        Image.fromarray(scene(label, 0)).save(lab.folder / "split" / "val" / name / "grey.png")
    assert lab("init", "split").code == 0
    assert "range" not in (lab.folder / "split.yaml").read_text()
    text = lab("check", *SMALL, "--set", "data.root=split").text
    assert (
        "2 of 2 16-bit images use under a quarter of their range (0 to 4095 of 65535): no training image is 16-bit, so "
        "data.range: auto would not help; [0, 4095] would\n"
    ) in text
    text = lab("check", *SMALL, "--set", "data.root=split", "--set", "data.range=[0, 2500]").text
    assert "2 16-bit images, scaled from 0 to 2500; 2 have larger values, which are clipped\n" in text
