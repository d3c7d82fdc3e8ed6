"""Where answers go: devices, pipes, links and standard output; and a log that nobody can write."""

from __future__ import annotations

import io
import json
import os
import pty
import shutil
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import yaml

from tests.cli.lab import SMALL, Lab, names, read_csv, strict_json, tree

pytestmark = pytest.mark.slow

FEATCLI = Path(sys.executable).with_name("featcli")
MANIFEST = [("cats", 0, "train"), ("dogs", 0, "train"), ("cats", 1, "val"), ("dogs", 1, "val")]
ARRAYS = ("npz", "safetensors", "csv", "parquet")


@pytest.fixture
def here(trained: Lab, lab: Lab) -> Lab:
    """A working directory of its own, with the trained run on `photos` in `run`."""
    shutil.copytree(trained.folder / "run", lab.folder / "run")
    return lab


def shell(lab: Lab, line: str, **options: object) -> subprocess.CompletedProcess[bytes]:
    """A line of bash, in which `featcli` is the command."""
    return subprocess.run(
        ["bash", "-c", f'featcli() {{ "{FEATCLI}" "$@"; }}\n{line}'],
        cwd=lab.folder,
        capture_output=True,
        timeout=120,
        **options,  # type: ignore[call-overload]
    )


def read_pipe(path: Path) -> tuple[threading.Thread, list[bytes]]:
    """Makes a pipe and reads it to its end, in a thread."""
    os.mkfifo(path)
    got: list[bytes] = []
    reader = threading.Thread(target=lambda: got.append(path.read_bytes()), daemon=True)
    reader.start()
    return reader, got


# The format goes by the ending


@pytest.mark.parametrize(
    "name", ["rows.csv", "ROWS.CSV", "rows.jsonl", "rows.ndjson", "rows", "rows.parquet", "rows.txt"]
)
def test_rows_are_written_as_the_ending_says(here: Lab, name: str) -> None:
    done = here("predict", "run", "photos/cats/00.png", "-o", name)
    assert (done.code, done.text) == (0, f"{name}\n")
    data = (here.folder / name).read_bytes()
    format = {".csv": "csv", ".txt": "table", ".parquet": "parquet"}.get(Path(name).suffix.lower(), "jsonl")
    if format == "parquet":
        assert pyarrow.parquet.read_table(io.BytesIO(data)).to_pydict()["label"] == ["cats"]
    else:
        assert data == here("predict", "run", "photos/cats/00.png", "--format", format).stdout


def test_a_format_that_is_named_goes_before_the_ending(here: Lab) -> None:
    assert here("predict", "run", "photos", "-o", "rows.csv", "--format", "jsonl").code == 0
    assert len([json.loads(line) for line in (here.folder / "rows.csv").read_text().splitlines()]) == 16
    assert here("predict", "run", "photos", "-o", "rows.xlsx", "--format", "csv").code == 0
    assert len(read_csv(here.folder / "rows.xlsx")) == 16


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "rows.xlsx",
            "cannot tell the format of 'rows.xlsx'\n"
            "End it in .jsonl, .ndjson, .csv, .txt or .parquet, or give --format: jsonl, csv, table or parquet.\n",
        ),
        (
            "rows.jsnl",
            "cannot tell the format of 'rows.jsnl'; did you mean 'jsonl'?\n"
            "End it in .jsonl, .ndjson, .csv, .txt or .parquet, or give --format: jsonl, csv, table or parquet.\n",
        ),
        (
            "rows.csv.gz",
            "cannot tell the format of 'rows.csv.gz'\nCompress it on the way: --format csv -o - | gzip > rows.csv.gz\n",
        ),
        (
            "rows.json",
            "rows are no single JSON value, as 'rows.json' would be\nEnd it in .jsonl, or give --format jsonl.\n",
        ),
    ],
)
def test_an_ending_of_no_format_is_refused(here: Lab, name: str, message: str) -> None:
    before = tree(here.folder)
    done = here("predict", "run", "photos", "-o", name)
    assert (done.code, done.text, done.stderr) == (2, "", f"error: {message}")
    assert tree(here.folder) == before


