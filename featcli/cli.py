"""The command line: parses arguments, wires the console to events, imports a command when it runs."""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from featcli import __version__
from featcli.errors import ClosedPipe, FeatcliError, Interrupted, StorageError

if TYPE_CHECKING:
    from featcli.commands.setup import Call, Unreadable
    from featcli.console import Terminal

_UNREADABLE = 3
_INTERNAL = 4

app = typer.Typer(
    name="featcli",
    help="Turn a folder of images into a classifier that you can trust, by reusing a pretrained backbone.",
    epilog="Start here: featcli demo. Then: featcli train-head --config my.yaml, featcli predict RUN PHOTOS.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

_RUN = "What to run"
_WHERE = "How and where to compute"
_TALK = "What is said"


def _option(panel: str, *names: str, help: str, metavar: str | None = None, **more: Any) -> Any:
    return typer.Option(*names, metavar=metavar, help=help, rich_help_panel=panel, **more)


ConfigFlag = Annotated[Path | None, _option(_RUN, "--config", "-c", metavar="FILE", help="YAML config.")]
SetFlag = Annotated[
    list[str] | None,
    _option(_RUN, "--set", metavar="KEY=VALUE", help="Override one value: --set head.C=0.1. Repeatable."),
]
RunFlag = Annotated[
    Path | None, _option(_RUN, "--output", "-o", metavar="DIR", help="Run folder; beats the config's output.")
]
OverwriteFlag = Annotated[bool, _option(_RUN, "--overwrite", help="Replace an output that holds another run.")]
LimitFlag = Annotated[
    int | None, _option(_RUN, "--limit", min=1, metavar="N", help="Only the first N images per class and split.")
]
LimitPathsFlag = Annotated[int | None, _option(_RUN, "--limit", min=1, metavar="N", help="Only the first N images.")]
SeedFlag = Annotated[
    int | None, _option(_RUN, "--seed", min=0, metavar="N", help="Seed of splits, folds and random weights.")
]
DryRunFlag = Annotated[bool, _option(_RUN, "--dry-run", help="Check everything, print the plan, do no work.")]
MaxBadFlag = Annotated[
    int, _option(_RUN, "--max-bad", min=0, metavar="N", help="Exit 0 with up to N unreadable images.")
]
SeparatorFlag = Annotated[bool, _option(_RUN, "-0", "--null", help="Paths on stdin end in NUL (find -print0).")]
CacheFlag = Annotated[
    Path | None,
    _option(_WHERE, "--cache", metavar="DIR", help="Feature store; else FEATCLI_CACHE, else ~/.cache/featcli."),
]
DeviceFlag = Annotated[str | None, _option(_WHERE, "--device", metavar="NAME", help="auto, cpu, cuda, cuda:N or mps.")]
PrecisionFlag = Annotated[str | None, _option(_WHERE, "--precision", metavar="NAME", help="fp32, bf16 or fp16.")]
WorkersFlag = Annotated[
    int | None, _option(_WHERE, "--workers", min=1, metavar="N", help="Threads that decode images.")
]
ThreadsFlag = Annotated[int | None, _option(_WHERE, "--threads", min=1, metavar="N", help="Threads of the network.")]
BatchFlag = Annotated[
    int | None, _option(_WHERE, "--batch-size", min=1, metavar="N", help="Images per step; never changes a result.")
]
JsonFlag = Annotated[bool, _option(_TALK, "--json", help="Print one JSON value instead.")]
QuietFlag = Annotated[bool, _option(_TALK, "--quiet", "-q", help="Warnings and errors only.")]
VerboseFlag = Annotated[bool, _option(_TALK, "--verbose", "-v", help="Details too.")]
DebugFlag = Annotated[bool, _option(_TALK, "--debug", help="Show the traceback of an error.")]


@app.callback(invoke_without_command=True)
def _main(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    if version or context.invoked_subcommand is None:
        with _boundary(False, False, False):
            _say(f"featcli {__version__}" if version else context.get_help())
        raise typer.Exit(0 if version else 2)


@dataclass(frozen=True, slots=True)
class _Flags:
    """The common flags of one invocation."""

    config: Path | None = None
    set: list[str] | None = None
    output: Path | None = None
    overwrite: bool = False
    cache: Path | None = None
    device: str | None = None
    precision: str | None = None
    seed: int | None = None
    workers: int | None = None
    threads: int | None = None
    batch_size: int | None = None
    limit: int | None = None
    dry_run: bool = False

    def call(self, terminal: Terminal) -> Call:
        """The checked config and everything else that commands start with. Loads torch, once the config is sound."""
        from featcli.config import load_config

        loaded = load_config(
            self.config,
            self.set or (),
            {
                "-o": ("output", self.output),
                "--device": ("device", self.device),
                "--precision": ("precision", self.precision),
                "--seed": ("seed", self.seed),
                "--workers": ("loader.workers", self.workers),
                "--batch-size": ("loader.batch_size", self.batch_size),
                "--limit": ("data.limit", self.limit),
            },
        )
        from featcli.commands.setup import Call
        from featcli.features.store import default_cache

        return Call(
            loaded=loaded,
            cache=self.cache.expanduser().absolute() if self.cache else default_cache(),
            emit=terminal.emit,
            threads=self.threads,
            overwrite=self.overwrite,
            dry_run=self.dry_run,
        )


@app.command()
def extract(
    paths: Annotated[
        list[str] | None, typer.Argument(help="Files, folders, patterns, - (paths on stdin). None: the config's data.")
    ] = None,
    output: Annotated[
        Path | None, _option(_RUN, "--output", "-o", metavar="FILE", help="Where the features go.")
    ] = None,
    format: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="NAME",
            help="npz, npy, safetensors, csv, parquet; else by ending.",
            rich_help_panel=_RUN,
        ),
    ] = None,
    null: SeparatorFlag = False,
    config: ConfigFlag = None,
    set_: SetFlag = None,
    limit: LimitFlag = None,
    seed: SeedFlag = None,
    max_bad: MaxBadFlag = 0,
    dry_run: DryRunFlag = False,
    cache: CacheFlag = None,
    device: DeviceFlag = None,
    precision: PrecisionFlag = None,
    workers: WorkersFlag = None,
    threads: ThreadsFlag = None,
    batch_size: BatchFlag = None,
    quiet: QuietFlag = False,
    verbose: VerboseFlag = False,
    debug: DebugFlag = False,
) -> None:
    """Write the features of images to a file.

    Prints the file's path.
    """
    with _boundary(quiet, verbose, debug) as terminal:
        if output is None:
            raise typer.BadParameter("name the file to write: -o features.npz", param_hint="-o")
        flags = _Flags(
            config, set_, None, False, cache, device, precision, seed, workers, threads, batch_size, limit, dry_run
        )
        call = flags.call(terminal)
        from featcli.commands.extract import extract as run

        result = run(call, paths or (), output, format, _separator(null))
        _say(result.answer)
        _finish(terminal, result.unreadable, max_bad)


