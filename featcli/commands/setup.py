"""What several commands start with: from a checked config to a runtime, a backbone, a data set and their features."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from featcli.backbones.freezing import frozen_stages
from featcli.backbones.layers import Layer
from featcli.backbones.stages import Backbone
from featcli.backbones.weights import load_backbone
from featcli.checkpoint import Checkpoint, load_checkpoint
from featcli.config import LoadedConfig, Preprocess
from featcli.data.dataset import Dataset, Sample, open_dataset
from featcli.data.memo import MEMO_NAME
from featcli.data.sources import DataOptionError, DataSource
from featcli.errors import BackboneOptionError, ConfigError, DatasetError, UsageError
from featcli.events import Detail, Emit, Fact, Note, Warn
from featcli.features.extraction import Extractor, FeatureTable, compute_table
from featcli.features.store import FeatureStore
from featcli.metadata import find_checkpoint
from featcli.runtime import Runtime, decide_runtime

_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Call:
    """One invocation: the config, and what a command line says besides it.

    Attributes:
        loaded: the checked config, which knows where each value was given.
        cache: folder of the feature store.
        emit: hears what happens.
        threads: of torch's operators; None for the number of cores.
        overwrite: whether an output that holds something else is replaced.
        dry_run: stop before the work and give the plan.
    """

    loaded: LoadedConfig
    cache: Path
    emit: Emit
    threads: int | None = None
    overwrite: bool = False
    dry_run: bool = False


@dataclass(slots=True)
class Unreadable:
    """Images that could not be read: how many, and the first few with their reasons, however many there are."""

    count: int = 0
    first: list[tuple[str, str]] = field(default_factory=list)

    def add(self, path: str, reason: str) -> None:
        """Counts one; `_SHOWN` are kept."""
        self.count += 1
        if len(self.first) < _SHOWN:
            self.first.append((path, reason))


def open_runtime(call: Call) -> Runtime:
    """The device, precision and threads that the config asks for.

    Raises:
        EnvironmentFault: they are not to be had here.
    """
    config = call.loaded.config
    workers = None if config.loader.workers == "auto" else config.loader.workers
    return decide_runtime(config.device, config.precision, threads=call.threads, workers=workers)


def open_backbone(call: Call) -> Backbone:
    """The config's backbone with its weights and preprocessing.

    Raises:
        ConfigError: a name that means nothing, with its place in the config.
        WeightsError: the weights are not to be had or do not fit.
    """
    config = call.loaded.config.backbone
    assert config.name is not None, "commands require backbone.name first"
    preprocess: str | Mapping[str, Any] = (
        config.preprocess.model_dump() if isinstance(config.preprocess, Preprocess) else config.preprocess
    )
    with placed(call.loaded):
        backbone = load_backbone(
            config.name,
            config.weights,
            preprocess=preprocess,
            layer=Layer((config.layer,) if isinstance(config.layer, str) else config.layer, config.pooling),
            seed=call.loaded.config.seed,
            emit=call.emit,
        )
        frozen_stages(backbone, config.freeze_depth)
    size = f"{backbone.n_parameters / 1e6:.1f} M parameters, {backbone.feature_size} features"
    call.emit(Fact("backbone", f"{backbone.name}, weights {backbone.weights}, {size}"))
    return backbone


def open_data(call: Call, runtime: Runtime, *, keep: bool = True) -> Dataset:
    """The config's data set, listed, hashed and split; what is odd about it is said.

    Raises:
        ConfigError: the folder or manifest is not one to learn from, with the place of the option that names it.
    """
    data = read_dataset(call, call.loaded, runtime, keep=keep and not call.dry_run)
    _describe(data, call.loaded.config.data.test_fraction, call.emit)
    return data


def read_dataset(call: Call, loaded: LoadedConfig, runtime: Runtime, *, keep: bool) -> Dataset:
    """The data set that a config names, without a word on what is odd about it.

    Args:
        call: whose cache holds the memo of file hashes.
        loaded: names the images: the call's config, or that of a run.
        runtime: how many threads read.
        keep: whether new hashes are remembered.

    Raises:
        ConfigError: as `open_data` does.
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
    )
    with placed(loaded):
        return open_dataset(
            source,
            seed=loaded.config.seed,
            workers=runtime.workers,
            emit=call.emit,
            memo=call.cache / MEMO_NAME,
            keep=keep,
        )


