"""The way in: signals and exit codes around the command line."""

from __future__ import annotations

import gc
import os
import signal
import sys
import tempfile
import threading
import warnings
from types import FrameType
from typing import NoReturn

from featcli.errors import ClosedPipe, Interrupted
from featcli.streams import discard_stdout, secure_streams

_ENVIRONMENT = 4
_OBJECTS = 500_000  # more of them than before, until Python looks for cycles
_CLOSED_PIPE = 141  # 128 + SIGPIPE, as a shell sees a program that SIGPIPE ended


def main() -> None:
    """Runs the command line and exits with its code."""
    if os.environ.get("_FEATCLI_COMPLETE"):  # a shell asks what may follow; before anything that takes time
        from featcli.completion import answer

        os._exit(answer(os.environ))
    secure_streams()
    # Waiting OpenMP threads must sleep, not spin: decoding threads share the cores with the network, and on a busy
    # machine spinning made the network seven times slower (docs/decisions.md). Read when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's spin too: a head on 10,000 rows took 0.7 s, not 0.1
    # Looking for plugins of pydantic reads the metadata of every installed package; none concerns us.
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")
    _spare_torch_a_folder()
    # Imports make many objects and no garbage: looking for it took a tenth of the time of a short command.
    gc.set_threshold(_OBJECTS, 50, 100)
    if "--debug" not in sys.argv:
        warnings.simplefilter("ignore")  # of libraries, about files: ours go through the console
    _install_signals()
    try:
        from featcli.cli import app
        from featcli.cli.usage import run

        sys.exit(run(app))
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # rich's and typer's answer, while help was printed
            _leave_pipe()
        raise
    except (BrokenPipeError, ClosedPipe):
        _leave_pipe()
    except OSError as error:  # outside any command: help on a full disk
        _leave_full(error)
    except BaseException as error:
        if _signal_seen is None:
            raise
        # Whatever surfaced (an import that was cut short, say), a signal is why.
        del error
        print("interrupted", file=sys.stderr)
        os._exit(128 + _signal_seen)
    finally:
        _flush_stdout()


def _spare_torch_a_folder() -> None:
    """Lets torch start where there is no folder for temporary files.

    As it is imported it makes a folder there for compiled code, and fails without; as a last resort it takes the
    working directory, where that folder would be litter. A folder that exists already is left as it is.
    """
    if "TORCHINDUCTOR_CACHE_DIR" in os.environ:
        return
    try:
        found = os.path.realpath(tempfile.gettempdir())
        usual = (*filter(None, map(os.environ.get, ("TMPDIR", "TEMP", "TMP"))), "/tmp", "/var/tmp", "/usr/tmp")
        is_meant = os.name != "posix" or found in map(os.path.realpath, usual)
    except OSError:
        is_meant = False
    if not is_meant:
        os.environ["TORCHINDUCTOR_CACHE_DIR"] = "/proc" if os.path.isdir("/proc") else os.getcwd()


_signal_seen: int | None = None


def _install_signals() -> None:
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        # nohup and background jobs of a shell ignore some signals on purpose.
        if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    sys.unraisablehook = _deliver_again


def _interrupt(signum: int, frame: FrameType | None) -> None:
    """The first signal unwinds the work; a second one, while that takes too long, ends the process."""
    global _signal_seen
    if _signal_seen is not None:
        os._exit(128 + signum)
    _signal_seen = signum
    raise Interrupted(signum)


def _deliver_again(unraisable: sys.UnraisableHookArgs) -> None:
    """Python swallows what is raised inside a finaliser or a weakref's callback; a signal must not be lost there."""
    global _signal_seen
    if not isinstance(unraisable.exc_value, Interrupted):
        sys.__unraisablehook__(unraisable)
    elif _signal_seen is not None:
        number, _signal_seen = _signal_seen, None
        threading.Timer(0.01, os.kill, (os.getpid(), number)).start()


def _flush_stdout() -> None:
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        _leave_pipe()
    except OSError as error:
        _leave_full(error)
    except (AttributeError, ValueError):
        pass  # closed by the caller before we started: nothing was asked for


def _leave_full(error: OSError) -> NoReturn:
    """What was asked for cannot be written."""
    print(f"error: cannot write to standard output: {error.strerror or error}", file=sys.stderr)
    os._exit(_ENVIRONMENT)


def _leave_pipe() -> None:
    """Nobody reads: quietly leave, without the interpreter trying to flush once more."""
    discard_stdout()
    os._exit(_CLOSED_PIPE)


if __name__ == "__main__":
    main()
