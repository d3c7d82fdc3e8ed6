"""The images that a config names, and a word on what is odd about them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from featcli.config import LoadedConfig
from featcli.data.dataset import Dataset, Sample, open_dataset
from featcli.data.hashing import MEMO_NAME
from featcli.data.naming.source import SPLIT_VERSIONS, DataSource
from featcli.errors import CheckpointError
from featcli.events import Emit, Fact, Note, Warn
from featcli.runtime import Runtime
from featcli.text import first_few
from featcli.workflow.session import Session, placed

_FAR = 0.05  # of all images: how far from its share a split may be without a word


def open_data(
    session: Session, runtime: Runtime, *, keep: bool = True, split: Mapping[str, Any] | None = None
) -> Dataset:
    """The config's data set, listed, hashed and split; what is odd about it is said.

    Args:
        session: its config names the images.
        runtime: how many threads read.
        keep: whether new hashes are remembered.
        split: the rule of a checkpoint; None for today's.

    Raises:
        ConfigError: the folder or manifest is not one to learn from, with the place of the option that names it.
    """
    data = read_dataset(session, session.loaded, runtime, keep=keep and not session.dry_run, split=split)
    _describe(data, session.loaded.config.data.test_fraction, session.emit)
    return data


def read_dataset(
    session: Session, loaded: LoadedConfig, runtime: Runtime, *, keep: bool, split: Mapping[str, Any] | None = None
) -> Dataset:
    """The data set that a config names, without a word on what is odd about it.

    Args:
        session: whose cache holds the memo of file hashes.
        loaded: names the images: the call's config, or that of a run.
        runtime: how many threads read.
        keep: whether new hashes are remembered.
        split: the rule of a checkpoint, by which its own images are found again; None for today's.

    Raises:
        ConfigError: as `open_data` does.
        CheckpointError: the rule is of a newer featcli.
    """
    data = loaded.config.data
    source = DataSource(
        root=data.root,
        manifest=data.manifest,
        group=data.group,
        exclude=data.exclude,
        val_fraction=data.val_fraction,
        test_fraction=data.test_fraction,
        limit=data.limit,
        split_version=SPLIT_VERSIONS[-1] if split is None else _version_of(split),
    )
    with placed(loaded):
        return open_dataset(
            source,
            seed=loaded.config.seed,
            workers=runtime.workers,
            emit=session.emit,
            memo=session.cache / MEMO_NAME,
            keep=keep,
        )


def _version_of(split: Mapping[str, Any]) -> int:
    version = split.get("version", SPLIT_VERSIONS[0])
    if version not in SPLIT_VERSIONS:
        raise CheckpointError(
            f"the checkpoint's images were split by version {version} of the rule; this featcli knows versions up to "
            f"{SPLIT_VERSIONS[-1]}",
            "Upgrade: pip install -U featcli",
        )
    return int(version)


def _describe(data: Dataset, test_fraction: float, emit: Emit) -> None:
    counts = data.counts()
    images = ", ".join(f"{sum(per_class)} {split}" for split, per_class in counts.items())
    shown = ", ".join(data.classes[:6]) + (", ..." if len(data.classes) > 6 else "")
    groups = {sample.group for sample in data.samples if sample.group is not None}
    among = f" in {len(groups)} groups" if groups else ""
    emit(Fact("data", f"{images}{among}; {len(data.classes)} classes: {shown}"))
    if data.ignored.counts:
        emit(Note(f"skipped in {data.root}: {data.ignored}"))
    if data.rule["made_by"] == "user" and test_fraction and "test" not in counts:
        source = "folder" if data.manifest is None else "manifest"
        emit(Note(f"data.test_fraction is not used: the {source} comes with its own splits, which stay as they are"))
    if "val" not in counts:
        wanted = data.rule.get("val_fraction") == 0.0
        why = "data.val_fraction is 0: every image is trained on, and" if wanted else "no image is left for validation:"
        emit(Warn(f"{why} the accuracy will not be known"))
    _report_coverage(data, emit)
    few = [name for name, count in zip(data.classes, counts["train"], strict=True) if count == 1]
    if few:
        emit(Warn(f"one image to train on in class {', '.join(few[:10])}: add more, a single one says little"))
    _report_crossings(data, emit)


def _report_coverage(data: Dataset, emit: Emit) -> None:
    """Says which classes a split lacks, and where whole groups come no nearer to a share."""
    counts, ours = data.counts(), data.rule["made_by"] == "hash"
    grouped = bool(ours and data.rule.get("grouped"))
    for split, what in (("val", "validation"), ("test", "test")):
        absent = [name for name, count in zip(data.classes, counts.get(split, ()), strict=False) if count == 0]
        if absent:
            among = f"{len(absent)} of {len(data.classes)} classes ({first_few(absent, 10)})"
            alone = "; a class stays in train where it has one group, or too few images" if ours else ""
            emit(Warn(f"no {what} image of {among}: the numbers will say nothing of them{alone}"))
        wanted = data.rule.get(f"{split}_fraction", 0.0)
        share = sum(counts.get(split, ())) / max(1, len(data.samples))
        if grouped and wanted and "limit" not in data.rule and abs(share - wanted) > _FAR:
            emit(
                Warn(
                    f"{what} has {share:.0%} of the images, where data.{split}_fraction asks for {wanted:.0%}: groups "
                    "are not divided, and come no nearer"
                )
            )


def _report_crossings(data: Dataset, emit: Emit) -> None:
    pairs = data.crossings()
    two_labels = [pair for pair in pairs if pair[0].label != pair[1].label]
    two_splits = [pair for pair in pairs if pair[0].label == pair[1].label]
    said: tuple[tuple[list[tuple[Sample, Sample]], str, Callable[[Sample], str]], ...] = (
        (two_labels, "identical files under two classes", lambda sample: data.classes[sample.label]),
        (two_splits, "identical files on two sides of a split", lambda sample: sample.split),
        (data.divided_groups(), "groups on two sides of a split", lambda sample: f"{sample.group}, {sample.split}"),
        (
            data.shared_between_groups(),
            "identical files in two groups, which are kept together",
            lambda sample: str(sample.group),
        ),
    )
    for found, what, side in said:
        if found:
            one, other = found[0]
            more = f" (and {len(found) - 1} more)" if len(found) > 1 else ""
            emit(Warn(f"{what}: {one.path} ({side(one)}) and {other.path} ({side(other)}){more}"))