# Standard output


def test_a_dash_is_standard_output(here: Lab) -> None:
    plain = here("predict", "run", "photos", "--format", "csv")
    done = here("predict", "run", "photos", "-o", "-", "--format", "csv")
    assert (done.code, done.stdout, done.stderr) == (0, plain.stdout, "")
    assert here("predict", "run", "photos", "-o", "-").stdout == here("predict", "run", "photos").stdout
    (here.folder / "out").symlink_to("/dev/stdout")
    assert here("predict", "run", "photos", "-o", "out", "--format", "csv").stdout == plain.stdout
    table = here("predict", "run", "photos", "-o", "-", "--format", "parquet")
    assert pyarrow.parquet.read_table(io.BytesIO(table.stdout)).num_rows == 16
    assert sorted(names(here.folder)) == ["out", "photos", "run", "split"]


def test_counts_on_standard_output(here: Lab) -> None:
    done = here("predict", "run", "photos", "-o", "rows.csv", "--summary", "-")
    assert (done.code, strict_json(done.text)["n"]) == (0, 16)
    assert len(read_csv(here.folder / "rows.csv")) == 16
    both = here("predict", "run", "photos", "--summary", "-")
    assert (both.code, both.text) == (2, "")
    assert both.stderr == (
        "error: rows and counts would both go to standard output\nName another file with -o or --summary.\n"
    )
    same = here("predict", "run", "photos", "-o", "x.jsonl", "--summary", "./x.jsonl")
    assert (same.code, same.stderr.splitlines()[0]) == (2, "error: rows and counts would both go to x.jsonl")


@pytest.mark.parametrize("format", ARRAYS)
def test_features_on_standard_output_are_those_of_a_file(here: Lab, format: str) -> None:
    given = ("extract", *SMALL, "photos", "--format", format)
    done = here(*given, "-o", "-")
    assert done.code == 0
    assert here(*given, "-o", "file").text == "file\n"
    if format == "npz":  # whose entries have times
        one, other = (dict(np.load(io.BytesIO(data))) for data in (done.stdout, (here.folder / "file").read_bytes()))
        assert one.keys() == other.keys()
        assert all(np.array_equal(one[name], other[name]) for name in one)
    else:
        assert done.stdout == (here.folder / "file").read_bytes()
    assert "-" not in names(here.folder)


def test_what_does_not_fit_on_standard_output_is_refused(here: Lab) -> None:
    done = here("extract", *SMALL, "photos", "-o", "-", "--format", "npy")
    assert (done.code, done.text) == (2, "")
    assert done.stderr == (
        "error: npy has a file of names beside it, and there is no place beside '-'\n"
        "Choose another --format: npz, safetensors, csv or parquet.\n"
    )
    done = here("extract", *SMALL, "photos", "-o", "-")
    assert (done.code, done.stderr) == (
        2, "error: cannot tell the format of '-'\nGive --format: npz, npy, safetensors, csv or parquet.\n"
    )  # fmt: skip
    for command in (("train-head", *SMALL, "--set", "data.root=photos"), ("demo",)):
        done = here(*command, "-o", "-")
        assert (done.code, done.text) == (2, "")
        assert done.stderr.splitlines()[-2:] == [
            "error: the output is a folder, which cannot go to standard output",
            "Name a folder with -o.",
        ]
    assert "-" not in names(here.folder)


def test_arrays_are_not_for_a_terminal(here: Lab) -> None:
    controller, terminal = pty.openpty()
    for line in (("predict", "run", "photos", "--format", "parquet"), ("extract", *SMALL, "photos", "--format", "npz")):
        arguments = [FEATCLI, *map(str, line), "-o", "-"]
        done = subprocess.run(arguments, cwd=here.folder, stdout=terminal, stderr=subprocess.PIPE, check=False)
        assert done.returncode == 2
        assert done.stderr.startswith(f"error: {line[-1]} is not for a terminal\n".encode())
    os.close(terminal)
    os.close(controller)


