"""What commands start with: the invocation, and from its checked config to a runtime, a backbone or a checkpoint."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from featcli.backbones.layers import Layer
from featcli.checkpoint import read_checkpoint
from featcli.config import Config, LoadedConfig, Preprocess
from featcli.cores import decide_cores, most_threads
from featcli.data.naming.source import DataOptionError
from featcli.errors import BackboneOptionError, ConfigError, DatasetError, UsageError
from featcli.events import Detail, Emit, Fact, Warn
from featcli.exported import Model, read_exported
from featcli.metadata import find_checkpoint, is_exported
from featcli.runtime import Runtime, decide_runtime

if TYPE_CHECKING:
    from featcli.backbones.stages import Backbone


@dataclass(frozen=True, slots=True)
class Session:
    """One invocation: the config, and what a command line says besides it.

    Attributes:
        loaded: the checked config, which knows where each value was given.
        cache: folder of the feature store.
        emit: hears what happens.
        threads: of torch's operators; None for the number of cores.
        overwrite: whether an output that holds something else is replaced.
        dry_run: stop before the work and give the plan.
        verbose: details too.
    """

    loaded: LoadedConfig
    cache: Path
    emit: Emit
    threads: int | None = None
    overwrite: bool = False
    dry_run: bool = False
    verbose: bool = False

    def with_config(self, config: Config) -> Session:
        """The same invocation with another config."""
        return replace(self, loaded=replace(self.loaded, config=config))


def open_runtime(session: Session, *, defer_torch: bool = False) -> Runtime:
    """The device, precision and threads that the config asks for.

    Args:
        session: the invocation.
        defer_torch: as `decide_runtime` takes it.

    Raises:
        EnvironmentFault: they are not available here.
        UsageError: more threads than a machine like this can run.
        ConfigError: likewise, of those that decode.
    """
    config = session.loaded.config
    workers = None if config.loader.workers == "auto" else config.loader.workers
    cores = decide_cores()
    for variable in cores.ignored:
        session.emit(Warn(f"{variable} is not a number of threads that this machine can run: ignored"))
    most = most_threads()
    if session.threads is not None and session.threads > most:
        raise UsageError(f"--threads {session.threads}: at most {most} on this machine")
    if workers is not None and workers > most:
        raise session.loaded.error("loader.workers", f"at most {most} on this machine, got {workers}")
    return decide_runtime(
        config.device,
        config.precision,
        threads=session.threads,
        workers=workers,
        cores=cores,
        defer_torch=defer_torch,
    )


def open_backbone(session: Session) -> Backbone:
    """The config's backbone with its weights and preprocessing.

    Raises:
        ConfigError: a name that means nothing, with its place in the config.
        WeightsError: the weights are not available or do not fit.
    """
    from featcli.backbones.weights import load_backbone
    from featcli.training.freezing import count_frozen

    config = session.loaded.config.backbone
    assert config.name is not None, "commands require backbone.name first"
    preprocess: str | Mapping[str, Any] = (
        config.preprocess.model_dump() if isinstance(config.preprocess, Preprocess) else config.preprocess
    )
    with placed(session.loaded):
        backbone = load_backbone(
            config.name,
            config.weights,
            preprocess=preprocess,
            layer=Layer((config.layer,) if isinstance(config.layer, str) else config.layer, config.pooling),
            seed=session.loaded.config.seed,
            emit=session.emit,
        )
        count_frozen(backbone, config.freeze_depth)
    size = f"{backbone.n_parameters / 1e6:.1f} M parameters, {backbone.feature_size} features"
    session.emit(Fact("backbone", f"{backbone.name}, weights {backbone.weights}, {size}"))
    return backbone


def read_model(path: Path) -> Model:
    """A checkpoint or an exported file, whichever it is; the network is not built yet.

    Raises:
        CheckpointError: it cannot be read.
    """
    return read_exported(path) if is_exported(path) else read_checkpoint(path)


def open_model(session: Session, checkpoint: Path | None) -> tuple[Model, Path]:
    """The checkpoint or exported file that was named, or the checkpoint in the config's output.

    Its network is not built yet.

    Raises:
        UsageError: neither was given.
        CheckpointError: it cannot be read.
    """
    named = checkpoint or session.loaded.config.output
    if named is None:
        raise UsageError("no checkpoint: name one, or give --config of the run")
    path = find_checkpoint(named)
    model = read_model(path)
    session.emit(Detail(f"{path}: {model.metadata.backbone.name}, classes {', '.join(model.metadata.classes)}"))
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
