"""Commands: registering one under its own parameters and the common flags that it names, and a command under way."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_type_hints

import typer

from featcli.cli.errors import errors_to_text
from featcli.cli.flags import Flags
from featcli.cli.help import Command
from featcli.cli.output import say, terminal_width, to_json
from featcli.cli.root import app
from featcli.errors import BackboneOptionError, FeatcliError

if TYPE_CHECKING:
    from featcli.console import Terminal
    from featcli.workflow.answer import Answer
    from featcli.workflow.session import Session

_UNREADABLE = 3


@dataclass(frozen=True, slots=True)
class Invocation:
    """A command under way: its common flags, and the terminal that it talks to."""

    flags: Flags
    terminal: Terminal

    def session(self, *, run_folder: bool = False) -> Session:
        """The checked config and everything else that commands start with.

        Loads torch, once the config is sound; before that only for names that are not in the table of backbones.

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
            _wrong_names,
        )
        from featcli.workflow.session import Session

        return Session(
            loaded=loaded,
            cache=self.cache(),
            emit=self.terminal.emit,
            threads=flags.threads,
            overwrite=flags.overwrite,
            dry_run=flags.dry_run,
            verbose=flags.verbose,
        )

    def cache(self) -> Path:
        """The folder of the feature store."""
        from featcli.features.store import default_cache

        named = self.flags.cache
        return named.expanduser().absolute() if named else default_cache()

    def finish(self, answer: Answer, *, listed: bool = True) -> None:
        """Says the answer, under `--json` its facts, and ends as it asks for.

        Args:
            answer: of the command; everything else is done and written by now.
            listed: whether unreadable images are still to be named.

        Raises:
            FeatcliError: the answer's failure.
            typer.Exit: 3, where more images than tolerated could not be read.
        """
        text = answer.text_in(terminal_width())
        if text is not None:
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


def _wrong_names(name: str, places: Sequence[str], depth: str | int) -> Iterable[BackboneOptionError]:
    from featcli.workflow.names import wrong_names

    return wrong_names(name, places, depth)


def command(*common: str, group: typer.Typer | None = None) -> Callable[[Callable[..., None]], None]:
    """Registers a command, or one of a group: its own parameters, then the common flags that it names."""

    def register(function: Callable[..., None]) -> None:
        own = [name for name in inspect.signature(function).parameters if name != "run"]
        parameters = [*_parameters(function, own), *_parameters(Flags, common)]

        def command(**values: Any) -> None:
            flags = Flags(**{name: values.pop(name) for name in common})
            with errors_to_text(flags) as terminal:
                function(Invocation(flags, terminal), **values)

        command.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        command.__annotations__ = {item.name: item.annotation for item in parameters}
        command.__doc__ = function.__doc__
        (group or app).command(function.__name__.removeprefix("cache_").replace("_", "-"), cls=Command)(command)

    return register


def _parameters(of: Callable[..., Any], names: Collection[str]) -> list[inspect.Parameter]:
    """Some parameters of a function or class, in its order, their annotations evaluated."""
    hints = get_type_hints(of, include_extras=True)
    return [
        item.replace(kind=inspect.Parameter.KEYWORD_ONLY, annotation=hints[name])
        for name, item in inspect.signature(of).parameters.items()
        if name in names
    ]
