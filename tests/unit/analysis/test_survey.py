"""The report on a data set, against files whose content is known."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featcli.analysis.survey import Survey, survey
from featcli.data.dataset import Dataset, open_dataset
from featcli.data.naming.source import DataSource
from featcli.data.pixels.decoding import decode_rgb, inspect_image
from featcli.data.pixels.preprocessing import Preprocessing
from featcli.data.readers.reader import UnreadableImage
from featcli.events import ignore

PREPROCESSING = Preprocessing(256, 224, "bilinear", (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def noise(mode: str, width: int, height: int, seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values).convert(mode)


def write(path: Path, image: Image.Image, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, **options)
    return path


def opened(root: Path, group: str | None = None) -> Dataset:
    return open_dataset(DataSource(root=root, group=group, val_fraction=0.25), seed=0, workers=2, emit=ignore)


def surveyed(data: Dataset, known: frozenset[bytes] = frozenset()) -> Survey:
    return survey(data, known=known, check_size=PREPROCESSING.check_size, workers=2, emit=ignore)


@pytest.fixture
def messy(tmp_path: Path) -> Path:
    root = tmp_path / "messy"
    for index in range(4):
        write(root / "cat" / f"{index}.jpg", noise("RGB", 40 + index, 30, index))
        write(root / "dog" / f"{index}.png", noise("L", 20, 20, 10 + index))
    write(root / "dog" / "palette.gif", noise("P", 8, 9))
    (root / "dog" / "twin.png").write_bytes((root / "dog" / "0.png").read_bytes())
    (root / "dog" / "mislabelled.jpg").write_bytes((root / "cat" / "0.jpg").read_bytes())
    (root / "cat" / "cut.jpg").write_bytes((root / "cat" / "1.jpg").read_bytes()[:-200])
    (root / "cat" / "text.jpg").write_text("no image")
    write(root / "cat" / "long.png", noise("RGB", 1, 5000))
    (root / "cat" / "notes.txt").write_text("x")
    return root


def test_what_a_messy_folder_holds(messy: Path) -> None:
    facts = surveyed(opened(messy)).to_json()
    assert facts["images"] == 14
    assert facts["formats"] == {"PNG": 5, "JPEG": 5, "GIF": 1}
    assert facts["modes"] == {"L": 5, "RGB": 5, "P": 1}
    assert facts["sizes"] == {"smallest": [8, 9], "median": [20, 20], "largest": [43, 30]}
    assert {Path(item["path"]).name: item["reason"].split(" (")[0] for item in facts["unreadable"]} == {
        "cut.jpg": "damaged image: image file is truncated",
        "long.png": "1 x 5000 pixels are too elongated to be resized",
        "text.jpg": "a text file, not an image: fetch the image again, or remove it",
    }
    kinds = {item["under"]: {Path(image["path"]).name for image in item["images"]} for item in facts["duplicates"]}
    assert kinds == {"classes": {"0.jpg", "mislabelled.jpg"}, "one class": {"0.png", "twin.png"}}
    assert (facts["groups"], facts["skipped"]) == (None, {"named *.txt": 1})


def test_copies_on_two_sides_of_a_split_of_the_user(tmp_path: Path) -> None:
    for index, split in enumerate(("train", "val")):
        for name in ("cat", "dog"):
            write(tmp_path / split / name / f"{name}.png", noise("RGB", 9, 9, index + 5 * len(name[0])))
    (tmp_path / "val" / "cat" / "again.png").write_bytes((tmp_path / "train" / "cat" / "cat.png").read_bytes())
    (tmp_path / "val" / "dog" / "dog.png").write_bytes(b"gone")
    (tmp_path / "train" / "dog" / "dog.png").write_bytes(b"other")
    found = surveyed(opened(tmp_path)).to_json()["duplicates"]
    assert [item["under"] for item in found] == ["splits"]
    assert [image["split"] for image in found[0]["images"]] == ["train", "val"]


def test_groups_and_balance(messy: Path) -> None:
    seen = surveyed(opened(messy, group="/([0-9a-z])"))
    assert seen.groups()["0"] == 2
    assert list(seen.groups().values()) == sorted(seen.groups().values(), reverse=True)
    assert seen.to_json()["groups"] == {"count": len(seen.groups()), "largest": 2}
    counts = seen.data.counts()["train"]
    assert seen.imbalance() == max(counts) / min(counts)


def test_of_an_image_that_decoded_before_only_the_header_is_read(messy: Path) -> None:
    data = opened(messy)
    cut = next(sample for sample in data.samples if sample.path.endswith("cut.jpg"))
    assert cut.digest is not None
    row = data.samples.index(cut)
    assert row in surveyed(data).errors
    assert row not in surveyed(data, frozenset({cut.digest})).errors


def grey16(largest: int, seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, largest + 1, (20, 20)).astype(np.uint16)
    values[0, 0] = largest
    return Image.fromarray(values)


def test_16_bit_images_that_use_little_of_their_range(tmp_path: Path) -> None:
    for index in range(4):
        write(tmp_path / "cat" / f"{index}.png", grey16(4000 - index, index))
        write(tmp_path / "dog" / f"{index}.png", noise("L", 20, 20, index))
    data = opened(tmp_path)
    found = surveyed(data).grey()
    assert found == {
        "images": 4,
        "narrow": [sample.path for sample in data.samples if sample.path.startswith(str(tmp_path / "cat"))],
        "narrow_range": [0, 4095],
        "auto": [0, 4095],
    }
    digests = frozenset(sample.digest for sample in data.samples if sample.digest is not None)
    assert surveyed(data, digests).grey() == found
    assert surveyed(data).to_json()["grey_16_bit"] == found


def test_16_bit_images_of_which_some_use_all_of_their_range(tmp_path: Path) -> None:
    for index in range(4):
        write(tmp_path / "cat" / f"{index}.png", grey16(65000, index))
        write(tmp_path / "dog" / f"{index}.png", grey16(200 if index == 2 else 60000, 9 + index))
    found = surveyed(opened(tmp_path)).grey()
    assert found is not None
    assert (found["images"], [Path(path).name for path in found["narrow"]]) == (8, ["2.png"])
    assert (found["narrow_range"], found["auto"]) == ([0, 255], [0, 65535])


def test_no_16_bit_images(messy: Path) -> None:
    assert surveyed(opened(messy)).grey() is None


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "I", "F"])
@pytest.mark.parametrize("suffix", ["jpg", "png", "tiff", "gif", "webp"])
def test_inspection_refuses_what_decoding_refuses(mode: str, suffix: str) -> None:
    file = io.BytesIO()
    image = noise("L", 50, 40).convert("I").convert("I;16") if mode == "I;16" else noise("RGB", 50, 40).convert("L")
    try:
        image = image if mode == "I;16" else image.convert(mode)
        image.save(file, {"jpg": "jpeg"}.get(suffix, suffix))
    except (OSError, ValueError):
        pytest.skip("the format has no such mode")
    whole = file.getvalue()
    for data in (whole, whole[: len(whole) // 2], whole[:-30], whole[:20]):
        reasons = []
        for read in (decode_rgb, lambda data: inspect_image(io.BytesIO(data), decode=True)):
            try:
                read(data)
                reasons.append(None)
            except UnreadableImage as error:
                reasons.append(str(error))
        assert (reasons[0] is None) == (reasons[1] is None), (len(data), reasons)
    if decode_ok(whole):
        facts = inspect_image(io.BytesIO(whole), decode=False)
        with Image.open(io.BytesIO(whole)) as truth:
            assert (facts.format, facts.mode, facts.width, facts.height) == (truth.format, truth.mode, 50, 40)


def decode_ok(data: bytes) -> bool:
    try:
        decode_rgb(data)
    except UnreadableImage:
        return False
    return True
