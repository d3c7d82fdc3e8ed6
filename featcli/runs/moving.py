"""Runs and their images at other places than those that a run's config names."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from featcli.config import PLACES, Config, LoadedConfig, load_config, moves
from featcli.errors import CheckpointError, FeatcliError, UsageError
from featcli.events import Emit, Note
from featcli.files import is_weights_file
from featcli.metadata import CHECKPOINT_NAME, read_metadata
from featcli.runs.claiming import WAYS_OUT
from featcli.runs.folder import CONFIG_NAME, LAST_FACTS_NAME, METRICS_NAME, Run, RunImage
from featcli.runs.resuming import recorded_weights

_SAME = 0.5  # of a run's images: so many at another place, and they are the same images, moved


def is_run_config(path: Path) -> bool:
    """Whether this is the `config.yaml` of a run."""
    others = (CHECKPOINT_NAME, METRICS_NAME, LAST_FACTS_NAME)
    return path.name == CONFIG_NAME and any((path.parent / name).is_file() for name in others)


def load_run_config(folder: Path, emit: Emit) -> LoadedConfig:
    """The config of the run in a folder, which may have been moved.

    Raises:
        ConfigError: it cannot be read.
    """
    return follow_move(load_config(folder / CONFIG_NAME), folder, emit)


def follow_move(loaded: LoadedConfig, folder: Path, emit: Emit) -> LoadedConfig:
    """A run's config where the run was moved together with what it names, as with the whole project.

    What is no longer where the config says is looked for where it would lie as seen from the run's folder.

    Args:
        loaded: the config of the run, or that with some values changed, which stay.
        folder: the run's, where it lies now.
        emit: hears what was found elsewhere.
    """
    here = Path(os.path.abspath(folder))
    try:
        recorded = load_config(here / CONFIG_NAME).config
    except FeatcliError:
        return loaded
    before = recorded.output
    if before is None or before == here:
        return loaded
    found: dict[str, Path] = {}
    for key in PLACES:
        path = _path(loaded.config, key)
        if path is None or path != _path(recorded, key) or os.path.exists(path):
            continue
        candidate = Path(os.path.normpath(here / os.path.relpath(path, before)))
        if os.path.exists(candidate):
            found[key] = candidate
    if found:
        listed = "; ".join(f"{key} is {path}" for key, path in found.items())
        emit(Note(f"this run was moved from {before}: {listed}"))
    if loaded.config.output == before and not os.path.lexists(before):
        found["output"] = here
    return with_paths(loaded, found)


def with_paths(loaded: LoadedConfig, paths: Mapping[str, Path]) -> LoadedConfig:
    """A config with some paths replaced, by dotted key."""
    config = loaded.config
    for key, path in paths.items():
        section, _, name = key.rpartition(".")
        value = str(path) if key == "backbone.weights" else path
        part = getattr(config, section).model_copy(update={name: value}) if section else value
        config = config.model_copy(update={section or name: part})
    return dataclasses.replace(loaded, config=config)


def require_same_content(run: Run, config: Config, images: Sequence[RunImage], weights_sha256: str, emit: Emit) -> None:
    """Refuses to take a run for this one where what the config names at another place is something else.

    Images are known by their content: where at least half of the run's are there, with the same labels, they are those,
    some of which changed.

    Args:
        run: that the output holds, or nothing.
        config: of this run.
        images: of this run.
        weights_sha256: of the backbone that this run starts from.
        emit: hears of places that changed.

    Raises:
        UsageError: other images, or other weights.
    """
    try:
        moved = {item.key: item for item in moves(load_config(run.folder / CONFIG_NAME).config, config)}
    except FeatcliError:
        return  # nothing that could be another run
    other = []
    weights = moved.get("backbone.weights")
    known = recorded_weights(run) or _weights_of_checkpoint(run)
    if weights is not None and known not in (None, weights_sha256):
        other.append(f"{weights.key} was {weights.first}, now {weights.second}, with other weights")
    data = [item for key, item in moved.items() if key.startswith("data.")]
    reason = _other_images(run, images) if data else None
    if reason is not None:
        other += [f"{item.key} was {item.first}, now {item.second}, {reason}" for item in data]
    if other:
        raise UsageError(f"the output {run.folder} holds another run: {'; '.join(other)}", WAYS_OUT)
    for item in moved.values():
        emit(Note(f"{item.key} was {item.first} when this run was made, and is {item.second} now: the same content"))


def _other_images(run: Run, images: Sequence[RunImage]) -> str | None:
    """Why these are not the images of the run; None where they are, or where there is no run to be lost."""
    try:
        before = run.read_images()
    except CheckpointError:
        before = None
    if before is None:
        return "and its images are not known" if run.is_complete() else None
    shared = Counter(image.sha256 for image in before) & Counter(image.sha256 for image in images)
    if before and shared.total() < _SAME * len(before):
        return f"where {shared.total()} of its {len(before)} images are"
    labelled = Counter(map(_labelled, before)) & Counter(map(_labelled, images))
    if before and labelled.total() < _SAME * len(before):
        return f"where {labelled.total()} of its {len(before)} images have the label that they had"
    return None


def _labelled(image: RunImage) -> tuple[str, str]:
    return image.sha256, image.label


def _weights_of_checkpoint(run: Run) -> str | None:
    try:
        return read_metadata(run.checkpoint).backbone.weights_sha256
    except CheckpointError:
        return None


def _path(config: Config, key: str) -> Path | None:
    """The file or folder that an option names; None where it names none."""
    section, _, name = key.rpartition(".")
    value = getattr(getattr(config, section), name)
    if value is None or (key == "backbone.weights" and not is_weights_file(value)):
        return None
    return Path(value)
