"""The one place where errors become text and exit codes."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, NoReturn

import typer

from featcli.cli.flags import Flags
from featcli.errors import ClosedPipe, FeatcliError, Interrupted

if TYPE_CHECKING:
    from featcli.console import Terminal

_INTERNAL = 4


@contextmanager
def errors_to_text(flags: Flags) -> Iterator[Terminal]:
    """Gives a command the terminal that it talks to, and turns whatever it raises into words and an exit code."""
    from featcli.console import Terminal

    terminal = Terminal(quiet=flags.quiet, verbose=flags.verbose)
    try:
        yield terminal
    except FeatcliError as error:
        terminal.error(error)
        _leave(flags.debug, error.exit_code)
    except Interrupted as stop:
        terminal.close()
        print("interrupted", file=sys.stderr)
        _leave(flags.debug, stop.exit_code)
    except BrokenPipeError as error:  # not left to typer, which would turn it into exit code 1
        raise ClosedPipe from error
    except (typer.Exit, typer.Abort):
        raise
    except ImportError as error:  # also where a library does not fit into the memory that is allowed
        way_out = "Allow more memory, or install featcli again."
        terminal.error(FeatcliError(f"a library cannot be loaded: {error}", way_out))
        _leave(flags.debug, _INTERNAL)
    except MemoryError:
        terminal.error(FeatcliError("not enough memory", "Try a smaller --batch-size, or fewer --workers."))
        _leave(flags.debug, _INTERNAL)
    except Exception as error:
        if _is_usage_error(error):
            raise
        if "out of memory" in str(error):
            terminal.error(FeatcliError(f"not enough memory on the device: {error}", "Try --device cpu."))
        else:
            what = f"{type(error).__name__}: {error}"
            terminal.error(FeatcliError(f"internal error: {what}", "Please report it, with the output under --debug."))
        _leave(flags.debug, _INTERNAL)
    finally:
        terminal.close()


def _is_usage_error(error: Exception) -> bool:
    return isinstance(error, typer.BadParameter)


def _leave(debug: bool, code: int) -> NoReturn:
    if debug:
        traceback.print_exc()
    raise typer.Exit(code)
