"""From the words of a config (`DEFAULT`, `none`, a file, `package:...`) to a backbone with its preprocessing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from featcli.backbones.architecture import Architecture, PretrainedEntry
from featcli.backbones.building import build_network, fill
from featcli.backbones.fitting import Fit, Network, choose
from featcli.backbones.layers import Layer
from featcli.backbones.registry import find_architecture
from featcli.backbones.stages import Backbone, assemble
from featcli.backbones.weight_files import require_downloaded, require_packaged
from featcli.backbones.weight_forms import StateDict, state_dicts
from featcli.backbones.weight_reading import read_weights, refused
from featcli.data.pixels.preprocessing import Preprocessing
from featcli.errors import BackboneOptionError, CheckpointError, WeightsError
from featcli.events import Emit, Note
from featcli.files import WEIGHTS_ENDINGS, is_weights_file, sha256_of_file, weights_place
from featcli.metadata import read_metadata
from featcli.text import did_you_mean

_CHECKPOINT_PREFIX = "backbone."


@dataclass(frozen=True, slots=True)
class _Source:
    """Weights that were found.

    Attributes:
        held: the state dicts of their file; None for random weights.
        words: what to call them.
        what: where they are, in messages.
        entry: the published weights that they are, if known.
        key: of `FILE#KEY`.
    """

    held: list[StateDict] | None
    words: str
    what: str
    entry: PretrainedEntry | None
    key: str | None = None


def load_backbone(
    name: str,
    weights: str = "DEFAULT",
    *,
    preprocess: str | Mapping[str, Any] = "auto",
    layer: Layer = Layer(),  # noqa: B008  immutable
    seed: int = 0,
    emit: Emit,
) -> Backbone:
    """Builds a backbone with its weights, in eval mode on the CPU, and the preprocessing that belongs to them.

    Args:
        name: of the table of backbones.
        weights: `DEFAULT` or the name of a published entry, `none` (random, seeded), a file that holds a state dict
            that fits (`FILE#KEY` where it holds several), or `package:MODULE/FILE`.
        preprocess: `auto` (what belongs to the weights), the name of a published entry, or values that replace
            some of auto's: `resize`, `crop`, `interpolation`, `mean`, `std`.
        layer: where the features are taken.
        seed: for `weights="none"`.
        emit: hears where weights come from, when that is not plain from `weights`.

    Raises:
        BackboneOptionError: unknown backbone, weights name or preprocessing name.
        WeightsError: weights that cannot be had, read, or that belong to another architecture.
    """
    architecture = find_architecture(name)
    preprocessing_of = _chosen_preprocessing(architecture, preprocess)
    source = _find(architecture, weights, seed, emit)
    network = Network(architecture, source.entry)
    fit = None if source.held is None else choose(network, source.held, source.what, source.key)
    entry = fit.entry if fit is not None else source.entry or architecture.default
    chosen = preprocessing_of(entry.preprocessing)
    if source.entry is None and preprocess == "auto":
        emit(Note(f"preprocessing is that of {name}'s {entry.name} weights, since '{weights}' brings none"))
    _require_no_border(preprocess, chosen)
    _require_size(architecture, entry, chosen)
    if fit is None:
        built = build_network(architecture, entry.arguments, seed)
    else:
        built = fit.built
        _say_which(fit, source, emit)
        fill(built.network, fit.given, f"{source.what} do not fit {name}")
    return assemble(name, built, chosen, source.words, entry.arguments, layer)


def backbone_from_tensors(
    name: str,
    state: Mapping[str, Tensor],
    preprocessing: Preprocessing,
    weights: str,
    arguments: Mapping[str, Any] = MappingProxyType({}),
    layer: Layer = Layer(),  # noqa: B008  immutable
) -> Backbone:
    """A backbone from the tensors that a checkpoint holds, without the last Linear.

    Raises:
        BackboneOptionError: the name is not in the table of backbones.
        WeightsError: the tensors, or the arguments, are not those of this backbone.
    """
    architecture = find_architecture(name)
    # Only what weights of this architecture can ask for: a checkpoint from elsewhere must not steer a builder.
    known = {key: type(value) for entry in architecture.entries.values() for key, value in entry.arguments.items()}
    strange = [key for key, value in arguments.items() if type(value) is not known.get(key)]
    if strange:
        raise WeightsError(f"{name} is not built with {', '.join(strange)}")
    built = build_network(architecture, arguments, None)
    fill(built.network, state, f"a checkpoint do not fit {name}")
    return assemble(name, built, preprocessing, weights, arguments, layer)


def _say_which(fit: Fit, source: _Source, emit: Emit) -> None:
    """Says what was taken of a file that holds more."""
    many = "" if fit.beside == 1 else "s"
    beside = f", without {fit.beside} tensor{many} beside them" if fit.beside else ""
    key = f" '{fit.held.key}'" if fit.held.key else ""
    if key or beside:
        emit(Note(f"weights{key} of {Path(source.what).name}{beside}"))


def _require_size(architecture: Architecture, entry: PretrainedEntry, preprocessing: Preprocessing) -> None:
    fixed = architecture.fixed_size(entry.arguments)
    if fixed is not None and preprocessing.crop != fixed:
        message = (
            f"these weights of {architecture.name} take images of {fixed} pixels, not a crop of {preprocessing.crop}"
        )
        raise BackboneOptionError("preprocess", message)
    if preprocessing.crop < entry.min_size:
        message = f"a crop of {preprocessing.crop} pixels is too small for {architecture.name}"
        raise BackboneOptionError("preprocess", message, f"It takes images of at least {entry.min_size} pixels.")


def _require_no_border(preprocess: str | Mapping[str, Any], chosen: Preprocessing) -> None:
    """Refuses a crop that does not fit into the resized image: validation alone would see a black border."""
    if chosen.resize >= chosen.crop:
        return
    changed = {} if isinstance(preprocess, str) else preprocess
    given = [key for key in ("resize", "crop") if changed.get(key) is not None]
    other = "" if len(given) != 1 else f" (the weights' own {'crop' if given == ['resize'] else 'resize'})"
    raise BackboneOptionError(
        ".".join(["preprocess", *given[:1]]),
        f"resize {chosen.resize} is smaller than crop {chosen.crop}{other}: the crop would have a black border",
        f"Set both: backbone.preprocess: {{resize: {chosen.crop}, crop: {chosen.crop}}}, or larger; "
        f"or {{resize: {chosen.resize}, crop: {chosen.resize}}}.",
    )


def _chosen_preprocessing(architecture: Architecture, preprocess: str | Mapping[str, Any]) -> Any:
    """A function from the weights' own preprocessing to the one to use; names are checked now, before any download."""
    if not isinstance(preprocess, str):
        changes = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in preprocess.items()
            if value is not None
        }
        return lambda own: replace(own, **changes)
    if preprocess == "auto":
        return lambda own: own
    chosen = _entry(architecture, preprocess, "preprocess")
    return lambda own: chosen.preprocessing


