"""`featcli init`: looks at a folder and writes a short config that runs as it is, with comments that teach."""

from __future__ import annotations

import json
import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from featcli.analysis.sides import sided_names
from featcli.backbones.catalogue import local_weights
from featcli.backbones.registry import find_architecture
from featcli.data.dataset import Dataset, open_dataset
from featcli.data.naming.source import DataSource
from featcli.data.pixels.decoding import SIXTEEN_BITS, GreyRange, ImageFacts, bit_range, is_narrow
from featcli.data.pixels.loading import load_depth
from featcli.errors import UsageError
from featcli.events import Emit, Fact, Note
from featcli.files import write_text
from featcli.text import printable

_LOOKED_AT = 200  # images whose size is read, and of 16-bit grey the values
_SMALL = 96  # pixels of the shorter side
_IMBALANCED = 4  # times as many images in the largest class as in the smallest

# In the order of preference on a CPU; the first whose weights are on this machine is chosen.
_PREFERRED = ("efficientnet_lite0", "mobilenet_v3_large", "resnet18", "resnet50")
_WITHOUT_WEIGHTS = "resnet18"


@dataclass(frozen=True, slots=True)
class _Look:
    """What was seen: the data set, and some of its images."""

    data: Dataset
    facts: Sequence[ImageFacts]

    @property
    def short_side(self) -> int | None:
        sides = [min(facts.width, facts.height) for facts in self.facts]
        return round(statistics.median(sides)) if sides else None

    @property
    def narrow_range(self) -> GreyRange | None:
        """What 16-bit images use, where all of them use under a quarter of their range."""
        largest = [facts.largest for facts in self.facts if facts.largest is not None]
        return bit_range(max(largest)) if largest and all(map(is_narrow, largest)) else None


def init(folder: Path, output: Path | None, *, overwrite: bool, emit: Emit) -> str:
    """Writes a starter config for a folder of images.

    Args:
        folder: of images, in one of the two layouts.
        output: the file; by default the folder's name and `.yaml`, in the working directory.
        overwrite: replace a file that is there.
        emit: hears what was seen.

    Returns:
        The file's path.

    Raises:
        DatasetError: the folder is not one to learn from.
        UsageError: the file is there already.
        StorageError: it cannot be written.
    """
    root = Path(os.path.abspath(folder))
    source = DataSource(root=root, val_fraction=0.2)
    data = open_dataset(source, seed=0, workers=os.cpu_count() or 1, emit=emit)
    target = output or Path(f"{root.name or 'featcli'}.yaml")
    if target.exists() and not overwrite:
        raise UsageError(f"{target} exists", "Name another file with -o, or replace it with --overwrite.")
    look = _Look(data, _some_facts(data))
    write_text(target, _config_text(look, target))
    counts = data.counts()
    images = ", ".join(f"{sum(per_class)} {split}" for split, per_class in counts.items())
    emit(Fact("data", f"{images}; {len(data.classes)} classes"))
    if data.ignored.counts:
        emit(Note(f"skipped in {data.root}: {data.ignored}"))
    return str(target)


def _some_facts(data: Dataset) -> list[ImageFacts]:
    train = data.split("train")  # as data.range: auto, these alone are looked at
    looks = [load_depth(sample.ref) for sample in train[:: max(1, len(train) // _LOOKED_AT)]]
    return [facts for facts in looks if facts is not None]  # `train-head` will name the others


def _config_text(look: _Look, target: Path) -> str:
    data = look.data
    name, reason = _choose_backbone()
    counts = data.counts()
    train = counts["train"]
    lines = [
        f"# {len(data.samples)} images of {len(data.classes)} classes; "
        f"{min(train)} to {max(train)} a class to train on." + _size_words(look),
        f"# Look first:  featcli check --config {target.name}",
        f"# Then:        featcli train-head --config {target.name}",
        "",
        "data:",
        *_data_lines(data, os.path.dirname(os.path.abspath(target))),
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


def _choose_backbone() -> tuple[str, str]:
    for name in _PREFERRED:
        if local_weights(find_architecture(name).default) is not None:
            entry = find_architecture(name).default
            return name, f"its weights are on this machine, {entry.top1:g} % on ImageNet"
    return _WITHOUT_WEIGHTS, "small; its weights are downloaded at the first run"


def _size_words(look: _Look) -> str:
    if look.short_side is None:
        return ""
    return f" Shorter side: {look.short_side} pixels in the median."


def _data_lines(data: Dataset, folder: str) -> list[str]:
    root = f"  root: {_quoted(os.path.relpath(data.root, folder))}"
    if data.rule["made_by"] == "user":
        return [f"{root:32} # its train and val folders are kept as they are"]
    return [
        root,
        "  val_fraction: 0.2              # held out by content hash: images keep their side when others are added",
    ]


def _range_lines(look: _Look) -> list[str]:
    if look.narrow_range is None:
        return []
    used = f"0 to {look.narrow_range[1]} of {SIXTEEN_BITS}"
    return [f"  range: auto                    # 16-bit images that use {used} would be almost black"]


def _size_advice(look: _Look, name: str) -> list[str]:
    crop = find_architecture(name).default.preprocessing.crop
    if look.short_side is None or look.short_side >= _SMALL:
        return []
    return [f"  # The images are small: they are enlarged to {crop} pixels, which costs time and adds nothing."]


def _balance_lines(train: Sequence[int]) -> list[str]:
    if max(train) < _IMBALANCED * min(train):
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
