"""The command line: parses arguments, wires the console to events, imports a command when it runs."""

from __future__ import annotations

import inspect
import json
import os
import sys
import traceback
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, get_type_hints

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


@app.callback(invoke_without_command=True)
def _main(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.", is_eager=True)] = False,
) -> None:
    if version or context.invoked_subcommand is None:
        with _boundary(_Flags()):
            _say(f"featcli {__version__}" if version else context.get_help())
        raise typer.Exit(0 if version else 2)


@dataclass(frozen=True, slots=True)
class _Flags:
    """The flags that commands share, each described once; a command names those that it takes."""

    config: Annotated[Path | None, _option(_RUN, "--config", "-c", metavar="FILE", help="YAML config.")] = None
    set: Annotated[
        list[str] | None,
        _option(_RUN, "--set", metavar="KEY=VALUE", help="Override one value: --set head.C=0.1. Repeatable."),
    ] = None
    output: Annotated[
        Path | None, _option(_RUN, "--output", "-o", metavar="DIR", help="Run folder; beats the config's output.")
    ] = None
    overwrite: Annotated[bool, _option(_RUN, "--overwrite", help="Replace an output that holds something else.")] = (
        False
    )
    limit: Annotated[
        int | None, _option(_RUN, "--limit", min=1, metavar="N", help="Only the first N images (per class and split).")
    ] = None
    seed: Annotated[
        int | None, _option(_RUN, "--seed", min=0, metavar="N", help="Seed of splits, folds and random weights.")
    ] = None
    max_bad: Annotated[int, _option(_RUN, "--max-bad", min=0, metavar="N", help="Tolerate N unreadable images.")] = 0
    null: Annotated[bool, _option(_RUN, "-0", "--null", help="Paths on stdin end in NUL (find -print0).")] = False
    dry_run: Annotated[bool, _option(_RUN, "--dry-run", help="Check everything, print the plan, do no work.")] = False
    cache: Annotated[
        Path | None,
        _option(_WHERE, "--cache", metavar="DIR", help="Feature store; else FEATCLI_CACHE, else ~/.cache/featcli."),
    ] = None
    device: Annotated[
        str | None, _option(_WHERE, "--device", metavar="NAME", help="auto, cpu, cuda, cuda:N or mps.")
    ] = None
    precision: Annotated[str | None, _option(_WHERE, "--precision", metavar="NAME", help="fp32, bf16 or fp16.")] = None
    workers: Annotated[
        int | None, _option(_WHERE, "--workers", min=1, metavar="N", help="Threads that decode images.")
    ] = None
    threads: Annotated[int | None, _option(_WHERE, "--threads", min=1, metavar="N", help="Threads of the network.")] = (
        None
    )
    batch_size: Annotated[
        int | None,
        _option(
            _WHERE,
            "--batch-size",
            min=1,
            metavar="N",
            help="Images per step of extraction and prediction; never changes a result.",
        ),
    ] = None
    as_json: Annotated[bool, _option(_TALK, "--json", help="Print one JSON value instead.")] = False
    quiet: Annotated[bool, _option(_TALK, "--quiet", "-q", help="Warnings and errors only.")] = False
    verbose: Annotated[bool, _option(_TALK, "--verbose", "-v", help="Details too.")] = False
    debug: Annotated[bool, _option(_TALK, "--debug", help="Show the traceback of an error.")] = False


_SOURCE = ("config", "set", "limit")
_MACHINE = ("cache", "device", "precision", "workers", "threads", "batch_size")
_SPEECH = ("quiet", "verbose", "debug")


