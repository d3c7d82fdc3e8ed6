"""Signals: the right exit code, no traceback, no half file, and what was computed is kept."""

from __future__ import annotations

import os
import shutil
import signal
import termios
import time
from pathlib import Path

import pytest

from tests.cli.lab import RUN_FILES, SMALL, Lab, names, strict_json
from tests.process import Running
from tests.terminal import open_terminal, read_all, shown, terminal

pytestmark = pytest.mark.slow

SIGNALS = {"SIGINT": 130, "SIGTERM": 143, "SIGHUP": 129}

# The second pass over a tile waits for ever, and a file says so.
STUCK = """
import time
from pathlib import Path
from featcli.features.extraction import Extractor

submit, calls = Extractor._submit, []

def stuck(self, tile, name):
    calls.append(name)
    if len(calls) > 1:
        Path("stuck").touch()
        time.sleep(100)
    return submit(self, tile, name)

Extractor._submit = stuck
"""


def _wait_for(path: Path, run: Running, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, run.errors()
        time.sleep(0.01)
    time.sleep(0.05)


@pytest.mark.parametrize("name", SIGNALS)
@pytest.mark.parametrize("command", ["train-head", "extract", "predict", "evaluate"])
def test_a_signal_in_the_middle_of_the_work(lab: Lab, trained: Lab, command: str, name: str) -> None:
    if command in ("predict", "evaluate"):
        shutil.copytree(trained.folder / "run", lab.folder / "run")
    arguments = {
        "train-head": ("train-head", *SMALL, "--set", "data.root=photos", "-o", "run"),
        "extract": ("extract", *SMALL, "photos", "-o", "x.npz"),
        "predict": ("predict", "run", "photos"),
        "evaluate": ("evaluate", "run", "photos"),
    }[command]
    stuck = lab.preload(STUCK)
    before = names(lab.folder)
    run = lab.start(*arguments, "--batch-size", "8", preload=stuck)
    _wait_for(lab.folder / "stuck", run)
    run.kill(getattr(signal, name))
    done = run.wait(20)
    assert (done.code, done.stderr.splitlines()[-1]) == (SIGNALS[name], "interrupted")
    assert "Traceback" not in done.stderr
    assert set(names(lab.folder)) - set(before) <= {"stuck", "run"}
    if command == "train-head":
        assert not (lab.folder / "run").exists()
        again = lab(*arguments, "--json")
        assert again.code == 0
        assert strict_json(again.text)["features"] == {"computed": 8, "stored": 8, "errors": 0}
        assert names(lab.folder / "run") == RUN_FILES
    elif command == "extract":
        again = lab(*arguments)
        assert again.code == 0
        assert "features  8 computed, 8 from the store\n" in again.stderr
    elif command == "predict":
        assert [row["path"] for row in done.rows] == [f"photos/cats/{index:02d}.png" for index in range(8)]
    else:
        assert done.stdout == b""


def test_a_signal_while_stdin_is_silent(lab: Lab, trained: Lab) -> None:
    read, write = os.pipe()
    run = lab.start("predict", trained.folder / "run", "-", "-o", "rows.jsonl", stdin=read)
    os.write(write, b"photos/cats/00.png\n")
    end = time.monotonic() + 30
    while not any(lab.folder.glob(".rows.jsonl.*.tmp")):
        assert time.monotonic() < end, run.errors()
        time.sleep(0.01)
    time.sleep(0.5)
    run.kill(signal.SIGINT)
    done = run.wait(20)
    os.close(read)
    os.close(write)
    assert (done.code, done.stdout, done.stderr) == (130, b"", "interrupted\n")
    assert "rows.jsonl" not in "".join(names(lab.folder))


def test_a_signal_while_the_checkpoint_is_written(lab: Lab) -> None:
    assert lab.train().code == 0
    before = (lab.folder / "run" / "checkpoint.safetensors").read_bytes()
    stuck = lab.preload(
        "import time\nfrom pathlib import Path\nfrom featcli import files\nsync = files._sync\n"
        "def stuck(path):\n"
        "    if path.name.startswith('.checkpoint'):\n"
        "        Path('stuck').touch()\n"
        "        time.sleep(100)\n"
        "    sync(path)\n"
        "files._sync = stuck\n"
    )
    run = lab.start(
        *("train-head", *SMALL, "--set", "data.root=photos", "-o", "run", "--set", "head.C=3", "--overwrite"),
        preload=stuck,
    )
    _wait_for(lab.folder / "stuck", run)
    run.kill(signal.SIGTERM)
    done = run.wait(20)
    assert (done.code, done.stderr.splitlines()[-1]) == (143, "interrupted")
    assert names(lab.folder / "run") == RUN_FILES
    assert (lab.folder / "run" / "checkpoint.safetensors").read_bytes() == before


def test_a_second_signal_ends_at_once(lab: Lab) -> None:
    stuck = lab.preload(
        STUCK + "\nfrom featcli.features.store import SegmentWriter\n"
        "def never(self, *details):\n    Path('flushing').touch()\n    time.sleep(100)\n"
        "SegmentWriter.__exit__ = never\n"
    )
    run = lab.start("extract", *SMALL, "photos", "-o", "x.npz", "--batch-size", "8", preload=stuck)
    _wait_for(lab.folder / "stuck", run)
    run.kill(signal.SIGINT)
    _wait_for(lab.folder / "flushing", run)
    run.kill(signal.SIGINT)
    assert run.wait(20).code == 130
    assert not (lab.folder / "x.npz").exists()


def test_a_signal_inside_a_finaliser_is_not_lost(lab: Lab) -> None:
    """Python swallows what is raised there; seen in practice while modules were imported."""
    stuck = lab.preload(
        "import time\nfrom pathlib import Path\nfrom featcli.features.extraction import Extractor\n"
        "class Final:\n    def __del__(self):\n        Path('stuck').touch()\n        time.sleep(100)\n"
        "def final(self, tile, name):\n    Final()\n    time.sleep(100)\n"
        "Extractor._submit = final\n"
    )
    run = lab.start("extract", *SMALL, "photos", "-o", "x.npz", preload=stuck)
    _wait_for(lab.folder / "stuck", run)
    run.kill(signal.SIGINT)
    done = run.wait(20)
    assert (done.code, done.stderr.splitlines()[-1]) == (130, "interrupted")
    assert "Traceback" not in done.stderr


def test_signals_that_the_shell_ignores_stay_ignored(lab: Lab, trained: Lab) -> None:
    """`nohup featcli ... &` must survive the end of the terminal."""
    ignore = lab.preload("import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n" + STUCK.replace("100", "1"))
    run = lab.start("predict", trained.folder / "run", "photos", "--batch-size", "8", preload=ignore)
    _wait_for(lab.folder / "stuck", run)
    run.kill(signal.SIGHUP)
    done = run.wait(20)
    assert (done.code, len(done.rows)) == (0, 16)


def test_ctrl_c_leaves_the_terminal_as_it_was(lab: Lab) -> None:
    stuck = lab.preload(STUCK)
    arguments = ("train-head", *SMALL, "--set", "data.root=photos", "-o", "run", "--batch-size", "8")
    with terminal() as (near, far):
        before = termios.tcgetattr(near)
        environment = {"TERM": "xterm-256color", "COLUMNS": None, "NO_COLOR": None}
        with open_terminal(far) as stdin:
            run = lab.start(*arguments, preload=stuck, stdin=stdin, stdout=far, stderr=far, env=environment)
            seen = b""
            while not (lab.folder / "stuck").exists():  # a terminal that nobody reads is full after some bars
                seen += read_all(near, 0.02)
        seen += read_all(near, 0.02)  # the bar is drawn ten times a second: waiting for quiet would have no end
        assert b"/16" in seen, "a bar"
        os.write(near, b"\x03")
        assert run.wait(20).code == 130
        seen += read_all(near)
        assert termios.tcgetattr(near) == before
    assert seen.rfind(b"\x1b[?25h") > seen.rfind(b"\x1b[?25l") > -1, "the cursor is back"
    lines = shown(seen).splitlines()
    assert [line.split()[0] for line in lines] == ["backbone", "features", "data", "interrupted"]
