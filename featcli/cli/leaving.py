"""The command by which a model leaves: export."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from featcli.cli.flags import RUN, SPEECH, option, require_choice
from featcli.cli.invocation import Invocation, command
from featcli.cli.subjects import run_and_paths
from featcli.errors import UsageError


@command("config", "set", "dry_run", "cache", "workers", "threads", "as_json", *SPEECH)
def export(
    run: Invocation,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(metavar="CHECKPOINT", help="A checkpoint or run folder.", show_default=False),
    ] = None,
    output: Annotated[
        Path | None,
        option(RUN, "--output", "-o", metavar="FILE", help="The file: .onnx, .xml (OpenVINO) or .pt2 (torch)."),
    ] = None,
    format: Annotated[
        str | None, option(RUN, "--format", metavar="NAME", help="onnx, openvino or torch; else by ending.")
    ] = None,
    form: Annotated[
        str,
        option(RUN, "--form", metavar="NAME", help="What goes in: exact, decoded squares; whole, images of any size."),
    ] = "exact",
    int8: Annotated[
        bool, option(RUN, "--int8", help="Whole numbers of 8 bits, fitted to training images; says what it costs.")
    ] = False,
    fp16: Annotated[bool, option(RUN, "--fp16", help="Floats of 16 bits; says what it costs.")] = False,
    features: Annotated[bool, option(RUN, "--features", help="Give features too.")] = False,
    images: Annotated[
        Path | None,
        option(RUN, "--images", metavar="DIR", help="Compare on these images; else on the run's validation images."),
    ] = None,
    max_loss: Annotated[
        float | None,
        option(RUN, "--max-loss", min=0.0, max=1.0, metavar="X", help="Accuracy that --int8 or --fp16 may cost: 0.02."),
    ] = None,
    allow_slower: Annotated[
        bool, option(RUN, "--allow-slower", help="Write --int8 or --fp16 also where it is slower than fp32 here.")
    ] = False,
    unchecked: Annotated[bool, option(RUN, "--unchecked", help="Write without comparing.")] = False,
) -> None:
    """Write a checkpoint as one file for other programs, once it was seen to predict the same.

    It runs on the validation images in a process without torch: every label, probabilities within 0.0001.
    Prints the file's path. docs/edge.md shows how to use it.
    """
    if output is None:
        raise typer.BadParameter("name the file to write: -o model.onnx", param_hint="-o")
    require_choice("--form", form, ("exact", "whole"))
    if format is not None:
        require_choice("--format", format, ("onnx", "openvino", "torch"))
    precision = "int8" if int8 else "fp16" if fp16 else "fp32"
    if int8 and fp16:
        raise typer.BadParameter("--int8 and --fp16 are two files: export twice", param_hint="--int8")
    if unchecked and images is not None and not int8:
        raise typer.BadParameter("--unchecked looks at no images", param_hint="--images")
    if precision == "fp32" and (allow_slower or max_loss is not None):
        flag = "--allow-slower" if allow_slower else "--max-loss"
        raise typer.BadParameter("it is of --int8 and --fp16", param_hint=flag)
    checkpoint, paths, config = run_and_paths(arguments, "export", run.flags)
    if run.flags.config is not None and paths:
        checkpoint, paths = Path(paths[0]), paths[1:]
    if paths:
        raise UsageError(f"one checkpoint, not more: {' '.join(paths)}", "Images to compare on: --images DIR")
    session = run.session(subject=config)
    from featcli.commands.export import export
    from featcli.workflow.exporting import ExportOptions

    options = ExportOptions(output, format, form, precision, features, images, unchecked, allow_slower)
    if max_loss is not None:
        options = replace(options, max_loss=max_loss)
    run.finish(export(session, checkpoint, options))
