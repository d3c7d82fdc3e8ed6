"""From a file of weights to what it holds, as plain containers and tensors, or what the file is instead.

No code from a file is run. Of a pickle, torch's `weights_only` reader makes tensors and plain containers; where it
holds objects of other classes beside them (settings, counters, numpy's scalars), their names are found without reading
them, and each object becomes an empty `Inert` in their place. Names that only an attack would need stay refused.
"""

from __future__ import annotations

import io
import json
import os
import pickletools
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import safetensors.torch
import torch

from featcli.errors import WeightsError
from featcli.signatures import HEAD_BYTES, recognise
from featcli.text import did_you_mean, first_few

_SAVE = "Save a state dict instead: torch.save(model.state_dict(), 'weights.pth')."
_AGAIN = "Fetch or copy it again."
_PICKLES = tuple(bytes([0x80, protocol]) for protocol in range(2, 6))
_MOST_PICKLES = 5  # torch's older format is that many in a row, before the bytes of the tensors
_LARGEST_HEADER = 100_000_000  # bytes, of a safetensors file: the format's own limit
_LARGEST_INDEX = 50_000_000  # bytes, of JSON
_URL = re.compile(r"(?:^|/)(https?|s3|gs|hf):/+(.*)")  # as a path, which has one slash for two
# Modules whose functions do things; a training script has no reason to store them.
_NEVER = frozenset(
    "builtins __builtin__ os posix nt sys subprocess shutil socket importlib runpy pty ctypes pickle marshal operator "
    "code codeop webbrowser asyncio threading multiprocessing tempfile requests urllib http ftplib".split()
)


class Inert:
    """Stands for an object of another class: whatever it is given is dropped."""

    def __new__(cls, *args: object, **kwargs: object) -> Inert:
        """Takes anything."""
        return super().__new__(cls)

    def __init__(self, *args: object, **kwargs: object) -> None:
        pass

    def __setstate__(self, state: object) -> None:
        pass


def read_weights(path: Path) -> tuple[Any, tuple[str, ...]]:
    """Reads safetensors, or what torch has saved; the content decides which, not the ending.

    Returns:
        What the file holds, and the names of the classes that became `Inert`.

    Raises:
        WeightsError: no such file, damaged, something else (which is named), or it could run code.
    """
    if path.is_dir():
        raise _a_folder(path)
    if not path.is_file():
        url = _URL.search(os.fspath(path))
        if url is not None:
            raise WeightsError(f"{url[1]}://{url[2]} is a URL; weights are one file", "Fetch it, and name the file.")
        near = did_you_mean(path.name, os.listdir(path.parent)) if path.parent.is_dir() else ""
        raise WeightsError(f"no such weights file: {path}{near}")
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror or error}") from error
    if not (_is_safetensors(head) or head.startswith((b"PK", *_PICKLES))):
        raise _something_else(path, head)
    try:
        if _is_safetensors(head):
            return safetensors.torch.load_file(path), ()
        if head.startswith(b"PK"):
            _require_tensors(path)
        return _unpickled(path)
    except WeightsError:
        raise
    except Exception as error:  # torch's reader raises whatever a damaged file leads it to: KeyError, struct.error, ...
        reason = (str(error).splitlines() or ["damaged"])[0]
        raise WeightsError(f"{path} cannot be read as weights: {reason}", _AGAIN) from error


def refused(path: Path, classes: Sequence[str]) -> WeightsError:
    """The error for a file that holds objects and, without them, no weights."""
    model = [name for name in classes if ".nn." in name or ".models." in name]
    what = f"a whole pickled model ({first_few(model)})" if model else f"objects ({first_few(classes)})"
    return WeightsError(
        f"{path} holds more than tensors and is refused, since reading it could run code: {what}", _SAVE
    )


def _is_safetensors(head: bytes) -> bool:
    """Whether it begins with the length of a JSON header, and that header."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= _LARGEST_HEADER


def _unpickled(path: Path) -> tuple[Any, tuple[str, ...]]:
    classes = tuple(dict.fromkeys(_classes_in(path)))
    forbidden = [name for name in classes if name.split(".")[0] in _NEVER and name not in _HARMLESS]
    if forbidden:
        raise refused(path, forbidden)
    with torch.serialization.safe_globals([(Inert, name) for name in classes]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, about pickles of another protocol and sparse tensors
        try:
            held = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:
            if type(error).__name__ != "UnpicklingError":
                raise
            strange = [name for name in classes if not name.startswith(_TENSORS)]
            if not strange:
                raise WeightsError(f"{path} is a damaged file of torch, or another pickle", _SAVE) from error
            raise refused(path, strange) from error
    return held, tuple(name for name in classes if not name.startswith(_TENSORS))


# Of modules in `_NEVER`, what torch's reader itself takes.
_HARMLESS = frozenset(
    f"{module}.{name}"
    for module in ("builtins", "__builtin__")
    for name in (
        "bytearray",
        "set",
        "frozenset",
        "complex",
        "int",
        "float",
        "str",
        "bytes",
        "list",
        "dict",
        "tuple",
        "range",
        "slice",
        "object",
    )
)
# What torch's reader makes by itself, and so is no stranger in a file of tensors.
_TENSORS = tuple(
    "torch._utils. torch.storage. torch._tensor. torch.nn.parameter. torch.serialization. torch.Tensor torch.Size "
    "torch.device torch.float torch.int torch.bfloat torch.bool torch.Float torch.Half torch.BFloat torch.Double "
    "torch.Long torch.Int torch.Short torch.Char torch.Byte torch.Bool collections. builtins. __builtin__.".split()
)


def _classes_in(path: Path) -> Iterator[str]:
    """The names of all classes and functions in torch's pickles, found by their opcodes; nothing is unpickled."""
    with path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            file.seek(0)
            yield from _globals_of(file)
            return
        with zipfile.ZipFile(file) as archive:
            for name in archive.namelist():
                if name == "data.pkl" or name.endswith("/data.pkl"):
                    yield from _globals_of(io.BytesIO(archive.read(name)))