def test_a_starter_config_on_standard_output(here: Lab) -> None:
    (here.folder / "below").mkdir()
    done = here("init", "photos", "-o", "-")
    assert (done.code, yaml.safe_load(done.text)["data"]["root"]) == (0, "photos")
    assert done.text.startswith("# 16 images of 2 classes")
    assert "featcli check photos.yaml\n" in done.text
    assert "-" not in names(here.folder)
    assert here("init", "photos", "-o", "photos.yaml").code == 0
    assert (here.folder / "photos.yaml").read_text().partition("\n")[2] == done.text  # a stream names no schema


def test_a_starter_config_names_the_folder_as_it_was_given(here: Lab) -> None:
    for given, written in (
        ("photos", "../photos"), (f"{here.folder}/photos", f"{here.folder}/photos"), ("./run/../photos/", "../photos")
    ):  # fmt: skip
        assert here("init", given, "-o", "configs/x.yaml", "--overwrite").code == 0
        assert yaml.safe_load((here.folder / "configs" / "x.yaml").read_text())["data"]["root"] == written
        assert here("check", "-c", "configs/x.yaml").code == 0
    done = here("init", "photos", "-o", "photos")
    assert (done.code, done.stderr) == (2, "error: the output photos is a folder; -o names a file\n")


# Pipes, devices, links


def test_a_pipe_gets_rows_while_they_come(here: Lab) -> None:
    os.mkfifo(here.folder / "pipe")
    read, write = os.pipe()
    run = here.start("predict", "run", "-", "-o", "pipe", stdin=read)
    os.write(write, b"photos/cats/00.png\n")
    with (here.folder / "pipe").open("rb") as rows:
        assert json.loads(rows.readline())["label"] == "cats"
        os.write(write, b"photos/dogs/00.png\n")
        assert json.loads(rows.readline())["label"] == "dogs"
        os.close(write)
        done = run.wait()
        assert rows.read() == b""
    os.close(read)
    assert (done.code, done.text, done.stderr) == (0, "pipe\n", "")
    assert stat.S_ISFIFO((here.folder / "pipe").lstat().st_mode)


def test_a_reader_of_a_pipe_that_leaves(here: Lab) -> None:
    os.mkfifo(here.folder / "pipe")
    read, write = os.pipe()
    run = here.start("predict", "run", "-", "-o", "pipe", stdin=read)
    os.write(write, b"photos/cats/00.png\n")
    with (here.folder / "pipe").open("rb") as rows:
        assert json.loads(rows.readline())["label"] == "cats"
    os.write(write, b"photos/cats/01.png\n" * 3)
    done = run.wait(60)  # although stdin is still open
    os.close(write)
    os.close(read)
    assert (done.code, done.text, done.stderr) == (141, "", "")


@pytest.mark.parametrize("format", ["csv", "parquet"])
def test_a_reader_of_standard_output_that_never_reads(here: Lab, format: str) -> None:
    os.mkfifo(here.folder / "out")
    for command in (("predict", "run", "photos"), ("extract", *SMALL, "photos")):
        reader = threading.Thread(target=lambda: (here.folder / "out").open("rb").close())
        reader.start()
        done = here(*command, "--format", format, "-o", "-", stdout=here.folder / "out")
        reader.join()
        assert (done.code, "Traceback" in done.stderr) == (141, False)


