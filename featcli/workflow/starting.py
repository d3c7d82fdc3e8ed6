"""What is chosen for a user who names images and little else; `init` writes the same into a config."""

from __future__ import annotations

import math
import os
import shlex
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from featcli.backbones.catalogue import local_weights
from featcli.backbones.registry import find_architecture
from featcli.config import Config, LoadedConfig, load_config
from featcli.config.known_backbones import STAGES
from featcli.data.dataset import Dataset
from featcli.data.naming.source import shown_path
from featcli.data.pixels.decoding import SIXTEEN_BITS, GreyRange, ImageFacts, bit_range, is_narrow
from featcli.data.pixels.loading import load_depth
from featcli.errors import FeatcliError, UsageError
from featcli.events import Fact, Progress
from featcli.files import is_weights_file
from featcli.metadata import CHECKPOINT_NAME
from featcli.runs.folder import CONFIG_NAME, LAST_FACTS_NAME
from featcli.workflow.images import read_dataset
from featcli.workflow.session import Session, open_runtime
from featcli.workflow.weights_report import fitting_backbone

_LOOKED_AT = 200  # images whose size is read, and of 16-bit grey the values
IMBALANCED = 4  # times as many images in the largest class as in the smallest

# In the order of preference on a CPU; the first whose weights are on this machine is chosen.
_PREFERRED = ("efficientnet_lite0", "mobilenet_v3_large", "resnet18", "resnet50")
_WITHOUT_WEIGHTS = "resnet18"
_AS_BEFORE = "as the run that this one replaces"


@dataclass(frozen=True, slots=True)
class Look:
    """What was seen: the data set, and some of its images."""

    data: Dataset
    facts: Sequence[ImageFacts]

    @property
    def short_side(self) -> int | None:
        """Of the images, in pixels, in the median; None where none could be read."""
        sides = [min(facts.width, facts.height) for facts in self.facts]
        return round(statistics.median(sides)) if sides else None

    @property
    def narrow_range(self) -> GreyRange | None:
        """What 16-bit images use, where all of them use under a quarter of their range."""
        largest = [facts.largest for facts in self.facts if facts.largest is not None]
        return bit_range(max(largest)) if largest and all(map(is_narrow, largest)) else None

    @property
    def imbalance(self) -> float:
        """Training images of the largest class for one of the smallest."""
        counts = self.data.counts()["train"]
        return max(counts) / min(counts)