@app.command("train-head")
def train_head(
    config: ConfigFlag = None,
    set_: SetFlag = None,
    output: RunFlag = None,
    overwrite: OverwriteFlag = False,
    limit: LimitFlag = None,
    seed: SeedFlag = None,
    max_bad: MaxBadFlag = 0,
    dry_run: DryRunFlag = False,
    cache: CacheFlag = None,
    device: DeviceFlag = None,
    precision: PrecisionFlag = None,
    workers: WorkersFlag = None,
    threads: ThreadsFlag = None,
    batch_size: BatchFlag = None,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
    verbose: VerboseFlag = False,
    debug: DebugFlag = False,
) -> None:
    """Compute what features are missing, solve a classifier on them, write a run folder.

    Prints the checkpoint's path.
    """
    with _boundary(quiet, verbose, debug) as terminal:
        flags = _Flags(
            config,
            set_,
            output,
            overwrite,
            cache,
            device,
            precision,
            seed,
            workers,
            threads,
            batch_size,
            limit,
            dry_run,
        )
        call = flags.call(terminal)
        from featcli.commands.train_head import train_head as run

        result = run(call)
        _say(_json(result.summary) if as_json else result.answer)
        _finish(terminal, result.unreadable, max_bad)


@app.command()
def predict(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CHECKPOINT PATHS",
            help="A checkpoint or run folder; then files, folders, patterns, - (paths on stdin). "
            "With --config: paths only.",
            show_default=False,
        ),
    ] = None,
    format: Annotated[str, _option(_RUN, "--format", metavar="NAME", help="jsonl, csv, table or parquet.")] = "jsonl",
    top: Annotated[int, _option(_RUN, "--top", min=1, metavar="K", help="Classes listed in a row.")] = 5,
    probs: Annotated[bool, _option(_RUN, "--probs", help="Add every class's probability.")] = False,
    null: SeparatorFlag = False,
    output: Annotated[
        Path | None,
        _option(_RUN, "--output", "-o", metavar="FILE", help="Rows go here instead of stdout."),
    ] = None,
    summary: Annotated[Path | None, _option(_RUN, "--summary", metavar="FILE", help="Write counts as JSON.")] = None,
    config: ConfigFlag = None,
    set_: SetFlag = None,
    limit: LimitPathsFlag = None,
    max_bad: MaxBadFlag = 0,
    dry_run: DryRunFlag = False,
    cache: CacheFlag = None,
    device: DeviceFlag = None,
    precision: PrecisionFlag = None,
    workers: WorkersFlag = None,
    threads: ThreadsFlag = None,
    batch_size: BatchFlag = None,
    quiet: QuietFlag = False,
    verbose: VerboseFlag = False,
    debug: DebugFlag = False,
) -> None:
    """Predict images: one row each, in input order, as soon as it is known.

    An unreadable image is a row too, with its error.
    """
    with _boundary(quiet, verbose, debug) as terminal:
        _choice("--format", format, ("jsonl", "csv", "table", "parquet"))
        if format == "parquet" and output is None:
            raise typer.BadParameter("parquet needs a file: -o rows.parquet", param_hint="--format")
        flags = _Flags(
            config, set_, None, False, cache, device, precision, None, workers, threads, batch_size, limit, dry_run
        )
        checkpoint, paths = _checkpoint_and_paths(arguments or [], config)
        if output is None and sys.stdout is not None and sys.stdout.isatty():
            terminal.leave_room_for_rows()
        call = flags.call(terminal)
        from featcli.commands.predict import PredictOptions
        from featcli.commands.predict import predict as run

        options = PredictOptions(format, top, probs, output, summary, _separator(null))
        result = run(call, checkpoint, paths, options, _write_stdout)
        if result.plan is not None:
            _say(result.plan)
        elif output is not None:
            _say(str(output))
        _finish(terminal, result.unreadable, max_bad, listed=False)