@pytest.mark.parametrize(
    "arguments",
    [
        ("predict", "run", "photos", "-o", "pipe"),
        ("predict", "run", "photos", "-o", "pipe", "--format", "parquet"),
        ("predict", "run", "photos", "--summary", "pipe"),
        ("extract", *SMALL, "photos", "-o", "pipe", "--format", "npz"),
        ("init", "photos", "-o", "pipe"),
    ],
)
def test_every_command_writes_into_a_pipe_behind_a_link(here: Lab, arguments: tuple[str, ...]) -> None:
    reader, got = read_pipe(here.folder / "real pipe")
    (here.folder / "pipe").symlink_to("real pipe")
    done = here(*arguments)
    reader.join(10)
    assert (done.code, len(got)) == (0, 1), done.stderr
    assert len(got[0]) > 100
    assert (here.folder / "pipe").is_symlink()
    assert stat.S_ISFIFO((here.folder / "real pipe").lstat().st_mode)


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("predict", "nowhere", "photos", "-o", "pipe"), 2),
        (("predict", "run", "no*match", "--summary", "pipe"), 2),
        (("extract", "--set", "backbone.nme=x", "photos", "-o", "pipe", "--format", "npz"), 2),
        (("init", "nowhere", "-o", "pipe"), 2),
    ],
)
def test_the_reader_of_a_pipe_does_not_wait_for_what_failed(here: Lab, arguments: tuple[str, ...], code: int) -> None:
    reader, got = read_pipe(here.folder / "pipe")
    assert here(*arguments).code == code
    reader.join(10)
    assert got == [b""]


def test_a_substituted_process(here: Lab) -> None:
    done = shell(here, "featcli predict run photos -o >(wc -l > lines) >out; while [ ! -s lines ]; do sleep 0.05; done")
    assert (done.returncode, (here.folder / "lines").read_text().strip()) == (0, "16")
    assert (here.folder / "out").read_text().startswith("/dev/fd/")


def test_devices_of_our_own_stay_devices(here: Lab) -> None:
    null, full = here.folder / "null.csv", here.folder / "full"
    try:
        os.mknod(null, 0o666 | stat.S_IFCHR, os.makedev(1, 3))
        os.mknod(full, 0o666 | stat.S_IFCHR, os.makedev(1, 7))
        os.close(os.open(null, os.O_WRONLY))
    except OSError:
        pytest.skip("devices cannot be made here")
    for arguments in (
        ("predict", "run", "photos", "-o", "null.csv"),
        ("predict", "run", "photos", "-o", "rows.csv", "--summary", "null.csv"),
        ("extract", *SMALL, "photos", "-o", "null.csv"),
        ("init", "photos", "-o", "null.csv"),
        ("init", "photos", "-o", "null.csv", "--overwrite"),
    ):
        assert here(*arguments).code == 0, arguments
        assert stat.S_ISCHR(null.lstat().st_mode)
    done = here("predict", "run", "photos", "-o", "full")
    assert (done.code, done.text) == (4, "")
    assert done.stderr.splitlines()[0] == "error: cannot write full: No space left on device"
    assert stat.S_ISCHR(full.lstat().st_mode)


def test_a_run_folder_of_links(here: Lab) -> None:
    (here.folder / "disk").mkdir()
    (here.folder / "out").symlink_to("disk/new")  # which does not exist
    assert here.train(output="out").code == 0
    (here.folder / "out" / "metrics.json").rename(here.folder / "kept.json")
    (here.folder / "out" / "metrics.json").symlink_to(here.folder / "kept.json")
    (here.folder / "kept.json").chmod(0o640)
    before = (here.folder / "kept.json").read_bytes()
    (here.folder / "kept.json").write_bytes(before + b" ")
    assert here.train(output="out").code == 0
    assert (here.folder / "out").is_symlink()
    assert (here.folder / "out" / "metrics.json").is_symlink()
    assert (here.folder / "kept.json").read_bytes() == before
    assert stat.S_IMODE((here.folder / "kept.json").stat().st_mode) == 0o640
    assert here("evaluate", "out", "--parity").code == 0


def test_a_link_to_a_folder_among_the_images_is_no_place_for_a_run(here: Lab) -> None:
    (here.folder / "out").symlink_to("photos/new")
    done = here.train(output="out")
    assert (done.code, done.text) == (2, "")
    assert "lies inside data.root" in done.stderr
    assert names(here.folder / "photos") == ["cats", "dogs"]


def test_names_beside_an_array_are_written_into_what_is_there(here: Lab) -> None:
    (here.folder / "names").mkdir()
    (here.folder / "x.csv").symlink_to("names/x.csv")
    os.mkfifo(here.folder / "x.errors.csv")
    assert here("extract", *SMALL, "photos", "-o", "x.npy").code == 0
    assert len(read_csv(here.folder / "names" / "x.csv")) == 16
    assert stat.S_ISFIFO((here.folder / "x.errors.csv").lstat().st_mode)


