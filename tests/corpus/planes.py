"""TIFF whose planes are apart (PlanarConfiguration 2), beside the same samples together: every way to store either."""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tests.corpus.case import Strange, bad, good
from tests.corpus.samples import Pixels, eight_bits, from_inks, grey_rgb, noise

NOT_READ = r"TIFF of mode \S+, \d+ bits a sample, with its planes apart is not read; save it with its planes"
DEFLATE, PACKBITS = 8, 32773


@dataclass(frozen=True)
class Storage:
    """How the samples of a TIFF lie in it: `tile` and `rows` (of a strip) 0 for one piece, `predictor` 2 for rows."""

    apart: bool = False
    compression: int = 1
    order: Literal["<", ">"] = "<"
    rows: int = 0
    tile: int = 0
    predictor: int = 1
    fill: int = 1


STORAGES = [
    Storage(*values)
    for values in itertools.product((False, True), (1, DEFLATE, PACKBITS), "<>", (0, 7), (0, 16), (1, 2))  # type: ignore[arg-type]
    if not (values[3] and values[4]) and not (values[5] == 2 and values[1] != DEFLATE)
]


def stored(samples: NDArray[Any], photometric: int, extra: tuple[int, ...] = (), how: Storage = Storage()) -> bytes:
    """A TIFF of samples (H, W, C), uint8 or uint16."""
    height, width, count = samples.shape
    planes = [samples[..., index : index + 1] for index in range(count)] if how.apart else [samples]
    parts = [_encoded(part, how) for plane in planes for part in _cut(plane, how)]
    values: dict[int, tuple[int, ...]] = {
        256: (width,),
        257: (height,),
        258: (samples.dtype.itemsize * 8,) * count,
        259: (how.compression,),
        262: (photometric,),
        266: (how.fill,),
        277: (count,),
        284: (1 + how.apart,),
        317: (how.predictor,),
    }
    values |= {338: extra} if extra else {}
    starts = tuple(8 + sum(map(len, parts[:index])) for index in range(len(parts)))
    sizes = tuple(map(len, parts))
    if how.tile:
        values |= {322: (how.tile,), 323: (how.tile,), 324: starts, 325: sizes}
    else:
        values |= {273: starts, 278: (how.rows or height,), 279: sizes}
    data = b"".join(parts) + bytes(sum(sizes) % 2)
    body = (b"II" if how.order == "<" else b"MM") + struct.pack(f"{how.order}HI", 42, 8 + len(data)) + data
    body += struct.pack(f"{how.order}H", len(values))
    after, beyond = b"", len(body) + 12 * len(values) + 4
    for tag, value in sorted(values.items()):
        long = tag in (273, 279, 324, 325)
        field = struct.pack(f"{how.order}{len(value)}{'I' if long else 'H'}", *value)
        if len(field) > 4:
            field, after = struct.pack(f"{how.order}I", beyond + len(after)), after + field
        body += struct.pack(f"{how.order}HHI", tag, 4 if long else 3, len(value)) + field.ljust(4, b"\0")
    return body + bytes(4) + after


def _cut(plane: NDArray[Any], how: Storage) -> Iterator[NDArray[Any]]:
    height, width, count = plane.shape
    if not how.tile:
        step = how.rows or height
        yield from (plane[top : top + step] for top in range(0, height, step))
        return
    for top, left in itertools.product(range(0, height, how.tile), range(0, width, how.tile)):
        full = np.zeros((how.tile, how.tile, count), plane.dtype)
        part = plane[top : top + how.tile, left : left + how.tile]
        full[: part.shape[0], : part.shape[1]] = part
        yield full


def _encoded(part: NDArray[Any], how: Storage) -> bytes:
    if how.predictor == 2:
        part = np.concatenate([part[:, :1], np.diff(part, axis=1)], axis=1)  # unsigned: it wraps, as it must
    data = part.astype(part.dtype.newbyteorder(how.order)).tobytes()
    if how.compression == DEFLATE:
        data = zlib.compress(data)
    elif how.compression == PACKBITS:  # literal runs alone
        runs = [data[at : at + 128] for at in range(0, len(data), 128)]
        data = b"".join(bytes([len(run) - 1]) + run for run in runs)
    return bytes(int(f"{byte:08b}"[::-1], 2) for byte in data) if how.fill == 2 else data


@dataclass(frozen=True)
class Kind:
    """Samples (H, W, C), their PhotometricInterpretation and ExtraSamples, and the pixels that they mean."""

    name: str
    samples: NDArray[Any]
    photometric: int
    extra: tuple[int, ...]
    pixels: Pixels


def kinds() -> Iterator[Kind]:
    """Each kind of samples with 8 and with 16 bits."""
    for bits in (8, 16):
        top = 2**bits - 1
        colour, spare = noise(40, 50, 3, seed=21, top=top + 1), noise(40, 50, 1, seed=22, top=top + 1)
        opaque, grey = np.full_like(spare, top), colour[..., :1]
        rgb = eight_bits(colour, bits)
        one = rgb[..., 0]
        inks = np.dstack([colour, spare])
        for name, samples, photometric, extra, pixels in (
            ("grey", grey, 1, (), grey_rgb(one)),
            ("white is 0", top - grey, 0, (), grey_rgb(one)),
            ("grey alpha", np.dstack([grey, opaque]), 1, (2,), grey_rgb(one)),
            ("grey and a spare", np.dstack([grey, spare]), 1, (0,), grey_rgb(one)),
            ("rgb", colour, 2, (), rgb),
            ("rgb alpha", np.dstack([colour, opaque]), 2, (2,), rgb),
            ("rgb alpha unsaid", np.dstack([colour, opaque]), 2, (), rgb),
            ("rgb and a spare", np.dstack([colour, spare]), 2, (0,), rgb),
            ("inks", inks, 5, (), from_inks(eight_bits(inks, bits))),
        ):
            yield Kind(f"{name} {bits}", samples, photometric, extra, pixels)


def planes() -> Iterator[Strange]:
    """One file of each outcome."""
    found = {kind.name: kind for kind in kinds()}

    def made(name: str, how: Storage) -> tuple[str, bytes]:
        kind = found[name]
        words = f"{how.order} {how.compression} tile {how.tile} rows {how.rows} fill {how.fill}"
        return f"tiff planes apart {name} {words}", stored(kind.samples, kind.photometric, kind.extra, how)

    for name in ("rgb 8", "rgb 16", "rgb alpha 16", "rgb alpha unsaid 8"):
        for how in (
            Storage(True),
            Storage(True, order=">", rows=7),
            Storage(True, tile=16),
            Storage(True, DEFLATE, predictor=2),
        ):
            yield good(*made(name, how), found[name].pixels, 1)
    yield good(*made("inks 8", Storage(True)), found["inks 8"].pixels, 1)
    yield good(*made("inks 16", Storage(True, PACKBITS)), found["inks 16"].pixels, 2)
    yield bad(*made("inks 16", Storage(True)), NOT_READ)
    yield bad(*made("rgb 8", Storage(True, fill=2)), NOT_READ)
    yield bad(*made("white is 0 8", Storage(True)), NOT_READ)
    yield bad(*made("grey alpha 8", Storage(True)), NOT_READ)
    yield bad(*made("grey alpha 8", Storage(True, DEFLATE)), NOT_READ)
    lab = stored(noise(13, 17, 3), 8, (), Storage(True))
    yield bad("tiff planes apart lab", lab, NOT_READ)
