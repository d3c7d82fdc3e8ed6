"""HEIC folders with the extra `heif`, and without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.lab import SMALL, Lab
from tests.corpus.heif import HAS_HEIF, HEIC, heic
from tests.corpus.samples import SCENE

pytestmark = pytest.mark.slow

HINT = "pip install 'featcli[heif]' reads them"


def without_heif(lab: Lab) -> Path:
    """What hides pillow-heif from a process."""
    hide = lab.folder.parent / "hide_heif.py"
    hide.write_text(
        "import importlib.util\nfind = importlib.util.find_spec\n"
        "importlib.util.find_spec = lambda name, *rest: None if name == 'pillow_heif' else find(name, *rest)\n"
    )
    return hide


def test_without_the_extra_heic_files_are_skipped_aloud_and_named_where_they_are_asked_for(lab: Lab) -> None:
    for name in ("phone/cats/1.HEIC", "phone/dogs/2.heic", "phone/dogs/3.heif", "renamed.jpg"):
        (lab.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (lab.folder / name).write_bytes(HEIC)
    hide = without_heif(lab)
    done = lab("train-head", *SMALL, "--set", "data.root=phone", "-o", "run", preload=hide)
    assert done.code == 2
    skipped = f"1 named *.heic ({HINT}) in cats/ and 1 named *.heic ({HINT}), 1 named *.heif ({HINT}) in dogs/"
    assert f"the class folders hold no images; skipped: {skipped}".replace(" and ", ", ") in done.stderr
    done = lab("extract", *SMALL, "renamed.jpg", "phone/dogs/2.heic", "-o", "x.csv", preload=hide)
    assert done.code == 3
    assert "renamed.jpg: a HEIC image, which is not read: pip install 'featcli[heif]' reads it" in done.stderr
    assert "missing       pillow_heif" in lab("doctor", preload=hide).text


@pytest.mark.skipif(not HAS_HEIF, reason="pillow-heif is not installed")
def test_with_the_extra_a_folder_of_heic_is_read(lab: Lab) -> None:
    (lab.folder / "phone").mkdir()
    for name in ("a.heic", "b.HEIF", "c.hif"):
        (lab.folder / "phone" / name).write_bytes(heic(SCENE))
    done = lab("extract", *SMALL, "phone", "-o", "x.csv")
    assert done.code == 0, done.stderr
    rows = (lab.folder / "x.csv").read_text().splitlines()
    assert len(rows) == 4
    assert len({row.split(",", 4)[-1] for row in rows[1:]}) == 1
