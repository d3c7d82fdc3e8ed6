"""Whether two images are one photograph: small grey versions laid over each other and compared pixel by pixel.

A pair is first compared coarsely at eight orientations (quarter turns, mirrored or not), three relative sizes and all
shifts, by correlation through the Fourier transform. The two best places are then refined to a fraction of a pixel, in
scale and shift of either axis, by steps that maximise the correlation itself: Evangelidis and Psarakis, "Parametric
Image Alignment Using Enhanced Correlation Coefficient Maximization", PAMI 2008. Compared are edges and texture, brought
to equal contrast everywhere, not brightness: a light sky above dark ground correlates with any other.
"""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from featcli.analysis.canvases import centred, flattened, resized
from featcli.heads.logistic_path import one_thread

SIDE = 48  # pixels of the longer side
_COARSE = 24
_PAD = 36  # so that shifts by up to half of the coarse image do not wrap around
_TINY = 8
_NUMBERS = 1 << 24  # in one block of similarities
_MIDDLE = 24
_SCALES = (1.0, 0.87, 1.0 / 0.87)
_STARTS = 2  # places that a repeated pattern may fit at
_FIRST_STEPS, _MIDDLE_STEPS, _FINE_STEPS = 2, 4, 3
_STRUCTURE = 0.05  # mean of the equalised contrast, below which an image is a plain surface
_MARGIN = 0.4  # of Fisher's z, by which half of the pixels may correlate less
_LONGEST = 0.1  # step of scale and shift
_LEAST_OVERLAP = 0.4  # of the smaller image
_BATCH = 128


def _evening() -> torch.Tensor:
    """(pad, pad): brings correlations of small overlaps to the spread by chance of large ones; 0 for tiny ones."""
    shift = torch.arange(_PAD)
    shift = torch.minimum(shift, _PAD - shift)
    share = (1.0 - shift / _COARSE).clamp(min=0.0)
    overlap = share[:, None] * share[None, :]
    return torch.where(overlap >= _LEAST_OVERLAP, overlap.clamp(min=1e-6).rsqrt(), torch.zeros_like(overlap))


_EVEN = _evening()


@dataclass(frozen=True, slots=True)
class Alignments:
    """How P pairs of images lie over each other.

    Attributes:
        coarse: (P,) correlation at the coarse step, over the root of the share that overlaps.
        correlation: (P,) of edges and texture where they overlap, -1 to 1; 0 where the coarse step found nothing.
        overlap: (P,) share of the smaller image that the other covers.
        orientation: (P,) of the second image: quarter turns, plus 4 where it is mirrored afterwards.
        scale: (P,) how much larger the content of the second appears than that of the first.
    """

    coarse: NDArray[np.float32]
    correlation: NDArray[np.float32]
    overlap: NDArray[np.float32]
    orientation: NDArray[np.int64]
    scale: NDArray[np.float32]

    def of(self, places: slice) -> Alignments:
        """Some of the pairs."""
        return Alignments(*(getattr(self, field.name)[places] for field in fields(self)))


