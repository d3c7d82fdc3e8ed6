"""What commands show, on a terminal of 80 columns and through a pipe, kept as text in tests/golden/terminal.

`python -m tests.golden` (or `make golden`) writes the files again; read the difference before it is committed.
Numbers that another machine may see differently are masked.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from featcli.cli import app
from tests.cli.lab import SMALL
from tests.pictures import make_folder
from tests.process import ForkServer
from tests.terminal import in_pipe, on_terminal

FOLDER = Path(__file__).resolve().parent / "golden" / "terminal"
_DATA = ("--set", "data.root=photos", "--cache", "cache")
# In this order, in one folder: later ones use the run of `train-head`.
CASES: dict[str, tuple[str, ...]] = {
    "models": ("models", "resnet"),
    "models-resnet18": ("models", "resnet18"),
    "doctor": ("doctor", "--cache", "cache"),
    "check": ("check", *SMALL, *_DATA),
    "train-head": ("train-head", *SMALL, *_DATA, "-o", "run"),
    "train-head-verbose": ("train-head", "-v", *SMALL, *_DATA, "-o", "loud"),
    "cache-show": ("cache", "show", "--cache", "cache"),
    "info": ("info", "run"),
    "evaluate": ("evaluate", "run", "photos", "--cache", "cache"),
    "evaluate-positive": ("evaluate", "run", "photos", "--cache", "cache", "--set", "data.positive=dogs"),
    "predict": ("predict", "run", "photos/cats", "gone.png", "--cache", "cache"),
    "finetune": (
        "finetune", *SMALL, *_DATA, "--set", "train.epochs=1", "--set", "train.mirror=false",
        "--set", "backbone.freeze_depth=stage5", "-o", "tuned",
    ),
    "warning": ("check", *SMALL, "--set", "data.root=crossed", "--cache", "cache"),
    "error-config": ("train-head", "--set", "data.rot=photos", "--set", "head.C=nought", "--set", "train.epochs=-1"),
    "error-data": ("train-head", *SMALL, "--set", "data.root=photos/cats", "-o", "other"),
    "error-checkpoint": ("predict", "gone", "photos"),
}  # fmt: skip


def commands(group: Any = app, *before: str) -> Iterator[tuple[str, ...]]:
    """The words of every group and command, as the app has it registered."""
    yield before
    yield from ((*before, command.name) for command in group.registered_commands)
    for inner in group.registered_groups:
        yield from commands(inner.typer_instance, *before, inner.name)


def helps() -> dict[str, tuple[str, ...]]:
    """The help of each, by the name of its file."""
    return {"-".join(("help", *words)): (*words, "--help") for words in sorted(commands())}


@contextmanager
def place() -> Iterator[Path]:
    """A folder to run the cases in, whose name is always as long: where lines break depends on it."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        _make_data(Path(folder))
        yield Path(folder)


def _make_data(folder: Path) -> None:
    """`photos`, and `crossed`, with an image on both sides of its split and one that cannot be read."""
    make_folder(folder / "photos", {"cats": 8, "dogs": 8})
    make_folder(folder / "crossed" / "train", {"cats": 4, "dogs": 4})
    make_folder(folder / "crossed" / "val", {"cats": 2, "dogs": 2}, start=20)
    shutil.copy(folder / "crossed" / "train" / "cats" / "00.png", folder / "crossed" / "val" / "cats" / "22.png")
    (folder / "crossed" / "val" / "dogs" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")


def on_terminals(server: ForkServer, folder: Path) -> Iterator[tuple[str, str]]:
    """Names of files, and what a terminal shows."""
    for name, arguments in (helps() | CASES).items():
        text, code = on_terminal(server, *arguments, cwd=folder)
        yield f"{name}.txt", _page(arguments, masked(text, folder) if name in CASES else text, code)


def in_pipes(server: ForkServer, folder: Path) -> Iterator[tuple[str, str]]:
    """Names of files, and what goes through pipes: standard output, then standard error."""
    for name, arguments in CASES.items():
        done = in_pipe(server, *arguments, cwd=folder)
        text = "".join(f"-- {stream}\n{said}" for stream, said in (("stdout", done.text), ("stderr", done.stderr)))
        yield f"{name}.pipe.txt", _page(arguments, masked(text, folder), done.code)


def _page(arguments: tuple[str, ...], text: str, code: int) -> str:
    return f"$ featcli {' '.join(arguments)}\n{text}exit {code}\n"


def masked(text: str, folder: Path) -> str:
    """Without what differs between machines and runs: fractions, hashes, versions, durations, this folder."""
    if "\nlibraries  " in text:  # doctor: names alone
        text = re.sub(r"^((?:\S+ ?)+  +)\S.*\n(?: {14}.*\n)*", r"\1#\n", text, flags=re.MULTILINE)
    text = text.replace(str(folder), "DIR")
    text = re.sub(r"^\w+ +\d+(?:/\d+)? (?:images|%).*/s.*\n", "", text, flags=re.MULTILINE)  # of a slow machine
    text = re.sub(r"^(versions +)\S.*\n(?: {13}.*\n)*", r"\1#\n", text, flags=re.MULTILINE)
    text = re.sub(r"(?:under a second|about [0-9.]+ (?:s|min))(?=[ \n]+here)", "# s", text)
    text = re.sub(r"\b[0-9a-f]{12}\b|\b\d{4}-\d\d-\d\d \d\d:\d\d\b", lambda found: re.sub(r"\w", "#", found[0]), text)
    text = re.sub(r"(memo of file hashes) [\d.]+ \w+", r"\1 #", text)  # none of files younger than two seconds
    text = re.sub(r"cpu fp32, \d+ threads, \d+ decoding", "cpu fp32, # threads, # decoding", text)
    return re.sub(r"\d+\.\d+(?:e[-+]\d+)?(?! M\b)", lambda found: re.sub(r"\d", "#", found[0]), text)


def _renew() -> None:
    shutil.rmtree(FOLDER, ignore_errors=True)
    FOLDER.mkdir(parents=True)
    with ForkServer() as server:
        for pages in (on_terminals, in_pipes):
            with place() as folder:
                for name, text in pages(server, folder):
                    (FOLDER / name).write_text(text)
                    print(name, file=sys.stderr)


if __name__ == "__main__":
    _renew()