@app.command()
def evaluate(
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CHECKPOINT DATA_DIR",
            help="A checkpoint or run folder; then a labelled folder. With --config: the folder only.",
            show_default=False,
        ),
    ] = None,
    min_accuracy: Annotated[
        float | None,
        _option(_RUN, "--min-accuracy", min=0.0, max=1.0, metavar="X", help="Exit 1 below X."),
    ] = None,
    parity: Annotated[
        bool,
        typer.Option(
            "--parity",
            help="Exit 1 unless the validation accuracy in the checkpoint is reproduced.",
            rich_help_panel=_RUN,
        ),
    ] = False,
    config: ConfigFlag = None,
    set_: SetFlag = None,
    limit: LimitFlag = None,
    max_bad: MaxBadFlag = 0,
    dry_run: DryRunFlag = False,
    cache: CacheFlag = None,
    device: DeviceFlag = None,
    precision: PrecisionFlag = None,
    workers: WorkersFlag = None,
    threads: ThreadsFlag = None,
    batch_size: BatchFlag = None,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
    verbose: VerboseFlag = False,
    debug: DebugFlag = False,
) -> None:
    """Measure a checkpoint on labelled images.

    On DATA_DIR, or the data of the config or run: the test split, else validation.
    """
    with _boundary(quiet, verbose, debug) as terminal:
        flags = _Flags(
            config, set_, None, False, cache, device, precision, None, workers, threads, batch_size, limit, dry_run
        )
        checkpoint, paths = _checkpoint_and_paths(arguments or [], config)
        if len(paths) > 1:
            raise typer.BadParameter(f"one folder to evaluate on, not {len(paths)}", param_hint="DATA_DIR")
        call = flags.call(terminal)
        from featcli.commands.evaluate import EvaluateOptions
        from featcli.commands.evaluate import evaluate as run

        data_dir = Path(paths[0]) if paths else None
        result = run(call, checkpoint, data_dir, EvaluateOptions(min_accuracy, parity))
        _say(_json(result.metrics) if as_json and not dry_run else result.text)
        if result.failure is not None:
            raise result.failure
        _finish(terminal, result.unreadable, max_bad)


