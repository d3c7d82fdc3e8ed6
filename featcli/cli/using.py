"""Commands that read images with what is there: extract, predict, evaluate, report, info, verify, diff."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from featcli.cli.flags import MACHINE, RUN, SOURCE, SPEECH, option, require_choice
from featcli.cli.invocation import Invocation, command
from featcli.cli.output import is_piped, terminal_width, write_stdout
from featcli.cli.subjects import images_and_config, run_and_paths
from featcli.errors import UsageError
from featcli.files import release_readers


@command(*SOURCE, "backbone.name", "seed", "max_bad", "null", "dry_run", *MACHINE, *SPEECH)
def extract(
    run: Invocation,
    paths: Annotated[
        list[str] | None, typer.Argument(help="Files, folders, patterns, - (paths on stdin). None: the config's data.")
    ] = None,
    output: Annotated[
        Path | None, option(RUN, "--output", "-o", metavar="FILE", help="Where they go; - is stdout.")
    ] = None,
    format: Annotated[
        str | None,
        option(RUN, "--format", metavar="NAME", help="npz, npy, safetensors, csv, parquet; else by ending."),
    ] = None,
) -> None:
    """Write the features of images to a file.

    Prints the file's path.
    """
    if output is None:
        raise typer.BadParameter("name the file to write: -o features.npz", param_hint="-o")
    with release_readers(output):
        paths, subject = images_and_config(paths, run.flags)
        session = run.session(subject=subject, chooses="extract" if paths else None)
        from featcli.commands.extract import extract

        run.finish(extract(session, paths, output, format, _separator(run.flags.null)))


@command(*SOURCE, "max_bad", "null", "dry_run", *MACHINE, *SPEECH)
def predict(
    run: Invocation,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CHECKPOINT PATHS",
            help="A checkpoint or run folder; then files, folders, patterns, - (paths on stdin). "
            "With --config: paths only.",
            show_default=False,
        ),
    ] = None,
    format: Annotated[
        str | None,
        option(
            RUN,
            "--format",
            metavar="NAME",
            help="jsonl, csv, table, parquet; else by ending (.txt: table), a table on a terminal, jsonl in a pipe.",
        ),
    ] = None,
    top: Annotated[
        int | None, option(RUN, "--top", min=1, metavar="K", help="Classes listed in a row of jsonl (default 5).")
    ] = None,
    probs: Annotated[bool, option(RUN, "--probs", help="Add every class's probability.")] = False,
    coverage: Annotated[
        float | None,
        option(
            RUN, "--coverage", metavar="P", help="Add the set of classes that holds the true one with probability P."
        ),
    ] = None,
    abstain_below: Annotated[
        float | None,
        option(RUN, "--abstain-below", min=0.0, max=1.0, metavar="P", help="No label where the confidence is below P."),
    ] = None,
    because: Annotated[
        int | None,
        option(
            RUN, "--because", min=1, metavar="K", help="Name K training images that pull for the label, and K against."
        ),
    ] = None,
    output: Annotated[
        Path | None, option(RUN, "--output", "-o", metavar="FILE", help="Rows go here; - is stdout.")
    ] = None,
    summary: Annotated[
        Path | None, option(RUN, "--summary", metavar="FILE", help="Write counts as JSON; - is stdout.")
    ] = None,
) -> None:
    """Predict images: one row each, in input order, as soon as it is known.

    An unreadable image is a row too, with its error.
    """
    if format is not None:
        require_choice("--format", format, ("jsonl", "csv", "table", "parquet"))
    if coverage is not None and not 0 < coverage < 1:
        raise typer.BadParameter(f"a probability between 0 and 1, not {coverage:g}", param_hint="--coverage")
    if format == "parquet" and output is None:
        raise typer.BadParameter("parquet needs a file: -o rows.parquet, or -o - in a pipe", param_hint="--format")
    with release_readers(output, summary):
        checkpoint, paths, config = run_and_paths(arguments, "predict", run.flags)
        session = run.session(subject=config)
        from featcli.commands.predict import PredictOptions, predict

        width = terminal_width() if output is None else None
        if width is not None:
            run.terminal.leave_room_for_rows()
        elif is_piped():
            run.terminal.leave_room_for_a_reader()
        chosen = format or ("table" if width is not None else None)
        options = PredictOptions(
            chosen,
            top,
            probs,
            output,
            summary,
            _separator(run.flags.null),
            width,
            coverage=coverage,
            abstain_below=abstain_below,
            because=because,
        )
        run.finish(
            predict(session, checkpoint, paths, options, write_stdout),
            listed=width is None and run.terminal.is_terminal,
        )


@command(*SOURCE, "max_bad", "dry_run", *MACHINE, "as_json", *SPEECH)
def evaluate(
    run: Invocation,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="CHECKPOINT DATA_DIR",
            help="A checkpoint or run folder; then a labelled folder. With --config: the folder only.",
            show_default=False,
        ),
    ] = None,
    min_accuracy: Annotated[
        float | None, option(RUN, "--min-accuracy", min=0.0, max=1.0, metavar="X", help="Exit 1 below X.")
    ] = None,
    parity: Annotated[
        bool,
        option(RUN, "--parity", help="Exit 1 unless the validation accuracy in the checkpoint is reproduced."),
    ] = False,
    unseen: Annotated[bool, option(RUN, "--unseen", help="Leave out images that the run was trained on.")] = False,
) -> None:
    """Measure a checkpoint on labelled images.

    On DATA_DIR, or the data of the config or run: the test split, else validation; --parity: validation.
    Says how many images, by content, the run was trained on.
    """
    if parity and unseen:
        raise typer.BadParameter(
            "--parity is of all validation images; --unseen would leave some out", param_hint="--unseen"
        )
    checkpoint, paths, config = run_and_paths(arguments, "evaluate", run.flags)
    if len(paths) > 1:
        raise typer.BadParameter(f"one folder to evaluate on, not {len(paths)}", param_hint="DATA_DIR")
    session = run.session(subject=config)
    from featcli.commands.evaluate import EvaluateOptions, evaluate

    data_dir = Path(paths[0]) if paths else None
    run.finish(evaluate(session, checkpoint, data_dir, EvaluateOptions(min_accuracy, parity, unseen)))


@command("as_json", "debug")
def info(
    run: Invocation,
    checkpoint: Annotated[
        Path | None,
        typer.Argument(metavar="CHECKPOINT", help="A checkpoint or run folder.", show_default=False),
    ] = None,
) -> None:
    """Show what is in a checkpoint: classes, backbone, preprocessing, metrics, versions."""
    from featcli.commands.info import info
    from featcli.workflow.subject import require_run

    require_run("" if checkpoint is None else str(checkpoint), "info")
    assert checkpoint is not None
    run.finish(info(checkpoint))


@command("cache", "threads", "as_json", *SPEECH)
def verify(
    run: Invocation,
    folder: Annotated[
        Path | None, typer.Argument(metavar="RUN", help="A run folder, or its checkpoint.", show_default=False)
    ] = None,
    sample: Annotated[
        int, option(RUN, "--sample", min=1, metavar="N", help="Images that are read and computed anew.")
    ] = 16,
) -> None:
    """Check that a run is what it says, without training; exit 1 unless it is.

    Files, frozen tensors, stored features, predictions, and that the head is the optimum of its data.
    """
    from featcli.workflow.subject import require_run

    require_run("" if folder is None else str(folder), "verify")
    assert folder is not None
    session = run.session()
    from featcli.commands.verify import verify

    run.finish(verify(session, folder, sample=sample))


@command("cache", "workers", "as_json", *SPEECH)
def report(
    run: Invocation,
    folders: Annotated[
        list[str] | None,
        typer.Argument(metavar="RUN...", help="Run folders, or their checkpoints: up to six.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        option(
            RUN,
            "--output",
            "-o",
            metavar="FILE",
            help="The page; else report.html in the run folder, of several runs in the working directory; - is stdout.",
        ),
    ] = None,
) -> None:
    """Write one self-contained HTML page about a run, or several side by side.

    How good it is, mistakes, confusions, calibration, a map of the images, what is suspicious. Prints the page's path.
    """
    from featcli.workflow.subject import require_run

    given = list(folders or ())
    for text in given or [""]:
        require_run(text, "report")
    with release_readers(output):
        session = run.session()
        from featcli.commands.report import report

        run.finish(report(session, [Path(text) for text in given], output))


@command("cache", "threads", "batch_size", "max_bad", "as_json", *SPEECH)
def diff(
    run: Invocation,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="A B PATHS",
            help="Two runs or checkpoints; then files, folders, patterns. No paths: what both held out, as written.",
            show_default=False,
        ),
    ] = None,
    max_changed: Annotated[
        float | None,
        option(RUN, "--max-changed", min=0.0, max=1.0, metavar="X", help="Exit 1 where more than this share differs."),
    ] = None,
) -> None:
    """Compare two models: which labels differ, accuracy, confidence, features.

    A gate for pipelines: a model of last night, or of another library version, against today's.
    """
    from featcli.workflow.subject import require_run

    given = list(arguments or ())
    if len(given) < 2:
        raise UsageError("two runs or checkpoints are compared", "featcli diff A B, and perhaps images after the two")
    first, second, *paths = given
    require_run(first, "diff", [second, *paths])
    require_run(second, "diff", paths)
    session = run.session()
    from featcli.commands.diff import diff

    run.finish(diff(session, Path(first), Path(second), paths, max_changed=max_changed))


def _separator(null: bool) -> bytes:
    return b"\0" if null else b"\n"
