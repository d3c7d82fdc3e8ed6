"""The images that an exported file is compared with its checkpoint on, and those that lower precision is fitted to."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from featcli.data.dataset import fingerprint, open_labelled
from featcli.data.naming.folders import Ignored
from featcli.data.pixels.loading import load_pixels
from featcli.data.pixels.preprocessing import Preprocessing
from featcli.data.readers.files import file_ref
from featcli.data.readers.reader import ImageRef, UnreadableImage
from featcli.errors import DatasetError, FeatcliError, UsageError
from featcli.events import Note, Progress
from featcli.features.extraction import compute_table
from featcli.features.store import FeatureStore
from featcli.metadata import CheckpointMetadata
from featcli.predictor import Predictor
from featcli.runtime import Runtime
from featcli.sampling import evenly
from featcli.workflow.inputs import expand
from featcli.workflow.run_data import open_data_of
from featcli.workflow.session import Session

_WAYS = "Name images: --images DIR, labelled or not. Without any comparison: --unchecked."
_FEWEST = 4  # images of a folder, of which half are compared on and half fitted to


@dataclass(frozen=True, slots=True)
class ExportImages:
    """Which images, as far as they are known.

    Attributes:
        compared: N images to compare on.
        labels: (N,) classes of these; None where they are not known.
        words: what they are.
        fitted: images that lower precision is fitted to; none of `compared`.
        changed: whether the run's validation images are no longer those that the checkpoint was validated on.
    """

    compared: Sequence[ImageRef]
    labels: NDArray[np.int64] | None
    words: str
    fitted: Sequence[ImageRef]
    changed: bool = False


def find_images(
    session: Session, path: Path, metadata: CheckpointMetadata, runtime: Runtime, folder: Path | None, *, fit: bool
) -> ExportImages:
    """Those of the run that a checkpoint lies in, or of a folder.

    Args:
        session: the invocation.
        path: of the checkpoint.
        metadata: that it holds.
        runtime: how many threads read.
        folder: of images, in folders of its classes or not; None for the run's.
        fit: whether images to fit to are needed.

    Raises:
        UsageError: there are none.
    """
    if folder is not None:
        return _of_folder(session, folder, metadata, runtime, fit=fit)
    try:
        data = open_data_of(session, path, metadata, runtime, doing="compare")
    except FeatcliError as error:
        raise _none(error.message, fit=fit) from error
    split = "val" if data.split("val") else "test"
    samples = data.split(split)
    if not samples:
        raise _none(f"{data.origin} holds out none", fit=fit)
    return ExportImages(
        [sample.ref for sample in samples],
        np.array([sample.label for sample in samples], dtype=np.int64),
        "validation images" if split == "val" else "test images",
        [sample.ref for sample in data.split("train")],
        changed=split == "val" and fingerprint(samples) != metadata.validation.fingerprint,
    )


def _none(reason: str, *, fit: bool) -> UsageError:
    what = "fit --int8 to, and to compare it on" if fit else "compare the file with the checkpoint on"
    return UsageError(f"no images to {what}: {reason}", "Name images: --images DIR, labelled or not." if fit else _WAYS)


def _of_folder(
    session: Session, folder: Path, metadata: CheckpointMetadata, runtime: Runtime, *, fit: bool
) -> ExportImages:
    labels: NDArray[np.int64] | None = None
    if not folder.is_dir():
        what = f"{folder} is a file, not a folder" if folder.exists() else f"no such folder: {folder}"
        raise UsageError(f"--images: {what}", "Name a folder of images, labelled or not.")
    try:
        samples = open_labelled(
            folder, metadata.classes, splits=("val", "test"), workers=runtime.workers, emit=session.emit
        )
        refs = [sample.ref for sample in samples]
        labels = np.array([sample.label for sample in samples], dtype=np.int64)
    except DatasetError as error:
        session.emit(Note(f"--images {folder} counts as unlabelled: {error.message}"))
    if labels is None:
        refs = [_hashed(ref) for ref in expand([str(folder)], Ignored())]
    if len(refs) < (_FEWEST if fit else 1):
        few = f"{len(refs)} images" if refs else "no images"
        raise UsageError(
            f"{few} in {folder}: too few to {'fit to and ' if fit else ''}compare on",
            "Name a larger folder: --images DIR",
        )
    # A run's own training images are not at hand: half of these take their place.
    compared = np.arange(len(refs))[:: 2 if fit else 1]
    return ExportImages(
        [refs[index] for index in compared],
        None if labels is None else labels[compared],
        "images of a folder" + ("" if labels is not None else ", without labels"),
        refs[1::2] if fit else [],
    )


def _hashed(ref: ImageRef) -> ImageRef:
    """With the hash of its bytes, where it can be read."""
    try:
        return file_ref(ref.name, hashlib.sha256(ref.reader.read(ref)).digest())
    except UnreadableImage:
        return ref


def expected_predictions(
    session: Session, predictor: Predictor, refs: Sequence[ImageRef]
) -> tuple[NDArray[np.float64], dict[int, str]]:
    """What the checkpoint predicts: (N, K), zeros for what cannot be read; and why it cannot, by index."""
    extractor = predictor.extractor
    store = FeatureStore(session.cache, extractor.space, extractor.backbone.feature_size, session.emit, read_only=True)
    batch_size = session.loaded.config.loader.batch_size
    table = compute_table(extractor, refs, store=store, writer=None, batch_size=batch_size, emit=session.emit)
    readable = table.readable
    predictions = np.zeros((len(refs), len(predictor.task.names)))
    if readable.any():
        predictions[readable] = predictor.predictions(table.features[readable])
    return predictions, table.errors


def squares_of(
    session: Session, refs: Sequence[ImageRef], preprocessing: Preprocessing, most: int
) -> list[NDArray[np.uint8]]:
    """Decoded squares (crop, crop, 3) of some images, spread evenly over them; those that cannot be read are left out.

    Raises:
        UsageError: none can be read.
    """
    chosen = [refs[index] for index in evenly(len(refs), most)]
    squares = []
    for done, ref in enumerate(chosen):
        session.emit(Progress("fit", done, len(chosen)))
        loaded = load_pixels(ref, preprocessing.pixels, decoding=preprocessing.decoding)
        if loaded.value is not None:
            squares.append(loaded.value)
    session.emit(Progress("fit", len(chosen), len(chosen), finished=True))
    if not squares:
        raise UsageError("--int8: no image to fit to can be read", "Name images: --images DIR.")
    return squares
