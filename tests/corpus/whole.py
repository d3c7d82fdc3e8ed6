"""The whole corpus, in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from tests.corpus.avif import avifs
from tests.corpus.bmp import bmps
from tests.corpus.case import Strange
from tests.corpus.files import names, no_files
from tests.corpus.foreign import foreign
from tests.corpus.gif import gifs
from tests.corpus.heif import heifs
from tests.corpus.jpeg import jpegs
from tests.corpus.orientation import orientations
from tests.corpus.planes import planes
from tests.corpus.png import modes, pngs
from tests.corpus.pnm import pnms
from tests.corpus.sizes import sizes
from tests.corpus.tiff import tiffs
from tests.corpus.webp import webps


def corpus() -> list[Strange]:
    """All of it; `about` and the names of the files are unique."""
    parts = (
        modes,
        pngs,
        jpegs,
        webps,
        bmps,
        gifs,
        tiffs,
        planes,
        avifs,
        pnms,
        heifs,
        orientations,
        foreign,
        sizes,
        names,
        no_files,
    )
    files = [item for part in parts for item in part()]
    for values in ([item.about for item in files], [item.file for item in files]):
        twice = [value for value, count in Counter(values).items() if count > 1]
        assert not twice, f"named twice: {twice}"
    return files


def write_corpus(folder: Path, files: Sequence[Strange]) -> None:
    """Makes the files in a folder that is there."""
    for item in files:
        item.write(folder)
