"""`featcli extract`: five formats that say the same, rows that belong to their paths."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest
import safetensors

from tests.cli.lab import SMALL, Lab, names, read_csv, tree

pytestmark = pytest.mark.slow

FORMATS = ("npz", "npy", "safetensors", "csv", "parquet")
EXTRACT = ("extract", *SMALL)


def test_five_formats_say_the_same(lab: Lab) -> None:
    lab.write("split/val/cats/21.png", "broken")
    read: dict[str, dict[str, Any]] = {}
    for format in FORMATS:
        done = lab(*EXTRACT, "--set", "data.root=split", "-o", f"out/x.{format}")
        assert (done.code, done.text) == (3, f"out/x.{format}\n"), done.stderr
        assert done.stderr.endswith(
            f"unreadable: {lab.folder}/split/val/cats/21.png: "
            "a text file, not an image: fetch the image again, or remove it\n"
            "error: 1 image could not be read\nEverything else is done. --max-bad N tolerates N of them.\n"
        )
        read[format] = READERS[format](lab.folder / "out" / f"x.{format}")
        for beside in ("x.csv", "x.errors.csv"):
            if format == "npy":
                (lab.folder / "out" / beside).unlink()
    assert names(lab.folder / "out") == sorted(f"x.{format}" for format in FORMATS)

    reference = read["npz"]
    assert reference["features"].shape == (21, 1280)
    assert reference["features"].dtype == np.float32
    expected = [
        *(f"train/{name}/{index:02d}.png" for name in ("cats", "dogs") for index in range(6)),
        *("val/cats/20.png", "val/cats/22.png", "val/dogs/20.png", "val/dogs/21.png", "val/dogs/22.png"),
        *(f"test/{name}/{index}.png" for name in ("cats", "dogs") for index in (30, 31)),
    ]
    assert reference["paths"] == [f"{lab.folder}/split/{path}" for path in expected]
    assert reference["splits"] == [Path(path).parts[-3] for path in reference["paths"]]
    assert reference["labels"] == [Path(path).parts[-2] for path in reference["paths"]]
    for format in FORMATS[1:]:
        np.testing.assert_array_equal(read[format]["features"], reference["features"], err_msg=format)
        for column in ("paths", "labels", "splits"):
            assert read[format][column] == reference[column], format
        assert [path for path, _ in read[format]["errors"]] == [f"{lab.folder}/split/val/cats/21.png"], format


def _read_npz(path: Path) -> dict[str, Any]:
    with np.load(path, allow_pickle=False) as archive:
        arrays = dict(archive)
    assert arrays["classes"].tolist() == ["cats", "dogs"]
    assert arrays["labels"].dtype == np.int64
    return {
        "features": arrays["features"],
        "paths": arrays["paths"].tolist(),
        "labels": [arrays["classes"][label] for label in arrays["labels"]],
        "splits": arrays["splits"].tolist(),
        "errors": arrays["errors"].tolist(),
    }


def _read_npy(path: Path) -> dict[str, Any]:
    rows = read_csv(path.with_suffix(".csv"))
    errors = read_csv(path.with_suffix(".errors.csv"))
    return {
        "features": np.load(path, allow_pickle=False),
        "paths": [row["path"] for row in rows],
        "labels": [row["label"] for row in rows],
        "splits": [row["split"] for row in rows],
        "errors": [[row["path"], row["error"]] for row in errors],
    }


def _read_safetensors(path: Path) -> dict[str, Any]:
    with safetensors.safe_open(path, framework="numpy") as file:
        lists = {name: json.loads(value) for name, value in file.metadata().items()}
        labels, features = file.get_tensor("labels"), file.get_tensor("features")
    lists["labels"] = [lists["classes"][label] if label >= 0 else "" for label in labels]
    return {"features": features, **lists}


def _read_csv(path: Path) -> dict[str, Any]:
    rows = read_csv(path)
    good = [row for row in rows if not row["error"]]
    features = [[np.float32(row[f"f{index}"]) for index in range(1280)] for row in good]
    return {
        "features": np.array(features, dtype=np.float32),
        "paths": [row["path"] for row in good],
        "labels": [row["label"] for row in good],
        "splits": [row["split"] for row in good],
        "errors": [[row["path"], row["error"]] for row in rows if row["error"]],
    }


def _read_parquet(path: Path) -> dict[str, Any]:
    table = pyarrow.parquet.read_table(path)
    metadata = table.schema.metadata
    assert json.loads(metadata[b"classes"]) == ["cats", "dogs"]
    columns = table.to_pydict()
    return {
        "features": np.array(columns["features"], dtype=np.float32),
        "paths": columns["path"],
        "labels": columns["label"],
        "splits": columns["split"],
        "errors": json.loads(metadata[b"errors"]),
    }


READERS: dict[str, Callable[[Path], dict[str, Any]]] = {
    "npz": _read_npz,
    "npy": _read_npy,
    "safetensors": _read_safetensors,
    "csv": _read_csv,
    "parquet": _read_parquet,
}


def features_by_path(path: Path) -> dict[str, bytes]:
    """The bits of every row of an npz, by path."""
    with np.load(path, allow_pickle=False) as archive:
        return {name: row.tobytes() for name, row in zip(archive["paths"].tolist(), archive["features"], strict=True)}


def test_files_folders_patterns_and_stdin(lab: Lab) -> None:
    read, write = os.pipe()
    os.write(write, b"split/val/dogs/20.png\nphotos/cats/03.png\n")
    os.close(write)
    done = lab(*EXTRACT, "photos/dogs/01.png", "split/test", "photos/*/00.png", "-", "-o", "x.npz", stdin=read)
    os.close(read)
    assert (done.code, done.text) == (0, "x.npz\n")
    with np.load(lab.folder / "x.npz") as archive:
        assert archive["paths"].tolist() == [
            "photos/dogs/01.png",
            *(f"split/test/{name}/{index}.png" for name in ("cats", "dogs") for index in (30, 31)),
            *("photos/cats/00.png", "photos/dogs/00.png", "split/val/dogs/20.png", "photos/cats/03.png"),
        ]
        assert set(archive["labels"]) == {-1}
        assert set(archive["splits"]) == {""}
        assert archive["features"].shape == (9, 1280)


def test_paths_that_end_in_nul(lab: Lab) -> None:
    (lab.folder / "photos" / "cats" / "00.png").rename(lab.folder / "two\nlines.png")
    read, write = os.pipe()
    os.write(write, b"two\nlines.png\0photos/cats/01.png\0")
    os.close(write)
    done = lab(*EXTRACT, "-0", "-", "-o", "x.npz", stdin=read)
    os.close(read)
    assert done.code == 0
    with np.load(lab.folder / "x.npz") as archive:
        assert archive["paths"].tolist() == ["two\nlines.png", "photos/cats/01.png"]


def test_row_i_is_file_i_whatever_the_circumstances(lab: Lab) -> None:
    """Promise 4: bit for bit, whatever workers, batch size, order, subset, store and broken files."""
    paths = sorted(str(path.relative_to(lab.folder)) for path in (lab.folder / "photos").rglob("*.png"))
    assert lab(*EXTRACT, *paths, "-o", "reference.npz", "--cache", "cache-a").code == 0
    reference = features_by_path(lab.folder / "reference.npz")
    assert list(reference) == paths
    assert len(set(reference.values())) == 16
    lab.write("bad.png", "no image")
    circumstances: list[tuple[list[str], tuple[str, ...], int]] = [
        (paths[::-1], ("--workers", "1", "--batch-size", "1", "--cache", "cache-b"), 0),
        (paths[3:10], ("--workers", "4", "--batch-size", "7", "--cache", "cache-c"), 0),
        ([*paths[:5], "bad.png", "gone.png", *paths[5:]], ("--workers", "3", "--cache", "cache-c"), 3),
        (paths[::-1], ("--cache", "cache-a"), 0),
        ([paths[2], paths[1], paths[2]], ("--threads", "2", "--cache", "cache-d"), 0),
    ]
    for order, options, code in circumstances:
        done = lab(*EXTRACT, *order, "-o", "x.npz", *options)
        assert done.code == code, done.stderr
        with np.load(lab.folder / "x.npz") as archive:
            assert archive["paths"].tolist() == [path for path in order if path in reference]
            assert [row.tobytes() for row in archive["features"]] == [
                reference[path] for path in order if path in reference
            ]
            assert archive["errors"][:, 0].tolist() == [path for path in order if path not in reference]


def test_an_edited_image_is_computed_anew(lab: Lab) -> None:
    """Nothing stale: the same name, size and time with other bytes is another image."""
    paths = ["photos/cats/00.png", "photos/dogs/00.png"]
    assert lab(*EXTRACT, *paths, "-o", "x.npz").code == 0
    first = features_by_path(lab.folder / "x.npz")
    image = lab.folder / paths[0]
    times = (image.stat().st_atime_ns, image.stat().st_mtime_ns)
    image.write_bytes((lab.folder / "photos/dogs/07.png").read_bytes())
    os.utime(image, ns=times)
    done = lab(*EXTRACT, *paths, "-o", "x.npz")
    assert "features  1 computed, 1 from the store\n" in done.stderr
    second = features_by_path(lab.folder / "x.npz")
    assert [first[path] == second[path] for path in paths] == [False, True]


def test_the_array_formats_leave_no_errors_file_behind(lab: Lab) -> None:
    lab.write("bad.png", "no image")
    assert lab(*EXTRACT, "photos/cats", "bad.png", "-o", "x.npy", "--max-bad", "1").code == 0
    assert read_csv(lab.folder / "x.errors.csv")[0]["path"] == "bad.png"
    assert lab(*EXTRACT, "photos/cats", "-o", "x.npy").code == 0
    assert not (lab.folder / "x.errors.csv").exists()


def test_names_that_are_not_utf8(lab: Lab) -> None:
    name = "caf\udce9 🐜,\"'.png"
    (lab.folder / "photos" / "cats" / "00.png").rename(lab.folder / name)
    for format in ("npz", "npy", "safetensors", "csv"):
        done = lab(*EXTRACT, name, "photos/cats/01.png", "-o", f"x.{format}")
        assert done.code == 0, done.stderr
    assert list(features_by_path(lab.folder / "x.npz")) == [name, "photos/cats/01.png"]
    assert _read_npy_names(lab.folder / "x.npy") == [name, "photos/cats/01.png"]
    assert _read_safetensors(lab.folder / "x.safetensors")["paths"] == [name, "photos/cats/01.png"]


def _read_npy_names(path: Path) -> list[str]:
    return [row["path"] for row in read_csv(path.with_suffix(".csv"))]


def test_dry_run_writes_nothing(lab: Lab) -> None:
    before = tree(lab.folder)
    done = lab(*EXTRACT, "photos", "-o", "x.npz", "--dry-run", "--cache", "cache")
    assert done.code == 0
    assert tree(lab.folder) == before
    assert "  images      from photos\n  output      x.npz\n" in done.text


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ("photos", "-o", "x.nzp"),
            2,
            "error: cannot tell the format of 'x.nzp'; did you mean 'npz' or 'npy'?\n"
            "End it in .npz, .npy, .safetensors, .csv or .parquet, "
            "or give --format: npz, npy, safetensors, csv or parquet.\n",
        ),
        (("photos", "-o", "photos", "--format", "npz"), 2, "error: the output photos is a folder; -o names a file\n"),
        (
            ("photos", "-o", "x.csv", "--format", "npy"),
            2,
            "error: 'x.csv' is where the names beside an npy go\nName the array .npy.\n",
        ),
        (
            ("empty", "-o", "x.npz"),
            2,
            "error: no images in empty\nName another folder, or the files themselves: each has a row.\n",
        ),
        (("photos", "no*match", "-o", "x.npz"), 2, "error: the pattern 'no*match' matches nothing\n"),
        (
            ("gone.png", "-o", "x.npz"),
            3,
            "error: none of the 1 images can be read; the first: gone.png: no such file or directory\n",
        ),
        (
            ("photos", "-o", "file/folder/x.npz"),
            4,
            "error: cannot write file/folder/x.npz: Not a directory\n"
            "Choose a place that can be written to, with -o (results) or --cache (features).\n",
        ),
        (
            ("photos", "-o", "x.npz", "--cache", "file/cache"),
            4,
            "Choose a place that can be written to, with -o (results) or --cache (features).\n",
        ),
    ],
)
def test_what_cannot_be(lab: Lab, arguments: tuple[str, ...], code: int, message: str) -> None:
    lab.write("file", "")
    (lab.folder / "empty").mkdir()
    before = names(lab.folder)
    done = lab(*EXTRACT, *arguments)
    assert (done.code, done.stdout) == (code, b"")
    assert done.stderr.endswith(message)
    assert names(lab.folder) == before
