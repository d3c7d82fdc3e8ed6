"""Files of features: npz, npy, safetensors, csv, parquet. Written row by row, so that memory stays bounded."""

from __future__ import annotations

import contextlib
import csv
import json
import struct
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from featcli.data.readers.reader import ImageRef
from featcli.errors import StorageError, UsageError
from featcli.extras import import_pyarrow
from featcli.features.extraction import Extractor
from featcli.files import atomic_path, check_output_file, remove_file, storage_errors, write_text
from featcli.text import csv_text, listing
from featcli.writers.formats import choose_format, refuse_on_terminal

FEATURE_FORMATS = ("npz", "npy", "safetensors", "csv", "parquet")
_NAMES = ("path", "label", "split")  # the columns of the list beside an npy
_CHUNK = 1 << 20
_MAX_HEADER = 100_000_000  # safetensors refuses larger ones
_ROW_GROUP = 4096


@dataclass(frozen=True, slots=True)
class LabelledRef:
    """An image and what is known of it; label -1 and an empty split where nothing is."""

    ref: ImageRef
    label: int = -1
    split: str = ""

    @property
    def path(self) -> str:
        """Its name, as files of features give it."""
        return self.ref.name


def check_format(output: Path, format: str | None, manifest: Path | None = None) -> str:
    """The format by name, else by the file's ending.

    Args:
        output: the path that the user gave.
        format: its name, or None.
        manifest: which names the images, and must not be written over; or None.

    Raises:
        UsageError: neither is one of `FEATURE_FORMATS`, or the format cannot go to this output.
        StorageError: nothing can be written there.
        EnvironmentFault: parquet without pyarrow.
    """
    chosen = choose_format(output, format, {f".{name}": name for name in FEATURE_FORMATS})
    place = check_output_file(output)
    refuse_on_terminal(chosen, place, ("csv",))
    if chosen == "npy" and place.is_stream:
        raise UsageError(
            f"npy has a file of names beside it, and there is no place beside '{output}'",
            f"Choose another --format: {listing([name for name in FEATURE_FORMATS if name != 'npy'])}.",
        )
    if chosen == "npy" and output.suffix == ".csv":
        raise UsageError(f"'{output}' is where the names beside an npy go", "Name the array .npy.")
    if _is_manifest(output, manifest):
        raise UsageError(f"the output {output} is the manifest", "Name another file with -o.")
    if chosen == "npy" and not _is_ours(output.with_suffix(".csv"), manifest):
        raise UsageError(
            f"'{output.with_suffix('.csv')}' is where the names beside an npy go, and it holds something else",
            "Name the array otherwise.",
        )
    if chosen == "parquet":
        import_pyarrow()
    return chosen


def _is_manifest(path: Path, manifest: Path | None) -> bool:
    return manifest is not None and path.exists() and manifest.exists() and path.samefile(manifest)


def _is_ours(names: Path, manifest: Path | None) -> bool:
    """Whether a list of names may be written here: nothing else is lost."""
    if _is_manifest(names, manifest):
        return False
    if not names.is_file():
        return True
    with storage_errors(names, doing="read"), names.open("rb") as file:
        return file.readline(100).rstrip() in (b"", ",".join(_NAMES).encode())


class FeatureFile:
    """Collects rows: features go to a temporary file at once, names stay in memory.

    Args:
        spool: takes the bytes of the features.
        feature_size: D.
        classes: names that labels index.
        about: what computed the features, as JSON.
    """

    def __init__(self, spool: IO[bytes], feature_size: int, classes: Sequence[str], about: str) -> None:
        self.spool = spool
        self.feature_size = feature_size
        self.classes = list(classes)
        self.about = about
        self.images: list[LabelledRef] = []
        self.errors: list[tuple[str, str]] = []

    def add(self, image: LabelledRef, feature: NDArray[np.float32]) -> None:
        """Adds one row; feature (D,) float32."""
        self.images.append(image)
        self.spool.write(feature.astype("<f4", copy=False).tobytes())

    def add_error(self, image: LabelledRef, reason: str) -> None:
        """Lists an image that has no row."""
        self.errors.append((image.path, reason))

    def chunks(self, size: int = _CHUNK) -> Iterator[bytes]:
        """The bytes of all features, in pieces."""
        self.spool.seek(0)
        while piece := self.spool.read(size):
            yield piece

    def blocks(self, rows: int) -> Iterator[tuple[list[LabelledRef], NDArray[np.float32]]]:
        """Images and features (rows, D), so many rows at a time."""
        for start, piece in enumerate(self.chunks(rows * self.feature_size * 4)):
            features = np.frombuffer(piece, dtype="<f4").reshape(-1, self.feature_size)
            yield self.images[start * rows : start * rows + len(features)], features

    def columns(self) -> dict[str, NDArray[Any]]:
        """Everything but the features, as arrays that load without pickle."""
        return {
            "paths": np.array([image.path for image in self.images], dtype=np.str_),
            "labels": np.array([image.label for image in self.images], dtype=np.int64),
            "splits": np.array([image.split for image in self.images], dtype=np.str_),
            "classes": np.array(self.classes, dtype=np.str_),
            "errors": np.array(self.errors, dtype=np.str_).reshape(-1, 2),
            "about": np.array(self.about),
        }

    def label_name(self, image: LabelledRef) -> str:
        """The class of an image, or nothing."""
        return self.classes[image.label] if image.label >= 0 else ""


