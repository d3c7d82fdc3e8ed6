"""Labelled images as one value: classes in order, every image with its split, label, group and content hash."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from featcli.data.group_splits import split_groups
from featcli.data.groups import groups_of, joined_groups
from featcli.data.hashing import hash_files
from featcli.data.naming.alike import describe_alike
from featcli.data.naming.classes import class_folders, describe_layout, list_folder, no_images, reject_unknown_classes
from featcli.data.naming.exclusions import Exclusions, read_exclusions
from featcli.data.naming.finding import Finder
from featcli.data.naming.folders import Ignored, subfolders
from featcli.data.naming.layout import find_layout
from featcli.data.naming.listing import Listing
from featcli.data.naming.manifest import describe_absent, describe_missing, list_manifest, read_manifest
from featcli.data.naming.source import DataOptionError, DataSource, relative_name, shown_path
from featcli.data.readers.files import file_ref
from featcli.data.readers.reader import ImageRef
from featcli.data.splits import split_by_hash
from featcli.errors import DatasetError
from featcli.events import Emit, Note
from featcli.text import did_you_mean, nfc

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class Sample:
    """One image of a data set.

    Attributes:
        path: absolute, as reached from the root or the manifest's folder (links are not resolved).
        label: index into the data set's classes.
        split: `train`, `val` or `test`.
        digest: sha256 of the file's bytes, or None where they could not be read.
        group: what it belongs to by `data.group`, or None.
        joined: the name of all groups that are one unit with its own since they share an image; None without groups.
    """

    path: str
    label: int
    split: str
    digest: bytes | None
    group: str | None = None
    joined: str | None = None

    @property
    def ref(self) -> ImageRef:
        """The image, for whoever reads it."""
        return file_ref(self.path, self.digest)

    @property
    def unit(self) -> str:
        """What a split never divides: a group with all that it shares images with, else images of identical content."""
        return self.joined or self.group or (self.digest.hex() if self.digest else self.path)


@dataclass(frozen=True, slots=True)
class Dataset:
    """Images of a folder, in split order, then in folder order; or of a manifest, in its order.

    Attributes:
        root: the folder that paths are relative to.
        classes: names sorted by code point, from train.
        samples: of all splits.
        rule: how the splits came about, as a checkpoint keeps it: no paths.
        ignored: what the walk skipped, by reason.
        manifest: the table that names the images, or None where they are a folder's.
    """

    root: Path
    classes: tuple[str, ...]
    samples: tuple[Sample, ...]
    rule: dict[str, Any]
    ignored: Ignored = field(default_factory=Ignored)
    manifest: Path | None = None

    @property
    def origin(self) -> Path:
        """Where the images are named: the manifest, or the folder."""
        return self.manifest or self.root

    def split(self, name: str) -> tuple[Sample, ...]:
        """The samples of one split, in the order of the folder or the manifest."""
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

    def divided_groups(self) -> list[tuple[Sample, Sample]]:
        """For each group on two sides of a split an image of either side."""
        first: dict[str, Sample] = {}
        pairs: dict[str, tuple[Sample, Sample]] = {}
        for sample in self.samples:
            if sample.group is not None:
                earlier = first.setdefault(sample.group, sample)
                if earlier.split != sample.split:
                    pairs.setdefault(sample.group, (earlier, sample))
        return list(pairs.values())

    def shared_between_groups(self) -> list[tuple[Sample, Sample]]:
        """Pairs of images with identical bytes in two groups."""
        first: dict[bytes, Sample] = {}
        pairs = []
        for sample in self.samples:
            if sample.digest is not None and sample.group is not None:
                twin = first.setdefault(sample.digest, sample)
                if twin.group != sample.group:
                    pairs.append((twin, sample))
        return pairs


def fingerprint(samples: Iterable[Sample]) -> str:
    """A hash of contents and labels, whatever the order and the paths."""
    rows = sorted((sample.digest or b"") + sample.label.to_bytes(4, "big") for sample in samples)
    return hashlib.sha256(b"".join(rows)).hexdigest()


def open_dataset(
    source: DataSource, *, seed: int, workers: int, emit: Emit, memo: Path | None = None, keep: bool = True
) -> Dataset:
    """Lists, hashes and splits the images of a folder or a manifest.

    What the user split stays as it is; a missing validation split is taken from train by `split_by_hash`, or by
    `split_groups` where there are groups.

    Args:
        source: which images, and how they are split.
        seed: of the split.
        workers: threads that read files.
        emit: hears the progress of hashing, and what of the user's lists is not used.
        memo: of what files hashed to earlier; None for none.
        keep: whether new hashes go into the memo.

    Raises:
        DatasetError: no such folder, no classes, a class of a later split that train does not have, ...
        DataOptionError: of groups none can be held out.
        ConfigError: what is wrong with the lines of a manifest, all at once.
        EnvironmentFault: a Parquet manifest without pyarrow.
    """
    ignored = Ignored()
    source = _found(source)
    listing = _listed(source, ignored, emit)
    describe_alike(listing.classes, emit)
    samples = _samples(listing, source)
    grouped = any(sample.group is not None for sample in samples)
    samples = _join(hash_samples(samples, memo=memo, keep=keep, workers=workers, emit=emit))
    if source.manifest is not None:
        describe_absent(listing.entries, [sample.digest for sample in samples], source.manifest, emit)
        unread = [entry for entry, sample in zip(listing.entries, samples, strict=True) if sample.digest is None]
        describe_missing(unread, len(samples), source.manifest, emit)
    rule: dict[str, Any] = {"made_by": "user" if "val" in listing.splits else "hash", "seed": seed}
    if rule["made_by"] == "hash":
        test_share = 0.0 if "test" in listing.splits else source.test_fraction
        version = source.split_version
        samples = _split_train(
            samples, source.val_fraction, test_share, seed=seed, whole_groups=grouped and version > 1
        )
        rule |= {"version": version, "val_fraction": source.val_fraction, "test_fraction": test_share}
    if source.limit is not None:
        samples = first_of_each(samples, source.limit)
        rule["limit"] = source.limit
    used = {"manifest": source.manifest is not None, "grouped": grouped, "excluded": listing.excluded}
    rule |= {name: value for name, value in used.items() if value}
    if source.manifest is None:
        samples.sort(key=lambda sample: SPLITS.index(sample.split))  # stable: folder order within a split
    return Dataset(source.base, listing.classes, tuple(samples), rule, ignored, source.manifest)


def open_labelled(
    root: Path,
    classes: Sequence[str],
    *,
    splits: Sequence[str] = ("test", "val"),
    workers: int,
    emit: Emit,
    memo: Path | None = None,
) -> tuple[Sample, ...]:
    """A folder to evaluate on, with the classes of a checkpoint: `root/<class>/...`, or one split of it.

    Args:
        root: the folder.
        classes: of the checkpoint, in its order.
        splits: in the order of preference; the first that holds images is taken.
        workers: threads that read files.
        emit: hears the progress of hashing.
        memo: of what files hashed to earlier, is looked up and not written to; None for none.

    Raises:
        DatasetError: no such folder, no images, or a class that is not among `classes`.
    """
    root = Path(Finder().find(os.fspath(root)))
    if root.exists() and not root.is_dir():
        raise DatasetError(
            f"{root} is a file, not a folder of images",
            "A table of images is named so: --set data.manifest=FILE; single images: featcli predict RUN IMAGE",
        )
    if not root.is_dir():
        near = did_you_mean(root.name, subfolders(root.parent)) if root.parent.is_dir() else ""
        raise DatasetError(f"no such folder: {root}{near}")
    label_of = {nfc(name): label for label, name in enumerate(classes)}
    nothing_left_out, ignored = Exclusions(root), Ignored()
    layout = find_layout(root, nothing_left_out, known=label_of)
    describe_layout(layout, emit)
    for split in [name for name in splits if name in layout.folders] or ["train"]:
        chosen = replace(layout, folders={split: layout.folders[split]})
        entries = class_folders(chosen, ignored, nothing_left_out, emit).entries
        reject_unknown_classes(chosen.folders[split], {entry.label for entry in entries}, list(label_of))
        if entries:
            break
    else:
        raise no_images(f"no images in the class folders of {chosen.folders[split]}", str(ignored))
    if ignored.counts:
        emit(Note(f"skipped in {root}: {ignored}"))
    found = [Sample(entry.path, label_of[entry.label], split, None) for entry in entries]
    found.sort(key=lambda sample: sample.label)  # stable: the order of the checkpoint's classes
    hashed = hash_samples(found, memo=memo, keep=False, workers=workers, emit=emit)
    return tuple(hashed)


def first_of_each(samples: Iterable[Sample], limit: int) -> list[Sample]:
    """The first `limit` images of each class and split, in their order."""
    taken: dict[tuple[str, int], int] = defaultdict(int)
    kept = []
    for sample in samples:
        if taken[sample.split, sample.label] < limit:
            taken[sample.split, sample.label] += 1
            kept.append(sample)
    return kept


def hash_samples(
    samples: Sequence[Sample], *, memo: Path | None = None, keep: bool = True, workers: int, emit: Emit
) -> list[Sample]:
    """Fills in the digests, from the memo or by reading files in parallel; a file that cannot be read keeps None.

    Such a file becomes an error row, with its reason, when it is read for its features. A file that is not there keeps
    the digest that it has: its features may be stored.
    """
    digests = hash_files([sample.path for sample in samples], memo=memo, keep=keep, workers=workers, emit=emit)
    return [replace(sample, digest=digests.get(sample.path) or _told(sample)) for sample in samples]


def _told(sample: Sample) -> bytes | None:
    return None if sample.digest is None or os.path.lexists(sample.path) else sample.digest


def _found(source: DataSource) -> DataSource:
    """The same with its paths as they are on disk, where accents are written in another way."""
    finder = Finder()

    def found(path: Path | None) -> Path | None:
        return None if path is None else Path(finder.find(os.fspath(path)))

    return replace(source, root=found(source.root), manifest=found(source.manifest), exclude=found(source.exclude))


def _listed(source: DataSource, ignored: Ignored, emit: Emit) -> Listing:
    """The images of the folder or the manifest, without those that the user left out."""
    exclusions = Exclusions(source.base)
    if source.exclude is not None:
        exclusions = read_exclusions(source.exclude, source.base)
    if source.manifest is None:
        if source.group == "group":
            raise DataOptionError("group", "the column 'group' is of a manifest, and this is a folder")
        return list_folder(source.base, ignored, exclusions, emit)
    manifest = read_manifest(source.manifest, emit)
    name = shown_path(source.manifest)
    if source.group == "group" and not manifest.has_groups:
        raise DataOptionError("group", f"{name} has no column 'group'", "Add it, or give a regular expression.")
    if source.pattern is not None and manifest.has_groups:
        emit(Note(f"{name}: its column 'group' is not used, since data.group is a regular expression"))
    return list_manifest(manifest, source.manifest, lambda entries: exclusions.keep(entries, emit))


def _samples(listing: Listing, source: DataSource) -> list[Sample]:
    """Images with the index of their class and the name of their group."""
    groups: Sequence[str | None] = [entry.group for entry in listing.entries]
    if source.pattern is not None:
        groups = groups_of([relative_name(entry.path, source.base) for entry in listing.entries], source.pattern)
    label_of = {name: label for label, name in enumerate(listing.classes)}
    return [
        Sample(entry.path, label_of[entry.label], entry.split, entry.sha256, group)
        for entry, group in zip(listing.entries, groups, strict=True)
    ]


def _join(samples: list[Sample]) -> list[Sample]:
    """Makes groups that share an identical image one unit, so that neither a group nor identical content is divided."""
    if all(sample.group is None for sample in samples):
        return samples
    joined = joined_groups([sample.group for sample in samples], [sample.digest for sample in samples])
    return [replace(sample, joined=unit) for sample, unit in zip(samples, joined, strict=True)]


def _split_train(
    samples: list[Sample], val_fraction: float, test_fraction: float, *, seed: int, whole_groups: bool
) -> list[Sample]:
    train = [sample for sample in samples if sample.split == "train"]
    splits = (split_groups if whole_groups else split_by_hash)(
        [sample.unit for sample in train],
        [sample.label for sample in train],
        seed=seed,
        val_fraction=val_fraction,
        test_fraction=test_fraction,
    )
    if whole_groups and val_fraction > 0.0 and "val" not in splits:
        raise _nothing_to_hold_out(train)
    split_of = iter(splits)
    return [replace(sample, split=next(split_of)) if sample.split == "train" else sample for sample in samples]


def _nothing_to_hold_out(train: Sequence[Sample]) -> DataOptionError:
    units = {sample.unit: sample for sample in train}
    if len(units) == 1:
        (one,) = units.values()
        said = f"all {len(train)} images are in one group, '{one.joined or one.group}'"
    else:
        said = f"{len(units)} groups, and no class has two of them that could be apart"
    return DataOptionError(
        "group",
        f"{said}: no image can be held out for validation",
        "Give an expression that finds smaller groups, or make the split yourself: folders train and val.",
    )
