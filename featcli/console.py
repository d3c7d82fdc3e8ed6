"""What the user sees on stderr: facts, notes, warnings, progress. The only file that imports rich, and that late."""

from __future__ import annotations

import functools
import re
import sys
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from featcli import events
from featcli.errors import ConfigError, FeatcliError
from featcli.lines import wrapped
from featcli.text import BLOCKS, clipped, printable, writable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID
    from rich.text import Text

_PLACE = re.compile(r"(?!--).+?:\d+:(\d+:)? ")
_BLOCKS = re.compile(f"[{BLOCKS}]+")
_RIGHT = re.compile(rf"\[\d+[{BLOCKS} ]?\]")
_LINE_SECONDS = 5.0
_WIDTH = 80
_NAME_WIDTH = 9
_CELL_WIDTH = 12
_NARROWEST_CELL = 7


class Terminal:
    """Draws events on stderr: a bar where it is a terminal, a plain line every few seconds where it is not.

    Args:
        quiet: only warnings and errors.
        verbose: details too.
    """

    def __init__(self, *, quiet: bool = False, verbose: bool = False) -> None:
        # FORCE_COLOR makes rich take a pipe for a terminal; a log must keep its lines whole all the same.
        self._is_terminal = sys.stderr is not None and sys.stderr.isatty()
        self._may_draw = True
        self._quiet = quiet
        self._shows_progress = not quiet
        self._verbose = verbose
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._clock = _TaskClock()
        self._has_heading = False

    @functools.cached_property
    def _console(self) -> Console:
        console = _make_console()
        if not console.width:  # COLUMNS=0, as some services set it: rich would print nothing
            console.width = _WIDTH
        return console

    @property
    def _draws(self) -> bool:
        """Whether there may be a bar."""
        able = self._may_draw and self._is_terminal
        return able and self._console.is_terminal and not self._console.is_dumb_terminal

    @property
    def _width(self) -> int | None:
        return self._console.width if self._is_terminal else None

    def emit(self, event: events.Event) -> None:
        """Draws one event."""
        if isinstance(event, events.Progress):
            if self._shows_progress:
                self._progress(event)
        elif isinstance(event, events.Warn):
            self._line("warning:", event.text, "yellow")
        elif self._quiet:
            return
        elif isinstance(event, events.EpochEnd):
            self._epoch(event)
        elif isinstance(event, events.Fact):
            self._line(f"{event.name:{_NAME_WIDTH}}", event.text, "bold")
        elif isinstance(event, events.Note):
            self._line("note:", event.text, "cyan")
        elif not self._verbose:
            return
        elif isinstance(event, events.ClassResults):
            self._plot(event)
        else:
            self._line("", event.text, "dim")

    def leave_room_for_rows(self) -> None:
        """No bar from now on where rows appear on the same terminal: they say how far the work is."""
        if self._is_terminal:
            self._shows_progress = False

    def leave_room_for_a_reader(self) -> None:
        """No bar from now on: what reads the rows may write on the same terminal, as `head` does in the bar's line."""
        self._may_draw = False

    @property
    def is_terminal(self) -> bool:
        """Whether a person reads along."""
        return self._is_terminal

    def error(self, error: FeatcliError) -> None:
        """Says what went wrong and the next step; a problem with a place in a file begins with it, for editors."""
        self.close()
        for problem in error.problems if isinstance(error, ConfigError) else [error.message]:
            if isinstance(error, ConfigError) and _PLACE.match(problem):
                self._line("", problem, "", hang=2)
            else:
                self._line("error:", problem, "bold red")
        for step in error.hint.split("\n") if error.hint else ():
            self._line("", step, "")

    def list_unreadable(self, count: int, first: Iterable[tuple[str, str]]) -> None:
        """Names images that could not be read."""
        shown = 0
        for path, reason in first:
            self._line("unreadable:", f"{path}: {reason}", "yellow")
            shown += 1
        if count > shown:
            self._line("unreadable:", f"and {count - shown} more", "yellow")

    def close(self) -> None:
        """Takes the bar away; the cursor is shown again."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = self._task = None

    def _line(self, label: str, text: str, style: str, *, hang: int | None = None) -> None:
        """A line; one that is wider than the terminal goes on below its text."""
        line, lead, width = printable(text), f"{label} " if label else "", self._width
        if width is not None:
            hang = len(lead) if lead and hang is None else hang
            line = "\n".join(wrapped(lead + line, width, hang))[len(lead) :]
        self._console.print(_text().assemble((label, style), lead[len(label) :], line))

    def _epoch(self, event: events.EpochEnd) -> None:
        """A row below the earlier ones; before the first, the heading. A bar stays below the rows."""
        cells = _epoch_cells(event)
        width = _cell_width(cells, self._width)
        if not self._has_heading:
            self._has_heading = True
            self._console.print(_text()(_aligned(cells, width), style="bold"))
        self._console.print(_text()(_aligned(cells.values(), width)))

    def _plot(self, event: events.ClassResults) -> None:
        """The classes of a split, as bars and as a matrix; what is right is bold, and bars have a colour."""
        from featcli.writers.plots_text import results_lines  # needed by few calls, and not by --help

        for line in results_lines(event, self._width):
            drawn = _text()(writable(line, self._console.encoding))
            drawn.highlight_regex(_BLOCKS, "cyan")
            drawn.highlight_regex(_RIGHT, "bold")
            self._console.print(drawn)

    def _progress(self, event: events.Progress) -> None:
        self._clock.update(event)
        if event.total == 0:
            return
        if self._draws:
            self._draw_bar(event)
        elif self._clock.line_is_due(event):
            self._console.print(_text()(f"{event.task:{_NAME_WIDTH}} {self._clock.describe(event)}"))

    def _draw_bar(self, event: events.Progress) -> None:
        if event.finished:
            self.close()
            return
        if self._bar is None:
            from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

            columns = (
                TextColumn("{task.description}"),
                BarColumn(bar_width=24),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(compact=True),
            )
            self._bar = Progress(*columns, console=self._console, transient=True)
            self._task = self._bar.add_task(event.task, total=event.total, rate="")
            self._bar.start()
        assert self._task is not None
        self._bar.update(self._task, completed=event.done, total=event.total, rate=self._clock.rate_text(event))


def _epoch_cells(event: events.EpochEnd) -> dict[str, str]:
    """By the name of their column."""
    cells = {
        "epoch": f"{event.epoch}/{event.epochs}",
        "lr": "-" if event.lr is None else f"{event.lr:.1e}",
        "loss": _number(event.loss),
    }
    cells |= {f"val {name.replace('_', ' ')}": _number(event.metrics[name]) for name in event.shown}
    return cells | {"": "best so far" if event.best else ""}


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _cell_width(cells: Mapping[str, str], width: int | None) -> int:
    """Of each column of epochs: narrower where the terminal is, but never than a number."""
    return _CELL_WIDTH if width is None else max(_NARROWEST_CELL, min(_CELL_WIDTH, width // len(cells) - 1))


def _aligned(cells: Iterable[str], width: int) -> str:
    return " ".join(f"{clipped(cell, width):>{width}}" for cell in cells).rstrip()


def _text() -> type[Text]:
    from rich.text import Text

    return Text


def _make_console() -> Console:
    from rich.console import Console

    class Ours(Console):
        """rich's own answer to a closed pipe is exit code 1; ours is decided where all exit codes are."""

        def on_broken_pipe(self) -> None:
            raise BrokenPipeError

    # Names of files and classes are printed as they are: no markup, no highlighting, no wrapping of paths.
    return Ours(stderr=True, markup=False, highlight=False, emoji=False, soft_wrap=True)


