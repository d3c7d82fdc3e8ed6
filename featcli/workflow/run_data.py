"""The images that a checkpoint was made from, found again by the config of its run."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

from featcli.config import LoadedConfig
from featcli.data.dataset import Dataset
from featcli.errors import DatasetError, UsageError
from featcli.metadata import CheckpointMetadata
from featcli.runs.folder import CONFIG_NAME
from featcli.runs.moving import load_run_config
from featcli.runtime import Runtime
from featcli.text import nfc
from featcli.workflow.images import read_dataset
from featcli.workflow.session import Session


def open_data_of(
    session: Session, path: Path, metadata: CheckpointMetadata, runtime: Runtime, *, doing: str
) -> Dataset:
    """The data set of a checkpoint, split by its own rule.

    Args:
        session: the invocation.
        path: of the checkpoint.
        metadata: that it holds.
        runtime: how many threads read.
        doing: as `data_config` takes it.

    Raises:
        UsageError: nothing says where it is, or it is not there.
        DatasetError: its classes are others than the checkpoint's.
    """
    loaded = data_config(session, path, doing=doing)
    data = read_dataset(session, loaded, runtime, keep=False, split=metadata.split)
    if list(data.classes) != [nfc(name) for name in metadata.classes]:
        raise DatasetError(
            f"the classes of {data.origin} are not those of the checkpoint: "
            f"{', '.join(data.classes[:10])} and {', '.join(metadata.classes[:10])}"
        )
    return data


def data_config(session: Session, checkpoint: Path, *, doing: str) -> LoadedConfig:
    """The config that names the images of a checkpoint: the one that was given, else its run's with what was set.

    Args:
        session: the invocation.
        checkpoint: its file.
        doing: what they are for, as in "nothing to evaluate on".

    Raises:
        UsageError: there is none, or the images are not where it says.
    """
    given, beside = session.loaded, checkpoint.parent / CONFIG_NAME
    if names_images(given) and (given.file is not None or not beside.is_file()):
        return given
    if not beside.is_file():
        raise UsageError(
            f"nothing to {doing} on", f"Name a folder, or give --config: there is no {CONFIG_NAME} beside {checkpoint}."
        )
    loaded = _with_data(load_run_config(checkpoint.parent, session.emit), given)
    if not names_images(loaded):
        raise UsageError(f"{beside} names no images", f"Name a folder to {doing} on.")
    for key, path in (("data.root", loaded.config.data.root), ("data.manifest", loaded.config.data.manifest)):
        if path is not None and not os.path.exists(path) and not names_images(given):
            what = "folder" if key == "data.root" else "file"
            way = f"Where the run's images lie now: --set {key}=..., or name a labelled folder to {doing} on."
            raise loaded.error(key, f"no such {what}: {path}", way)
    return loaded


def _with_data(loaded: LoadedConfig, given: LoadedConfig) -> LoadedConfig:
    """A run's config and what was given besides: of other images the whole section `data`, else their limit alone."""
    names = {key.removeprefix("data.") for key in given.places if key.startswith("data.")}
    names = names | {"root", "manifest"} if names & {"root", "manifest"} else names & {"limit"}
    data = loaded.config.data.model_copy(update={name: getattr(given.config.data, name) for name in names})
    config = loaded.config.model_copy(update={"data": data})
    return dataclasses.replace(loaded, config=config, places={**loaded.places, **given.places})


def names_images(loaded: LoadedConfig) -> bool:
    """Whether a config names images."""
    return loaded.config.data.root is not None or loaded.config.data.manifest is not None
