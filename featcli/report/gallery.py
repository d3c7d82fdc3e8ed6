"""What a page shows as pictures: mistakes, hits, suspicious images; chosen first, and filled in when they are taken."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from featcli.analysis.suspects import KINDS, Suspect
from featcli.report.counting import least_sure_hits, surest_mistakes
from featcli.report.feature_map import Choice, choose_images
from featcli.report.material import Judged, Listed, Material
from featcli.report.pictures import LARGE, SMALL, Thumbnail, Wanted

_BURST = 8  # images of one photograph that are shown
_OF_CLASSES = "classes"
_TITLES = {
    "leak": ("On two sides of the split", "One photograph was trained on and measured on: the accuracy is too good."),
    "conflict": ("Under two classes", "The same photograph has two labels, of which one is wrong."),
    "duplicate": ("The same photograph again", "Copies count as many, and teach nothing new."),
    "label": ("Probably another class", "Heads that had not learned from the image find another class more probable."),
    "classes": ("Classes that cannot be told apart", "Perhaps they are one class, or their images are mixed up."),
    "outlier": ("Unlike every class", "Perhaps these do not belong here."),
    "blank": ("Of one colour", "There is nothing to be seen."),
    "dark": ("Very dark", "Little can be seen."),
    "tiny": ("Very small", "There are fewer pixels than the backbone looks at."),
    "shape": ("Far from square", "The ends are cropped away before the backbone sees the image."),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a run a page shows; a page of several runs shares its room among them.

    Attributes:
        mistakes: the surest.
        hits: the least sure.
        marked: images of the map that have a thumbnail.
        ordinary: further images of the map.
        crosses: mistakes and suspicious images of the map, with or without a thumbnail.
        suspects: of each kind.
        budget: characters of all pictures.
    """

    mistakes: int = 24
    hits: int = 12
    marked: int = 300
    ordinary: int = 4000
    crosses: int = 1000
    suspects: int = 12
    budget: int = 2_600_000

    @classmethod
    def shared_by(cls, runs: int) -> Limits:
        """Of each of so many runs on one page."""
        whole = cls()
        if runs == 1:
            return whole
        return cls(
            mistakes=12,
            hits=6,
            marked=whole.marked // runs,
            ordinary=whole.ordinary // runs,
            crosses=whole.crosses // runs,
            suspects=6,
            budget=whole.budget // runs,
        )


@dataclass(frozen=True, slots=True)
class Group:
    """Suspicious images of one kind: those that are shown, and how many there are."""

    kind: str
    shown: Sequence[Sequence[str]]  # images that belong together, as paths
    whys: Sequence[str]
    total: int

    @property
    def title(self) -> str:
        """What they are."""
        return _TITLES[self.kind][0]

    @property
    def meaning(self) -> str:
        """Why that matters."""
        return _TITLES[self.kind][1]

    @property
    def is_of_classes(self) -> bool:
        """Whether the names are of classes, and not of images."""
        return self.kind == _OF_CLASSES


@dataclass(frozen=True, slots=True)
class Selection:
    """The images of a run that are shown.

    Attributes:
        mistakes: the surest first.
        hits: the least sure first.
        groups: suspicious images, in the order of KINDS.
        wanted: thumbnails to be taken, the most needed first.
    """

    mistakes: Sequence[Judged]
    hits: Sequence[Judged]
    groups: Sequence[Group]
    wanted: Sequence[Wanted]


@dataclass(frozen=True, slots=True)
class Shot:
    """A picture with what is known of it.

    Attributes:
        path: of the image, as the run names it.
        key: of the thumbnail in this page.
        picture: the thumbnail.
        label: its class.
        split: of the image; empty where that is not known.
        seen: what was predicted; None where that is not known.
        is_first: whether the page has not shown it before.
    """

    path: str
    key: str
    picture: Thumbnail
    label: str
    split: str
    seen: Judged | None
    is_first: bool

    @property
    def name(self) -> str:
        """The last parts of the path, which tell most: the folder often is the class."""
        return os.sep.join(self.path.split(os.sep)[-2:])

    @property
    def alt(self) -> str:
        """What is to be seen, for those who do not see it."""
        if self.seen is not None and self.seen.is_mistake:
            return f"{self.name}: {self.seen.truth}, taken for {self.seen.label}"
        return f"{self.name}: {self.label}"


