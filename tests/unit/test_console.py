from __future__ import annotations

import re

import pytest

from featcli.console import Terminal, printable
from featcli.errors import ConfigError, UsageError
from featcli.events import ClassResults, Detail, EpochEnd, Event, Fact, Note, Progress, Warn
from tests.terminal import read_all, shown, terminal

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
    Terminal().error(ConfigError(["a.yaml:1:1: one", "a b.csv:2: two", "--set x=1:2:3: three", "b.yaml: four"]))
    assert capsys.readouterr().err == (
        "a.yaml:1:1: one\na b.csv:2: two\nerror: --set x=1:2:3: three\nerror: b.yaml: four\n"
    )


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


def drawn(
    monkeypatch: pytest.MonkeyPatch,
    events: list[Event],
    *,
    width: int = 80,
    quiet: bool = False,
    verbose: bool = False,
    encoding: str = "utf-8",
    **env: str,
) -> bytes:
    """The bytes that reach a terminal."""
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"TERM": "xterm-256color", "COLUMNS": str(width), **env}.items():
        monkeypatch.setenv(name, value)
    with terminal(width) as (near, far), far.open("w", encoding=encoding, errors="backslashreplace") as stream:
        monkeypatch.setattr("sys.stderr", stream)
        console = Terminal(quiet=quiet, verbose=verbose)
        for event in events:
            console.emit(event)
        console.close()
        stream.flush()
        return read_all(near)


BAR: list[Event] = [Progress("features", 0, 9), Progress("features", 4, 9), Note("in between")]
END = Progress("features", 9, 9, finished=True)
LONG = Warn("identical files on two sides of a split: /a/path/that/is/long/enough.png (train) and b.png (val)")


def test_a_terminal_gets_lines_that_go_on_below_their_text(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = drawn(monkeypatch, [LONG, Fact("data", "3 images and a few more words than fit")], width=44)
    assert shown(seen, 44).splitlines() == [
        "warning: identical files on two sides of a",
        "         split:",
        "         /a/path/that/is/long/enough.png",
        "         (train) and b.png (val)",
        "data      3 images and a few more words than",
        "          fit",
    ]
    path = "/p" * 60
    assert shown(drawn(monkeypatch, [Warn(f"no file {path} here")], width=200), 200).splitlines() == [
        f"warning: no file {path} here"
    ]
    assert f"\r\n         {path}\r\n".encode() in drawn(monkeypatch, [Warn(f"no file {path} here")], width=40)


@pytest.mark.parametrize("columns", ["0", "-3", "many", ""])
def test_a_width_that_is_none(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: str
) -> None:
    seen = shown(drawn(monkeypatch, [LONG, *BAR, END], COLUMNS=columns), 80).splitlines()
    assert " ".join(seen[0].split()) == "warning: identical files on two sides of a split:"
    monkeypatch.undo()
    monkeypatch.setenv("COLUMNS", columns)
    assert said(capsys, [LONG]) == [f"warning: {LONG.text}"]


def test_nothing_is_left_of_a_bar_and_the_cursor_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = drawn(monkeypatch, [*BAR, END])
    assert b"4/9" in seen
    assert shown(seen) == "note: in between\n"
    assert seen.rfind(b"\x1b[?25h") > seen.rfind(b"\x1b[?25l") > -1
    assert shown(drawn(monkeypatch, BAR)) == "note: in between\n", "closed in the middle"
    assert drawn(monkeypatch, [Progress("features", 0, 0), Progress("features", 0, 0, finished=True)]) == b""
    assert drawn(monkeypatch, [*BAR, END], quiet=True) == b""


@pytest.mark.parametrize("width", [20, 40])
def test_a_bar_keeps_to_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    assert shown(drawn(monkeypatch, [*BAR, END], width=width), width) == "note: in between\n"


def test_a_terminal_that_cannot_draw_gets_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    assert drawn(monkeypatch, [*BAR, END], TERM="dumb") == b"note: in between\r\n"


def test_colours_that_are_not_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    assert b"\x1b[33m" in drawn(monkeypatch, [LONG])
    assert not re.search(rb"\x1b\[3\dm", drawn(monkeypatch, [LONG, *BAR, END], NO_COLOR="1"))


def test_colours_that_are_forced_bring_no_bar_into_a_log(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "40")
    lines = said(capsys, [LONG, *BAR, END])
    assert [re.sub(r"\x1b\[\d*m", "", line) for line in lines] == [f"warning: {LONG.text}", "note: in between"]


def test_a_terminal_without_utf8(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = drawn(monkeypatch, [*BAR, Note("é"), END], encoding="ascii")
    assert max(seen) < 128
    assert shown(seen) == "note: in between\nnote: \\xe9\n"


def test_epochs_keep_to_a_narrow_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    scores = {"accuracy": 0.5, "log_loss": 0.25}
    epoch = EpochEnd(10, 10, 5e-4, 0.25, scores, False, ("accuracy", "log_loss"))
    lines = shown(drawn(monkeypatch, [epoch], width=60), 60).splitlines()
    assert [len(line) for line in lines] == [49, 49]
    assert lines[1].split() == ["10/10", "5.0e-04", "0.2500", "0.5000", "0.2500"]


NAME = "[red]\x1b[2Jants"
RESULTS = ClassResults(
    "val",
    {NAME: {"recall": 0.75, "f1": 0.8, "support": 4}, "bees": {"recall": 1.0, "f1": 0.9, "support": 4}},
    [[3, 1], [0, 4]],
    [(NAME, "bees", 1, 4)],
)


def test_classes_are_drawn_for_those_who_ask_for_details(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, [RESULTS]) == []
    assert said(capsys, [RESULTS], quiet=True, verbose=True) == []
    assert said(capsys, [RESULTS], verbose=True) == [
        "classes of val",
        "class             recall     f1  images  recall, 0 to 1",
        "[red]\\x1b[2Jants   0.750  0.800       4  ███████████████",
        "bees               1.000  0.900       4  ████████████████████",
        "confusion: rows true, columns predicted; [ ] right; shade: share of the row",
        "                 [red]\\x1b[2Jants             bees",
        "[red]\\x1b[2Jants              [3█]              1▒",
        "bees                           .               [4█]",
    ]


@pytest.mark.parametrize("width", [40, 80])
def test_classes_on_a_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    colours = drawn(monkeypatch, [RESULTS], verbose=True, width=width)
    assert b"\x1b[36m" in colours and b"\x1b[2J" not in colours
    plain = drawn(monkeypatch, [RESULTS], verbose=True, width=width, NO_COLOR="1")
    assert b"\x1b[3" not in plain
    assert shown(plain, width) == shown(colours, width)
    assert shown(plain, width).splitlines()[-1].endswith("[4█]")
    plain = drawn(monkeypatch, [RESULTS], verbose=True, width=width, encoding="latin-1")
    assert shown(plain, width).splitlines()[-1].endswith("[4#]")
    assert "\\u25" not in shown(plain, width)