@app.command()
def info(
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint or run folder.", show_default=False)],
    as_json: JsonFlag = False,
    debug: DebugFlag = False,
) -> None:
    """Show what is in a checkpoint: classes, backbone, preprocessing, metrics, versions."""
    with _boundary(False, False, debug):
        from featcli.commands.info import info as run

        text, facts = run(checkpoint)
        _say(_json(facts) if as_json else text)


@app.command()
def init(
    data_dir: Annotated[Path, typer.Argument(help="A folder of images.", show_default=False)],
    output: Annotated[
        Path | None, _option(_RUN, "--output", "-o", metavar="FILE", help="Config to write; else FOLDER.yaml, here.")
    ] = None,
    overwrite: Annotated[bool, _option(_RUN, "--overwrite", help="Replace a file that is there.")] = False,
    quiet: QuietFlag = False,
    verbose: VerboseFlag = False,
    debug: DebugFlag = False,
) -> None:
    """Look at a folder of images and write a short config for it, with comments.

    Prints the file's path.
    """
    with _boundary(quiet, verbose, debug) as terminal:
        from featcli.commands.init import init as run

        _say(run(data_dir, output, overwrite=overwrite, emit=terminal.emit))


@app.command()
def check(
    config: ConfigFlag = None,
    set_: SetFlag = None,
    limit: LimitFlag = None,
    seed: SeedFlag = None,
    cache: CacheFlag = None,
    device: DeviceFlag = None,
    precision: PrecisionFlag = None,
    workers: WorkersFlag = None,
    threads: ThreadsFlag = None,
    batch_size: BatchFlag = None,
    as_json: JsonFlag = False,
    quiet: QuietFlag = False,
    verbose: VerboseFlag = False,
    debug: DebugFlag = False,
) -> None:
    """Check config, weights and data, and print the plan of train-head with its time; do no work."""
    with _boundary(quiet, verbose, debug) as terminal:
        common = (cache, device, precision, seed, workers, threads, batch_size, limit, True)
        call = _Flags(config, set_, None, False, *common).call(terminal)
        from featcli.commands.check import check as run

        plan = run(call)
        _say(_json(plan.facts) if as_json else plan.text)


@app.command()
def models(
    name: Annotated[
        str | None, typer.Argument(help="A backbone, for its stages; or a part of names.", show_default=False)
    ] = None,
    as_json: JsonFlag = False,
    debug: DebugFlag = False,
) -> None:
    """List backbones: size, features, published accuracy, weights on this machine. With a name: its stages."""
    with _boundary(False, False, debug):
        from featcli.backbones.registry import names
        from featcli.commands.models import list_models, show_model

        text, facts = show_model(name) if name in names() else list_models(name)
        _say(_json(facts) if as_json else text)


@app.command()
def doctor(cache: CacheFlag = None, as_json: JsonFlag = False, debug: DebugFlag = False) -> None:
    """Show devices, threads, caches and versions, and what is missing with the command that fixes it."""
    with _boundary(False, False, debug):
        from featcli.commands.doctor import doctor as run
        from featcli.features.store import default_cache

        text, facts = run(cache.expanduser().absolute() if cache else default_cache())
        _say(_json(facts) if as_json else text)


