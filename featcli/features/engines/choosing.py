"""Which engine runs a backbone: what was asked for, else a fixed order in which a gate and a timing may only veto."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from featcli.backbones.description import Described
from featcli.errors import EnvironmentFault
from featcli.events import Detail, Emit, Fact, Warn
from featcli.features.engines.engine import Engine, EngineFailed, Pixels
from featcli.features.engines.models import Agreement, KeptModel, ModelCache
from featcli.features.engines.openvino import (
    INSTALL,
    OPENVINO_ENGINE,
    CannotConvert,
    OpenVino,
    convert,
    describe_model,
    first_line,
    import_openvino,
    openvino_version,
)
from featcli.features.store import PLAIN_ENGINE
from featcli.runtime import Runtime
from featcli.tasks.multiclass import decide

if TYPE_CHECKING:
    from featcli.backbones.stages import Backbone

AUTO, COMPILE = "auto", "compile"
OF_AUTO = (PLAIN_ENGINE, OPENVINO_ENGINE)  # what `auto` may choose
WORTH_CONVERTING = 64  # images; for fewer, converting a model takes longer than it saves
_ENOUGH_PROBED = 4  # images: a verdict on fewer is given again where there are more
_MOST_STORED = 0.5  # share of the images that an engine has computed already, so that it goes on


class Decider(Protocol):
    """A head, as far as it decides."""

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, D) to (N, K)."""


@dataclass(frozen=True, slots=True)
class Job:
    """What an engine is wanted for.

    Attributes:
        backbone: whose features are wanted.
        load: the backbone with its network; called only where that is needed.
        runtime: where and how to compute.
        requested: `auto`, or an engine's name.
        models: where compiled models are kept.
        probe: decodes the first real images; called only where they are needed.
        at_hand: how many it may decode.
        expected: how many images are to be computed; None where that is not known.
        stored: by engine, the share of the images whose features it has computed already.
        head: that the features are for, where there is one.
    """

    backbone: Described
    load: Callable[[], Backbone]
    runtime: Runtime
    requested: str
    models: ModelCache
    probe: Callable[[], Pixels]
    at_hand: int
    expected: int | None = None
    stored: Mapping[str, float] = field(default_factory=dict)
    head: Decider | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """An engine, and why it is that one.

    Attributes:
        engine: to be used.
        reason: in words.
        agreement: with plain torch; None for plain torch itself, and where nothing is computed.
    """

    engine: Engine
    reason: str
    agreement: Agreement | None = None

    def to_json(self) -> dict[str, Any]:
        """The facts of a run."""
        facts: dict[str, Any] = {"name": self.engine.name, "reason": self.reason}
        if self.agreement is not None:
            facts |= {"images": self.agreement.images, "cosine": round(self.agreement.cosine, 7)}
        return facts


def choose_engine(job: Job, emit: Emit) -> Choice:
    """The engine for a job; says which, and why, where somebody asked for details, or for lower precision.

    Raises:
        EnvironmentFault: an engine was asked for that is not installed, or is of another device.
    """
    choice = _chosen(job, emit)
    said = f"{choice.engine.name}, {choice.reason}"
    if choice.agreement is not None:
        said += f"; {choice.agreement}"
    rounded = choice.agreement is not None and job.runtime.precision != "fp32"
    emit(Fact("engine", said) if rounded else Detail(f"engine {said}"))
    return choice


def engine_versions(engine: str) -> dict[str, str]:
    """The version of what an engine runs on, by name, where it is not torch."""
    found = openvino_version() if engine == OPENVINO_ENGINE else None
    return {} if found is None else {OPENVINO_ENGINE: found}


def unfit(engine: str, runtime: Runtime) -> str | None:
    """Why an engine cannot run on a device at all; None where it can."""
    if engine == OPENVINO_ENGINE:
        if runtime.device.type != "cpu":
            return f"openvino runs on a CPU, not on {runtime.device}"
        if openvino_version() is None:
            return "openvino is not installed"
        try:
            import_openvino()
        except Exception as error:  # whatever a broken installation raises
            return f"openvino is broken: {first_line(error)}"
    return None


def _chosen(job: Job, emit: Emit) -> Choice:
    requested, runtime = job.requested, job.runtime
    if requested == AUTO:
        return _by_order(job, emit)
    reason = unfit(requested, runtime)
    if reason is not None:
        on_cpu = runtime.device.type == "cpu"
        raise EnvironmentFault(
            f"backbone.engine: {reason}",
            f"Install it: {INSTALL}" if on_cpu else "Take --device cpu, or backbone.engine: auto.",
        )
    if requested == OPENVINO_ENGINE:
        return _openvino(job, "asked for", emit) or _plain(job, "openvino cannot be used")
    if requested == COMPILE:
        return _compiled(job, emit)
    return _plain(job, "asked for")


