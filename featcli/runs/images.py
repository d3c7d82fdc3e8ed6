"""What changed in the images since the run that another one replaces."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace

from featcli.config import Config, load_config
from featcli.data.dataset import SPLITS, Dataset, Sample, fingerprint
from featcli.data.naming.source import relative_name
from featcli.errors import CheckpointError, FeatcliError
from featcli.events import Emit, Fact, Warn
from featcli.metadata import CheckpointMetadata
from featcli.runs.folder import CONFIG_NAME, IMAGES_NAME, Run, RunImage


@dataclass(frozen=True, slots=True)
class Changes:
    """How many images are new, gone, at another path, of other bytes, under another class, in another split.

    An image counts once among the first five, and besides under `resplit` if that changed.
    """

    added: int = 0
    removed: int = 0
    renamed: int = 0
    edited: int = 0
    relabelled: int = 0
    resplit: int = 0

    def __str__(self) -> str:
        counts = asdict(self)
        resplit = counts.pop("resplit")
        parts = [f"{count} {what}" for what, count in counts.items() if count]
        if resplit:
            parts.append(f"{resplit} in another split")
        return ", ".join(parts) or "no image changed"

    def to_json(self) -> dict[str, int]:
        """The counts by name."""
        return asdict(self)


def list_images(data: Dataset) -> list[RunImage]:
    """The images of a data set, as a run keeps them, in its order."""
    return [
        RunImage(sample.path, sample.split, data.classes[sample.label], sample.digest.hex() if sample.digest else "")
        for sample in data.samples
    ]


def changes_since(run: Run, images: Sequence[RunImage], config: Config) -> Changes | None:
    """What changed since the run in a folder; None where it has no list of its images.

    Paths are compared as seen from the folder or manifest that each config names: images that were moved together are
    where they were.

    Raises:
        CheckpointError: the list is damaged.
    """
    before = run.read_images()
    if before is None:
        return None
    try:
        then = load_config(run.folder / CONFIG_NAME).config
    except FeatcliError:
        then = config
    return compare_images(_relative(before, then), _relative(images, config))


def _relative(images: Sequence[RunImage], config: Config) -> list[RunImage]:
    base = config.data.root or (config.data.manifest.parent if config.data.manifest else None)
    return [replace(image, path=relative_name(image.path, base)) for image in images] if base else list(images)


def describe_changes(run: Run, images: Sequence[RunImage], config: Config, emit: Emit) -> Changes | None:
    """Says in one line what changed since the run in this folder; None, and no line, where there is none."""
    try:
        changes = changes_since(run, images, config)
    except CheckpointError as error:
        emit(Warn(f"{error.message}; what is new since the run that this replaces is not known"))
        return None
    if changes is not None:
        emit(Fact("changes", f"{changes}, since the run that this replaces"))
    return changes


def training_digests(run: Run, metadata: CheckpointMetadata) -> frozenset[bytes] | None:
    """The sha256 of the images that the checkpoint in this folder was trained on; None where there is no list of them.

    The list is the checkpoint's own where its training and validation images are those that the checkpoint names by
    their hashes.

    Raises:
        CheckpointError: the list is damaged, or of another run than the checkpoint.
        StorageError: it cannot be read.
    """
    images = run.read_images()
    if images is None:
        return None
    label_of = {name: label for label, name in enumerate(metadata.classes)}
    samples = [
        Sample(image.path, label_of[image.label], image.split, bytes.fromhex(image.sha256) or None)
        for image in images
        if image.label in label_of and image.split in SPLITS and re.fullmatch("([0-9a-f]{64})?", image.sha256)
    ]
    found = {split: fingerprint(sample for sample in samples if sample.split == split) for split in SPLITS}
    is_own = found["val"] == metadata.validation.fingerprint
    is_own &= metadata.training_fingerprint in (found["train"], None)
    if len(samples) < len(images) or not is_own:
        raise CheckpointError(f"{run.folder / IMAGES_NAME} is damaged, or of another run than the checkpoint beside it")
    return frozenset(sample.digest for sample in samples if sample.split == "train" and sample.digest is not None)


def compare_images(before: Sequence[RunImage], now: Sequence[RunImage]) -> Changes:
    """What changed between two lists of images.

    The same path is the same image: edited where its bytes differ. What is gone from one path and appeared, with the
    same bytes, at another was renamed, or relabelled where its class differs.
    """
    left = {image.path: image for image in before}
    pairs = [(left.pop(image.path, None), image) for image in now]
    gone = defaultdict(list)
    for old in left.values():
        gone[old.sha256].append(old)
    pairs = [
        (gone[new.sha256].pop(0) if old is None and new.sha256 and gone[new.sha256] else old, new) for old, new in pairs
    ]
    moved = [(old, new) for old, new in pairs if old is not None]
    kinds = Counter(_kind(old, new) for old, new in moved)
    return Changes(
        added=len(now) - len(moved),
        removed=len(before) - len(moved),
        renamed=kinds["renamed"],
        edited=kinds["edited"],
        relabelled=kinds["relabelled"],
        resplit=sum(old.split != new.split for old, new in moved),
    )


def _kind(old: RunImage, new: RunImage) -> str:
    if old.sha256 != new.sha256:
        return "edited"
    if old.label != new.label:
        return "relabelled"
    return "renamed" if old.path != new.path else "same"
