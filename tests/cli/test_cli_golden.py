"""What commands show is what tests/golden/terminal has; `python -m tests.golden` (`make golden`) renews it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.golden import CASES, FOLDER, helps, in_pipes, on_terminals, place
from tests.process import ForkServer
from tests.terminal import in_pipe

pytestmark = pytest.mark.slow


def kept(piped: bool) -> dict[str, str]:
    return {path.name: path.read_text() for path in FOLDER.glob("*.txt") if path.name.endswith(".pipe.txt") == piped}


def test_a_terminal_of_eighty_columns(server: ForkServer) -> None:
    with place() as folder:
        seen = dict(on_terminals(server, folder))
    assert seen == kept(False)
    assert max(len(line) for text in seen.values() for line in text.splitlines() if not line.startswith("$")) <= 80


def test_a_pipe(server: ForkServer) -> None:
    with place() as folder:
        seen = dict(in_pipes(server, folder))
    assert seen == kept(True)
    assert "\x1b" not in "".join(seen.values())


def test_help_is_the_same_in_a_pipe(server: ForkServer, tmp_path: Path) -> None:
    for name, arguments in helps().items():
        done = in_pipe(server, *arguments, cwd=tmp_path)
        assert f"$ featcli {' '.join(arguments)}\n{done.text}exit 0\n" == (FOLDER / f"{name}.txt").read_text()


def test_every_case_is_kept_for_both() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {
        *(f"{name}.txt" for name in helps() | CASES), *(f"{name}.pipe.txt" for name in CASES)
    }  # fmt: skip