def _by_order(job: Job, emit: Emit) -> Choice:
    """OpenVINO before plain torch on a CPU; where the rows of one cover most of the images, that one goes on."""
    reason = unfit(OPENVINO_ENGINE, job.runtime)
    if reason is not None:
        return _plain(job, reason)
    plain, fast = job.stored.get(PLAIN_ENGINE, 0.0), job.stored.get(OPENVINO_ENGINE, 0.0)
    if plain > max(_MOST_STORED, fast):
        return _plain(job, f"{plain:.0%} of the features are stored by it")
    if fast > _MOST_STORED:
        why = f"{fast:.0%} of the features are stored by it"
        return _openvino(job, why, emit) or _plain(job, "openvino cannot be used")
    if job.expected is not None and job.expected < WORTH_CONVERTING and not _is_kept(job):
        return _plain(job, f"for {job.expected} images no model is converted")
    return _openvino(job, "the fastest here", emit) or _plain(job, "openvino cannot be used")


def _plain(job: Job, reason: str) -> Choice:
    from featcli.features.engines.plain import PlainTorch

    return Choice(PlainTorch(job.load(), job.runtime), reason)


def _is_kept(job: Job) -> bool:
    return job.models.find(job.models.key(describe_model(job.backbone, job.runtime.precision))) is not None


def _openvino(job: Job, why: str, emit: Emit) -> Choice | None:
    """None where it cannot convert the backbone, or does not agree with plain torch; that is said."""
    engine = OpenVino(job.backbone, job.runtime, job.models, job.load)
    if job.expected == 0:  # nothing is computed by it, or compared
        return Choice(engine, why)
    described = describe_model(job.backbone, job.runtime.precision)
    key = job.models.key(described)
    kept = job.models.find(key)
    if kept is None or (kept.refused is None and _is_thin(kept, job)):
        pixels = job.probe()
        if not pixels:
            return None
        kept = _examined(job, engine, pixels, emit)
        trouble = job.models.keep(key, described, kept, None if kept.refused else engine.exported)
        if trouble is not None:
            emit(Detail(f"the converted model is not kept in {job.models.folder}: {trouble}"))
        if kept.refused is not None:
            emit(Warn(f"engine openvino is not used for {job.backbone.name}: {kept.refused}; plain torch goes on"))
            return None
    elif kept.refused is not None:
        emit(Detail(f"engine openvino is not used for {job.backbone.name}: {kept.refused}"))
        return None
    if not _decides_alike(job, kept):
        emit(Warn("engine openvino is not used: under this head a label of its features differs from plain torch's"))
        return None
    return Choice(engine, why, kept.agreement)


def _is_thin(kept: KeptModel, job: Job) -> bool:
    """Whether a model was compared on fewer images than are at hand now, and than are enough."""
    compared = 0 if kept.agreement is None else kept.agreement.images
    return compared < min(_ENOUGH_PROBED, job.at_hand)


def _examined(job: Job, engine: OpenVino, pixels: Pixels, emit: Emit) -> KeptModel:
    from featcli.features.engines.gate import examine, refusal

    backbone = job.load()
    emit(Detail(f"engine openvino: converting {backbone.name}, once for these weights"))
    try:
        engine.take(convert(backbone, job.runtime.precision))
        agreement, probe = examine(engine, backbone, job.runtime, pixels)
    except (CannotConvert, EngineFailed, RuntimeError) as error:
        return KeptModel(None, f"it cannot be converted: {first_line(error)}")
    return KeptModel(agreement, refusal(agreement, job.runtime.precision), probe)


def _decides_alike(job: Job, kept: KeptModel) -> bool:
    """Whether a head's decisions on the probed images are the same; in lower precision they need not be."""
    if job.head is None or kept.probe is None or job.runtime.precision != "fp32":
        return True
    expected, found = (decide(job.head.logits(np.ascontiguousarray(features))) for features in kept.probe)
    return bool((expected == found).all())


def _compiled(job: Job, emit: Emit) -> Choice:
    from featcli.features.engines.compiled import CompiledTorch
    from featcli.features.engines.gate import examine, refusal

    backbone, pixels = job.load(), job.probe() if job.expected != 0 else ()
    engine = CompiledTorch(backbone, job.runtime)
    if not pixels:
        return Choice(engine, "asked for")
    try:
        agreement, _ = examine(engine, backbone, job.runtime, pixels)
        reason = refusal(agreement, job.runtime.precision)
    except CannotConvert as error:
        reason = f"it cannot be compiled: {error}"
    if reason is not None:
        emit(Warn(f"engine compile is not used for {backbone.name}: {reason}; plain torch goes on"))
        return _plain(job, "compile cannot be used")
    return Choice(engine, "asked for", agreement)
