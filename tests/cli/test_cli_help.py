"""Help, version, usage errors: fast, without torch, with exit codes that scripts can use."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from featcli import __version__
from featcli.cli import app
from tests.cli.lab import Lab
from tests.process import Finished

FEATCLI = Path(sys.executable).with_name("featcli")


def commands_of(group: Any, *before: str) -> Iterator[tuple[str, ...]]:
    """The words of every command, as the app has it registered."""
    yield from ((*before, command.name) for command in group.registered_commands)
    for inner in group.registered_groups:
        yield from commands_of(inner.typer_instance, *before, inner.name)


COMMANDS = sorted(commands_of(app))
GROUPS = sorted({words[:-1] for words in COMMANDS})


def test_a_command_is_known_by_its_words() -> None:
    assert {("train-head",), ("cache", "clear")} <= {*COMMANDS}
    assert GROUPS == [(), ("cache",)]


@pytest.mark.parametrize("arguments", [*GROUPS, *COMMANDS], ids=" ".join)
def test_help_loads_neither_torch_nor_torchvision(arguments: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "featcli", *arguments, "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "Usage: featcli" in done.stdout
    loaded = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert {"typer", "featcli.cli"} <= loaded
    assert not {name for name in loaded if name.partition(".")[0] in ("torch", "torchvision", "numpy", "PIL")}
    assert [line for line in done.stderr.splitlines() if not line.startswith("import time:")] == []


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_every_option_is_explained(featcli: Callable[..., Finished], arguments: tuple[str, ...]) -> None:
    done = featcli(*arguments, "-h")
    assert (done.code, done.stderr) == (0, "")
    options = re.findall(r"^  (?:-\w, |    )(--[a-z-]+)(.*)$", done.text, re.MULTILINE)
    assert len(options) >= 3
    assert [name for name, rest in options if len(rest.split()) < 3] == []


@pytest.mark.parametrize("arguments", [*GROUPS, *COMMANDS], ids=" ".join)
def test_help_breaks_no_word_at_any_width(featcli: Callable[..., Finished], arguments: tuple[str, ...]) -> None:
    words = {}
    for width in (40, 80, 200):
        text = featcli(*arguments, "--help", env={"COLUMNS": str(width)}).text
        assert max(map(len, text.splitlines())) <= width
        words[width] = text.split()
    assert words[40] == words[80] == words[200]
    assert not {"<bool>", "<list[str]>", "TEXT", "INTEGER"} & {*words[80]}


def test_info_loads_no_torch(trained: Lab) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "featcli", "info", trained.folder / "run"],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0
    loaded = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert not {name for name in loaded if name.partition(".")[0] in ("torch", "torchvision")}


def test_version(featcli: Callable[..., Finished]) -> None:
    done = featcli("--version")
    assert (done.code, done.text, done.stderr) == (0, f"featcli {__version__}\n", "")


def test_without_a_command(featcli: Callable[..., Finished]) -> None:
    done = featcli()
    assert done.code == 2
    assert "Usage: featcli" in done.text
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("trainhead",), "No such command 'trainhead'"),
        (("train-head", "--limt", "3"), "No such option: --limt"),
        (("train-head", "--limit", "0"), "Invalid value for '--limit'"),
        (("train-head", "--config"), "Option '--config' requires an argument."),
        (("extract", "photos"), "Invalid value for -o: name the file to write: -o features.npz"),
        (("predict",), "Invalid value for CHECKPOINT: name a checkpoint or run folder, or give --config"),
        (("predict", "run", "x", "--format", "xml"), "'xml' is not one of jsonl, csv, table, parquet"),
        (("predict", "run", "x", "--format", "parquet"), "parquet needs a file: -o rows.parquet"),
        (("evaluate", "run", "a", "b"), "Invalid value for DATA_DIR: one folder to evaluate on, not 2"),
        (("evaluate", "run", "--min-accuracy", "2"), "Invalid value for '--min-accuracy'"),
        (("info",), "Missing argument"),
    ],
)
def test_usage_errors(featcli: Callable[..., Finished], arguments: tuple[str, ...], message: str) -> None:
    done = featcli(*arguments, env={"COLUMNS": "200"})
    assert (done.code, done.stdout) == (2, b"")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), (), ("predict", "--help")])
def test_a_closed_pipe_is_no_error(arguments: tuple[str, ...]) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run([FEATCLI, *arguments], stdout=write, stderr=subprocess.PIPE)
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (141, b"")


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ("info", "run")], ids=lambda words: words[0])
def test_a_full_disk_behind_stdout(trained: Lab, arguments: tuple[str, ...]) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run([FEATCLI, *arguments], cwd=trained.folder, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (4, "error: cannot write to standard output: No space left on device\n")


def test_a_closed_stdout(trained: Lab) -> None:
    done = subprocess.run(
        ["/bin/sh", "-c", '"$0" info run >&-', FEATCLI], cwd=trained.folder, capture_output=True, text=True
    )
    assert (done.returncode, done.stderr) == (4, "error: cannot write to standard output: it is closed\n")
