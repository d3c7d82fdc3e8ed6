"""What a person sees: a command on a terminal of so many columns, and the text that is left on it.

The terminal is a real one of the operating system (`pty`); the few control sequences that featcli and rich write are
carried out here, so that what was drawn over or taken away is not in the text.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import struct
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from featcli.text import columns
from tests.process import Finished, ForkServer

_SEQUENCE = re.compile(r"\x1b\[([?0-9;]*)([A-Za-z])|\x1b\][^\x07]*\x07")


@contextmanager
def terminal(width: int = 80) -> Iterator[tuple[int, Path]]:
    """A terminal: the descriptor of the side that a person sits at, and the path of the other."""
    near, far = pty.openpty()
    try:
        fcntl.ioctl(far, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
        yield near, Path(os.ttyname(far))
    finally:
        os.close(near)
        os.close(far)


def open_terminal(far: Path) -> BinaryIO:
    """Its far side, to be handed on: this process does not take it as its own, which would keep Ctrl-C from others."""
    return open(far, "rb", opener=lambda path, flags: os.open(path, flags | os.O_NOCTTY))


def on_terminal(
    server: ForkServer, *arguments: str | Path, cwd: Path, width: int = 80, env: dict[str, str | None] | None = None
) -> tuple[str, int]:
    """What `featcli ARGUMENTS` leaves on a terminal, and its exit code.

    Its streams are the terminal; colours are left out, what was drawn over is gone.
    """
    environment = {"TERM": "xterm-256color", "COLUMNS": None, "NO_COLOR": None, "FORCE_COLOR": None, **(env or {})}
    with terminal(width) as (near, far):
        run = server.start(*arguments, cwd=cwd, env=environment, stdout=far, stderr=far)
        seen = b""
        code = None
        while code is None:
            seen += read_all(near, 0.02)
            code = server.poll(run.pid)
        return shown(seen + read_all(near, 0.05), width), code


def in_pipe(
    server: ForkServer, *arguments: str | Path, cwd: Path, env: dict[str, str | None] | None = None
) -> Finished:
    """`featcli ARGUMENTS` with its streams in files, and no colours wanted."""
    return server.run(*arguments, cwd=cwd, env={"NO_COLOR": "1", "COLUMNS": None, **(env or {})})


def shown(seen: bytes, width: int = 80) -> str:
    """The lines that bytes leave on a terminal; one that is longer than it is wide goes on in the next, as it does.

    Raises:
        ValueError: a control sequence that is not known here.
    """
    text = seen.decode("utf-8", "replace")
    lines: list[list[str]] = [[]]
    row = column = at = 0
    while at < len(text):
        found = _SEQUENCE.match(text, at)
        if found is not None:
            row, column = _obey(found, lines, row, column)
            at = found.end()
            continue
        char, at = text[at], at + 1
        if char == "\r":
            column = 0
        elif char == "\n":
            row += 1
        elif char == "\x1b":
            raise ValueError(f"unknown control sequence {text[at : at + 10]!r}")
        elif char.isprintable():
            taken = columns(char)
            if taken and column + taken > width:
                row, column = row + 1, 0
            column = _put(lines, row, column, char, taken)
        while len(lines) <= row:
            lines.append([])
    return "\n".join("".join(line).rstrip() for line in lines).rstrip("\n") + "\n"


def _put(lines: list[list[str]], row: int, column: int, char: str, taken: int) -> int:
    while len(lines) <= row:
        lines.append([])
    line = lines[row]
    if not taken:
        line[column - 1] += char
        return column
    line += [" "] * (column + taken - len(line))
    line[column : column + taken] = [char] + [""] * (taken - 1)
    return column + taken


def _obey(found: re.Match[str], lines: list[list[str]], row: int, column: int) -> tuple[int, int]:
    """Carries out a control sequence; gives the cursor's place."""
    what, number = found[2], int(found[1]) if (found[1] or "").isdigit() else None
    if what == "A":
        row = max(0, row - (number or 1))
    elif what == "K":
        lines[row][0 if number == 2 else column :] = []
    elif what not in (None, "m", "h", "l"):
        raise ValueError(f"unknown control sequence {found[0]!r}")
    return row, column


def read_all(descriptor: int, patience: float = 0.05) -> bytes:
    """What has arrived, once nothing has for a while."""
    seen = b""
    while select.select([descriptor], [], [], patience)[0]:
        try:
            chunk = os.read(descriptor, 1 << 16)
        except OSError:  # nobody holds the other side any more
            break
        if not chunk:
            break
        seen += chunk
    return seen