def look_at(data: Dataset) -> Look:
    """Reads a few images of a data set."""
    train = data.split("train")  # as data.range: auto, these alone are looked at
    looks = [load_depth(sample.ref) for sample in train[:: max(1, len(train) // _LOOKED_AT)]]
    return Look(data, [facts for facts in looks if facts is not None])  # `train-head` will name the others


def choose_backbone() -> tuple[str, str]:
    """A backbone whose weights are on this machine, where there is one, and why."""
    for name in _PREFERRED:
        entry = find_architecture(name).default
        if local_weights(entry) is not None:
            return name, f"its weights are on this machine, {entry.top1:g} % on ImageNet"
    return _WITHOUT_WEIGHTS, "small; its weights are downloaded at the first run"


def middle_stage(stages: Sequence[str]) -> str:
    """The last stage to freeze where two thirds of them stay as they are."""
    return stages[math.ceil(len(stages) * 2 / 3) - 1]


def depth_for(config: Path) -> str | None:
    """What is frozen by default of the backbone that a config names; None where it names none that is known."""
    try:
        name = load_config(config).config.backbone.name
    except FeatcliError:
        return None
    return None if name is None or name not in STAGES else middle_stage(STAGES[name])


class Choice(NamedTuple):
    """A value that was chosen, why, and the flag that gives another."""

    key: str
    value: Any
    reason: str
    flag: str


def with_choices(session: Session, trains: str | None, reload: Callable[[Mapping[str, Any]], LoadedConfig]) -> Session:
    """The same session, with values for what was not given, each said in a line.

    A run that is repeated keeps the choices that it was made with, whatever else is on this machine by then.

    Args:
        session: its config names the images, and whatever else was given.
        trains: the command that the config is for, `train-head` or `finetune`; None where nothing is trained.
        reload: reads the config again, with values beside those that were given.

    Raises:
        ConfigError: the images are none to learn from.
    """
    choices = list(_choices(session, trains))
    for index, (key, value, reason, flag) in enumerate(choices):
        shown = os.path.relpath(value) if isinstance(value, Path) else str(value)
        name = {"backbone.name": "backbone"}.get(key, key)
        session.emit(Fact("" if index else "chosen", f"{name} {shown}: {reason} ({flag})"))
    return replace(session, loaded=reload({key: value for key, value, *_ in choices}))


def _choices(session: Session, trains: str | None) -> Iterator[Choice]:
    loaded, config = session.loaded, session.loaded.config
    output = config.output or (None if trains is None else default_output(config, trains))
    earlier = None if output is None or session.overwrite else _earlier(output, config)
    if config.output is None and output is not None:
        yield Choice("output", output, "the run's folder", "-o")
    name = config.backbone.name
    if name is None:
        name, reason = _choose_name(config, earlier)
        if name is not None:
            yield Choice("backbone.name", name, reason, "--backbone")
    if trains == "finetune" and not loaded.is_given("backbone.freeze_depth"):
        if earlier is not None:
            yield Choice("backbone.freeze_depth", earlier.backbone.freeze_depth, _AS_BEFORE, "--freeze-depth")
        elif name is not None and name in STAGES:
            reason = "two thirds of the stages stay as they are"
            yield Choice("backbone.freeze_depth", middle_stage(STAGES[name]), reason, "--freeze-depth")
    if trains is not None and loaded.file is None:
        yield from _choices_by_looking(session, earlier)


def _choose_name(config: Config, earlier: Config | None) -> tuple[str | None, str]:
    """A backbone's name and why; None where the weights that were named are published ones of a backbone that was not.

    Raises:
        UsageError: weights in a file that fit no backbone, or several.
    """
    if earlier is not None and earlier.backbone.name is not None:
        return earlier.backbone.name, _AS_BEFORE
    weights = config.backbone.weights
    if weights in ("DEFAULT", "none"):
        return choose_backbone()
    if not is_weights_file(weights):
        return None, ""
    name = fitting_backbone(weights)
    if name is None:
        shown = shown_path(Path(weights))
        raise UsageError(
            f"backbone.weights: {shown} does not fit one backbone alone",
            f"featcli doctor --weights {shlex.quote(shown)} says what it fits; then name it: --backbone NAME",
        )
    return name, "the one that the weights fit"


def _choices_by_looking(session: Session, earlier: Config | None) -> Iterator[Choice]:
    """What depends on the images: the weight of the classes, and the range of 16-bit grey."""
    loaded = session.loaded
    asked = [key for key in ("head.class_weight", "data.range") if not loaded.is_given(key)]
    if not asked:
        return
    flags = {key: f"--set {key}={_value_of(Config(), key)}" for key in asked}
    if earlier is not None:
        for key in asked:
            if _value_of(earlier, key) != _value_of(Config(), key):
                yield Choice(key, _value_of(earlier, key), _AS_BEFORE, flags[key])
        return
    quiet = replace(session, emit=lambda event: session.emit(event) if isinstance(event, Progress) else None)
    look = look_at(read_dataset(quiet, loaded, open_runtime(quiet), keep=not session.dry_run))
    if "head.class_weight" in asked and look.imbalance >= IMBALANCED:
        reason = f"the largest class is {look.imbalance:.0f} times the smallest"
        yield Choice("head.class_weight", "balanced", reason, flags["head.class_weight"])
    if "data.range" in asked and look.narrow_range is not None:
        yield Choice("data.range", "auto", range_reason(look.narrow_range), flags["data.range"])


def range_reason(narrow: GreyRange) -> str:
    """Why 16-bit grey is scaled from what is used."""
    return f"16-bit images that use 0 to {narrow[1]} of {SIXTEEN_BITS} would be almost black"


def default_output(config: Config, trains: str) -> Path:
    """The folder of a run on the config's images: `runs/NAME`, below the working directory, never among the images.

    Where that holds a run of the other command, this one gets a name beside it.
    """
    source = config.data.root or config.data.manifest
    assert source is not None, "a short way begins with images"
    name = (source.name if config.data.root else source.stem) or "first"
    here = Path.cwd()
    root = config.data.root
    runs = (source.parent if root is not None and here.is_relative_to(root) else here) / "runs"
    if root is not None and runs.is_relative_to(root):
        runs = runs.with_name("featcli-runs")
    folder = runs / name
    tuned = (folder / LAST_FACTS_NAME).is_file()
    if (folder / CHECKPOINT_NAME).is_file() and tuned != (trains == "finetune"):
        return folder.with_name(name + ("-tuned" if trains == "finetune" else "-head"))
    return folder


def _earlier(output: Path, config: Config) -> Config | None:
    """The config of the run in a folder, where it is one on the same images."""
    try:
        found = load_config(output / CONFIG_NAME).config
    except FeatcliError:
        return None
    source, before = (of.data.root or of.data.manifest for of in (config, found))
    return found if before is None or before == source or not before.exists() else None


def _value_of(config: Config, key: str) -> Any:
    section, _, name = key.partition(".")
    return getattr(getattr(config, section), name)
