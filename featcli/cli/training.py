"""Commands that train: check, train-head, finetune."""

from __future__ import annotations

from typing import Annotated

import typer

from featcli.cli.flags import MACHINE, RUN, SOURCE, SPEECH, option, require_choice
from featcli.cli.invocation import Invocation, command


@command(*SOURCE, "seed", "max_bad", *MACHINE, "as_json", *SPEECH)
def check(
    run: Invocation,
    planned: Annotated[
        str, option(RUN, "--for", metavar="NAME", help="The command to plan: train-head or finetune.")
    ] = "train-head",
) -> None:
    """Check config, weights and every image, and print the plan of a command with its time; do no work.

    -v and --json add the whole config.
    """
    require_choice("--for", planned, ("train-head", "finetune"))
    session = run.session()
    from featcli.commands.check import check

    run.finish(check(session, planned), listed=False)


@command(*SOURCE, "output", "overwrite", "seed", "max_bad", "dry_run", *MACHINE, "as_json", *SPEECH)
def train_head(run: Invocation) -> None:
    """Compute what features are missing, fit a classifier on them, write a run folder.

    Prints the checkpoint's path.
    """
    session = run.session(run_folder=True)
    from featcli.commands.train_head import train_head

    run.finish(train_head(session))


@command(*SOURCE, "output", "overwrite", "seed", "max_bad", "dry_run", *MACHINE, "as_json", *SPEECH)
def finetune(
    run: Invocation,
    resume: Annotated[
        bool, option(RUN, "--resume", help="Resume the unfinished training in the output, at the exact step.")
    ] = False,
) -> None:
    """Train the stages past backbone.freeze_depth, and the head, starting from the fitted head.

    Prints the checkpoint's path.
    """
    if resume and run.flags.overwrite:
        raise typer.BadParameter("it resumes what the output holds; --overwrite would remove it", param_hint="--resume")
    session = run.session(run_folder=True)
    from featcli.commands.finetune import finetune

    run.finish(finetune(session, resume=resume))
