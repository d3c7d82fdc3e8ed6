"""Compiled models, kept beside the feature store: a disposable folder for each, complete or absent.

`engines/v1/KEY/` holds `model.json` (what the model is, how it agreed with plain torch, the checksums of the other
files), `model.bin` (the compiled model, as its engine exports it) and `probe.safetensors` (features of the first real
images by plain torch and by the engine). A model that was refused has no `model.bin`, so that it is not tried again.
Nothing depends on this folder: where it is damaged, of another version or cannot be written, models are made anew.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numpy.typing import NDArray

from featcli.errors import StorageError
from featcli.features.place import NO_CACHE

LAYOUT = "v1"
MOST_BYTES = 4_000_000_000  # of all compiled models: those that were used least recently make room
_TENSOR = "features"
_FACTS, _MODEL, _PROBE = "model.json", "model.bin", "probe.safetensors"


@dataclass(frozen=True, slots=True)
class Agreement:
    """How an engine's features compare with those of plain torch in fp32, on the first real images.

    Attributes:
        images: how many.
        cosine: the lowest of all images.
        length: the largest relative difference of the features' lengths.
        seconds: of a pass of the engine over a tile.
        plain_seconds: of plain torch, in the same precision.
    """

    images: int
    cosine: float
    length: float
    seconds: float
    plain_seconds: float

    def __str__(self) -> str:
        images = f"{self.images} image{'s' if self.images != 1 else ''}"
        return f"lowest cosine to plain fp32 {self.cosine:.6f} on {images}"


@dataclass(frozen=True, slots=True)
class KeptModel:
    """A model that was compiled, or refused.

    Attributes:
        agreement: with plain torch; None where it could not be compared.
        refused: why it is not used; None where it is.
        probe: (2, n, D) float32, features by plain torch in fp32 and by the engine; None where there are none.
    """

    agreement: Agreement | None
    refused: str | None = None
    probe: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class KeptFolder:
    """The folder of a model, as whoever makes room sees it.

    Attributes:
        folder: named by the model's key.
        described: what the model is; empty where that is not known.
        bytes: of its files.
        last_used: seconds since 1970.
    """

    folder: Path
    described: dict[str, Any]
    bytes: int
    last_used: float


@dataclass(frozen=True, slots=True)
class ModelCache:
    """The compiled models of one cache folder. What lies there, or cannot, makes no method raise but `remove`.

    Attributes:
        folder: of the feature store.
        read_only: whether nothing new is kept.
    """

    folder: Path
    read_only: bool = False

    def key(self, described: Mapping[str, Any]) -> str:
        """The name of a model's folder: 32 hex digits of a hash of all that it depends on."""
        return hashlib.sha256(json.dumps(described, sort_keys=True).encode()).hexdigest()[:32]

    def find(self, key: str) -> KeptModel | None:
        """What is known of a model; None where nothing is, or it is damaged."""
        place = self._place(key)
        try:
            facts = json.loads((place / _FACTS).read_text(encoding="utf-8"))
            agreement = None if facts["agreement"] is None else Agreement(**facts["agreement"])
            refused = None if facts["refused"] is None else str(facts["refused"])
            probe = _checked(place / _PROBE, facts["sha256"]) if _PROBE in facts["sha256"] else None
            if refused is None and not (place / _MODEL).is_file():
                return None
            return KeptModel(agreement, refused, None if probe is None else safetensors.numpy.load(probe)[_TENSOR])
        except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError):
            return None

    def load(self, key: str) -> bytes | None:
        """The bytes of a compiled model; None where they are missing or not those that were written."""
        place = self._place(key)
        try:
            facts = json.loads((place / _FACTS).read_text(encoding="utf-8"))
            data = _checked(place / _MODEL, facts["sha256"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        with contextlib.suppress(OSError):  # of another user
            os.utime(place)
        return data

    def keep(self, key: str, described: Mapping[str, Any], model: KeptModel, data: bytes | None) -> str | None:
        """Writes a model, complete or not at all, and makes room for it.

        Returns:
            Why it could not be kept; None where it was.
        """
        if self.read_only:
            return "nothing is written"
        if NO_CACHE in self.folder.parents or self.folder == NO_CACHE:
            return "there is no folder for it"
        place = self._place(key)
        temporary = place.with_name(f".{key}-{secrets.token_hex(4)}.tmp")
        try:
            temporary.mkdir(parents=True)
            files = {} if data is None else {_MODEL: data}
            if model.probe is not None:
                files[_PROBE] = safetensors.numpy.save({_TENSOR: np.ascontiguousarray(model.probe)})
            facts = {
                "described": dict(described),
                "agreement": None if model.agreement is None else asdict(model.agreement),
                "refused": model.refused,
                "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
            }
            files[_FACTS] = json.dumps(facts, sort_keys=True, indent=1).encode()
            for name, content in files.items():
                _write(temporary / name, content)
            self._replace(place, temporary)
            self._make_room(key)
        except OSError as error:
            return error.strerror or str(error)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        return None

    def forget(self, key: str) -> None:
        """Removes a model that turned out to be of no use."""
        shutil.rmtree(self._place(key), ignore_errors=True)

    def kept(self) -> list[KeptFolder]:
        """All models, the one used last first."""
        found = []
        with contextlib.suppress(OSError):
            for place in self._root.iterdir():
                if re.fullmatch(r"[0-9a-f]{32}", place.name) and place.is_dir():
                    used = place.stat().st_mtime
                    found.append(KeptFolder(place, _described(place), sum(_sizes(place)), used))
        return sorted(found, key=lambda model: (-model.last_used, model.folder.name))

    def remove(self, model: KeptFolder) -> int:
        """Removes a model; gives the bytes that were freed.

        Raises:
            StorageError: it cannot be removed.
        """
        try:
            shutil.rmtree(model.folder)
        except FileNotFoundError:
            return 0
        except OSError as error:
            raise StorageError(f"cannot remove {model.folder}: {error.strerror or error}") from error
        for empty in (self._root, self._root.parent):
            with contextlib.suppress(OSError):  # holds more
                empty.rmdir()
        return model.bytes

    @property
    def _root(self) -> Path:
        return self.folder / "engines" / LAYOUT

    def _place(self, key: str) -> Path:
        return self._root / key

    def _replace(self, place: Path, temporary: Path) -> None:
        """Puts a folder in its place; another process may have put the same model there meanwhile."""
        try:
            os.rename(temporary, place)
        except OSError:
            aside = place.with_name(f".{place.name}-{secrets.token_hex(4)}.tmp")
            os.rename(place, aside)
            shutil.rmtree(aside, ignore_errors=True)
            with contextlib.suppress(OSError):  # another process was faster
                os.rename(temporary, place)

    def _make_room(self, key: str) -> None:
        total = 0
        for model in self.kept():
            total += model.bytes
            if total > MOST_BYTES and model.folder.name != key:
                shutil.rmtree(model.folder, ignore_errors=True)
        for path in self._root.iterdir():
            if path.name.startswith(".") and time.time() - path.stat().st_mtime > 24 * 3600:  # of a killed writer
                shutil.rmtree(path, ignore_errors=True)


def _described(place: Path) -> dict[str, Any]:
    try:
        facts = json.loads((place / _FACTS).read_text(encoding="utf-8"))["described"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return facts if isinstance(facts, dict) else {}


def _sizes(place: Path) -> Iterator[int]:
    with contextlib.suppress(OSError):
        for entry in os.scandir(place):
            yield entry.stat().st_size


def _checked(path: Path, sums: Mapping[str, str]) -> bytes:
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != sums[path.name]:
        raise ValueError("its checksum is wrong")
    return data


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