class Pictures:
    """Small grey images, made comparable.

    Args:
        thumbnails: N grey images (h, w) uint8 with h, w <= SIDE; None where there is no image.
    """

    def __init__(self, thumbnails: Sequence[NDArray[np.uint8] | None]) -> None:
        count = len(thumbnails)
        self.levels = {side: torch.zeros(count, side, side) for side in (_MIDDLE, SIDE)}
        self.masks = {side: torch.zeros(count, side, side, dtype=torch.bool) for side in (_MIDDLE, SIDE)}
        self.scaled = torch.zeros(count, len(_SCALES), _COARSE, _COARSE)
        self.tiny = torch.zeros(count, _TINY, _TINY)
        self.has_structure = np.zeros(count, dtype=bool)
        by_shape = defaultdict(list)
        for row, thumbnail in enumerate(thumbnails):
            if thumbnail is not None:
                by_shape[thumbnail.shape].append(row)
        batches = [rows[at : at + _BATCH] for rows in by_shape.values() for at in range(0, len(rows), _BATCH)]

        def add(place: int) -> None:
            images = [thumbnails[row] for row in batches[place]]
            grey = np.stack([image for image in images if image is not None])
            self._add(batches[place], torch.from_numpy(grey).float())

        _in_threads(add, range(len(batches)))

    def _add(self, rows: list[int], grey: torch.Tensor) -> None:
        """Takes in images (n, h, w) of one shape."""
        longer = max(grey.shape[1:])
        for side in (_MIDDLE, SIDE):
            self.levels[side][rows], self.masks[side][rows] = centred(flattened(resized(grey, side / longer)), side)
        for index, scale in enumerate(_SCALES):
            flat, _ = centred(flattened(resized(grey, _COARSE * scale / longer)), _COARSE)
            self.scaled[rows, index] = flat / flat.flatten(1).norm(dim=1).clamp(min=1e-6)[:, None, None]
        tiny, inside = centred(resized(grey, _TINY / longer), _TINY)
        tiny = (tiny - tiny.sum((1, 2), keepdim=True) / inside.sum((1, 2), keepdim=True)) * inside
        self.tiny[rows] = tiny / tiny.flatten(1).norm(dim=1).clamp(min=1e-6)[:, None, None]
        self.has_structure[rows] = self.levels[SIDE][rows].abs().mean((1, 2)).numpy() > _STRUCTURE

    def most_alike(
        self, queries: NDArray[np.int64], among: NDArray[np.int64], *, own: bool = False
    ) -> NDArray[np.int64]:
        """For each of `queries` the one of `among` that is most like it in any orientation, from afar.

        Args:
            queries: rows.
            among: rows, at least two where the queries are among them.
            own: whether these are the same rows, in the same order; then an image is not its own.
        """
        against = self.tiny[among].flatten(1)
        best = np.zeros(len(queries), dtype=np.int64)
        size = max(1, _NUMBERS // (8 * max(1, len(among))))
        for start in range(0, len(queries), size):
            rows = queries[start : start + size]
            similar = (_oriented(self.tiny[rows]).flatten(2) @ against.T).max(1).values
            if own:
                places = torch.arange(len(rows))
                similar[places, start + places] = -2.0
            best[start : start + size] = among[similar.max(1).indices.numpy()]
        return best

    def align(self, pairs: NDArray[np.int64], *, least: float = 0.0, least_coarse: float = 0.0) -> Alignments:
        """Lays the images of pairs over each other.

        Args:
            pairs: (P, 2) rows.
            least: the correlation that is of interest: what is far below it at half of the pixels stays so.
            least_coarse: coarse correlation from which a pair is refined.
        """
        nothing = np.zeros(len(pairs), dtype=np.float32)
        found = Alignments(nothing, nothing.copy(), nothing.copy(), np.zeros(len(pairs), np.int64), nothing.copy())
        at_middle = math.tanh(math.atanh(min(least, 0.999)) - _MARGIN)

        def work(first: int) -> None:
            rows = np.arange(first, min(first + _BATCH, len(pairs)))
            self._align(pairs, rows, found, (least_coarse, at_middle))

        _in_threads(work, range(0, len(pairs), _BATCH))
        return found

    def _align(
        self, pairs: NDArray[np.int64], rows: NDArray[np.int64], found: Alignments, least: tuple[float, float]
    ) -> None:
        """Fills in some of what is found; `least` is asked for at the coarse step and at half of the pixels."""
        found.coarse[rows], start = self._coarse(pairs[rows])
        found.orientation[rows], found.scale[rows] = start[:, 0, 0], start[:, 0, 1]
        promising = found.coarse[rows] >= least[0]
        rows, start = rows[promising], start[promising]
        if not len(rows):
            return
        tries = [
            self._climb(_MIDDLE, self._begin(pairs[rows], start[:, index]), _FIRST_STEPS) for index in range(_STARTS)
        ]
        middle = self._climb(_MIDDLE, functools.reduce(_Placement.or_better, tries), _MIDDLE_STEPS)
        good = middle.correlation >= least[1]
        rows = rows[good.numpy()]
        if len(rows):
            fine = self._climb(SIDE, middle.of(good), _FINE_STEPS)
            found.correlation[rows], found.overlap[rows] = fine.correlation.numpy(), fine.overlap.numpy()
            found.scale[rows] = fine.a.prod(1).abs().sqrt().numpy()
            found.orientation[rows] = fine.orientation.numpy()

    def _coarse(self, pairs: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        first, second = (torch.from_numpy(np.ascontiguousarray(pairs[:, side])) for side in (0, 1))
        size = (_PAD, _PAD)
        # All orientations at equal scale, other scales as they lie: what is turned and cropped is found by climbing.
        still = torch.fft.rfft2(self.scaled[first], s=size)  # (P, S, ...)
        moved = torch.fft.rfft2(_oriented(self.scaled[second, 0]), s=size).conj()  # (P, 8, ...)
        products = torch.cat([still[:, :1] * moved, still[:, 1:] * moved[:, :1]], 1)
        flat = (torch.fft.irfft2(products, s=size) * _EVEN).flatten(1)
        starts, highest = [], None
        for _ in range(_STARTS):
            best, where = flat.max(1)
            highest = best if highest is None else highest
            variant, row, column = where // _PAD**2, where // _PAD % _PAD, where % _PAD
            shifts = [torch.where(at >= _PAD // 2, at - _PAD, at).float() for at in (row, column)]
            scale = torch.tensor(_SCALES)[(variant - 7).clamp(min=0)]
            orientation = torch.where(variant < 8, variant, torch.zeros_like(variant))
            starts.append(torch.stack([orientation.float(), scale, *shifts], 1))
            # What lies beside a peak leads to the same place.
            for y in (-1, 0, 1):
                for x in (-1, 0, 1):
                    beside = variant * _PAD**2 + (row + y) % _PAD * _PAD + (column + x) % _PAD
                    flat.scatter_(1, beside[:, None], -1.0)
        assert highest is not None, "at least one"
        return highest.numpy(), torch.stack(starts, 1).numpy()

    def _begin(self, pairs: NDArray[np.int64], start: NDArray[np.float32]) -> _Placement:
        """Placements as the coarse step found them."""
        first, second = (torch.from_numpy(np.ascontiguousarray(pairs[:, side])) for side in (0, 1))
        begun = torch.from_numpy(start)
        scale = begun[:, 1:2].expand(-1, 2)
        nothing = torch.full((len(pairs),), -1.0)
        return _Placement(first, second, begun[:, 0].long(), scale, begun[:, 2:4] * -2.0 / _COARSE, nothing, nothing)

    def _climb(self, side: int, placed: _Placement, steps: int) -> _Placement:
        """Improves placements by so many steps at one size; of all that were passed, the best is kept."""
        scene = _Scene.of(
            self.levels[side][placed.first],
            self.masks[side][placed.first],
            _pick(self.levels[side][placed.second], placed.orientation),
            _pick(self.masks[side][placed.second].float(), placed.orientation),
        )
        a, b = placed.a, placed.b
        best = replace(placed, correlation=torch.full((len(a),), -1.0))
        for step in range(steps + 1):
            overlaid = scene.overlay(a, b)
            best = best.or_better(replace(placed, a=a, b=b, correlation=overlaid.correlation, overlap=overlaid.overlap))
            if step < steps:
                change = overlaid.ascent().clamp(-_LONGEST, _LONGEST)
                a = (a + change[:, :2]).clamp(0.5, 2.0)
                b = (b + change[:, 2:]).clamp(-1.5, 1.5)
        return best


@dataclass(frozen=True, slots=True)
class _Placement:
    """How P second images lie under the first ones: the point at p of the first is at a * p + b of the second.

    Points are (y, x), from -1 to 1 over the square that an image is centred in.
    """

    first: torch.Tensor  # (P,) rows
    second: torch.Tensor
    orientation: torch.Tensor  # (P,) of the second
    a: torch.Tensor  # (P, 2)
    b: torch.Tensor  # (P, 2)
    correlation: torch.Tensor  # (P,)
    overlap: torch.Tensor  # (P,)

    def of(self, wanted: torch.Tensor) -> _Placement:
        """Some of the pairs."""
        return _Placement(*(getattr(self, field.name)[wanted] for field in fields(self)))

    def or_better(self, other: _Placement) -> _Placement:
        """Of each pair the placement with the higher correlation."""
        better = other.correlation > self.correlation
        values = []
        for field in fields(self):
            own, new = getattr(self, field.name), getattr(other, field.name)
            values.append(torch.where(better.reshape(-1, *[1] * (own.ndim - 1)), new, own))
        return _Placement(*values)


@dataclass(frozen=True, slots=True)
class _Scene:
    """P pairs at one size: the first images, and layers of the second ones to be sampled."""

    still: torch.Tensor  # (P, side, side)
    inside: torch.Tensor  # (P, side, side) where the first image is
    layers: torch.Tensor  # (P, 4, side, side): the second, its slope in y and x, where it is
    grid: tuple[torch.Tensor, torch.Tensor]  # y and x of the pixels, -1 to 1

    @classmethod
    def of(cls, still: torch.Tensor, inside: torch.Tensor, moved: torch.Tensor, beneath: torch.Tensor) -> _Scene:
        """From the images, and where they are in their squares."""
        side = still.shape[-1]
        axis = (torch.arange(side) + 0.5) * 2.0 / side - 1.0
        slopes = torch.gradient(moved, spacing=2.0 / side, dim=(1, 2))
        grid = (axis[:, None].expand(side, side), axis[None, :].expand(side, side))
        return cls(still, inside, torch.stack([moved, *slopes, beneath], 1), grid)

    def overlay(self, a: torch.Tensor, b: torch.Tensor) -> _Overlay:
        """The second images, brought to the pixels of the first."""
        y, x = self.grid
        points = torch.stack(
            [a[:, 1, None, None] * x + b[:, 1, None, None], a[:, 0, None, None] * y + b[:, 0, None, None]], -1
        )
        sampled = functional.grid_sample(self.layers, points, align_corners=False)
        valid = (self.inside & (sampled[:, 3] > 0.99)).flatten(1).float()
        area = valid.sum(1)
        own = self.inside.flatten(1).sum(1)
        other = self.layers[:, 3].flatten(1).sum(1) / a.prod(1)
        overlap = (area / torch.minimum(own, other).clamp(min=1.0)).clamp(max=1.0)
        slopes = torch.stack([sampled[:, 1] * y, sampled[:, 2] * x, sampled[:, 1], sampled[:, 2]], 1).flatten(2)
        return _Overlay(
            _less_mean(self.still.flatten(1)[:, None], valid)[:, 0],
            _less_mean(sampled[:, 0].flatten(1)[:, None], valid)[:, 0],
            _less_mean(slopes, valid),
            overlap,
        )


@dataclass(frozen=True, slots=True)
class _Overlay:
    """P pairs, one over the other; everything is 0 outside the overlap and has mean 0 over it."""

    target: torch.Tensor  # (P, pixels) the first
    warped: torch.Tensor  # (P, pixels) the second
    slopes: torch.Tensor  # (P, 4, pixels) of the second by a and b
    overlap: torch.Tensor  # (P,) share of the smaller image

    @property
    def product(self) -> torch.Tensor:
        return (self.target * self.warped).sum(1)

    @property
    def correlation(self) -> torch.Tensor:
        """(P,); -1 where too little overlaps."""
        norms = self.target.norm(dim=1) * self.warped.norm(dim=1)
        correlation = self.product / norms.clamp(min=1e-6)
        return torch.where(self.overlap >= _LEAST_OVERLAP, correlation, torch.full_like(correlation, -1.0))

    def ascent(self) -> torch.Tensor:
        """(P, 4): the step in a and b that would maximise the correlation, were the images linear in them."""
        normal = self.slopes @ self.slopes.transpose(1, 2) + 1e-3 * torch.eye(4)
        along = self.slopes @ self.warped[..., None]
        towards = self.slopes @ self.target[..., None]
        solved = torch.linalg.solve(normal, torch.cat([along, towards], 2))
        gained = (self.warped**2).sum(1) - (along * solved[..., :1]).sum((1, 2))
        shared = self.product - (towards * solved[..., :1]).sum((1, 2))
        ratio = torch.where(shared > 1e-6, gained / shared.clamp(min=1e-6), torch.ones_like(shared))
        step: torch.Tensor = ratio[:, None] * solved[..., 1] - solved[..., 0]
        return step


def _in_threads(work: Callable[[int], None], places: Iterable[int]) -> None:
    """Works on batches side by side, one thread each: threads within small operations mostly wait for one another."""
    count = torch.get_num_threads()
    with one_thread(), ThreadPoolExecutor(count) as pool:
        list(pool.map(work, places))


def _less_mean(values: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """(P, C, pixels) less its mean over the valid pixels (P, pixels); 0 elsewhere."""
    mean = (values @ valid[..., None]) / valid.sum(1).clamp(min=1.0)[:, None, None]
    return (values - mean) * valid[:, None]


def _pick(images: torch.Tensor, orientation: torch.Tensor) -> torch.Tensor:
    """Each image in its orientation."""
    turned = images.clone()
    for index in set(orientation.tolist()):
        rows = orientation == index
        turned[rows] = _turned(images[rows], index)
    return turned


def _turned(images: torch.Tensor, orientation: int) -> torch.Tensor:
    turned = torch.rot90(images, orientation % 4, dims=(-2, -1))
    return turned.flip(-1) if orientation >= 4 else turned


def _oriented(images: torch.Tensor) -> torch.Tensor:
    """(P, 8, side, side) of (P, side, side)."""
    return torch.stack([_turned(images, index) for index in range(8)], 1)