def marked_paths(material: Material) -> list[str]:
    """Mistakes, the surest first, and suspicious images: what a map marks."""
    judged = material.judged().values()
    mistakes = [image.path for image in surest_mistakes(judged, len(judged))]
    return list(dict.fromkeys([*mistakes, *reasons(material.suspects)]))


def map_images(images: Sequence[Listed], marked: Sequence[str], limits: Limits) -> Choice:
    """The images that go on the map of a run."""
    return choose_images(images, marked, limits.ordinary, limits.crosses)


def reasons(suspects: Iterable[Suspect]) -> dict[str, str]:
    """Why an image is suspicious, by path, both of a pair; the first reason of each."""
    found: dict[str, str] = {}
    for suspect in suspects:
        for path in () if suspect.kind == _OF_CLASSES else _pair(suspect):
            found.setdefault(path, suspect.why)
    return found


def select(material: Material, limits: Limits) -> Selection:
    """Chooses what is shown of a run."""
    measured = () if material.measured is None else material.measured.images or ()
    mistakes = surest_mistakes(measured, limits.mistakes)
    hits = least_sure_hits(measured, limits.hits)
    groups = _groups(material.suspects, limits.suspects)
    large = [image.path for image in (*mistakes, *hits)]
    large += [path for group in groups if not group.is_of_classes for shown in group.shown for path in shown]
    small: list[str] = []
    if not isinstance(material.cloud, str):
        on_map = {image.path for image in material.cloud.images}
        small = [path for path in marked_paths(material) if path in on_map][: limits.marked]
    sides = dict.fromkeys(small, SMALL) | dict.fromkeys(large, LARGE)
    order = list(dict.fromkeys([*large, *small]))
    wanted = [Wanted(_listed(material, path), sides[path]) for path in order]
    return Selection(mistakes, hits, groups, wanted)


class Album:
    """Pictures of a run, each with what is known of it.

    Args:
        material: the run.
        pictures: thumbnails by path.
        keys: of the thumbnails in the page, by path.
    """

    def __init__(self, material: Material, pictures: Mapping[str, Thumbnail], keys: Mapping[str, str]) -> None:
        self._material = material
        self._judged = material.judged()
        self._pictures = pictures
        self._keys = keys
        self.shown: set[str] = set()  # keys of what was asked for so far

    def shots(self, paths: Iterable[str]) -> list[Shot]:
        """Some of them, to be shown next."""
        found = []
        for path in paths:
            listed, seen, key = _listed(self._material, path), self._judged.get(path), self._keys[path]
            label = listed.label or ("" if seen is None else seen.truth)
            found.append(Shot(path, key, self._pictures[path], label, listed.split, seen, key not in self.shown))
            self.shown.add(key)
        return found


def _listed(material: Material, path: str) -> Listed:
    return material.images.get(path) or Listed(path, path, "", "", "")


def _groups(suspects: Sequence[Suspect], most: int) -> list[Group]:
    by_kind: dict[str, list[Suspect]] = defaultdict(list)
    for suspect in suspects:
        by_kind[suspect.kind].append(suspect)
    groups = []
    for kind in KINDS:
        found = sorted(by_kind[kind], key=lambda suspect: (-suspect.score, suspect.path, suspect.partner or ""))
        if not found:
            continue
        together = _bursts(found) if kind == "duplicate" else [(_pair(suspect), suspect.why) for suspect in found]
        shown = together[:most]
        paths = [paths[:_BURST] for paths, _ in shown]
        whys = [_cut(why, len(paths)) for paths, why in shown]
        groups.append(Group(kind, paths, whys, len(together)))
    return groups


def _cut(why: str, count: int) -> str:
    return f"{why} (the first {_BURST} of {count} images)" if count > _BURST else why


def _pair(suspect: Suspect) -> list[str]:
    return [suspect.path] if suspect.partner is None else [suspect.path, suspect.partner]


def _bursts(suspects: Sequence[Suspect]) -> list[tuple[list[str], str]]:
    """Images of one photograph together, however they are paired; with the reason of their strongest pair."""
    burst_of: dict[str, int] = {}
    bursts: dict[int, tuple[list[str], str]] = {}
    for index, suspect in enumerate(suspects):
        paths = _pair(suspect)
        joined = sorted({burst_of[path] for path in paths if path in burst_of})
        home = joined[0] if joined else index
        members, _ = bursts.setdefault(home, ([], suspect.why))
        for other in joined[1:]:
            members += bursts.pop(other)[0]
        members += [path for path in paths if path not in members]
        for path in members:
            burst_of[path] = home
    return [(sorted(members), why) for members, why in bursts.values()]