def open_model(call: Call, checkpoint: Path | None) -> tuple[Checkpoint, Path]:
    """The checkpoint that was named, or the one in the config's output.

    Raises:
        UsageError: neither was given.
        CheckpointError: it cannot be read.
    """
    named = checkpoint or call.loaded.config.output
    if named is None:
        raise UsageError("no checkpoint: name one, or give --config of the run")
    path = find_checkpoint(named)
    model = load_checkpoint(path)
    call.emit(Detail(f"{path}: {model.metadata.backbone.name}, classes {', '.join(model.metadata.classes)}"))
    return model, path


@contextlib.contextmanager
def placed(loaded: LoadedConfig) -> Iterator[None]:
    """Gives errors about a value of the config the place of that value: `cats.yaml:7:9: backbone.name: ...`."""
    try:
        yield
    except BackboneOptionError as error:
        raise loaded.error(f"backbone.{error.option}", error.message, error.hint) from error
    except ConfigError:
        raise
    except DataOptionError as error:
        raise loaded.error(f"data.{error.option}", error.message, error.hint) from error
    except DatasetError as error:
        raise loaded.error("data.root", error.message, error.hint) from error


def features_of(samples: Sequence[Sample], extractor: Extractor, call: Call, *, keep: bool = True) -> FeatureTable:
    """Features of labelled images: from the store where they are known, else computed and (with `keep`) stored."""
    store = FeatureStore(call.cache, extractor.space, extractor.backbone.feature_size, call.emit, read_only=not keep)
    paths, digests = [sample.path for sample in samples], [sample.digest for sample in samples]
    batch_size = call.loaded.config.loader.batch_size
    with store.writer() if keep else contextlib.nullcontext() as writer:
        table = compute_table(
            extractor, paths, digests, store=store, writer=writer, batch_size=batch_size, emit=call.emit
        )
    stored = len(samples) - table.computed - len(table.errors)
    unreadable = f", {len(table.errors)} unreadable" if table.errors else ""
    call.emit(Fact("features", f"{table.computed} computed, {stored} from the store{unreadable}"))
    return table


def unreadable_of(samples: Sequence[Sample], table: FeatureTable) -> Unreadable:
    """The images of a table that could not be read."""
    unreadable = Unreadable()
    for index, reason in sorted(table.errors.items()):
        unreadable.add(samples[index].path, reason)
    return unreadable


def _describe(data: Dataset, test_fraction: float, emit: Emit) -> None:
    counts = data.counts()
    images = ", ".join(f"{sum(per_class)} {split}" for split, per_class in counts.items())
    shown = ", ".join(data.classes[:6]) + (", ..." if len(data.classes) > 6 else "")
    groups = {sample.group for sample in data.samples if sample.group is not None}
    among = f" in {len(groups)} groups" if groups else ""
    emit(Fact("data", f"{images}{among}; {len(data.classes)} classes: {shown}"))
    if data.ignored.counts:
        emit(Note(f"passed over in {data.root}: {data.ignored}"))
    if data.rule["made_by"] == "user" and test_fraction and "test" not in counts:
        source = "folder" if data.manifest is None else "manifest"
        emit(Note(f"data.test_fraction is not used: the {source} comes with its own splits, which stay as they are"))
    if "val" not in counts:
        why = "; every group is larger than its share" if groups and data.rule["made_by"] == "hash" else ""
        emit(Warn(f"no image is left for validation{why}: the accuracy will not be known"))
    few = [name for name, count in zip(data.classes, counts["train"], strict=True) if count == 1]
    if few:
        emit(Warn(f"one image to train on in class {', '.join(few[:10])}: add more, a single one says little"))
    _report_crossings(data, emit)


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