@dataclass(frozen=True, slots=True)
class _Invocation:
    """A command under way: its common flags, and the terminal that it talks to."""

    flags: _Flags
    terminal: Terminal

    def call(self, *, run_folder: bool = False) -> Call:
        """The checked config and everything else that commands start with. Loads torch, once the config is sound.

        Args:
            run_folder: whether `-o` names the run folder, which is a key of the config.
        """
        from featcli.config import load_config

        flags = self.flags
        loaded = load_config(
            flags.config,
            flags.set or (),
            {
                "-o": ("output", flags.output if run_folder else None),
                "--device": ("device", flags.device),
                "--precision": ("precision", flags.precision),
                "--seed": ("seed", flags.seed),
                "--workers": ("loader.workers", flags.workers),
                "--batch-size": ("loader.batch_size", flags.batch_size),
                "--limit": ("data.limit", flags.limit),
            },
        )
        from featcli.commands.setup import Call

        return Call(
            loaded=loaded,
            cache=self.cache(),
            emit=self.terminal.emit,
            threads=flags.threads,
            overwrite=flags.overwrite,
            dry_run=flags.dry_run,
        )

    def cache(self) -> Path:
        """The folder of the feature store."""
        from featcli.features.store import default_cache

        named = self.flags.cache
        return named.expanduser().absolute() if named else default_cache()

    def say(self, text: str, facts: Any = None) -> None:
        """The answer: text, or under `--json` the facts."""
        _say(text if not self.flags.as_json else _json(facts))

    def finish(self, unreadable: Unreadable, *, listed: bool = True) -> None:
        """Exit 3 where more images than tolerated could not be read; everything else is done and written by now."""
        if not unreadable.count:
            return
        if listed:
            self.terminal.list_unreadable(unreadable.count, unreadable.first)
        if unreadable.count > self.flags.max_bad:
            what = f"{unreadable.count} {'image' if unreadable.count == 1 else 'images'} could not be read"
            self.terminal.error(FeatcliError(what, "Everything else is done. --max-bad N tolerates N of them."))
            raise typer.Exit(_UNREADABLE)


def _command(*common: str, group: typer.Typer | None = None) -> Callable[[Callable[..., None]], None]:
    """Registers a command, or one of a group: its own parameters, then the common flags that it names."""

    def register(function: Callable[..., None]) -> None:
        own = [name for name in inspect.signature(function).parameters if name != "run"]
        parameters = [*_parameters(function, own), *_parameters(_Flags, common)]

        def command(**values: Any) -> None:
            flags = _Flags(**{name: values.pop(name) for name in common})
            with _boundary(flags) as terminal:
                function(_Invocation(flags, terminal), **values)

        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {item.name: item.annotation for item in parameters}
        command.__doc__ = function.__doc__
        (group or app).command(function.__name__.removeprefix("cache_").replace("_", "-"))(command)

    return register


def _parameters(of: Callable[..., Any], names: Collection[str]) -> list[inspect.Parameter]:
    """Some parameters of a function or class, in its order, their annotations evaluated."""
    hints = get_type_hints(of, include_extras=True)
    return [
        item.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[name])
        for name, item in inspect.signature(of).parameters.items()
        if name in names
    ]


@_command(*_SOURCE, "seed", "max_bad", "null", "dry_run", *_MACHINE, *_SPEECH)
def extract(
    run: _Invocation,
    paths: Annotated[
        list[str] | None, typer.Argument(help="Files, folders, patterns, - (paths on stdin). None: the config's data.")
    ] = None,
    output: Annotated[
        Path | None, _option(_RUN, "--output", "-o", metavar="FILE", help="Where the features go.")
    ] = None,
    format: Annotated[
        str | None,
        _option(_RUN, "--format", metavar="NAME", help="npz, npy, safetensors, csv, parquet; else by ending."),
    ] = None,
) -> None:
    """Write the features of images to a file.

    Prints the file's path.
    """
    if output is None:
        raise typer.BadParameter("name the file to write: -o features.npz", param_hint="-o")
    call = run.call()
    from featcli.commands.extract import extract

    result = extract(call, paths or (), output, format, _separator(run.flags.null))
    _say(result.answer)
    run.finish(result.unreadable)


@_command(*_SOURCE, "output", "overwrite", "seed", "max_bad", "dry_run", *_MACHINE, "as_json", *_SPEECH)
def train_head(run: _Invocation) -> None:
    """Compute what features are missing, solve a classifier on them, write a run folder.

    Prints the checkpoint's path.
    """
    call = run.call(run_folder=True)
    from featcli.commands.train_head import train_head

    result = train_head(call)
    run.say(result.answer, result.summary)
    run.finish(result.unreadable)


@_command(*_SOURCE, "output", "overwrite", "seed", "max_bad", "dry_run", *_MACHINE, "as_json", *_SPEECH)
def finetune(
    run: _Invocation,
    resume: Annotated[
        bool, _option(_RUN, "--resume", help="Go on with the unfinished training in the output, at the exact step.")
    ] = False,
) -> None:
    """Train the stages past backbone.freeze_depth, and the head, starting from the solved head.

    Prints the checkpoint's path.
    """
    if resume and run.flags.overwrite:
        raise typer.BadParameter(
            "it goes on with what the output holds; --overwrite would remove it", param_hint="--resume"
        )
    call = run.call(run_folder=True)
    from featcli.commands.finetune import finetune

    result = finetune(call, resume=resume)
    run.say(result.answer, result.summary)
    run.finish(result.unreadable)