@contextlib.contextmanager
def open_feature_file(output: Path, format: str, extractor: Extractor, classes: Sequence[str]) -> Iterator[FeatureFile]:
    """A file to add rows to; `output` appears, complete, when the block ends well.

    Raises:
        StorageError: it cannot be written.
    """
    write = {"npz": _npz, "npy": _npy, "safetensors": _safetensors, "csv": _csv, "parquet": _parquet}[format]
    about = json.dumps(extractor.space.to_json(), sort_keys=True)
    with atomic_path(output) as temporary, storage_errors(output):
        with tempfile.TemporaryFile(dir=temporary.parent, buffering=_CHUNK) as spool:
            file = FeatureFile(spool, extractor.backbone.feature_size, classes, about)
            yield file
            write(file, temporary, output)


def _npz(file: FeatureFile, temporary: Path, output: Path) -> None:
    with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        with archive.open("features.npy", "w", force_zip64=True) as entry:
            _write_npy(file, entry)
        for name, array in file.columns().items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                npy.write_array(entry, array, allow_pickle=False)


def _npy(file: FeatureFile, temporary: Path, output: Path) -> None:
    """The array, and beside it `.csv` with a line per row; `.errors.csv` where some images have none."""
    with temporary.open("wb") as target:
        _write_npy(file, target)
    rows = ([image.path, file.label_name(image), image.split] for image in file.images)
    write_text(output.with_suffix(".csv"), csv_text([_NAMES], rows))
    errors = output.with_suffix(".errors.csv")
    if file.errors:
        write_text(errors, csv_text([("path", "error")], file.errors))
    else:
        remove_file(errors)  # of an earlier run


def _write_npy(file: FeatureFile, target: IO[bytes]) -> None:
    shape = (len(file.images), file.feature_size)
    npy.write_array_header_1_0(target, {"descr": "<f4", "fortran_order": False, "shape": shape})
    for piece in file.chunks():
        target.write(piece)


def _safetensors(file: FeatureFile, temporary: Path, output: Path) -> None:
    """Tensors `features` and `labels`; the names are in the header's metadata, as JSON."""
    labels = np.array([image.label for image in file.images], dtype="<i8").tobytes()
    size = len(file.images) * file.feature_size * 4
    names = {
        "paths": [image.path for image in file.images],
        "splits": [image.split for image in file.images],
        "classes": file.classes,
        "errors": file.errors,
    }
    header = {
        "__metadata__": {"about": file.about, **{name: json.dumps(value) for name, value in names.items()}},
        "features": {"dtype": "F32", "shape": [len(file.images), file.feature_size], "data_offsets": [0, size]},
        "labels": {"dtype": "I64", "shape": [len(file.images)], "data_offsets": [size, size + len(labels)]},
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    if len(text) > _MAX_HEADER:
        raise StorageError(f"{len(file.images)} names are too many for a safetensors header", "Use npz or parquet.")
    with temporary.open("wb") as target:
        target.write(struct.pack("<Q", len(text)) + text)
        for piece in file.chunks():
            target.write(piece)
        target.write(labels)


def _csv(file: FeatureFile, temporary: Path, output: Path) -> None:
    """A row per image: path, label, split, error, and the features, empty where there is an error."""
    header = ["path", "label", "split", "error", *(f"f{index}" for index in range(file.feature_size))]
    with temporary.open("w", encoding="utf-8", errors="surrogateescape", newline="") as target:
        writer = csv.writer(target, lineterminator="\n")
        writer.writerow(header)
        for images, features in file.blocks(256):
            for image, feature in zip(images, features, strict=True):
                writer.writerow(
                    [image.path, file.label_name(image), image.split, "", *map(str, feature)]
                )  # the shortest exact text of a float32
        writer.writerows([path, "", "", reason, *[""] * file.feature_size] for path, reason in file.errors)


def _parquet(file: FeatureFile, temporary: Path, output: Path) -> None:
    """Columns path, label, split, features (a list of D floats); errors and classes in the file's metadata."""
    pyarrow, parquet = import_pyarrow()
    text = pyarrow.string()
    metadata = {"about": file.about, "classes": json.dumps(file.classes), "errors": json.dumps(file.errors)}
    vector = pyarrow.list_(pyarrow.float32(), file.feature_size)
    schema = pyarrow.schema([("path", text), ("label", text), ("split", text), ("features", vector)], metadata=metadata)
    with parquet.ParquetWriter(temporary, schema) as writer:
        for images, features in file.blocks(_ROW_GROUP):
            columns = [
                [image.path.encode("utf-8", "replace").decode() for image in images],
                [file.label_name(image) or None for image in images],
                [image.split or None for image in images],
                pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(features.reshape(-1)), file.feature_size),
            ]
            writer.write_table(pyarrow.table(columns, schema=schema))