def test_a_list_that_is_not_ours_is_not_written_over(here: Lab) -> None:
    table = "".join(f"photos/{name}/0{index}.png,{name},{split}\n" for name, index, split in MANIFEST)
    for header, given in (("path,label,split\n", ("--set", "data.manifest=x.csv")), ("path,label,fold\n", ("photos",))):
        here.write("x.csv", header + table)
        done = here("extract", *SMALL, *given, "-o", "x.npy")
        assert (done.code, done.text) == (2, "")
        assert done.stderr == (
            "error: 'x.csv' is where the names beside an npy go, and it holds something else\n"
            "Name the array otherwise.\n"
        )
        assert (here.folder / "x.csv").read_text() == header + table
    assert here("extract", *SMALL, "--set", "data.manifest=x.csv", "-o", "y.npy", "--limit", "1").code == 0
    assert here("extract", *SMALL, "photos", "-o", "y.npy").code == 0, "a list of ours is replaced"
    assert len(read_csv(here.folder / "y.csv")) == 16
    done = here("extract", *SMALL, "--set", "data.manifest=x.csv", "-o", "./x.csv")
    assert (done.code, done.stderr) == (2, "error: the output x.csv is the manifest\nName another file with -o.\n")


# A log that cannot be written


def _full(path: Path) -> Path | None:
    """A full device of our own to log to."""
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, 7))
        os.close(os.open(path, os.O_WRONLY))
    except OSError:
        return None
    return path


# What a shell does to the descriptor, and what Python then makes of it.
LOGS = {
    "full": "os.dup2(os.open('full', os.O_WRONLY), 2)",
    "closed": "os.close(2); sys.stderr = None",
    "left": "read, write = os.pipe(); os.close(read); os.dup2(write, 2)",
    "read-only": "os.dup2(os.open('photos/cats/00.png', os.O_RDONLY), 2)",
}


@pytest.mark.parametrize("log", LOGS)
def test_the_exit_code_is_that_of_the_work_whatever_becomes_of_the_log(here: Lab, log: str) -> None:
    if log == "full" and _full(here.folder / "full") is None:
        pytest.skip("devices cannot be made here")
    broken = here.preload(f"import os, sys\n{LOGS[log]}\n")
    for arguments, code in (
        (("train-head", *SMALL, "--set", "data.root=photos", "-o", "new"), 0),
        (("train-head", "--set", "data.root=nowhere"), 2),
        (("predict", "run", "photos", "gone.png"), 3),
        (("predict", "nowhere", "photos"), 2),
        (("evaluate", "run", "photos", "--min-accuracy", "1.0"), 0),
        (("predict", "--nonsense"), 2),
        (("predict", "run", "photos", "-o", "photos/cats/00.png/x.csv"), 4),
    ):
        done = here(*arguments, preload=broken)
        assert (done.code, done.stderr) == (code, ""), arguments
    assert here("evaluate", "new", "--parity").code == 0


@pytest.mark.parametrize("log", ["2>full", "2>&-", "2> >(exec true)"])
def test_the_end_of_the_process_does_not_change_the_exit_code_either(here: Lab, log: str) -> None:
    if log == "2>full" and _full(here.folder / "full") is None:
        pytest.skip("devices cannot be made here")
    assert shell(here, f"featcli init nowhere {log}").returncode == 2


def test_what_a_library_says_does_not_end_up_in_a_file_when_the_log_is_closed(here: Lab) -> None:
    """The first file that is opened would get the number of standard error."""
    closed = here.preload(
        "import os, sys\n"
        "for number in range(3): os.close(number)\n"
        "sys.stdin = sys.stdout = sys.stderr = None\n"
        "from featcli.features.extraction import Extractor\n"
        "submit = Extractor._submit\n"
        "def loud(self, tile, name):\n"
        "    os.write(2, b'a library warns')\n"
        "    return submit(self, tile, name)\n"
        "Extractor._submit = loud\n"
    )
    done = here("predict", "run", "photos", "-o", "rows.jsonl", preload=closed)
    assert done.code == 4, "the path cannot be said"
    assert len([json.loads(line) for line in (here.folder / "rows.jsonl").read_text().splitlines()]) == 16