@_command(*_SOURCE, "max_bad", "null", "dry_run", *_MACHINE, *_SPEECH)
def predict(
    run: _Invocation,
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
    output: Annotated[
        Path | None, _option(_RUN, "--output", "-o", metavar="FILE", help="Rows go here instead of stdout.")
    ] = None,
    summary: Annotated[Path | None, _option(_RUN, "--summary", metavar="FILE", help="Write counts as JSON.")] = None,
) -> None:
    """Predict images: one row each, in input order, as soon as it is known.

    An unreadable image is a row too, with its error.
    """
    _choice("--format", format, ("jsonl", "csv", "table", "parquet"))
    if format == "parquet" and output is None:
        raise typer.BadParameter("parquet needs a file: -o rows.parquet", param_hint="--format")
    checkpoint, paths = _checkpoint_and_paths(arguments or [], run.flags.config)
    call = run.call()
    from featcli.commands.predict import PredictOptions, predict

    if output is None and sys.stdout is not None and sys.stdout.isatty():
        run.terminal.leave_room_for_rows()
    options = PredictOptions(format, top, probs, output, summary, _separator(run.flags.null))
    result = predict(call, checkpoint, paths, options, _write_stdout)
    if result.plan is not None:
        _say(result.plan)
    elif output is not None:
        _say(str(output))
    run.finish(result.unreadable, listed=False)


@_command(*_SOURCE, "max_bad", "dry_run", *_MACHINE, "as_json", *_SPEECH)
def evaluate(
    run: _Invocation,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CHECKPOINT DATA_DIR",
            help="A checkpoint or run folder; then a labelled folder. With --config: the folder only.",
            show_default=False,
        ),
    ] = None,
    min_accuracy: Annotated[
        float | None, _option(_RUN, "--min-accuracy", min=0.0, max=1.0, metavar="X", help="Exit 1 below X.")
    ] = None,
    parity: Annotated[
        bool,
        _option(_RUN, "--parity", help="Exit 1 unless the validation accuracy in the checkpoint is reproduced."),
    ] = False,
) -> None:
    """Measure a checkpoint on labelled images.

    On DATA_DIR, or the data of the config or run: the test split, else validation.
    """
    checkpoint, paths = _checkpoint_and_paths(arguments or [], run.flags.config)
    if len(paths) > 1:
        raise typer.BadParameter(f"one folder to evaluate on, not {len(paths)}", param_hint="DATA_DIR")
    call = run.call()
    from featcli.commands.evaluate import EvaluateOptions, evaluate

    data_dir = Path(paths[0]) if paths else None
    result = evaluate(call, checkpoint, data_dir, EvaluateOptions(min_accuracy, parity))
    run.say(result.text, result.metrics)
    if result.failure is not None:
        raise result.failure
    run.finish(result.unreadable)


@_command("as_json", "debug")
def info(
    run: _Invocation,
    checkpoint: Annotated[Path, typer.Argument(help="A checkpoint or run folder.", show_default=False)],
) -> None:
    """Show what is in a checkpoint: classes, backbone, preprocessing, metrics, versions."""
    from featcli.commands.info import info

    run.say(*info(checkpoint))


@_command("overwrite", *_SPEECH)
def init(
    run: _Invocation,
    data_dir: Annotated[Path, typer.Argument(help="A folder of images.", show_default=False)],
    output: Annotated[
        Path | None, _option(_RUN, "--output", "-o", metavar="FILE", help="Config to write; else FOLDER.yaml, here.")
    ] = None,
) -> None:
    """Look at a folder of images and write a short config for it, with comments.

    Prints the file's path.
    """
    from featcli.commands.init import init

    _say(init(data_dir, output, overwrite=run.flags.overwrite, emit=run.terminal.emit))


