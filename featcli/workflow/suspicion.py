"""Which images are suspicious: their features and thumbnails, gathered; what is found, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from featcli.analysis.audit import Audit, Material, audit
from featcli.analysis.copies import same_content
from featcli.analysis.suspects import KINDS, Suspect
from featcli.data.dataset import Dataset, Sample
from featcli.data.naming.source import relative_name, shown_path
from featcli.data.pixels.decoding import GreyRange
from featcli.data.pixels.thumbnails import Seen, load_thumbnails
from featcli.events import Progress
from featcli.features.extraction import FeatureTable
from featcli.report.material import Listed
from featcli.text import printable
from featcli.workflow.run_features import RunFeatures
from featcli.workflow.session import Session
from featcli.writers.issues import in_order

MOST_COMPARED = 4_000  # images of a run, up to which its page compares them with one another
MOST_LISTED = 20_000  # up to which it looks for anything
_LISTED = 3  # of one kind, in the text
_SAID = {
    "leak": "on two sides of a split",
    "conflict": "under two classes",
    "duplicate": "there twice",
    "label": "probably another class",
    "classes": "that cannot be told apart",
    "outlier": "unlike every class",
    "blank": "of one colour",
    "dark": "very dark",
    "tiny": "far smaller than the others",
    "shape": "far longer than wide, or the other way round",
}
_NAMES = {"leak": "leaks", "conflict": "conflicts", "duplicate": "duplicates", "label": "labels", "outlier": "outliers"}


def look_deep(
    data: Dataset, table: FeatureTable, session: Session, *, grey_range: GreyRange | None, workers: int
) -> Audit:
    """Looks at the images of a data set, each content once, and at what is suspicious about them.

    Args:
        data: its images.
        table: their features, row by row.
        session: hears the progress.
        grey_range: as 16-bit grey is decoded.
        workers: threads that read and decode.
    """
    firsts, _ = same_content(data.samples)
    rows = [row for row in firsts if table.readable[row]]
    seen = thumbnails_of(data, rows, session, grey_range=grey_range, workers=workers)

    def tick(done: int, total: int) -> None:
        session.emit(Progress("compare", done, total, "pairs", finished=done == total))

    return audit(Material(data, table.features, table.readable, seen), tick)


def thumbnails_of(
    data: Dataset, rows: Sequence[int], session: Session, *, grey_range: GreyRange | None, workers: int
) -> dict[int, Seen]:
    """Some images from afar, by row, without those that cannot be read."""
    session.emit(Progress("thumbnails", 0, len(rows)))
    loaded = load_thumbnails(
        [data.samples[row].ref for row in rows],
        grey_range=grey_range,
        workers=workers,
        tick=lambda done: session.emit(Progress("thumbnails", done, len(rows))),
    )
    session.emit(Progress("thumbnails", len(rows), len(rows), finished=True))
    return {row: seen for row, seen in zip(rows, loaded, strict=True) if seen is not None}


def suspects_of_run(
    session: Session, images: Sequence[Listed], features: RunFeatures, *, grey_range: GreyRange | None, workers: int
) -> tuple[list[Suspect], str]:
    """Suspicious images of a finished run, and a sentence on what was not looked at.

    Args:
        session: hears the progress.
        images: of the run; those whose content is known are looked at.
        features: of them, as far as they are stored.
        grey_range: as 16-bit grey is decoded.
        workers: threads that read and decode.
    """
    known = [image for image in images if image.sha256]
    if len(known) > MOST_LISTED:
        return [], f"With {len(known)} images none were looked for here: featcli check --deep does."
    classes = sorted({image.label for image in known})
    samples = tuple(
        Sample(image.place, classes.index(image.label), image.split, bytes.fromhex(image.sha256)) for image in known
    )
    data = Dataset(Path(), tuple(classes), samples, {})
    readable, values = features.of([image.sha256 for image in known])
    compares = len(known) <= MOST_COMPARED
    rows = [row for row in same_content(samples)[0] if Path(samples[row].path).is_file()] if compares else []
    seen = thumbnails_of(data, rows, session, grey_range=grey_range, workers=workers)

    def tick(done: int, total: int) -> None:
        session.emit(Progress("compare", done, total, "pairs", finished=done == total))

    found = audit(Material(data, values, readable, seen, compares), tick)
    path_of = {image.place: image.path for image in known}
    suspects = [
        replace(
            suspect,
            path=path_of.get(suspect.path, suspect.path),
            partner=None if suspect.partner is None else path_of.get(suspect.partner, suspect.partner),
        )
        for suspect in in_order(found.suspects)
    ]
    said = list(found.common)
    if not compares:
        missing_kinds = "copies that are not identical, and empty images, were not looked for"
        said.append(f"With {len(known)} images, {missing_kinds}: check --deep does")
    if not readable.all():
        missing = int((~readable).sum())
        said.append(f"{missing} of {len(known)} images have no stored features: only their pixels were looked at")
    return suspects, "".join(f"{sentence}. " for sentence in said).strip()


def audit_facts(found: Audit, written: Path) -> dict[str, Any]:
    """What was found, as plain values; all of its lines are in the file."""
    counts = Counter(suspect.kind for suspect in found.suspects)
    samples = found.copies.data.samples
    return {
        "counts": {kind: counts[kind] for kind in KINDS},
        "bursts": [
            {"images": len(burst), "paths": [samples[row].path for row in burst]} for burst in found.copies.bursts
        ],
        "common": found.common,
        "issues": str(written),
    }


def audit_lines(found: Audit, written: Path) -> list[str]:
    """What was found, for a person: the first few of each kind."""
    root = found.copies.data.root
    by_kind: dict[str, list[Suspect]] = {kind: [] for kind in KINDS}
    for suspect in in_order(found.suspects):
        by_kind[suspect.kind].append(suspect)
    lines = ["suspicions"]
    for kind in KINDS:
        suspects = by_kind[kind]
        lead = f"  {_NAMES.get(kind, kind):<11} "
        if not suspects:
            lines.append(f"{lead}none")
            continue
        more = ""
        if kind == "duplicate":
            sizes = [len(burst) for burst in found.copies.bursts]
            bursts = "burst" if len(sizes) == 1 else "bursts"
            more = f"; of all copies {len(sizes)} {bursts}, the largest of {max(sizes)} images"
        lines.append(f"{lead}{len(suspects)} {_SAID[kind]}{more}")
        for suspect in suspects[:_LISTED]:
            partner = "" if suspect.partner is None else f" = {printable(relative_name(suspect.partner, root))}"
            if kind == "classes":
                partner = f" and {printable(suspect.partner or '')}"
            name = printable(relative_name(suspect.path, root))
            lines.append(f"              {name}{partner}: {printable(suspect.why)}")
        if len(suspects) > _LISTED:
            lines.append(f"              and {len(suspects) - _LISTED} more")
    lines += [f"  note        {sentence}" for sentence in found.common]
    name = shown_path(written)
    if found.suspects:
        lines.append(f"  written     {name}: write yes in its column exclude, then --set data.exclude={name}")
    else:
        lines.append(f"  written     {name}, without a line")
    return lines
