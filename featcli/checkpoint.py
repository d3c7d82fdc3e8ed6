"""The one-file model: backbone and head in safetensors, everything else that `predict` needs in its header."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import PIL
import safetensors

from featcli import __version__
from featcli.backbones.layers import Layer
from featcli.config.kinds import HEAD_KINDS
from featcli.errors import CheckpointError, UsageError, WeightsError
from featcli.files import atomic_path, storage_errors
from featcli.heads.head import Head
from featcli.heads.kind import Arrays
from featcli.heads.registry import head_from_tensors, kinds_of
from featcli.metadata import KEY, CheckpointMetadata, read_metadata

if TYPE_CHECKING:
    from torch import Tensor

    from featcli.backbones.stages import Backbone

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
        "torch": _version_of("torch"),
        "torchvision": _version_of("torchvision"),
    }


def _version_of(library: str) -> str:
    """What torch or torchvision calls itself, local part included, which metadata may lack: read, since import is slow.

    The file is not run either: torchvision's imports the package.
    """
    spec = importlib.util.find_spec(library)
    if spec is not None and spec.origin is not None:
        with contextlib.suppress(OSError):
            said = _VERSION.search(Path(spec.origin).with_name("version.py").read_text(encoding="utf-8"))
            if said is not None:
                return said[1]
    from importlib.metadata import version

    return version(library)


def head_sha256(head: Head) -> str:
    """A hash of the head's tensors, so that damage is noticed: `canonical_sha256` of them, which needs torch."""
    digest = hashlib.sha256()
    for name, array in sorted(head.tensors().items()):
        digest.update(f"{name} torch.{array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def save_checkpoint(path: Path, checkpoint: Checkpoint) -> str:
    """Writes a checkpoint, complete or not at all.

    Returns:
        The sha256 of the file.

    Raises:
        StorageError: it cannot be written.
    """
    import safetensors.torch
    import torch

    state = checkpoint.backbone.network.state_dict()
    tensors = {f"{_BACKBONE}{name}": tensor.detach().cpu().contiguous() for name, tensor in state.items()}
    tensors |= {f"{_HEAD}{name}": torch.from_numpy(array) for name, array in checkpoint.head.tensors().items()}
    data = safetensors.torch.save(tensors, metadata={KEY: checkpoint.metadata.to_text()})
    with atomic_path(path) as temporary, storage_errors(path):
        temporary.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def load_checkpoint(path: Path) -> Checkpoint:
    """Reads a checkpoint and checks that its tensors are those that were saved.

    Raises:
        CheckpointError: truncated, foreign, changed, or made by a newer featcli.
    """
    import safetensors.torch

    from featcli.backbones.weights import backbone_from_tensors
    from featcli.data.pixels.preprocessing import Preprocessing

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
    head = _head(path, metadata, backbone.feature_size)
    if backbone.weights_sha256 != facts.weights_sha256:
        raise _damaged(path)
    return Checkpoint(backbone, head, metadata)


def load_head(path: Path, metadata: CheckpointMetadata) -> Head:
    """Reads the head alone, without torch, and checks it as `load_checkpoint` does.

    Args:
        path: of the checkpoint.
        metadata: that it holds.

    Raises:
        CheckpointError: its head is not the one that was saved.
    """
    return _head(path, metadata, metadata.backbone.feature_size)


def _head(path: Path, metadata: CheckpointMetadata, n_features: int) -> Head:
    kind, n_classes = metadata.head.kind, len(metadata.classes)
    if kind not in HEAD_KINDS:
        raise CheckpointError(f"{path} has a head of unknown kind '{kind}'", "Was it made by a newer featcli?")
    arrays = _head_arrays(path)
    alike = kinds_of(arrays)
    if alike and kind not in alike:
        raise CheckpointError(f"{path} is damaged: the tensors of its head are not those of kind '{kind}'")
    try:
        head = head_from_tensors(kind, arrays, n_classes, n_features)
    except ValueError as error:
        raise CheckpointError(
            f"{path} is damaged: its head is not of {n_classes} classes and {n_features} features"
        ) from error
    if head_sha256(head) != metadata.head.sha256:
        raise _damaged(path)
    return head


def _head_arrays(path: Path) -> Arrays:
    """The head's arrays. They are float32; what is not was damaged, and is missed by its name."""
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            names = [name for name in file.keys() if name.startswith(_HEAD)]
            return {
                name.removeprefix(_HEAD): file.get_tensor(name)
                for name in names
                if file.get_slice(name).get_dtype() == "F32"
            }
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error


def _damaged(path: Path) -> CheckpointError:
    return CheckpointError(f"{path} is damaged: its tensors are not those that were saved")


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
