"""From a backbone to an extractor: which engine runs it, decided with the images at hand."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from featcli.backbones.description import Described
from featcli.cores import has_bf16
from featcli.data.dataset import Sample
from featcli.data.pixels.loading import load_pixels
from featcli.data.readers.reader import ImageRef, UnreadableImage
from featcli.events import Emit, Warn
from featcli.features.engines.choosing import (
    AUTO,
    OF_AUTO,
    WORTH_CONVERTING,
    Decider,
    Job,
    choose_engine,
    unfit,
)
from featcli.features.engines.engine import Engine
from featcli.features.engines.models import ModelCache
from featcli.features.engines.openvino import OPENVINO_ENGINE
from featcli.features.extraction import Extractor, space_of
from featcli.features.store import PLAIN_ENGINE, FeatureStore
from featcli.runtime import Runtime
from featcli.workflow.session import Session

if TYPE_CHECKING:
    from featcli.backbones.stages import Backbone

_PROBED = 8  # images that engines are compared on
_LOOKED_AT = 32  # images, of which these are the first that can be read


@dataclass(frozen=True, slots=True)
class Wanted:
    """The images that features are wanted of, as far as they are known.

    Attributes:
        first: some, to compare engines on; all of them where `count` is as many.
        count: how many there are in all; None where that is not known.
        planned: whether they are only counted, for a plan, which leaves no file behind.
    """

    first: Sequence[ImageRef]
    count: int | None
    planned: bool = False

    @property
    def digests(self) -> list[bytes]:
        """Of all images; empty where not all are known."""
        digests = [image.digest for image in self.first if image.digest is not None]
        return digests if len(digests) == self.count else []


def all_of(samples: Sequence[Sample], *, planned: bool = False) -> Wanted:
    """Labelled images, which are known."""
    return Wanted([sample.ref for sample in samples], len(samples), planned)


def first_of(refs: Iterable[ImageRef], *, waits: bool, torch: bool = True) -> tuple[Wanted, Iterator[ImageRef]]:
    """A look at the first of some images, and all of them.

    Args:
        refs: read lazily.
        waits: whether they come from somebody who may wait for the answer to the first.
        torch: whether it may be imported for many images.
    """
    images = iter(refs)
    most = 1 if waits else WORTH_CONVERTING
    first = list(itertools.islice(images, most))
    count = len(first) if len(first) < most and not waits else None
    images = itertools.chain(first, images)
    return Wanted(first, count), _with_torch_for_many(images) if waits and torch else images


def _with_torch_for_many(images: Iterator[ImageRef]) -> Iterator[ImageRef]:
    """The same; once they turn out to be many, torch is imported, which resizes faster, bit for bit alike."""
    for index, image in enumerate(images):
        if index == WORTH_CONVERTING:
            importlib.import_module("torch")
        yield image


def with_engine(session: Session, engine: str, runtime: Runtime) -> Session:
    """The invocation asking for the engine that a checkpoint was validated by, where it leaves the choice to us."""
    config = session.loaded.config
    if config.backbone.engine != AUTO or unfit(engine, runtime) is not None:
        return session
    backbone = config.backbone.model_copy(update={"engine": engine})
    return session.with_config(config.model_copy(update={"backbone": backbone}))


def open_extractor(
    session: Session,
    backbone: Described,
    runtime: Runtime,
    images: Wanted,
    *,
    load: Callable[[], Backbone] | None = None,
    head: Decider | None = None,
) -> Extractor:
    """An extractor for some images, with the engine that the config asks for.

    Args:
        session: its config names the engine; its cache holds stored features and compiled models.
        backbone: whose features are wanted.
        runtime: where and how to compute.
        images: that features are wanted of.
        load: the backbone with its network, where `backbone` is a description.
        head: that the features are for, where there is one.

    Raises:
        EnvironmentFault: an engine was asked for that is not available here.
    """
    if runtime.device.type == "cpu" and runtime.precision == "bf16" and has_bf16() is False:
        session.emit(Warn("precision bf16: this processor has no instructions for it; fp32 is faster here"))
    stored = _stored_shares(session, backbone, runtime, images)

    @functools.cache
    def load_whole() -> Backbone:
        runtime.prepare_torch()
        if load is not None:
            return load()
        from featcli.backbones.stages import whole

        return whole(backbone)

    job = Job(
        backbone,
        load_whole,
        runtime,
        session.loaded.config.backbone.engine,
        ModelCache(session.cache, read_only=images.planned),
        lambda: _probe(backbone, images.first),
        len(images.first),
        expected=None if images.count is None else round(images.count * (1 - max(stored.values(), default=0.0))),
        stored=stored,
        head=head,
    )
    choice = choose_engine(job, session.emit)
    if len(images.first) >= WORTH_CONVERTING and job.expected != 0:
        runtime.prepare_torch()  # it resizes faster, which pays its import
    network = load_whole() if choice.engine.name == PLAIN_ENGINE else backbone
    rescue = None if choice.engine.name == PLAIN_ENGINE else _rescue(load_whole, runtime, session.emit)
    return Extractor(network, runtime, choice.engine, choice.to_json(), rescue)


def _rescue(load: Callable[[], Backbone], runtime: Runtime, emit: Emit) -> Callable[[str], Engine]:
    """What goes on where an engine fails in the middle; that is said once."""

    @functools.cache
    def plain() -> Engine:
        from featcli.features.engines.plain import PlainTorch

        return PlainTorch(load(), runtime)

    said: list[str] = []

    def rescue(reason: str) -> Engine:
        if not said:
            emit(Warn(f"{reason}: plain torch computes what fails, and nothing more is stored in this run"))
        said.append(reason)
        return plain()

    return rescue


def _stored_shares(session: Session, backbone: Described, runtime: Runtime, images: Wanted) -> dict[str, float]:
    """The share of the images whose features each engine that `auto` may choose has computed; none where it has none.

    Of paths the hashes are not known: those of the first say enough, unless somebody waits for a single one.
    """
    if session.loaded.config.backbone.engine != AUTO or unfit(OPENVINO_ENGINE, runtime) is not None:
        return {}  # there is no choice
    stores = {}
    for engine in OF_AUTO:
        space = space_of(backbone, runtime.precision, runtime.device.type, engine)
        stores[engine] = FeatureStore(session.cache, space, backbone.feature_size, session.emit, read_only=True)
    if not any(map(len, stores.values())):
        return {}
    digests = images.digests or (_read_digests(images.first) if len(images.first) > 1 else [])
    return {engine: store.count(digests) / len(digests) for engine, store in stores.items()} if digests else {}


def _read_digests(images: Sequence[ImageRef]) -> list[bytes]:
    """The hashes of those images that can be read."""
    digests = []
    for image in images:
        with contextlib.suppress(UnreadableImage):
            digests.append(hashlib.sha256(image.reader.read(image)).digest())
    return digests


def _probe(backbone: Described, images: Sequence[ImageRef]) -> list[NDArray[np.uint8]]:
    """The pixels of the first images that can be read."""
    preprocessing = backbone.preprocessing
    pixels: list[NDArray[np.uint8]] = []
    for image in images[:_LOOKED_AT]:
        loaded = load_pixels(image, preprocessing.pixels, decoding=preprocessing.decoding)
        if loaded.value is not None:
            pixels.append(loaded.value)
        if len(pixels) == _PROBED:
            break
    return pixels