@app.command()
def demo(
    output: Annotated[Path, _option(_RUN, "--output", "-o", metavar="DIR", help="Folder for data and run.")] = Path(
        "featcli-demo"
    ),
    cache: CacheFlag = None,
    device: DeviceFlag = None,
    quiet: QuietFlag = False,
    verbose: VerboseFlag = False,
    debug: DebugFlag = False,
) -> None:
    """Run the whole path on handwritten digits with real weights, without a network.

    Needs the extra `demo`. Takes about a minute; the second time, seconds.
    """
    with _boundary(quiet, verbose, debug) as terminal:
        from featcli.commands.demo import demo_text, prepare_demo

        data = prepare_demo(output, terminal.emit)
        call = _Flags(config=data.config, cache=cache, device=device).call(terminal)
        from featcli.commands.train_head import train_head as run

        _say(demo_text(data, run(call).summary))


# As the help lists them: in the order in which they are used.
_ORDER = ("init", "check", "train-head", "predict", "evaluate", "extract", "info", "models", "doctor", "demo")
app.registered_commands.sort(
    key=lambda command: _ORDER.index(command.name or getattr(command.callback, "__name__", ""))
)


@contextmanager
def _boundary(quiet: bool, verbose: bool, debug: bool) -> Iterator[Terminal]:
    """The one place where errors become text and exit codes."""
    from featcli.console import Terminal

    terminal = Terminal(quiet=quiet, verbose=verbose)
    try:
        yield terminal
    except FeatcliError as error:
        terminal.error(error)
        _leave(debug, error.exit_code)
    except Interrupted as stop:
        terminal.close()
        print("interrupted", file=sys.stderr)
        _leave(debug, stop.exit_code)
    except BrokenPipeError as error:  # not left to typer, which would turn it into exit code 1
        raise ClosedPipe from error
    except (typer.Exit, typer.Abort):
        raise
    except MemoryError:
        terminal.error(FeatcliError("not enough memory", "Try a smaller --batch-size, or fewer --workers."))
        _leave(debug, _INTERNAL)
    except Exception as error:
        if _is_usage_error(error):
            raise
        if "out of memory" in str(error):
            terminal.error(FeatcliError(f"not enough memory on the device: {error}", "Try --device cpu."))
        else:
            what = f"{type(error).__name__}: {error}"
            terminal.error(FeatcliError(f"internal error: {what}", "Please report it, with the output under --debug."))
        _leave(debug, _INTERNAL)
    finally:
        terminal.close()


def _is_usage_error(error: Exception) -> bool:
    return isinstance(error, typer.BadParameter)


def _leave(debug: bool, code: int) -> NoReturn:
    if debug:
        traceback.print_exc()
    raise typer.Exit(code)


def _finish(terminal: Terminal, unreadable: Unreadable, max_bad: int, *, listed: bool = True) -> None:
    """Exit 3 where more images than tolerated could not be read; everything else is done and written by now."""
    if not unreadable.count:
        return
    if listed:
        terminal.list_unreadable(unreadable.count, unreadable.first)
    if unreadable.count > max_bad:
        what = f"{unreadable.count} {'image' if unreadable.count == 1 else 'images'} could not be read"
        terminal.error(FeatcliError(what, "Everything else is done. --max-bad N tolerates N of them."))
        raise typer.Exit(_UNREADABLE)


def _checkpoint_and_paths(arguments: list[str], config: Path | None) -> tuple[Path | None, list[str]]:
    """Without --config the first argument is the checkpoint; with it, all are paths."""
    if config is not None:
        return None, arguments
    if not arguments:
        raise typer.BadParameter("name a checkpoint or run folder, or give --config", param_hint="CHECKPOINT")
    return Path(arguments[0]), arguments[1:]


def _choice(flag: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise typer.BadParameter(f"'{value}' is not one of {', '.join(choices)}", param_hint=flag)


def _separator(null: bool) -> bytes:
    return b"\0" if null else b"\n"


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False)


def _say(text: str) -> None:
    """The answer, on stdout; names that are not UTF-8 keep their bytes."""
    _write_stdout(text.encode("utf-8", "surrogateescape") + os.linesep.encode())


def _write_stdout(data: bytes) -> None:
    if sys.stdout is None:
        raise StorageError("cannot write to standard output: it is closed")
    try:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        raise StorageError(f"cannot write to standard output: {error.strerror or error}") from error
