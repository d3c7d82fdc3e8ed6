"""featcli as a process, without paying for the import of torch each time.

A server process imports torch and torchvision once, computes nothing, and forks for every run. The child is a real
process: its own signals, descriptors and exit code, running `featcli.__main__.main` as the installed command does.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

PROJECT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Finished:
    """A run that has ended."""

    code: int
    stdout: bytes
    stderr: str

    @property
    def text(self) -> str:
        """Standard output as text."""
        return self.stdout.decode("utf-8", "surrogateescape")

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Standard output as JSON lines."""
        return [json.loads(line) for line in self.text.splitlines()]


class Running:
    """A run under way, to be killed, fed or waited for."""

    def __init__(self, server: ForkServer, pid: int, out: Path, err: Path) -> None:
        self._server = server
        self._out, self._err = out, err
        self.pid = pid

    def kill(self, number: int = signal.SIGKILL) -> None:
        """Sends a signal."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, number)

    def output(self) -> bytes:
        """What it has written to standard output so far."""
        return self._out.read_bytes()

    def errors(self) -> str:
        """What it has written to standard error so far."""
        return self._err.read_text("utf-8", "surrogateescape")

    def wait(self, timeout: float = 120) -> Finished:
        """Waits for the end; a signal that ended it is a negative code."""
        code = self._server.wait(self.pid, timeout)
        return Finished(code, self.output(), self.errors())


class ForkServer:
    """Starts runs; used as a context manager."""

    def __enter__(self) -> ForkServer:
        self._folder = tempfile.TemporaryDirectory(prefix="featcli-runs-")
        self._count = 0
        self._codes: dict[int, int] = {}
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.process"],
            cwd=PROJECT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(30)
        self._process.stdout.close()
        self._folder.cleanup()

    def start(
        self,
        *arguments: str | Path,
        cwd: Path | None = None,
        env: Mapping[str, str | None] | None = None,
        stdin: int | IO[bytes] | None = None,
        stdout: Path | None = None,
        stderr: Path | None = None,
        preload: Path | None = None,
    ) -> Running:
        """Starts `featcli ARGUMENTS`.

        Args:
            arguments: of the command line.
            cwd: working directory; the project by default.
            env: changes to this process's environment; None removes.
            stdin: an open descriptor or file whose path can be reopened; nothing by default.
            stdout: a file, FIFO or terminal to write to, instead of a file that `output` reads.
            stderr: likewise, instead of a file that `errors` reads.
            preload: Python code run in the child first, to break something on purpose.
        """
        self._count += 1
        out = Path(self._folder.name, f"{self._count}.out")
        err = Path(self._folder.name, f"{self._count}.err")
        out.touch()
        err.touch()
        environment = {**os.environ, **(env or {})}
        request = {
            "argv": ["featcli", *(os.fsdecode(argument) for argument in arguments)],
            "cwd": str(cwd or PROJECT),
            "env": {name: value for name, value in environment.items() if value is not None},
            "stdin": f"/proc/{os.getpid()}/fd/{stdin if isinstance(stdin, int) else stdin.fileno()}" if stdin else None,
            "stdout": str(stdout or out),
            "stderr": str(stderr or err),
            "preload": preload.read_text() if preload else None,
        }
        return Running(self, self._ask(request), out, err)

    def run(self, *arguments: str | Path, timeout: float = 120, **options: Any) -> Finished:
        """Runs `featcli ARGUMENTS` to its end; options as for `start`. `run.start` is `start`."""
        return self.start(*arguments, **options).wait(timeout)

    def wait(self, pid: int, timeout: float) -> int:
        """The exit code of a run."""
        end = time.monotonic() + timeout
        while True:
            code = self.poll(pid)
            if code is not None:
                return code
            if time.monotonic() > end:
                os.kill(pid, signal.SIGKILL)
                raise TimeoutError(f"still running after {timeout} s")
            time.sleep(0.01)

    def poll(self, pid: int) -> int | None:
        """The exit code of a run, None while it is under way; to be asked no more once it was given."""
        code = self._ask({"wait": pid})
        return None if code == _STILL_RUNNING else code

    def _ask(self, request: Mapping[str, Any]) -> int:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())


_STILL_RUNNING = -999
# All that is not featcli's own and takes time.
_SLOW_IMPORTS = (
    "torch",
    "torchvision",
    "PIL.ImageOps",
    "PIL.PngImagePlugin",
    "pydantic",
    "rich.progress",
    "safetensors.torch",
    "typer.rich_utils",
    "typer._adapters",
    "yaml",
)


def serve() -> None:
    """The server's loop: one JSON request per line, one number per answer."""
    for name in _SLOW_IMPORTS:
        with contextlib.suppress(ModuleNotFoundError):  # of another version of a library
            importlib.import_module(name)
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            print(_poll(request["wait"]), flush=True)
            continue
        pid = os.fork()
        if pid == 0:
            _become(request)
        print(pid, flush=True)


def _poll(pid: int) -> int:
    done, status = os.waitpid(pid, os.WNOHANG)
    return os.waitstatus_to_exitcode(status) if done else _STILL_RUNNING


def _become(request: dict[str, Any]) -> None:
    """In the child: takes on directory, environment and descriptors, runs the command line and exits."""
    code = 70
    try:
        os.setsid()
        os.environ.clear()
        os.environ.update(request["env"])
        descriptors = [
            os.open(request["stdin"] or os.devnull, os.O_RDONLY),
            os.open(request["stdout"], os.O_WRONLY | os.O_CREAT | os.O_APPEND),
            os.open(request["stderr"], os.O_WRONLY | os.O_CREAT | os.O_APPEND),
        ]
        for target, descriptor in enumerate(descriptors):
            os.dup2(descriptor, target)
        os.closerange(3, 256)
        os.chdir(request["cwd"])
        sys.argv = request["argv"]
        sys.stdin, sys.stdout, sys.stderr = (os.fdopen(number, mode) for number, mode in ((0, "r"), (1, "w"), (2, "w")))
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        if request["preload"]:
            exec(compile(request["preload"], "preload", "exec"), {})
        from featcli.__main__ import main

        main()
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
