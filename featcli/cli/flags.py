"""The flags that commands share, each described once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import typer

from featcli.config.flag import ShortFlag
from featcli.config.short_flags import SHORT_FLAGS

RUN = "What to run"
OPTIONS = "Options of the config (also by --set)"
WHERE = "How and where to compute"
TALK = "What is said"


def option(panel: str, *names: str, help: str, metavar: str | None = None, **more: Any) -> Any:
    """A flag, listed in a panel of the help."""
    return typer.Option(*names, metavar=metavar, help=help, rich_help_panel=panel, **more)


@dataclass(frozen=True, slots=True)
class Flags:
    """The flags that commands share, each described once; a command names those that it takes."""

    config: Annotated[Path | None, option(RUN, "--config", "-c", metavar="FILE", help="YAML config.")] = None
    set: Annotated[
        list[str] | None,
        option(RUN, "--set", metavar="KEY=VALUE", help="Override one value: --set head.C=0.1. Repeatable."),
    ] = None
    output: Annotated[
        Path | None, option(RUN, "--output", "-o", metavar="DIR", help="Run folder; beats the config's output.")
    ] = None
    overwrite: Annotated[bool, option(RUN, "--overwrite", help="Replace an output that holds something else.")] = False
    report: Annotated[
        bool, option(RUN, "--report", help="Also write report.html into the run folder, as featcli report does.")
    ] = False
    limit: Annotated[
        int | None, option(RUN, "--limit", min=1, metavar="N", help="Only the first N images (per class and split).")
    ] = None
    seed: Annotated[
        int | None,
        option(
            RUN, "--seed", min=0, metavar="N", help="Random seed (splits, folds, shuffling, dropout, augmentation)."
        ),
    ] = None
    max_bad: Annotated[int, option(RUN, "--max-bad", min=0, metavar="N", help="Tolerate N unreadable images.")] = 0
    null: Annotated[bool, option(RUN, "-0", "--null", help="Paths on stdin end in NUL (find -print0).")] = False
    dry_run: Annotated[bool, option(RUN, "--dry-run", help="Check everything, print the plan, do no work.")] = False
    cache: Annotated[
        Path | None,
        option(
            WHERE,
            "--cache",
            metavar="DIR",
            help="Feature store; else FEATCLI_CACHE, else featcli in XDG_CACHE_HOME or ~/.cache.",
        ),
    ] = None
    device: Annotated[str | None, option(WHERE, "--device", metavar="NAME", help="auto, cpu, cuda, cuda:N or mps.")] = (
        None
    )
    precision: Annotated[str | None, option(WHERE, "--precision", metavar="NAME", help="fp32, bf16 or fp16.")] = None
    workers: Annotated[
        int | None, option(WHERE, "--workers", min=1, metavar="N", help="Threads that decode images.")
    ] = None
    threads: Annotated[
        int | None,
        option(
            WHERE,
            "--threads",
            min=1,
            metavar="N",
            help="Threads of the model; else OMP_NUM_THREADS, else the cores that this process may use.",
        ),
    ] = None
    batch_size: Annotated[
        int | None,
        option(
            WHERE,
            "--batch-size",
            min=1,
            metavar="N",
            help="Images per step of extraction and prediction; never changes a result.",
        ),
    ] = None
    as_json: Annotated[bool, option(TALK, "--json", help="Print one JSON value instead.")] = False
    quiet: Annotated[bool, option(TALK, "--quiet", "-q", help="Warnings and errors only.")] = False
    verbose: Annotated[bool, option(TALK, "--verbose", "-v", help="Show details too.")] = False
    debug: Annotated[bool, option(TALK, "--debug", help="Show the traceback of an error.")] = False
    spelled: Mapping[str, str] = field(default_factory=dict)  # what was typed, by the name of a short flag


SOURCE = ("config", "set", "limit")
TRAINING = tuple(flag.key for flag in SHORT_FLAGS)
MACHINE = ("cache", "device", "precision", "workers", "threads", "batch_size")
SPEECH = ("quiet", "verbose", "debug")


def short_option(flag: ShortFlag) -> Any:
    """The annotation of a short flag, whose value is read later, as that of a `--set`."""
    return Annotated[str | None, option(OPTIONS, flag.flag, metavar=flag.metavar, help=f"{flag.help} ({flag.key})")]


def require_choice(flag: str, value: str, choices: tuple[str, ...]) -> None:
    """Refuses a value that is none of the choices."""
    if value not in choices:
        raise typer.BadParameter(f"'{value}' is not one of {', '.join(choices)}", param_hint=flag)