@_command(*_SOURCE, "seed", "max_bad", *_MACHINE, "as_json", *_SPEECH)
def check(
    run: _Invocation,
    command: Annotated[
        str, _option(_RUN, "--for", metavar="NAME", help="The command to plan: train-head or finetune.")
    ] = "train-head",
) -> None:
    """Check config, weights and every image, and print the plan of a command with its time; do no work."""
    _choice("--for", command, ("train-head", "finetune"))
    call = run.call()
    from featcli.commands.check import check

    plan = check(call, command)
    run.say(plan.text, plan.facts)
    run.finish(plan.unreadable, listed=False)


@_command("as_json", "debug")
def models(
    run: _Invocation,
    name: Annotated[
        str | None, typer.Argument(help="A backbone, for its stages; or a part of names.", show_default=False)
    ] = None,
) -> None:
    """List backbones: size, features, published accuracy, weights on this machine. With a name: its stages."""
    from featcli.backbones.registry import names
    from featcli.commands.models import list_models, show_model

    if name is not None and name in names():
        run.say(*show_model(name))
    else:
        run.say(*list_models(name))


@_command("cache", "as_json", "debug")
def doctor(run: _Invocation) -> None:
    """Show devices, threads, caches and versions, and what is missing with the command that fixes it."""
    from featcli.commands.doctor import doctor

    run.say(*doctor(run.cache()))


_cache = typer.Typer(help="Look after the feature store: show, verify, prune, clear.", no_args_is_help=True)
app.add_typer(_cache, name="cache")


@_command("cache", "as_json", "debug", group=_cache)
def cache_show(run: _Invocation) -> None:
    """Show what is stored: per backbone, weights and preprocessing the images, their size, when they were last used."""
    from featcli.commands.cache import show

    run.say(*show(run.cache()))


@_command("cache", "as_json", "debug", group=_cache)
def cache_verify(run: _Invocation) -> None:
    """Compare every segment with its checksum; exit 3 where one is damaged. Changes nothing."""
    from featcli.commands.cache import damage_of, verify

    text, facts = verify(run.cache())
    run.say(text, facts)
    damage = damage_of(facts)
    if damage is not None:
        raise damage


@_command("cache", "as_json", "debug", group=_cache)
def cache_prune(
    run: _Invocation,
    older_than: Annotated[
        str | None, _option(_RUN, "--older-than", metavar="30d", help="Remove features written longer ago.")
    ] = None,
    unused: Annotated[
        str | None,
        _option(_RUN, "--unused", metavar="30d", help="Remove what train-head and extract have not used for so long."),
    ] = None,
    max_size: Annotated[
        str | None, _option(_RUN, "--max-size", metavar="5GB", help="Remove the least recently used down to this size.")
    ] = None,
) -> None:
    """Make room in the store, and say what was removed."""
    from featcli.commands.cache import prune

    run.say(*prune(run.cache(), older_than=older_than, unused=unused, max_size=max_size))


@_command("cache", "as_json", "debug", group=_cache)
def cache_clear(run: _Invocation) -> None:
    """Remove all stored features, and the memo of file hashes; nothing else that lies in the folder."""
    from featcli.commands.cache import clear

    run.say(*clear(run.cache()))


@_command("cache", "device", *_SPEECH)
def demo(
    run: _Invocation,
    output: Annotated[Path, _option(_RUN, "--output", "-o", metavar="DIR", help="Folder for data and run.")] = Path(
        "featcli-demo"
    ),
) -> None:
    """Run the whole path on handwritten digits with real weights, without a network.

    Needs the extra `demo`. Takes a minute or two; the second time, less.
    """
    from featcli.commands.demo import TUNING, demo_text, prepare_demo

    data = prepare_demo(output, run.terminal.emit)
    call = _Invocation(replace(run.flags, config=data.config), run.terminal).call()
    from featcli.commands.finetune import finetune
    from featcli.commands.train_head import train_head

    summary = train_head(call).summary
    flags = replace(run.flags, config=data.config, set=list(TUNING), output=data.tuned)
    tuned = finetune(_Invocation(flags, run.terminal).call(run_folder=True), resume=data.tuned.is_dir()).summary
    _say(demo_text(data, summary, tuned))


# As the help lists them: in the order in which they are used.
_ORDER = (
    "init",
    "check",
    "train-head",
    "finetune",
    "predict",
    "evaluate",
    "extract",
    "info",
    "models",
    "doctor",
    "demo",
)
app.registered_commands.sort(key=lambda command: _ORDER.index(command.name or ""))


@contextmanager
def _boundary(flags: _Flags) -> Iterator[Terminal]:
    """The one place where errors become text and exit codes."""
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
