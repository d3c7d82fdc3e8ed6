"""`featcli predict`: a row for every input, in order, as it comes; and nothing else on stdout."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet
import pytest

from featcli.text import columns
from tests.cli.lab import SMALL, Lab, names, read_csv, strict_json, tree
from tests.process import Running
from tests.terminal import on_terminal, read_all, shown, terminal

pytestmark = pytest.mark.slow

COMES_FIRST = "The checkpoint or run folder comes first: featcli predict RUN NEW_PHOTOS\n"
FEATCLI = Path(sys.executable).with_name("featcli")


@pytest.fixture
def here(trained: Lab, lab: Lab) -> Lab:
    """A working directory of its own, with the trained run on `photos` in `run`."""
    shutil.copytree(trained.folder / "run", lab.folder / "run")
    return lab


def feed(*names: bytes, end: bytes) -> int:
    """An open descriptor from which these paths can be read."""
    read, write = os.pipe()
    os.write(write, b"".join(name + end for name in names))
    os.close(write)
    return read


def test_a_row_for_every_input_in_order(here: Lab) -> None:
    here.write("broken.jpg", "no image")
    here.write("empty.png", b"")
    inputs = ["photos/dogs/07.png", "gone.png", "photos/cats/00.png", "broken.jpg", "photos/cats/00.png", "empty.png"]
    done = here("predict", "run", *inputs, "photos/dogs")
    assert done.code == 3
    assert done.stderr == (
        "error: 3 images could not be read\nEverything else is done. --max-bad N tolerates N of them.\n"
    )
    rows = done.rows
    assert [row["path"] for row in rows] == [*inputs, *(f"photos/dogs/{index:02d}.png" for index in range(8))]
    assert [list(row) for row in rows] == [["path", "label", "confidence", "top", "novelty", "error"]] * len(rows)
    assert [row["label"] for row in rows] == ["dogs", None, "cats", None, "cats", None] + ["dogs"] * 8
    assert rows[1] == {
        "path": "gone.png", "label": None, "confidence": None, "top": [], "novelty": None,
        "error": "no such file or directory",
    }  # fmt: skip
    assert rows[3]["error"] == "a text file, not an image: fetch the image again, or remove it"
    assert rows[5]["error"] == "the file is empty"
    assert rows[2] == rows[4]
    assert rows[0] == rows[13]
    top = rows[0]["top"]
    assert [name for name, _ in top] == ["dogs", "cats"]
    assert top[0][1] == rows[0]["confidence"]
    assert sum(value for _, value in top) == pytest.approx(1, abs=2e-6)
    assert here("predict", "run", *inputs, "--max-bad", "3").code == 0
    assert here("predict", "run", *inputs, "--max-bad", "2").code == 3


def test_predict_is_what_was_validated(here: Lab) -> None:
    """Promise 2: the rows of the validation images are those of predictions.csv, from any working directory."""
    told = read_csv(here.folder / "run" / "predictions.csv")
    done = here(
        "predict", here.folder / "run" / "checkpoint.safetensors", *(row["path"] for row in told), cwd=Path("/")
    )
    assert done.code == 0
    assert [(row["path"], row["label"], f"{row['confidence']:.6f}") for row in done.rows] == [
        (row["path"], row["label"], f"{float(row['confidence']):.6f}") for row in told
    ]


def test_names_are_only_names(here: Lab) -> None:
    odd = [
        b"with space.png", b"two\nlines.png", "\N{ANT} na\u00efve.png".encode(), b"caf\xe9.png", b"-dash.png", b"--top",
        b"[red]x[bold].png", b"tab\t.png", b"quote\"'.png", b".hidden.png", b"a*b?[c].png", b"\x1b[31m.png", b"~",
    ]  # fmt: skip
    odd.append(b"x" * 251 + b".png")
    folder = os.fsencode(here.folder)
    for name in odd:
        shutil.copyfile(here.folder / "photos" / "dogs" / "03.png", folder + b"/" + name)
    stdin = feed(*odd, end=b"\0")
    done = here("predict", "run", "-0", "-", stdin=stdin)
    os.close(stdin)
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.count(b"\n") == len(odd)
    done.stdout.decode("utf-8")  # whatever the names, the output is UTF-8
    assert [os.fsencode(row["path"]) for row in done.rows] == odd
    assert {row["label"] for row in done.rows} == {"dogs"}

    named = here("predict", "run", "--", *odd)
    assert named.stdout == done.stdout
    table = here("predict", "run", "--format", "table", "--", *odd)
    assert table.stdout.count(b"\n") == len(odd) + 1
    assert b"\x1b" not in table.stdout
    here("predict", "run", "--format", "csv", "-o", "x.csv", "--", *odd)
    assert [os.fsencode(row["path"]) for row in read_csv(here.folder / "x.csv")] == odd


def test_paths_one_a_line(here: Lab) -> None:
    stdin = feed(b"photos/cats/00.png", b"", b"photos/dogs/00.png\r", b"gone.png", end=b"\n")
    done = here("predict", "run", "-", "photos/cats/01.png", stdin=stdin)
    os.close(stdin)
    assert done.code == 3
    assert [row["path"] for row in done.rows] == [
        "photos/cats/00.png", "photos/dogs/00.png", "gone.png", "photos/cats/01.png"
    ]  # fmt: skip


def test_the_last_path_needs_no_newline(here: Lab) -> None:
    stdin = feed(b"photos/cats/00.png\nphotos/dogs/00.png", end=b"")
    done = here("predict", "run", "-", stdin=stdin)
    os.close(stdin)
    assert [row["label"] for row in done.rows] == ["cats", "dogs"]


def _wait_for_lines(run: Running, count: int, seconds: float) -> float:
    """Seconds until so many whole lines were written."""
    start = time.monotonic()
    while run.output().count(b"\n") < count:
        assert time.monotonic() - start < seconds, f"{run.output()!r}\n{run.errors()}"
        time.sleep(0.01)
    return time.monotonic() - start


def test_rows_come_while_stdin_stays_open(here: Lab) -> None:
    read, write = os.pipe()
    run = here.start("predict", "run", "-", "--batch-size", "64", stdin=read)
    delays = []
    for count in range(1, 5):
        os.write(write, f"photos/cats/0{count}.png\n".encode())
        delays.append(_wait_for_lines(run, count, 30))
    os.write(write, b"photos/dogs/01.png")  # not yet a line
    os.close(write)
    done = run.wait()
    os.close(read)
    assert (done.code, len(done.rows)) == (0, 5)
    assert min(delays[1:]) < 1.0, delays
    assert done.rows[4]["label"] == "dogs"


def test_a_reader_that_leaves(here: Lab) -> None:
    """`featcli predict ... | head -1`, with the moment of leaving under control."""
    fifo = here.folder / "fifo"
    os.mkfifo(fifo)
    read, write = os.pipe()
    run = here.start("predict", "run", "-", stdin=read, stdout=fifo)
    os.write(write, b"photos/cats/00.png\n")
    with fifo.open("rb") as rows:
        assert json.loads(rows.readline())["label"] == "cats"
    os.write(write, b"photos/cats/01.png\n" * 3)
    done = run.wait(30)  # although stdin is still open
    os.close(write)
    os.close(read)
    assert (done.code, done.stderr) == (141, "")


def test_rows_on_a_terminal_are_a_table_without_a_bar_among_them(here: Lab) -> None:
    arguments = ("predict", "run", "photos", "gone.png", "--batch-size", "1")
    seen, code = on_terminal(here.server, *arguments, cwd=here.folder)
    assert code == 3
    rows = seen.splitlines()
    assert rows[0] == "label  confidence  novelty  path"
    assert all(re.fullmatch(r"(cats|dogs)        [01]\.\d{3}        -  photos/\1/\d\d\.png", row) for row in rows[1:17])
    assert rows[17:19] == [
        "-               -        -  gone.png: no such file or directory",
        "error: 1 image could not be read",
    ]
    json_lines, _ = on_terminal(
        here.server, *arguments, "--format", "jsonl", "--limit", "1", cwd=here.folder, width=200
    )
    assert json_lines.startswith('{"path": "photos/cats/00.png", "label": "cats", ')


@pytest.mark.parametrize("kind", ["pipe", "file"])
def test_a_terminal_beside_rows_that_go_elsewhere_hears_what_was_unreadable(here: Lab, kind: str) -> None:
    """The reader of a pipe may write on the same terminal, as `head` does: there is no bar that its rows could meet."""
    rows = here.folder / "rows"
    if kind == "pipe":
        os.mkfifo(rows)
    reader = os.open(rows, os.O_RDONLY | os.O_NONBLOCK | os.O_CREAT)
    arguments = ("predict", "run", "photos", "gone.png", "--batch-size", "4")
    environment = {"TERM": "xterm-256color", "COLUMNS": None, "FORCE_COLOR": None}
    with terminal() as (near, far):
        run = here.start(*arguments, stdout=rows, stderr=far, env=environment)
        seen, code = b"", None
        while code is None:
            seen += read_all(near, 0.02)
            code = here.server.poll(run.pid)
        seen += read_all(near)
    assert os.read(reader, 1 << 16).count(b"\n") == 17
    os.close(reader)
    assert code == 3
    assert ("\u2501" in seen.decode()) == (kind == "file")
    assert shown(seen).splitlines() == [
        "unreadable: gone.png: no such file or directory",
        "error: 1 image could not be read",
        "Everything else is done. --max-bad N tolerates N of them.",
    ]


def test_a_narrow_terminal_gets_the_ends_of_long_paths(here: Lab) -> None:
    deep = here.folder / "a-folder-of-a-long-name" / "猫猫猫猫" / "00.png"
    deep.parent.mkdir(parents=True)
    shutil.copy(here.folder / "photos" / "cats" / "00.png", deep)
    path = deep.relative_to(here.folder)
    seen, _ = on_terminal(here.server, "predict", "run", path, f"{path}x", cwd=here.folder, width=59)
    lines = seen.splitlines()
    assert lines[1].endswith("  a-folder-of-a-...猫猫猫/00.png")
    assert lines[2:4] == [
        "-               -        -  a-folder-of-a-...猫猫/00.pngx:",
        f"{'':28}no such file or directory",
    ]
    assert max(map(columns, lines)) <= 59
    assert f"  {path}\n" in here("predict", "run", path, "--format", "table").text


def test_how_many_images_there_will_be_is_known_but_of_a_pipe(here: Lab) -> None:
    slow = here.preload("import featcli.console as c, time; c._LINE_SECONDS = 0.0; c.time.sleep(0.2)")
    done = here("predict", "run", "photos", "--batch-size", "4", preload=slow)
    assert re.search(r"^predict   \d+/16 images, [0-9.]+/s, \d+ s left$", done.stderr, re.MULTILINE)
    listed = here.write("list", "".join(f"photos/cats/0{index}.png\n" for index in range(8)))
    with listed.open("rb") as stdin:
        done = here("predict", "run", "-", "--batch-size", "4", preload=slow, stdin=stdin)
    assert re.search(r"^predict   8 images, [0-9.]+/s$", done.stderr, re.MULTILINE)
    done = here("extract", *SMALL, "photos", "photos/cats/00.png", "-o", "f.npz", "--batch-size", "4", preload=slow)
    assert re.search(r"^features  \d+/17 images, ", done.stderr, re.MULTILINE)


def test_top_and_probs(here: Lab) -> None:
    row = here("predict", "run", "photos/dogs/00.png", "--top", "1", "--probs").rows[0]
    assert list(row) == ["path", "label", "confidence", "top", "novelty", "error", "probs"]
    assert row["top"] == [["dogs", row["confidence"]]]
    assert list(row["probs"]) == ["cats", "dogs"]
    assert row["probs"]["dogs"] == row["confidence"]
    assert here("predict", "run", "gone.png", "--probs").rows[0]["probs"] is None


def test_csv_table_and_parquet_say_what_jsonl_says(here: Lab) -> None:
    inputs = ["photos/dogs/00.png", "gone.png", "photos/cats/00.png"]
    told = here("predict", "run", *inputs, "--probs").rows
    csv = here("predict", "run", *inputs, "--probs", "--format", "csv", "-o", "out/rows.csv")
    assert (csv.code, csv.text) == (3, "out/rows.csv\n")
    rows = read_csv(here.folder / "out" / "rows.csv")
    assert list(rows[0]) == ["path", "label", "confidence", "novelty", "error", "p:cats", "p:dogs"]
    assert [row["path"] for row in rows] == inputs
    assert [row["label"] or None for row in rows] == [row["label"] for row in told]
    assert [row["confidence"] for row in rows] == [str(row["confidence"] or "") for row in told]
    assert [row["error"] or None for row in rows] == [row["error"] for row in told]
    assert float(rows[0]["p:cats"]) == told[0]["probs"]["cats"]
    assert (
        here("predict", "run", *inputs, "--format", "csv").text.splitlines()[0] == "path,label,confidence,novelty,error"
    )

    assert here("predict", "run", *inputs, "--probs", "--format", "parquet", "-o", "rows.parquet").code == 3
    columns = pyarrow.parquet.read_table(here.folder / "rows.parquet").to_pydict()
    for name in ("path", "label", "confidence", "error"):
        assert columns[name] == [row[name] for row in told]
    assert columns["p:dogs"] == [row["probs"]["dogs"] if row["probs"] else None for row in told]

    table = here("predict", "run", *inputs, "--format", "table")
    assert table.text == (
        "label  confidence  novelty  path\n"
        f"dogs        {told[0]['confidence']:.3f}        -  photos/dogs/00.png\n"
        "-               -        -  gone.png: no such file or directory\n"
        f"cats        {told[2]['confidence']:.3f}        -  photos/cats/00.png\n"
    )
    below = here("predict", "run", *inputs, "--format", "table", "--probs").text.splitlines()
    said = ", ".join(f"{name} {value:.3f}" for name, value in told[2]["probs"].items())
    assert (len(below), below[-1]) == (6, f"{'':28}{said}")


def test_a_summary_and_a_file(here: Lab) -> None:
    done = here("predict", "run", "photos", "gone.png", "-o", "new/rows.jsonl", "--summary", "new/counts.json")
    assert (done.code, done.text) == (3, "new/rows.jsonl\n")
    assert names(here.folder / "new") == ["counts.json", "rows.jsonl"]
    assert len((here.folder / "new" / "rows.jsonl").read_text().splitlines()) == 17
    counts = strict_json((here.folder / "new" / "counts.json").read_text())
    assert (counts["n"], counts["n_errors"], counts["labels"]) == (17, 1, {"cats": 8, "dogs": 8})


def test_an_output_is_complete_or_absent(here: Lab) -> None:
    here.write("rows.jsonl", "the earlier rows\n")
    read, write = os.pipe()
    run = here.start("predict", "run", "-", "-o", "rows.jsonl", stdin=read)
    os.write(write, b"photos/cats/00.png\n")
    end = time.monotonic() + 30
    while not any(here.folder.glob(".rows.jsonl.*.tmp")):
        assert time.monotonic() < end, run.errors()
        time.sleep(0.01)
    time.sleep(0.5)
    run.kill()
    os.close(write)
    os.close(read)
    assert run.wait().code == -9
    assert (here.folder / "rows.jsonl").read_text() == "the earlier rows\n"


def test_nothing_to_predict_keeps_the_earlier_file(here: Lab) -> None:
    here.write("rows.jsonl", "the earlier rows\n")
    (here.folder / "nothing").mkdir()
    done = here("predict", "run", "nothing", "-o", "rows.jsonl")
    assert (done.code, done.stdout) == (2, b"")
    assert done.stderr.splitlines()[0] == "error: no images in nothing"
    assert (here.folder / "rows.jsonl").read_text() == "the earlier rows\n"


def test_the_store_is_read_and_never_written(here: Lab) -> None:
    cache = here.folder / "cache"
    cache.mkdir()
    rows = here("predict", "run", "photos", "--cache", cache)
    assert rows.code == 0
    assert names(cache) == []
    trained = here.train("--cache", cache, output="other")
    assert trained.code == 0
    before = tree(cache)
    forbid = here.preload(
        "from featcli.features.extraction import Extractor\n"
        "def submit(self, tile, name): raise AssertionError('computed')\n"
        "Extractor._submit = submit\n"
    )
    stored = here("predict", "run", "photos", "--cache", cache, preload=forbid)
    assert (stored.code, stored.stdout) == (0, rows.stdout)
    assert tree(cache) == before


def test_with_a_config(here: Lab) -> None:
    config = here.folder / "run" / "config.yaml"
    config.write_text(config.read_text().replace(str(here.folder), "..").replace("/tmp", "/nowhere"))
    here.write("cats.yaml", "data: {root: photos}\noutput: run\n")
    done = here("predict", "--config", "cats.yaml")
    told = read_csv(here.folder / "run" / "predictions.csv")
    assert (done.code, len(told)) == (0, 4)
    assert [os.path.basename(row["path"]) for row in done.rows] == [os.path.basename(row["path"]) for row in told]
    assert [row["label"] for row in done.rows] == [row["label"] for row in told]
    assert done.rows[0]["path"].startswith(f"{here.folder}/photos/cats/")
    assert len(here("predict", "-c", "cats.yaml", "photos/dogs").rows) == 8
    split = here("predict", "-c", "cats.yaml", "--set", "data.root=split")
    assert [row["path"].split("/")[-3] for row in split.rows] == ["test"] * 4


def test_limit_and_dry_run(here: Lab) -> None:
    assert len(here("predict", "run", "photos", "--limit", "3").rows) == 3
    done = here("predict", "run", "photos", "--dry-run")
    assert (done.code, done.text.splitlines()[0], done.text.splitlines()[-1]) == (0, "plan", "  images      16")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (
            ("run",),
            2,
            "error: nothing to predict\n"
            "Name files or folders after the run, '-' for paths on standard input, or --config.\n",
        ),
        (
            ("gone", "photos"),
            2,
            "error: no such checkpoint or run: gone\n"
            "The run comes first: featcli predict RUN photos. To make one: featcli train-head FOLDER\n",
        ),
        (
            ("photos", "photos"),
            2,
            "error: photos is a folder without a checkpoint, not a run\n"
            "The run comes first: featcli predict RUN photos. To make one: featcli train-head FOLDER\n",
        ),
        (("run", "photos", "no*match"), 2, "error: the pattern 'no*match' matches nothing\n"),
        (("run", "photos", "-o", "photos"), 2, "error: the output photos is a folder; -o names a file\n"),
        (
            ("run", "photos", "-o", "file/folder/rows.jsonl"),
            4,
            "error: cannot write file/folder/rows.jsonl: Not a directory\n"
            "Choose a place that can be written to, with -o (results) or --cache (features).\n",
        ),
    ],
)
def test_what_cannot_be(here: Lab, arguments: tuple[str, ...], code: int, message: str) -> None:
    here.write("file", "")
    before = tree(here.folder)
    done = here("predict", *arguments)
    assert (done.code, done.stdout, done.stderr) == (code, b"", message)
    assert tree(here.folder) == before


def test_a_fifo_among_the_inputs_is_an_error_row(here: Lab) -> None:
    os.mkfifo(here.folder / "pipe.png")
    os.symlink("nowhere.png", here.folder / "dangling.png")
    done = here("predict", "run", "pipe.png", "dangling.png", "photos/cats/00.png")
    assert [row["error"] for row in done.rows] == ["not a regular file", "no such file or directory", None]


def test_odd_folders(here: Lab, make_folder: Callable[..., Path]) -> None:
    root = here.folder / "odd"
    make_folder(root, {"b": 1, "a": 1})
    shutil.copyfile(root / "a" / "00.png", root / "Z.PNG")
    os.symlink("..", root / "a" / "loop")
    (root / ".hidden").mkdir()
    (root / "folder.png").mkdir()
    done = here("predict", "run", "odd")
    assert [row["path"] for row in done.rows] == ["odd/Z.PNG", "odd/folder.png", "odd/a/00.png", "odd/b/00.png"]
    assert done.rows[1]["error"] == "is a folder"
    assert "note: skipped in folders: 1 hidden, 1 links to folders seen already\n" in done.stderr