def _entry(architecture: Architecture, name: str, option: str) -> PretrainedEntry:
    short = name.rsplit(".", 1)[-1]  # ResNet18_Weights.IMAGENET1K_V1 is as good as IMAGENET1K_V1
    if short == "DEFAULT":
        return next(iter(architecture.entries.values()))
    if short not in architecture.entries:
        known = ["DEFAULT", *architecture.entries]
        raise BackboneOptionError(
            option,
            f"unknown weights '{name}' for {architecture.name}{did_you_mean(short, known)}",
            f"{architecture.name} has {', '.join(known)}; else none, a file ({', '.join(WEIGHTS_ENDINGS)}), "
            "or package:MODULE/FILE.",
        )
    return architecture.entries[short]


def _find(architecture: Architecture, weights: str, seed: int, emit: Emit) -> _Source:
    if weights == "none":
        return _Source(None, f"none (seed {seed})", weights, None)
    if weights.startswith("package:"):
        packaged = require_packaged(weights)
        return _Source(held_by(packaged), weights, weights, _entry_of_file(architecture, packaged))
    if is_weights_file(weights) or (weights.rsplit(".", 1)[-1] not in architecture.entries and _is_there(weights)):
        path, key = weights_place(weights)
        return _from_checkpoint(architecture, Path(path), key) or _from_file(architecture, Path(path), key)
    entry = _entry(architecture, weights, "weights")
    if entry.location.startswith("package:"):
        path_of_entry = require_packaged(entry.location)
    else:
        path_of_entry = require_downloaded(architecture, entry, emit)
    return _Source(held_by(path_of_entry), entry.name, str(path_of_entry), entry)


def _is_there(weights: str) -> bool:
    return weights != "DEFAULT" and os.path.exists(weights)


def _from_file(architecture: Architecture, path: Path, key: str | None) -> _Source:
    held = held_by(path)
    return _Source(held, "file", str(path), _entry_of_file(architecture, path), key)


def held_by(path: Path) -> list[StateDict]:
    """The state dicts in a file.

    Raises:
        WeightsError: as `read_weights` does; or there are none.
    """
    content, classes = read_weights(path)
    held = state_dicts(content)
    if not held and classes:
        raise refused(path, classes)
    if not held:
        raise WeightsError(
            f"{path} is not a state dict (names to tensors)",
            "Save one with torch.save(model.state_dict(), 'weights.pth').",
        )
    return held


def _from_checkpoint(architecture: Architecture, path: Path, key: str | None) -> _Source | None:
    """The backbone of a checkpoint of featcli, as weights of the next task, with its own preprocessing."""
    if path.suffix.lower() != ".safetensors" or not path.is_file():
        return None
    try:
        metadata = read_metadata(path)
    except CheckpointError:
        return None  # a plain state dict
    if metadata.backbone.name != architecture.name:
        message = f"the checkpoint {path} holds the backbone {metadata.backbone.name}, not {architecture.name}"
        raise WeightsError(message, f"Set backbone.name: {metadata.backbone.name}.")
    if key is not None:
        raise WeightsError(f"the checkpoint {path} holds one backbone, and nothing under '{key}'", "Leave #KEY away.")
    state = {
        name.removeprefix(_CHECKPOINT_PREFIX): tensor
        for name, tensor in load_file(path).items()
        if name.startswith(_CHECKPOINT_PREFIX)
    }
    try:
        preprocessing = Preprocessing.from_json(metadata.preprocessing)
    except (KeyError, TypeError, ValueError) as error:
        raise WeightsError(f"the checkpoint {path} has a damaged description") from error
    own = replace(architecture.default, preprocessing=preprocessing, arguments=metadata.backbone.arguments)
    return _Source([StateDict((), "", state)], metadata.backbone.weights, str(path), own)


def _entry_of_file(architecture: Architecture, path: Path) -> PretrainedEntry | None:
    digest = sha256_of_file(path)
    return next((entry for entry in architecture.entries.values() if digest.startswith(entry.hash_prefix)), None)