def _globals_of(file: BinaryIO) -> Iterator[str]:
    for _ in range(_MOST_PICKLES):
        words: list[str] = []  # strings on their way to STACK_GLOBAL
        try:
            for opcode, argument, _ in pickletools.genops(file):
                if opcode.name in ("GLOBAL", "INST"):
                    yield str(argument).replace(" ", ".")
                elif opcode.name == "STACK_GLOBAL":
                    yield ".".join(words[-2:])
                elif isinstance(argument, str):
                    words.append(argument)
        except Exception:  # the bytes of the tensors, or damage: torch's reader says which
            return


# What else it may be


def _require_tensors(path: Path) -> None:
    """Refuses a ZIP archive that is not one of torch's archives of tensors.

    Raises:
        WeightsError: with what it is.
    """
    if not zipfile.is_zipfile(path):
        raise WeightsError(f"{path} is cut off: the end of its archive is missing", _AGAIN)
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    inside = {name.split("/", 1)[-1] for name in names}
    if any(name.startswith("code/") for name in inside) or "constants.pkl" in inside:
        step = "In Python: torch.save(torch.jit.load(FILE).state_dict(), 'weights.pth'). It runs the program."
        raise WeightsError(f"{path} is a TorchScript program, not a state dict", step)
    if not any(name == "data.pkl" for name in inside):
        if any(name.endswith(".npy") for name in names):
            raise WeightsError(f"{path} is an archive of NumPy arrays (.npz), not of torch's tensors", _CONVERT)
        if "model.weights.h5" in names:
            raise WeightsError(f"{path} is a Keras model", _OTHER)
        raise WeightsError(f"{path} is a ZIP archive without torch's tensors", "Unpack it, and name the file inside.")


_CONVERT = "Convert it: torch.save({name: torch.from_numpy(array) ...}, 'weights.pth')."
_OTHER = "featcli reads torch's weights: a state dict (.pth) or safetensors."


def _something_else(path: Path, head: bytes) -> WeightsError:
    if not head:
        return WeightsError(f"{path} is empty", _AGAIN)
    kind = recognise(head)
    for words, signature, endings, step in _FOREIGN:
        if head.startswith(signature) if signature else kind is None and path.name.lower().endswith(endings):
            return WeightsError(f"{path} is {words}, not a state dict", step)
    if kind is None:
        return WeightsError(f"{path} is not a file of weights", f"{_OTHER} Is it damaged? {_AGAIN}")
    if kind.words == "a JSON document" and (parts := _parts_of_index(path)):
        step = "Join them in Python: save one state dict with all of their tensors."
        return WeightsError(f"{path} is the index of weights that lie in {len(parts)} files: {first_few(parts)}", step)
    steps = {
        "a Git LFS pointer": f"{kind.step[0].upper()}{kind.step[1:]}.",
        "an HTML page": "A failed download, probably (a page to log in, a quota): fetch it again, by hand.",
        "nothing but zeros": _AGAIN,
        "a gzip archive": "Unpack it.",
        "a tar archive": "Unpack it, and name the file inside; of torch before 0.2 it is a format of its own.",
    }
    return WeightsError(f"{path} is {kind.words}, not a file of weights", steps.get(kind.words, _OTHER))


# Words, the first bytes (else the ending decides, where the bytes tell nothing), and the next step.
_FOREIGN: tuple[tuple[str, bytes, tuple[str, ...], str], ...] = (
    ("an HDF5 file, as Keras writes", b"\x89HDF\r\n\x1a\n", (), _OTHER),
    ("a GGUF file of quantised tensors", b"GGUF", (), _OTHER),
    ("an array of NumPy (.npy)", b"\x93NUMPY", (), _CONVERT),
    ("an ONNX graph", b"", (".onnx",), "Take the state dict that it was exported from."),
    ("a TensorFlow graph", b"", (".pb", ".tflite", ".index"), _OTHER),
    ("a file of JAX or Flax", b"", (".msgpack",), _OTHER),
)


def _parts_of_index(path: Path) -> list[str]:
    """The files that an index of Hugging Face's names; none where it is no index."""
    if path.stat().st_size > _LARGEST_INDEX:
        return []
    try:
        content = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        return []
    where = content.get("weight_map") if isinstance(content, Mapping) else None
    return sorted({str(part) for part in where.values()}) if isinstance(where, Mapping) else []


def _a_folder(path: Path) -> WeightsError:
    names = sorted(name for name in os.listdir(path) if name.lower().endswith((".safetensors", ".pth", ".pt", ".bin")))
    best = "model.safetensors" if "model.safetensors" in names else next(iter(names), None)
    hint = f"Name the file: {path / best}." if best else "There is no file of weights in it."
    return WeightsError(f"{path} is a folder; weights are one file", hint)