@pytest.mark.parametrize(
    "arguments", ["predict run photos", "info run", "--version", "--help", "predict run photos -o -"]
)
def test_an_answer_that_cannot_be_given_is_exit_4(here: Lab, arguments: str) -> None:
    if _full(here.folder / "full") is None:
        pytest.skip("devices cannot be made here")
    done = here(*arguments.split(), stdout=here.folder / "full")
    assert done.code == 4
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


def test_closed_streams(here: Lab) -> None:
    closed = here.preload("import os, sys\nos.close(1)\nsys.stdout = None\n")
    for output in ((), ("-o", "-"), ("-o", "/dev/stdout")):
        done = here("predict", "run", "photos", *output, preload=closed)
        assert (done.code, done.stderr) == (4, "error: cannot write to standard output: it is closed\n")
    closed = here.preload("import os, sys\nos.close(0)\nsys.stdin = None\n")
    done = here("predict", "run", "-", preload=closed)
    assert (done.code, done.text) == (2, "")
    assert done.stderr == "error: standard input cannot be read: Bad file descriptor\n"


# Nothing to do


@pytest.mark.parametrize(
    ("format", "rows"), [("jsonl", b""), ("csv", b"path,label,confidence,novelty,error\n"), ("table", b"")]
)
def test_an_empty_list_has_an_empty_answer(here: Lab, format: str, rows: bytes) -> None:
    for arguments in (("-",), ("-0", "-")):
        done = here("predict", "run", *arguments, "--format", format)
        assert (done.code, done.stdout) == (0, rows)
        assert done.stderr == "note: no images: standard input named none\n"


def test_an_empty_list_of_images_to_extract(here: Lab) -> None:
    done = here("extract", *SMALL, "-", "-o", "x.npz")
    assert (done.code, done.text) == (0, "x.npz\n")
    assert "note: no images: standard input named none\n" in done.stderr
    with np.load(here.folder / "x.npz") as found:
        assert (found["features"].shape, list(found["paths"])) == ((0, 1280), [])


def test_an_empty_list_in_a_file(here: Lab) -> None:
    assert here("predict", "run", "-", "-o", "x.csv", "--summary", "n.json").code == 0
    assert (here.folder / "x.csv").read_text() == "path,label,confidence,novelty,error\n"
    assert strict_json((here.folder / "n.json").read_text())["n"] == 0
    assert here("predict", "run", "-", "-o", "x.parquet").code == 0
    assert pyarrow.parquet.read_table(here.folder / "x.parquet").num_rows == 0


def test_a_folder_without_images_is_a_mistake_that_says_what_was_skipped(here: Lab) -> None:
    here.write("papers/one.pdf", "no image")
    here.write("papers/.hidden.png", "no image")
    for command in (("predict", "run"), ("extract", *SMALL, "-o", "x.npz")):
        done = here(*command, "papers")
        assert (done.code, done.text) == (2, "")
        assert done.stderr.splitlines()[-2].startswith("error: no images in papers: skipped 1 ")
        assert done.stderr.splitlines()[-1] == "Name another folder, or the files themselves: each has a row."
    assert "x.npz" not in names(here.folder)


def test_a_config_of_which_no_image_is_left_to_predict(here: Lab, make_folder: Callable[..., Path]) -> None:
    make_folder(here.folder / "two", {"cats": 1, "dogs": 1})
    here.write("two.yaml", "data: {root: two}\noutput: run\n")
    done = here("predict", "-c", "two.yaml", "-o", "x.csv")
    assert (done.code, done.text) == (2, "")
    assert done.stderr.splitlines()[-2:] == [
        f"error: nothing to predict: {here.folder}/two has neither test nor validation images",
        "Name files or folders.",
    ]
    assert "x.csv" not in names(here.folder)
