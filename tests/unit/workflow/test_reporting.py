"""The page of several runs: what it takes to make it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from featcli.analysis.suspects import Suspect
from featcli.commands.train_head import train_head
from featcli.config import load_config
from featcli.events import ignore
from featcli.report.material import Listed
from featcli.workflow import reporting
from featcli.workflow.session import Session

pytestmark = pytest.mark.usefixtures("one_thread")


def test_runs_of_the_same_images_and_features_are_looked_at_once(
    tmp_path: Path, make_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """And others each: `other` has other images, and `larger` other features of the same ones."""
    make_folder(tmp_path / "photos", {"cats": 4, "dogs": 4})
    make_folder(tmp_path / "more", {"cats": 4, "dogs": 5})

    def session_of(*settings: str) -> Session:
        small = ["backbone.name=efficientnet_lite0", "backbone.weights=none", "device=cpu", "data.val_fraction=0"]
        return Session(load_config(None, [*small, *settings]), tmp_path / "cache", ignore, threads=1)

    for name, data, crop, c in (
        ("one", "photos", 32, 1.0),
        ("two", "photos", 32, 0.1),
        ("other", "more", 32, 1.0),
        ("larger", "photos", 40, 1.0),
    ):
        preprocess = f"backbone.preprocess={{resize: 40, crop: {crop}}}"
        train_head(session_of(f"data.root={tmp_path / data}", f"output={tmp_path / name}", preprocess, f"head.C={c}"))
    looked: list[int] = []

    def look(session: Session, images: Sequence[Listed], *given: Any, **named: Any) -> tuple[list[Suspect], str]:
        looked.append(len(images))
        return [], f"look {len(looked)}"

    monkeypatch.setattr(reporting, "suspects_of_run", look)
    folders = [tmp_path / name for name in ("one", "two", "other", "larger")]
    reporting.write_report(session_of(), folders, tmp_path / "report.html")
    assert looked == [8, 9, 8]
    page = (tmp_path / "report.html").read_text()
    assert [page.count(f"look {number}") for number in (1, 2, 3)] == [2, 1, 1]
