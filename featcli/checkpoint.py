"""The one-file model: backbone and head in safetensors, everything else that `predict` needs in its header."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import mmap
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import PIL
import safetensors
from numpy.typing import NDArray

from featcli import __version__
from featcli.backbones.description import Description
from featcli.backbones.layers import Layer
from featcli.config.kinds import HEAD_KINDS
from featcli.errors import CheckpointError, UsageError, WeightsError
from featcli.evaluation.trust import NOTHING, Trust
from featcli.files import atomic_path, storage_errors
from featcli.heads.head import Head
from featcli.heads.kind import Arrays
from featcli.heads.registry import head_from_tensors, kinds_of
from featcli.metadata import KEY, CheckpointMetadata, TrustFacts, read_metadata

if TYPE_CHECKING:
    from torch import Tensor

    from featcli.backbones.stages import Backbone

_BACKBONE = "backbone."
_HEAD = "head."
_TRUST = "trust."
_TORCH_TYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U8": "uint8",
    "BOOL": "bool",
}
_NUMPY_TYPES = ("F64", "F32", "I64")  # of heads and of what goes with them
_VERSION = re.compile(r"""^__version__\s*(?::\s*\w+\s*)?=\s*["']([^"']+)["']""", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A model that predicts: images to features by `backbone`, features to logits of `metadata.classes` by `head`.

    `trust` goes with the head: `metadata.calibration` and `metadata.trust` are of it.
    """

    backbone: Backbone
    head: Head
    metadata: CheckpointMetadata
    trust: Trust = NOTHING


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
    return _arrays_sha256(head.tensors())


def trust_facts(trust: Trust) -> TrustFacts | None:
    """What a description has of it; None where nothing is known."""
    arrays = trust.arrays()
    return TrustFacts(sha256=_arrays_sha256(arrays), **trust.to_json()) if arrays else None


def _arrays_sha256(arrays: Mapping[str, NDArray[Any]]) -> str:
    digest = hashlib.sha256()
    for name, array in sorted(arrays.items()):
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
    arrays = {f"{_HEAD}{name}": array for name, array in checkpoint.head.tensors().items()}
    arrays |= {f"{_TRUST}{name}": array for name, array in checkpoint.trust.arrays().items()}
    tensors |= {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
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
    return Checkpoint(backbone, head, metadata, load_trust(path, metadata))


@dataclass(frozen=True, slots=True)
class StoredModel:
    """A checkpoint that was read and checked without torch; its network is built when it is asked for.

    Attributes:
        path: of the file.
        backbone: its description.
        head: on its features.
        metadata: what it says of itself.
        trust: what it knows of its own limits.
    """

    path: Path
    backbone: Description
    head: Head
    metadata: CheckpointMetadata
    trust: Trust = NOTHING

    def load(self) -> Backbone:
        """The backbone with its network.

        Raises:
            CheckpointError: the description builds no network.
        """
        return load_checkpoint(self.path).backbone


def read_checkpoint(path: Path) -> StoredModel:
    """Reads a checkpoint without torch, and checks that its tensors are those that were saved.

    Raises:
        CheckpointError: truncated, foreign, changed, or made by a newer featcli.
    """
    from featcli.data.pixels.preprocessing import Preprocessing

    metadata = read_metadata(path)
    facts = metadata.backbone
    try:
        preprocessing = Preprocessing.from_json(metadata.preprocessing)
        layer = str(Layer.parse(facts.layer))
    except (UsageError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise CheckpointError(f"{path} has a damaged description: backbone or preprocessing") from error
    head = load_head(path, metadata)
    if _stored_sha256(path, _BACKBONE) != facts.weights_sha256:
        raise _damaged(path)
    description = Description(
        facts.name, layer, facts.feature_size, preprocessing, facts.weights, facts.weights_sha256, facts.arguments
    )
    return StoredModel(path, description, head, metadata, load_trust(path, metadata))


def _stored_sha256(path: Path, prefix: str) -> str:
    """`canonical_sha256` of the tensors whose names begin so, from the bytes of the file."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            start = 8 + int.from_bytes(mapped[:8], "little")
            header = {
                name.removeprefix(prefix): entry
                for name, entry in json.loads(mapped[8:start]).items()
                if name.startswith(prefix)
            }
            for name, entry in sorted(header.items()):
                begin, end = entry["data_offsets"]
                dtype = _TORCH_TYPES.get(entry["dtype"], entry["dtype"])
                digest.update(f"{name} torch.{dtype} {tuple(entry['shape'])}\n".encode())
                digest.update(memoryview(mapped)[start + begin : start + end])
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise _damaged(path) from error
    return digest.hexdigest()


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


def load_trust(path: Path, metadata: CheckpointMetadata) -> Trust:
    """Reads what goes with the head, and checks it.

    Args:
        path: of the checkpoint.
        metadata: that it holds.

    Raises:
        CheckpointError: it is not what was saved.
    """
    facts = metadata.trust
    arrays = {} if facts is None else _arrays(path, _TRUST)
    if facts is not None and _arrays_sha256(arrays) != facts.sha256:
        raise _damaged(path)
    try:
        said = {} if facts is None else {"novelty": facts.novelty}
        return Trust.from_parts(metadata.calibration, said, arrays, len(metadata.classes))
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise CheckpointError(f"{path} has a damaged description: calibration or trust") from error


def _head_arrays(path: Path) -> Arrays:
    """The head's arrays. They are float32; what is not was damaged, and is missed by its name."""
    return {name: array for name, array in _arrays(path, _HEAD).items() if array.dtype == np.float32}


def _arrays(path: Path, prefix: str) -> dict[str, NDArray[Any]]:
    """The tensors whose names begin so, without that, of types that numpy has."""
    try:
        with safetensors.safe_open(path, framework="numpy") as file:
            names = [name for name in file.keys() if name.startswith(prefix)]
            return {
                name.removeprefix(prefix): file.get_tensor(name)
                for name in names
                if file.get_slice(name).get_dtype() in _NUMPY_TYPES
            }
    except (OSError, safetensors.SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error


def _damaged(path: Path) -> CheckpointError:
    return CheckpointError(f"{path} is damaged: its tensors are not those that were saved")


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
