"""A labelled folder of images as one value: classes in order, every image with its split, label and content hash."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from featcli.data.folders import SPLIT_FOLDERS, Ignored, is_image_name, subfolders, walk_images
from featcli.data.images import UnreadableImage, read_file
from featcli.data.loading import ordered_batches
from featcli.data.splits import split_by_hash
from featcli.errors import DatasetError, did_you_mean
from featcli.events import Emit, Progress

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of a data set.

    Attributes:
        path: absolute, as reached from the root (links are not resolved).
        label: index into the data set's classes.
        split: `train`, `val` or `test`.
        digest: sha256 of the file's bytes, or None where they could not be read.
    """

    path: str
    label: int
    split: str
    digest: bytes | None

    @property
    def unit(self) -> str:
        """What a split never divides: images of identical content."""
        return self.digest.hex() if self.digest else self.path


@dataclass(frozen=True, slots=True)
class Dataset:
    """Images in split order, then in folder order.

    Attributes:
        root: the folder.
        classes: names sorted by code point, from train.
        samples: of all splits.
        rule: how the splits came about, as a checkpoint keeps it.
        ignored: what the walk passed over, in words; empty where there was nothing.
    """

    root: Path
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    rule: dict[str, Any]
    ignored: str = ""

    def split(self, name: str) -> tuple[Sample, ...]:
        """The samples of one split, in folder order."""
        return tuple(sample for sample in self.samples if sample.split == name)

    def counts(self) -> dict[str, list[int]]:
        """Images per class, for each split that has any."""
        tally = Counter((sample.split, sample.label) for sample in self.samples)
        return {
            split: [tally[split, label] for label in range(len(self.classes))]
            for split in SPLITS
            if any(key[0] == split for key in tally)
        }

    def crossings(self) -> list[tuple[Sample, Sample]]:
        """Pairs of images with identical bytes on two sides of a split, or under two classes."""
        first: dict[bytes, Sample] = {}
        pairs = []
        for sample in self.samples:
            if sample.digest is not None:
                twin = first.setdefault(sample.digest, sample)
                if twin.split != sample.split or twin.label != sample.label:
                    pairs.append((twin, sample))
        return pairs


def fingerprint(samples: Iterable[Sample]) -> str:
    """A hash of contents and labels, whatever the order and the paths."""
    rows = sorted((sample.digest or b"") + sample.label.to_bytes(4, "big") for sample in samples)
    return hashlib.sha256(b"".join(rows)).hexdigest()


def open_dataset(
    root: Path,
    *,
    seed: int,
    val_fraction: float,
    test_fraction: float,
    limit: int | None,
    workers: int,
    emit: Emit,
) -> Dataset:
    """Lists, hashes and splits a folder of images.

    Two layouts: `root/train/<class>/...` with `val` (or valid, validation) and `test` beside it, or `root/<class>/...`.
    What the user split stays as it is; a missing validation split is taken from train by `split_by_hash`.

    Args:
        root: the folder.
        seed: of the split.
        val_fraction: share of the images for validation, where the user made no such split.
        test_fraction: share of the images for test, in the layout without splits.
        limit: keep the first so many images per class and split.
        workers: threads that read files.
        emit: hears the progress of hashing.

    Raises:
        DatasetError: no such folder, no classes, a class of a later split that train does not have, ...
    """
    if not root.exists():
        near = did_you_mean(root.name, subfolders(root.parent)) if root.parent.is_dir() else ""
        raise DatasetError(f"no such folder: {root}{near}")
    if not root.is_dir():
        raise DatasetError(f"{root} is a file; data.root names a folder")
    ignored = Ignored()
    folders = _split_folders(root)
    classes = _class_names(root, folders)
    found = _list_samples(root, folders, classes, ignored)
    _require_images(found, classes)
    samples = hash_samples(found, workers=workers, emit=emit)
    made_by = "user"
    if "val" not in folders:
        made_by = "hash"
        test_share = 0.0 if "test" in folders else test_fraction
        samples = _split_train(samples, seed=seed, val_fraction=val_fraction, test_fraction=test_share)
    rule: dict[str, Any] = {"made_by": made_by, "seed": seed}
    if made_by == "hash":
        rule |= {"val_fraction": val_fraction, "test_fraction": test_share}
    if limit is not None:
        samples = _first_of_each(samples, limit)
        rule["limit"] = limit
    samples.sort(key=lambda sample: SPLITS.index(sample.split))  # stable: folder order within a split
    return Dataset(root, tuple(classes), tuple(samples), rule, str(ignored))


def open_labelled(
    root: Path, classes: Sequence[str], *, workers: int, emit: Emit, limit: int | None = None
) -> tuple[Sample, ...]:
    """A folder to evaluate on, with the classes of a checkpoint: `root/<class>/...`, or its val split, else its test.

    Raises:
        DatasetError: no such folder, no images, or a class that is not among `classes`.
    """
    if not root.is_dir():
        raise DatasetError(f"no such folder: {root}")
    folders = _split_folders(root)
    split = next((name for name in ("val", "test") if name in folders), "train")
    chosen = {split: folders[split]}
    _reject_unknown_classes(chosen, classes)
    found = _list_samples(root, chosen, classes, Ignored())
    if not found:
        raise DatasetError(f"no images in the class folders of {folders[split]}", _layout_hint())
    return tuple(_first_of_each(hash_samples(found, workers=workers, emit=emit), limit or len(found)))


