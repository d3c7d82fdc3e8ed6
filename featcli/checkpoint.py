"""The one-file model: backbone and head in safetensors, everything else that `predict` needs in its header."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL
import safetensors
import safetensors.torch
import torch
from torch import Tensor

from featcli import __version__
from featcli.backbones.layers import Layer
from featcli.backbones.stages import Backbone, canonical_sha256
from featcli.backbones.weights import backbone_from_tensors
from featcli.config.kinds import HEAD_KINDS
from featcli.data.pixels.preprocessing import Preprocessing
from featcli.errors import CheckpointError, UsageError, WeightsError
from featcli.files import atomic_path, storage_errors
from featcli.heads.head import Head
from featcli.heads.registry import head_from_tensors, kinds_of
from featcli.metadata import KEY, CheckpointMetadata, read_metadata

_BACKBONE = "backbone."
_HEAD = "head."
_VERSION = re.compile(r"""^__version__\s*(?::\s*\w+\s*)?=\s*["']([^"']+)["']""", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model that predicts: images to features by `backbone`, features to logits of `metadata.classes` by `head`."""

    backbone: Backbone
    head: Head
    metadata: CheckpointMetadata


def library_versions() -> dict[str, str]:
    """Versions of what a result can depend on."""
    return {
        "featcli": __version__,
        "numpy": np.__version__,
        "pillow": PIL.__version__,
        "torch": torch.__version__,
        "torchvision": _torchvision_version(),
    }


def _torchvision_version() -> str:
    """What the package calls itself, local part included, which its metadata may lack; read, since importing is slow.

    Its file cannot be run either: it imports the package.
    """
    spec = importlib.util.find_spec("torchvision")
    if spec is not None and spec.origin is not None:
        with contextlib.suppress(OSError):
            said = _VERSION.search(Path(spec.origin).with_name("version.py").read_text(encoding="utf-8"))
            if said is not None:
                return said[1]
    return importlib.metadata.version("torchvision")


def head_sha256(head: Head) -> str:
    """A hash of the head's tensors, so that damage is noticed."""
    return canonical_sha256(_head_tensors(head))


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> str:
    """Writes a checkpoint, complete or not at all.

    Returns:
        The sha256 of the file.

    Raises:
        StorageError: it cannot be written.
    """
    state = checkpoint.backbone.network.state_dict()
    tensors = {f"{_BACKBONE}{name}": tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    tensors |= {f"{_HEAD}{name}": tensor for name, tensor in _head_tensors(checkpoint.head).items()}
    data = safetensors.torch.save(tensors, metadata={KEY: checkpoint.metadata.to_text()})
    with atomic_path(path) as temporary, storage_errors(path):
        temporary.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint and checks that its tensors are those that were saved.

    Raises:
        CheckpointError: truncated, foreign, changed, or made by a newer featcli.
    """
    metadata = read_metadata(path)
    try:
        tensors = safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    facts = metadata.backbone
    try:
        preprocessing = Preprocessing.from_json(metadata.preprocessing)
        backbone = backbone_from_tensors(
            facts.name,
            _part(tensors, _BACKBONE),
            preprocessing,
            facts.weights,
            facts.arguments,
            Layer.parse(facts.layer),
        )
    except (UsageError, WeightsError) as error:
        raise CheckpointError(f"{path}: {error.message}", "Was it made by a newer featcli?") from error
    except (ArithmeticError, AssertionError, AttributeError, LookupError, RuntimeError, TypeError, ValueError) as error:
        # Whatever a builder raises for arguments that build no network.
        raise CheckpointError(f"{path} has a damaged description: backbone or preprocessing") from error
    head = _head(path, _part(tensors, _HEAD), metadata.head.kind, len(metadata.classes), backbone.feature_size)
    if backbone.weights_sha256 != facts.weights_sha256 or head_sha256(head) != metadata.head.sha256:
        raise CheckpointError(f"{path} is damaged: its tensors are not those that were saved")
    return Checkpoint(backbone, head, metadata)


def _head(path: Path, tensors: dict[str, Tensor], kind: str, n_classes: int, n_features: int) -> Head:
    if kind not in HEAD_KINDS:
        raise CheckpointError(f"{path} has a head of unknown kind '{kind}'", "Was it made by a newer featcli?")
    # Heads are float32; what is not was damaged, and is missed by its name.
    arrays = {name: tensor.numpy() for name, tensor in tensors.items() if tensor.dtype == torch.float32}
    alike = kinds_of(arrays)
    if alike and kind not in alike:
        raise CheckpointError(f"{path} is damaged: the tensors of its head are not those of kind '{kind}'")
    try:
        return head_from_tensors(kind, arrays, n_classes, n_features)
    except ValueError as error:
        raise CheckpointError(
            f"{path} is damaged: its head is not of {n_classes} classes and {n_features} features"
        ) from error


def _head_tensors(head: Head) -> dict[str, Tensor]:
    return {name: torch.from_numpy(array) for name, array in head.tensors().items()}


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