class _TaskClock:
    """How fast a task goes, and when it was last said."""

    def __init__(self) -> None:
        self._task, self._done = "", 0
        self._start = self._said = 0.0

    def update(self, event: events.Progress) -> None:
        if event.task != self._task or event.done < self._done:
            self._task = event.task
            self._start = self._said = time.monotonic()
        self._done = event.done

    def line_is_due(self, event: events.Progress) -> bool:
        now = time.monotonic()
        if event.finished or now - self._said < _LINE_SECONDS:
            return False
        self._said = now
        return True

    def rate(self, event: events.Progress) -> float:
        seconds = time.monotonic() - self._start
        return event.done / seconds if seconds > 0 else 0.0

    def rate_text(self, event: events.Progress) -> str:
        return f"{self.rate(event):.0f} {event.unit}/s" if event.done and event.unit != "%" else ""

    def describe(self, event: events.Progress) -> str:
        rate = self.rate(event)
        if event.total is None:
            return f"{event.done} {event.unit}, {rate:.1f}/s"
        left = (event.total - event.done) / rate if rate else 0.0
        if event.unit == "%":
            return f"{event.done} %, {left:.0f} s left" if rate else f"{event.done} %"
        return f"{event.done}/{event.total} {event.unit}, {rate:.1f}/s, {left:.0f} s left"
