"""Strange files give the right pixels or one error row: the corpus of tests/corpus/."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.cli.lab import Lab
from tests.corpus.case import Strange
from tests.corpus.check import snapshot, wrong_rows
from tests.corpus.whole import corpus, write_corpus

pytestmark = pytest.mark.slow

FILES = corpus()


@pytest.fixture(scope="session")
def strange(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("strange")
    write_corpus(folder, FILES)
    return folder


def test_the_corpus_is_large() -> None:
    assert len(FILES) >= 150


@pytest.mark.filterwarnings("ignore")  # Pillow's, which the command line silences
@pytest.mark.parametrize("item", FILES, ids=lambda item: item.about)
def test_right_pixels_or_the_right_reason(item: Strange, strange: Path) -> None:
    assert item.verdict(strange) is None


def test_predict_gives_a_row_for_each_and_touches_none(trained: Lab, strange: Path, tmp_path: Path) -> None:
    before = snapshot(strange)
    fed = tmp_path / "names"
    fed.write_bytes(b"".join(item.file + b"\0" for item in FILES))
    with fed.open("rb") as names:
        done = trained("predict", "-q", trained.folder / "run", "-0", "-", stdin=names, cwd=strange)
    errors = sum(item.error is not None for item in FILES)
    assert (done.code, done.stderr) == (
        3,
        f"error: {errors} images could not be read\nEverything else is done. --max-bad N tolerates N of them.\n",
    )
    assert wrong_rows(FILES, done.stdout) == []
    assert snapshot(strange) == before


def test_a_walk_of_the_folder_passes_links_in_a_ring(trained: Lab, strange: Path) -> None:
    done = trained("predict", trained.folder / "run", strange)
    assert done.code == 3
    walked = sorted(os.fsdecode(item.file) for item in FILES if item.is_walked)
    assert [row["path"] for row in done.rows] == [os.path.join(strange, name) for name in walked]
