"""Commands: registering one under its own parameters and the common flags that it names, and a command under way."""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import typer

from featcli.cli.errors import errors_to_text
from featcli.cli.flags import Flags, short_option
from featcli.cli.help_text import Command
from featcli.cli.output import say, terminal_width, to_json
from featcli.cli.root import app
from featcli.config.flag import ShortFlag
from featcli.config.short_flags import SHORT_FLAGS
from featcli.errors import BackboneOptionError, FeatcliError, UsageError
from featcli.text import writable

if TYPE_CHECKING:
    from featcli.config import LoadedConfig
    from featcli.console import Terminal
    from featcli.workflow.answer import Answer
    from featcli.workflow.session import Session
    from featcli.workflow.subject import Subject

_UNREADABLE = 3
_RUN_CONFIG = "config.yaml"
_KEYS = {flag.flag: flag.key for flag in SHORT_FLAGS}


@dataclass(frozen=True, slots=True)
class Invocation:
    """A command under way: its common flags, and the terminal that it talks to."""

    flags: Flags
    terminal: Terminal

    def session(
        self,
        *,
        run_folder: bool = False,
        subject: Subject | None = None,
        chooses: str | None = None,
        resume: bool = False,
    ) -> Session:
        """The checked config and everything else that commands start with.

        Loads torch, once the config is sound; before that only for names that are not in the table of backbones.

        Args:
            run_folder: whether `-o` names the run folder, which is a key of the config.
            subject: what the command was given to work on, beside `--config`.
            chooses: the command for which what is missing is chosen, as `init` does; None: nothing is.
            resume: whether the config, where none is given, is that of the training in the run folder.
        """
        from featcli.config import load_config
        from featcli.config.load import Spelled

        flags = self.flags
        file, images = _places(flags.config, subject)
        if resume and file is None and not images and flags.output is not None:
            file = flags.output / _RUN_CONFIG
            if not _is_run_config(file):
                file = None
                if not flags.set:
                    raise UsageError(
                        f"nothing to resume in {flags.output}: it holds no training",
                        "Name the folder of an unfinished run with -o, or start one: featcli finetune FOLDER",
                    )
        load = partial(
            load_config,
            file,
            flags.set or (),
            images
            | {
                "-o": ("output", flags.output if run_folder else None),
                "--device": ("device", flags.device),
                "--precision": ("precision", flags.precision),
                "--seed": ("seed", flags.seed),
                "--workers": ("loader.workers", flags.workers),
                "--batch-size": ("loader.batch_size", flags.batch_size),
                "--limit": ("data.limit", flags.limit),
            }
            | {flag: (_KEYS[flag], Spelled(text)) for flag, text in flags.spelled.items()},
            _wrong_names,
        )

        def follow(loaded: LoadedConfig) -> LoadedConfig:
            if file is None or not _is_run_config(file):
                return loaded
            from featcli.runs.moving import follow_move

            return follow_move(loaded, file.parent, self.terminal.emit)

        loaded = follow(load())
        from featcli.workflow.session import Session

        session = Session(
            loaded=loaded,
            cache=self.cache(),
            emit=self.terminal.emit,
            threads=flags.threads,
            overwrite=flags.overwrite,
            dry_run=flags.dry_run,
            verbose=flags.verbose,
        )
        if chooses is None:
            return session
        from featcli.workflow.starting import with_choices

        trains = None if chooses == "extract" else chooses
        return with_choices(session, trains, lambda chosen: follow(load(chosen=chosen)))

    def cache(self) -> Path:
        """The folder of the feature store."""
        from featcli.features.place import cache_folder

        return cache_folder(self.flags.cache)

    def finish(self, answer: Answer, *, listed: bool = True) -> None:
        """Says the answer, under `--json` its facts, and ends as it asks for.

        Args:
            answer: of the command; everything else is done and written by now.
            listed: whether unreadable images are still to be named.

        Raises:
            FeatcliError: the answer's failure.
            typer.Exit: 3, where more images than tolerated could not be read.
        """
        width = terminal_width()
        text = answer.text_in(width)
        if text is not None:
            text = text if width is None else writable(text, sys.stdout.encoding)
            say(to_json(answer.facts) if self.flags.as_json else text)
        if answer.failure is not None:
            raise answer.failure
        unreadable = answer.unreadable
        if not unreadable.count:
            return
        if listed:
            self.terminal.list_unreadable(unreadable.count, unreadable.first)
        if unreadable.count > self.flags.max_bad:
            what = f"{unreadable.count} {'image' if unreadable.count == 1 else 'images'} could not be read"
            self.terminal.error(FeatcliError(what, "Everything else is done. --max-bad N tolerates N of them."))
            raise typer.Exit(_UNREADABLE)


def _places(config: Path | None, subject: Subject | None) -> tuple[Path | None, dict[str, tuple[str, Path]]]:
    """The config, and the images as a flag gives them, spelled as they were typed."""
    if subject is None:
        return config, {}
    if subject.kind != "config":
        return config, {subject.text: (subject.kind, Path(subject.text))}
    if config is not None:
        raise UsageError(f"two configs: {subject.text} and --config {config}", "Leave one out.")
    return Path(subject.text), {}


def _is_run_config(path: Path) -> bool:
    """Whether this is the config of a run; what tells is not loaded for a file of another name."""
    if path.name != _RUN_CONFIG:
        return False
    from featcli.runs.moving import is_run_config

    return is_run_config(path)


def _wrong_names(name: str, places: Sequence[str], depth: str | int) -> Iterable[BackboneOptionError]:
    from featcli.workflow.names import wrong_names

    return wrong_names(name, places, depth)


def command(*common: str, group: typer.Typer | None = None) -> Callable[[Callable[..., None]], None]:
    """Registers a command, or one of a group: its own parameters, then the common flags that it names.

    Args:
        common: names among `Flags`, and keys of options that have a flag of their own (`train.epochs`).
        group: of commands; None for the application.
    """

    def register(function: Callable[..., None]) -> None:
        own = [name for name in inspect.signature(function).parameters if name != "run"]
        short = {flag.key.replace(".", "_"): flag for flag in SHORT_FLAGS if flag.key in common}
        shared = [name for name in common if "." not in name]
        parameters = [*_parameters(function, own), *map(_short_parameter, short.values()), *_parameters(Flags, shared)]

        def command(**values: Any) -> None:
            typed = {flag.flag: values.pop(name) for name, flag in short.items()}
            spelled = {flag: text for flag, text in typed.items() if text is not None}
            flags = Flags(**{name: values.pop(name) for name in shared}, spelled=spelled)
            with errors_to_text(flags) as terminal:
                function(Invocation(flags, terminal), **values)

        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {item.name: item.annotation for item in parameters}
        command.__doc__ = function.__doc__
        (group or app).command(function.__name__.removeprefix("cache_").replace("_", "-"), cls=Command)(command)

    return register


def _short_parameter(flag: ShortFlag) -> inspect.Parameter:
    name = flag.key.replace(".", "_")
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=short_option(flag))


@functools.cache
def _hints(of: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of a function or class, evaluated once, as each command asks for those of the common flags."""
    return get_type_hints(of, include_extras=True)


def _parameters(of: Callable[..., Any], names: Collection[str]) -> list[inspect.Parameter]:
    """Some parameters of a function or class, in its order, their annotations evaluated."""
    hints = _hints(of)
    return [
        item.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[name])
        for name, item in inspect.signature(of).parameters.items()
        if name in names
    ]
