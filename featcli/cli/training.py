"""Commands that train: check, train-head, finetune."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from featcli.cli.flags import MACHINE, RUN, SOURCE, SPEECH, TRAINING, option, require_choice
from featcli.cli.invocation import Invocation, command
from featcli.cli.subjects import SubjectArgument, is_images, subject_of
from featcli.errors import UsageError

_RUN = ("output", "overwrite", "report", "seed", "max_bad", "dry_run")  # flags of what makes a run


@command(*SOURCE, *TRAINING, "seed", "max_bad", *MACHINE, "as_json", *SPEECH)
def check(
    run: Invocation,
    data: SubjectArgument = None,
    *,
    planned: Annotated[
        str, option(RUN, "--for", metavar="NAME", help="The command to plan: train-head or finetune.")
    ] = "train-head",
    deep: Annotated[
        bool,
        option(
            RUN,
            "--deep",
            help="Look for suspicious images too: copies across splits, wrong labels, outliers, empty images.",
        ),
    ] = False,
    output: Annotated[
        Path | None,
        option(RUN, "--output", "-o", metavar="FILE", help="Of --deep: where they go, for data.exclude (issues.csv)."),
    ] = None,
) -> None:
    """Check config, weights and every image, and print the plan of a command with its time; do no work.

    -v and --json add the whole config. With --deep, missing features are computed and kept.
    """
    require_choice("--for", planned, ("train-head", "finetune"))
    if output is not None and not deep:
        raise typer.BadParameter("what is written there is what --deep finds", param_hint="-o")
    if output == Path("-") and run.flags.as_json:
        raise typer.BadParameter("with --json standard output is taken: name a file", param_hint="-o")
    subject = subject_of(data, "check", run.flags)
    session = run.session(subject=subject, chooses=planned if is_images(subject) else None)
    from featcli.commands.check import check

    issues = (output or Path("issues.csv")) if deep else None
    run.finish(check(session, planned, issues), listed=False)


@command(*SOURCE, *TRAINING, *_RUN, *MACHINE, "as_json", *SPEECH)
def train_head(run: Invocation, data: SubjectArgument = None) -> None:
    """Compute what features are missing, fit a classifier on them, write a run folder.

    Prints the checkpoint's path.
    """
    subject = subject_of(data, "train-head", run.flags)
    session = run.session(run_folder=True, subject=subject, chooses="train-head" if is_images(subject) else None)
    from featcli.commands.train_head import train_head

    run.finish(train_head(session, report=run.flags.report))


@command(*SOURCE, *TRAINING, *_RUN, *MACHINE, "as_json", *SPEECH)
def finetune(
    run: Invocation,
    data: SubjectArgument = None,
    *,
    resume: Annotated[
        bool,
        option(RUN, "--resume", help="Resume the unfinished training in the output, at the exact step; with -o alone."),
    ] = False,
) -> None:
    """Train the stages past backbone.freeze_depth, and the head, starting from the fitted head.

    Prints the checkpoint's path.
    """
    if resume and run.flags.overwrite:
        raise typer.BadParameter("it resumes what the output holds; --overwrite would remove it", param_hint="--resume")
    if resume and not data and run.flags.config is None and run.flags.output is None:
        raise UsageError("--resume of which run?", "Name its folder: featcli finetune --resume -o runs/NAME")
    subject = None if resume and not data else subject_of(data, "finetune", run.flags)
    chooses = "finetune" if is_images(subject) else None
    session = run.session(run_folder=True, subject=subject, chooses=chooses, resume=resume)
    from featcli.commands.finetune import finetune

    run.finish(finetune(session, resume=resume, report=run.flags.report))
