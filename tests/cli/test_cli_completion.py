"""Completion in real shells, and what asking costs."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.process import PROJECT, Finished

SHELLS = ("bash", "zsh", "fish")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A working directory with folders and files, and `featcli` on the PATH beside it."""
    for name in ("work/photos", "work/my scans", "home", "bin"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("mine.yaml", "other.yml", "notes.txt"):
        (tmp_path / "work" / name).write_text("backbone:\n  name: swin_t\n")
    script = tmp_path / "bin" / "featcli"
    script.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m featcli "$@"\n')
    script.chmod(0o755)
    return tmp_path


def environment(place: Path, **more: str) -> dict[str, str]:
    return {
        "PATH": f"{place / 'bin'}:/usr/local/bin:/usr/bin:/bin",
        "PYTHONPATH": str(PROJECT),
        "HOME": str(place / "home"),
        "TERM": "xterm",
        "PS1": "$ ",
        **more,
    }


def ask(place: Path, words: str, index: int, shell: str = "bash", **more: str) -> subprocess.CompletedProcess[str]:
    """What the shell's function asks."""
    asked = {"_FEATCLI_COMPLETE": f"complete_{shell}", "COMP_WORDS": words, "COMP_CWORD": str(index)}
    command = [sys.executable, "-m", "featcli"]
    env = environment(place, **asked, **more)
    return subprocess.run(command, cwd=place / "work", env=env, capture_output=True, text=True)


def needs(shell: str) -> str:
    found = shutil.which(shell, path="/usr/local/bin:/usr/bin:/bin")
    if found is None:
        pytest.skip(f"{shell} is not installed here")
    return found


@pytest.mark.parametrize("shell", SHELLS)
def test_the_script_is_one_of_its_shell(featcli: Callable[..., Finished], shell: str) -> None:
    path = needs(shell)
    done = featcli("completion", shell)
    assert (done.code, done.stderr) == (0, "")
    assert f"completion {shell} >" in done.text
    checked = subprocess.run([path, "-n"], input=done.text, capture_output=True, text=True)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_another_shell_is_refused(featcli: Callable[..., Finished]) -> None:
    done = featcli("completion", "tcsh")
    assert (done.code, done.stdout) == (2, b"")
    assert done.stderr.splitlines() == [
        "error: no completion for 'tcsh'",
        "There is one for bash, zsh and fish.",
    ]
    assert "SHELL is missing: bash, zsh or fish" in featcli("completion").stderr


@pytest.mark.parametrize(
    ("words", "index", "reply"),
    [
        (["featcli", "tra"], 1, ["train-head"]),
        (["featcli", "train-head", "--set", "head.ki"], 3, ["head.kind="]),
        (["featcli", "train-head", "--set", "head.kind", "="], 4, ["logistic", "linear", "mlp"]),
        (
            ["featcli", "train-head", "--set", "backbone.name", "=", "resnet1"],
            5,
            ["resnet101", "resnet152", "resnet18"],
        ),
        (["featcli", "train-head", "-c", "mine.yaml", "--set", "backbone.layer", "=", "n"], 7, ["norm"]),
        (["featcli", "train-head", "-c", ""], 3, ["mine.yaml", "my scans", "other.yml", "photos"]),
        (["featcli", "train-head", "--limit", ""], 3, []),
        (["featcli", "train-head", "--set", "data.root", "=", "ph"], 5, ["photos"]),
        (["featcli", "predict", "no"], 2, ["notes.txt"]),
    ],
)
def test_the_function_of_bash(place: Path, words: list[str], index: int, reply: list[str]) -> None:
    line = " ".join(map(shlex.quote, words))
    script = f"""
        source <(featcli completion bash)
        COMP_WORDS=({line}); COMP_CWORD={index}
        _featcli featcli
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    done = subprocess.run(
        [needs("bash"), "--norc", "-c", script],
        cwd=place / "work",
        env=environment(place),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert sorted(filter(None, done.stdout.splitlines())) == sorted(reply)


START = {
    "bash": ["--norc", "--noprofile", "-i"],
    "zsh": ["-f", "-i"],
    "fish": ["--no-config", "-i"],
}
SETUP = {
    "bash": "source <(featcli completion bash)",
    "zsh": "PS1='$ '; autoload -Uz compinit; compinit -u -D; source <(featcli completion zsh)",
    "fish": "featcli completion fish | source",
}
PRESSED = [
    ("featcli train-head --set head.kind=log\t", "head.kind=logistic "),
    ("featcli train-head --set head.ki\t", "head.kind="),
    ("featcli finetune -c mine.yaml --set backbone.freeze_depth=no\t\t", "norm"),
    ("featcli train-head --set data.root=ph\t", "data.root=photos/"),
    ("featcli train-head --device cuda:\t", "cuda:0 "),
    ("featcli train-head -c mi\t", "mine.yaml "),
    ("featcli predict my\t", "my\\ scans/"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("typed", "seen"), PRESSED, ids=[typed.strip() for typed, _ in PRESSED])
@pytest.mark.parametrize("shell", SHELLS)
def test_a_tab_on_a_terminal(place: Path, shell: str, typed: str, seen: str) -> None:
    path = needs(shell)
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(place / "work")
        os.execve(path, [path, *START[shell]], environment(place))
    try:
        os.write(terminal, f"{SETUP[shell]}; echo rea''dy\n".encode())
        read_until(terminal, "ready\r?\n")
        os.write(terminal, typed.encode())
        read_until(terminal, re.escape(seen))
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(terminal)


def read_until(terminal: int, pattern: str, timeout: float = 30) -> None:
    """Reads a terminal, whose colours and movements of the cursor are left out, until something is seen."""
    seen, end = "", time.monotonic() + timeout
    while time.monotonic() < end:
        if not select.select([terminal], [], [], 0.2)[0]:
            continue
        with contextlib.suppress(OSError):
            data = os.read(terminal, 65536)
            if b"\x1b[c" in data:  # fish asks what it talks to
                os.write(terminal, b"\x1b[?62c")
            seen += data.decode("utf-8", "replace")
        plain = re.sub(r"\x1b(\[[0-9;?]*[A-Za-z]|[()][A-Z0-9]|\][^\x07]*\x07|[=>])", "", seen)
        if re.search(pattern, plain):
            return
    raise AssertionError(f"{pattern} is not in {seen!r}")


def test_asking_loads_no_library_and_leaves_nothing_behind(place: Path) -> None:
    before = sorted(place.rglob("*"))
    done = ask(place, "featcli\nfinetune\n-c\nmine.yaml\n--set\nbackbone.layer=st", 5, PYTHONPROFILEIMPORTTIME="1")
    loaded = {line.rsplit("|", 1)[-1].strip().partition(".")[0] for line in done.stderr.splitlines()}
    assert "featcli" in loaded
    assert not loaded & {"torch", "torchvision", "numpy", "typer", "pydantic", "rich", "yaml"}
    assert (done.returncode, done.stdout) == (0, "".join(f"backbone.layer=stage{stage}\n" for stage in (1, 2, 3, 4)))
    assert sorted(place.rglob("*")) == before


@pytest.mark.parametrize(("words", "index"), [("featcli\n", 1), ("featcli", 0), ("", 3), ("featcli\nmodels\n'", 2)])
def test_asking_without_a_home_says_nothing_but_the_answer(place: Path, words: str, index: int) -> None:
    asked = {"_FEATCLI_COMPLETE": "complete_zsh", "COMP_WORDS": words, "COMP_CWORD": str(index)}
    done = subprocess.run(
        [sys.executable, "-m", "featcli"],
        cwd=place / "work",
        env={"PYTHONPATH": str(PROJECT), **asked},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "Traceback" not in done.stdout
    assert list((place / "home").iterdir()) == []


@pytest.mark.parametrize(
    "asked",
    [
        {"_FEATCLI_COMPLETE": "complete_tcsh", "COMP_WORDS": "featcli", "COMP_CWORD": "0"},
        {"_FEATCLI_COMPLETE": "complete_bash"},
        {"_FEATCLI_COMPLETE": "complete_bash", "COMP_WORDS": "featcli", "COMP_CWORD": "x"},
    ],
)
def test_a_question_that_is_none_is_answered_with_silence(place: Path, asked: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "featcli"], env=environment(place, **asked), capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")


def test_nobody_listens(place: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    asked = {"_FEATCLI_COMPLETE": "complete_bash", "COMP_WORDS": "featcli", "COMP_CWORD": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "featcli"], env=environment(place, **asked), stdout=write, stderr=subprocess.PIPE
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (1, b"")
