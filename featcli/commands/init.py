"""`featcli init`: looks at a folder and writes a short config that runs as it is, with comments that teach."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path

from featcli.analysis.sides import sided_names
from featcli.backbones.registry import find_architecture
from featcli.config.json_schema import FILE, schema_text
from featcli.cores import decide_cores
from featcli.data.dataset import Dataset, open_dataset
from featcli.data.naming.source import DataSource
from featcli.errors import UsageError
from featcli.events import Emit, Fact, Note
from featcli.files import check_output_file, write_text
from featcli.text import printable
from featcli.workflow.starting import IMBALANCED, Look, choose_backbone, look_at, range_reason

_SMALL = 96  # pixels of the shorter side


def init(folder: Path, output: Path | None, *, overwrite: bool, emit: Emit) -> str | None:
    """Writes a starter config for a folder of images.

    Args:
        folder: of images, in one of the two layouts.
        output: the file; by default the folder's name and `.yaml`, in the working directory.
        overwrite: replace a file that is there.
        emit: hears what was seen.

    Returns:
        The file's path; None where the config itself went to standard output.

    Raises:
        DatasetError: the folder is not one to learn from.
        UsageError: the file is there already, or a folder.
        StorageError: it cannot be written.
    """
    root = Path(os.path.abspath(folder))
    source = DataSource(root=root, val_fraction=0.2)
    data = open_dataset(source, seed=0, workers=decide_cores().count, emit=emit)
    usual = Path(f"{root.name or 'featcli'}.yaml")
    target = output or usual
    place = check_output_file(target)
    if place.replaced is not None and not overwrite:
        raise UsageError(f"{target} exists", "Name another file with -o, or replace it with --overwrite.")
    look = look_at(data)
    write_text(target, _modeline(target) + _config_text(look, folder, usual if place.is_stream else target))
    _write_schema(target, emit)
    counts = data.counts()
    images = ", ".join(f"{sum(per_class)} {split}" for split, per_class in counts.items())
    emit(Fact("data", f"{images}; {len(data.classes)} classes"))
    if data.ignored.counts:
        emit(Note(f"skipped in {data.root}: {data.ignored}"))
    return None if place.is_stdout else str(target)


def _modeline(target: Path) -> str:
    """The first line: by it editors find the schema in the folder of the config, wherever that is checked out."""
    return f"# yaml-language-server: $schema={FILE}\n" if _is_file(target) else ""


def _write_schema(target: Path, emit: Emit) -> None:
    if not _is_file(target):
        return
    beside, text = target.with_name(FILE), schema_text()
    if not beside.is_file() or beside.read_bytes() != text.encode():
        write_text(beside, text)
        emit(Note(f"{beside} is for editors: it says which keys a config has"))


def _is_file(target: Path) -> bool:
    """Whether the config is a file among others, not a stream."""
    return str(target) != "-" and (target.is_file() or not target.exists())


def _config_text(look: Look, folder: Path, target: Path) -> str:
    data = look.data
    name, reason = choose_backbone()
    counts = data.counts()
    train = counts["train"]
    lines = [
        f"# {len(data.samples)} images of {len(data.classes)} classes; "
        f"{min(train)} to {max(train)} a class to train on." + _size_words(look),
        f"# Look first:  featcli check {target.name}",
        f"# Then:        featcli train-head {target.name}",
        "",
        "data:",
        *_data_lines(look.data, folder, os.path.dirname(os.path.abspath(target))),
        *_range_lines(look),
        "",
        "backbone:",
        f"  name: {name:24} # {reason}; `featcli models` lists all",
        "  weights: DEFAULT               # or none, a .pth or .safetensors file, package:MODULE/FILE",
        *_size_advice(look, name),
        "  # freeze_depth: 4              # for `featcli finetune`: so many stages stay as they are, the rest learns",
        "",
        "head:",
        "  C: auto                        # strength of the fit, chosen by cross-validation on the training images",
        *_balance_lines(train),
        "",
        *_mirror_lines(data),
        f"output: {_quoted('runs/' + (data.root.name or 'first'))}",
    ]
    return "\n".join(lines) + "\n"


def _size_words(look: Look) -> str:
    if look.short_side is None:
        return ""
    return f" Shorter side: {look.short_side} pixels in the median."


def _data_lines(data: Dataset, folder: Path, beside: str) -> list[str]:
    """The section `data`: the folder absolute where it was named so, else relative to the config's place."""
    named = os.path.normpath(folder) if folder.is_absolute() else os.path.relpath(folder, beside)
    root = f"  root: {_quoted(named)}"
    if data.rule["made_by"] == "user":
        return [f"{root:32} # its train and val folders are kept as they are"]
    return [
        root,
        "  val_fraction: 0.2              # held out by content hash: images keep their side when others are added",
    ]


def _range_lines(look: Look) -> list[str]:
    if look.narrow_range is None:
        return []
    return [f"  range: auto                    # {range_reason(look.narrow_range)}"]


def _size_advice(look: Look, name: str) -> list[str]:
    crop = find_architecture(name).default.preprocessing.crop
    if look.short_side is None or look.short_side >= _SMALL:
        return []
    return [f"  # The images are small: they are enlarged to {crop} pixels, which costs time and adds nothing."]


def _balance_lines(train: Sequence[int]) -> list[str]:
    if max(train) < IMBALANCED * min(train):
        return ["  class_weight: none             # balanced: every class weighs the same, however few its images"]
    times = max(train) / min(train)
    return [f"  class_weight: balanced         # the largest class is {times:.0f} times the smallest"]


def _mirror_lines(data: Dataset) -> list[str]:
    named = sided_names(data.classes)
    if named is None:
        return []
    return [
        f"# The classes are named after {printable(named)}: mirrored, an image would be another class's, or none's.",
        "# So `featcli finetune` does not exchange left and right (train.mirror: auto).",
        "",
    ]


def _quoted(text: str) -> str:
    """As YAML: plain where that is safe beyond doubt, else as JSON, which YAML reads."""
    is_plain = text.isascii() and all(char.isalnum() or char in "/._-" for char in text) and "/" in text
    return text if is_plain else json.dumps(text)
