from __future__ import annotations

import pytest

from featcli.console import Terminal, printable
from featcli.errors import ConfigError, UsageError
from featcli.events import Detail, EpochEnd, Event, Fact, Note, Progress, Warn

EVENTS: list[Event] = [Fact("data", "3 images"), Note("a note"), Warn("a warning"), Detail("a detail")]


def said(
    capsys: pytest.CaptureFixture[str], events: list[Event], *, quiet: bool = False, verbose: bool = False
) -> list[str]:
    terminal = Terminal(quiet=quiet, verbose=verbose)
    for event in events:
        terminal.emit(event)
    terminal.close()
    captured = capsys.readouterr()
    assert captured.out == "", "stdout carries the answer, nothing else"
    return captured.err.splitlines()


def test_each_kind_of_event(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, EVENTS) == ["data      3 images", "note: a note", "warning: a warning"]


def test_epochs_are_rows_of_a_table_under_one_heading(capsys: pytest.CaptureFixture[str]) -> None:
    scores = {"accuracy": 0.5, "macro_f1": 0.4, "log_loss": None}
    start = EpochEnd(0, 2, None, None, scores, True, ("accuracy", "log_loss"))
    assert said(capsys, [start, EpochEnd(1, 2, 5e-4, 0.25, scores, False, ("accuracy",))]) == [
        "       epoch           lr         loss val accuracy val log loss",
        "         0/2            -            -       0.5000            -  best so far",
        "         1/2      5.0e-04       0.2500       0.5000",
    ]


def test_quiet_leaves_warnings(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, EVENTS, quiet=True) == ["warning: a warning"]


def test_verbose_adds_details(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, EVENTS, verbose=True)[-1].strip() == "a detail"


def test_names_are_printed_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    text = "[red]x[/red] :smile: https://x " + "long " * 60 + "/a/path/that/is/longer/than/any/terminal" * 5
    assert said(capsys, [Warn(text)]) == [f"warning: {text}"]


def test_short_work_off_a_terminal_needs_no_progress_lines(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, [Progress("features", 0, 9), Progress("features", 9, 9, finished=True)]) == []


def test_long_work_off_a_terminal_gets_a_plain_line(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = iter(range(0, 1000, 4))
    monkeypatch.setattr("time.monotonic", lambda: next(now))
    lines = said(capsys, [Progress("features", done, 100) for done in range(0, 50, 10)])
    assert lines
    assert all(line.startswith("features ") and "/100 images" in line and "s left" in line for line in lines)


def test_an_error_and_its_hint(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal().error(UsageError("what is wrong", "What to do."))
    assert capsys.readouterr().err == "error: what is wrong\nWhat to do.\n"
    Terminal().error(ConfigError(["a.yaml:1:1: one", "a.yaml:2:1: two"]))
    assert capsys.readouterr().err == "a.yaml:1:1: one\na.yaml:2:1: two\n"


def test_unreadable_images_are_listed_and_counted(capsys: pytest.CaptureFixture[str]) -> None:
    Terminal().list_unreadable(12, [("a.jpg", "why"), ("b\x1b[2J.jpg", "not")])
    assert capsys.readouterr().err.splitlines() == [
        "unreadable: a.jpg: why", "unreadable: b\\x1b[2J.jpg: not", "unreadable: and 10 more",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 写 🐈", "plain é 写 🐈"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\rb\tc\x07", "a\\rb\\tc\\x07"),
        ("two\nlines", "two\\nlines"),
        ("\udcff\udc80", "\\xff\\x80"),
        ("\u202egnp.exe", "\\u202egnp.exe"),
        ("\ud800", "\\ud800"),
    ],
)
def test_nothing_can_harm_a_terminal(text: str, shown: str) -> None:
    assert printable(text) == shown
