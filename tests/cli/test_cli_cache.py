"""`featcli cache`, by its functions: what they say, and the facts that `--json` prints."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from featcli.commands.cache import clear, parse_duration, parse_size, prune, show, verify
from featcli.data import hashing as memo_module
from featcli.data.hashing import MEMO_NAME, hash_files
from featcli.errors import UsageError
from featcli.events import ignore
from featcli.features.engines.models import KeptModel, ModelCache
from featcli.features.engines.openvino import openvino_version
from featcli.features.store import FeatureStore
from featcli.units import size_text
from featcli.workflow.answer import Answer
from tests.cli.lab import SMALL, head_of
from tests.unit.features import lab as store_lab
from tests.unit.features.lab import digest, segments

WIDTH = 4
SPACE = replace(store_lab.SPACE, weights_sha256="0123456789abcdef" * 4)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """A store with two images in two segments, used on the first of May 2025 at noon, UTC, last."""
    for names in ("a", "ab"):
        with FeatureStore(tmp_path / "cache", SPACE, WIDTH, ignore).writer({}) as writer:
            for name in names:
                writer.add(digest(name), np.zeros(WIDTH, np.float32))
    for path in (tmp_path / "cache").rglob("*"):
        if path.is_file():
            os.utime(path, (1746100800, 1746100800))
    return tmp_path / "cache"


def said(answer: Answer, width: int | None = None) -> tuple[str, Any]:
    text = answer.text_in(width)
    assert text is not None
    return text, answer.facts


def test_show_an_empty_store(tmp_path: Path) -> None:
    text, facts = said(show(tmp_path / "none"))
    assert text == f"store  {tmp_path / 'none'}\ntotal  0 images in 0 spaces, 0 B; memo of file hashes 0 B"
    assert facts == {
        "path": str(tmp_path / "none"),
        "spaces": [],
        "images": 0,
        "bytes": 0,
        "memo_bytes": 0,
        "models": [],
    }
    assert not (tmp_path / "none").exists()


@pytest.fixture
def _in_kathmandu(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """5 hours and 45 minutes before Greenwich."""
    with monkeypatch.context() as changed:
        changed.setenv("TZ", "NPT-5:45")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("_in_kathmandu")
def test_show(store: Path) -> None:
    size = sum(path.stat().st_size for path in segments(store))
    text, facts = said(show(store))
    shown = size_text(size)
    assert text.splitlines() == [
        f"store  {store}",
        "",
        "backbone  weights       input                          layer        computed  images"
        f"  {'size':>{len(shown)}}  last used",
        f"resnet18  0123456789ab  resize 256 bilinear, crop 224  penultimate  cpu fp32       2  {shown}"
        "  2025-05-01 17:45",
        "",
        f"total  2 images in 1 space, {shown}; memo of file hashes 0 B",
    ]
    assert said(show(store), 80)[0].splitlines()[2:5] == [
        f"backbone  computed  images  {'size':>{len(shown)}}  last used",
        f"resnet18  cpu fp32       2  {shown}  2025-05-01 17:45",
        "  weights 0123456789ab, resize 256 bilinear, crop 224, layer penultimate",
    ]
    assert facts["spaces"] == [
        {
            "key": SPACE.key,
            "backbone": "resnet18",
            "weights_sha256": SPACE.weights_sha256,
            "preprocessing": SPACE.preprocessing,
            "layer": "penultimate",
            "pixel_pipeline": 1,
            "precision": "fp32",
            "device_type": "cpu",
            "engine": "torch",
            "images": 2,
            "segments": 2,
            "set_aside": 0,
            "bytes": size,
            "last_used": "2025-05-01T12:00:00+00:00",
        }
    ]
    assert (facts["images"], facts["bytes"]) == (2, size)
    json.dumps(facts, allow_nan=False)


def test_show_of_what_cannot_be_read(store: Path) -> None:
    segments(store)[0].rename(segments(store)[0].with_suffix(".corrupt-01234567"))
    segments(store)[0].write_bytes(b"noise")
    (described,) = store.rglob("space.json")
    described.write_text('{"backbone": "red\\u001b[31m", "preprocessing": 5}')
    text, facts = said(show(store))
    assert "red\\x1b[31m  ?        ?      ?      ? ?            0" in text
    assert text.endswith("\n       1 damaged segment set aside; featcli cache prune removes them")
    assert (facts["images"], facts["spaces"][0]["set_aside"]) == (0, 1)


def test_verify(store: Path) -> None:
    text, facts = said(verify(store))
    assert text == "2 segments read, 2 sound, 0 corrupt"
    assert facts == {"path": str(store), "segments": 2, "corrupt": []}
    assert verify(store).failure is None


def test_verify_a_damaged_store(store: Path) -> None:
    bad = segments(store)[1]
    data = bad.read_bytes()
    bad.write_bytes(data[:-1] + b"\x01")
    text, facts = said(verify(store))
    assert text.splitlines() == [
        f"corrupt  {bad}: its checksum is wrong",
        "2 segments read, 1 sound, 1 corrupt",
    ]
    assert facts["corrupt"] == [{"path": str(bad), "reason": "its checksum is wrong"}]
    error = verify(store).failure
    assert error is not None
    assert error.exit_code == 3
    assert error.message == f"1 segment of the feature store {store} cannot be used"
    assert bad.exists()


def test_prune(store: Path) -> None:
    size = sum(path.stat().st_size for path in segments(store))
    for options in ({}, {"unused": "9999w"}, {"older_than": "9999w"}, {"max_size": "1GB"}):
        text, facts = said(prune(store, **options))
        assert text == f"nothing to remove, {size_text(size)} left"
        assert (facts["removed"], facts["bytes"], facts["bytes_left"]) == ([], 0, size)
    text, facts = said(prune(store, unused="30d"))
    assert text.splitlines() == [
        f"removed  resnet18 ({SPACE.key[:12]}), unused: 2 files, {size_text(size)}",
        f"{size_text(size)} freed, 0 B left",
    ]
    assert facts == {
        "path": str(store),
        "removed": [{"space": SPACE.key, "backbone": "resnet18", "why": "unused", "files": 2, "bytes": size}],
        "bytes": size,
        "bytes_left": 0,
    }
    assert segments(store) == []


@pytest.mark.parametrize(("option", "why"), [("older_than", "old"), ("max_size", "over the size")])
def test_prune_by_age_and_by_size(store: Path, option: str, why: str) -> None:
    _, facts = said(prune(store, **{option: {"older_than": "12h", "max_size": "0B"}[option]}))
    assert [(item["why"], item["files"]) for item in facts["removed"]] == [(why, 2)]


def test_clear(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memo_module, "SETTLED_NS", 0)
    photo = tmp_path / "photo.jpg"
    photo.write_bytes(b"photo")
    hash_files([str(photo)], memo=store / MEMO_NAME, workers=1, emit=ignore)
    memo = (store / MEMO_NAME).stat().st_size
    assert show(store).facts["memo_bytes"] == memo > 0
    (store / "notes.txt").write_text("mine")
    total = sum(path.stat().st_size for path in store.rglob("*") if path.is_file()) - len("mine")
    text, facts = said(clear(store))
    assert re.fullmatch(r"2 segments removed, \d+\.\d kB freed", text)
    assert facts == {"path": str(store), "segments": 2, "bytes": total}
    assert [path.name for path in store.iterdir()] == ["notes.txt"]
    assert clear(store).text == "0 segments removed, 0 B freed"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("10m", 600), ("12h", 43200), ("30d", 2592000), ("2w", 1209600), ("1.5d", 129600), (" 0 d ", 0)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration("--unused", text) == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0B", 0), ("7b", 7), ("5GB", 5 * 10**9), ("5g", 5 * 10**9), ("1.5 TB", 15 * 10**11), ("800 kB", 800_000),
        ("2MiB", 2 * 2**20), ("1gib", 2**30), ("3M", 3 * 10**6), ("0.29GB", 290_000_000),
    ],
)  # fmt: skip
def test_sizes(text: str, size: int) -> None:
    assert parse_size("--max-size", text) == size


@pytest.mark.parametrize("text", ["", "30", "d", "-1d", "30 days", "1e3d", "nand", "1M", "٣d", "9" * 400 + "d", "30D"])
def test_what_is_not_a_duration(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_duration("--unused", text)
    assert caught.value.message == f"--unused: '{text}' is not a duration"
    assert caught.value.hint == "A number and s, m, h, d or w: --unused 30d (days)."


@pytest.mark.parametrize("text", ["", "5", "GB", "-5GB", "5 GB extra", "5XB", "infGB", "٣GB", "9" * 400 + "GB", "5\n"])
def test_what_is_not_a_size(text: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        prune(tmp_path, max_size=text)
    shown = text.replace("\n", "\\n")
    assert caught.value.message == f"--max-size: '{shown}' is not a size"
    assert caught.value.hint == "A number and B, KB, MB, GB, TB (or MiB, ...): --max-size 5GB."


def test_a_bad_rule_removes_nothing(store: Path) -> None:
    with pytest.raises(UsageError):
        prune(store, unused="0d", max_size="5")
    assert len(segments(store)) == 2


@pytest.mark.parametrize(
    ("number", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (10**6, "1.0 MB"), (25 * 10**8, "2.5 GB")]
)
def test_bytes_in_words(number: int, text: str) -> None:
    assert size_text(number) == text


def test_converted_models_are_shown_pruned_and_cleared(tmp_path: Path) -> None:
    kept = ModelCache(tmp_path)
    described = {"engine": "openvino", "backbone": "resnet18", "precision": "fp32", "layer": "penultimate"}
    for key, version in (("a" * 32, openvino_version()), ("b" * 32, "2020.1"), ("c" * 32, openvino_version())):
        assert kept.keep(key, described | {"version": version}, KeptModel(None), bytes(1000)) is None
    os.utime(tmp_path / "engines" / "v1" / ("c" * 32), (1, 1))
    text, facts = said(show(tmp_path))
    assert "\nmodels 3 converted models, " in text and text.endswith(": resnet18 fp32")
    assert {model["version"] for model in facts["models"]} == {openvino_version(), "2020.1"}
    text, facts = said(prune(tmp_path, unused="30d"))
    assert {item["why"] for item in facts["removed"]} == {"of another version", "unused"}
    assert [model.folder.name for model in kept.kept()] == ["a" * 32]
    assert said(clear(tmp_path))[1]["bytes"] > 1000
    assert not kept.kept() and not (tmp_path / "engines").exists()


def test_two_hospitals_give_the_head_of_the_pooled_images(lab: Any, tmp_path: Path) -> None:
    """Features and lists of images travel; the images stay where they are."""
    both = lab.train("--cache", "own", data="split")
    assert both.code == 0, both.stderr
    lines = ["path,split,label,sha256"]
    images = sorted((lab.folder / "split").rglob("*.png"))
    for index, name in enumerate(("one", "other")):
        for image in images[index::2]:
            target = lab.folder / name / "split" / image.relative_to(lab.folder / "split")
            target.parent.mkdir(parents=True, exist_ok=True)
            image.rename(target)
        done = lab.train("--cache", f"{name}-cache", data=f"{name}/split", output=name + "-run")
        assert done.code == 0, done.stderr
        lines += (lab.folder / f"{name}-run/images.csv").read_text().splitlines()[1:]
    pooled = [line.replace("split/", "gone/split/", 1) for line in lines]
    lab.write("pooled.csv", "\n".join([lines[0], *sorted(pooled[1:], key=lambda line: line.split("gone/")[1]), ""]))
    for name in ("one", "other"):
        shutil.rmtree(lab.folder / name)
    done = lab("cache", "merge", "one-cache", "other-cache", "--cache", "merged", "--json")
    assert done.code == 0, done.stderr
    assert sum(item["new"] for item in json.loads(done.stdout)["merged"]) == 22
    settings = ("--set", "data.root=null", "--set", "data.manifest=pooled.csv", "--cache", "merged")
    done = lab("train-head", *SMALL, *settings, "-o", "pooled")
    assert done.code == 0, done.stderr
    assert "22 of 22 images are not here, and are known by their sha256" in done.stderr
    assert "features  0 computed, 22 from the store" in done.stderr
    expected, found = (
        json.loads((lab.folder / run / "metrics.json").read_text())["val"]["accuracy"] for run in ("run", "pooled")
    )
    assert found == expected
    one, other = (head_of(lab.folder / run) for run in ("run", "pooled"))
    for tensor in one:
        np.testing.assert_allclose(other[tensor], one[tensor], rtol=1e-4, atol=1e-5)
    done = lab("train-head", *SMALL, *settings[:-1], "empty", "-o", "nothing")
    assert done.code != 0
    assert "no such file" in done.stderr