def hash_samples(samples: Sequence[Sample], *, workers: int, emit: Emit) -> list[Sample]:
    """Fills in the digests, reading files in parallel; a file that cannot be read keeps None."""
    emit(Progress("hash", 0, len(samples), "files"))
    hashed: list[Sample] = []
    for batch in ordered_batches(samples, _hash_sample, workers=workers, size=256):
        hashed.extend(batch)
        emit(Progress("hash", len(hashed), len(samples), "files"))
    emit(Progress("hash", len(hashed), len(samples), "files", finished=True))
    return hashed


def _hash_sample(sample: Sample) -> Sample:
    try:
        return replace(sample, digest=hashlib.sha256(read_file(sample.path)).digest())
    except UnreadableImage:
        return sample  # becomes an error row, with its reason, when it is read for its features


def _split_folders(root: Path) -> dict[str, Path]:
    """Split name to folder; `{"train": root}` where the class folders lie directly in the root."""
    names = subfolders(root)
    is_split_layout = (
        "train" in names and all(name in SPLIT_FOLDERS for name in names) and bool(subfolders(root / "train"))
    )
    if not is_split_layout:
        return {"train": root}
    folders: dict[str, Path] = {}
    for name in names:
        split = SPLIT_FOLDERS[name]
        if split in folders:
            raise DatasetError(f"{root} holds both {folders[split].name}/ and {name}/: which one is the {split} split?")
        folders[split] = root / name
    return folders


def _class_names(root: Path, folders: dict[str, Path]) -> list[str]:
    classes = subfolders(folders["train"])
    if not classes:
        images = sum(is_image_name(path.name) for path in root.iterdir())
        found = f"{images} images but no class folders" if images else "no class folders and no images"
        raise DatasetError(f"{folders['train']} holds {found}", _layout_hint())
    if len(classes) == 1:
        raise DatasetError(
            f"{folders['train']} holds one class, '{classes[0]}'; a classifier needs at least two", _layout_hint()
        )
    _reject_unknown_classes({split: path for split, path in folders.items() if split != "train"}, classes)
    return classes


def _reject_unknown_classes(folders: dict[str, Path], classes: Sequence[str]) -> None:
    for folder in folders.values():
        unknown = [name for name in subfolders(folder) if name not in classes]
        if unknown:
            listed = ", ".join(f"'{name}'{did_you_mean(name, classes, most=1)}" for name in unknown[:5])
            more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
            raise DatasetError(
                f"{folder} holds classes that were not trained: {listed}{more}",
                f"Known classes: {', '.join(classes[:20])}{', ...' if len(classes) > 20 else ''}.",
            )


def _list_samples(root: Path, folders: dict[str, Path], classes: Sequence[str], ignored: Ignored) -> list[Sample]:
    found = []
    for split, folder in folders.items():
        present = set(subfolders(folder))
        for label, name in enumerate(classes):
            if name in present:
                found += [Sample(path, label, split, None) for path in walk_images(folder / name, ignored)]
    for folder in {root, *folders.values()}:
        for path in folder.iterdir():
            if path.name.startswith("."):
                ignored.counts["hidden"] += 1
            elif path.is_file():
                ignored.counts["beside the class folders"] += 1
    return found


def _require_images(samples: Sequence[Sample], classes: Sequence[str]) -> None:
    if not samples:
        raise DatasetError("the class folders hold no images", _layout_hint())
    trained = {sample.label for sample in samples if sample.split == "train"}
    empty = [name for label, name in enumerate(classes) if label not in trained]
    if empty:
        named = ", ".join(f"'{name}'" for name in empty)
        raise DatasetError(f"no images to train on in class {named}", "Add images, or remove the folder.")


def _split_train(samples: list[Sample], *, seed: int, val_fraction: float, test_fraction: float) -> list[Sample]:
    train = [sample for sample in samples if sample.split == "train"]
    splits = split_by_hash(
        [sample.unit for sample in train],
        [sample.label for sample in train],
        seed=seed,
        val_fraction=val_fraction,
        test_fraction=test_fraction,
    )
    moved = [replace(sample, split=split) for sample, split in zip(train, splits, strict=True)]
    return moved + [sample for sample in samples if sample.split != "train"]


def _first_of_each(samples: Iterable[Sample], limit: int) -> list[Sample]:
    taken: dict[tuple[str, int], int] = defaultdict(int)
    kept = []
    for sample in samples:
        if taken[sample.split, sample.label] < limit:
            taken[sample.split, sample.label] += 1
            kept.append(sample)
    return kept


def _layout_hint() -> str:
    return (
        "Put the images of each class in a folder of its own: "
        "ROOT/<class>/..., or ROOT/train/<class>/... and ROOT/val/<class>/..."
    )
