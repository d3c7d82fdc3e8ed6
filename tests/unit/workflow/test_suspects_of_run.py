"""Suspicious images of a finished run, which lie elsewhere now than the run says."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from featcli.config import load_config
from featcli.events import ignore
from featcli.report.material import Listed
from featcli.workflow.session import Session
from featcli.workflow.suspicion import suspects_of_run
from tests.scenes import scene


class NoFeatures:
    """Stands for the features of a run of which none are stored."""

    def of(self, sha256: list[str]) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
        return np.zeros(len(sha256), bool), np.zeros((len(sha256), 4), np.float32)


def test_suspicious_images_have_the_paths_that_the_run_knows_them_by(tmp_path: Path) -> None:
    scene(0).save(tmp_path / "one.png")
    scene(0).save(tmp_path / "two.png")
    Image.new("RGB", (64, 64)).save(tmp_path / "blank.png")
    images = []
    for name in ("one.png", "two.png", "blank.png"):
        place = tmp_path / name
        images.append(
            Listed(f"/gone/{name}", str(place), "train", "cats", hashlib.sha256(place.read_bytes()).hexdigest())
        )
    session = Session(load_config(None, []), tmp_path / "cache", ignore)
    found, said = suspects_of_run(session, images, NoFeatures(), grey_range=None, workers=1)  # type: ignore[arg-type]
    assert [(suspect.kind, suspect.path, suspect.partner) for suspect in found] == [
        ("duplicate", "/gone/two.png", "/gone/one.png"),
        ("blank", "/gone/blank.png", None),
    ]
    assert said == "3 of 3 images have no stored features: only their pixels were looked at."
