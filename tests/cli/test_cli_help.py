"""Help, version, usage errors: fast, without torch, with exit codes that scripts can use."""

from __future__ import annotations

import json
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
from featcli.config.json_schema import json_schema
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
    assert "featcli.config.schema" not in loaded
    assert [line for line in done.stderr.splitlines() if not line.startswith("import time:")] == []


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_every_option_is_explained(featcli: Callable[..., Finished], arguments: tuple[str, ...]) -> None:
    done = featcli(*arguments, "-h")
    assert (done.code, done.stderr) == (0, "")
    options = re.findall(r"^  (?:-\w, |    )(--[a-z-]+)(.*)$", done.text, re.MULTILINE)
    assert len(options) >= 2
    assert [name for name, rest in options if len(rest.split()) < 3] == []


@pytest.mark.parametrize("arguments", [*GROUPS, *COMMANDS], ids=" ".join)
def test_help_breaks_no_word_at_any_width(featcli: Callable[..., Finished], arguments: tuple[str, ...]) -> None:
    words = {}
    for width in (40, 80, 200):
        text = featcli(*arguments, "--help", env={"COLUMNS": str(width)}).text
        assert [line for line in text.splitlines() if len(line) > width and " " in line.strip()] == []
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


MISTYPED = [
    (("trainhead",), "no such command 'trainhead'; did you mean 'train-head'?"),
    (("fit",), "no such command 'fit'; did you mean 'train-head'?"),
    (("cache", "shw"), "no such command 'shw'; did you mean 'show'?"),
    (("help", "predictt"), "no such command 'predictt'; did you mean 'predict'?"),
    (("\x1b[31mred",), r"no such command '\x1b[31mred'"),
    (("train-head", "--limt", "3"), "no such flag '--limt'; did you mean '--limit'?"),
    (("train-head", "--batchsize", "3"), "no such flag '--batchsize'; did you mean '--batch-size'?"),
    (("train-head", "--gpu"), "no such flag '--gpu'; did you mean '--device'?"),
    (
        ("train-head", "--wieght-decay", "0"),
        "no such flag '--wieght-decay'; did you mean --set train.weight_decay=...?",
    ),
    (("train-head", "--label-smothing", "0"), "no such flag '--label-smothing'"),
    (("train-head", "--val-fraction=0.1"), "no such flag '--val-fraction'; did you mean --set data.val_fraction=...?"),
    (("train-head", "--data.root=photos"), "no such flag '--data.root'; did you mean --set data.root=...?"),
    (("train-head", "--batch_size", "8"), "no such flag '--batch_size'; did you mean '--batch-size'?"),
    (("train-head", "--format", "csv"), "no such flag '--format'; export, extract and predict have it"),
    (("cache", "show", "--cach", "x"), "no such flag '--cach'; did you mean '--cache'?"),
    (("--verison",), "no such flag '--verison'; did you mean '--version'?"),
    (("--install-completion",), "no such flag '--install-completion'"),
    (("train-head", "-x"), "no such flag '-x'"),
    (("train-head", "--limit", "0"), "--limit: expected an integer of at least 1, got '0'"),
    (("train-head", "--limit", "few"), "--limit: expected an integer, got 'few'"),
    (("train-head", "--config"), "--config needs a value: --config FILE"),
    (("train-head", "--overwrite=1"), "--overwrite takes no value"),
    (("extract", "photos"), "-o: name the file to write: -o features.npz"),
    (("predict", "run", "x", "--format", "xml"), "--format: 'xml' is not one of jsonl, csv, table, parquet"),
    (
        ("predict", "run", "x", "--format", "parquet"),
        "--format: parquet needs a file: -o rows.parquet, or -o - in a pipe",
    ),
    (("evaluate", "a", "b", "-c", "c.yaml"), "DATA_DIR: one folder to evaluate on, not 2"),
    (("train-head", "--learning-rate", "1"), "no such flag '--learning-rate'; did you mean '--lr'?"),
    (("train-head", "--freez-depth", "1"), "no such flag '--freez-depth'; did you mean '--freeze-depth'?"),
    (("train-head", "--model=x"), "no such flag '--model'; did you mean '--backbone'?"),
    (("evaluate", "run", "--min-accuracy", "2"), "--min-accuracy: expected a number of at most 1, got '2'"),
    (("init",), "DATA_DIR is missing: a folder of images"),
    (("-V",), "no such flag '-V'; did you mean '--version'?"),
    (("version",), "no such command 'version'; did you mean '--version'?"),
    (("predict", "run", "photos", "--csv"), "no such flag '--csv'; did you mean '--format csv'?"),
    (("info", "run", "photos"), "unexpected argument 'photos'"),
]


@pytest.mark.parametrize(("arguments", "message"), MISTYPED, ids=lambda value: str(value)[:30])
def test_a_line_that_cannot_be_understood_is_answered_as_every_error_is(
    featcli: Callable[..., Finished], arguments: tuple[str, ...], message: str
) -> None:
    done = featcli(*arguments)
    assert (done.code, done.stdout) == (2, b"")
    first, *steps = done.stderr.splitlines()
    assert first == f"error: {message}"
    assert steps[-1].startswith("featcli ")
    assert max(map(len, [first, *steps])) <= 80


def test_what_is_near_has_a_line_of_its_own_where_the_first_would_be_long(featcli: Callable[..., Finished]) -> None:
    done = featcli("train-head", "--label-smothing", "0")
    assert done.stderr.splitlines()[1] == "Did you mean --set train.label_smoothing=...?"


def test_the_answer_has_the_same_shape_on_a_terminal() -> None:
    main, side = os.openpty()
    done = subprocess.run([FEATCLI, "train-head", "--limt", "3"], stdout=subprocess.PIPE, stderr=side, timeout=60)
    os.close(side)
    said = re.sub(r"\x1b\[[0-9;]*m", "", os.read(main, 10_000).decode())
    os.close(main)
    assert (done.returncode, done.stdout) == (2, b"")
    assert said.splitlines() == [
        "error: no such flag '--limt'; did you mean '--limit'?",
        "featcli train-head --help lists its flags.",
    ]


def test_a_folder_where_a_command_is_due(featcli: Callable[..., Finished], tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    done = featcli("photos", cwd=tmp_path)
    assert (done.code, done.stdout) == (2, b"")
    assert done.stderr.splitlines() == [
        "error: no such command 'photos'",
        "A command comes first: featcli train-head photos",
    ]


@pytest.mark.parametrize("words", [(), ("predict",), ("cache",), ("cache", "show")], ids=" ".join)
def test_help_of_a_command_is_what_its_flag_shows(featcli: Callable[..., Finished], words: tuple[str, ...]) -> None:
    asked, flagged = featcli("help", *words), featcli(*words, "--help")
    assert (asked.code, asked.stderr) == (0, "")
    assert asked.text == flagged.text
    assert f"Usage: featcli {' '.join(words)}" in asked.text


def test_the_schema_of_a_config_is_printed(featcli: Callable[..., Finished]) -> None:
    done = featcli("schema")
    assert (done.code, done.stderr) == (0, "")
    assert json.loads(done.text) == json_schema()


def test_a_group_without_a_command_shows_its_help(featcli: Callable[..., Finished]) -> None:
    done = featcli("cache")
    assert (done.code, done.stderr) == (2, "")
    assert "Usage: featcli cache" in done.text


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), (), ("predict", "--help"), ("help", "predict")])
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
