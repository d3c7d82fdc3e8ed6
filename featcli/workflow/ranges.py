"""How images are decoded: `data.decode`, and which values of 16-bit grey become black and white."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Sequence
from dataclasses import replace
from typing import TypeVar

from featcli.backbones.stages import Backbone
from featcli.data.dataset import Dataset, Sample
from featcli.data.pixels.decoding import SIXTEEN_BITS, GreyRange, bit_range, is_narrow
from featcli.data.pixels.loading import load_depth, load_facts, load_grey
from featcli.data.prefetch import ordered_batches
from featcli.events import Fact, Note, Progress, Warn
from featcli.runtime import Runtime
from featcli.workflow.session import Session

R = TypeVar("R")
_LOOKED_AT = 32  # images, for a word on those that are dark


def with_range(
    session: Session, backbone: Backbone, data: Dataset | None, runtime: Runtime, *, hint: bool = True
) -> Backbone:
    """The backbone with `data.decode` and the range of 16-bit grey of `data.range` in its preprocessing.

    Only training images are looked at: of `auto` all headers, and those that are 16-bit grey until one needs all bits;
    of a range that was given until one has a pixel inside; of `full` a few.

    Args:
        session: the invocation.
        backbone: with the preprocessing of its weights.
        data: its training images decide; None where there are none.
        runtime: how many threads read.
        hint: whether images that become almost black are spoken of.

    Raises:
        ConfigError: no pixel lies in the range that was given; or `auto`, and no data.
    """
    asked = session.loaded.config.data.range
    train = data.split("train") if data is not None else ()
    if asked == "auto":
        if data is None:
            raise session.loaded.error(
                "data.range",
                "auto needs training images, and no data is named",
                "Give data.root or data.manifest too, or the range itself: data.range: [0, 4095].",
            )
        chosen = _auto(session, train, runtime)
    elif isinstance(asked, tuple):
        _require_pixels(session, asked, train, runtime)
        chosen = asked
    else:
        chosen = (0, SIXTEEN_BITS)
        if hint:
            _speak_of_dark(session, train, runtime)
    own, decode = backbone.preprocessing.grey_range, session.loaded.config.data.decode
    found = None if chosen == (0, SIXTEEN_BITS) else chosen
    if own is not None and own != found:
        session.emit(
            Note(f"the checkpoint whose weights these are has data.range {list(own)}, and this run {list(chosen)}")
        )
    if backbone.preprocessing.decode not in ("exact", decode):
        session.emit(Note(f"the checkpoint whose weights these are has data.decode scaled, and this run {decode}"))
    return replace(backbone, preprocessing=replace(backbone.preprocessing, grey_range=found, decode=decode))


def _auto(session: Session, train: Sequence[Sample], runtime: Runtime) -> GreyRange:
    largest, count, done = 0, 0, 0
    session.emit(Progress("range", 0, len(train)))
    with contextlib.closing(_each(train, lambda sample: load_depth(sample.ref), runtime)) as looks:
        for facts in looks:
            done += 1
            session.emit(Progress("range", done, len(train)))
            if facts is not None and facts.largest is not None:
                count, largest = count + 1, max(largest, facts.largest)
                if bit_range(largest)[1] == SIXTEEN_BITS:
                    break
    session.emit(Progress("range", done, len(train), finished=True))
    if not count:
        session.emit(Note("data.range: auto changes nothing: no training image is 16-bit grey, and those alone decide"))
        return 0, SIXTEEN_BITS
    low, high = bit_range(largest)
    what = "a training image uses" if high == SIXTEEN_BITS else f"{count} training images use"
    session.emit(Fact("range", f"16-bit grey from {low} to {high}; {what} values up to {largest} (data.range: auto)"))
    return low, high


def _require_pixels(session: Session, asked: GreyRange, train: Sequence[Sample], runtime: Runtime) -> None:
    low, high = asked
    least, most = SIXTEEN_BITS, -1
    with contextlib.closing(_each(train, lambda sample: _ends_and_inside(sample, asked), runtime)) as looks:
        for found in looks:
            if found is None:
                continue
            if found[2]:
                return
            least, most = min(least, found[0]), max(most, found[1])
    if most < 0:
        if train:
            session.emit(Note(f"data.range {list(asked)} changes no training image: none is 16-bit grey"))
        return
    raise session.loaded.error(
        "data.range",
        f"no pixel of the 16-bit training images lies in {low} to {high}: they have values from {least} to {most}",
        f"Use data.range: auto, or [{least}, {most}]." if least < most else "Use data.range: auto.",
    )


def _ends_and_inside(sample: Sample, asked: GreyRange) -> tuple[int, int, bool] | None:
    """Smallest and largest value of 16-bit grey, and whether any lies in a range; None of any other image."""
    facts = load_facts(sample.ref, decode=False).value
    values = load_grey(sample.ref) if facts is not None and facts.is_16_bit else None
    if values is None:
        return None
    return int(values.min()), int(values.max()), bool(((values >= asked[0]) & (values <= asked[1])).any())


def _speak_of_dark(session: Session, train: Sequence[Sample], runtime: Runtime) -> None:
    some = train[:: max(1, len(train) // _LOOKED_AT)]
    looks = [
        facts.largest for facts in _each(some, lambda sample: load_depth(sample.ref), runtime) if facts is not None
    ]
    largest = [value for value in looks if value is not None]
    if largest and all(map(is_narrow, largest)):
        high = bit_range(max(largest))[1]
        session.emit(
            Warn(
                f"16-bit images use under a quarter of their range (0 to {high} of {SIXTEEN_BITS}; {len(largest)} were "
                "looked at) and become almost black: set data.range: auto"
            )
        )


def _each(samples: Sequence[Sample], look: Callable[[Sample], R], runtime: Runtime) -> Generator[R]:
    for batch in ordered_batches(samples, look, workers=runtime.workers, size=runtime.workers):
        yield from batch
